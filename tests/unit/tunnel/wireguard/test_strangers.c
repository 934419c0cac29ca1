/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_strangers.c - who is kept out: floods, replays, spoilt messages
 *
 * The number in a test's name is the item of the conformance list in docs/wireguard.md that it
 * proves.
 */
#include "unit/tunnel/wireguard/world.h"

#include "base/cursor.h"

#include <sodium.h>

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
	b->device->limiter.unproven.full_at = b->device->now + SECONDS(1000000);
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
	/* One of five was used. */
	assert_int_equal(own->proven.full_at, own->last + NSEC_PER_SEC / LIMIT_WG_SOURCE_PROVEN);
	world_free(world);
}

static void item_04_a_forged_or_unasked_cookie_is_not_kept(void **state)
{
	struct world *world = world_pair(5);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint8_t reply[WG_COOKIE_REPLY_SIZE], message[WG_INITIATION_SIZE], fresh[56] = {1};

	(void)state;
	node_capture_initiation(a, b, message);
	wg_checker_reply(&b->device->checker, message, sizeof(message),
			 node_peer(a, b)->handshake.index.number, &a->source, world->now, fresh,
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
	node_capture_initiation(a, b, first);
	world->now += SECONDS(6);
	node_capture_initiation(a, b, second);
	world->now += SECONDS(6);
	node_capture_initiation(a, b, third);
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
	node_capture_initiation(a, b, initiation);
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
	assert_int_equal(b->device->indices ? 1 : 0, 0);
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
	node_capture_initiation(a, b, initiation);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(item_04_a_flood_makes_cookies_for_its_source_only),
		cmocka_unit_test(item_04_with_a_cookie_the_door_opens_at_the_next_attempt),
		cmocka_unit_test(item_04_a_forged_or_unasked_cookie_is_not_kept),
		cmocka_unit_test(item_05_timestamps_rise_whatever_the_clock_does),
		cmocka_unit_test(item_05_replays_and_floods_of_initiations_are_dropped),
		cmocka_unit_test(item_10_spoilt_handshakes_change_nothing),
		cmocka_unit_test(item_10_a_psk_counts_from_the_next_handshake),
		cmocka_unit_test(item_14_low_order_points_and_ourselves_are_refused),
		cmocka_unit_test(item_16_a_flood_of_handshakes_is_bounded_and_data_flows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
