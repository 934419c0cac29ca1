/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_state.c - questions about the node that every file of this room may ask */
#include "node/node_internal.h"

#include <string.h>

static const char *const state_names[] = {
	[NODE_NO_STATE] = "NoState",       [NODE_IN_USE_OTHER_USER] = "InUseOtherUser",
	[NODE_NEEDS_LOGIN] = "NeedsLogin", [NODE_NEEDS_MACHINE_AUTH] = "NeedsMachineAuth",
	[NODE_STOPPED] = "Stopped",        [NODE_STARTING] = "Starting",
	[NODE_RUNNING] = "Running",
};
_Static_assert(ARRAY_SIZE(state_names) == NODE_STATE_COUNT, "each state has a name");

const char *node_state_name(enum node_state state)
{
	return state_names[state];
}

void node_changed(struct node *node, unsigned int changes)
{
	node->changes |= changes;
	if (!uv_is_active((uv_handle_t *)&node->settle_timer))
		uv_timer_again(&node->settle_timer);
}

void node_note_result(struct node *node, bool *failed, int result)
{
	*failed = result < 0;
	node_changed(node, result < 0 ? NODE_CHANGED_FAILED : NODE_CHANGED_STATE);
}

bool node_has_key(const struct node *node)
{
	return !secret_key_is_zero(&node->state.persist.node_key);
}

bool node_is_known(const struct node *node)
{
	const struct persist *persist = &node->state.persist;

	return node_has_key(node) &&
	       (node->registered || persist->node_id[0] ||
		json_integer_value(json_object_get(persist->user_profile, "ID")) != 0);
}

const struct netmap *node_netmap(const struct node *node)
{
	return node->control ? control_client_netmap(node->control) : node->cached_netmap;
}

bool node_has_map(const struct node *node)
{
	const struct netmap *map = node_netmap(node);

	return map && map->self;
}

bool node_is_in_map(const struct node *node, const struct secret_key *node_key)
{
	const struct netmap *map = node_netmap(node);
	struct public_key key;

	secret_key_public(node_key, &key);
	return map && map->self && public_key_equal(&map->self->key, &key);
}

enum node_state node_state(const struct node *node)
{
	const struct prefs *prefs = &node->state.prefs;
	const struct netmap *map = node_netmap(node);

	if (!node->state_usable)
		return NODE_NO_STATE;
	if (!node_has_key(node) || prefs->logged_out)
		return NODE_NEEDS_LOGIN;
	if (!prefs->want_running)
		return node_is_known(node) ? NODE_STOPPED : NODE_NEEDS_LOGIN;
	if (node->needs_person || node->key_expired)
		return NODE_NEEDS_LOGIN;
	if (map && map->self && !map->self->machine_authorized)
		return NODE_NEEDS_MACHINE_AUTH;
	if (map && map->self && node->network_applied && !node->map_awaited)
		return NODE_RUNNING;
	return NODE_STARTING;
}

bool node_peer_is_trusted(const struct netmap *map, const struct netmap_peer *peer)
{
	const struct public_key *key = &peer->node.key;

	return !map->locked && !peer->expired && !public_key_is_zero(key) &&
	       !public_key_equal(key, &map->self->key);
}

struct node_addresses node_own_addresses(const struct node *node)
{
	const struct prefix_list *named = &node_netmap(node)->self->addresses;
	struct node_addresses own = {.count = 0};

	for (uint32_t i = 0; i < named->count && own.count < LIMIT_NET_ADDRESSES; i++)
		if (prefix_is_tailnet_host(&named->items[i], &node->tailnet))
			own.list[own.count++] = named->items[i];
	return own;
}

/*
 * is_wanted_route() - Whether this node uses an allowed IP of a peer
 *
 * Control lists a peer's addresses and the routes behind it together, so only the prefix itself
 * tells them apart.
 */
static bool is_wanted_route(const struct node *node, const struct prefix *p)
{
	if (prefix_is_tailnet_host(p, &node->tailnet))
		return true;
	/* An exit node (0.0.0.0/0, or two halves of it) needs a choice, which pillion lacks yet. */
	return node->state.prefs.route_all && p->bits > 1;
}

uint32_t node_collect_allowed_ips(const struct node *node, const struct tailcfg_node *peer,
				  struct prefix *out)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < peer->allowed_ips.count; i++)
		if (is_wanted_route(node, &peer->allowed_ips.items[i]))
			out[count++] = prefix_mask(&peer->allowed_ips.items[i]);
	return count;
}

const struct netmap_peer *node_peer_by_route(const struct node *node, const struct address *address)
{
	const struct netmap *map = node_netmap(node);
	const struct netmap_peer *best = NULL;
	int bits = -1;

	for (struct netmap_peer *p = map && map->self ? netmap_peer_next(map, NULL) : NULL; p;
	     p = netmap_peer_next(map, p))
		for (uint32_t i = 0; i < p->node.allowed_ips.count && node_peer_is_trusted(map, p);
		     i++) {
			const struct prefix *allowed = &p->node.allowed_ips.items[i];

			if (allowed->bits > bits && prefix_contains(allowed, address) &&
			    is_wanted_route(node, allowed)) {
				best = p;
				bits = allowed->bits;
			}
		}
	return best;
}

bool node_identify(const struct node *node, const struct address *address,
		   struct node_identity *ret)
{
	const struct netmap *map = node_netmap(node);
	const struct netmap_peer *peer;

	if (!map || !map->self)
		return false;
	*ret = (struct node_identity){.address = *address};
	for (uint32_t i = 0; i < map->self->addresses.count; i++)
		if (address_equal(&map->self->addresses.items[i].address, address)) {
			ret->node = map->self;
			ret->is_self = true;
		}
	if (!ret->node) {
		peer = netmap_peer_by_address(map, address);
		if (!peer)
			return false;
		ret->node = &peer->node;
	}
	ret->user = netmap_user(map, ret->node->user);
	return true;
}

void node_identity_capabilities(const struct node *node, const struct node_identity *identity,
				bool (*each)(void *data, const char *name, const char *values),
				void *data)
{
	const struct prefix_list *own = &node_netmap(node)->self->addresses;

	for (uint32_t i = 0; node->tunnel && i < own->count; i++)
		if (own->items[i].address.family == identity->address.family) {
			tunnel_peer_capabilities(node->tunnel, &identity->node->key,
						 &identity->address, &own->items[i].address, each,
						 data);
			return;
		}
}

/* has_name() - Whether @name is the peer's whole name, without the last dot, or its first label */
static bool has_name(const struct tailcfg_node *peer, const char *name)
{
	size_t length = strlen(name), own = peer->name ? strlen(peer->name) : 0;

	while (length > 0 && name[length - 1] == '.')
		length--;
	while (own > 0 && peer->name[own - 1] == '.')
		own--;
	if (length == 0 || length > own || strncasecmp(peer->name, name, length) != 0)
		return false;
	return length == own || (peer->name[length] == '.' && !memchr(name, '.', length));
}

bool node_address_of(struct node *node, const char *name, struct address *ret)
{
	const struct netmap *map = node_netmap(node);
	const struct tailcfg_node *found = NULL;

	if (!map || !map->self)
		return false;
	if (has_name(map->self, name))
		found = map->self;
	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p && !found;
	     p = netmap_peer_next(map, p))
		if (has_name(&p->node, name))
			found = &p->node;
	if (!found || found->addresses.count == 0)
		return false;
	*ret = found->addresses.items[0].address;
	return true;
}

int node_check_usable(const struct node *node, const char *what, struct error *err)
{
	const char *why = node->warnings[NODE_WARN_STATE];

	if (node->state_usable)
		return 0;
	return error_set(err, -EBUSY, "cannot %s when state store is unhealthy: %s", what,
			 why ? why + strlen(NODE_STATE_TROUBLE) : "it is not loaded yet");
}
