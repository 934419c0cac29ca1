/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_ip.c - packets parsed, checksums, packets built */
#include "unit/unit.h"

#include "base/cursor.h"
#include "unit/wire/checksums.h"
#include "wire/ip.h"

/* bytes() - "4500 …" into @out; returns how many */
static size_t bytes(const char *hex, uint8_t *out)
{
	size_t length = 0;

	for (; *hex; hex++) {
		unsigned int value;

		if (*hex == ' ')
			continue;
		assert_int_equal(sscanf(hex, "%2x", &value), 1);
		out[length++] = (uint8_t)value;
		hex++;
	}
	return length;
}

#define V4(length, fragment, protocol) \
	"4500" length "0001" fragment "40" protocol "0000 64400002 64400001"
#define V6(payload, next)       \
	"60000000" payload next \
	"40 fd7a115ca1e000000000000000000002 fd7a115ca1e000000000000000000001"
#define TCP "9c400050 00000001 00000000 5002 ffff 0000 0000"
#define UDP "9c400035 0008 0000"

static void packets_are_understood(void **state)
{
	static const struct {
		const char *hex;
		int result;
		uint8_t protocol, fragment;
		uint16_t port; /* destination */
		uint16_t transport, payload;
	} rows[] = {
		/* 0 */ {"", -ENODATA, 0, 0, 0, 0, 0},
		/* 1 */ {"45", -EBADMSG, 0, 0, 0, 0, 0},
		/* 2 */ {"00 00", -EBADMSG, 0, 0, 0, 0, 0},
		/* 3 */
		{"50000028 00010000 40060000 64400002 64400001", -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 4 */ {V4("0028", "0000", "06") TCP, 0, 6, IP_WHOLE, 80, 20, 40},
		/* 5 padding */ {V4("0028", "0000", "06") TCP "000000", 0, 6, IP_WHOLE, 80, 20, 40},
		/* 6 cut */ {V4("0029", "0000", "06") TCP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 7 by its length the header is cut */
		{V4("0027", "0000", "06") TCP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 8 length below the header */
		{V4("0013", "0000", "11") UDP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 9 header below 20 bytes */
		{"4400001c 00010000 40110000 64400002 64400001" UDP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 10 options */
		{"46000020 00010000 40110000 64400002 64400001 01010101" UDP, 0, 17, IP_WHOLE, 53,
		 24, 32},
		/* 11 options beyond the packet */
		{"4f00001c 00010000 40110000 64400002 64400001" UDP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 12 TCP header of 16 bytes */
		{V4("0028", "0000", "06") "9c400050 00000001 00000000 4002 ffff 0000 0000",
		 -EBADMSG, 0, 0, 0, 0, 0},
		/* 13 TCP options beyond the packet */
		{V4("0028", "0000", "06") "9c400050 00000001 00000000 6002 ffff 0000 0000",
		 -EBADMSG, 0, 0, 0, 0, 0},
		/* 14 first fragment */
		{V4("001c", "2000", "11") UDP, 0, 17, IP_FRAGMENT_FIRST, 53, 20, 28},
		/* 15 first fragment without the whole UDP header */
		{V4("001b", "2000", "11") UDP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 16 offset 72 */ {V4("001c", "0009", "11") UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 17 offset 80 */
		{V4("001c", "000a", "11") UDP, 0, 17, IP_FRAGMENT_LATER, 0, 20, 20},
		/* 18 later fragment, even empty */
		{V4("0014", "1fff", "06"), 0, 6, IP_FRAGMENT_LATER, 0, 20, 20},
		/* 19 don't fragment */ {V4("001c", "4000", "11") UDP, 0, 17, IP_WHOLE, 53, 20, 28},
		/* 20 protocol 0 */ {V4("001c", "0000", "00") UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 21 GRE */ {V4("001c", "0000", "2f") UDP, 0, 47, IP_WHOLE, 0, 20, 20},
		/* 22 ICMP of 7 bytes */ {V4("001b", "0000", "01") UDP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 23 ICMP */ {V4("001c", "0000", "01") UDP, 0, 1, IP_WHOLE, 0, 20, 28},
		/* 24 SCTP of 8 bytes */ {V4("001c", "0000", "84") UDP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 25 SCTP */
		{V4("0020", "0000", "84") UDP "00000000", 0, 132, IP_WHOLE, 53, 20, 32},
		/* 26 TSMP of 7 bytes */ {V4("001b", "0000", "63") UDP, 0, 99, IP_WHOLE, 0, 20, 20},
		/* 27 TSMP of 6 bytes */ {V4("001a", "0000", "63") UDP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 28 fragmented TSMP */
		{V4("001c", "2000", "63") UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 29 its later fragment */
		{V4("001c", "000a", "63") UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 30 */ {V6("0014", "06") TCP, 0, 6, IP_WHOLE, 80, 40, 60},
		/* 31 */ {V6("0015", "06") TCP, -EBADMSG, 0, 0, 0, 0, 0},
		/* 32 */ {V6("0008", "3a") UDP, 0, 58, IP_WHOLE, 0, 40, 48},
		/* 33 hop by hop */
		{V6("0010", "00") "1100000000000000" UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 34 routing */
		{V6("0010", "2b") "1100000000000000" UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 35 destination options */
		{V6("0010", "3c") "1100000000000000" UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 36 first fragment */
		{V6("0010", "2c") "11000001 00000007" UDP, 0, 17, IP_FRAGMENT_FIRST, 53, 48, 56},
		/* 37 atomic fragment */
		{V6("0010", "2c") "11000000 00000007" UDP, 0, 17, IP_FRAGMENT_FIRST, 53, 48, 56},
		/* 38 offset 72 */
		{V6("0010", "2c") "11000048 00000007" UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 39 offset 80 */
		{V6("0010", "2c") "11000050 00000007" UDP, 0, 17, IP_FRAGMENT_LATER, 0, 48, 48},
		/* 40 two Fragment headers */
		{V6("0018", "2c") "2c000001 00000007 11000001 00000008" UDP, -EPROTONOSUPPORT, 0, 0,
		 0, 0, 0},
		/* 41 cut Fragment header */
		{V6("0007", "2c") "110000010000 07", -EBADMSG, 0, 0, 0, 0, 0},
		/* 42 TSMP in an atomic fragment */
		{V6("0010", "2c") "63000000 00000007" UDP, -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 43 from a mapped address */
		{"60000000 0008 11 40 00000000000000000000ffff64400002 "
		 "fd7a115ca1e000000000000000000001" UDP,
		 -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 44 to a mapped address */
		{"60000000 0008 11 40 fd7a115ca1e000000000000000000001 "
		 "00000000000000000000ffff64400002" UDP,
		 -EPROTONOSUPPORT, 0, 0, 0, 0, 0},
		/* 45 no next header */ {V6("0000", "3b"), 0, 59, IP_WHOLE, 0, 40, 40},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t packet[256];
		size_t length = bytes(rows[i].hex, packet);
		struct ip_view v, untouched;
		int r;

		memset(&v, 0xa5, sizeof(v));
		untouched = v;
		r = ip_parse(packet, length, &v);
		if (r != rows[i].result)
			fail_msg("row %zu: %d", i, r);
		if (r < 0) {
			assert_memory_equal(&v, &untouched, sizeof(v));
			continue;
		}
		if (v.protocol != rows[i].protocol || v.fragment != rows[i].fragment ||
		    v.destination_port != rows[i].port || v.transport_offset != rows[i].transport ||
		    v.payload_offset != rows[i].payload)
			fail_msg("row %zu: protocol %u fragment %u port %u at %u, %u", i,
				 v.protocol, v.fragment, v.destination_port, v.transport_offset,
				 v.payload_offset);
		assert_int_equal(v.version, packet[0] >> 4);
		assert_int_equal(v.source.bytes[0], v.version == 4 ? 100 : 0xfd);
		assert_int_equal(v.source.bytes[v.version == 4 ? 3 : 15], 2);
		assert_int_equal(v.destination.bytes[v.version == 4 ? 3 : 15], 1);
	}
}

static void checksums_known(void **state)
{
	/* RFC 1071 §3 and an IPv4 header known from many textbooks. */
	static const uint8_t rfc[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	static const uint8_t header[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40,
					 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8,
					 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
	/* RFC 1624 §4: where equation 2 of RFC 1141 goes wrong. */
	uint8_t field[2] = {0xdd, 0x2f};
	const uint8_t old[2] = {0x55, 0x55}, new[2] = {0x32, 0x85};
	uint8_t zeros[2] = {0, 0};

	(void)state;
	assert_int_equal(ip_sum_finish(ip_sum(rfc, sizeof(rfc), 0)), (uint16_t)~0xddf2);
	assert_int_equal(ip_sum_finish(ip_sum(header, sizeof(header), 0)), 0xb861);
	assert_int_equal(ip_sum_finish(ip_sum("\x01", 1, 0)), 0xfeff);
	ip_checksum_replace(field, old, new, 2);
	assert_int_equal(field[0] << 8 | field[1], 0x0000);
	ip_udp_checksum_replace(zeros, old, new, 2);
	assert_int_equal(zeros[0] << 8 | zeros[1], 0);
	field[0] = 0xdd;
	field[1] = 0x2f;
	ip_udp_checksum_replace(field, old, new, 2);
	assert_int_equal(field[0] << 8 | field[1], 0xffff);
}

static void mended_checksums_equal_fresh_ones(void **state)
{
	uint8_t data[40] = {1};
	unsigned int seed = 5;

	(void)state;
	for (int round = 0; round < 200000; round++) {
		uint8_t field[2], new[16];
		size_t at = 2 * (rand_r(&seed) % 12u), length = 2 * (rand_r(&seed) % 9u);

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = rand_r(&seed) % 3   ? (uint8_t)rand_r(&seed)
				  : rand_r(&seed) % 2 ? 0xff
						      : 0;
		data[39] |= 1; /* a sum of zeros only has two checksums; real packets never are */
		for (size_t i = 0; i < length; i++)
			new[i] = rand_r(&seed) % 3 ? (uint8_t)rand_r(&seed) : 0;
		put_be16(field, ip_sum_finish(ip_sum(data, sizeof(data), 0)));
		ip_checksum_replace(field, data + at, new, length);
		memcpy(data + at, new, length);
		assert_int_equal(field[0] << 8 | field[1],
				 ip_sum_finish(ip_sum(data, sizeof(data), 0)));
	}
}

static void echoes_are_built_and_read(void **state)
{
	static const char *const pairs[][2] = {{"100.64.0.1", "100.64.0.2"},
					       {"fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2"}};
	uint8_t out[256];

	(void)state;
	for (int family = 0; family < 2; family++)
		for (int reply = 0; reply < 2; reply++)
			for (size_t length = 0; length < 60; length++) {
				struct ip_echo echo = {
					.reply = reply,
					.identifier = 0xbeef,
					.sequence = (uint16_t)length,
					.data = (const uint8_t *)"012345678901234567890123456789012"
								 "3456789"
								 "01234567890123456789",
					.length = length};
				struct ip_echo read;
				struct ip_view v;
				ssize_t size;

				address_parse(pairs[family][0], strlen(pairs[family][0]),
					      &echo.source);
				address_parse(pairs[family][1], strlen(pairs[family][1]),
					      &echo.destination);
				size = ip_build_echo(out, sizeof(out), &echo);
				assert_true(size > 0);
				assert_int_equal(ip_build_echo(out, (size_t)size - 1, &echo),
						 -ENOBUFS);
				assert_int_equal(ip_parse(out, (size_t)size, &v), 0);
				assert_int_equal(v.length, size);
				assert_true(checksums_are_valid(out, &v));
				assert_int_equal(ip_is_echo_reply(&v), reply);
				assert_int_equal(ip_is_echo_request(&v), !reply);
				assert_false(ip_is_icmp_error(&v));
				assert_int_equal(ip_parse_echo(out, &v, &read), 0);
				assert_true(address_equal(&read.source, &echo.source));
				assert_int_equal(read.identifier, echo.identifier);
				assert_int_equal(read.sequence, echo.sequence);
				assert_int_equal(read.length, length);
				assert_memory_equal(read.data, echo.data, length);
				out[size - 1] ^= 1;
				assert_false(checksums_are_valid(out, &v));
				v.fragment = IP_FRAGMENT_FIRST;
				assert_int_equal(ip_parse_echo(out, &v, &read), -EPROTO);
			}
}

static void headers_that_cant_be_built(void **state)
{
	struct address v4 = {.family = ADDRESS_V4}, v6 = {.family = ADDRESS_V6}, none = {0};
	uint8_t out[64];

	(void)state;
	assert_int_equal(ip_build_header(out, sizeof(out), &v4, &v6, 17, 8), -EINVAL);
	assert_int_equal(ip_build_header(out, sizeof(out), &none, &none, 17, 8), -EINVAL);
	assert_int_equal(ip_build_header(out, sizeof(out), &v4, &v4, 17, 65516), -EINVAL);
	assert_int_equal(ip_build_header(out, 27, &v4, &v4, 17, 8), -ENOBUFS);
	assert_int_equal(ip_build_header(out, 28, &v4, &v4, 17, 8), 20);
	assert_int_equal(ip_build_header(out, 47, &v6, &v6, 17, 8), -ENOBUFS);
	assert_int_equal(ip_build_header(out, 48, &v6, &v6, 17, 8), 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_are_understood),
		cmocka_unit_test(checksums_known),
		cmocka_unit_test(mended_checksums_equal_fresh_ones),
		cmocka_unit_test(echoes_are_built_and_read),
		cmocka_unit_test(headers_that_cant_be_built),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
