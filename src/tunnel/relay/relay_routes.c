/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/relay_routes.c - through which region a peer was last heard
 *
 * Whoever knows our node key can send to us, but only peers are remembered here; the oldest
 * entry makes room for a new one.
 */
#include "base/limits.h"
#include "tunnel/relay/relay_internal.h"

#include <stdlib.h>

static struct relay_route *find(const struct relay *r, const struct public_key *peer)
{
	struct relay_route *route;

	HASH_FIND(hh, r->routes, peer, sizeof(*peer), route);
	return route;
}

static void drop(struct relay *r, struct relay_route *route)
{
	HASH_DEL(r->routes, route);
	free(route);
}

void routes_learn(struct relay *r, const struct public_key *peer, struct relay_region *region)
{
	struct relay_route *route = find(r, peer);

	if (route) {
		route->region = region;
		return;
	}
	if (r->callbacks->is_peer && !r->callbacks->is_peer(r->ctx, peer))
		return;
	if (HASH_COUNT(r->routes) >= LIMIT_RELAY_ROUTES)
		drop(r, r->routes); /* the hash keeps the order of insertion */
	route = calloc(1, sizeof(*route));
	if (!route)
		return; /* its home region is still a way */
	route->key = *peer;
	route->region = region;
	HASH_ADD(hh, r->routes, key, sizeof(route->key), route);
	if (route->hash_failed)
		free(route);
}

struct relay_region *routes_find(const struct relay *r, const struct public_key *peer)
{
	struct relay_route *route = find(r, peer);

	return route ? route->region : NULL;
}

void routes_forget(struct relay *r, const struct public_key *peer,
		   const struct relay_region *region)
{
	struct relay_route *route = find(r, peer);

	if (route && route->region == region)
		drop(r, route);
}

void routes_forget_region(struct relay *r, const struct relay_region *region)
{
	struct relay_route *route, *next;

	HASH_ITER(hh, r->routes, route, next)
		if (!region || route->region == region)
			drop(r, route);
}
