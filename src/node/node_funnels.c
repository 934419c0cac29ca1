/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_funnels.c - the peers that funnel, for an ingress on this machine
 *
 * A node that funnels says so in its Hostinfo (IngressEnabled), which control gives to its peers;
 * Hostinfo.Services has the port of its PeerAPI.
 */
#include "base/cleanup.h"
#include "node/node_internal.h"

#include <string.h>

/* is_wanted() - Whether @list, separated by commas, names @peer */
static bool is_wanted(const struct netmap *map, const struct tailcfg_node *peer, const char *list)
{
	while (*list) {
		size_t item = strcspn(list, ",");

		if (node_is_named(map, peer, list, item))
			return true;
		list += item;
		list += *list == ',';
	}
	return false;
}

static void put_peer_api(struct json_writer *w, const struct tailcfg_node *peer)
{
	char text[ENDPOINT_TEXT_MAX];

	json_begin_array(w, "PeerAPI");
	for (uint32_t i = 0; i < peer->addresses.count; i++) {
		struct endpoint at = {.address = peer->addresses.items[i].address};

		at.port = node_peerapi_of(peer, at.address.family);
		if (at.port)
			json_put_string(w, NULL, endpoint_format(&at, text));
	}
	json_end_array(w);
}

void node_write_funnels(const struct node *node, const char *nodes, struct json_writer *w)
{
	const struct netmap *map = node_netmap(node);
	const struct netmap_peer *peer = NULL;
	char name[256], suffix[256];

	json_begin_object(w, NULL);
	/* Of this tailnet: a label alone means a node of it, and none that is shared into it. */
	node_magic_dns_suffix(map, suffix, sizeof(suffix));
	json_put_string(w, "Suffix", suffix);
	json_begin_array(w, "Peers");
	while (map && map->self && (peer = netmap_peer_next(map, peer)) != NULL) {
		const struct tailcfg_node *n = &peer->node;
		size_t length = n->name ? strlen(n->name) : 0;

		while (length > 0 && n->name[length - 1] == '.')
			length--;
		if (!n->hostinfo || length == 0 || length >= sizeof(name) ||
		    !node_peer_is_trusted(map, peer) ||
		    !(n->hostinfo->ingress_enabled || is_wanted(map, n, nodes)))
			continue;
		memcpy(name, n->name, length);
		name[length] = 0;
		json_begin_object(w, NULL);
		json_put_string(w, "Name", name);
		json_put_bool(w, "Ingress", n->hostinfo->ingress_enabled);
		json_put_bool(w, "Online", n->online == OPTIONAL_TRUE);
		put_peer_api(w, n);
		json_end_object(w);
	}
	json_end_array(w);
	json_end_object(w);
}
