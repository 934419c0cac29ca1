/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/funnel_request.c - a request of an ingress node: what is taken is whole and bounded */
#include "services/funnel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct funnel_request request;
	struct http1_parser p;
	const char *why;
	size_t used;
	int status;

	http1_parser_init(&p, false);
	if (http1_parse(&p, data, size, &used) == HTTP1_HEAD) {
		memset(&request, 0xff, sizeof(request));
		why = funnel_request_read(&p.head, &request, &status);
		if (why ? status < 400 || status > 599
			: request.port == 0 || request.source.port == 0 ||
				    memchr(request.host, 0, sizeof(request.host)) == NULL ||
				    !*request.host || strchr(request.host, ':') ||
				    (request.source.address.family != ADDRESS_V4 &&
				     request.source.address.family != ADDRESS_V6))
			abort();
	}
	http1_parser_free(&p);
	return 0;
}
