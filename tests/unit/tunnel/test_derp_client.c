/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/test_derp_client.c - the relay client against a relay made of the codec
 *
 *	client ── bytes, cut as the test says ──▶ relay (here)
 *	client ◀── frames, cut likewise ───────── relay
 */
#include "tunnel/relay/derp_client.h"

#include "base/limits.h"
#include "unit/unit.h"

#include <sodium.h>

static const struct secret_key node = {{0x08, 1, 2, [31] = 0x40}};
static const struct secret_key server = {{0x10, 3, 4, [31] = 0x40}};
static const struct public_key peer = {{0xaa, 0xbb}};

struct relay {
	struct derp_client *client;
	struct key_box box;
	size_t piece; /* bytes given to the client at a time */
	size_t taken; /* bytes of the frame that sent() gave last */
	nanoseconds now;
};

/* What the last exchange() told. */
static struct derp_message events[64];
static uint8_t events_data[64][256];
static size_t event_count;

static int give(struct relay *r, const uint8_t *bytes, size_t length)
{
	int result = 0;

	while (length > 0 && result >= 0) {
		size_t piece = length < r->piece ? length : r->piece;

		result = derp_client_receive(r->client, bytes, piece, r->now);
		while (result >= 0 &&
		       (result = derp_client_next(r->client, r->now, &events[event_count])) > 0) {
			struct derp_message *e = &events[event_count];

			if (e->data) {
				assert_true(e->length <= sizeof(events_data[0]));
				memcpy(events_data[event_count], e->data, e->length);
			}
			assert_true(++event_count < 64);
		}
		bytes += piece;
		length -= piece;
	}
	return result;
}

static int give_message(struct relay *r, const struct derp_message *m)
{
	uint8_t out[DERP_PACKET_MAX + 128];
	ssize_t length = derp_message_write(out, sizeof(out), m);

	assert_true(length > 0);
	event_count = 0;
	return give(r, out, (size_t)length);
}

/* The next frame that the client sent; its bytes stay in the output until the next call. */
static bool sent(struct relay *r, struct derp_message *ret)
{
	struct buffer *output = derp_client_output(r->client);
	struct derp_frame frame;
	struct cursor c;

	buffer_consume(output, r->taken);
	r->taken = 0;
	c = cursor_of(output->length ? buffer_head(output) : NULL, output->length);
	if (derp_frame_next(&c, DERP_PACKET_MAX + 128, &frame) != 1)
		return false;
	r->taken = DERP_FRAME_HEADER + frame.length;
	assert_int_equal(derp_message_parse(&frame, ret), 0);
	return true;
}

static struct relay relay_begin(size_t piece)
{
	struct relay r = {.piece = piece, .now = 1000 * NSEC_PER_SEC};
	struct public_key node_public;

	r.client = derp_client_new(&node, "pillion", r.now);
	assert_non_null(r.client);
	secret_key_public(&node, &node_public);
	assert_int_equal(key_box_init(&server, &node_public, &r.box), 0);
	return r;
}

static void give_server_info(struct relay *r, uint32_t rate, uint32_t burst)
{
	struct derp_server_info info = {
		.version = 2, .bytes_per_second = rate, .bytes_burst = burst};
	uint8_t out[DERP_INFO_MAX], nonce[DERP_NONCE_SIZE] = {1};
	ssize_t length = derp_server_info_write(out, sizeof(out), &r->box, nonce, &info);

	event_count = 0;
	assert_int_equal(give(r, out, (size_t)length), 0);
}

static void greet(struct relay *r, uint32_t rate, uint32_t burst)
{
	struct derp_message m = {.type = DERP_SERVER_KEY};
	struct derp_client_info info;
	struct public_key node_public;

	secret_key_public(&server, &m.key);
	assert_int_equal(give_message(r, &m), 0);
	assert_int_equal(event_count, 0);
	assert_true(sent(r, &m));
	assert_int_equal(m.type, DERP_CLIENT_INFO);
	secret_key_public(&node, &node_public);
	assert_true(public_key_equal(&m.key, &node_public));
	assert_int_equal(derp_client_info_open(&m, &r->box, &info), 0);
	assert_int_equal(info.version, 2);
	assert_true(info.can_ack_pings);
	assert_false(info.has_mesh_key);
	assert_string_equal(info.app_name, "pillion");
	give_server_info(r, rate, burst);
	assert_int_equal(event_count, 1);
	assert_int_equal(events[0].type, DERP_SERVER_INFO);
	assert_false(sent(r, &m));
}

static struct relay relay_ready(size_t piece)
{
	struct relay r = relay_begin(piece);

	greet(&r, 0, 0);
	return r;
}

static void greets_whatever_the_pieces(void **state)
{
	static const size_t pieces[] = {1, 2, 7, 40, 1000};

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct relay r = relay_ready(pieces[i]);

		derp_client_free(r.client);
	}
}

static void packets_go_both_ways(void **state)
{
	struct relay r = relay_ready(3);
	struct derp_message m = {
		.type = DERP_RECV_PACKET, .key = peer, .data = (const uint8_t *)"in", .length = 2};

	(void)state;
	assert_int_equal(give_message(&r, &m), 0);
	assert_int_equal(event_count, 1);
	assert_int_equal(events[0].type, DERP_RECV_PACKET);
	assert_true(public_key_equal(&events[0].key, &peer));
	assert_int_equal(events[0].length, 2);
	assert_memory_equal(events_data[0], "in", 2);

	assert_int_equal(derp_client_send(r.client, &peer, "out", 3, r.now), 0);
	assert_true(sent(&r, &m));
	assert_int_equal(m.type, DERP_SEND_PACKET);
	assert_true(public_key_equal(&m.key, &peer));
	assert_memory_equal(m.data, "out", 3);
	derp_client_free(r.client);
}

static void what_else_a_relay_says(void **state)
{
	static const uint8_t eight[] = "12345678";
	struct relay r = relay_ready(1000);
	struct derp_message m = {.type = DERP_PEER_GONE, .key = peer, .reason = 7};

	(void)state;
	give_message(&r, &m);
	assert_int_equal(events[0].type, DERP_PEER_GONE);
	assert_int_equal(events[0].reason, 7);
	m = (struct derp_message){.type = DERP_HEALTH, .data = eight, .length = 4};
	give_message(&r, &m);
	assert_int_equal(events[0].type, DERP_HEALTH);
	assert_int_equal(events[0].length, 4);
	m = (struct derp_message){.type = DERP_RESTARTING, .reconnect_in_ms = 5, .try_for_ms = 9};
	give_message(&r, &m);
	assert_int_equal(events[0].type, DERP_RESTARTING);
	assert_int_equal(events[0].reconnect_in_ms, 5);
	assert_int_equal(events[0].try_for_ms, 9);
	/* A ping is answered at once, with the same bytes. */
	m = (struct derp_message){.type = DERP_PING, .data = eight, .length = 8};
	give_message(&r, &m);
	assert_int_equal(event_count, 0);
	assert_true(sent(&r, &m));
	assert_int_equal(m.type, DERP_PONG);
	assert_memory_equal(m.data, eight, 8);
	/* Ours comes back as a message. */
	assert_int_equal(derp_client_ping(r.client, eight), 0);
	assert_true(sent(&r, &m));
	assert_int_equal(m.type, DERP_PING);
	m = (struct derp_message){.type = DERP_PONG, .data = eight, .length = 8};
	give_message(&r, &m);
	assert_int_equal(events[0].type, DERP_PONG);
	assert_memory_equal(events_data[0], eight, 8);
	assert_int_equal(derp_client_note_preferred(r.client, true), 0);
	assert_true(sent(&r, &m));
	assert_int_equal(m.type, DERP_NOTE_PREFERRED);
	assert_true(m.preferred);
	derp_client_free(r.client);
}

static void unknown_and_short_frames_are_passed_over(void **state)
{
	/* Type 0d; a PeerGone of 3 bytes; a frame for relays; then a packet. */
	static const uint8_t frames[] = {0x0d, 0, 0,    0, 2, 1, 2, 0x08, 0, 0, 0, 3, 1,
					 2,    3, 0x10, 0, 0, 0, 0, 5,    0, 0, 0, 33};
	struct relay r = relay_ready(1);
	uint8_t payload[33] = {9};

	(void)state;
	event_count = 0;
	assert_int_equal(give(&r, frames, sizeof(frames)), 0);
	assert_int_equal(give(&r, payload, sizeof(payload)), 0);
	assert_int_equal(event_count, 1);
	assert_int_equal(events[0].type, DERP_RECV_PACKET);
	derp_client_free(r.client);
}

static void greetings_that_end_it(void **state)
{
	static const struct {
		uint8_t bytes[64];
		size_t length;
		int result;
	} rows[] = {
		/* 1: not a relay */ {"HTTP/1.1 200 OK", 15, -EMSGSIZE},
		/* 2: another frame first */ {{6, 0, 0, 0, 0}, 5, -EPROTO},
		/* 3: no magic */ {{1, 0, 0, 0, 40}, 45, -EPROTO},
		/* 4: above 1 KiB */ {{1, 0, 0, 4, 1}, 5, -EMSGSIZE},
		/* 5: a low-order key */
		{{1, 0, 0, 0, 40, 'D', 'E', 'R', 'P', 0xf0, 0x9f, 0x94, 0x91}, 45, -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct relay r = relay_begin(1000);
		struct derp_message event;

		if (give(&r, rows[i].bytes, rows[i].length) != rows[i].result)
			fail_msg("row %zu", i + 1);
		/* And that is final. */
		assert_int_equal(derp_client_next(r.client, r.now, &event), rows[i].result);
		assert_int_equal(derp_client_receive(r.client, "x", 1, r.now), rows[i].result);
		assert_int_equal(derp_client_send(r.client, &peer, "x", 1, r.now), -ENOTCONN);
		derp_client_free(r.client);
	}
}

static void a_server_info_of_another_is_refused(void **state)
{
	struct relay r = relay_begin(1000);
	struct derp_message m = {.type = DERP_SERVER_KEY};
	uint8_t out[64] = {DERP_SERVER_INFO, 0, 0, 0, 59};

	(void)state;
	secret_key_public(&server, &m.key);
	give_message(&r, &m);
	assert_int_equal(give(&r, out, sizeof(out)), -EBADMSG);
	derp_client_free(r.client);
}

static void silence_ends_it(void **state)
{
	struct relay r = relay_begin(1000);
	struct derp_message m = {.type = DERP_KEEP_ALIVE};

	(void)state;
	/* 10 s for the greeting. */
	assert_int_equal(derp_client_deadline(r.client), r.now + 10 * NSEC_PER_SEC);
	assert_int_equal(derp_client_timeout(r.client, r.now + 9 * NSEC_PER_SEC), 0);
	assert_int_equal(derp_client_timeout(r.client, r.now + 10 * NSEC_PER_SEC), -ETIMEDOUT);
	derp_client_free(r.client);

	/* Then 120 s without a byte; keep-alives feed it. It is pinged long before. */
	r = relay_ready(1000);
	for (int minute = 0; minute < 60; minute++) {
		r.now += 65 * NSEC_PER_SEC;
		assert_int_equal(derp_client_timeout(r.client, r.now), 0);
		assert_int_equal(give_message(&r, &m), 0);
		assert_int_equal(event_count, 0);
	}
	buffer_consume(derp_client_output(r.client), derp_client_output(r.client)->length);
	for (int i = 1; i <= 4; i++) {
		nanoseconds at = derp_client_deadline(r.client);

		assert_int_equal(at, r.now + i * DERP_CLIENT_KEEP_ALIVE);
		assert_int_equal(derp_client_timeout(r.client, at - 1), 0);
		assert_int_equal(derp_client_output(r.client)->length, 0);
		assert_int_equal(derp_client_timeout(r.client, at), 0);
		assert_int_equal(derp_client_output(r.client)->length,
				 DERP_FRAME_HEADER + DERP_PING_SIZE);
		assert_int_equal(buffer_head(derp_client_output(r.client))[0], DERP_PING);
		buffer_consume(derp_client_output(r.client), DERP_FRAME_HEADER + DERP_PING_SIZE);
	}
	assert_int_equal(derp_client_deadline(r.client), r.now + 120 * NSEC_PER_SEC);
	assert_int_equal(derp_client_timeout(r.client, r.now + 120 * NSEC_PER_SEC), -ETIMEDOUT);
	assert_int_equal(derp_client_send(r.client, &peer, "", 0, r.now), -ENOTCONN);
	derp_client_free(r.client);
}

static void the_relay_s_rate_limit_is_kept(void **state)
{
	struct relay r = relay_begin(1000);
	uint8_t packet[963] = {0}; /* 1000 with header and key */
	struct derp_message m;
	int passed = 0;

	(void)state;
	greet(&r, 10000, 2000);
	assert_int_equal(derp_client_send(r.client, &peer, packet, sizeof(packet), r.now), 0);
	assert_int_equal(derp_client_send(r.client, &peer, packet, sizeof(packet), r.now), 0);
	assert_int_equal(derp_client_send(r.client, &peer, packet, sizeof(packet), r.now), -EDQUOT);
	while (sent(&r, &m))
		;
	for (int ms = 0; ms < 10000; ms++) {
		r.now += NSEC_PER_MSEC;
		passed += derp_client_send(r.client, &peer, packet, sizeof(packet), r.now) == 0;
		while (sent(&r, &m))
			;
	}
	/* 10 s at 10 packets a second. */
	assert_in_range(passed, 99, 100);
	derp_client_free(r.client);
}

static void a_full_output_still_takes_pongs(void **state)
{
	static uint8_t packet[4000];
	struct relay r = relay_ready(1000);
	struct derp_message ping = {
		.type = DERP_PING, .data = (const uint8_t *)"12345678", .length = 8};
	size_t before;

	(void)state;
	while (derp_client_send(r.client, &peer, packet, sizeof(packet), r.now) == 0)
		;
	before = derp_client_output(r.client)->length;
	assert_in_range(before, LIMIT_DERP_QUEUE - 6000, LIMIT_DERP_QUEUE);
	assert_int_equal(give_message(&r, &ping), 0);
	assert_int_equal(derp_client_output(r.client)->length, before + 13);
	/* A relay that only pings can't make it grow. */
	for (int i = 0; i < 100000; i++)
		assert_int_equal(give_message(&r, &ping), 0);
	assert_in_range(derp_client_output(r.client)->length, before, LIMIT_DERP_QUEUE);
	assert_int_equal(derp_client_send(r.client, &peer, packet, DERP_PACKET_MAX + 1, r.now),
			 -EMSGSIZE);
	derp_client_free(r.client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greets_whatever_the_pieces),
		cmocka_unit_test(packets_go_both_ways),
		cmocka_unit_test(what_else_a_relay_says),
		cmocka_unit_test(unknown_and_short_frames_are_passed_over),
		cmocka_unit_test(greetings_that_end_it),
		cmocka_unit_test(a_server_info_of_another_is_refused),
		cmocka_unit_test(silence_ends_it),
		cmocka_unit_test(the_relay_s_rate_limit_is_kept),
		cmocka_unit_test(a_full_output_still_takes_pongs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
