/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_metrics.c - the counters as Prometheus text
 *
 * Names that begin with tailscaled_ are the official daemon's, with its labels. Names of
 * pillion's own counters begin with pillion_.
 */
#include "node/node_internal.h"
#include "tunnel/wireguard/wg.h"

#include <errno.h>
#include <string.h>

/* Text that grows; the first failure stays. */
struct metrics {
	struct buffer *out;
	const char *name; /* of the last line */
	int result;
};

/* put() - A line, and the type before the first one of a name; @label NULL: none */
static void put(struct metrics *m, const char *name, const char *label, const char *value,
		uint64_t count)
{
	const char *end = name + strlen(name) - strlen("_total");

	if (!m->name || strcmp(m->name, name) != 0)
		m->result |= buffer_printf(m->out, "# TYPE %s %s\n", name,
					   strcmp(end, "_total") == 0 ? "counter" : "gauge");
	m->name = name;
	if (label)
		m->result |= buffer_printf(m->out, "%s{%s=\"%s\"} %llu\n", name, label, value,
					   (unsigned long long)count);
	else
		m->result |= buffer_printf(m->out, "%s %llu\n", name, (unsigned long long)count);
}

static void put_traffic(struct metrics *m, const char *packets, const char *bytes,
			const struct tunnel_traffic traffic[static TUNNEL_WAY_COUNT])
{
	static const char *const ways[] = {
		[TUNNEL_WAY_DIRECT_V4] = "direct_ipv4",
		[TUNNEL_WAY_DIRECT_V6] = "direct_ipv6",
		[TUNNEL_WAY_RELAY] = "derp",
	};

	_Static_assert(ARRAY_SIZE(ways) == TUNNEL_WAY_COUNT, "a label a way");
	for (size_t i = 0; i < TUNNEL_WAY_COUNT; i++)
		put(m, packets, "path", ways[i], traffic[i].packets);
	for (size_t i = 0; i < TUNNEL_WAY_COUNT; i++)
		put(m, bytes, "path", ways[i], traffic[i].bytes);
}

static void put_dropped(struct metrics *m, const char *name,
			const uint64_t verdicts[static FILTER_VERDICT_COUNT])
{
	for (unsigned int v = FILTER_DROP_MALFORMED; v < FILTER_VERDICT_COUNT; v++)
		put(m, name, "reason", filter_verdict_label(v), verdicts[v]);
}

static void put_tunnel(struct metrics *m, const struct tunnel_counters *c)
{
	static const char in_dropped[] = "tailscaled_inbound_dropped_packets_total";
	static const char out_dropped[] = "tailscaled_outbound_dropped_packets_total";

	put_traffic(m, "tailscaled_inbound_packets_total", "tailscaled_inbound_bytes_total", c->in);
	put_traffic(m, "tailscaled_outbound_packets_total", "tailscaled_outbound_bytes_total",
		    c->out);
	put_dropped(m, in_dropped, c->verdicts_in);
	put(m, in_dropped, "reason", "tun", c->tun_failed);
	put_dropped(m, out_dropped, c->verdicts_out);
	put(m, out_dropped, "reason", "no_peer", c->no_peer);
	put(m, out_dropped, "reason", "no_path", c->no_way);
	put(m, out_dropped, "reason", "socket_full", c->udp_full);
}

static void put_wireguard(struct metrics *m, const struct wg_statistics *s)
{
	static const char datagrams[] = "pillion_wireguard_datagrams_total";
	static const char events[] = "pillion_wireguard_events_total";

	for (unsigned int v = 0; v < WG_VERDICT_COUNT; v++)
		put(m, datagrams, "verdict", wg_verdict_name(v), s->verdicts[v]);
	for (unsigned int c = 0; c < WG_COUNTER_COUNT; c++)
		put(m, events, "event", wg_counter_name(c), s->counters[c]);
}

static void put_path(struct metrics *m, const struct path_statistics *s)
{
	const struct {
		const char *event;
		uint64_t count;
	} rows[] = {
		{"ping_sent", s->pings_sent},
		{"ping_received", s->pings_received},
		{"pong_received", s->pongs_received},
		{"call_sent", s->calls_sent},
		{"call_received", s->calls_received},
		{"stun_sent", s->stun_sent},
		{"stun_received", s->stun_received},
		{"dropped_unknown_sender", s->unknown_sender},
		{"dropped_not_authentic", s->not_authentic},
		{"dropped_ignored_type", s->ignored_type},
		{"dropped_unexpected_pong", s->unexpected_pong},
		{"dropped_refused_call", s->refused_call},
		{"dropped_unexpected_stun", s->stun_unexpected},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		put(m, "pillion_path_events_total", "event", rows[i].event, rows[i].count);
}

int node_metrics(struct node *node, struct buffer *out)
{
	static const struct tunnel_counters no_packets;
	static const struct wg_statistics no_sessions;
	static const struct path_statistics no_paths;
	const struct tunnel *tunnel = node->tunnel;
	struct metrics m = {.out = out};
	uint64_t warnings = 0;

	put_tunnel(&m, tunnel ? tunnel_counters(tunnel) : &no_packets);
	put_wireguard(&m, tunnel ? tunnel_wireguard_statistics(tunnel) : &no_sessions);
	put_path(&m, tunnel ? tunnel_path_statistics(tunnel) : &no_paths);
	for (size_t i = 0; i < NODE_WARN_COUNT; i++)
		warnings += node->warnings[i] != NULL;
	put(&m, "tailscaled_health_messages", "type", "warning", warnings);
	put(&m, "tailscaled_home_derp_region_id", NULL, NULL, node->home_derp);
	put(&m, "pillion_engine_crashes_total", NULL, NULL, node->start->config.crash_count);
	put(&m, "pillion_state", "state", node_state_name(node_state(node)), 1);
	return m.result ? -EMSGSIZE : 0;
}
