/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_handshakes.c - how sessions come about, and who is kept out
 *
 * The number in a test's name is the item of the conformance list in docs/wireguard.md that it
 * proves; the other items are in test_sessions.c.
 */
#include "unit/tunnel/wireguard/world.h"

#include "base/cursor.h"

#include <malloc.h>
#include <sodium.h>

#define SECONDS(n) ((nanoseconds)(n)*NSEC_PER_SEC)

/* Frees that this program makes are looked at (linked with --wrap=free): item 15. */
static struct secret_key watched;
static unsigned int watched_freed;

void __real_free(void *pointer);
void __wrap_free(void *pointer);
void __wrap_free(void *pointer)
{
	if (pointer && !sodium_is_zero(watched.bytes, sizeof(watched.bytes)) &&
	    memmem(pointer, malloc_usable_size(pointer), watched.bytes, sizeof(watched.bytes)))
		watched_freed++;
	__real_free(pointer);
}

/* The first handshake message that @from sends to @to for one packet, kept from the network. */
static void capture_initiation(struct node *from, struct node *to,
			       uint8_t ret[static WG_INITIATION_SIZE])
{
	unsigned int loss = from->world->loss;

	from->world->loss = 1000;
	assert_true(wg_peer_initiate(node_peer(from, to), from->world->now));
	from->world->loss = loss;
	assert_int_equal(from->last_datagram_length, WG_INITIATION_SIZE);
	memcpy(ret, from->last_datagram, WG_INITIATION_SIZE);
}

static struct wg_peer *add_stranger(struct node *node)
{
	struct secret_key private;
	struct public_key public;
	struct wg_peer *peer;

	wg_random(node->device, &private, sizeof(private));
	secret_key_public(&private, &public);
	assert_int_equal(wg_peer_add(node->device, &public, NULL, node, &peer), 0);
	return peer;
}

static void item_01_indices_are_random_unique_and_freed(void **state)
{
	struct world *world = world_new(1);
	struct node *a = world_node(world);
	static uint32_t indices[2000];
	uint32_t all_or = 0, all_and = UINT32_MAX;
	unsigned int rising = 0, near = 0;

	(void)state;
	a->deaf = true;
	for (size_t i = 0; i < ARRAY_SIZE(indices); i++) {
		struct wg_peer *peer = add_stranger(a);

		assert_true(wg_peer_initiate(peer, world->now));
		indices[i] = peer->handshake.index.entry.hash;
		all_or |= indices[i];
		all_and &= indices[i];
		for (size_t j = 0; j < i; j++)
			assert_true(indices[i] != indices[j]);
		rising += i && indices[i] > indices[i - 1];
		near += i && indices[i] - indices[i - 1] + 65536 < 2 * 65536;
	}
	assert_int_equal(all_or, UINT32_MAX);
	assert_int_equal(all_and, 0);
	assert_in_range(rising, 900, 1100);
	assert_true(near < 5);
	assert_int_equal(a->device->indices.count, ARRAY_SIZE(indices));
	/* A retry gives its old index back. */
	world_pass(world, SECONDS(30));
	assert_int_equal(a->device->indices.count, ARRAY_SIZE(indices));
	world_pass(world, SECONDS(90));
	assert_int_equal(a->device->indices.count, 0);
	world_free(world);
}

static uint32_t scripted[] = {7, 7, 7, 8, 8, 9};
static size_t script_at;

static void scripted_random(void *context, void *out, size_t length)
{
	(void)context;
	memset(out, 0x11, length);
	if (length == sizeof(uint32_t))
		memcpy(out, &scripted[script_at++], sizeof(uint32_t));
}

static void item_01_an_index_in_use_is_drawn_again(void **state)
{
	static const struct wg_callbacks hooks = {.random = scripted_random};
	struct wg_device *device = wg_device_new(NULL, &hooks, NULL);
	struct wg_index one = {0}, two = {0}, three = {0};

	(void)state;
	wg_index_insert(device, &one);
	wg_index_insert(device, &two);
	wg_index_insert(device, &three);
	assert_int_equal(one.entry.hash, 7);
	assert_int_equal(two.entry.hash, 8);
	assert_int_equal(three.entry.hash, 9);
	assert_int_equal(script_at, ARRAY_SIZE(scripted));
	wg_device_free(device);
}

static void item_01_a_peer_holds_few_sessions_at_most(void **state)
{
	struct world *world = world_pair(2);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];

	(void)state;
	for (uint32_t i = 0; i < 50; i++) {
		wg_peer_initiate(node_peer(i % 3 ? a : b, i % 3 ? b : a), world->now);
		world_pass(world, SECONDS(i % 4 ? 6 : 1));
		assert_true(a->device->indices.count <= 5);
		assert_true(b->device->indices.count <= 5);
	}
	assert_true(a->sessions > 20);
	/* Without both at once: the current and what is on its way, until 540 s later. */
	world_pass(world, SECONDS(540));
	assert_int_equal(a->device->indices.count, 0);
	assert_int_equal(b->device->indices.count, 0);
	world_free(world);
}

/* Item 4, with a whole device: a flood from one place, then what others and it itself get. */
static void item_04_a_flood_makes_cookies_for_its_source_only(void **state)
{
	struct world *world = world_new(3);
	struct node *a = world_node(world), *b = world_node(world), *flood = world_node(world);
	uint8_t message[WG_INITIATION_SIZE];
	unsigned int answered = 0, asked = 0;

	(void)state;
	world_link(a, b);
	world_link(flood, b);
	for (unsigned int i = 0; i < 300; i++) {
		struct wg_cookie_jar jar = {0};

		/* Valid mac1, garbage within: as dear to check as a real one. */
		wg_random(a->device, message, sizeof(message));
		put_le32(message, WG_MESSAGE_INITIATION);
		wg_jar_stamp(&jar, &b->public, message, sizeof(message), world->now);
		node_receive(b, &flood->source, message, sizeof(message));
		answered += b->last_verdict == WG_DROPPED_FORGED;
		asked += b->last_verdict == WG_COOKIE_SENT;
	}
	assert_int_equal(answered, LIMIT_WG_SOURCE_UNPROVEN);
	assert_int_equal(asked, 300 - LIMIT_WG_SOURCE_UNPROVEN);
	assert_int_equal(b->cookies, asked);

	/* Everybody else notices nothing. */
	node_send(a, b, 1);
	world_pass(world, 100 * NSEC_PER_MSEC);
	assert_int_equal(b->last_payload, 1);
	assert_int_equal(b->cookies, asked);
	world_free(world);
}

static void item_04_with_a_cookie_the_door_opens_at_the_next_attempt(void **state)
{
	struct world *world = world_pair(4);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_limited_source *own;
	const uint8_t zeros[WG_MAC_SIZE] = {0};

	(void)state;
	node_send(a, b, 1);
	/* b is under load: the common bucket is empty and stays so. */
	b->device->limiter.unproven.credit = -SECONDS(1000000);
	assert_memory_equal(a->last_datagram + WG_MAC2_OFFSET(WG_INITIATION_SIZE), zeros,
			    sizeof(zeros));
	world_pass(world, SECONDS(1));
	assert_int_equal(b->cookies, 1);
	assert_int_equal(a->last_verdict, WG_RECEIVED_COOKIE);
	assert_int_equal(b->delivered, 0);
	/* A cookie says nothing about where the peer is, and isn't a sign of life. */
	assert_int_equal(node_peer(a, b)->last_received, 0);
	assert_int_equal(node_peer(a, b)->last_source.endpoint.port, 0);
	/* Nothing is sent before its time. */
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	world_pass(world, SECONDS(5));
	assert_int_equal(a->sent[WG_HANDSHAKE], 2);
	assert_int_equal(b->last_payload, 1);
	assert_int_equal(b->cookies, 1);

	/* What cookies are for: a proven source has 5 at once and 20 a second. */
	own = NULL;
	for (size_t set = 0; set < WG_LIMITER_SETS; set++)
		for (size_t way = 0; way < WG_LIMITER_WAYS; way++)
			if (b->device->limiter.sources[set][way].last)
				own = &b->device->limiter.sources[set][way];
	assert_non_null(own);
	assert_int_equal(own->proven.credit,
			 4 * NSEC_PER_SEC / LIMIT_WG_SOURCE_PROVEN); /* one of five was used */
	world_free(world);
}

static void item_04_a_forged_or_unasked_cookie_is_not_kept(void **state)
{
	struct world *world = world_pair(5);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t reply[WG_COOKIE_REPLY_SIZE], message[WG_INITIATION_SIZE], fresh[56] = {1};

	(void)state;
	capture_initiation(a, b, message);
	wg_checker_reply(&b->device->checker, message, sizeof(message),
			 node_peer(a, b)->handshake.index.entry.hash, &a->source, world->now, fresh,
			 reply);
	for (size_t i = 8; i < sizeof(reply); i++) {
		reply[i] ^= 0x20;
		assert_int_equal(node_receive(a, &b->source, reply, sizeof(reply)),
				 WG_DROPPED_FORGED);
		reply[i] ^= 0x20;
	}
	assert_int_equal(node_peer(a, b)->jar.use_until, 0);
	assert_int_equal(node_receive(a, &b->source, reply, sizeof(reply)), WG_RECEIVED_COOKIE);
	assert_int_equal(node_receive(a, &b->source, reply, sizeof(reply)), WG_DROPPED_LATE);
	world_free(world);
}

static void item_05_timestamps_rise_whatever_the_clock_does(void **state)
{
	struct world *world = world_pair(6);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_timestamp last = {0}, floor;
	static const nanoseconds steps[] = {0, 1, -3600, 0, 86400, -400 * 86400, 0, 0, 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		unsigned int sessions = b->sessions;
		struct wg_peer_stats stats;

		world->realtime += SECONDS(steps[i]);
		world_pass(world, SECONDS(6));
		assert_true(wg_peer_initiate(node_peer(a, b), world->now));
		wg_peer_stats(node_peer(a, b), world->now, &stats);
		assert_true(wg_timestamp_later(&stats.last_timestamp, &last));
		last = stats.last_timestamp;
		/* Whitened: the lowest 24 bits of the nanoseconds tell nothing. */
		assert_int_equal(last.bytes[9] | last.bytes[10] | last.bytes[11], 0);
		world_pass(world, SECONDS(1));
		assert_int_equal(b->sessions, sessions + 1);
	}

	/* A restarted device begins above what its predecessor sent, if it is told. */
	floor = *wg_device_timestamp(a->device);
	node_restart(a);
	world->realtime -= SECONDS(86400);
	wg_peer_initiate(node_peer(a, b), world->now);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->last_verdict, WG_DROPPED_REPLAYED);
	assert_int_equal(wg_device_raise_timestamp(a->device, &floor), 0);
	world_pass(world, SECONDS(6));
	assert_int_equal(b->last_verdict, WG_RECEIVED_KEEPALIVE);

	/* A floor is read as a stranger's. */
	memset(&floor, 0xff, sizeof(floor));
	assert_int_equal(wg_device_raise_timestamp(a->device, &floor), -ERANGE);
	memset(&floor, 0, sizeof(floor));
	assert_int_equal(wg_device_raise_timestamp(a->device, &floor), -ERANGE);
	world_free(world);
}

static void item_05_replays_and_floods_of_initiations_are_dropped(void **state)
{
	struct world *world = world_pair(7);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t first[WG_INITIATION_SIZE], second[WG_INITIATION_SIZE], third[WG_INITIATION_SIZE];

	(void)state;
	capture_initiation(a, b, first);
	world->now += SECONDS(6);
	capture_initiation(a, b, second);
	world->now += SECONDS(6);
	capture_initiation(a, b, third);
	assert_int_equal(node_receive(b, &a->source, second, sizeof(second)),
			 WG_RECEIVED_INITIATION);
	assert_int_equal(node_receive(b, &a->source, second, sizeof(second)), WG_DROPPED_REPLAYED);
	assert_int_equal(node_receive(b, &a->source, first, sizeof(first)), WG_DROPPED_REPLAYED);
	world->now += WG_INITIATION_INTERVAL - 1;
	assert_int_equal(node_receive(b, &a->source, third, sizeof(third)), WG_DROPPED_RATE);
	world->now += 1;
	assert_int_equal(node_receive(b, &a->source, third, sizeof(third)), WG_RECEIVED_INITIATION);
	world_free(world);
}

static void item_10_spoilt_handshakes_change_nothing(void **state)
{
	struct world *world = world_pair(8);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t initiation[WG_INITIATION_SIZE], response[WG_RESPONSE_SIZE];
	struct wg_cookie_jar jar = {0};
	struct wg_peer before;
	size_t i;

	(void)state;
	capture_initiation(a, b, initiation);
	before = *node_peer(b, a);
	for (i = 8; i < WG_MAC1_OFFSET(sizeof(initiation)); i++) {
		initiation[i] ^= 0x04;
		assert_int_equal(node_receive(b, &a->source, initiation, sizeof(initiation)),
				 WG_DROPPED_MAC1);
		/* The same with a right mac1: an attacker who knows the public key. */
		wg_jar_stamp(&jar, &b->public, initiation, sizeof(initiation), world->now);
		assert_int_equal(node_receive(b, &a->source, initiation, sizeof(initiation)),
				 WG_DROPPED_FORGED);
		initiation[i] ^= 0x04;
		world->now += SECONDS(1);
	}
	/* static_static is only remembered, not state. */
	assert_memory_equal(&before.handshake, &node_peer(b, a)->handshake,
			    sizeof(before.handshake));
	assert_memory_equal(&before.last_received_timestamp,
			    &node_peer(b, a)->last_received_timestamp, sizeof(struct wg_timestamp));
	assert_null(node_peer(b, a)->unconfirmed);
	assert_int_equal(b->device->indices.count, 0);
	assert_int_equal(b->sent[WG_HANDSHAKE], 0);

	wg_jar_stamp(&jar, &b->public, initiation, sizeof(initiation), world->now);
	world->loss = 1000;
	assert_int_equal(node_receive(b, &a->source, initiation, sizeof(initiation)),
			 WG_RECEIVED_INITIATION);
	memcpy(response, b->last_datagram, sizeof(response));
	before = *node_peer(a, b);
	for (i = 12; i < WG_MAC1_OFFSET(sizeof(response)); i++) {
		response[i] ^= 0x40;
		wg_jar_stamp(&jar, &a->public, response, sizeof(response), world->now);
		assert_int_equal(node_receive(a, &b->source, response, sizeof(response)),
				 WG_DROPPED_FORGED);
		response[i] ^= 0x40;
		world->now += SECONDS(1);
	}
	assert_memory_equal(&before, node_peer(a, b), sizeof(before));
	/* Not ours to answer. */
	response[8] ^= 1;
	wg_jar_stamp(&jar, &a->public, response, sizeof(response), world->now);
	assert_int_equal(node_receive(a, &b->source, response, sizeof(response)), WG_DROPPED_LATE);
	response[8] ^= 1;
	/* And the true one still works. */
	wg_jar_stamp(&jar, &a->public, response, sizeof(response), world->now);
	world->loss = 0;
	assert_int_equal(node_receive(a, &b->source, response, sizeof(response)),
			 WG_RECEIVED_RESPONSE);
	world_free(world);
}

static void item_10_a_psk_counts_from_the_next_handshake(void **state)
{
	struct world *world = world_pair(9);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	const struct secret_key psk = {{1, 2, 3}};

	(void)state;
	world_session(a, b);
	wg_peer_set_psk(node_peer(a, b), &psk);
	assert_int_equal(node_send(a, b, 1), 1);
	world_pass(world, SECONDS(10));
	assert_int_equal(b->last_payload, 1); /* the session goes on */
	wg_peer_initiate(node_peer(a, b), world->now);
	world_pass(world, SECONDS(1));
	assert_int_equal(a->last_verdict, WG_DROPPED_FORGED); /* only one end has it */
	assert_int_equal(node_send(a, b, 2), 1);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->last_payload, 2);
	wg_peer_set_psk(node_peer(b, a), &psk);
	world_pass(world, SECONDS(10));
	assert_int_equal(a->sessions, 2);
	node_send(a, b, 3);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->last_payload, 3);
	world_free(world);
}

static void item_13_the_responder_waits_for_the_first_message(void **state)
{
	struct world *world = world_pair(10);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t initiation[WG_INITIATION_SIZE];
	struct wg_keypair *old;

	(void)state;
	/* Without any session: what b has to say must wait, though it has the keys. */
	capture_initiation(a, b, initiation);
	a->deaf = true;
	assert_int_equal(node_receive(b, &a->source, initiation, sizeof(initiation)),
			 WG_RECEIVED_INITIATION);
	assert_non_null(node_peer(b, a)->unconfirmed);
	assert_null(node_peer(b, a)->current);
	assert_int_equal(b->sessions, 0);
	assert_int_equal(node_send(b, a, 1), 0);
	assert_int_equal(b->sent[WG_DATA] + b->sent[WG_KEEPALIVE], 0);

	/* With one: the old goes on until then. */
	a->deaf = false;
	world_pass(world, SECONDS(12));
	assert_int_equal(a->last_payload, 1);
	world_session(a, b);
	old = node_peer(b, a)->current;
	world_pass(world, SECONDS(6));
	wg_peer_initiate(node_peer(a, b), world->now);
	world_pass(world, 15 * NSEC_PER_MSEC); /* answered; the answer is on its way */
	assert_non_null(node_peer(b, a)->unconfirmed);
	assert_ptr_equal(node_peer(b, a)->current, old);
	assert_int_equal(node_send(b, a, 2), 1);
	assert_int_equal(old->remote_index, node_peer(a, b)->current->index.entry.hash);
	world_pass(world, SECONDS(1));
	assert_ptr_equal(node_peer(b, a)->older[0], old);
	assert_null(node_peer(b, a)->unconfirmed);
	assert_int_equal(a->last_payload, 2); /* it came in a's previous session */
	world_free(world);
}

static void item_13_both_initiate_at_once(void **state)
{
	unsigned int at_once = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct world *world = world_pair(1000 + seed);
		struct node *a = &world->nodes[0], *b = &world->nodes[1];

		/* Any order of arrival, some lost. */
		world->delay_min = 0;
		world->delay_max = 50 * NSEC_PER_MSEC;
		world->loss = seed < 100 ? 0 : 200;
		node_send(a, b, 1);
		node_send(b, a, 1);
		if (world->loss == 0) {
			world_pass(world, SECONDS(1));
		} else {
			world_pass(world, SECONDS(11));
			world->loss = 0;
			world_pass(world, SECONDS(40));
		}
		/* Lossless, nobody waited for a timer. */
		if (seed < 100) {
			assert_int_equal(a->last_payload, 1);
			assert_int_equal(b->last_payload, 1);
			assert_int_equal(a->sent[WG_HANDSHAKE], 2);
			assert_int_equal(b->sent[WG_HANDSHAKE], 2);
		}
		at_once += node_peer(a, b)->current->index.entry.hash !=
			   node_peer(b, a)->current->remote_index;
		assert_int_equal(node_send(a, b, 2), 1);
		assert_int_equal(node_send(b, a, 2), 1);
		world_pass(world, SECONDS(1));
		assert_int_equal(a->last_payload, 2);
		assert_int_equal(b->last_payload, 2);

		/* One end renews it, once in 120 s; at the latest then there is one session. */
		assert_true(node_peer(a, b)->current->renews != node_peer(b, a)->current->renews);
		a->sent[WG_HANDSHAKE] = b->sent[WG_HANDSHAKE] = 0;
		for (uint32_t i = 10; i < 610; i++) {
			assert_int_equal(node_send(a, b, i), 1);
			assert_int_equal(node_send(b, a, i), 1);
			world_pass(world, SECONDS(1));
			assert_int_equal(a->last_payload, i);
			assert_int_equal(b->last_payload, i);
			if (i > 140)
				assert_int_equal(node_peer(a, b)->current->index.entry.hash,
						 node_peer(b, a)->current->remote_index);
		}
		assert_in_range(a->sent[WG_HANDSHAKE], 4, 5);
		assert_in_range(b->sent[WG_HANDSHAKE], 4, 5);
		world_free(world);
	}
	assert_in_range(at_once, 10, 190); /* one session and two were met */
}

static void item_14_low_order_points_and_ourselves_are_refused(void **state)
{
	/* The small subgroup and its companions, Curve25519 (RFC 7748 §7). */
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct world *world = world_pair(11);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t initiation[WG_INITIATION_SIZE], response[WG_RESPONSE_SIZE];
	struct wg_cookie_jar jar = {0};
	struct wg_peer *peer;

	(void)state;
	capture_initiation(a, b, initiation);
	world->loss = 1000;
	assert_int_equal(node_receive(b, &a->source, initiation, sizeof(initiation)),
			 WG_RECEIVED_INITIATION);
	memcpy(response, b->last_datagram, sizeof(response));
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		struct public_key low;
		size_t length;

		print_message("row %zu\n", i + 1);
		sodium_hex2bin(low.bytes, sizeof(low.bytes), points[i], 64, NULL, &length, NULL);
		memcpy(initiation + 8, low.bytes, sizeof(low.bytes));
		wg_jar_stamp(&jar, &b->public, initiation, sizeof(initiation), world->now);
		assert_int_equal(node_receive(b, &a->source, initiation, sizeof(initiation)),
				 WG_DROPPED_FORGED);
		memcpy(response + 12, low.bytes, sizeof(low.bytes));
		wg_jar_stamp(&jar, &a->public, response, sizeof(response), world->now);
		assert_int_equal(node_receive(a, &b->source, response, sizeof(response)),
				 WG_DROPPED_FORGED);
	}
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		struct public_key low;
		size_t length;

		/* A peer with such a key is never spoken to, and given up as any other. */
		print_message("row %zu\n", i + 1);
		sodium_hex2bin(low.bytes, sizeof(low.bytes), points[i], 64, NULL, &length, NULL);
		if (public_key_is_zero(&low)) {
			assert_int_equal(wg_peer_add(a->device, &low, NULL, a, &peer), -EINVAL);
			continue;
		}
		a->sent[WG_HANDSHAKE] = 0;
		assert_int_equal(wg_peer_add(a->device, &low, NULL, a, &peer), 0);
		assert_int_equal(wg_send(peer, node_packet(a, b, 1, 64), 64, world->now), 0);
		world_pass(world, SECONDS(2));
		assert_int_equal(a->sent[WG_HANDSHAKE], 0);
		world_pass(world, SECONDS(98));
		assert_int_equal(peer->staged_count, 0);
		wg_peer_remove(peer);
	}
	assert_int_equal(wg_peer_add(a->device, &a->public, NULL, a, &peer), -EINVAL);
	assert_int_equal(wg_peer_add(a->device, &b->public, NULL, a, &peer), -EEXIST);

	/* A peer that we become by a change of key. */
	wg_device_set_private_key(a->device, &b->private);
	assert_int_equal(node_send(a, b, 1), -ENOKEY);
	assert_false(wg_peer_initiate(node_peer(a, b), world->now));
	world_free(world);
}

static void item_15_keys_are_wiped_when_they_have_served(void **state)
{
	struct world *world = world_pair(12);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_peer *peer = node_peer(a, b);
	uint8_t datagram[WG_HEADROOM + 64 + WG_TAILROOM] = {0};
	size_t length;

	(void)state;
	world_session(a, b);
	/* Ephemeral, chaining key, hash: all gone once the session stands. */
	assert_true(sodium_is_zero((uint8_t *)&peer->handshake, sizeof(peer->handshake)));
	assert_true(
		sodium_is_zero((uint8_t *)&node_peer(b, a)->handshake, sizeof(peer->handshake)));

	/* What fails to open leaves nothing behind, and nor does a replay. */
	memcpy(datagram + WG_HEADROOM, node_packet(a, b, 1, 64), 64);
	length = wg_keypair_seal(peer->current, datagram, 64);
	for (int round = 0; round < 3; round++) {
		uint8_t copy[sizeof(datagram)];
		enum wg_verdict verdict;

		memcpy(copy, datagram, length);
		copy[length - 1] ^= round == 0;
		verdict = wg_receive(b->device, &a->source, copy, length, world->now, NULL);
		assert_int_equal(verdict, round == 0   ? WG_DROPPED_FORGED
					  : round == 1 ? WG_RECEIVED_PACKET
						       : WG_DROPPED_REPLAYED);
		if (round != 1)
			assert_true(sodium_is_zero(copy + WG_HEADROOM, 64));
	}

	/* A session's keys are wiped before its memory is given back, by whatever way. */
	watched = peer->current->sending;
	wg_peer_end_sessions(peer);
	assert_int_equal(watched_freed, 0);
	world_pass(world, SECONDS(6));
	world_session(a, b);
	watched = node_peer(a, b)->current->receiving;
	for (int i = 0; i < 3; i++) {
		world_pass(world, SECONDS(6));
		wg_peer_initiate(peer, world->now);
		world_pass(world, SECONDS(1));
	}
	assert_int_equal(watched_freed, 0);
	watched = peer->static_static;
	wg_device_set_private_key(a->device, &(struct secret_key){{9}});
	assert_true(sodium_is_zero(peer->static_static.bytes, SECRET_KEY_SIZE));
	watched = node_peer(b, a)->static_static;
	wg_peer_remove(node_peer(b, a));
	assert_int_equal(watched_freed, 0);
	watched = b->private;
	wg_device_free(b->device);
	assert_int_equal(watched_freed, 0);
	/* The trap itself works. */
	free(memcpy(malloc(SECRET_KEY_SIZE), watched.bytes, SECRET_KEY_SIZE));
	assert_int_equal(watched_freed, 1);
	watched = (struct secret_key){0};
	b->device = wg_device_new(NULL, a->device->callbacks, b);
	world_free(world);
}

static void item_16_a_flood_of_handshakes_is_bounded_and_data_flows(void **state)
{
	struct world *world = world_pair(13);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t message[WG_INITIATION_SIZE];
	const struct wg_statistics *statistics = wg_device_statistics(b->device);
	struct wg_cookie_jar jar = {0};
	uint64_t worked;

	(void)state;
	world_session(a, b);
	b->device->callbacks->random(b, message, sizeof(message));
	put_le32(message, WG_MESSAGE_INITIATION);
	wg_jar_stamp(&jar, &b->public, message, sizeof(message), world->now);
	/* 10,000 a second from ever new addresses for 3 s, a packet after each hundred. */
	for (uint32_t i = 0; i < 30000; i++) {
		struct wg_source source = a->source;

		put_be32(source.endpoint.address.bytes, (uint32_t)world_random(world));
		node_receive(b, &source, message, sizeof(message));
		if (i % 100 == 99) {
			assert_int_equal(node_send(a, b, i), 1);
			world_pass(world, 10 * NSEC_PER_MSEC);
			assert_true(i < 200 || b->last_payload >= i - 200);
		}
	}
	/* Only so many cost their X25519. */
	worked = statistics->verdicts[WG_DROPPED_FORGED];
	assert_in_range(worked, LIMIT_WG_ALL_UNPROVEN, 4 * LIMIT_WG_ALL_UNPROVEN + 10);
	assert_int_equal(statistics->verdicts[WG_COOKIE_SENT], 30000 - worked);

	/* It outlasts itself by a second, not forever. */
	world_pass(world, SECONDS(2));
	wg_peer_initiate(node_peer(a, b), world->now);
	world_pass(world, SECONDS(1));
	assert_int_equal(a->sessions, 2);
	for (enum wg_verdict verdict = 0; verdict < WG_VERDICT_COUNT; verdict++)
		assert_true(strlen(wg_verdict_name(verdict)) > 0);
	for (enum wg_counter counter = 0; counter < WG_COUNTER_COUNT; counter++)
		assert_true(strlen(wg_counter_name(counter)) > 0);
	world_free(world);
}

static void item_17_peers_that_never_answer_leave_nothing(void **state)
{
	struct world *world = world_new(14);
	struct node *a = world_node(world);

	(void)state;
	a->deaf = true;
	for (unsigned int i = 0; i < 1000; i++) {
		struct wg_peer *peer = add_stranger(a);

		wg_send(peer, node_packet(a, a, i, 100), 100, world->now);
		if (i % 3 == 0)
			wg_peer_retry_now(peer, world->now);
		if (i % 7 == 0)
			world_pass(world, NSEC_PER_SEC / 2);
	}
	assert_true(a->device->indices.count > 0);
	world_pass(world, SECONDS(100));
	assert_int_equal(a->device->indices.count, 0);
	assert_int_equal(a->device->staged_bytes, 0);
	assert_int_equal(wg_device_deadline(a->device), DEADLINE_NEVER);
	assert_int_equal(wg_device_statistics(a->device)->counters[WG_HANDSHAKE_ABANDONED], 1000);
	world_free(world);
}

static void lazy_peers_come_by_authentic_initiations_only(void **state)
{
	struct world *world = world_new(15);
	struct node *a = world_node(world), *b = world_node(world), *stranger = world_node(world);
	uint8_t message[WG_INITIATION_SIZE];
	struct wg_cookie_jar jar = {0};
	struct wg_peer *peer;

	(void)state;
	world_link(stranger, b);
	wg_peer_remove(node_peer(b, stranger));
	assert_int_equal(wg_peer_add(a->device, &b->public, NULL, b, &peer), 0);
	capture_initiation(stranger, b, message);
	assert_int_equal(node_receive(b, &stranger->source, message, sizeof(message)),
			 WG_DROPPED_UNKNOWN_PEER);
	assert_int_equal(b->identified, 1);
	world->lazy = true;
	/* Who claims a key without having it isn't even asked about. */
	message[WG_INITIATION_SIZE - 40] ^= 1; /* in the timestamp, sealed by both static keys */
	wg_jar_stamp(&jar, &b->public, message, sizeof(message), world->now);
	assert_int_equal(node_receive(b, &stranger->source, message, sizeof(message)),
			 WG_DROPPED_FORGED);
	assert_int_equal(b->identified, 1);
	assert_int_equal(b->device->peer_count, 0);

	node_send(a, b, 1);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->identified, 2);
	assert_int_equal(b->last_payload, 1);
	assert_int_equal(b->device->peer_count, 1);
	world_free(world);
}

static void early_retry_repeats_a_lost_initiation_at_once(void **state)
{
	struct world *world = world_pair(16);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_peer *peer = node_peer(a, b);
	nanoseconds first;

	(void)state;
	wg_peer_retry_now(peer, world->now); /* nothing is outstanding */
	assert_int_equal(a->sent[WG_HANDSHAKE], 0);

	b->deaf = true;
	node_send(a, b, 1);
	first = world->now;
	world_pass(world, 100 * NSEC_PER_MSEC);
	b->deaf = false;
	/* The peer turns up before 250 ms are over: then, and once. */
	wg_peer_retry_now(peer, world->now);
	wg_peer_retry_now(peer, world->now);
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	world_run(world, first + WG_EARLY_RETRY_INTERVAL);
	assert_int_equal(a->sent[WG_HANDSHAKE], 2);
	world_run(world, first + WG_EARLY_RETRY_INTERVAL + 40 * NSEC_PER_MSEC);
	assert_int_equal(b->last_payload, 1);
	world_pass(world, SECONDS(20));
	wg_peer_retry_now(peer, world->now);
	assert_int_equal(a->sent[WG_HANDSHAKE], 2);

	/* However often it is called: a few between two regular attempts, which stay regular. */
	b->deaf = true;
	a->sent[WG_HANDSHAKE] = 0;
	wg_peer_initiate(peer, world->now);
	first = world->now;
	for (unsigned int i = 0; i < 490; i++) {
		wg_peer_retry_now(peer, world->now);
		world_pass(world, 10 * NSEC_PER_MSEC);
	}
	assert_int_equal(a->sent[WG_HANDSHAKE], 1 + WG_EARLY_RETRIES);
	world_run(world, first + SECONDS(200));
	assert_in_range(a->sent[WG_HANDSHAKE], 17 + WG_EARLY_RETRIES, 19 + WG_EARLY_RETRIES);
	world_free(world);
}

static void a_restarted_end_is_noticed_and_met(void **state)
{
	struct world *world = world_pair(17);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];

	(void)state;
	world_session(a, b);
	world_pass(world, SECONDS(20));
	node_restart(b);
	/* a sends into a session that b no longer has: b learns it, and initiates. */
	assert_int_equal(node_send(a, b, 1), 1);
	world_pass(world, 15 * NSEC_PER_MSEC);
	assert_int_equal(b->last_verdict, WG_DROPPED_UNKNOWN_INDEX);
	assert_true(wg_peer_initiate(node_peer(b, a), world->now));
	assert_false(wg_peer_initiate(node_peer(b, a), world->now)); /* once in 5 s */
	world_pass(world, 100 * NSEC_PER_MSEC);
	assert_int_equal(node_send(a, b, 2), 1);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->last_payload, 2);
	world_free(world);
}

static void initiate_on_send_waits_for_a_packet(void **state)
{
	struct world *world = world_pair(18);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];

	(void)state;
	world_session(a, b);
	wg_peer_initiate_on_send(node_peer(a, b));
	assert_int_equal(node_send(a, b, 1), 1); /* within 5 s of the last: later */
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	world_pass(world, SECONDS(30)); /* its keepalives don't count */
	assert_int_equal(a->sent[WG_HANDSHAKE], 1);
	assert_int_equal(node_send(a, b, 2), 1);
	assert_int_equal(a->sent[WG_HANDSHAKE], 2);
	world_pass(world, SECONDS(6));
	assert_int_equal(node_send(a, b, 3), 1);
	assert_int_equal(a->sent[WG_HANDSHAKE], 2); /* once */
	world_free(world);
}

static void a_new_private_key_makes_new_sessions(void **state)
{
	struct world *world = world_new(19);
	struct node *a = world_node(world), *b = world_node(world), *c = world_node(world);
	struct wg_source source;

	(void)state;
	world_link(a, b);
	world_link(c, b); /* c's key is the one that a will have */
	world_session(a, b);
	world_pass(world, SECONDS(1));
	source = a->source;
	wg_device_set_private_key(a->device, &c->private);
	assert_true(public_key_equal(wg_device_public_key(a->device), &c->public));
	/* b still speaks in the old session; a still hears it. */
	node_send(b, a, 1);
	world_pass(world, 100 * NSEC_PER_MSEC);
	assert_int_equal(a->last_payload, 1);
	/* a speaks under the new key only. */
	assert_int_equal(node_send(a, b, 2), 0);
	assert_int_equal(a->sent[WG_HANDSHAKE], 2);
	world_pass(world, 15 * NSEC_PER_MSEC);
	assert_int_equal(b->last_verdict, WG_RECEIVED_INITIATION);
	assert_true(endpoint_equal(&node_peer(b, c)->last_source.endpoint, &source.endpoint));
	wg_device_set_private_key(a->device, NULL);
	assert_int_equal(node_send(a, b, 3), -ENOKEY);
	assert_int_equal(a->device->indices.count, 0);
	assert_int_equal(node_receive(a, &b->source, b->last_datagram, b->last_datagram_length),
			 WG_DROPPED_NO_KEY);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(item_01_indices_are_random_unique_and_freed),
		cmocka_unit_test(item_01_an_index_in_use_is_drawn_again),
		cmocka_unit_test(item_01_a_peer_holds_few_sessions_at_most),
		cmocka_unit_test(item_04_a_flood_makes_cookies_for_its_source_only),
		cmocka_unit_test(item_04_with_a_cookie_the_door_opens_at_the_next_attempt),
		cmocka_unit_test(item_04_a_forged_or_unasked_cookie_is_not_kept),
		cmocka_unit_test(item_05_timestamps_rise_whatever_the_clock_does),
		cmocka_unit_test(item_05_replays_and_floods_of_initiations_are_dropped),
		cmocka_unit_test(item_10_spoilt_handshakes_change_nothing),
		cmocka_unit_test(item_10_a_psk_counts_from_the_next_handshake),
		cmocka_unit_test(item_13_the_responder_waits_for_the_first_message),
		cmocka_unit_test(item_13_both_initiate_at_once),
		cmocka_unit_test(item_14_low_order_points_and_ourselves_are_refused),
		cmocka_unit_test(item_15_keys_are_wiped_when_they_have_served),
		cmocka_unit_test(item_16_a_flood_of_handshakes_is_bounded_and_data_flows),
		cmocka_unit_test(item_17_peers_that_never_answer_leave_nothing),
		cmocka_unit_test(lazy_peers_come_by_authentic_initiations_only),
		cmocka_unit_test(early_retry_repeats_a_lost_initiation_at_once),
		cmocka_unit_test(a_restarted_end_is_noticed_and_met),
		cmocka_unit_test(initiate_on_send_waits_for_a_packet),
		cmocka_unit_test(a_new_private_key_makes_new_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
