/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_handshakes.c - how sessions come about
 *
 * The number in a test's name is the item of the conformance list in docs/wireguard.md that it
 * proves; the other items are in test_sessions.c and test_strangers.c.
 */
#include "unit/tunnel/wireguard/receive.h"
#include "unit/tunnel/wireguard/world.h"

#include "base/cursor.h"

#include <malloc.h>
#include <sodium.h>

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
		indices[i] = peer->handshake.index.number;
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
	assert_int_equal(HASH_COUNT(a->device->indices), ARRAY_SIZE(indices));
	/* A retry gives its old index back. */
	world_pass(world, SECONDS(30));
	assert_int_equal(HASH_COUNT(a->device->indices), ARRAY_SIZE(indices));
	world_pass(world, SECONDS(90));
	assert_int_equal(a->device->indices ? 1 : 0, 0);
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
	assert_int_equal(one.number, 7);
	assert_int_equal(two.number, 8);
	assert_int_equal(three.number, 9);
	HASH_CLEAR(hh, device->indices);
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
		assert_true(HASH_COUNT(a->device->indices) <= 5);
		assert_true(HASH_COUNT(b->device->indices) <= 5);
	}
	assert_true(a->sessions > 20);
	/* Without both at once: the current and what is on its way, until 540 s later. */
	world_pass(world, SECONDS(540));
	assert_int_equal(a->device->indices ? 1 : 0, 0);
	assert_int_equal(b->device->indices ? 1 : 0, 0);
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
	node_capture_initiation(a, b, initiation);
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
	assert_int_equal(old->remote_index, node_peer(a, b)->current->index.number);
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
		at_once += node_peer(a, b)->current->index.number !=
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
				assert_int_equal(node_peer(a, b)->current->index.number,
						 node_peer(b, a)->current->remote_index);
		}
		assert_in_range(a->sent[WG_HANDSHAKE], 4, 5);
		assert_in_range(b->sent[WG_HANDSHAKE], 4, 5);
		world_free(world);
	}
	assert_in_range(at_once, 10, 190); /* one session and two were met */
}

static void item_15_keys_are_wiped_when_they_have_served(void **state)
{
	struct world *world = world_pair(12);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	struct wg_peer *peer = node_peer(a, b);
	uint8_t datagram[WG_HEADROOM + 64 + WG_TAILROOM] = {0};
	uint8_t *trap;
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
	watched = peer->current->sending.secret;
	wg_peer_end_sessions(peer);
	assert_int_equal(watched_freed, 0);
	world_pass(world, SECONDS(6));
	world_session(a, b);
	watched = node_peer(a, b)->current->receiving.secret;
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
	/* The trap itself works. An optimizer must not drop a copy that is only freed. */
	trap = malloc(SECRET_KEY_SIZE);
	memcpy(trap, watched.bytes, SECRET_KEY_SIZE);
	__asm__ volatile("" : : "r"(trap) : "memory");
	free(trap);
	assert_int_equal(watched_freed, 1);
	watched = (struct secret_key){0};
	b->device = wg_device_new(NULL, a->device->callbacks, b);
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
	assert_true(HASH_COUNT(a->device->indices) > 0);
	world_pass(world, SECONDS(100));
	assert_int_equal(a->device->indices ? 1 : 0, 0);
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
	node_capture_initiation(stranger, b, message);
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
	assert_int_equal(HASH_COUNT(b->device->peers), 0);

	node_send(a, b, 1);
	world_pass(world, SECONDS(1));
	assert_int_equal(b->identified, 2);
	assert_int_equal(b->last_payload, 1);
	assert_int_equal(HASH_COUNT(b->device->peers), 1);
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
	assert_int_equal(a->device->indices ? 1 : 0, 0);
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
		cmocka_unit_test(item_13_the_responder_waits_for_the_first_message),
		cmocka_unit_test(item_13_both_initiate_at_once),
		cmocka_unit_test(item_15_keys_are_wiped_when_they_have_served),
		cmocka_unit_test(item_17_peers_that_never_answer_leave_nothing),
		cmocka_unit_test(lazy_peers_come_by_authentic_initiations_only),
		cmocka_unit_test(early_retry_repeats_a_lost_initiation_at_once),
		cmocka_unit_test(a_restarted_end_is_noticed_and_met),
		cmocka_unit_test(initiate_on_send_waits_for_a_packet),
		cmocka_unit_test(a_new_private_key_makes_new_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
