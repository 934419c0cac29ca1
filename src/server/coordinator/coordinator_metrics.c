/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/coordinator_metrics.c - the counters of the coordination server, for Prometheus */
#include "server/web/metrics.h"

#include "base/cleanup.h"
#include "server/coordinator/coordinator_internal.h"

#define PREFIX "pillion_control_"

struct counts {
	uint64_t connected, online, offline, expired, users, keys, machines, held;
};

static struct counts count(const struct coordinator *c)
{
	struct counts n = {0};

	for (const struct registry_node *node = c->tailnet.registry.nodes; node;
	     node = node->by_id.next) {
		n.connected += node->sessions != NULL;
		*(node->online ? &n.online : &n.offline) += 1;
		n.expired += node->expired;
	}
	for (const struct registry_user *u = c->tailnet.registry.users; u; u = u->next)
		n.users++;
	for (const struct registry_key *k = c->tailnet.registry.keys; k; k = k->next)
		n.keys++;
	for (const struct machine_connection *m = c->connections; m; m = m->next)
		n.machines++;
	for (const struct machine_exchange *x = c->exchanges[EXCHANGE_HELD]; x; x = x->next)
		n.held++;
	return n;
}

int coordinator_metrics(const struct coordinator *c, struct buffer *out)
{
	const struct tailnet_statistics *s = &c->tailnet.statistics;
	const struct counts n = count(c);
	const struct metric rows[] = {
		{"nodes", "state=\"online\"", "Nodes", n.online, true},
		{"nodes", "state=\"offline\"", NULL, n.offline, true},
		{"nodes_connected", NULL, "Nodes with a map stream", n.connected, true},
		{"nodes_expired", NULL, "Nodes whose key has expired", n.expired, true},
		{"users", NULL, "Users", n.users, true},
		{"keys", NULL, "Pre-authentication keys, used and expired ones too", n.keys, true},
		{"connections", NULL, "Connections of machines that proved their key", n.machines,
		 true},
		{"guests", NULL, "Connections that have not asked for a map yet", c->guest_count,
		 true},
		{"guests_cut_total", NULL, "Guests closed because there were too many",
		 c->guests_cut, false},
		{"sessions", NULL, "Map streams", c->tailnet.session_count, true},
		{"logins", NULL, "Pending logins", c->tailnet.login_count, true},
		{"logins_held", NULL, "Held requests", n.held, true},
		{"store_failed", NULL, "1 while the database can't be written", c->store_failed,
		 true},
		{"registrations_total", NULL, "Nodes registered or registered again",
		 s->registrations, false},
		{"logins_total", NULL, "Logins begun", s->logins, false},
		{"maps_total", "kind=\"full\"", "Map messages", s->full_maps, false},
		{"maps_total", "kind=\"delta\"", NULL, s->deltas, false},
		{"notes_total", NULL, "Changes noted at a session", s->notes, false},
		{"overflows_total", NULL, "Sessions whose notes became a full map", s->overflows,
		 false},
	};
	int r = metrics_write(out, PREFIX, rows, ARRAY_SIZE(rows));

	return r < 0 ? r : metrics_write_web(out, PREFIX, c->web);
}
