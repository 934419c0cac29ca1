/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/relay.c - the pool of connections to relay regions
 *
 * Theory of operation
 *   The pool handles a packet at once, and everything else from one timer. Actions that
 *   must not happen inside the owner's calls (the callback about the end of a connection,
 *   freeing a region that left the map) wait for the timer, which relay_wake() sets to now.
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "tunnel/relay/relay_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Between two look-ups of the STUN servers, after failures. */
#define STUN_RETRY_MIN (2 * NSEC_PER_SEC)
#define STUN_RETRY_MAX (60 * NSEC_PER_SEC)

void relay_wake(struct relay *r, nanoseconds at)
{
	if (at >= r->armed)
		return;
	r->armed = at;
	if (at == 0)
		loop_timer_soon(r->timer);
	else
		loop_timer_at(r->timer, at);
}

struct relay_region *relay_find_region(const struct relay *r, uint16_t id)
{
	for (struct relay_region *g = r->regions; g; g = g->next)
		if (g->id == id)
			return g;
	return NULL;
}

/*
 * Routes: the region through which a peer was last heard
 *
 * Anyone who knows our node key can send to us, but only peers are stored here; a new entry
 * displaces the oldest.
 */

static struct relay_route *find_route(const struct relay *r, const struct public_key *peer)
{
	struct relay_route *route;

	HASH_FIND(hh, r->routes, peer, sizeof(*peer), route);
	return route;
}

static void drop_route(struct relay *r, struct relay_route *route)
{
	HASH_DEL(r->routes, route);
	free(route);
}

void routes_learn(struct relay *r, const struct public_key *peer, struct relay_region *region)
{
	struct relay_route *route = find_route(r, peer);

	if (route) {
		route->region = region;
		return;
	}
	if (r->callbacks->is_peer && !r->callbacks->is_peer(r->ctx, peer))
		return;
	if (HASH_COUNT(r->routes) >= LIMIT_RELAY_ROUTES)
		drop_route(r, r->routes); /* the hash keeps the order of insertion */
	route = calloc(1, sizeof(*route));
	if (!route)
		return; /* its home region is still usable */
	route->key = *peer;
	route->region = region;
	HASH_ADD(hh, r->routes, key, sizeof(route->key), route);
	if (!route->hh.tbl)
		free(route);
}

void routes_forget(struct relay *r, const struct public_key *peer,
		   const struct relay_region *region)
{
	struct relay_route *route = find_route(r, peer);

	if (route && route->region == region)
		drop_route(r, route);
}

void routes_forget_region(struct relay *r, const struct relay_region *region)
{
	struct relay_route *route, *next;

	HASH_ITER(hh, r->routes, route, next)
		if (!region || route->region == region)
			drop_route(r, route);
}

/*
 * STUN servers: where those of the home region listen
 *
 * Nodes with addresses in the map are known at once; the names of the others are resolved.
 * The owner receives the known part of the list, and the list again for each resolved name.
 */

static void add_stun_server(struct relay *r, const struct address *address, uint16_t port)
{
	struct endpoint endpoint = {*address, port};

	for (size_t i = 0; i < r->stun_count; i++)
		if (endpoint_equal(&r->stun[i], &endpoint))
			return;
	if (r->stun_count < ARRAY_SIZE(r->stun))
		r->stun[r->stun_count++] = endpoint;
}

static void tell_stun_servers(struct relay *r)
{
	if (r->callbacks->stun_servers)
		r->callbacks->stun_servers(r->ctx, r->stun, r->stun_count);
}

static void retry_stun(struct relay *r, nanoseconds now)
{
	nanoseconds delay = STUN_RETRY_MAX;

	if (r->stun_failures < 5)
		delay = STUN_RETRY_MIN << r->stun_failures;
	r->stun_failures++;
	r->stun_retry_at = now + delay;
	relay_wake(r, r->stun_retry_at);
}

static void on_stun_name(void *user, const struct address *addresses, size_t count,
			 const struct error *err)
{
	struct stun_lookup *lookup = user;
	struct relay *r = lookup->relay;

	lookup->query = NULL;
	if (err) {
		/* The dial of the relay resolves the same name, and reports errors. */
		if (!r->stun_retry_at)
			retry_stun(r, clock_boottime());
		return;
	}
	for (size_t i = 0; i < count; i++)
		add_stun_server(r, &addresses[i], lookup->port);
	r->stun_failures = 0;
	tell_stun_servers(r);
}

static void stun_servers_cancel(struct relay *r)
{
	for (size_t i = 0; i < RELAY_NODES; i++)
		names_cancel(TAKE_PTR(r->lookups[i].query));
	r->stun_retry_at = 0;
}

static void look_up_stun(struct relay *r, const struct relay_node *node, struct stun_lookup *lookup,
			 nanoseconds now)
{
	struct error err;

	if (node->stun_port == 0)
		return;
	if (node->stun_address.family != ADDRESS_NONE) {
		add_stun_server(r, &node->stun_address, node->stun_port);
		return;
	}
	if (node->ipv4.family != ADDRESS_NONE && !node->ipv4_disabled)
		add_stun_server(r, &node->ipv4, node->stun_port);
	if (node->ipv6.family != ADDRESS_NONE && !node->ipv6_disabled)
		add_stun_server(r, &node->ipv6, node->stun_port);
	if (node->ipv4.family != ADDRESS_NONE || node->ipv6.family != ADDRESS_NONE)
		return;
	*lookup = (struct stun_lookup){.relay = r, .port = node->stun_port};
	if (!r->dialer.names || names_resolve(r->dialer.names, node->host, on_stun_name, lookup,
					      &lookup->query, &err) < 0)
		retry_stun(r, now);
}

static void stun_servers_look_up(struct relay *r, nanoseconds now)
{
	const struct relay_region *g = relay_find_region(r, r->home);

	stun_servers_cancel(r);
	if (r->stun_wanted)
		r->stun_failures = 0;
	r->stun_wanted = false;
	r->stun_count = 0;
	if (g && g->in_map)
		for (size_t i = 0; i < g->node_count; i++)
			look_up_stun(r, &g->nodes[i], &r->lookups[i], now);
	if (r->stun_count > 0 || !g)
		tell_stun_servers(r);
}

/* The pool */

static void drop_vanished(struct relay *r)
{
	struct relay_region **at = &r->regions, *g;

	while ((g = *at)) {
		if (g->in_map) {
			at = &g->next;
			continue;
		}
		*at = g->next;
		routes_forget_region(r, g);
		region_free(g);
	}
}

static void on_timer(void *user)
{
	struct relay *r = user;
	nanoseconds now = clock_boottime(), next = DEADLINE_NEVER;

	r->armed = DEADLINE_NEVER;
	for (struct relay_region *g = r->regions; g; g = g->next) {
		if (g->in_map)
			region_timeout(g, now);
		region_tell(g);
	}
	drop_vanished(r);
	if (r->stun_wanted || (r->stun_retry_at && now >= r->stun_retry_at))
		stun_servers_look_up(r, now);
	for (struct relay_region *g = r->regions; g; g = g->next)
		next = deadline_min(next, region_deadline(g));
	if (r->stun_retry_at)
		next = deadline_min(next, r->stun_retry_at);
	if (next != DEADLINE_NEVER)
		relay_wake(r, next > 0 ? next : 1);
}

int relay_new(const struct relay_config *config, struct relay **ret)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	if (loop_timer_create(config->loop, on_timer, r, &r->timer) < 0) {
		free(r);
		return -ENOMEM;
	}
	r->dialer = (struct dialer){
		.loop = config->loop,
		.sockets = config->sockets,
		.names = config->names,
		.tls = config->tls,
		.proxy = config->proxy,
	};
	r->node_key = *config->node_key;
	if (config->app_name)
		snprintf(r->app_name, sizeof(r->app_name), "%s", config->app_name);
	r->plain_http = config->plain_http;
	r->callbacks = config->callbacks;
	r->ctx = config->ctx;
	r->armed = DEADLINE_NEVER;
	*ret = r;
	return 0;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	stun_servers_cancel(r);
	routes_forget_region(r, NULL);
	while (r->regions) {
		struct relay_region *g = r->regions;

		r->regions = g->next;
		region_free(g);
	}
	loop_timer_free(r->timer);
	secret_key_wipe(&r->node_key);
	free(r);
}

int relay_set_map(struct relay *r, const struct tailcfg_derp_map *map)
{
	for (struct relay_region *g = r->regions; g; g = g->next)
		g->in_map = false;
	for (size_t i = 0; i < map->region_count; i++) {
		struct relay_region *g = relay_find_region(r, map->regions[i].id);

		if (!g) {
			g = region_new(r, map->regions[i].id);
			if (!g)
				return -ENOMEM;
			g->next = r->regions;
			r->regions = g;
		}
		region_define(g, &map->regions[i]);
	}
	for (struct relay_region *g = r->regions; g; g = g->next)
		if (!g->in_map)
			region_disconnect(g, false);
	r->stun_wanted = true;
	relay_wake(r, 0);
	return 0;
}

void relay_set_home(struct relay *r, uint16_t region)
{
	struct relay_region *g = relay_find_region(r, r->home);
	nanoseconds now = clock_boottime();

	if (r->home == region)
		return;
	/* Peers continue to send there until their netmaps change. */
	if (g)
		g->last_wanted = now;
	r->home = region;
	for (g = r->regions; g; g = g->next)
		region_note_home(g);
	/* The dial begins at once; the timer would fire in the next turn of the loop. */
	g = relay_find_region(r, region);
	if (g && g->in_map)
		region_want(g, now);
	r->stun_wanted = true;
	relay_wake(r, 0);
}

void relay_set_node_key(struct relay *r, const struct secret_key *node_key)
{
	r->node_key = *node_key;
	for (struct relay_region *g = r->regions; g; g = g->next)
		if (g->state != RELAY_IDLE)
			region_disconnect(g, true);
	relay_wake(r, 0);
}

int relay_send(struct relay *r, uint16_t region, const struct public_key *to,
	       const struct iovec *packets, size_t count)
{
	const struct relay_route *route;
	struct relay_region *home;
	nanoseconds now = clock_boottime();

	home = region ? relay_find_region(r, region) : NULL;
	if (home && !home->in_map)
		home = NULL;
	if (!home || !region_is_ready(home)) {
		route = find_route(r, to);
		if (route && region_is_ready(route->region))
			home = route->region;
	}
	if (!home)
		return -EHOSTUNREACH;
	return region_send(home, to, packets, count, now);
}

void relay_link_changed(struct relay *r)
{
	for (struct relay_region *g = r->regions; g; g = g->next) {
		/* A dial over the old link would only time out. */
		if (g->state == RELAY_CONNECTING || g->state == RELAY_WAITING)
			region_disconnect(g, true);
		g->failures = 0;
		if (region_is_ready(g))
			region_probe(g);
	}
	r->stun_wanted = true;
	relay_wake(r, 0);
}

const char *relay_region_code(const struct relay *r, uint16_t region)
{
	const struct relay_region *g = relay_find_region(r, region);

	return g && g->in_map ? g->code : NULL;
}
