/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_network.c - the addresses and routes that this node needs in the kernel */
#define LOG_ROOM "node"
#include "base/log.h"
#include "node/node_internal.h"

#include <stdlib.h>
#include <string.h>

static size_t collect_routes(const struct node *node, const struct netmap *map, struct prefix **ret)
{
	/* Whether any peer has an IPv6 address: then the whole range is routed, as the official
	 * client does. */
	const struct prefix tailnet_v6 = tailnet_ranges(&node->tailnet).list[1];
	size_t count = 0, room = 1;
	bool any_v6 = false;
	struct prefix *list;

	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p))
		room += p->node.allowed_ips.count;
	list = calloc(room, sizeof(*list));
	if (!list)
		return 0;
	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p)) {
		uint32_t added;

		if (!node_peer_is_trusted(map, p))
			continue;
		added = node_collect_allowed_ips(node, &p->node, list + count);
		for (uint32_t i = 0; i < added; i++) {
			const struct prefix route = list[count + i];

			if (prefix_contains(&tailnet_v6, &route.address) &&
			    route.bits >= tailnet_v6.bits) {
				any_v6 = true;
				list[count + i] = list[count + --added];
				i--;
			}
		}
		count += added;
	}
	if (any_v6)
		list[count++] = tailnet_v6;
	*ret = list;
	return count;
}

static void on_network_applied(void *context, int result, const char *text)
{
	struct node *node = context;

	node->network_asked = false;
	if (node->stopping)
		return;
	if (node->network_changed) {
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
		/* The supervisor has said it in the log. */
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
	struct prefix *routes = NULL;
	int r;

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
		network.addresses = map->self->addresses.items;
		network.address_count = map->self->addresses.count;
		network.route_count = collect_routes(node, map, &routes);
		network.routes = routes;
	}
	r = privsep_client_network(node->privsep, &network, on_network_applied, node);
	node->network_asked = r == 0;
	if (r < 0)
		on_network_applied(node, r, "");
	free(routes);
}
