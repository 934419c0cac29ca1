/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_stun.c - STUN: RFC 5769 and real servers' answers, both roles */
#include "wire/stun.h"

#include "unit/wire/known.h"

static const struct stun_txid txid = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};

static void request_is_the_official_one(void **state)
{
	struct vector_bytes official = known("stun_request");
	uint8_t request[STUN_REQUEST_SIZE];
	struct stun_txid parsed;

	(void)state;
	stun_request_write(request, &txid);
	assert_int_equal(official.length, sizeof(request));
	assert_memory_equal(request, official.bytes, sizeof(request));
	assert_true(stun_recognise(request, sizeof(request)));
	assert_int_equal(stun_request_parse(request, sizeof(request), &parsed), 0);
	assert_memory_equal(&parsed, &txid, sizeof(txid));
	/* A bit anywhere, or a byte less, and the server stays silent. */
	for (size_t i = 0; i < sizeof(request); i++) {
		request[i] ^= 0x40;
		assert_int_equal(stun_request_parse(request, sizeof(request), &parsed), -EBADMSG);
		request[i] ^= 0x40;
		assert_int_equal(stun_request_parse(request, i, &parsed), -EBADMSG);
	}
	/* The attributes are not optional. */
	request[3] = 12;
	assert_int_equal(stun_request_parse(request, 32, &parsed), -EBADMSG);
}

static void responses_are_the_official_ones(void **state)
{
	static const struct {
		const char *name, *endpoint;
	} rows[] = {
		/* 1 */ {"stun_response4", "192.0.2.7:40000"},
		/* 2 */ {"stun_response6", "[2001:db8::7]:40000"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vector_bytes official = known(rows[i].name);
		struct endpoint source = endpoint_text(rows[i].endpoint), mapped;
		uint8_t out[STUN_RESPONSE_MAX];
		struct stun_txid parsed;

		assert_int_equal(stun_response_write(out, &txid, &source), official.length);
		assert_memory_equal(out, official.bytes, official.length);
		assert_int_equal(stun_response_parse(out, official.length, &parsed, &mapped), 0);
		assert_true(endpoint_equal(&mapped, &source));
		assert_memory_equal(&parsed, &txid, sizeof(txid));
	}
}

static void answers_of_all_kinds_of_servers(void **state)
{
	static const struct {
		const char *hex;
		const char *endpoint; /* NULL: refused */
	} rows[] = {
		/* 1: RFC 5769 §2.2 */
		{"0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
		 "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
		 "80280004c07d4c96",
		 "192.0.2.1:32853"},
		/* 2: RFC 5769 §2.3 */
		{"010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
		 "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf1"
		 "1784c97c8292c275bfe3ed4180280004c8fb0b4c",
		 "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
		/* 3: a real server of old: MAPPED-ADDRESS, and 0x8020, which wins */
		{"010100442112a442482eb64715e8b28eaead6444000100080001e4ab4845212d000400080001"
		 "2710d90a44980005000800012711d9747a8a802000080001c5b96957856f80220010566f7669"
		 "64612e6f726720302e393600",
		 "72.69.33.45:58539"},
		/* 4: only MAPPED-ADDRESS */
		{"0101000c2112a4420102030405060708090a0b0c000100080001e9d34845212d",
		 "72.69.33.45:59859"},
		/* 5: 0x8020 after MAPPED-ADDRESS */
		{"010100182112a4420102030405060708090a0b0c000100080001e9d30a000001"
		 "802000080001c5b96957856f",
		 "72.69.33.45:58539"},
		/* 6: an IPv4 address as IPv6 */
		{"010100182112a4424fd5d202dcb37d31fc773306002000140002cd3d2112a4424fd5d202dcb382"
		 "ce2dc3fcc7",
		 "209.180.207.193:60463"},
		/* 7: bytes after the message are none of its */
		{"0101000c2112a4422360b11e3ec68ffa93e08007002000080001c7866957856fffff",
		 "72.69.33.45:59028"},
		/* 8: family 3 */
		{"0101000c2112a4422360b11e3ec68ffa93e08007002000080003c7866957856f", NULL},
		/* 9: an attribute longer than the message */
		{"0101000c2112a4422360b11e3ec68ffa93e08007002000090001c7866957856f", NULL},
		/* 10: no address */
		{"010100002112a4422360b11e3ec68ffa93e08007", NULL},
		/* 11: an error response */
		{"0111000c2112a4422360b11e3ec68ffa93e08007002000080001c7866957856f", NULL},
		/* 12: another cookie */
		{"0101000c2112a4432360b11e3ec68ffa93e08007002000080001c7866957856f", NULL},
		/* 13: odd attribute length, padding */
		{"010100142112a442ebc2d36ef4718f3e4f3e308e8022000161000000002000080001ce665e12"
		 "a443",
		 "127.0.0.1:61300"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct stun_txid parsed;
		struct vector_bytes v;
		struct endpoint mapped, expected;
		int r;

		vector_hex(rows[i].hex, &v);
		r = stun_response_parse(v.bytes, v.length, &parsed, &mapped);
		if (r != (rows[i].endpoint ? 0 : -EBADMSG))
			fail_msg("row %zu: %d", i + 1, r);
		if (!rows[i].endpoint)
			continue;
		expected = endpoint_text(rows[i].endpoint);
		if (!endpoint_equal(&mapped, &expected))
			fail_msg("row %zu: another endpoint", i + 1);
	}
}

/* Nothing of the other protocols on the same socket looks like STUN, nor the reverse. */
static void recognised_by_cookie_not_by_first_byte(void **state)
{
	uint8_t packet[32] = {0x01, 0x01, 0, 0x0c, 0x21, 0x12, 0xa4, 0x42};

	(void)state;
	assert_true(stun_recognise(packet, sizeof(packet)));
	assert_false(stun_recognise(packet, STUN_HEADER - 1));
	packet[4] = 0; /* a WireGuard initiation begins 01 00 00 00 */
	assert_false(stun_recognise(packet, sizeof(packet)));
	packet[4] = 0x21;
	packet[0] = 0x54; /* disco begins 'T' 'S' */
	assert_false(stun_recognise(packet, sizeof(packet)));
	packet[0] = 1;
	packet[1] = 0;
	assert_false(stun_recognise(packet, sizeof(packet)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_is_the_official_one),
		cmocka_unit_test(responses_are_the_official_ones),
		cmocka_unit_test(answers_of_all_kinds_of_servers),
		cmocka_unit_test(recognised_by_cookie_not_by_first_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
