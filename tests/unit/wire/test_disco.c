/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_disco.c - disco: known answers, tolerance, round trips */
#include "wire/disco.h"

#include "unit/wire/known.h"

static const struct disco_txid txid = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};

static struct key_box known_box(void)
{
	struct secret_key own = known_secret("server_secret");
	struct public_key peer = known_public("client_public");
	struct key_box box;

	assert_int_equal(key_box_init(&own, &peer, &box), 0);
	return box;
}

static struct disco_message open_known(const char *name)
{
	struct vector_bytes packet = known(name);
	struct key_box box = known_box();
	struct public_key sender, expected = known_public("client_public");
	struct disco_message m;

	assert_true(disco_recognise(packet.bytes, packet.length));
	assert_int_equal(disco_sender(packet.bytes, packet.length, &sender), 0);
	assert_true(public_key_equal(&sender, &expected));
	assert_int_equal(disco_open(packet.bytes, packet.length, &box, &m), 0);
	return m;
}

/* With the official client's nonce our packet is the same, byte for byte. */
static void seals_like(const char *name, const struct disco_message *m)
{
	struct vector_bytes official = known(name);
	struct secret_key own = known_secret("client_secret");
	struct public_key sender = known_public("client_public"),
			  peer = known_public("server_public");
	uint8_t out[DISCO_PACKET_MAX];
	struct key_box box;
	ssize_t length;

	assert_int_equal(key_box_init(&own, &peer, &box), 0);
	length = disco_seal(out, sizeof(out), &sender, &box,
			    official.bytes + DISCO_MAGIC_SIZE + KEY_SIZE, m);
	assert_int_equal(length, (ssize_t)official.length);
	assert_memory_equal(out, official.bytes, official.length);
	for (size_t capacity = 0; capacity < (size_t)length; capacity++)
		assert_int_equal(disco_seal(out, capacity, &sender, &box,
					    official.bytes + DISCO_MAGIC_SIZE + KEY_SIZE, m),
				 -EMSGSIZE);
}

static void official_messages_open_and_ours_are_the_same(void **state)
{
	struct public_key node = known_public("client_public");
	struct endpoint e;
	struct disco_message m;

	(void)state;
	m = open_known("disco_ping");
	assert_int_equal(m.type, DISCO_PING);
	assert_memory_equal(&m.ping.txid, &txid, sizeof(txid));
	assert_true(m.ping.has_node_key);
	assert_true(public_key_equal(&m.ping.node_key, &node));
	assert_int_equal(m.ping.padding, 7);
	seals_like("disco_ping", &m);

	m = open_known("disco_pong");
	e = endpoint_text("2.3.4.5:1234");
	assert_int_equal(m.type, DISCO_PONG);
	assert_memory_equal(&m.pong.txid, &txid, sizeof(txid));
	assert_true(endpoint_equal(&m.pong.source, &e));
	seals_like("disco_pong", &m);

	m = open_known("disco_cmm");
	assert_int_equal(m.type, DISCO_CALL_ME_MAYBE);
	assert_int_equal(m.call_me_maybe.count, 2);
	e = endpoint_text("[2001::3456]:789");
	assert_true(endpoint_equal(&m.call_me_maybe.endpoints[1], &e));
	seals_like("disco_cmm", &m);

	/* A peer relay's message is authentic, and says no more than its type. */
	m = open_known("disco_bind");
	assert_int_equal(m.type, DISCO_BIND_RELAY);
}

static void what_is_not_authentic_is_refused(void **state)
{
	struct vector_bytes packet = known("disco_pong");
	struct key_box box = known_box();
	struct disco_message m;

	(void)state;
	for (size_t i = 0; i < packet.length; i++) {
		packet.bytes[i] ^= 1;
		/* The sender's key isn't sealed: it names the box, which then is another. */
		if (i < DISCO_MAGIC_SIZE || i >= DISCO_MAGIC_SIZE + KEY_SIZE)
			assert_int_equal(disco_open(packet.bytes, packet.length, &box, &m),
					 -EBADMSG);
		packet.bytes[i] ^= 1;
	}
	for (size_t length = 0; length < packet.length; length++)
		assert_int_equal(disco_open(packet.bytes, length, &box, &m), -EBADMSG);
	assert_int_equal(disco_open(packet.bytes, DISCO_OPEN_MAX + 1, &box, &m), -EMSGSIZE);
}

static void a_low_order_key_makes_no_box(void **state)
{
	struct secret_key own = known_secret("client_secret");
	struct public_key zero = {{0}};
	struct key_box box;

	(void)state;
	assert_int_equal(key_box_init(&own, &zero, &box), -EBADMSG);
}

/* Plaintext as hex, and what it says. */
static void plaintexts_are_tolerated_as_peers_tolerate_them(void **state)
{
	static const struct {
		const char *hex;
		int result;
		uint8_t type;
		int detail; /* ping: has key * 100 + padding; call: endpoints */
	} rows[] = {
		/* 1 */ {"-", -EBADMSG, 0, 0},
		/* 2 */ {"01", -EBADMSG, 0, 0},
		/* 3 */ {"0100", -EBADMSG, 0, 0},
		/* 4 */ {"01000102030405060708090a0b", -EBADMSG, 0, 0},
		/* 5 */ {"01000102030405060708090a0b0c", 0, 1, 0},
		/* 6 */ {"01000102030405060708090a0b0c000000", 0, 1, 3},
		/* 7: 32 zeros are padding */
		{"01000102030405060708090a0b0c"
		 "0000000000000000000000000000000000000000000000000000000000000000",
		 0, 1, 32},
		/* 8 */
		{"01000102030405060708090a0b0c"
		 "0001020000000000000000000000000000000000000000000000000000001e1f"
		 "000000",
		 0, 1, 103},
		/* 9: another version is an empty message */ {"0101", 0, 1, 0},
		/* 10 */
		{"02000102030405060708090a0b0c00000000000000000000ffff02030405", -EBADMSG, 0, 0},
		/* 11 */
		{"02000102030405060708090a0b0c00000000000000000000ffff0203040504d2", 0, 2, 0},
		/* 12: trailing bytes */
		{"02000102030405060708090a0b0c00000000000000000000ffff0203040504d2ff", 0, 2, 0},
		/* 13 */ {"0300", 0, 3, 0},
		/* 14 */ {"030000000000000000000000ffff010203040237", 0, 3, 1},
		/* 15: no multiple of 18 */
		{"030000000000000000000000ffff01020304023700", 0, 3, 0},
		/* 16 */ {"0700", 0, 7, 0},
		/* 17 */ {"ff00abcdef", 0, 0xff, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vector_bytes plain;
		struct disco_message m;
		int detail = 0;

		vector_hex(rows[i].hex, &plain);
		if (disco_message_parse(plain.bytes, plain.length, &m) != rows[i].result)
			fail_msg("row %zu", i + 1);
		if (rows[i].result != 0)
			continue;
		if (m.type == DISCO_PING)
			detail = m.ping.has_node_key * 100 + (int)m.ping.padding;
		if (m.type == DISCO_CALL_ME_MAYBE)
			detail = (int)m.call_me_maybe.count;
		if (m.type != rows[i].type || detail != rows[i].detail)
			fail_msg("row %zu: type %d, detail %d", i + 1, m.type, detail);
	}
}

static void a_call_with_too_many_endpoints_is_cut(void **state)
{
	uint8_t plain[2 + 200 * DISCO_ENDPOINT_SIZE] = {DISCO_CALL_ME_MAYBE};
	struct disco_message m;

	(void)state;
	assert_int_equal(disco_message_parse(plain, sizeof(plain), &m), 0);
	assert_int_equal(m.call_me_maybe.count, DISCO_ENDPOINTS_MAX);
}

static void relays_have_an_address(void **state)
{
	struct endpoint e = disco_relay_endpoint(999), expected = endpoint_text("127.3.3.40:999");

	(void)state;
	assert_true(endpoint_equal(&e, &expected));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(official_messages_open_and_ours_are_the_same),
		cmocka_unit_test(what_is_not_authentic_is_refused),
		cmocka_unit_test(a_low_order_key_makes_no_box),
		cmocka_unit_test(plaintexts_are_tolerated_as_peers_tolerate_them),
		cmocka_unit_test(a_call_with_too_many_endpoints_is_cut),
		cmocka_unit_test(relays_have_an_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
