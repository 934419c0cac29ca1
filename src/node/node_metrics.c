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

/* Text that grows; the first failure stays. */
struct metrics {
	struct buffer *out;
	int result;
};

static void type(struct metrics *m, const char *name, const char *kind)
{
	m->result |= buffer_printf(m->out, "# TYPE %s %s\n", name, kind);
}

static void labelled(struct metrics *m, const char *name, const char *label, const char *value,
		     uint64_t count)
{
	m->result |= buffer_printf(m->out, "%s{%s=\"%s\"} %llu\n", name, label, value,
				   (unsigned long long)count);
}

static void single(struct metrics *m, const char *name, const char *kind, uint64_t count)
{
	type(m, name, kind);
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
	type(m, packets, "counter");
	for (size_t i = 0; i < TUNNEL_WAY_COUNT; i++)
		labelled(m, packets, "path", ways[i], traffic[i].packets);
	type(m, bytes, "counter");
	for (size_t i = 0; i < TUNNEL_WAY_COUNT; i++)
		labelled(m, bytes, "path", ways[i], traffic[i].bytes);
}

static void put_dropped(struct metrics *m, const char *name,
			const uint64_t verdicts[static FILTER_VERDICT_COUNT])
{
	type(m, name, "counter");
	for (unsigned int v = FILTER_DROP_MALFORMED; v < FILTER_VERDICT_COUNT; v++)
		labelled(m, name, "reason", filter_verdict_label(v), verdicts[v]);
}

static void put_tunnel(struct metrics *m, const struct tunnel_counters *c)
{
	static const char in_dropped[] = "tailscaled_inbound_dropped_packets_total";
	static const char out_dropped[] = "tailscaled_outbound_dropped_packets_total";

	put_traffic(m, "tailscaled_inbound_packets_total", "tailscaled_inbound_bytes_total", c->in);
	put_traffic(m, "tailscaled_outbound_packets_total", "tailscaled_outbound_bytes_total",
		    c->out);
	put_dropped(m, in_dropped, c->verdicts_in);
	labelled(m, in_dropped, "reason", "tun", c->tun_failed);
	put_dropped(m, out_dropped, c->verdicts_out);
	labelled(m, out_dropped, "reason", "no_peer", c->no_peer);
	labelled(m, out_dropped, "reason", "no_path", c->no_way);
}

static void put_wireguard(struct metrics *m, const struct wg_statistics *s)
{
	static const char datagrams[] = "pillion_wireguard_datagrams_total";
	static const char events[] = "pillion_wireguard_events_total";

	type(m, datagrams, "counter");
	for (unsigned int v = 0; v < WG_VERDICT_COUNT; v++)
		labelled(m, datagrams, "verdict", wg_verdict_name(v), s->verdicts[v]);
	type(m, events, "counter");
	for (unsigned int c = 0; c < WG_COUNTER_COUNT; c++)
		labelled(m, events, "event", wg_counter_name(c), s->counters[c]);
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

	type(m, "pillion_path_events_total", "counter");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		labelled(m, "pillion_path_events_total", "event", rows[i].event, rows[i].count);
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
	type(&m, "tailscaled_health_messages", "gauge");
	labelled(&m, "tailscaled_health_messages", "type", "warning", warnings);
	single(&m, "tailscaled_home_derp_region_id", "gauge", node->home_derp);
	single(&m, "pillion_engine_crashes_total", "counter", node->start->config.crash_count);
	type(&m, "pillion_state", "gauge");
	labelled(&m, "pillion_state", "state", node_state_name(node_state(node)), 1);
	return m.result ? -EMSGSIZE : 0;
}
