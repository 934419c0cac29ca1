/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/test_path_disco.c - discovery: whose keys, pongs and calls count, STUN, pings
 * for people, endpoints; the world stands in path_world.h
 */
#include "unit/tunnel/path_world.h"

static void both_keys_are_accepted_and_the_used_one_is_active(void **state)
{
	struct world *w = world_new(21);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	struct secret_key other = b->disco;
	struct disco_message ping = {.type = DISCO_PING};
	struct public_key other_public, first;
	uint8_t packet[DISCO_PACKET_MAX];
	struct endpoint from = world_endpoint("203.0.113.9:9");
	struct path_peer_config config;
	size_t length;

	(void)state;
	world_begin(w);
	other.bytes[7] = 99;
	secret_key_public(&other, &other_public);
	secret_key_public(&b->disco, &first);
	path_peer_set_tunnel_disco_key(a->peer, &other_public, w->now);
	assert_true(public_key_equal(&path_active_key(a->peer)->key, &other_public));
	/* A ping sealed with the control key makes it active again at once. */
	length = world_seal(w, 1, &b->disco, &ping, packet);
	path_receive_udp(a->engine, &from, packet, length, w->now);
	assert_true(public_key_equal(&path_active_key(a->peer)->key, &first));
	ping.ping.txid.bytes[0] = 1;
	length = world_seal(w, 1, &other, &ping, packet);
	path_receive_udp(a->engine, &from, packet, length, w->now);
	assert_true(public_key_equal(&path_active_key(a->peer)->key, &other_public));
	/* The netmap names none: the tunnel's stays, and is the only one. */
	config = world_config(a);
	memset(&config.disco_key, 0, sizeof(config.disco_key));
	assert_int_equal(path_peer_update(a->peer, &config, w->now), 0);
	assert_true(public_key_equal(&path_active_key(a->peer)->key, &other_public));
	length = world_seal(w, 1, &b->disco, &ping, packet);
	path_receive_udp(a->engine, &from, packet, length, w->now);
	assert_int_equal(path_statistics(a->engine)->unknown_sender, 1);
	/* Neither: no disco, but the relay still carries data. */
	memset(&other_public, 0, sizeof(other_public));
	path_peer_set_tunnel_disco_key(a->peer, &other_public, w->now);
	assert_null(path_active_key(a->peer));
	{
		struct path_choice choice;

		path_route(a->peer, w->now, &choice);
		assert_true(choice.relay && !choice.direct);
	}
	world_free(w);
}

static void only_pongs_to_our_own_pings_move_the_path(void **state)
{
	struct world *w = world_new(22);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	struct endpoint evil = world_endpoint("203.0.113.66:666");
	struct disco_message m = {.type = DISCO_PONG};
	uint8_t packet[DISCO_PACKET_MAX];
	struct public_key stranger = {{0xee}};
	struct endpoint before;
	size_t length;
	uint64_t sent;

	(void)state;
	world_begin(w);
	world_traffic(a, 100 MS, 100 S);
	world_run(w, 10 S);
	before = world_best(a);
	/* 1: a pong with a txid of its own invention. */
	length = world_seal(w, 1, &b->disco, &m, packet);
	path_receive_udp(a->engine, &evil, packet, length, w->now);
	assert_int_equal(path_statistics(a->engine)->unexpected_pong, 1);
	/* 2: data from elsewhere, however authentic. */
	path_note_received(a->peer, &evil, w->now);
	assert_ptr_equal(path_for_source(a->engine, &evil), a->peer);
	/* 3: a ping from elsewhere is answered there and makes it a candidate, no more. */
	m = (struct disco_message){.type = DISCO_PING};
	length = world_seal(w, 1, &b->disco, &m, packet);
	sent = a->udp_sent;
	path_receive_udp(a->engine, &evil, packet, length, w->now);
	assert_int_equal(a->udp_sent, sent + 1);
	assert_non_null(path_find_candidate(a->peer, &evil));
	/* 4: the same ping again (it may have taken two ways) is not answered twice. */
	path_receive_udp(a->engine, &evil, packet, length, w->now);
	assert_int_equal(a->udp_sent, sent + 1);
	/* 5: a call by UDP; 6: a call through another node's relay connection. */
	m = (struct disco_message){.type = DISCO_CALL_ME_MAYBE};
	m.call_me_maybe.count = 1;
	m.call_me_maybe.endpoints[0] = world_endpoint("203.0.113.67:667");
	length = world_seal(w, 1, &b->disco, &m, packet);
	path_receive_udp(a->engine, &evil, packet, length, w->now);
	path_receive_relay(a->engine, RELAY_REGION, &stranger, packet, length, w->now);
	assert_int_equal(path_statistics(a->engine)->refused_call, 2);
	assert_null(path_find_candidate(a->peer, &m.call_me_maybe.endpoints[0]));
	/* 7: a stranger's disco key; 8: one bit; 9: a peer relay's message. */
	length = world_seal(w, 1, &(struct secret_key){{8, 77}}, &m, packet);
	path_receive_udp(a->engine, &evil, packet, length, w->now);
	assert_int_equal(path_statistics(a->engine)->unknown_sender, 1);
	length = world_seal(w, 1, &b->disco, &m, packet);
	packet[length - 1] ^= 1;
	path_receive_udp(a->engine, &evil, packet, length, w->now);
	assert_int_equal(path_statistics(a->engine)->not_authentic, 1);
	assert_true(endpoint_equal(&before, &a->peer->best));
	assert_true(world_is_direct(a));
	world_free(w);
}

static void a_call_is_answered_with_pings_not_with_a_call(void **state)
{
	struct world *w = world_new(23);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	struct disco_message m = {.type = DISCO_CALL_ME_MAYBE};
	uint8_t packet[DISCO_PACKET_MAX];
	uint64_t sent, relay;
	size_t length;

	(void)state;
	w->no_control = true;
	world_begin(w);
	world_run(w, 5 S);
	m.call_me_maybe.count = 3;
	m.call_me_maybe.endpoints[0] = world_endpoint("203.0.113.1:1");
	m.call_me_maybe.endpoints[1] = world_endpoint("[fe80::1]:1"); /* left out */
	m.call_me_maybe.endpoints[2] = world_endpoint("[2001:db8::1]:1");
	sent = a->udp_sent;
	relay = a->relay_sent;
	for (int i = 0; i < 3; i++) {
		length = world_seal(w, 1, &b->disco, &m, packet);
		path_receive_relay(a->engine, RELAY_REGION, &b->node, packet, length, w->now);
		/* At once, whenever they were pinged last. */
		assert_int_equal(a->udp_sent, sent + 2 * (unsigned int)(i + 1));
	}
	assert_int_equal(a->relay_sent, relay);
	assert_int_equal(a->peer->candidate_count, 2);
	assert_int_equal(a->heard[PATH_EVIDENCE_CALL], 3);
	/* The next call replaces the set. */
	m.call_me_maybe.count = 1;
	length = world_seal(w, 1, &b->disco, &m, packet);
	path_receive_relay(a->engine, RELAY_REGION, &b->node, packet, length, w->now);
	assert_int_equal(a->peer->candidate_count, 1);
	world_free(w);
}

static void a_peer_that_learns_of_us_late_is_noticed_at_once(void **state)
{
	struct world *w = world_new(24);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	nanoseconds known;

	(void)state;
	w->wan_down = true; /* no help from UDP */
	world_meet(a);
	world_traffic(a, 5 S, 20 S); /* as a handshake initiation is repeated */
	world_run(w, 700 MS);
	assert_int_equal(a->first_pong, 0);
	world_meet(b);
	known = w->now;
	world_run(w, 5 S);
	/* The probe that came after it had us in its netmap: 1.2 s spacing by then. */
	assert_true(a->first_pong > 0);
	assert_true(a->first_pong - known <= 1300 MS);
	/* Heard once, nothing more is probed. */
	assert_true(a->peer->probe_at == 0);
	world_free(w);
}

static void nor_does_a_peer_that_comes_much_later_wait_for_the_next_retry(void **state)
{
	struct world *w = world_new(34);
	struct host *a = &w->hosts[0];
	nanoseconds known;

	(void)state;
	w->wan_down = true;
	world_meet(a);
	world_traffic(a, 5100 MS, 100 S);
	world_run(w, 62 S);
	/* Five probes for each of thirteen datagrams, and no more. */
	assert_in_range(path_statistics(a->engine)->pings_sent, 55, 65);
	world_meet(&w->hosts[1]);
	known = w->now;
	world_run(w, 5 S);
	assert_true(a->first_pong > 0);
	assert_true(a->first_pong - known <= 2600 MS);
	world_free(w);
}

static void stun_finds_our_mapping_and_is_told_once(void **state)
{
	struct world *w = world_new(25);
	struct host *a = &w->hosts[0];

	(void)state;
	w->stun_lost = 2; /* the first request of each */
	world_begin(w);
	assert_int_equal(a->told_times, 1); /* the local one, at once */
	world_run(w, 300 MS);
	assert_int_equal(a->told_times, 2);
	assert_int_equal(a->told_count, 2);
	assert_int_equal(a->told[0].type, PATH_ENDPOINT_STUN);
	assert_true(endpoint_equal(&a->told[0].endpoint, &a->outside));
	assert_int_equal(a->told[1].type, PATH_ENDPOINT_LOCAL);
	assert_true(a->told_udp);
	/* Idle, nothing more is asked; active, every 20 to 26 s, and told no more. */
	world_run(w, 300 S);
	assert_int_equal(path_statistics(a->engine)->stun_sent, 2);
	world_traffic(a, 1 S, 260 S);
	world_run(w, 260 S);
	assert_in_range(path_statistics(a->engine)->stun_sent, 2 + 10, 2 + 14);
	assert_int_equal(a->told_times, 2);
	/* The NAT gives us another port: both are advertised, the old one for 310 s. */
	a->outside.port++;
	path_link_changed(a->engine, w->now);
	world_run(w, 1 S);
	assert_int_equal(a->told_times, 3);
	assert_true(endpoint_equal(&a->told[0].endpoint, &a->outside));
	/* The link changed, so what was seen before it is another network's. */
	assert_int_equal(a->told_count, 2);
	a->outside.port++;
	world_traffic(a, 1 S, 400 S);
	world_run(w, 60 S);
	assert_int_equal(a->told_count, 3);
	world_run(w, 340 S);
	assert_int_equal(a->told_count, 2);
	world_free(w);
}

static void stun_without_answer_gives_up(void **state)
{
	struct world *w = world_new(26);
	struct host *a = &w->hosts[0];
	uint64_t sent;

	(void)state;
	w->stun_down = true;
	world_begin(w);
	world_run(w, 200 S);
	assert_false(a->told_udp);
	sent = path_statistics(a->engine)->stun_sent;
	/* Six rounds of four. */
	assert_int_equal(sent, 24);
	world_run(w, 3600 S);
	assert_int_equal(path_statistics(a->engine)->stun_sent, sent);
	assert_int_equal(path_deadline(a->engine), DEADLINE_NEVER);
	/* A change of the network is a reason to try again. */
	w->stun_down = false;
	path_link_changed(a->engine, w->now);
	world_run(w, 1 S);
	assert_true(a->told_udp);
	world_free(w);
}

static void a_stun_answer_needs_the_transaction_we_began(void **state)
{
	struct world *w = world_new(27);
	struct host *a = &w->hosts[0];
	struct endpoint lie = world_endpoint("203.0.113.5:5"), stun = world_stun();
	const struct stun_txid txid = {{1}};
	uint8_t answer[STUN_RESPONSE_MAX];
	size_t length = stun_response_write(answer, &txid, &lie);

	(void)state;
	world_begin(w);
	path_receive_udp(a->engine, &stun, answer, length, w->now);
	assert_int_equal(path_statistics(a->engine)->stun_unexpected, 1);
	assert_int_equal(a->told_count, 1);
	world_free(w);
}

static struct path_ping_result answers[8];
static int answer_count;

static void answered(void *ctx, const struct path_ping_result *result)
{
	struct host *again = ctx;

	answers[answer_count++] = *result;
	if (again && answer_count == 1)
		assert_int_equal(path_ping(again->peer, again->world->now, answered, NULL), 0);
}

static void pings_for_people(void **state)
{
	struct world *w = world_new(29);
	struct host *a = &w->hosts[0];
	struct path_peer_config config;

	(void)state;
	answer_count = 0;
	world_begin(w);
	world_run(w, 1 S);
	/* 1: by relay first, since nothing is proved. */
	assert_int_equal(path_ping(a->peer, w->now, answered, NULL), 0);
	assert_int_equal(answer_count, 0);
	world_run(w, 1 S);
	assert_int_equal(answer_count, 1);
	assert_int_equal(answers[0].error, 0);
	assert_false(answers[0].direct);
	assert_int_equal(answers[0].region, RELAY_REGION);
	assert_int_equal(answers[0].latency, 100 MS);
	/* 2: with traffic the path is direct, and the ping goes there alone. */
	world_traffic(a, 100 MS, 100 S);
	world_run(w, 5 S);
	assert_int_equal(path_ping(a->peer, w->now, answered, NULL), 0);
	world_run(w, 1 S);
	assert_int_equal(answer_count, 2);
	assert_true(answers[1].direct);
	assert_int_equal(answers[1].latency, 40 MS);
	/* 3: no answer. */
	path_peer_remove(w->hosts[1].peer);
	w->hosts[1].peer = NULL;
	assert_int_equal(path_ping(a->peer, w->now, answered, NULL), 0);
	world_run(w, 6 S);
	assert_int_equal(answer_count, 3);
	assert_int_equal(answers[2].error, -ETIMEDOUT);
	/* The peer hears of us only after the first was sent: it is sent again. */
	assert_int_equal(path_ping(a->peer, w->now, answered, NULL), 0);
	world_run(w, 500 MS);
	config = world_config(&w->hosts[1]);
	assert_int_equal(path_peer_add(w->hosts[1].engine, &config, NULL, &w->hosts[1].peer), 0);
	world_run(w, 2 S);
	assert_int_equal(answer_count, 4);
	assert_int_equal(answers[3].error, 0);
	path_peer_remove(w->hosts[1].peer);
	w->hosts[1].peer = NULL;
	/* 4: a callback that pings again. 5: the peer goes. */
	answer_count = 0;
	assert_int_equal(path_ping(a->peer, w->now, answered, a), 0);
	world_run(w, 6 S);
	assert_in_range(answer_count, 1, 2);
	answer_count = 0;
	a->interval = 0;
	assert_int_equal(path_ping(a->peer, w->now, answered, NULL), 0);
	path_peer_remove(a->peer);
	assert_int_equal(answers[answer_count - 1].error, -ECANCELED);
	/* 6: a peer without disco key. */
	config = world_config(a);
	memset(&config.disco_key, 0, sizeof(config.disco_key));
	assert_int_equal(path_peer_add(a->engine, &config, NULL, &a->peer), 0);
	assert_int_equal(path_ping(a->peer, w->now, answered, NULL), -EHOSTUNREACH);
	world_free(w);
}

static void wireguard_only_peers_are_reached_where_they_answer(void **state)
{
	struct world *w = world_new(31);
	struct host *a = &w->hosts[0];
	struct endpoint list[] = {world_endpoint("203.0.113.1:51820"),
				  world_endpoint("203.0.113.2:51820"),
				  world_endpoint("[2001:db8::1]:51820")};
	struct path_peer_config config = {.node_key = {{5}},
					  .endpoints = list,
					  .endpoint_count = 3,
					  .wireguard_only = true,
					  .disco_key = {{9}}};
	struct path_choice choice;
	bool tried[3] = {false};

	(void)state;
	assert_int_equal(path_peer_add(a->engine, &config, NULL, &a->peer), 0);
	for (int i = 0; i < 100; i++) {
		w->now += 2 S;
		path_route(a->peer, w->now, &choice);
		assert_true(choice.direct && !choice.relay);
		for (int j = 0; j < 3; j++)
			tried[j] = tried[j] || endpoint_equal(&choice.endpoint, &list[j]);
	}
	assert_true(tried[0] && tried[1] && tried[2]);
	for (int i = 0; i < 100; i++) {
		w->now += 4 S;
		path_note_received(a->peer, &list[1], w->now);
		path_route(a->peer, w->now, &choice);
		assert_true(endpoint_equal(&choice.endpoint, &list[1]));
	}
	assert_int_equal(path_ping(a->peer, w->now, answered, NULL), -EHOSTUNREACH);
	assert_int_equal(a->udp_sent + a->relay_sent, 0);
	world_free(w);
}

static void endpoints_come_and_go_with_what_speaks_for_them(void **state)
{
	struct world *w = world_new(32);
	struct host *a = &w->hosts[0], *b = &w->hosts[1];
	struct endpoint list[] = {world_endpoint("203.0.113.1:1"), world_endpoint("203.0.113.2:2"),
				  world_endpoint("203.0.113.3:0"), world_endpoint("0.0.0.0:5")};
	struct path_peer_config config;

	(void)state;
	world_begin(w);
	config = world_config(a);
	config.endpoints = list;
	config.endpoint_count = 4;
	assert_int_equal(path_peer_update(a->peer, &config, w->now), 0);
	assert_int_equal(a->peer->candidate_count, 2); /* not port 0, not 0.0.0.0 */
	config.endpoint_count = 1;
	assert_int_equal(path_peer_update(a->peer, &config, w->now), 0);
	assert_int_equal(a->peer->candidate_count, 1);
	/* What carries data stays, whatever the netmap says. */
	world_traffic(a, 100 MS, 30 S);
	world_run(w, 10 S);
	assert_true(world_is_direct(a));
	config.endpoint_count = 0;
	for (size_t i = 0; i < a->peer->candidate_count; i++)
		a->peer->candidates[i].called = false;
	assert_int_equal(path_peer_update(a->peer, &config, w->now), 0);
	assert_true(world_is_direct(a));
	/* A peer that pings from a thousand places can't make us remember more than 100. */
	for (int i = 0; i < 1000; i++) {
		struct disco_message ping = {.type = DISCO_PING};
		struct endpoint from = world_endpoint("203.0.113.77:1");
		uint8_t packet[DISCO_PACKET_MAX];
		size_t length;

		ping.ping.txid.bytes[0] = (uint8_t)i;
		ping.ping.txid.bytes[1] = (uint8_t)(i >> 8);
		from.port = (uint16_t)(1000 + i);
		length = world_seal(w, 1, &b->disco, &ping, packet);
		path_receive_udp(a->engine, &from, packet, length, w->now);
	}
	assert_int_equal(a->peer->candidate_count, 100);
	assert_true(HASH_COUNT(a->engine->sources) <= 8);
	world_run(w, 200 S);
	world_traffic(a, 100 MS, 1 S);
	world_run(w, 1 S);
	assert_true(a->peer->candidate_count < 5);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_keys_are_accepted_and_the_used_one_is_active),
		cmocka_unit_test(only_pongs_to_our_own_pings_move_the_path),
		cmocka_unit_test(a_call_is_answered_with_pings_not_with_a_call),
		cmocka_unit_test(a_peer_that_learns_of_us_late_is_noticed_at_once),
		cmocka_unit_test(nor_does_a_peer_that_comes_much_later_wait_for_the_next_retry),
		cmocka_unit_test(stun_finds_our_mapping_and_is_told_once),
		cmocka_unit_test(stun_without_answer_gives_up),
		cmocka_unit_test(a_stun_answer_needs_the_transaction_we_began),
		cmocka_unit_test(pings_for_people),
		cmocka_unit_test(wireguard_only_peers_are_reached_where_they_answer),
		cmocka_unit_test(endpoints_come_and_go_with_what_speaks_for_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
