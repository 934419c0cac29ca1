/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_network.c - the addresses and routes that this node needs in the kernel
 *
 * DOC: Theory of operation
 *
 * A table has each route, with the number of peers that need it and whether the supervisor has
 * been sent it. Of each peer a record has the routes that were counted for it, so that a change
 * of the netmap costs no more than its own size: the record of a changed peer is replaced, and a
 * route is noted if its number of peers becomes 0 or was 0. A request sends the noted routes. The
 * first request has all routes, and so has the next one after a failure.
 */
#define LOG_ROOM "node"
#include "base/limits.h"
#include "base/log.h"
#include "node/node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The value of a table's entry: its lowest bit says that the supervisor has it. */
#define ROUTE_SENT   1u
#define ROUTE_HOLDER 2u

/* The routes that are counted for one peer. */
struct node_route_holder {
	int64_t id; /* of the peer */
	UT_hash_handle hh;
	uint32_t count;
	struct prefix routes[];
};

/* count_route() - Add or remove one holder of a route; note the route if it is the first or last */
static int count_route(struct node_routes *routes, const struct prefix *route, bool more)
{
	struct prefix_entry *entry = prefix_table_add(&routes->table, route);

	if (!entry)
		return -ENOMEM;
	entry->value += more ? ROUTE_HOLDER : -ROUTE_HOLDER;
	return entry->value < ROUTE_HOLDER + (more ? ROUTE_HOLDER : 0)
		       ? prefixes_add(&routes->noted, route)
		       : 0;
}

/* drop_holder() - Remove the record of the peer @id and its counts */
static int drop_holder(struct node_routes *routes, int64_t id)
{
	struct node_route_holder *holder;
	int r = 0;

	HASH_FIND(hh, routes->holders, &id, sizeof(id), holder);
	if (!holder)
		return 0;
	for (uint32_t i = 0; i < holder->count && r == 0; i++)
		r = count_route(routes, &holder->routes[i], false);
	HASH_DEL(routes->holders, holder);
	free(holder);
	return r;
}

/* add_holder() - Count the routes of a peer */
static int add_holder(struct node *node, const struct netmap_peer *peer)
{
	/* One IPv6 address of a peer routes the whole range, as the official client does. */
	const struct prefix tailnet_v6 = tailnet_ranges(&node->tailnet).list[1];
	struct node_routes *routes = &node->routes;
	struct node_route_holder *holder;
	int r = 0;

	holder = calloc(1, sizeof(*holder) + peer->node.allowed_ips.count * sizeof(struct prefix));
	if (!holder)
		return -ENOMEM;
	holder->id = peer->node.id;
	holder->count = node_collect_allowed_ips(node, &peer->node, holder->routes);
	HASH_ADD(hh, routes->holders, id, sizeof(holder->id), holder);
	if (!holder->hh.tbl) { /* HASH_NONFATAL_OOM */
		free(holder);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < holder->count && r == 0; i++) {
		if (prefix_covers(&tailnet_v6, &holder->routes[i]))
			holder->routes[i] = tailnet_v6;
		r = count_route(routes, &holder->routes[i], true);
	}
	return r;
}

void node_network_peer(struct node *node, int64_t id)
{
	const struct netmap *map = node_netmap(node);
	const struct netmap_peer *peer = netmap_peer_by_id(map, id);
	int r = node->routes.counted ? drop_holder(&node->routes, id) : 0;

	if (r == 0 && node->routes.counted && peer && node_peer_is_trusted(map, peer))
		r = add_holder(node, peer);
	if (r < 0 || node->routes.noted.count > LIMIT_NET_ROUTES)
		node_network_forget(node);
}

void node_network_forget(struct node *node)
{
	struct node_route_holder *holder, *next;

	HASH_ITER(hh, node->routes.holders, holder, next) {
		HASH_DEL(node->routes.holders, holder);
		free(holder);
	}
	prefix_table_free(&node->routes.table);
	prefixes_free(&node->routes.noted);
	node->routes.counted = false;
	node->routes.sent = false;
}

/* count_all() - The routes of all peers, from nothing; 0 or -ENOMEM */
static int count_all(struct node *node, const struct netmap *map)
{
	int r = 0;

	node_network_forget(node);
	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p && r == 0;
	     p = netmap_peer_next(map, p))
		if (node_peer_is_trusted(map, p))
			r = add_holder(node, p);
	node->routes.counted = r == 0;
	return r;
}

/*
 * take_noted() - Split the noted routes into those to add and those to remove; none stays noted
 *
 * Return: 0 or -ENOMEM
 */
static int take_noted(struct node_routes *routes, struct prefixes *added, struct prefixes *gone)
{
	int r = 0;

	for (size_t i = 0; i < routes->noted.count && r == 0; i++) {
		const struct prefix *route = &routes->noted.list[i];
		struct prefix_entry *entry = prefix_table_find(&routes->table, route);
		bool sent = entry && entry->value & ROUTE_SENT;

		if (entry && entry->value >= ROUTE_HOLDER) {
			r = sent ? 0 : prefixes_add(added, route);
			entry->value |= ROUTE_SENT;
		} else if (entry) {
			r = sent ? prefixes_add(gone, route) : 0;
			prefix_table_remove(&routes->table, entry);
		}
	}
	routes->noted.count = 0;
	return r;
}

/* collect_routes() - Fill in the routes of a request, which the caller frees */
static int collect_routes(struct node *node, const struct netmap *map,
			  struct privsep_network *network)
{
	struct node_routes *routes = &node->routes;
	int r = routes->counted ? 0 : count_all(node, map);

	network->delta = routes->sent;
	if (r == 0)
		r = take_noted(routes, &network->routes, &network->gone);
	if (r == 0 && !network->delta) {
		network->routes.count = network->gone.count = 0;
		for (const struct prefix_entry *e = LIST_FIRST(&routes->table.entries); e && r == 0;
		     e = LIST_NEXT(e, entry))
			r = prefixes_add(&network->routes, &e->prefix);
	}
	if (r < 0) { /* the table may lack what was noted: the next request counts all again */
		node_network_forget(node);
		return r;
	}
	routes->sent = true;
	return r;
}

static void on_network_applied(void *context, int result, const char *text)
{
	struct node *node = context;

	node->network_asked = false;
	if (result < 0)
		node->routes.sent = false;
	if (node->stopping)
		return;
	/* -ESTALE: the supervisor lacks the earlier routes and gets all of them; no failure. */
	if (node->network_changed || result == -ESTALE) {
		node_apply_network(node);
		return;
	}
	if (result < 0) {
		const char *told = node->warnings[NODE_WARN_NETWORK];

		if (!text[0])
			text = strerror(-result);
		if (!told || strcmp(told, text) != 0)
			log_error("the kernel's network state could not be set, trying again: %s",
				  text);
		node_warn(node, NODE_WARN_NETWORK, text);
	} else {
		/* The supervisor has logged it. */
		node_warn(node, NODE_WARN_NETWORK, text[0] ? text : NULL);
	}
	node_note_result(node, &node->network_failed, result);
	node->network_applied = result == 0 && node->network_wanted;
	node_changed(node, NODE_CHANGED_STATE);
}

/**
 * node_apply_network() - Ask the supervisor for addresses and routes as they should be now
 *
 * One request at a time: a burst of changes becomes one more, when the first is answered.
 */
void node_apply_network(struct node *node)
{
	const struct netmap *map = node_netmap(node);
	struct privsep_network network = {
		.netfilter = node->state.prefs.netfilter_mode != NETFILTER_OFF,
	};
	int r = 0;

	node->network_wanted = node->tunnel && map && map->self && map->self->addresses.count;
	node->network_changed = node->network_asked;
	if (!node->network_wanted)
		node->network_applied = false;
	if (node->network_asked)
		return;
	if (node->network_wanted) {
		network.up = true;
		network.share_ranges = tailcfg_capability_find(&map->self->cap_map,
							       "disable-linux-cgnat-drop-rule");
		network.addresses = (struct prefixes){
			.list = map->self->addresses.items,
			.count = map->self->addresses.count,
		};
		r = collect_routes(node, map, &network);
	} else {
		node_network_forget(node);
	}
	network.number = ++node->routes.number;
	if (r == 0)
		r = privsep_client_network(node->privsep, &network, on_network_applied, node);
	node->network_asked = r == 0;
	if (r < 0)
		on_network_applied(node, r, "");
	prefixes_free(&network.routes);
	prefixes_free(&network.gone);
}
