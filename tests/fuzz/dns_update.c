/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/dns_update.c - any bytes as the answer of a DNS server, to an update and a question */
#include "wire/dns_update.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct dns_key key = {.name = "pillion", .secret = "0123456789abcdef", 16};
	const struct dns_sent sent = {.id = 0x1234};
	char zone[DNS_NAME_TEXT] = "";
	struct error err = {0};

	/* No input is signed by the key. */
	if (dns_update_read(data, size, &key, &sent, 1796100000, &err) == 0 || !err.text[0])
		abort();
	err = (struct error){0};
	if (dns_zone_read(data, size, 0x1234, "_acme-challenge.app.example.com", zone, &err) == 0) {
		if (!zone[0] || strlen(zone) >= sizeof(zone))
			abort();
	} else if (!err.text[0]) {
		abort();
	}
	return 0;
}
