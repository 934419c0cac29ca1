/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/bootstrap_dns.c - what a relay answers when it is asked for the address of a name */
#include "transport/bootstrap_dns.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct address addresses[NAMES_ADDRESSES_MAX];
	char text[ADDRESS_TEXT_MAX];
	int count = bootstrap_dns_parse(data, size, "control.test", addresses);

	if (count == 0 || count > NAMES_ADDRESSES_MAX)
		abort();
	for (int i = 0; i < count; i++)
		address_format(&addresses[i], text);
	return 0;
}
