/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_tsmp.c - messages of IP protocol 99 */
#include "unit/unit.h"

#include "unit/wire/checksums.h"
#include "wire/ip.h"
#include "wire/tsmp.h"

static void known_bytes(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
		int result;
		size_t encoded; /* length of it encoded again */
	} rows[] = {
		/* 0 */ {"", 0, -EBADMSG, 0},
		/* 1 */
		{"!\x06"
		 "A\x9c\x40\x00\x50",
		 7, 0, 7},
		/* 2 */
		{"!\x06"
		 "A\x9c\x40\x00",
		 6, -EBADMSG, 0},
		/* 3 */
		{"!\x06"
		 "S\x9c\x40\x00\x50\x01",
		 8, 0, 8},
		/* 4 unknown flags */
		{"!\x06"
		 "S\x9c\x40\x00\x50\xfe",
		 8, 0, 7},
		/* 5 */ {"p12345678", 9, 0, 9},
		/* 6 */ {"p1234567", 8, -EBADMSG, 0},
		/* 7 longer than we know */ {"p12345678more", 13, 0, 9},
		/* 8 */ {"o12345678\x12\x34", 11, 0, 11},
		/* 9 without port */ {"o12345678", 9, 0, 11},
		/* 10 half a port */ {"o12345678\x12", 10, 0, 11},
		/* 11 */ {"a0123456789abcdef0123456789ABCDEF", 33, 0, 33},
		/* 12 */ {"a0123456789abcdef0123456789ABCDE", 32, -EBADMSG, 0},
		/* 13 */ {"x2345678", 8, -EPROTONOSUPPORT, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const uint8_t *in = (const uint8_t *)rows[i].bytes;
		uint8_t out[TSMP_MESSAGE_MAX];
		struct tsmp_message m;
		int r = tsmp_decode(in, rows[i].length, &m);

		if (r != rows[i].result)
			fail_msg("row %zu: %d", i, r);
		if (r < 0)
			continue;
		if (tsmp_encode(&m, out) != rows[i].encoded)
			fail_msg("row %zu encodes to %zu bytes", i, tsmp_encode(&m, out));
		assert_memory_equal(out, in, 7); /* what all types have in common is kept */
	}
}

static void fields(void **state)
{
	struct tsmp_message m;

	(void)state;
	assert_int_equal(tsmp_decode((const uint8_t *)"!\x11"
						      "W\x9c\x40\x00\x50\x01",
				     8, &m),
			 0);
	assert_int_equal(m.reject.protocol, 17);
	assert_int_equal(m.reject.reason, TSMP_REASON_HOST_FIREWALL);
	assert_int_equal(m.reject.source_port, 40000);
	assert_int_equal(m.reject.destination_port, 80);
	assert_true(m.reject.maybe_broken);
	assert_int_equal(tsmp_decode((const uint8_t *)"o12345678\x12\x34", 11, &m), 0);
	assert_memory_equal(m.pong.data, "12345678", 8);
	assert_int_equal(m.pong.peerapi_port, 0x1234);
}

static void whole_packets(void **state)
{
	struct address v4[2] = {{.family = ADDRESS_V4, .bytes = {100, 64, 0, 1}},
				{.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}}};
	struct address v6[2] = {{.family = ADDRESS_V6, .bytes = {0xfd, [15] = 1}},
				{.family = ADDRESS_V6, .bytes = {0xfd, [15] = 2}}};
	struct tsmp_message reject = {.type = TSMP_REJECT,
				      .reject = {6, TSMP_REASON_ACL, 1, 2, false}};
	struct tsmp_message read;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct address *a = i ? v6 : v4;
		struct ip_view v;
		uint8_t out[128];
		ssize_t size = tsmp_build(out, sizeof(out), &a[0], &a[1], &reject);

		assert_int_equal(size, (i ? 40 : 20) + 7);
		assert_int_equal(ip_parse(out, (size_t)size, &v), 0);
		assert_int_equal(v.protocol, IP_PROTOCOL_TSMP);
		assert_true(checksums_are_valid(out, &v));
		assert_true(address_equal(&v.destination, &a[1]));
		assert_int_equal(
			tsmp_decode(out + v.payload_offset, v.length - v.payload_offset, &read), 0);
		assert_int_equal(read.reject.destination_port, 2);
		assert_int_equal(tsmp_build(out, (size_t)size - 1, &a[0], &a[1], &reject),
				 -ENOBUFS);
	}
	assert_int_equal(tsmp_build((uint8_t[128]){0}, 128, &v4[0], &v6[0], &reject), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_bytes),
		cmocka_unit_test(fields),
		cmocka_unit_test(whole_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
