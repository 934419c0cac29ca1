/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_wireguard.c - WireGuard's messages to bytes and back, and TAI64N */
#include "unit/unit.h"
#include "wire/wireguard.h"

static void type_and_length_decide(void **state)
{
	static const struct {
		uint8_t head[4];
		size_t length;
		unsigned int type;
	} rows[] = {
		/* 1 */ {{1}, 148, WG_MESSAGE_INITIATION},
		/* 2 */ {{1}, 147, 0},
		/* 3 */ {{1}, 149, 0},
		/* 4 */ {{1, 1}, 148, 0}, /* reserved bytes */
		/* 5 */ {{1, 0, 1}, 148, 0},
		/* 6 */ {{1, 0, 0, 1}, 148, 0},
		/* 7 */ {{2}, 92, WG_MESSAGE_RESPONSE},
		/* 8 */ {{2}, 148, 0},
		/* 9 */ {{3}, 64, WG_MESSAGE_COOKIE},
		/* 10 */ {{3}, 63, 0},
		/* 11 */ {{4}, 32, WG_MESSAGE_TRANSPORT},
		/* 12 */ {{4}, 31, 0},
		/* 13 */ {{4}, 33, WG_MESSAGE_TRANSPORT}, /* padding is the sender's business */
		/* 14 */ {{4}, 65535, WG_MESSAGE_TRANSPORT},
		/* 15 */ {{4}, 65536, 0},
		/* 16 */ {{0}, 148, 0},
		/* 17 */ {{5}, 148, 0},
		/* 18 */ {{4}, 3, 0},
		/* 19 */ {{4}, 0, 0},
	};
	static uint8_t bytes[65536];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wg_initiation initiation;
		struct wg_response response;
		struct wg_cookie_reply cookie;
		struct wg_transport transport;

		print_message("row %zu\n", i + 1);
		memcpy(bytes, rows[i].head, 4);
		assert_int_equal(wg_message_type(bytes, rows[i].length), rows[i].type);
		assert_int_equal(wg_initiation_decode(bytes, rows[i].length, &initiation),
				 rows[i].type == WG_MESSAGE_INITIATION ? 0 : -EBADMSG);
		assert_int_equal(wg_response_decode(bytes, rows[i].length, &response),
				 rows[i].type == WG_MESSAGE_RESPONSE ? 0 : -EBADMSG);
		assert_int_equal(wg_cookie_reply_decode(bytes, rows[i].length, &cookie),
				 rows[i].type == WG_MESSAGE_COOKIE ? 0 : -EBADMSG);
		assert_int_equal(wg_transport_decode(bytes, rows[i].length, &transport),
				 rows[i].type == WG_MESSAGE_TRANSPORT ? 0 : -EBADMSG);
	}
}

/* Every byte of every message has its place: 1, 2, 3 … in, the same out. */
static void messages_survive_the_round_trip(void **state)
{
	uint8_t in[WG_INITIATION_SIZE], out[WG_INITIATION_SIZE];
	struct wg_initiation initiation;
	struct wg_response response;
	struct wg_cookie_reply cookie;
	struct wg_transport transport;

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	memset(in + 1, 0, 3);

	in[0] = WG_MESSAGE_INITIATION;
	assert_int_equal(wg_initiation_decode(in, WG_INITIATION_SIZE, &initiation), 0);
	assert_int_equal(initiation.sender, 0x07060504);
	assert_int_equal(initiation.ephemeral.bytes[0], 8);
	assert_int_equal(initiation.sealed_static[0], 40);
	assert_int_equal(initiation.sealed_timestamp[0], 88);
	wg_initiation_encode(&initiation, out);
	assert_memory_equal(in, out, WG_MAC1_OFFSET(WG_INITIATION_SIZE));
	for (size_t i = WG_MAC1_OFFSET(WG_INITIATION_SIZE); i < WG_INITIATION_SIZE; i++)
		assert_int_equal(out[i], 0);

	in[0] = WG_MESSAGE_RESPONSE;
	assert_int_equal(wg_response_decode(in, WG_RESPONSE_SIZE, &response), 0);
	assert_int_equal(response.sender, 0x07060504);
	assert_int_equal(response.receiver, 0x0b0a0908);
	assert_int_equal(response.ephemeral.bytes[0], 12);
	assert_int_equal(response.sealed_nothing[0], 44);
	wg_response_encode(&response, out);
	assert_memory_equal(in, out, WG_MAC1_OFFSET(WG_RESPONSE_SIZE));

	in[0] = WG_MESSAGE_COOKIE;
	assert_int_equal(wg_cookie_reply_decode(in, WG_COOKIE_REPLY_SIZE, &cookie), 0);
	assert_int_equal(cookie.receiver, 0x07060504);
	assert_int_equal(cookie.nonce[0], 8);
	assert_int_equal(cookie.sealed_cookie[0], 32);
	wg_cookie_reply_encode(&cookie, out);
	assert_memory_equal(in, out, WG_COOKIE_REPLY_SIZE);

	in[0] = WG_MESSAGE_TRANSPORT;
	assert_int_equal(wg_transport_decode(in, 32, &transport), 0);
	assert_int_equal(transport.receiver, 0x07060504);
	assert_true(transport.counter == UINT64_C(0x0f0e0d0c0b0a0908));
	wg_transport_encode(&transport, out);
	assert_memory_equal(in, out, WG_TRANSPORT_HEADER_SIZE);
}

static void timestamps_are_tai64n_and_rise(void **state)
{
	/* 1970 is 2^62 and 10 s of TAI; the low 24 bits of the nanoseconds are cut off. */
	static const struct {
		nanoseconds realtime;
		uint8_t bytes[WG_TIMESTAMP_SIZE];
	} rows[] = {
		/* 1 */ {0, {0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0}},
		/* 2 */ {NSEC_PER_SEC, {0x40, 0, 0, 0, 0, 0, 0, 0x0b, 0, 0, 0, 0}},
		/* 3 */ {0xffffff, {0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0}},
		/* 4 */ {0x1000000, {0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0x01, 0, 0, 0}},
		/* 5 */ {NSEC_PER_SEC - 1, {0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0x3b, 0, 0, 0}},
		/* 6 */ {-1, {0x40, 0, 0, 0, 0, 0, 0, 0x09, 0x3b, 0, 0, 0}}, /* before 1970 */
									     /* 7 */
		{INT64_C(1700000000) * NSEC_PER_SEC,
		 {0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a, 0, 0, 0, 0}},
	};
	struct wg_timestamp last, next;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wg_timestamp timestamp = wg_timestamp_at(rows[i].realtime);

		print_message("row %zu\n", i + 1);
		assert_memory_equal(timestamp.bytes, rows[i].bytes, sizeof(timestamp.bytes));
	}
	last = wg_timestamp_at(0);
	for (int i = 0; i < 1000; i++) {
		next = wg_timestamp_next(&last);
		assert_true(wg_timestamp_later(&next, &last));
		assert_false(wg_timestamp_later(&last, &next));
		assert_false(wg_timestamp_later(&next, &next));
		last = next;
	}
	/* 60 steps a second: 1000 of them are 16 s and 40 steps. */
	assert_memory_equal(last.bytes, ((uint8_t[]){0x40, 0, 0, 0, 0, 0, 0, 0x1a, 40, 0, 0, 0}),
			    sizeof(last.bytes));
	/* One that isn't rounded still has a later one. */
	memset(last.bytes, 0x11, sizeof(last.bytes));
	next = wg_timestamp_next(&last);
	assert_true(wg_timestamp_later(&next, &last));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(type_and_length_decide),
		cmocka_unit_test(messages_survive_the_round_trip),
		cmocka_unit_test(timestamps_are_tai64n_and_rise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
