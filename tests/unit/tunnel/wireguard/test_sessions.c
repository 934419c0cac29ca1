/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_sessions.c - what packets, timers and queues must do
 *
 * The number in a test's name is the item of the conformance list in docs/wireguard.md that it
 * proves: each was a bug in some implementation. The items about handshakes and their guards are
 * in test_handshakes.c.
 */
#include "unit/tunnel/wireguard/world.h"

#include "base/cursor.h"

#include <sodium.h>

static void packets_cross_both_ways(void **state)
{
	struct world *world = world_pair(1);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_peer_stats stats;

	(void)state;
	assert_int_equal(wg_device_deadline(a->device), DEADLINE_NEVER);
	assert_int_equal(node_send(a, b, 1), 0);
	wg_peer_stats(node_peer(a, b), world->now, &stats);
	assert_true(stats.handshaking);
	assert_false(stats.has_session);
	assert_int_equal(stats.staged, 1);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->delivered, 1);
	assert_int_equal(b->last_payload, 1);
	assert_int_equal(b->last_length, 64);
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	assert_int_equal(b->sent[WG_HANDSHAKE], 1);
	/* The packet confirmed the session: no keepalive was needed for it. */
	assert_int_equal(a->sent[WG_KEEPALIVE], 0);
	assert_int_equal(a->sessions, 1);
	assert_int_equal(b->sessions, 1);
	assert_int_equal(node_send(b, a, 2), 1);
	world_pass(world, SECONDS(1));
	assert_int_equal(a->last_payload, 2);
	wg_peer_stats(node_peer(a, b), world->now, &stats);
	assert_true(stats.has_session);
	assert_int_equal(stats.sent_bytes, WG_INITIATION_SIZE + 64 + 32);
	assert_int_equal(stats.received_bytes, WG_RESPONSE_SIZE + 64 + 32);
	assert_true(endpoint_equal(&stats.last_source.endpoint, &b->source.endpoint));
	world_free(world);
}

/* send_batch() - Packets @first … of @lengths in turn, one behind the other as in an arena */
static void send_batch(struct node *from, struct node *to, uint32_t first, size_t count)
{
	static const size_t lengths[] = {1280, 64, 1280, 28, 1277};
	static uint8_t arena[WG_BATCH_MAX * (WG_HEADROOM + 1280 + 16 + WG_TAILROOM)];
	struct iovec packets[WG_BATCH_MAX];
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		size_t length = lengths[i % ARRAY_SIZE(lengths)];
		uint8_t *packet = arena + used + WG_HEADROOM;

		memcpy(packet, node_packet(from, to, first + (uint32_t)i, length), length);
		packets[i] = (struct iovec){packet, length};
		used += wg_sealed_length(from->device, length);
	}
	wg_send_all(node_peer(from, to), packets, count, from->world->now);
}

/* The world's nodes find doubles; here that nothing is lost, and which datagrams went together. */
static void a_batch_arrives_once(void **state)
{
	static const size_t counts[] = {1, 2, 7, WG_BATCH_MAX};
	struct world *world = world_pair(3);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint32_t number = 1;

	(void)state;
	/* Without a session the packets wait for one, each by itself. */
	send_batch(a, b, number, 5);
	number += 5;
	assert_int_equal(a->batches, 0);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->delivered, 5);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		unsigned int delivered = b->delivered, sent = a->sent[WG_DATA];

		send_batch(a, b, number, counts[i]);
		number += (uint32_t)counts[i];
		assert_int_equal(a->batches, i + 1);
		assert_int_equal(a->sent[WG_DATA] - sent, counts[i]);
		world_pass(world, SECONDS(1));
		assert_int_equal(b->delivered - delivered, counts[i]);
		assert_int_equal(b->last_payload, number - 1);
	}
	/* The session ends within the batch: the rest waits for the next one. */
	node_peer(a, b)->current->send_counter = WG_REJECT_AFTER_MESSAGES - 3;
	send_batch(a, b, number, 10);
	number += 10;
	world_pass(world, SECONDS(10));
	assert_int_equal(b->delivered, number - 1);
	world_free(world);
}

static void item_02_padding_is_zeros_to_16_but_not_past_the_mtu(void **state)
{
	static const struct {
		size_t mtu, length, padded;
	} rows[] = {
		/* 1 */ {1280, 28, 32},      /* 2 */ {1280, 32, 32},
		/* 3 */ {1280, 33, 48},      /* 4 */ {1280, 1265, 1280},
		/* 5 */ {1280, 1280, 1280},  /* 6 */ {1277, 1270, 1277},
		/* 7 */ {1277, 1264, 1264},  /* 8 */ {1277, 1277, 1277},
		/* 9 */ {1280, 1281, 1296}, /* larger than the MTU: its last part is padded */
		/* 10 */ {1280, 2560, 2560},
	};
	struct world *world = world_pair(2);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];

	(void)state;
	world_session(a, b);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct wg_keypair *keys = node_peer(b, a)->current;
		uint8_t nonce[AEAD_NONCE_SIZE] = {0}, plain[4096];
		struct wg_transport header;

		print_message("row %zu\n", i + 1);
		wg_device_set_mtu(a->device, rows[i].mtu);
		assert_int_equal(wg_send(node_peer(a, b),
					 node_packet(a, b, (uint32_t)i, rows[i].length),
					 rows[i].length, world->now),
				 1);
		assert_int_equal(a->last_datagram_length, WG_TRANSPORT_SIZE_MIN + rows[i].padded);
		assert_int_equal(
			wg_transport_decode(a->last_datagram, a->last_datagram_length, &header), 0);
		put_le64(nonce + 4, header.counter);
		assert_int_equal(aead_open(&keys->receiving.secret, nonce, NULL, 0,
					   a->last_datagram + WG_TRANSPORT_HEADER_SIZE,
					   a->last_datagram_length - WG_TRANSPORT_HEADER_SIZE,
					   plain),
				 0);
		for (size_t at = rows[i].length; at < rows[i].padded; at++)
			assert_int_equal(plain[at], 0);
		world_pass(world, SECONDS(1));
		assert_int_equal(b->last_length, rows[i].length); /* trimmed */
		assert_int_equal(b->last_payload, i);
	}
	world_free(world);
}

/* Seal @bytes as the node would, whatever they are, and give the datagram to @to. */
static enum wg_verdict inject(struct node *from, struct node *to, const uint8_t *bytes,
			      size_t length)
{
	uint8_t datagram[WG_HEADROOM + 4096 + WG_TAILROOM];

	memcpy(datagram + WG_HEADROOM, bytes, length);
	length = wg_keypair_seal(node_peer(from, to)->current, datagram, length);
	return node_receive(to, &from->source, datagram, length);
}

static void item_02_inner_length_decides_and_keepalives_are_silent(void **state)
{
	struct world *world = world_pair(3);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t v6[48] = {0x60, [5] = 8, [8] = 0xfd, [23] = 1, [24] = 0xfd, [39] = 2};
	uint8_t *packet;
	unsigned int before;

	(void)state;
	world_session(a, b);
	before = b->delivered;
	assert_int_equal(inject(a, b, v6, 0), WG_RECEIVED_KEEPALIVE);
	packet = node_packet(a, b, 1, 64);
	put_be16(packet + 2, 65); /* longer than its message */
	assert_int_equal(inject(a, b, packet, 64), WG_DROPPED_INNER);
	put_be16(packet + 2, 19); /* shorter than its header */
	assert_int_equal(inject(a, b, packet, 64), WG_DROPPED_INNER);
	assert_int_equal(inject(a, b, packet, 16), WG_DROPPED_INNER);
	packet[0] = 0x55;
	assert_int_equal(inject(a, b, packet, 64), WG_DROPPED_INNER);
	assert_int_equal(inject(a, b, v6, 32), WG_DROPPED_INNER);
	v6[5] = 9;
	assert_int_equal(inject(a, b, v6, 48), WG_DROPPED_INNER);
	assert_int_equal(b->delivered, before);
	v6[5] = 3;
	assert_int_equal(inject(a, b, v6, 48), WG_RECEIVED_PACKET);
	assert_int_equal(b->delivered, before + 1);
	assert_int_equal(b->last_length, 43);
	packet = node_packet(a, b, 2, 64);
	put_be16(packet + 2, 40);
	assert_int_equal(inject(a, b, packet, 64), WG_RECEIVED_PACKET);
	assert_int_equal(b->last_length, 40);
	world_free(world);
}

static void item_03_source_moves_with_what_is_authentic_only(void **state)
{
	struct world *world = world_pair(4);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_source elsewhere = a->source, relay = {.region = 7, .relay_key = a->public};
	struct wg_peer_stats stats;
	uint8_t datagram[WG_HEADROOM + 64 + WG_TAILROOM];
	size_t length;

	(void)state;
	world_session(a, b);
	elsewhere.endpoint.port++;
	memcpy(datagram + WG_HEADROOM, node_packet(a, b, 1, 64), 64);
	length = wg_keypair_seal(node_peer(a, b)->current, datagram, 64);

	datagram[length - 1] ^= 1;
	assert_int_equal(node_receive(b, &elsewhere, datagram, length), WG_DROPPED_FORGED);
	wg_peer_stats(node_peer(b, a), world->now, &stats);
	assert_true(endpoint_equal(&stats.last_source.endpoint, &a->source.endpoint));

	datagram[length - 1] ^= 1;
	assert_int_equal(node_receive(b, &elsewhere, datagram, length), WG_RECEIVED_PACKET);
	wg_peer_stats(node_peer(b, a), world->now, &stats);
	assert_true(endpoint_equal(&stats.last_source.endpoint, &elsewhere.endpoint));

	/* The same once more, from a third place: a replay moves nothing. */
	assert_int_equal(node_receive(b, &a->source, datagram, length), WG_DROPPED_REPLAYED);
	wg_peer_stats(node_peer(b, a), world->now, &stats);
	assert_true(endpoint_equal(&stats.last_source.endpoint, &elsewhere.endpoint));

	length = wg_keypair_seal(node_peer(a, b)->current, datagram, 0);
	assert_int_equal(node_receive(b, &relay, datagram, length), WG_RECEIVED_KEEPALIVE);
	wg_peer_stats(node_peer(b, a), world->now, &stats);
	assert_int_equal(stats.last_source.region, 7);
	assert_true(public_key_equal(&stats.last_source.relay_key, &a->public));
	world_free(world);
}

static void item_06_counters_end_sessions_on_both_sides(void **state)
{
	struct world *world = world_pair(5);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_keypair *sending, *receiving;
	uint8_t datagram[WG_HEADROOM + 64 + WG_TAILROOM];
	uint64_t next;

	(void)state;
	world_session(a, b);
	sending = node_peer(a, b)->current;
	receiving = node_peer(b, a)->current;
	world_pass(world, SECONDS(10));

	/* 2^60 messages: still sent, and a new session is asked for. */
	sending->send_counter = WG_REKEY_AFTER_MESSAGES - 2;
	assert_int_equal(node_send(a, b, 1), 1);
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	assert_int_equal(node_send(a, b, 2), 1);
	assert_int_equal(a->sent[WG_HANDSHAKE], 2);
	world_pass(world, SECONDS(10));
	assert_ptr_not_equal(node_peer(a, b)->current, sending);

	/* The last counter that may be sent, and the first that may not. */
	sending = node_peer(a, b)->current;
	receiving = node_peer(b, a)->current;
	sending->send_counter = WG_REJECT_AFTER_MESSAGES - 1;
	assert_int_equal(node_send(a, b, 3), 1);
	world_pass(world, NSEC_PER_MSEC * 15);
	assert_int_equal(b->last_payload, 3);
	b->deaf = true;
	assert_int_equal(node_send(a, b, 4), 0);
	assert_int_equal(node_peer(a, b)->staged_count, 1);

	/* A peer that counts on all the same is not believed; nor is a forger who would move the
	 * window. */
	next = receiving->window.next;
	assert_int_equal(next, WG_REJECT_AFTER_MESSAGES);
	memset(datagram, 0, sizeof(datagram));
	sending->send_counter = WG_REJECT_AFTER_MESSAGES;
	assert_int_equal(
		node_receive(b, &a->source, datagram, wg_keypair_seal(sending, datagram, 0)),
		WG_DROPPED_REPLAYED);
	sending->send_counter = UINT64_MAX;
	assert_int_equal(
		node_receive(b, &a->source, datagram, wg_keypair_seal(sending, datagram, 0)),
		WG_DROPPED_REPLAYED);
	assert_int_equal(receiving->window.next, next);
	world_free(world);
}

static void item_06_forged_counters_do_not_move_the_window(void **state)
{
	struct world *world = world_pair(6);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct replay_window before;
	uint8_t datagram[WG_TRANSPORT_SIZE_MIN];

	(void)state;
	world_session(a, b);
	before = node_peer(b, a)->current->window;
	for (uint64_t counter = 1; counter < UINT64_C(1) << 62; counter *= 7) {
		const struct wg_transport header = {
			.receiver = node_peer(b, a)->current->index.number,
			.counter = counter,
		};

		memset(datagram, 0x5a, sizeof(datagram));
		wg_transport_encode(&header, datagram);
		assert_int_equal(node_receive(b, &a->source, datagram, sizeof(datagram)),
				 WG_DROPPED_FORGED);
	}
	assert_memory_equal(&before, &node_peer(b, a)->current->window, sizeof(before));
	world_free(world);
}

static void item_07_retries_every_5_seconds_and_gives_up_after_90(void **state)
{
	struct world *world = world_pair(7);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_peer *peer = node_peer(a, b);
	nanoseconds began = world->now, last = world->now;
	unsigned int jittered = 0;

	(void)state;
	b->deaf = true;
	assert_int_equal(node_send(a, b, 1), 0);
	assert_int_equal(node_send(a, b, 2), 0);
	for (unsigned int i = 1; a->sent[WG_HANDSHAKE] == i; i++) {
		nanoseconds gap;

		assert_true(peer->handshake.pending);
		world_pass(world, WG_REKEY_TIMEOUT + WG_TIMEOUT_JITTER + 1);
		if (a->sent[WG_HANDSHAKE] == i)
			break;
		assert_int_equal(a->sent[WG_HANDSHAKE], i + 1);
		gap = a->last_sent_at - last;
		assert_in_range(gap, WG_REKEY_TIMEOUT, WG_REKEY_TIMEOUT + WG_TIMEOUT_JITTER);
		jittered += gap % NSEC_PER_SEC != 0;
		last = a->last_sent_at;
		world->now = last; /* look on from there */
	}
	assert_in_range(a->sent[WG_HANDSHAKE], 17, 18);
	assert_true(jittered > 10);
	assert_true(last - began < WG_REKEY_ATTEMPT_TIME);
	world_run(world, began + WG_REKEY_ATTEMPT_TIME + SECONDS(6));
	assert_false(peer->handshake.pending);
	assert_true(sodium_is_zero((uint8_t *)&peer->handshake, sizeof(peer->handshake)));
	assert_int_equal(peer->staged_count, 0);
	assert_int_equal(wg_device_statistics(a->device)->counters[WG_STAGED_ABANDONED], 2);
	assert_int_equal(wg_device_statistics(a->device)->counters[WG_HANDSHAKE_ABANDONED], 1);
	world_pass(world, SECONDS(3600));
	assert_in_range(a->sent[WG_HANDSHAKE], 17, 18);
	assert_int_equal(wg_device_deadline(a->device), DEADLINE_NEVER);

	/* A new packet begins anew. */
	b->deaf = false;
	assert_int_equal(node_send(a, b, 3), 0);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->last_payload, 3);
	world_free(world);
}

static void item_07_only_the_initiator_rekeys_on_send_at_120(void **state)
{
	struct world *world = world_pair(8);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	nanoseconds created;

	(void)state;
	world_session(a, b);
	created = node_peer(a, b)->current->created;
	world_run(world, created + WG_REKEY_AFTER_TIME - 1);
	assert_int_equal(node_send(a, b, 1), 1);
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	/* The responder's session is a delay older; it never asks, however old. */
	world_run(world, created + WG_REKEY_AFTER_TIME + SECONDS(40));
	assert_int_equal(node_send(b, a, 2), 1);
	assert_int_equal(b->sent[WG_HANDSHAKE], 1);
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	assert_int_equal(node_send(a, b, 2), 1);
	assert_int_equal(a->sent[WG_HANDSHAKE], 2);
	world_pass(world, SECONDS(1));
	assert_int_equal(a->sessions, 2);
	assert_int_equal(b->sessions, 2);
	world_free(world);
}

static void item_07_the_initiator_rekeys_on_receive_at_165(void **state)
{
	struct world *world = world_pair(9);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	nanoseconds created;

	(void)state;
	world_session(a, b);
	created = node_peer(a, b)->current->created;
	world_run(world, created + SECONDS(165) - 20 * NSEC_PER_MSEC);
	assert_int_equal(node_send(b, a, 1), 1);
	world_run(world, created + SECONDS(165) - 1);
	assert_int_equal(a->last_payload, 1);
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	assert_int_equal(node_send(b, a, 2), 1);
	assert_int_equal(node_send(b, a, 3), 1);
	world_run(world, created + SECONDS(165) + 15 * NSEC_PER_MSEC);
	assert_int_equal(a->last_payload, 3);
	assert_int_equal(a->sent[WG_HANDSHAKE], 2); /* once */
	assert_int_equal(b->sent[WG_HANDSHAKE], 1);
	world_free(world);
}

static void item_07_a_session_ends_at_180_for_both_directions(void **state)
{
	struct world *world = world_pair(10);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t datagram[WG_TRANSPORT_SIZE_MIN];
	nanoseconds created;
	size_t length;

	(void)state;
	world_session(a, b);
	created = node_peer(b, a)->current->created;
	world_run(world, created + WG_REJECT_AFTER_TIME - 1);
	length = wg_keypair_seal(node_peer(a, b)->current, datagram, 0);
	assert_int_equal(node_receive(b, &a->source, datagram, length), WG_RECEIVED_KEEPALIVE);
	assert_int_equal(node_send(b, a, 1), 1);
	world_run(world, created + WG_REJECT_AFTER_TIME);
	length = wg_keypair_seal(node_peer(a, b)->current, datagram, 0);
	assert_int_equal(node_receive(b, &a->source, datagram, length), WG_DROPPED_EXPIRED);
	assert_int_equal(b->sent[WG_HANDSHAKE], 1);
	assert_int_equal(node_send(b, a, 2), 0); /* and now the responder begins */
	assert_int_equal(b->sent[WG_HANDSHAKE], 2);
	world_pass(world, SECONDS(1));
	assert_int_equal(a->last_payload, 2);
	world_free(world);
}

static void item_07_keys_are_forgotten_at_540(void **state)
{
	struct world *world = world_pair(11);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	nanoseconds created;

	(void)state;
	world_session(a, b);
	created = node_peer(a, b)->current->created;
	world_run(world, created + WG_ZERO_KEYS_TIME - 1);
	assert_non_null(node_peer(a, b)->current);
	world_run(world, created + WG_ZERO_KEYS_TIME);
	assert_null(node_peer(a, b)->current);
	assert_null(node_peer(a, b)->older[0]);
	assert_null(node_peer(b, a)->current);
	assert_null(a->device->indices);
	assert_null(b->device->indices);
	assert_int_equal(wg_device_deadline(a->device), DEADLINE_NEVER);
	assert_int_equal(wg_device_deadline(b->device), DEADLINE_NEVER);
	world_free(world);
}

static void item_08_passive_keepalive_answers_data_after_10_seconds(void **state)
{
	struct world *world = world_pair(12);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	nanoseconds received;

	(void)state;
	world_session(a, b);
	world_pass(world, SECONDS(30));
	a->sent[WG_KEEPALIVE] = b->sent[WG_KEEPALIVE] = 0;

	/* b sent last long ago: what counts is when it received. */
	node_send(a, b, 1);
	received = world->now + 10 * NSEC_PER_MSEC;
	world_run(world, received + WG_KEEPALIVE_TIMEOUT - 1);
	assert_int_equal(b->sent[WG_KEEPALIVE], 0);
	world_run(world, received + WG_KEEPALIVE_TIMEOUT);
	assert_int_equal(b->sent[WG_KEEPALIVE], 1);
	/* A keepalive is not answered: both fall silent. */
	world_pass(world, SECONDS(60));
	assert_int_equal(b->sent[WG_KEEPALIVE], 1);
	assert_int_equal(a->sent[WG_KEEPALIVE], 0);
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);

	/* An answer of its own makes it needless. */
	node_send(a, b, 2);
	world_pass(world, SECONDS(5));
	node_send(b, a, 2);
	world_pass(world, SECONDS(8));
	assert_int_equal(b->sent[WG_KEEPALIVE], 1);
	world_pass(world, SECONDS(8));
	assert_int_equal(a->sent[WG_KEEPALIVE], 1); /* a's, for b's packet */
	assert_int_equal(b->sent[WG_KEEPALIVE], 1);

	/* Data all the while, none back: one each 10 s, not one a packet. */
	b->sent[WG_KEEPALIVE] = 0;
	for (uint32_t i = 0; i < 100; i++) {
		node_send(a, b, 100 + i);
		world_pass(world, SECONDS(1));
	}
	assert_in_range(b->sent[WG_KEEPALIVE], 9, 10);
	world_free(world);
}

static void item_08_two_idle_peers_are_silent(void **state)
{
	struct world *world = world_pair(14);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	unsigned int before;

	(void)state;
	world_session(a, b);
	world_pass(world, WG_KEEPALIVE_TIMEOUT + SECONDS(1));
	before = world->datagrams;
	world_pass(world, SECONDS(100 * 3600));
	assert_int_equal(world->datagrams, before);
	world_free(world);
}

static void item_09_silence_after_data_makes_a_handshake_at_15_seconds(void **state)
{
	unsigned int jittered = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct world *world = world_pair(100 + seed);
		struct node *a = &world->nodes[0], *b = &world->nodes[1];
		nanoseconds sent;

		world_session(a, b);
		world_pass(world, SECONDS(30));
		b->deaf = true;
		node_send(a, b, 1);
		sent = world->now;
		world_pass(world, SECONDS(7));
		node_send(a, b, 2); /* doesn't put it off */
		world_run(world, sent + WG_NEW_HANDSHAKE_TIME - 1);
		assert_int_equal(a->sent[WG_HANDSHAKE], 1);
		world_run(world, sent + WG_NEW_HANDSHAKE_TIME + WG_TIMEOUT_JITTER);
		assert_int_equal(a->sent[WG_HANDSHAKE], 2);
		jittered += a->sent_at[WG_HANDSHAKE] != sent + WG_NEW_HANDSHAKE_TIME;

		/* An answer of any kind ends the suspicion. */
		b->deaf = false;
		world_pass(world, SECONDS(20));
		a->sent[WG_HANDSHAKE] = 0;
		node_send(a, b, 3);
		world_pass(world, SECONDS(60));
		assert_int_equal(a->sent[WG_HANDSHAKE], 0);
		world_free(world);
	}
	assert_true(jittered >= 15);
}

static void own_addresses_lead_to_no_peer(void **state)
{
	struct world *world = world_new(16);
	struct node *a = world_node(world), *b = world_node(world);
	struct prefix all = {.address = address_v4((uint8_t[4]){0}), .bits = 0};
	struct prefix own = {.address = address_v4((uint8_t[]){10, 0, 0, 9}), .bits = 32};
	uint8_t *packet;

	(void)state;
	/* For a: b is an exit node, but 10.0.0.9 is a itself. */
	world_link(a, b);
	assert_int_equal(wg_peer_set_allowed_ips(node_peer(a, b), &all, 1), 0);
	world_session(b, a);
	assert_int_equal(wg_device_lookup(a->device, &own.address).kind, WG_TARGET_PEER);
	packet = node_packet(b, a, 1, 64);
	memcpy(packet + 12, own.address.bytes, 4);
	assert_int_equal(inject(b, a, packet, 64), WG_RECEIVED_PACKET);
	assert_int_equal(wg_device_set_local(a->device, &own, 1), 0);
	assert_int_equal(wg_device_lookup(a->device, &own.address).kind, WG_TARGET_LOCAL);
	packet = node_packet(b, a, 2, 64);
	memcpy(packet + 12, own.address.bytes, 4);
	assert_int_equal(inject(b, a, packet, 64), WG_DROPPED_SOURCE);
	/* b may not take the very address either, in whatever order the two are set. */
	assert_int_equal(wg_peer_set_allowed_ips(node_peer(a, b), (struct prefix[]){all, own}, 2),
			 0);
	assert_int_equal(wg_device_lookup(a->device, &own.address).kind, WG_TARGET_LOCAL);
	assert_int_equal(wg_device_set_local(a->device, NULL, 0), 0);
	assert_int_equal(wg_peer_set_allowed_ips(node_peer(a, b), (struct prefix[]){all, own}, 2),
			 0);
	assert_int_equal(wg_device_set_local(a->device, &own, 1), 0);
	assert_int_equal(wg_device_lookup(a->device, &own.address).kind, WG_TARGET_LOCAL);
	assert_int_equal(wg_peer_set_allowed_ips(node_peer(a, b), &all, 1), 0);
	/* Another address, then none: the former one is the exit node's again. */
	assert_int_equal(wg_device_set_local(a->device, NULL, 0), 0);
	assert_int_equal(wg_device_lookup(a->device, &own.address).kind, WG_TARGET_PEER);
	own.bits = 33;
	assert_int_equal(wg_device_set_local(a->device, &own, 1), -EINVAL);
	world_free(world);
}

static void item_11_nested_prefixes_do_not_lend_addresses(void **state)
{
	struct world *world = world_new(15);
	struct node *a = world_node(world), *b = world_node(world), *c = world_node(world);
	struct prefix wide = {.address = address_v4((uint8_t[]){10, 0, 0, 0}), .bits = 8};
	struct address inside = address_v4((uint8_t[]){10, 0, 0, 3});

	(void)state;
	/* For a: b may send from all of 10/8, except from 10.0.0.3, which is c's. */
	world_link(a, b);
	world_link(a, c);
	assert_int_equal(wg_peer_set_allowed_ips(node_peer(a, b), &wide, 1), 0);
	world_session(b, a);
	world_session(c, a);
	assert_ptr_equal(wg_device_lookup(a->device, &inside).peer, node_peer(a, c));
	assert_int_equal(inject(b, a, node_packet(b, a, 1, 64), 64), WG_RECEIVED_PACKET);
	assert_int_equal(inject(b, a, node_packet(c, a, 2, 64), 64), WG_DROPPED_SOURCE);
	assert_int_equal(inject(c, a, node_packet(c, a, 3, 64), 64), WG_RECEIVED_PACKET);
	assert_int_equal(inject(c, a, node_packet(b, a, 4, 64), 64), WG_DROPPED_SOURCE);
	assert_int_equal(wg_device_statistics(a->device)->verdicts[WG_DROPPED_SOURCE], 2);

	/* Once c is gone the address falls to b. */
	wg_peer_remove(node_peer(a, c));
	assert_ptr_equal(wg_device_lookup(a->device, &inside).peer, node_peer(a, b));
	world_free(world);
}

static void item_12_odd_datagrams_and_clocks_stop_nothing(void **state)
{
	struct world *world = world_pair(16);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	static uint8_t large[WG_DATAGRAM_MAX + 100];
	nanoseconds now;

	(void)state;
	world_session(a, b);
	large[0] = WG_MESSAGE_TRANSPORT;
	put_le32(large + 4, node_peer(b, a)->current->index.number);
	assert_int_equal(node_receive(b, &a->source, large, sizeof(large)), WG_DROPPED_MALFORMED);
	assert_int_equal(node_receive(b, &a->source, large, WG_DATAGRAM_MAX), WG_DROPPED_FORGED);
	for (size_t length = 0; length < 200; length++)
		for (uint8_t type = 0; type < 6; type++) {
			large[0] = type;
			assert_true(node_receive(b, &a->source, large, length) >= WG_COOKIE_SENT);
		}
	assert_int_equal(wg_send(node_peer(a, b), large, WG_DATAGRAM_MAX, world->now), -EMSGSIZE);
	assert_int_equal(wg_send(node_peer(a, b), large, 0, world->now), -EMSGSIZE);

	/* Time stands still, and runs backwards (a snapshot was resumed). */
	now = world->now;
	world->now -= SECONDS(500);
	assert_int_equal(inject(a, b, node_packet(a, b, 1, 64), 64), WG_RECEIVED_PACKET);
	assert_int_equal(b->device->now, now);
	wg_device_timeout(b->device, world->now);
	world->now = now;
	assert_int_equal(inject(a, b, node_packet(a, b, 2, 64), 64), WG_RECEIVED_PACKET);

	/* It leaps: the machine slept for a day. */
	world->now += SECONDS(86400);
	wg_device_timeout(a->device, world->now);
	wg_device_timeout(b->device, world->now);
	assert_int_equal(node_send(a, b, 3), 0);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->last_payload, 3);
	world_free(world);
}

static void staged_packets_are_bounded_and_keep_their_order(void **state)
{
	struct world *world = world_pair(17);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	const struct wg_statistics *statistics = wg_device_statistics(a->device);

	(void)state;
	for (uint32_t i = 0; i < LIMIT_WG_STAGED + 10; i++)
		assert_int_equal(node_send(a, b, i), 0);
	assert_int_equal(node_peer(a, b)->staged_count, LIMIT_WG_STAGED);
	assert_int_equal(statistics->counters[WG_STAGED_DROPPED], 10);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->delivered, LIMIT_WG_STAGED);
	assert_int_equal(b->last_payload, LIMIT_WG_STAGED + 9);
	for (uint32_t i = 0; i < 10; i++) /* the oldest gave way */
		assert_false(b->seen[a->number * ((1u << 22) / 8) + i / 8] & 1u << i % 8);
	assert_int_equal(a->device->staged_bytes, 0);
	world_free(world);
}

static void staged_bytes_of_all_peers_are_bounded(void **state)
{
	struct world *world = world_new(18);
	struct node *a = world_node(world);
	struct wg_peer *peers[10];
	unsigned int refused = 0;

	(void)state;
	for (unsigned int p = 0; p < ARRAY_SIZE(peers); p++) {
		struct secret_key private;
		struct public_key public;

		wg_random(a->device, &private, sizeof(private));
		secret_key_public(&private, &public);
		assert_int_equal(wg_peer_add(a->device, &public, NULL, a, &peers[p]), 0);
		a->deaf = true;
		for (unsigned int i = 0; i < LIMIT_WG_STAGED; i++)
			refused += wg_send(peers[p], node_packet(a, a, i, 1280), 1280,
					   world->now) == -ENOBUFS;
		assert_true(a->device->staged_bytes <= LIMIT_WG_STAGED_BYTES);
	}
	assert_true(refused > 0);
	assert_true(a->device->staged_bytes > LIMIT_WG_STAGED_BYTES - 1280);
	world_pass(world, SECONDS(100));
	assert_int_equal(a->device->staged_bytes, 0);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_cross_both_ways),
		cmocka_unit_test(a_batch_arrives_once),
		cmocka_unit_test(item_02_padding_is_zeros_to_16_but_not_past_the_mtu),
		cmocka_unit_test(item_02_inner_length_decides_and_keepalives_are_silent),
		cmocka_unit_test(item_03_source_moves_with_what_is_authentic_only),
		cmocka_unit_test(item_06_counters_end_sessions_on_both_sides),
		cmocka_unit_test(item_06_forged_counters_do_not_move_the_window),
		cmocka_unit_test(item_07_retries_every_5_seconds_and_gives_up_after_90),
		cmocka_unit_test(item_07_only_the_initiator_rekeys_on_send_at_120),
		cmocka_unit_test(item_07_the_initiator_rekeys_on_receive_at_165),
		cmocka_unit_test(item_07_a_session_ends_at_180_for_both_directions),
		cmocka_unit_test(item_07_keys_are_forgotten_at_540),
		cmocka_unit_test(item_08_passive_keepalive_answers_data_after_10_seconds),
		cmocka_unit_test(item_08_two_idle_peers_are_silent),
		cmocka_unit_test(item_09_silence_after_data_makes_a_handshake_at_15_seconds),
		cmocka_unit_test(item_11_nested_prefixes_do_not_lend_addresses),
		cmocka_unit_test(own_addresses_lead_to_no_peer),
		cmocka_unit_test(item_12_odd_datagrams_and_clocks_stop_nothing),
		cmocka_unit_test(staged_packets_are_bounded_and_keep_their_order),
		cmocka_unit_test(staged_bytes_of_all_peers_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
