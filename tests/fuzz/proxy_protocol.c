/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/proxy_protocol.c - the head of the PROXY protocol: more bytes never change the result */
#include "wire/proxy_protocol.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct endpoint from = {0}, again = {0};
	size_t used = 0, used_again = 0;
	int r = proxy_protocol_parse(data, size, &from, &used);

	if (r == 1 && (used == 0 || used > size))
		abort();
	for (size_t length = 0; r == 1 && length < used; length++)
		if (proxy_protocol_parse(data, length, &again, &used_again) != 0)
			abort();
	if (r == 1 && (proxy_protocol_parse(data, used, &again, &used_again) != 1 ||
		       used != used_again || !endpoint_equal(&from, &again)))
		abort();
	return 0;
}
