/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/test_path.c - which way packets go, over time; the world stands in path_world.h
 *
 * Whom the engine believes, and what it is asked, is in test_path_disco.c.
 */
#include "unit/tunnel/path_world.h"

static void both_behind_nat_become_direct_and_stay(void **state)
{
	struct world *w = world_new(1);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	nanoseconds begin;

	(void)state;
	w->no_control = true;
	world_begin(w);
	world_run(w, 1 S);
	begin = w->now;
	world_traffic(a, 100 MS, 600 S);
	world_traffic(b, 100 MS, 600 S);
	world_run(w, 1 S);
	/* One call by relay, one ping back: far below a second. */
	assert_true(world_is_direct(a) && world_is_direct(b));
	assert_true(endpoint_equal(&a->peer->best, &b->outside));
	world_run(w, 599 S);
	/* The path changed once, and nothing was lost on the way. */
	assert_int_equal(a->path_changes, 1);
	assert_int_equal(b->path_changes, 1);
	assert_int_equal(world_worst_gap(w, 0, begin, w->now - 1 S), 0);
	assert_int_equal(world_worst_gap(w, 1, begin, w->now - 1 S), 0);
	assert_true(b->got_relay <= 10);
	assert_true(b->got_direct >= 5980);
	/* A heartbeat each 3 s; each 60 s a search for something better than 20 ms. */
	assert_in_range(path_statistics(a->engine)->pings_sent, 200, 240);
	assert_true(path_statistics(a->engine)->calls_sent <= 13);
	world_free(w);
}

static void silent_after_45_s_without_data(void **state)
{
	struct world *w = world_new(2);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	uint64_t udp, relay;
	nanoseconds end;

	(void)state;
	world_begin(w);
	world_traffic(a, 100 MS, 10 S);
	world_run(w, 10 S);
	end = w->now;
	world_run(w, 45 S);
	/* Until then the way is kept open. */
	assert_true(a->last_udp_sent > end + 40 S);
	world_run(w, 30 S);
	udp = a->udp_sent + b->udp_sent;
	relay = a->relay_sent + b->relay_sent;
	world_run(w, 3600 S);
	assert_int_equal(a->udp_sent + b->udp_sent, udp);
	assert_int_equal(a->relay_sent + b->relay_sent, relay);
	assert_int_equal(path_deadline(a->engine), DEADLINE_NEVER);
	assert_int_equal(path_deadline(b->engine), DEADLINE_NEVER);
	assert_false(world_is_direct(a));
	/* Then the next datagram takes both ways, and the path is proved again. */
	world_traffic(a, 100 MS, 10 S);
	world_run(w, 10 S);
	assert_true(world_is_direct(a));
	assert_int_equal(world_worst_gap(w, 0, end, w->now - 1 S), 0);
	world_free(w);
}

static void one_sided_traffic_makes_the_sender_direct(void **state)
{
	struct world *w = world_new(3);

	(void)state;
	world_begin(w);
	world_traffic(&w->hosts[0], 100 MS, 60 S);
	world_run(w, 60 S);
	assert_true(world_is_direct(&w->hosts[0]));
	/* The receiver was never active: it answered and no more. */
	assert_int_equal(path_statistics(w->hosts[1].engine)->calls_sent, 0);
	/* Two endpoints of ours, at two calls. */
	assert_true(path_statistics(w->hosts[1].engine)->pings_sent <= 4 * 2);
	world_free(w);
}

static void a_dead_direct_path_falls_back_to_the_relay(void **state)
{
	struct world *w = world_new(4);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	nanoseconds died, gap;

	(void)state;
	world_begin(w);
	world_traffic(a, 50 MS, 200 S);
	world_traffic(b, 50 MS, 200 S);
	world_run(w, 30 S);
	assert_true(world_is_direct(a) && world_is_direct(b));
	died = w->now;
	w->wan_down = true;
	world_run(w, 30 S);
	assert_false(world_is_direct(a) || world_is_direct(b));
	/* Trust is what bounds the outage: 6.5 s, never more. */
	gap = world_worst_gap(w, 0, died - 1 S, w->now - 1 S);
	assert_in_range(gap, 3 S, 6500 MS);
	assert_int_equal(world_worst_gap(w, 0, died + 7 S, w->now - 1 S), 0);
	world_run(w, 60 S);
	w->wan_down = false;
	world_run(w, 15 S);
	/* Back, within one round of pings and its answers. */
	assert_true(world_is_direct(a) && world_is_direct(b));
	assert_int_equal(a->path_changes, 3);
	world_free(w);
}

static void without_udp_the_relay_carries_all_quietly(void **state)
{
	struct world *w = world_new(5);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];

	(void)state;
	w->wan_down = true;
	w->stun_down = true;
	world_begin(w);
	world_traffic(a, 100 MS, 600 S);
	world_traffic(b, 100 MS, 600 S);
	world_run(w, 600 S);
	assert_false(world_is_direct(a) || world_is_direct(b));
	assert_int_equal(a->path_changes, 0);
	assert_int_equal(world_worst_gap(w, 0, 0, w->now - 1 S), 0);
	/* Discovery each 5 s at most: calls bounded, though each of the peer's makes us ping. */
	assert_true(path_statistics(a->engine)->calls_sent <= 125);
	assert_true(path_statistics(a->engine)->pings_sent <= 4 * 125);
	assert_false(a->told_udp);
	world_free(w);
}

static void loss_does_not_make_it_flap(void **state)
{
	(void)state;
	for (uint64_t seed = 10; seed < 15; seed++) {
		struct world *w = world_new(seed);
		struct host *a = &w->hosts[0], *b = &w->hosts[1];

		w->loss = 20;
		world_begin(w);
		world_traffic(a, 100 MS, 900 S);
		world_traffic(b, 100 MS, 900 S);
		world_run(w, 900 S);
		/*
		 * A heartbeat and its pong pass with 64 %; trust lapses when all of those at 3,
		 * 4, 5 and 6 s are lost, some three times in these 15 minutes. Data then takes
		 * both ways until the next pong.
		 */
		assert_in_range(a->path_changes, 1, 20);
		assert_true(b->got_direct > 8 * 900 * 80 / 100);
		assert_true(endpoint_equal(&a->peer->best, &b->outside));
		world_free(w);
	}
}

static void the_better_of_two_paths_is_found_left_and_found_again(void **state)
{
	struct world *w = world_new(6);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];

	(void)state;
	world_begin(w);
	world_traffic(a, 100 MS, 400 S);
	world_traffic(b, 100 MS, 400 S);
	world_run(w, 10 S);
	assert_true(endpoint_equal(&a->peer->best, &b->outside));
	/* The 20 ms way isn't good enough, so after 60 s all endpoints are tried again. */
	w->lan = true;
	world_run(w, 65 S);
	assert_true(endpoint_equal(&a->peer->best, &b->inside));
	assert_true(endpoint_equal(&b->peer->best, &a->inside));
	/* It dies: the other takes over when trust has lapsed. */
	w->lan = false;
	world_run(w, 15 S);
	assert_true(world_is_direct(a));
	assert_true(endpoint_equal(&a->peer->best, &b->outside));
	w->lan = true;
	world_run(w, 65 S);
	assert_true(endpoint_equal(&a->peer->best, &b->inside));
	/* 1 ms is good enough: no more search. */
	world_run(w, 5 S);
	{
		uint64_t pings = path_statistics(a->engine)->pings_sent;

		world_run(w, 120 S);
		assert_in_range(path_statistics(a->engine)->pings_sent - pings, 38, 42);
	}
	assert_in_range(a->path_changes, 4, 6);
	world_free(w);
}

static void a_restarted_peer_is_found_with_its_new_key(void **state)
{
	/* How the news comes: by netmap, inside the tunnel, or only by the peer using it. */
	enum { BY_NETMAP, BY_TUNNEL, BY_USE };

	(void)state;
	for (int how = BY_NETMAP; how <= BY_USE; how++) {
		struct world *w = world_new(20);
		struct host *a = &w->hosts[0], *b = &w->hosts[1];
		struct path_peer_config config;
		struct public_key fresh, stale;
		struct path_choice choice;

		world_begin(w);
		world_traffic(a, 100 MS, 100 S);
		world_run(w, 10 S);
		assert_true(world_is_direct(a));
		/* b begins anew with another disco key; its outside endpoint is the same. */
		path_engine_free(b->engine);
		b->disco.bytes[5]++;
		b->engine = path_engine_new(&b->disco, &b->node, &world_callbacks, b);
		world_meet(b);
		secret_key_public(&b->disco, &fresh);
		config = world_config(a);
		stale = path_active_key(a->peer)->key;
		if (how == BY_NETMAP)
			assert_int_equal(path_peer_update(a->peer, &config, w->now), 0);
		else
			assert_int_equal(path_peer_set_tunnel_disco_key(a->peer, &fresh, w->now),
					 0);
		if (how == BY_USE) {
			/* Control repeats the old key in between: it is no news, nothing changes.
			 */
			config.disco_key = stale;
			assert_int_equal(path_peer_update(a->peer, &config, w->now), 0);
			assert_true(public_key_equal(&path_active_key(a->peer)->key, &fresh));
		}
		assert_int_equal(a->restarts, 1);
		/* Data goes on to the old endpoint, and by relay, until the path is proved again.
		 */
		path_route(a->peer, w->now, &choice);
		assert_true(choice.direct && choice.relay);
		world_run(w, 10 S);
		assert_true(world_is_direct(a));
		assert_int_equal(a->restarts, 1);
		world_free(w);
	}
}

static void an_unreachable_host_ends_the_path_at_once(void **state)
{
	struct world *w = world_new(28);
	struct host *a = &w->hosts[0];
	struct path_choice choice;

	(void)state;
	world_begin(w);
	world_traffic(a, 100 MS, 100 S);
	world_run(w, 10 S);
	assert_true(world_is_direct(a));
	path_route(a->peer, w->now, &choice);
	path_send_failed(a->engine, &choice.endpoint, -EAGAIN); /* a full socket says nothing */
	assert_true(world_is_direct(a));
	w->unreachable = true;
	path_send_failed(a->engine, &choice.endpoint, -EHOSTUNREACH);
	assert_false(world_is_direct(a));
	path_route(a->peer, w->now, &choice);
	assert_true(choice.relay && !choice.direct);
	world_run(w, 30 S); /* every ping fails from inside of the send */
	assert_false(world_is_direct(a));
	w->unreachable = false;
	world_run(w, 10 S);
	assert_true(world_is_direct(a));
	world_free(w);
}

static void hand_over_tries_the_old_path_beside_the_relay(void **state)
{
	struct world *w = world_new(30);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	struct path_handover handover[4];
	struct path_choice choice;

	(void)state;
	world_begin(w);
	world_traffic(a, 100 MS, 20 S);
	world_run(w, 10 S);
	assert_int_equal(path_export(a->engine, w->now, handover, 4), 1);
	assert_true(public_key_equal(&handover[0].node_key, &b->node));
	assert_true(endpoint_equal(&handover[0].endpoint, &b->outside));
	/* The engine dies; the next one has the same keys and socket. */
	path_engine_free(a->engine);
	a->engine = path_engine_new(&a->disco, &a->node, &world_callbacks, a);
	world_meet(a);
	path_import(path_peer_find(a->engine, &handover[0].node_key), &handover[0].endpoint,
		    w->now);
	path_route(a->peer, w->now, &choice);
	assert_true(choice.direct && choice.relay);
	assert_true(endpoint_equal(&choice.endpoint, &b->outside));
	world_run(w, 100 MS);
	assert_true(world_is_direct(a));
	world_run(w, 100 S);
	assert_int_equal(path_export(a->engine, w->now, handover, 4), 0); /* idle */
	world_free(w);
}

static void ten_thousand_idle_peers_cost_no_time(void **state)
{
	struct world *w = world_new(33);
	struct host *a = &w->hosts[0];
	struct path_peer *peers[10000];

	(void)state;
	for (int i = 0; i < 10000; i++) {
		struct path_peer_config config = {.home_region = RELAY_REGION};

		config.node_key.bytes[0] = 1;
		config.node_key.bytes[1] = (uint8_t)i;
		config.node_key.bytes[2] = (uint8_t)(i >> 8);
		config.disco_key = config.node_key;
		assert_int_equal(path_peer_add(a->engine, &config, NULL, &peers[i]), 0);
		assert_int_equal(path_peer_add(a->engine, &config, NULL, &peers[i]), -EEXIST);
	}
	assert_int_equal(path_deadline(a->engine), DEADLINE_NEVER);
	assert_true(LIST_EMPTY(&a->engine->live));
	for (int i = 0; i < 10000; i += 2)
		path_peer_remove(peers[i]);
	assert_int_equal(HASH_COUNT(a->engine->peers), 5000);
	assert_int_equal(HASH_COUNT(a->engine->keys), 5000);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_behind_nat_become_direct_and_stay),
		cmocka_unit_test(silent_after_45_s_without_data),
		cmocka_unit_test(one_sided_traffic_makes_the_sender_direct),
		cmocka_unit_test(a_dead_direct_path_falls_back_to_the_relay),
		cmocka_unit_test(without_udp_the_relay_carries_all_quietly),
		cmocka_unit_test(loss_does_not_make_it_flap),
		cmocka_unit_test(the_better_of_two_paths_is_found_left_and_found_again),
		cmocka_unit_test(a_restarted_peer_is_found_with_its_new_key),
		cmocka_unit_test(an_unreachable_host_ends_the_path_at_once),
		cmocka_unit_test(hand_over_tries_the_old_path_beside_the_relay),
		cmocka_unit_test(ten_thousand_idle_peers_cost_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
