/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/packet/test_tunnel.c - two whole tunnels, back to back on loopback
 *
 *	test ═ socket pair (as TUN) ═ tunnel 0 ── UDP 127.0.0.1 ── tunnel 1 ═ socket pair ═ test
 *
 * Real time, real UDP, no relay: each knows the other's endpoint from its netmap.
 */
#include "base/cleanup.h"
#include "filter/filter.h"
#include "transport/names.h"
#include "transport/tls.h"
#include "tunnel/tunnel.h"
#include "unit/failing_memory.h"
#include "unit/unit.h"
#include "wire/ip.h"
#include "wire/tailcfg_filter.h"
#include "wire/tsmp.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 20000

struct side {
	struct tunnel *tunnel;
	struct secret_key node_key, disco_key;
	struct public_key node, disco;
	int host; /* the test's end of the TUN */
	int tun;
	int udp;
	struct endpoint endpoint;
	struct prefix address;
	unsigned int handovers;
	unsigned int cancelled; /* pings */
};

struct world {
	uv_loop_t loop;
	struct names *names;
	struct tls_context *tls;
	struct side side[2];
	uv_timer_t alarm;
	bool expired;
};

static void on_endpoints(void *ctx, const struct path_endpoint *list, size_t count, bool udp)
{
	(void)ctx;
	(void)list;
	(void)count;
	(void)udp;
}

static void on_relay(void *ctx, uint16_t region, bool home, bool connected)
{
	(void)ctx;
	(void)region;
	(void)home;
	(void)connected;
}

static void on_health(void *ctx, uint16_t region, const char *problem)
{
	(void)ctx;
	(void)region;
	(void)problem;
}

static void on_handover(void *ctx)
{
	((struct side *)ctx)->handovers++;
}

static const struct tunnel_callbacks callbacks = {
	.endpoints_changed = on_endpoints,
	.relay_connected = on_relay,
	.relay_health = on_health,
	.handover_changed = on_handover,
};

static struct prefix prefix(const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(text, strlen(text), &p), 0);
	return p;
}

static void open_tunnel(struct world *w, struct side *s)
{
	struct tunnel_config config = {
		.loop = &w->loop,
		.sockets = socket_source_direct(),
		.names = w->names,
		.tls = w->tls,
		.tun = &s->tun,
		.tun_count = 1,
		.udp_v4 = s->udp,
		.udp_v6 = -1,
		.node_key = &s->node_key,
		.disco_key = &s->disco_key,
		.callbacks = &callbacks,
		.ctx = s,
	};

	assert_int_equal(tunnel_new(&config, &s->tunnel), 0);
	tunnel_set_own_addresses(s->tunnel, &s->address, 1);
}

/* let_in() - A filter that admits @protocol to port 80 */
static void let_in(struct side *s, uint8_t protocol)
{
	struct tailcfg_net any = {.kind = TAILCFG_NET_ANY};
	struct tailcfg_net_ports ports = {.net = any, .first_port = 80, .last_port = 80};
	struct tailcfg_filter_rule rule = {
		.sources = &any,
		.source_count = 1,
		.destinations = &ports,
		.destination_count = 1,
		.protocols = &protocol,
		.protocol_count = 1,
	};
	struct tailcfg_filter list = {.rules = &rule, .count = 1};
	const struct tailcfg_filter *lists[] = {&list};
	struct filter_config config = {
		.lists = lists,
		.list_count = 1,
		.addresses = {&s->address, 1},
	};
	struct filter *filter;

	assert_int_equal(filter_compile(&config, &filter), 0);
	tunnel_set_filter(s->tunnel, filter);
}

static int try_introduce(struct side *to, const struct side *peer)
{
	struct tunnel_peer_config config = {
		.path =
			{
				.node_key = peer->node,
				.disco_key = peer->disco,
				.endpoints = &peer->endpoint,
				.endpoint_count = 1,
			},
		.allowed_ips = &peer->address,
		.allowed_ip_count = 1,
		.address_v4 = peer->address.address,
	};

	return tunnel_peer_set(to->tunnel, &config);
}

static void introduce(struct side *to, const struct side *peer)
{
	assert_int_equal(try_introduce(to, peer), 0);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct error err = {0};

	assert_true(sodium_init() >= 0);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	uv_timer_init(&w->loop, &w->alarm);
	assert_int_equal(names_create(&w->loop, socket_source_direct(), &w->names, &err), 0);
	assert_int_equal(tls_context_create(&w->tls, &err), 0);
	for (int i = 0; i < 2; i++) {
		struct side *s = &w->side[i];
		struct sockaddr_in in = {.sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t size = sizeof(in);
		int pair[2];

		secret_key_generate(&s->node_key);
		secret_key_generate(&s->disco_key);
		secret_key_public(&s->node_key, &s->node);
		secret_key_public(&s->disco_key, &s->disco);
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		s->host = pair[0];
		s->tun = pair[1];
		s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(s->udp, (struct sockaddr *)&in, sizeof(in)), 0);
		assert_int_equal(getsockname(s->udp, (struct sockaddr *)&in, &size), 0);
		assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&in, &s->endpoint), 0);
		s->address = prefix(i ? "100.64.0.2" : "100.64.0.1");
		open_tunnel(w, s);
	}
	introduce(&w->side[0], &w->side[1]);
	introduce(&w->side[1], &w->side[0]);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 2; i++) {
		tunnel_free(w->side[i].tunnel);
		close(w->side[i].host);
	}
	names_free(w->names);
	tls_context_release(w->tls);
	uv_close((uv_handle_t *)&w->alarm, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	for (int i = 0; i < 2; i++) {
		close(w->side[i].tun);
		close(w->side[i].udp);
	}
	assert_int_equal(uv_loop_close(&w->loop), 0);
	free(w);
	return 0;
}

static void on_alarm(uv_timer_t *timer)
{
	((struct world *)timer->loop->data)->expired = true;
}

/* receive() - Run the loop until @s's host is given a packet, or @ms have passed (0) */
static ssize_t receive(struct world *w, struct side *s, uint8_t *out, size_t size, uint64_t ms)
{
	ssize_t length;

	w->expired = false;
	w->loop.data = w;
	uv_update_time(&w->loop);
	uv_timer_start(&w->alarm, on_alarm, ms, 0);
	while ((length = recv(s->host, out, size, 0)) < 0 && !w->expired)
		uv_run(&w->loop, UV_RUN_ONCE);
	uv_timer_stop(&w->alarm);
	return length < 0 ? 0 : length;
}

/* udp_packet() - From one side's address to the other's, port 80 */
static size_t udp_packet(const struct side *from, const struct side *to, const char *text,
			 uint8_t *out)
{
	uint8_t payload[128] = {0x30, 0x39, 0, 80};
	size_t length = IP_UDP_HEADER_SIZE + strlen(text);
	ssize_t header = ip_build_header(out, 1500, &from->address.address, &to->address.address,
					 IP_PROTOCOL_UDP, length);

	payload[5] = (uint8_t)length;
	memcpy(payload + IP_UDP_HEADER_SIZE, text, strlen(text));
	memcpy(out + header, payload, length);
	return (size_t)header + length;
}

static void say(const struct side *from, const struct side *to, const char *text)
{
	uint8_t packet[1500];
	size_t length = udp_packet(from, to, text, packet);

	assert_int_equal(send(from->host, packet, length, 0), length);
}

static void assert_hears(struct world *w, struct side *s, const char *text)
{
	uint8_t packet[1500];
	ssize_t length = receive(w, s, packet, sizeof(packet), PATIENCE_MS);

	assert_true(length > (ssize_t)strlen(text));
	assert_memory_equal(packet + length - strlen(text), text, strlen(text));
}

static void a_packet_crosses_and_its_answer_returns(void **state)
{
	struct world *w = *state;

	let_in(&w->side[1], IP_PROTOCOL_UDP);
	say(&w->side[0], &w->side[1], "hello");
	assert_hears(w, &w->side[1], "hello");
	/* No rule lets anything in here; the answer belongs to a flow that began here. */
	let_in(&w->side[0], IP_PROTOCOL_TCP);
	uint8_t answer[1500];
	size_t length = udp_packet(&w->side[1], &w->side[0], "welcome", answer);

	/* Swap the ports: 80 → 12345. */
	memcpy(answer + 20, (const uint8_t[]){0, 80, 0x30, 0x39}, 4);
	assert_int_equal(send(w->side[1].host, answer, length, 0), length);
	assert_hears(w, &w->side[0], "welcome");
	assert_int_equal(tunnel_counters(w->side[0].tunnel)->verdicts_in[FILTER_ACCEPT_FLOW], 1);
}

static void without_a_rule_nothing_comes_in(void **state)
{
	struct world *w = *state;
	uint8_t packet[1500];

	const struct tunnel_counters *counters = tunnel_counters(w->side[1].tunnel);

	say(&w->side[0], &w->side[1], "no filter yet");
	for (int i = 0; i < 40 && !counters->verdicts_in[FILTER_DROP_NO_FILTER]; i++)
		assert_int_equal(receive(w, &w->side[1], packet, sizeof(packet), 250), 0);
	let_in(&w->side[1], IP_PROTOCOL_TCP);
	say(&w->side[0], &w->side[1], "not this protocol");
	assert_int_equal(receive(w, &w->side[1], packet, sizeof(packet), 500), 0);
	assert_int_equal(counters->verdicts_in[FILTER_DROP_NO_FILTER], 1);
	assert_int_equal(counters->verdicts_in[FILTER_DROP_RULES], 1);
}

struct ping_answer {
	bool done;
	struct tunnel_ping_result result;
};

static void on_ping(void *ctx, const struct tunnel_ping_result *result)
{
	struct ping_answer *answer = ctx;

	answer->done = true;
	answer->result = *result;
}

static void ping(struct world *w, enum tunnel_ping_type type, struct ping_answer *answer)
{
	*answer = (struct ping_answer){0};
	assert_int_equal(tunnel_ping(w->side[0].tunnel, &w->side[1].node,
				     &w->side[1].address.address, type, on_ping, answer),
			 0);
	while (!answer->done)
		uv_run(&w->loop, UV_RUN_ONCE);
}

static void pings_are_answered(void **state)
{
	struct world *w = *state;
	struct ping_answer answer;

	ping(w, TUNNEL_PING_DISCO, &answer);
	assert_int_equal(answer.result.error, 0);
	assert_true(answer.result.direct);
	assert_true(endpoint_equal(&answer.result.endpoint, &w->side[1].endpoint));
	/* TSMP passes without any filter. */
	ping(w, TUNNEL_PING_TSMP, &answer);
	assert_int_equal(answer.result.error, 0);
	assert_true(answer.result.latency > 0);
}

/* introduce_as() - @to knows @peer as somebody special */
static void introduce_as(struct side *to, const struct side *peer, const struct prefix *address,
			 const struct masquerade *masquerade, bool jailed)
{
	struct tunnel_peer_config config = {
		.path =
			{
				.node_key = peer->node,
				.disco_key = peer->disco,
				.endpoints = &peer->endpoint,
				.endpoint_count = 1,
			},
		.allowed_ips = address,
		.allowed_ip_count = 1,
		.address_v4 = address->address,
		.masquerade = *masquerade,
		.jailed = jailed,
	};

	assert_int_equal(tunnel_peer_set(to->tunnel, &config), 0);
}

/* The netmap's node that it was may be gone, so a peer that can't be set is none any more. */
static void a_peer_that_cant_be_changed_is_removed(void **state)
{
	struct world *w = *state;
	struct side bad = w->side[1];
	struct tunnel_peer_status status;

	assert_int_equal(try_introduce(&w->side[0], &w->side[1]), 0);
	bad.address.bits = 33;
	assert_int_equal(try_introduce(&w->side[0], &bad), -EINVAL);
	assert_int_equal(tunnel_peer_status(w->side[0].tunnel, &bad.node, &status), -ENOENT);
	assert_int_equal(try_introduce(&w->side[0], &w->side[1]), 0);
	assert_int_equal(tunnel_peer_status(w->side[0].tunnel, &bad.node, &status), 0);
}

/* Side 0 is 100.64.0.1, but side 1 is to know it as 100.64.7.7. */
static void a_peer_may_know_us_by_another_address(void **state)
{
	struct world *w = *state;
	struct side as_shown = w->side[0];
	const struct masquerade none = {0}, masquerade = {
						    .own_v4 = w->side[0].address.address,
						    .shown_v4 = prefix("100.64.7.7").address,
					    };
	struct ping_answer pinged;
	uint8_t packet[1500];
	struct ip_view view;
	ssize_t length;

	as_shown.address = prefix("100.64.7.7");
	introduce_as(&w->side[0], &w->side[1], &w->side[1].address, &masquerade, false);
	introduce_as(&w->side[1], &as_shown, &as_shown.address, &none, false);
	let_in(&w->side[0], IP_PROTOCOL_UDP);
	let_in(&w->side[1], IP_PROTOCOL_UDP);

	say(&w->side[0], &w->side[1], "from another");
	length = receive(w, &w->side[1], packet, sizeof(packet), PATIENCE_MS);
	assert_int_equal(ip_parse(packet, (size_t)length, &view), 0);
	assert_true(address_equal(&view.source, &as_shown.address.address));

	say(&w->side[1], &as_shown, "to another");
	length = receive(w, &w->side[0], packet, sizeof(packet), PATIENCE_MS);
	assert_int_equal(ip_parse(packet, (size_t)length, &view), 0);
	assert_true(address_equal(&view.destination, &w->side[0].address.address));

	/* Packets of the daemon's own as well. */
	ping(w, TUNNEL_PING_TSMP, &pinged);
	assert_int_equal(pinged.result.error, 0);
}

static void a_jailed_peer_may_only_answer(void **state)
{
	struct world *w = *state;
	const struct tunnel_counters *counters = tunnel_counters(w->side[1].tunnel);
	const struct masquerade none = {0};
	uint8_t packet[1500];

	let_in(&w->side[1], IP_PROTOCOL_UDP);
	introduce_as(&w->side[1], &w->side[0], &w->side[0].address, &none, true);
	say(&w->side[0], &w->side[1], "let me in");
	for (int i = 0; i < 40 && !counters->verdicts_in[FILTER_DROP_JAILED]; i++)
		assert_int_equal(receive(w, &w->side[1], packet, sizeof(packet), 250), 0);
	assert_int_equal(counters->verdicts_in[FILTER_DROP_JAILED], 1);
	introduce_as(&w->side[1], &w->side[0], &w->side[0].address, &none, false);
	say(&w->side[0], &w->side[1], "free");
	assert_hears(w, &w->side[1], "free");
}

static void unknown_addresses_and_foreign_tsmp_stay_here(void **state)
{
	struct world *w = *state;
	struct tsmp_message forged = {.type = TSMP_PING};
	struct side nobody = {.address = prefix("100.64.0.9")};
	uint8_t packet[1500];
	ssize_t length;

	say(&w->side[0], &nobody, "anyone there?");
	length = tsmp_build(packet, sizeof(packet), &w->side[0].address.address,
			    &w->side[1].address.address, &forged);
	assert_true(send(w->side[0].host, packet, (size_t)length, 0) == length);
	assert_int_equal(receive(w, &w->side[1], packet, sizeof(packet), 300), 0);
	assert_int_equal(tunnel_counters(w->side[0].tunnel)->no_peer, 1);
	assert_int_equal(
		tunnel_counters(w->side[0].tunnel)->verdicts_out[FILTER_DROP_TSMP_FROM_HOST], 1);
}

static void the_next_engine_greets_who_was_active(void **state)
{
	struct world *w = *state;
	struct side *s = &w->side[0];
	struct buffer record = BUFFER_INIT(65536);

	let_in(&w->side[1], IP_PROTOCOL_UDP);
	say(s, &w->side[1], "before");
	assert_hears(w, &w->side[1], "before");
	uint8_t nothing[64];
	(void)receive(w, s, nothing, sizeof(nothing), 300);
	assert_true(s->handovers >= 1);
	assert_int_equal(tunnel_export(s->tunnel, &record), 0);
	tunnel_free(s->tunnel);

	open_tunnel(w, s);
	introduce(s, &w->side[1]);
	assert_int_equal(tunnel_import(s->tunnel, buffer_head(&record), record.length), 1);
	say(s, &w->side[1], "after");
	assert_hears(w, &w->side[1], "after");

	/* Hostile records: cut, and a count that lies. */
	for (size_t cut = 0; cut < record.length; cut++)
		assert_int_equal(tunnel_import(s->tunnel, buffer_head(&record), cut), -EBADMSG);
	buffer_head(&record)[12] = 0xff;
	assert_int_equal(tunnel_import(s->tunnel, buffer_head(&record), record.length), -EBADMSG);
	buffer_free(&record);
}

static void a_removed_peer_is_a_stranger(void **state)
{
	struct world *w = *state;
	uint8_t packet[1500];

	let_in(&w->side[1], IP_PROTOCOL_UDP);
	say(&w->side[0], &w->side[1], "friend");
	assert_hears(w, &w->side[1], "friend");
	tunnel_peer_remove(w->side[1].tunnel, &w->side[0].node);
	say(&w->side[0], &w->side[1], "stranger");
	assert_int_equal(receive(w, &w->side[1], packet, sizeof(packet), 300), 0);
}

/* ask_relays() - As node does for each answer: the relays must be there until the last one */
static void ask_relays(void *ctx, const struct tunnel_ping_result *result)
{
	struct side *s = ctx;

	assert_int_equal(result->error, -ECANCELED);
	assert_null(relay_region_code(tunnel_relay(s->tunnel), result->region));
	s->cancelled++;
}

static void pings_end_before_the_tunnel_does(void **state)
{
	static const enum tunnel_ping_type types[] = {TUNNEL_PING_DISCO, TUNNEL_PING_TSMP,
						      TUNNEL_PING_ICMP};
	struct world *w = *state;
	struct side *s = &w->side[0];

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		assert_int_equal(tunnel_ping(s->tunnel, &w->side[1].node,
					     &w->side[1].address.address, types[i], ask_relays, s),
				 0);
	tunnel_free(s->tunnel);
	assert_int_equal(s->cancelled, ARRAY_SIZE(types));
	open_tunnel(w, s);
}

/* Whichever allocation fails, the peer is there with the next try; the first is of the table. */
static void a_peer_for_which_there_is_no_memory_comes_later(void **state)
{
	struct world *w = *state;
	unsigned int failures = 0;

	for (bool worked = false; !worked; failures += !worked) {
		tunnel_peer_remove(w->side[0].tunnel, &w->side[1].node);
		allocations = 0;
		fail_at = failures + 1;
		worked = try_introduce(&w->side[0], &w->side[1]) == 0;
		fail_at = 0;
		introduce(&w->side[0], &w->side[1]);
	}
	/* WireGuard's peer, the path's, ours and the tables of all. */
	assert_true(failures >= 6);
	let_in(&w->side[1], IP_PROTOCOL_UDP);
	say(&w->side[0], &w->side[1], "after all");
	assert_hears(w, &w->side[1], "after all");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_packet_crosses_and_its_answer_returns, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(without_a_rule_nothing_comes_in, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pings_are_answered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_peer_that_cant_be_changed_is_removed, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_peer_may_know_us_by_another_address, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_jailed_peer_may_only_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(unknown_addresses_and_foreign_tsmp_stay_here,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_next_engine_greets_who_was_active, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_removed_peer_is_a_stranger, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pings_end_before_the_tunnel_does, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_peer_for_which_there_is_no_memory_comes_later,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
