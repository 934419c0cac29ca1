/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/ip.c - a packet's view stays inside of it; what we build from one can be read */
#include "wire/ip.h"
#include "unit/wire/checksums.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[IP_PACKET_MAX + 1];
	struct ip_view v, again;
	struct ip_echo echo;
	ssize_t length;

	if (ip_parse(data, size, &v) < 0)
		return 0;
	REQUIRE(v.length <= size && v.length <= IP_PACKET_MAX);
	REQUIRE(v.transport_offset <= v.payload_offset && v.payload_offset <= v.length);
	REQUIRE(v.version == v.source.family && v.version == v.destination.family);
	/* Padding is not looked at. */
	REQUIRE(ip_parse(data, v.length, &again) == 0 && memcmp(&v, &again, sizeof(v)) == 0);
	(void)checksums_are_valid(data, &v);
	if (ip_parse_echo(data, &v, &echo) < 0)
		return 0;
	REQUIRE(echo.length <= v.length);
	length = ip_build_echo(out, sizeof(out), &echo);
	REQUIRE(length > 0 && (size_t)length <= v.length);
	REQUIRE(ip_parse(out, (size_t)length, &again) == 0 && checksums_are_valid(out, &again));
	return 0;
}
