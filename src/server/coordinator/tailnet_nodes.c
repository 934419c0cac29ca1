/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/tailnet_nodes.c - changes of a node: by its map requests, by the operator, by time */
#include "server/coordinator/tailnet.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <string.h>

static bool is_exit_route(const struct prefix *p)
{
	return p->bits == 0;
}

/* Time */

void tailnet_schedule(struct tailnet *t, struct registry_node *node, struct tailnet_time now)
{
	nanoseconds at = deadline_min(node->offline_at, node->remove_at);

	if (node->expiry != JSON_TIME_NONE && node->expiry > now.wall)
		at = deadline_min(at, now.boot + (node->expiry - now.wall));
	deadlines_set(&t->due, &node->due, at);
}

void tailnet_key_gone(struct tailnet *t, const struct registry_node *node)
{
	if (t->settings.key_gone)
		t->settings.key_gone(t->settings.key_user, &node->key);
}

/* copy_prefixes() - -ENOMEM leaves @to as it was */
static int copy_prefixes(struct prefix_list *to, const struct prefix *items, uint32_t count)
{
	struct prefix *copy = count ? reallocarray(NULL, count, sizeof(*copy)) : NULL;

	if (count && !copy)
		return -ENOMEM;
	if (count)
		memcpy(copy, items, count * sizeof(*copy));
	prefix_list_clear(to);
	*to = (struct prefix_list){.items = copy, .count = count};
	return 0;
}

/* hostinfo_text() - For comparing; the network is compared apart */
static int hostinfo_text(const struct tailcfg_hostinfo *info, struct buffer *out)
{
	struct tailcfg_hostinfo rest = *info;
	struct json_writer w = json_writer_to(out);

	rest.net_info = NULL;
	tailcfg_hostinfo_encode(&w, NULL, &rest);
	return json_writer_result(&w);
}

/* Map requests */

static bool hostinfo_equal(const struct tailcfg_hostinfo *a, const struct tailcfg_hostinfo *b)
{
	struct buffer one = BUFFER_INIT(LIMIT_JSON_COLUMN), two = BUFFER_INIT(LIMIT_JSON_COLUMN);
	bool equal = hostinfo_text(a, &one) == 0 && hostinfo_text(b, &two) == 0 &&
		     one.length == two.length &&
		     memcmp(buffer_head(&one), buffer_head(&two), one.length) == 0;

	buffer_free(&one);
	buffer_free(&two);
	return equal;
}

/* take_hostinfo() - @from becomes @node's; what changed by it */
static unsigned int take_hostinfo(struct tailnet *t, struct registry_node *node,
				  struct tailcfg_hostinfo *from)
{
	uint16_t home = registry_node_home(node);
	unsigned int what = 0;
	bool renamed = from->hostname && (!node->hostinfo.hostname ||
					  strcmp(from->hostname, node->hostinfo.hostname) != 0);

	/* Without a NetInfo the last one holds. */
	if (!from->net_info)
		from->net_info = TAKE_PTR(node->hostinfo.net_info);
	if (!hostinfo_equal(from, &node->hostinfo))
		what |= CHANGE_NODE;
	else if (!tailcfg_net_info_basically_equal(from->net_info, node->hostinfo.net_info))
		registry_touch(&t->registry, &node->record);
	tailcfg_hostinfo_clear(&node->hostinfo);
	node->hostinfo = *from;
	*from = (struct tailcfg_hostinfo){0};
	if (registry_node_home(node) != home)
		/* A patch can't say "no home any more". */
		what |= registry_node_home(node) ? CHANGE_HOME : CHANGE_NODE;
	if (renamed && !node->named)
		(void)registry_rename(&t->registry, node, node->hostinfo.hostname, false);
	return what;
}

void tailnet_update(struct tailnet *t, struct registry_node *node,
		    struct machine_map_request *request)
{
	unsigned int what = 0;

	if (request->read_only)
		return;
	if (!public_key_is_zero(&request->disco_key) &&
	    !public_key_equal(&request->disco_key, &node->disco)) {
		node->disco = request->disco_key;
		what |= CHANGE_DISCO;
	}
	if (request->has_endpoints && !endpoint_list_equal(&request->endpoints, &node->endpoints)) {
		endpoint_list_clear(&node->endpoints);
		node->endpoints = request->endpoints;
		request->endpoints = (struct endpoint_list){0};
		what |= CHANGE_ENDPOINTS;
	}
	if (request->hostinfo) {
		what |= take_hostinfo(t, node, request->hostinfo);
		if (what & CHANGE_NODE)
			tailnet_settle_routes(t, node);
	}
	if (request->version > 0 && request->version <= UINT16_MAX &&
	    request->version != node->cap) {
		node->cap = (uint16_t)request->version;
		what |= CHANGE_NODE;
	}
	if (what) {
		registry_touch(&t->registry, &node->record);
		tailnet_changed(t, node, what);
	}
	if (what & CHANGE_NODE && node->is_router)
		tailnet_elect_routes(t);
}

/* drop_unadvertised() - Of @routes keep what @node advertises; how many that are */
static uint32_t drop_unadvertised(const struct registry_node *node, struct prefix *routes,
				  uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++)
		if (prefix_list_contains(&node->hostinfo.routable_ips, &routes[i]))
			routes[kept++] = routes[i];
	return kept;
}

/* Routes */

bool tailnet_settle_routes(struct tailnet *t, struct registry_node *node)
{
	struct prefix routes[MACHINE_ROUTES_MAX];
	struct prefix_list now = {.items = routes, .count = node->approved_routes.count};
	struct policy_node subject = tailnet_describe(t, node, NULL);
	bool changed = false;

	if (now.count)
		memcpy(routes, node->approved_routes.items, now.count * sizeof(*routes));
	for (uint32_t i = 0; i < node->hostinfo.routable_ips.count; i++) {
		const struct prefix *route = &node->hostinfo.routable_ips.items[i];

		if (prefix_list_contains(&now, route) ||
		    !policy_approves_route(applied_policy_source(t->policy), &subject, route))
			continue;
		/* Routes that it no longer advertises make room. */
		if (now.count == MACHINE_ROUTES_MAX)
			now.count = drop_unadvertised(node, routes, now.count);
		if (now.count == MACHINE_ROUTES_MAX)
			break;
		routes[now.count++] = *route;
		changed = true;
	}
	if (!changed || copy_prefixes(&node->approved_routes, routes, now.count) < 0)
		return false;
	registry_routes_changed(&t->registry, node);
	registry_touch(&t->registry, &node->record);
	return true;
}

/* is_served() - Whether another node has @route already */
static bool is_served(const struct tailnet *t, const struct registry_node *but,
		      const struct prefix *route)
{
	const struct registry_node *n;

	LIST_FOREACH(n, &t->registry.routers, next_router)
		for (uint32_t i = 0; n != but && i < n->primary_routes.count; i++)
			if (prefix_equal(&n->primary_routes.items[i], route))
				return true;
	return false;
}

static bool can_serve(const struct registry_node *node)
{
	return node->online && node->authorized && !node->expired;
}

/* elect() - The routes that @node has now; @keep: only of those it had */
static uint32_t elect(const struct tailnet *t, const struct registry_node *node, struct prefix *out)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < node->approved_routes.count && count < MACHINE_ROUTES_MAX; i++) {
		const struct prefix *route = &node->approved_routes.items[i];

		if (!is_exit_route(route) && registry_node_serves(node, route) && can_serve(node) &&
		    !is_served(t, node, route))
			out[count++] = *route;
	}
	return count;
}

void tailnet_elect_routes(struct tailnet *t)
{
	struct prefix routes[MACHINE_ROUTES_MAX];
	struct registry_node *next;

	/*
	 * First, nodes that can't serve give up their routes; then the first node that can takes
	 * each free route. A node that serves a route keeps it.
	 */
	for (int round = 0; round < 2; round++)
		for (struct registry_node *n = LIST_FIRST(&t->registry.routers); n; n = next) {
			struct prefix_list now = {.items = routes};

			next = LIST_NEXT(n, next_router);
			if (round == 0 && can_serve(n) && n->approved_routes.count)
				continue;
			now.count = elect(t, n, routes);
			if (prefix_list_equal(&now, &n->primary_routes) ||
			    copy_prefixes(&n->primary_routes, routes, now.count) < 0)
				continue;
			registry_routes_changed(&t->registry, n);
			tailnet_changed(t, n, CHANGE_NODE);
		}
}

int tailnet_set_routes(struct tailnet *t, struct registry_node *node,
		       const struct prefix_list *routes)
{
	int r = copy_prefixes(&node->approved_routes, routes->items, routes->count);

	if (r < 0)
		return r;
	machine_routes_tidy(&node->approved_routes);
	registry_routes_changed(&t->registry, node);
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_NODE);
	tailnet_elect_routes(t);
	return 0;
}

int tailnet_set_tags(struct tailnet *t, struct registry_node *node, const struct string_list *tags,
		     struct tailnet_time now)
{
	bool expired = registry_node_is_expired(node, now.wall), was_tagged = node->tags.count;
	struct string_list copy = {0};

	for (uint32_t i = 0; i < tags->count && i < MACHINE_TAGS_MAX; i++)
		if (string_list_add(&copy, tags->items[i]) < 0) {
			string_list_clear(&copy);
			return -ENOMEM;
		}
	string_list_clear(&node->tags);
	node->tags = copy;
	/* An expired node stays expired: tags are not a login. */
	if (!expired && was_tagged != (copy.count > 0)) {
		node->expiry = tailnet_new_expiry(t, copy.count > 0, now);
		tailnet_schedule(t, node, now);
	}
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_NODE);
	return 0;
}

int tailnet_rename(struct tailnet *t, struct registry_node *node, const char *name)
{
	int r = registry_rename(&t->registry, node, name, true);

	if (r < 0)
		return r;
	node->named = true;
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_NODE);
	return 0;
}

void tailnet_set_expiry(struct tailnet *t, struct registry_node *node, nanoseconds expiry,
			struct tailnet_time now)
{
	node->expiry = expiry;
	node->expired = registry_node_is_expired(node, now.wall);
	if (node->expired)
		tailnet_key_gone(t, node);
	tailnet_schedule(t, node, now);
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_NODE);
	tailnet_elect_routes(t);
}
