/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/relay_stun_servers.c - where the home region's STUN servers listen
 *
 * Nodes with addresses in the map are known at once; the names of the others are resolved.
 * The owner receives the known part of the list, and the list again for each resolved name.
 */
#include "base/cleanup.h"
#include "tunnel/relay/relay_internal.h"

#define RETRY_MIN (2 * NSEC_PER_SEC)
#define RETRY_MAX (60 * NSEC_PER_SEC)

static void add(struct relay *r, const struct address *address, uint16_t port)
{
	struct endpoint endpoint = {*address, port};

	for (size_t i = 0; i < r->stun_count; i++)
		if (endpoint_equal(&r->stun[i], &endpoint))
			return;
	if (r->stun_count < sizeof(r->stun) / sizeof(r->stun[0]))
		r->stun[r->stun_count++] = endpoint;
}

static void tell(struct relay *r)
{
	if (r->callbacks->stun_servers)
		r->callbacks->stun_servers(r->ctx, r->stun, r->stun_count);
}

static void retry_later(struct relay *r, nanoseconds now)
{
	nanoseconds delay = RETRY_MAX;

	if (r->stun_failures < 5)
		delay = RETRY_MIN << r->stun_failures;
	r->stun_failures++;
	r->stun_retry_at = now + delay;
	relay_wake(r, r->stun_retry_at);
}

static void on_answer(void *user, const struct address *addresses, size_t count,
		      const struct error *err)
{
	struct stun_lookup *lookup = user;
	struct relay *r = lookup->relay;

	lookup->query = NULL;
	if (err) {
		/* The dial of the relay resolves the same name, and reports errors. */
		if (!r->stun_retry_at)
			retry_later(r, clock_boottime());
		return;
	}
	for (size_t i = 0; i < count; i++)
		add(r, &addresses[i], lookup->port);
	r->stun_failures = 0;
	tell(r);
}

void stun_servers_cancel(struct relay *r)
{
	for (size_t i = 0; i < RELAY_NODES; i++)
		names_cancel(TAKE_PTR(r->lookups[i].query));
	r->stun_retry_at = 0;
}

static void look_up_node(struct relay *r, const struct relay_node *node, struct stun_lookup *lookup,
			 nanoseconds now)
{
	struct error err;

	if (node->stun_port == 0)
		return;
	if (node->stun_address.family != ADDRESS_NONE) {
		add(r, &node->stun_address, node->stun_port);
		return;
	}
	if (node->ipv4.family != ADDRESS_NONE && !node->ipv4_disabled)
		add(r, &node->ipv4, node->stun_port);
	if (node->ipv6.family != ADDRESS_NONE && !node->ipv6_disabled)
		add(r, &node->ipv6, node->stun_port);
	if (node->ipv4.family != ADDRESS_NONE || node->ipv6.family != ADDRESS_NONE)
		return;
	*lookup = (struct stun_lookup){.relay = r, .port = node->stun_port};
	if (!r->dialer.names ||
	    names_resolve(r->dialer.names, node->host, on_answer, lookup, &lookup->query, &err) < 0)
		retry_later(r, now);
}

void stun_servers_look_up(struct relay *r, nanoseconds now)
{
	const struct relay_region *g = relay_find_region(r, r->home);

	stun_servers_cancel(r);
	if (r->stun_wanted)
		r->stun_failures = 0;
	r->stun_wanted = false;
	r->stun_count = 0;
	if (g && g->in_map)
		for (size_t i = 0; i < g->node_count; i++)
			look_up_node(r, &g->nodes[i], &r->lookups[i], now);
	if (r->stun_count > 0 || !g)
		tell(r);
}
