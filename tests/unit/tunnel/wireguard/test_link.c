/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_link.c - hours on a bad link, in virtual time
 *
 * Two devices, traffic that comes and goes, and a network that loses, doubles, reorders and spoils.
 * Whatever happens: no packet twice, none altered (world.c checks each), and what is sent in good
 * times arrives.
 */
#include "unit/tunnel/wireguard/world.h"

#define SECONDS(n) ((nanoseconds)(n)*NSEC_PER_SEC)
#define HOURS(n)   (3600 * SECONDS(n))

static void ten_hours_of_traffic_without_loss(void **state)
{
	struct world *world = world_pair(1);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	uint32_t number = 0;

	(void)state;
	for (nanoseconds end = world->now + HOURS(10); world->now < end;) {
		node_send(a, b, number);
		node_send(b, a, number);
		number++;
		world_pass(world, NSEC_PER_SEC / 4);
	}
	/* One handshake, then one in 120 s, all by the same end; not a packet lost or delayed. */
	assert_int_equal(b->delivered, number);
	assert_in_range(a->sent[WG_HANDSHAKE] + b->sent[WG_HANDSHAKE], 2 * 299, 2 * 302);
	assert_int_equal(a->sessions, b->sessions);
	assert_int_equal(wg_device_statistics(a->device)->counters[WG_HANDSHAKE_ABANDONED], 0);
	for (enum wg_verdict v = WG_COOKIE_SENT; v < WG_VERDICT_COUNT; v++) {
		/* A response to an initiation that crossed another may come late. */
		assert_in_range(wg_device_statistics(a->device)->verdicts[v], 0,
				v == WG_DROPPED_LATE);
		assert_in_range(wg_device_statistics(b->device)->verdicts[v], 0,
				v == WG_DROPPED_LATE);
	}

	/* Then silence, and after nine minutes not even a key. */
	world_pass(world, SECONDS(11));
	number = world->datagrams;
	world_pass(world, HOURS(1));
	assert_int_equal(world->datagrams, number);
	assert_int_equal(HASH_COUNT(a->device->indices) + HASH_COUNT(b->device->indices), 0);
	world_free(world);
}

/* Ten hours for each row: bursts of traffic, pauses of up to ten minutes, one way or both. */
static void ten_hours_on_bad_links(void **state)
{
	static const struct {
		unsigned int loss, doubling, spoiling; /* per mille */
		nanoseconds delay_min, delay_max;
		unsigned int arrives; /* at least so many per mille */
	} rows[] = {
		/* 1 */ {0, 0, 0, 0, 0, 1000},
		/* 2 */ {50, 50, 0, 10 * NSEC_PER_MSEC, 10 * NSEC_PER_MSEC, 930},
		/* 3 */ {0, 0, 0, 0, SECONDS(1), 999}, /* reordering only */
		/* 4 */ {20, 20, 100, NSEC_PER_MSEC, 300 * NSEC_PER_MSEC, 860},
		/* 5 */ {300, 200, 20, NSEC_PER_MSEC, 500 * NSEC_PER_MSEC, 700},
		/* 6 */ {0, 1000, 0, NSEC_PER_MSEC, 2 * NSEC_PER_SEC, 999}, /* all doubled */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *world = world_pair(10 + i);
		struct node *a = &world->nodes[0], *b = &world->nodes[1];
		uint32_t sent = 0, offered = 0, rekeys;

		print_message("row %zu\n", i + 1);
		world->loss = rows[i].loss;
		world->doubling = rows[i].doubling;
		world->spoiling = rows[i].spoiling;
		world->delay_min = rows[i].delay_min;
		world->delay_max = rows[i].delay_max;
		for (nanoseconds end = world->now + HOURS(10); world->now < end;) {
			unsigned int burst = 1 + (unsigned int)(world_random(world) % 400);
			unsigned int ways = 1 + (unsigned int)(world_random(world) % 3);
			nanoseconds gap = (nanoseconds)(world_random(world) % SECONDS(1));

			while (burst--) {
				if (ways & 1)
					node_send(a, b, sent);
				if (ways & 2)
					node_send(b, a, sent);
				offered += ways == 3 ? 2 : 1;
				sent++;
				world_pass(world, gap);
			}
			world_pass(world, (nanoseconds)(world_random(world) % SECONDS(600)));
			assert_true(HASH_COUNT(a->device->indices) <= 5);
			assert_true(HASH_COUNT(b->device->indices) <= 5);
		}
		assert_true((uint64_t)(a->delivered + b->delivered) * 1000 >=
			    (uint64_t)offered * rows[i].arrives);
		/* Never more initiations than one in 5 s of each end. */
		rekeys = (uint32_t)(wg_device_statistics(a->device)->counters[WG_INITIATIONS_SENT] +
				    wg_device_statistics(b->device)->counters[WG_INITIATIONS_SENT]);
		assert_in_range(rekeys, 30, 2 * 36000 / 5);
		print_message("  %u packets, %u arrived, %u initiations\n", offered,
			      a->delivered + b->delivered, rekeys);

		/* When the link is good again, so is all else. */
		world->loss = world->doubling = world->spoiling = 0;
		world->delay_min = world->delay_max = NSEC_PER_MSEC;
		world_pass(world, SECONDS(700));
		node_send(a, b, 1u << 23);
		world_pass(world, SECONDS(1));
		assert_int_equal(b->last_payload, 1u << 23);
		node_send(b, a, 1u << 23);
		world_pass(world, SECONDS(1));
		assert_int_equal(a->last_payload, 1u << 23);
		world_pass(world, SECONDS(20));
		sent = world->datagrams;
		world_pass(world, HOURS(1));
		assert_int_equal(world->datagrams, sent);
		assert_int_equal(wg_device_deadline(a->device), DEADLINE_NEVER);
		world_free(world);
	}
}

/* A dead link for ever longer, under traffic: recovery is at most one retry away. */
static void recovery_after_outages(void **state)
{
	static const int outages[] = {1, 10, 30, 100, 170, 200, 600, 3600};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(outages); i++) {
		struct world *world = world_pair(50 + i);
		struct node *a = &world->nodes[0], *b = &world->nodes[1];
		uint32_t number = 0;
		nanoseconds healed;

		print_message("row %zu\n", i + 1);
		world_session(a, b);
		world->loss = 1000;
		for (int second = 0; second < outages[i]; second++) {
			node_send(a, b, number++);
			world_pass(world, SECONDS(1));
		}
		world->loss = 0;
		healed = world->now;
		while (b->last_payload != number - 1) {
			node_send(a, b, number++);
			world_pass(world, NSEC_PER_SEC / 10);
			assert_true(world->now - healed < SECONDS(6));
		}
		world_free(world);
	}
}

/* Eight nodes, all with all, restarts among them: nobody is left behind. */
static void eight_nodes_with_restarts(void **state)
{
	struct world *world = world_new(99);
	uint32_t number = 0;

	(void)state;
	for (int i = 0; i < WORLD_NODES; i++)
		world_node(world);
	for (int i = 0; i < WORLD_NODES; i++)
		for (int j = i + 1; j < WORLD_NODES; j++)
			world_link(&world->nodes[i], &world->nodes[j]);
	world->delay_max = 100 * NSEC_PER_MSEC;
	for (int round = 0; round < 3000; round++) {
		struct node *from = &world->nodes[world_random(world) % WORLD_NODES];
		struct node *to = &world->nodes[world_random(world) % WORLD_NODES];

		world->loss = round < 2900 ? 30 : 0;
		if (from != to)
			node_send(from, to, number++);
		world_pass(world, (nanoseconds)(world_random(world) % SECONDS(2)));
		if (round % 100 == 50 && round < 2800)
			node_restart(to);
		/* What the packet layer does where a stale session shows. */
		for (unsigned int i = 0; i < world->node_count; i++)
			if (world->nodes[i].last_verdict == WG_DROPPED_UNKNOWN_INDEX) {
				for (struct wg_peer *p = world->nodes[i].device->peers; p;
				     p = p->hh.next)
					wg_peer_initiate(p, world->now);
				world->nodes[i].last_verdict = WG_RECEIVED_PACKET;
			}
	}
	world_pass(world, SECONDS(700));
	for (int i = 0; i < WORLD_NODES; i++)
		for (int j = 0; j < WORLD_NODES; j++) {
			unsigned int before = world->nodes[j].delivered;

			if (i == j)
				continue;
			node_send(&world->nodes[i], &world->nodes[j], number++);
			world_pass(world, SECONDS(1));
			assert_int_equal(world->nodes[j].delivered, before + 1);
		}
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_hours_of_traffic_without_loss),
		cmocka_unit_test(ten_hours_on_bad_links),
		cmocka_unit_test(recovery_after_outages),
		cmocka_unit_test(eight_nodes_with_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
