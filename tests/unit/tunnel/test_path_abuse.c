/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/test_path_abuse.c - what a hostile peer, and who replays a peer's pings, can
 * make us send and forget; the world stands in path_world.h
 */
#include "base/limits.h"
#include "unit/tunnel/path_world.h"

#define MESSAGES 1000

/* forged() - One of many addresses where nobody lives */
static struct endpoint forged(unsigned int number)
{
	char text[ENDPOINT_TEXT_MAX];

	snprintf(text, sizeof(text), "203.0.%u.%u:%u", number >> 8 & 255, number & 255,
		 1024 + (number >> 16));
	return world_endpoint(text);
}

/* call() - A CallMeMaybe that names 64 endpoints which none named before */
static struct disco_message call(void)
{
	static unsigned int number;
	struct disco_message m = {.type = DISCO_CALL_ME_MAYBE};

	m.call_me_maybe.count = DISCO_ENDPOINTS_MAX;
	for (size_t i = 0; i < DISCO_ENDPOINTS_MAX; i++)
		m.call_me_maybe.endpoints[i] = forged(number++);
	return m;
}

static void calls_cause_few_datagrams(void **state)
{
	struct world *w = world_new(41);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	uint8_t packet[DISCO_PACKET_MAX];
	uint64_t before;

	(void)state;
	w->no_control = true;
	world_begin(w);
	world_run(w, 5 S);
	before = a->udp_sent;
	for (int second = 0; second <= 10; second++) {
		for (int i = 0; i < MESSAGES; i++) {
			struct disco_message m = call();
			size_t length = world_seal(w, 1, &b->disco, &m, packet);

			path_receive_relay(a->engine, RELAY_REGION, &b->node, packet, length,
					   w->now);
		}
		/* One whole call is followed at once. */
		assert_in_range(a->udp_sent - before, DISCO_ENDPOINTS_MAX,
				LIMIT_PATH_PEER_BURST +
					(unsigned int)second * LIMIT_PATH_PEER_RATE);
		world_run(w, 1 S);
	}
	world_free(w);
}

/* Each change of a peer's disco key voids what was proved, and so begins a discovery. */
static void changes_of_the_key_cause_few_datagrams(void **state)
{
	struct world *w = world_new(42);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	struct path_peer_config config;
	struct endpoint list[DISCO_ENDPOINTS_MAX];
	struct disco_message ping = {.type = DISCO_PING};
	struct secret_key other = b->disco;
	struct public_key keys[2];
	uint8_t packet[DISCO_PACKET_MAX];
	uint64_t before;

	(void)state;
	w->no_control = true;
	w->stun_down = true;
	world_begin(w);
	other.bytes[7] = 99;
	secret_key_public(&other, &keys[0]);
	keys[1] = (struct public_key){{9, 9}};
	for (unsigned int i = 0; i < DISCO_ENDPOINTS_MAX; i++)
		list[i] = forged(i);
	for (int endpoints = 0; endpoints <= 1; endpoints++) {
		config = world_config(a);
		config.endpoints = list;
		config.endpoint_count = endpoints ? DISCO_ENDPOINTS_MAX : 0;
		assert_int_equal(path_peer_update(a->peer, &config, w->now), 0);
		world_traffic(a, 1 S, 10 S);
		world_run(w, 20 S);
		before = a->udp_sent + a->relay_sent;
		/* By adverts inside of the tunnel. */
		for (int i = 0; i < MESSAGES; i++)
			assert_int_equal(
				path_peer_set_tunnel_disco_key(a->peer, &keys[i % 2], w->now), 0);
		assert_in_range(a->udp_sent + a->relay_sent - before, 1, 2 * LIMIT_PATH_PEER_BURST);
		/* By pings that are sealed with both keys in turn: each has its pong. */
		path_peer_set_tunnel_disco_key(a->peer, &keys[0], w->now);
		before = a->udp_sent + a->relay_sent;
		for (int i = 0; i < MESSAGES; i++) {
			struct endpoint from = forged(0xffff);
			size_t length;

			memcpy(ping.ping.txid.bytes, &i, sizeof(i));
			length = world_seal(w, 1, i % 2 ? &b->disco : &other, &ping, packet);
			path_receive_udp(a->engine, &from, packet, length, w->now);
		}
		assert_in_range(a->udp_sent + a->relay_sent - before, MESSAGES,
				MESSAGES + 2 * LIMIT_PATH_PEER_BURST);
	}
	world_free(w);
}

static void many_peers_share_one_limit(void **state)
{
	struct world *w = world_new(43);
	struct host *a = &w->hosts[0];
	uint8_t packet[DISCO_PACKET_MAX];

	(void)state;
	for (uint8_t i = 0; i < 100; i++) {
		struct secret_key disco = {{8, 1, i}};
		struct path_peer_config config = {.home_region = RELAY_REGION};
		struct disco_message m = call();
		struct path_peer *p;
		size_t length;

		config.node_key.bytes[0] = 1;
		config.node_key.bytes[1] = i;
		secret_key_public(&disco, &config.disco_key);
		assert_int_equal(path_peer_add(a->engine, &config, a, &p), 0);
		a->peer = p;
		for (int turn = 0; turn < 3; turn++) {
			length = world_seal(w, 1, &disco, &m, packet);
			path_receive_relay(a->engine, RELAY_REGION, &config.node_key, packet,
					   length, w->now);
		}
	}
	assert_int_equal(a->udp_sent, LIMIT_PATH_ALL_BURST);
	world_free(w);
}

/* replay() - @recorded pings of @b come to @a again, from @count other addresses */
static void replay(struct world *w, unsigned int recorded, unsigned int count)
{
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	static unsigned int number;

	for (unsigned int i = 0; i < count; i++, number++) {
		struct disco_message ping = {.type = DISCO_PING};
		unsigned int which = number % recorded;
		struct endpoint from = forged(number);
		uint8_t packet[DISCO_PACKET_MAX];
		size_t length;

		memcpy(ping.ping.txid.bytes, &which, sizeof(which));
		length = world_seal(w, 1, &b->disco, &ping, packet);
		path_receive_udp(a->engine, &from, packet, length, w->now);
	}
}

static void replayed_pings_do_not_keep_the_true_endpoint_out(void **state)
{
	static const struct {
		bool by_netmap, by_call; /* else by a ping of its own alone */
		unsigned int recorded;
	} rows[] = {{true, false, 1000}, {false, true, 1000}, {false, false, 1}};

	(void)state;
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		struct world *w = world_new(44);
		struct host *a = &w->hosts[0], *b = &w->hosts[1];
		struct path_endpoint local = {a->inside, PATH_ENDPOINT_LOCAL};
		bool named = rows[row].by_netmap || rows[row].by_call;
		struct endpoint stun = world_stun();

		w->no_control = !rows[row].by_netmap;
		w->nat = named;
		w->lan = !named;
		world_meet(a);
		world_meet(b);
		world_traffic(a, 100 MS, 100 S);
		world_traffic(b, 100 MS, 100 S);
		/* The list is full of what was only heard, and stays so. */
		replay(w, rows[row].recorded, 2 * LIMIT_PATH_CANDIDATES);
		path_set_local_endpoints(a->engine, &local, 1, w->now);
		path_set_stun_servers(a->engine, &stun, 1, w->now);
		if (named)
			path_set_stun_servers(b->engine, &stun, 1, w->now);
		for (int i = 0; i < 120 && !world_is_direct(a); i++) {
			replay(w, rows[row].recorded, 10);
			world_run(w, 50 MS);
		}
		if (!world_is_direct(a))
			fail_msg("row %zu: no path", row + 1);
		/* What is proved stays, however long it goes on. */
		for (int i = 0; i < 600; i++) {
			replay(w, rows[row].recorded, 20);
			world_run(w, 50 MS);
			assert_true(world_is_direct(a));
		}
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_cause_few_datagrams),
		cmocka_unit_test(changes_of_the_key_cause_few_datagrams),
		cmocka_unit_test(many_peers_share_one_limit),
		cmocka_unit_test(replayed_pings_do_not_keep_the_true_endpoint_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
