/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/test_derp_server.c - the relay's core under virtual time */
#include "unit/server/relay_world.h"

static const uint8_t disco_packet[] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac, 1, [100] = 0};

/* 1. A packet arrives with its sender's key, whatever pieces the bytes came in. */
static void test_forward(void **state)
{
	static const size_t sizes[] = {0, 1, 31, 1400, 16384, DERP_PACKET_MAX};
	static const size_t pieces[] = {0, 1, 5, 37, 4096};

	(void)state;
	for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
		struct world_client *a, *b;
		struct world w;

		world_begin(&w, 0);
		a = world_join(&w, NULL);
		b = world_join(&w, NULL);
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			static uint8_t packet[DERP_PACKET_MAX], frame[DERP_PACKET_MAX + 64];
			struct derp_message m = {.type = DERP_SEND_PACKET, .key = b->key};
			ssize_t length;

			randombytes_buf(packet, sizes[i]);
			m.data = packet;
			m.length = sizes[i];
			length = derp_message_write(frame, sizeof(frame), &m);
			assert_int_equal(world_give(&w, a, frame, (size_t)length, pieces[p]), 0);
			assert_true(world_read(b, &m));
			assert_int_equal(m.type, DERP_RECV_PACKET);
			assert_memory_equal(&m.key, &a->key, sizeof(m.key));
			assert_int_equal(m.length, sizes[i]);
			assert_memory_equal(m.data, packet, sizes[i]);
			assert_false(world_read(b, &m));
		}
		assert_int_equal(w.server->statistics.packets_out, 6);
		assert_int_equal(w.server->statistics.queued_bytes, 0);
		world_end(&w);
	}
}

/* 2. The greeting: what ends it, and what does not. */
static void test_greeting(void **state)
{
	enum { WRONG_BOX, ZERO_KEY, OTHER_FRAME, TOO_LONG, LOW_ORDER, CASES };
	uint8_t hello[DERP_INFO_MAX];

	(void)state;
	for (int i = 0; i < CASES; i++) {
		static const uint8_t too_long[DERP_FRAME_HEADER] = {DERP_CLIENT_INFO, 0, 1, 0, 0};
		struct world_client *k;
		struct world w;
		ssize_t length;
		int r = 0;

		world_begin(&w, 0);
		k = world_connect(&w, NULL);
		length = world_client_info(&w, k, hello, sizeof(hello));
		if (i == WRONG_BOX)
			hello[length - 1] ^= 1;
		if (i == ZERO_KEY)
			memset(hello + DERP_FRAME_HEADER, 0, KEY_SIZE);
		if (i == LOW_ORDER) {
			memset(hello + DERP_FRAME_HEADER, 0, KEY_SIZE);
			hello[DERP_FRAME_HEADER] = 1;
		}
		if (i == OTHER_FRAME)
			r = world_send(&w, k, &k->key, "x", 1);
		else if (i == TOO_LONG)
			r = world_give(&w, k, too_long, sizeof(too_long), 0);
		else
			r = world_give(&w, k, hello, (size_t)length, 0);
		assert_int_equal(r, i == TOO_LONG ? -EMSGSIZE : -EBADMSG);
		assert_int_equal(w.server->statistics.malformed, 1);
		assert_int_equal(w.server->statistics.peers, 0);
		world_end(&w);
	}
}

/* 3. Who says nothing, or whose verdict doesn't come, is cut after ten seconds. */
static void test_patience(void **state)
{
	struct world_client *silent, *waiting, *ready;
	uint8_t hello[DERP_INFO_MAX];
	struct world w;

	(void)state;
	world_begin(&w, 0);
	ready = world_join(&w, NULL);
	silent = world_connect(&w, NULL);
	w.no_verdict = true;
	waiting = world_connect(&w, NULL);
	world_wait(&w, 5 * NSEC_PER_SEC);
	world_give(&w, waiting, hello, (size_t)world_client_info(&w, waiting, hello, sizeof(hello)),
		   0);
	world_wait(&w, 4 * NSEC_PER_SEC);
	assert_false(silent->closed);
	world_wait(&w, 2 * NSEC_PER_SEC);
	assert_true(silent->closed);
	assert_false(waiting->closed);
	world_wait(&w, 5 * NSEC_PER_SEC);
	assert_true(waiting->closed);
	assert_false(ready->closed);
	assert_int_equal(w.server->statistics.timed_out, 2);
	world_end(&w);
}

/* 4. A refused client hears nothing more, and is not there. */
static void test_refused(void **state)
{
	struct world_client *a, *k;
	uint8_t hello[DERP_INFO_MAX];
	struct derp_message m;
	struct world w;

	(void)state;
	world_begin(&w, 0);
	a = world_join(&w, NULL);
	w.refuse = true;
	k = world_connect(&w, NULL);
	world_give(&w, k, hello, (size_t)world_client_info(&w, k, hello, sizeof(hello)), 0);
	assert_true(k->closed);
	assert_true(world_read(k, &m) && m.type == DERP_SERVER_KEY);
	assert_false(world_read(k, &m));
	assert_int_equal(world_send(&w, a, &k->key, "x", 1), 0);
	assert_true(world_read(a, &m) && m.type == DERP_PEER_GONE);
	assert_int_equal(m.reason, DERP_GONE_NOT_HERE);
	world_end(&w);
}

/* 5. What a client sends while its verdict is awaited is not lost. */
static void test_early(void **state)
{
	struct world_client *a, *b;
	uint8_t hello[DERP_INFO_MAX];
	struct derp_message m;
	struct world w;

	(void)state;
	world_begin(&w, 0);
	b = world_join(&w, NULL);
	w.no_verdict = true;
	a = world_connect(&w, NULL);
	world_give(&w, a, hello, (size_t)world_client_info(&w, a, hello, sizeof(hello)), 0);
	assert_int_equal(world_send(&w, a, &b->key, "early", 5), 0);
	assert_false(world_read(b, &m));
	derp_connection_admit(a->connection, true, w.now);
	world_attend(&w);
	assert_true(world_read(b, &m));
	assert_int_equal(m.type, DERP_RECV_PACKET);
	assert_memory_equal(m.data, "early", 5);
	world_end(&w);
}

/* 6. PeerGone: three at once for unknown keys, three a second; and to those who have sent. */
static void test_peer_gone(void **state)
{
	struct world_client *a, *b, *c;
	struct derp_message m;
	struct world w;
	int told = 0;

	(void)state;
	world_begin(&w, 0);
	a = world_join(&w, NULL);
	b = world_join(&w, NULL);
	c = world_join(&w, NULL);
	for (int i = 0; i < 50; i++) {
		struct public_key nobody = {{0x77, (uint8_t)i}};

		assert_int_equal(world_send(&w, a, &nobody, "x", 1), 0);
	}
	while (world_read(a, &m))
		told += m.type == DERP_PEER_GONE && m.reason == DERP_GONE_NOT_HERE;
	assert_int_equal(told, DERP_SERVER_GONE_BURST);
	world_wait(&w, NSEC_PER_SEC);
	for (int i = 0; i < 50; i++)
		assert_int_equal(world_send(&w, a, &(struct public_key){{0x78}}, "x", 1), 0);
	while (world_read(a, &m))
		told++;
	assert_int_equal(told, 2 * DERP_SERVER_GONE_BURST);

	assert_int_equal(world_send(&w, a, &b->key, "x", 1), 0);
	world_close(b);
	world_attend(&w);
	assert_true(world_read(a, &m));
	assert_int_equal(m.type, DERP_PEER_GONE);
	assert_int_equal(m.reason, DERP_GONE_DISCONNECTED);
	assert_memory_equal(&m.key, &b->key, sizeof(m.key));
	assert_false(world_read(a, &m));
	assert_false(world_read(c, &m)); /* never sent to it */
	world_end(&w);
}

/* 7. Keep-alives each 60 to 65 seconds, and pongs. */
static void test_keep_alive(void **state)
{
	static const uint8_t ping[DERP_PING_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
	nanoseconds last;
	struct world_client *a;
	struct derp_message m;
	struct world w;

	(void)state;
	world_begin(&w, 0);
	a = world_join(&w, NULL);
	last = w.now;
	for (int i = 0; i < 10; i++) {
		while (!world_read(a, &m))
			world_wait(&w, NSEC_PER_SEC);
		assert_int_equal(m.type, DERP_KEEP_ALIVE);
		assert_in_range((w.now - last) / NSEC_PER_SEC, 40, 46);
		last = w.now;
	}
	world_say(&w, a,
		  &(struct derp_message){.type = DERP_PING, .data = ping, .length = sizeof(ping)});
	assert_true(world_read(a, &m));
	assert_int_equal(m.type, DERP_PONG);
	assert_memory_equal(m.data, ping, sizeof(ping));
	world_end(&w);
}

/* 8. Two connections with one key: who wrote last gets the packets; both are told. */
static void test_same_key(void **state)
{
	struct world_client *sender, *first, *second;
	struct derp_message m;
	struct world w;

	(void)state;
	world_begin(&w, 0);
	sender = world_join(&w, NULL);
	first = world_join(&w, NULL);
	second = world_join(&w, &first->secret);
	assert_true(world_read(first, &m) && m.type == DERP_HEALTH && m.length > 0);
	assert_true(world_read(second, &m) && m.type == DERP_HEALTH && m.length > 0);

	world_send(&w, sender, &first->key, "1", 1);
	assert_true(world_read(second, &m) && m.type == DERP_RECV_PACKET);
	assert_false(world_read(first, &m));
	world_send(&w, first, &sender->key, "2", 1);
	world_send(&w, sender, &first->key, "3", 1);
	assert_true(world_read(first, &m) && m.type == DERP_RECV_PACKET);
	assert_false(world_read(second, &m));

	world_close(first);
	world_attend(&w);
	assert_true(world_read(second, &m) && m.type == DERP_HEALTH && m.length == 0);
	while (world_read(sender, &m))
		assert_int_not_equal(m.type, DERP_PEER_GONE);
	world_send(&w, sender, &first->key, "4", 1);
	assert_true(world_read(second, &m) && m.type == DERP_RECV_PACKET);
	assert_int_equal(w.server->statistics.peers, 2);

	/* More than a few: the oldest goes. */
	for (unsigned int i = 0; i < LIMIT_RELAY_SAME_KEY; i++)
		world_join(&w, &first->secret);
	assert_true(second->closed);
	assert_int_equal(w.server->statistics.ready, 1 + LIMIT_RELAY_SAME_KEY);
	world_end(&w);
}

/* 9. A client that does not read costs a bounded amount, and after two seconds its place. */
static void test_deaf(void **state)
{
	struct world_client *a, *deaf, *b;
	static uint8_t packet[1400];
	struct derp_message m;
	struct world w;

	(void)state;
	world_begin(&w, 0);
	a = world_join(&w, NULL);
	b = world_join(&w, NULL);
	deaf = world_join(&w, NULL);
	deaf->deaf = true;
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(world_send(&w, a, &deaf->key, packet, sizeof(packet)), 0);
		assert_int_equal(world_send(&w, a, &b->key, packet, sizeof(packet)), 0);
		assert_true(world_read(b, &m)); /* at once, each time */
		assert_true(w.server->statistics.queued_bytes <= LIMIT_RELAY_QUEUE_BYTES);
	}
	assert_true(w.server->statistics.dropped_queue > 4000);
	world_wait(&w, NSEC_PER_SEC);
	assert_false(deaf->closed);
	world_wait(&w, 2 * NSEC_PER_SEC);
	assert_true(deaf->closed);
	assert_int_equal(w.server->statistics.stalled, 1);
	assert_int_equal(w.server->statistics.queued_bytes, 0);
	assert_true(world_read(a, &m) && m.type == DERP_PEER_GONE);
	world_end(&w);
}

/* 10. Into one slow client, a flood does not push out a neighbour's packets, nor discovery. */
static void test_flood_to_one(void **state)
{
	struct world_client *flood, *polite, *slow;
	static uint8_t packet[1000];
	int of_polite = 0, of_disco = 0, of_flood = 0;
	struct derp_message m;
	struct world w;

	(void)state;
	world_begin(&w, 0);
	flood = world_join(&w, NULL);
	polite = world_join(&w, NULL);
	slow = world_join(&w, NULL);
	slow->deaf = true;
	for (int i = 0; i < 2000; i++) {
		world_send(&w, flood, &slow->key, packet, sizeof(packet));
		if (i % 100 == 0)
			world_send(&w, polite, &slow->key, "polite", 6);
		if (i % 200 == 0)
			world_send(&w, polite, &slow->key, disco_packet, sizeof(disco_packet));
	}
	slow->deaf = false;
	derp_connection_unblocked(slow->connection);
	while (derp_connection_output(slow->connection, &slow->line, slow->line.length + 1))
		;
	while (world_read(slow, &m)) {
		of_polite += m.length == 6;
		of_disco += m.length == sizeof(disco_packet);
		of_flood += m.length == sizeof(packet);
	}
	assert_int_equal(of_polite, 20);
	assert_int_equal(of_disco, 10);
	assert_true(of_flood < 100);
	world_end(&w);
}

/* 11. A rate: what is over it is not read, and nobody else is slowed. */
static void test_rate(void **state)
{
	static uint8_t packet[1000];
	struct world_client *a, *b;
	nanoseconds begin;
	size_t sent = 0;
	struct world w;

	(void)state;
	world_begin(&w, 100000);
	a = world_join(&w, NULL);
	b = world_join(&w, NULL);
	begin = w.now;
	while (w.now < begin + 10 * NSEC_PER_SEC) {
		nanoseconds after = a->connection->read_after;

		if (after > w.now) {
			w.now = after;
			continue;
		}
		assert_int_equal(world_send(&w, a, &b->key, packet, sizeof(packet)), 0);
		sent += sizeof(packet) + DERP_FRAME_HEADER + KEY_SIZE;
	}
	assert_in_range(sent, 1000000, 1102000); /* ten seconds, and one of burst */
	assert_int_equal(b->connection->read_after, 0);
	world_end(&w);
}

/* 12. Frames that mean nothing here are skipped; one too long ends the connection. */
static void test_odd_frames(void **state)
{
	static const uint8_t odd[] = {0x99,
				      0,
				      0,
				      0,
				      3,
				      1,
				      2,
				      3,
				      DERP_WATCH_CONNS,
				      0,
				      0,
				      0,
				      0,
				      DERP_SEND_PACKET,
				      0,
				      0,
				      0,
				      2,
				      1,
				      2,
				      DERP_NOTE_PREFERRED,
				      0,
				      0,
				      0,
				      0};
	static const uint8_t long_one[] = {DERP_SEND_PACKET, 0, 1, 0, 33};
	struct world_client *a;
	struct derp_message m;
	struct world w;

	(void)state;
	world_begin(&w, 0);
	a = world_join(&w, NULL);
	assert_int_equal(world_give(&w, a, odd, sizeof(odd), 0), 0);
	assert_int_equal(w.server->statistics.unknown_frames, 4);
	assert_int_equal(world_send(&w, a, &a->key, "self", 4), 0);
	assert_true(world_read(a, &m) && m.type == DERP_RECV_PACKET);
	world_say(&w, a, &(struct derp_message){.type = DERP_NOTE_PREFERRED, .preferred = true});
	world_say(&w, a, &(struct derp_message){.type = DERP_NOTE_PREFERRED, .preferred = true});
	assert_int_equal(w.server->statistics.home, 1);
	assert_int_equal(world_give(&w, a, long_one, sizeof(long_one), 0), -EMSGSIZE);
	assert_int_equal(w.server->statistics.home, 0);
	world_end(&w);
}

/* 13. Many clients, at random: the relay agrees with a model that knows who is here. */
static void test_model(void **state)
{
	struct secret_key secrets[6];
	struct world w;

	(void)state;
	for (int i = 0; i < 6; i++)
		secret_key_generate(&secrets[i]);
	world_begin(&w, 0);
	for (int step = 0; step < 3000; step++) {
		size_t at = randombytes_uniform(12);
		struct world_client *k = at < w.count ? &w.clients[at] : NULL;
		struct world_client *active = NULL;
		struct public_key key;
		struct derp_message m;
		char text[16];
		bool got = false;

		if (!k || k->closed) {
			size_t old = w.count;

			if (k) { /* its place again */
				buffer_free(&k->line);
				*k = (struct world_client){0};
				w.count = at;
			}
			k = world_join(&w, &secrets[randombytes_uniform(6)]);
			if (old > w.count)
				w.count = old;
			for (size_t i = 0; i < w.count; i++)
				while (world_read(&w.clients[i], &m))
					;
			continue;
		}
		if (randombytes_uniform(10) == 0) {
			world_close(k);
			world_attend(&w);
			for (size_t i = 0; i < w.count; i++)
				while (world_read(&w.clients[i], &m))
					;
			continue;
		}
		secret_key_public(&secrets[randombytes_uniform(6)], &key);
		snprintf(text, sizeof(text), "%d", step);
		world_send(&w, k, &key, text, strlen(text));
		for (size_t i = 0; i < w.count; i++) {
			struct world_client *other = &w.clients[i];

			if (!other->closed && public_key_equal(&other->key, &key))
				active = other;
			while (world_read(other, &m))
				if (m.type == DERP_RECV_PACKET) {
					assert_false(got);
					assert_memory_equal(m.data, text, strlen(text));
					assert_memory_equal(&m.key, &k->key, KEY_SIZE);
					assert_memory_equal(&other->key, &key, KEY_SIZE);
					got = true;
				}
		}
		assert_int_equal(got, active != NULL);
		w.now += 50 * NSEC_PER_MSEC;
		derp_server_timeout(w.server, w.now);
		world_attend(&w);
	}
	world_end(&w);
}

/* 14. Expelled, and told of a restart. */
static void test_orders(void **state)
{
	struct world_client *a, *b;
	struct derp_message m;
	struct world w;

	(void)state;
	world_begin(&w, 0);
	a = world_join(&w, NULL);
	b = world_join(&w, NULL);
	derp_server_restarting(w.server, 500, 30000);
	derp_server_expel(w.server, &a->key);
	world_attend(&w);
	assert_true(a->closed);
	assert_false(b->closed);
	assert_true(world_read(b, &m));
	assert_int_equal(m.type, DERP_RESTARTING);
	assert_int_equal(m.reconnect_in_ms, 500);
	assert_int_equal(m.try_for_ms, 30000);
	assert_true(world_read(a, &m) && m.type == DERP_RESTARTING);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forward),    cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_patience),   cmocka_unit_test(test_refused),
		cmocka_unit_test(test_early),      cmocka_unit_test(test_peer_gone),
		cmocka_unit_test(test_keep_alive), cmocka_unit_test(test_same_key),
		cmocka_unit_test(test_deaf),       cmocka_unit_test(test_flood_to_one),
		cmocka_unit_test(test_rate),       cmocka_unit_test(test_odd_frames),
		cmocka_unit_test(test_model),      cmocka_unit_test(test_orders),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
