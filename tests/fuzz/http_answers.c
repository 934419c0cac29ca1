/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/http_answers.c - bodies of servers that we ask: a verdict, names for clients without DNS
 */
#include "base/cleanup.h"
#include "server/relay/relay_verify.h"
#include "transport/bootstrap_dns.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct address addresses[NAMES_ADDRESSES_MAX];
	enum relay_verdict verdict = relay_verdict_parse(data, size);
	int count = bootstrap_dns_parse(data, size, "control.test", addresses);

	if (verdict != RELAY_VERDICT_ALLOW && verdict != RELAY_VERDICT_DENY &&
	    verdict != RELAY_VERDICT_NONE)
		abort();
	if (count > NAMES_ADDRESSES_MAX)
		abort();
	for (int i = 0; i < count; i++)
		if (addresses[i].family != ADDRESS_V4 && addresses[i].family != ADDRESS_V6)
			abort();
	return 0;
}
