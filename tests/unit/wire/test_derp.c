/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_derp.c - relay frames: known answers, tolerance, round trips */
#include "wire/derp.h"

#include "unit/wire/known.h"

static void frames_are_taken_whole(void **state)
{
	/* KeepAlive, then a Ping in pieces. */
	const uint8_t bytes[] = {0x06, 0, 0, 0, 0, 0x12, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8};
	struct derp_frame frame;

	(void)state;
	for (size_t length = 0; length <= sizeof(bytes); length++) {
		struct cursor c = cursor_of(bytes, length);
		int expected = (length >= 5) + (length >= 18), found = 0;

		while (derp_frame_next(&c, 100, &frame) > 0)
			found++;
		assert_int_equal(found, expected);
		assert_int_equal(c.left, length - (expected > 0 ? 5 : 0) - (expected > 1 ? 13 : 0));
	}
	assert_int_equal(frame.length, 8);
	assert_ptr_equal(frame.payload, bytes + 10);
}

static void a_frame_over_the_limit_is_refused_by_its_header(void **state)
{
	const uint8_t bytes[] = {0x05, 0, 0, 0, 101};
	struct cursor c = cursor_of(bytes, sizeof(bytes));
	struct derp_frame frame;

	(void)state;
	assert_int_equal(derp_frame_next(&c, 101, &frame), 0);
	assert_int_equal(derp_frame_next(&c, 100, &frame), -EMSGSIZE);
}

static void payloads_too_short_too_long_or_unknown(void **state)
{
	static const struct {
		uint8_t type;
		size_t length;
		int result;
	} rows[] = {
		/* 1 */ {DERP_SERVER_KEY, 39, -EBADMSG},
		/* 2 */ {DERP_SERVER_KEY, 40, -EBADMSG}, /* no magic */
		/* 3 */ {DERP_CLIENT_INFO, 31, -EBADMSG},
		/* 4 */ {DERP_RECV_PACKET, 31, -EBADMSG},
		/* 5 */ {DERP_RECV_PACKET, 32, 0},
		/* 6 */ {DERP_SEND_PACKET, 31, -EBADMSG},
		/* 7 */ {DERP_KEEP_ALIVE, 0, 0},
		/* 8 */ {DERP_KEEP_ALIVE, 9, 0},
		/* 9 */ {DERP_NOTE_PREFERRED, 0, -EBADMSG},
		/* 10 */ {DERP_PEER_GONE, 31, -EBADMSG},
		/* 11 */ {DERP_PEER_GONE, 32, 0}, /* no reason */
		/* 12 */ {DERP_PEER_GONE, 40, 0},
		/* 13 */ {DERP_PEER_PRESENT, 31, -EBADMSG},
		/* 14 */ {DERP_PEER_PRESENT, 32, 0},
		/* 15 */ {DERP_PEER_PRESENT, 50, 0},
		/* 16 */ {DERP_PEER_PRESENT, 51, 0},
		/* 17 */ {DERP_PEER_PRESENT, 90, 0}, /* and a name */
		/* 18 */ {DERP_FORWARD_PACKET, 63, -EBADMSG},
		/* 19 */ {DERP_PING, 7, -EBADMSG},
		/* 20 */ {DERP_PONG, 9, 0},
		/* 21 */ {DERP_HEALTH, 0, 0},
		/* 22 */ {DERP_RESTARTING, 7, -EBADMSG},
		/* 23 */ {DERP_RESTARTING, 8, 0},
		/* 24 */ {0x0d, 8, -EOPNOTSUPP},
		/* 25 */ {0xff, 0, -EOPNOTSUPP},
	};
	uint8_t payload[128];
	struct derp_message m;

	(void)state;
	memset(payload, 1, sizeof(payload));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct derp_frame frame = {rows[i].type, payload, rows[i].length};

		if (derp_message_parse(&frame, &m) != rows[i].result)
			fail_msg("row %zu", i + 1);
	}
}

static void every_message_reads_as_it_was_written(void **state)
{
	static const uint8_t data[] = "some bytes";
	const struct public_key a = {{1, 2, 3}}, b = {{4, 5, 6}};
	const struct derp_message rows[] = {
		{.type = DERP_SERVER_KEY, .key = a},
		{.type = DERP_CLIENT_INFO, .key = a, .data = data, .length = 10},
		{.type = DERP_SERVER_INFO, .data = data, .length = 10},
		{.type = DERP_SEND_PACKET, .key = a, .data = data, .length = 10},
		{.type = DERP_RECV_PACKET, .key = a, .data = data, .length = 10},
		{.type = DERP_KEEP_ALIVE},
		{.type = DERP_NOTE_PREFERRED, .preferred = true},
		{.type = DERP_PEER_GONE, .key = a, .reason = DERP_GONE_NOT_HERE},
		{.type = DERP_PEER_PRESENT,
		 .key = a,
		 .endpoint = endpoint_text("192.0.2.1:77"),
		 .flags = DERP_PRESENT_PROBER},
		{.type = DERP_PEER_PRESENT,
		 .key = a,
		 .endpoint = endpoint_text("[2001:db8::1]:77")},
		{.type = DERP_FORWARD_PACKET, .source = a, .key = b, .data = data, .length = 10},
		{.type = DERP_WATCH_CONNS},
		{.type = DERP_CLOSE_PEER, .key = a},
		{.type = DERP_PING, .data = data, .length = 8},
		{.type = DERP_PONG, .data = data, .length = 8},
		{.type = DERP_HEALTH, .data = data, .length = 10},
		{.type = DERP_RESTARTING, .reconnect_in_ms = 70000, .try_for_ms = 0x01020304},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t out[256];
		ssize_t length = derp_message_write(out, sizeof(out), &rows[i]);
		struct cursor c = cursor_of(out, (size_t)length);
		struct derp_frame frame;
		struct derp_message m;

		assert_true(length >= DERP_FRAME_HEADER);
		assert_int_equal(derp_message_write(out, (size_t)length - 1, &rows[i]), -EMSGSIZE);
		assert_int_equal(derp_frame_next(&c, sizeof(out), &frame), 1);
		assert_int_equal(c.left, 0);
		assert_int_equal(derp_message_parse(&frame, &m), 0);
		assert_int_equal(m.length, rows[i].length);
		if (m.length > 0)
			assert_memory_equal(m.data, rows[i].data, m.length);
		m.data = rows[i].data;
		assert_memory_equal(&m, &rows[i], sizeof(m));
	}
}

/* The bytes of a frame as the protocol lays them out, not as our reader reads them. */
static void layouts_are_the_protocol_s(void **state)
{
	uint8_t out[64];
	const struct derp_message gone = {
		.type = DERP_PEER_GONE, .key = {{0xaa}}, .reason = DERP_GONE_NOT_HERE};
	const struct derp_message restarting = {
		.type = DERP_RESTARTING, .reconnect_in_ms = 1, .try_for_ms = 2};

	(void)state;
	assert_int_equal(derp_message_write(out, sizeof(out), &gone), 5 + 33);
	assert_memory_equal(out, "\x08\x00\x00\x00\x21\xaa", 6);
	assert_int_equal(out[37], 1);
	assert_int_equal(derp_message_write(out, sizeof(out), &restarting), 5 + 8);
	assert_memory_equal(out, "\x15\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x02", 13);
}

static void the_official_client_s_info_opens(void **state)
{
	struct secret_key client = known_secret("client_secret"),
			  server = known_secret("server_secret");
	struct public_key client_public = known_public("client_public"),
			  server_public = known_public("server_public");
	struct vector_bytes payload = known("client_info");
	struct derp_frame frame = {DERP_CLIENT_INFO, payload.bytes, payload.length};
	struct derp_client_info client_info;
	struct derp_server_info server_info;
	struct key_box at_server, at_client;
	struct derp_message m;

	(void)state;
	assert_int_equal(key_box_init(&server, &client_public, &at_server), 0);
	assert_int_equal(key_box_init(&client, &server_public, &at_client), 0);
	assert_memory_equal(&at_server, &at_client, sizeof(at_server));
	assert_int_equal(derp_message_parse(&frame, &m), 0);
	assert_true(public_key_equal(&m.key, &client_public));
	assert_int_equal(derp_client_info_open(&m, &at_server, &client_info), 0);
	assert_int_equal(client_info.version, 2);
	assert_true(client_info.can_ack_pings);
	assert_false(client_info.is_prober || client_info.has_mesh_key);
	assert_string_equal(client_info.app_name, "pillion");

	payload = known("server_info");
	frame = (struct derp_frame){DERP_SERVER_INFO, payload.bytes, payload.length};
	assert_int_equal(derp_message_parse(&frame, &m), 0);
	assert_int_equal(derp_server_info_open(&m, &at_client, &server_info), 0);
	assert_int_equal(server_info.version, 2);
	assert_int_equal(server_info.bytes_per_second, 1000);
	assert_int_equal(server_info.bytes_burst, 2000);

	/* One bit anywhere, and it is refused. */
	for (size_t i = 0; i < payload.length; i++) {
		payload.bytes[i] ^= 0x10;
		assert_int_equal(derp_server_info_open(&m, &at_client, &server_info), -EBADMSG);
		payload.bytes[i] ^= 0x10;
	}
	for (size_t i = 0; i < DERP_BOX_OVERHEAD; i++) {
		m.length = i;
		assert_int_equal(derp_server_info_open(&m, &at_client, &server_info), -EBADMSG);
	}
}

static void our_info_is_the_official_one(void **state)
{
	struct secret_key client = known_secret("client_secret");
	struct public_key client_public = known_public("client_public"),
			  server_public = known_public("server_public");
	struct vector_bytes official = known("client_info");
	struct derp_client_info info = {.version = 2, .can_ack_pings = true, .app_name = "pillion"};
	uint8_t out[DERP_INFO_MAX];
	struct key_box box;
	ssize_t length;

	(void)state;
	/* With the official client's nonce, the same bytes. */
	assert_int_equal(key_box_init(&client, &server_public, &box), 0);
	length = derp_client_info_write(out, sizeof(out), &client_public, &box,
					official.bytes + KEY_SIZE, &info);
	assert_int_equal(length, DERP_FRAME_HEADER + (ssize_t)official.length);
	assert_memory_equal(out + DERP_FRAME_HEADER, official.bytes, official.length);
}

static void client_info_keeps_a_relay_s_rules(void **state)
{
	struct secret_key client = known_secret("client_secret");
	struct public_key client_public = known_public("client_public"),
			  server_public = known_public("server_public");
	static const uint8_t nonce[DERP_NONCE_SIZE] = {9};
	struct derp_client_info info = {.version = 2, .is_prober = true, .has_mesh_key = true};
	struct derp_client_info back;
	uint8_t out[DERP_INFO_MAX];
	struct derp_message m;
	struct derp_frame frame;
	struct key_box box;
	struct cursor c;

	(void)state;
	memset(info.mesh_key, 0xab, sizeof(info.mesh_key));
	memset(info.app_name, '"', DERP_APP_NAME_MAX);
	key_box_init(&client, &server_public, &box);
	c = cursor_of(out, (size_t)derp_client_info_write(out, sizeof(out), &client_public, &box,
							  nonce, &info));
	assert_int_equal(derp_frame_next(&c, sizeof(out), &frame), 1);
	assert_int_equal(derp_message_parse(&frame, &m), 0);
	assert_int_equal(derp_client_info_open(&m, &box, &back), 0);
	assert_memory_equal(&back, &info, sizeof(info));
	/* A name that isn't printable ASCII is refused. */
	info.app_name[0] = '\t';
	c = cursor_of(out, (size_t)derp_client_info_write(out, sizeof(out), &client_public, &box,
							  nonce, &info));
	derp_frame_next(&c, sizeof(out), &frame);
	derp_message_parse(&frame, &m);
	assert_int_equal(derp_client_info_open(&m, &box, &back), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_taken_whole),
		cmocka_unit_test(a_frame_over_the_limit_is_refused_by_its_header),
		cmocka_unit_test(payloads_too_short_too_long_or_unknown),
		cmocka_unit_test(every_message_reads_as_it_was_written),
		cmocka_unit_test(layouts_are_the_protocol_s),
		cmocka_unit_test(the_official_client_s_info_opens),
		cmocka_unit_test(our_info_is_the_official_one),
		cmocka_unit_test(client_info_keeps_a_relay_s_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
