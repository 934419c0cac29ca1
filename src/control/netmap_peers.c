/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap_peers.c - the peers of one message into the netmap
 *
 * The full list, or the deltas in their order: removed, changed, seen, online, patched.
 */
#include "control/netmap_internal.h"

#include "base/limits.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- What differs between two nodes --- */

/* The parts that members belong to; the others are NETMAP_NODE_OTHER. */
static const struct {
	const char *member;
	uint32_t part;
} node_parts[] = {
	{"Key", NETMAP_NODE_KEY},
	{"DiscoKey", NETMAP_NODE_DISCO_KEY},
	{"Endpoints", NETMAP_NODE_ENDPOINTS},
	{"HomeDERP", NETMAP_NODE_HOME_DERP},
	{"Addresses", NETMAP_NODE_ADDRESSES},
	{"AllowedIPs", NETMAP_NODE_ALLOWED_IPS},
	{"PrimaryRoutes", NETMAP_NODE_ALLOWED_IPS},
	{"Online", NETMAP_NODE_ONLINE},
	{"LastSeen", NETMAP_NODE_ONLINE},
	{"KeyExpiry", NETMAP_NODE_EXPIRY},
	{"Expired", NETMAP_NODE_EXPIRY},
	{"CapMap", NETMAP_NODE_CAPABILITIES},
	{"Cap", NETMAP_NODE_CAPABILITIES},
	{"Name", NETMAP_NODE_NAME},
	{"ComputedName", NETMAP_NODE_NAME},
	{"SelfNodeV4MasqAddrForThisPeer", NETMAP_NODE_TREATMENT},
	{"SelfNodeV6MasqAddrForThisPeer", NETMAP_NODE_TREATMENT},
	{"IsJailed", NETMAP_NODE_TREATMENT},
	{"IsWireGuardOnly", NETMAP_NODE_TREATMENT},
	{"UnsignedPeerAPIOnly", NETMAP_NODE_TREATMENT},
};

static uint32_t part_of(const char *member)
{
	for (size_t i = 0; i < sizeof(node_parts) / sizeof(node_parts[0]); i++)
		if (strcmp(node_parts[i].member, member) == 0)
			return node_parts[i].part;
	return NETMAP_NODE_OTHER;
}

uint32_t netmap_node_differences(const struct tailcfg_node *a, const struct tailcfg_node *b)
{
	const struct json_members *all = &tailcfg_node_members;
	uint32_t what = 0;

	for (size_t i = 0; i < all->count; i++)
		if (!member_equal(&all->list[i], a, b))
			what |= part_of(all->list[i].name);
	return what;
}

/* --- Peers --- */

void netmap_note_trouble(struct netmap_apply *a, const struct error *why, const char *what)
{
	if (a->change->trouble.code == 0) {
		a->change->trouble = *why;
		error_wrap(&a->change->trouble, "%s", what);
	}
}

static int remove_peer(struct netmap_apply *a, struct netmap_peer *peer)
{
	int r = netmap_note_removal(a->change, peer);

	/* One whose end can't be told stays: others hold what they were told of. */
	if (r == 0)
		netmap_peer_delete(a->map, peer);
	return r;
}

/* Add or replace by ID; @node moves, or is freed. */
static int upsert_peer(struct netmap_apply *a, struct tailcfg_node *node)
{
	struct netmap_peer *peer = netmap_peer_by_id(a->map, node->id);
	struct public_key old_key;
	struct error why = {0};
	uint32_t what;

	if (!peer) {
		if (netmap_peer_count(a->map) >= LIMIT_PEERS) {
			tailcfg_node_clear(node);
			a->change->skipped++;
			error_set(&why, -E2BIG, "more than %u peers", LIMIT_PEERS);
			netmap_note_trouble(a, &why, "peers were left out");
			return 0;
		}
		peer = netmap_peer_insert(a->map, node);
		if (!peer) {
			tailcfg_node_clear(node);
			return -ENOMEM;
		}
		peer->mark = a->map->mark;
		netmap_peer_check_expiry(a->map, peer, a->now);
		return netmap_note_update(a->change, peer, NETMAP_NODE_ALL, NULL);
	}
	old_key = peer->node.key;
	peer->mark = a->map->mark;
	what = netmap_node_differences(&peer->node, node);
	if (what & NETMAP_NODE_KEY)
		netmap_peer_set_key(a->map, peer, &node->key);
	tailcfg_node_clear(&peer->node);
	peer->node = *node;
	if (netmap_peer_check_expiry(a->map, peer, a->now))
		what |= NETMAP_NODE_EXPIRY;
	return netmap_note_update(a->change, peer, what, &old_key);
}

/* The ID of a peer that can't be read as a whole; 0 if even that can't be. */
static int64_t id_of(struct json_range text)
{
	struct json_range key, value;
	struct json_scan scan;
	int64_t id = 0;
	json_t *json;

	if (json_scan_open(text, '{', &scan) < 0)
		return 0;
	while (json_scan_member(&scan, &key, &value) == 1) {
		if (!json_range_is(key, "ID"))
			continue;
		json = json_parse(value, NULL);
		id = json_integer_value(json);
		json_decref(json);
	}
	return id;
}

/* Peers or PeersChanged, one at a time. */
static int upsert_peers(struct netmap_apply *a, struct json_range list)
{
	struct tailcfg_node node;
	struct json_range text;
	struct json_scan scan;
	int r;

	if (!list.at || json_scan_open(list, '[', &scan) < 0)
		return 0;
	while ((r = json_scan_element(&scan, &text)) == 1) {
		struct netmap_peer *peer;
		struct error why = {0};

		r = tailcfg_node_parse(text, &node, &why);
		if (r == 0)
			r = upsert_peer(a, &node);
		if (r == -ENOMEM)
			return r;
		if (r == 0)
			continue;
		/* Not trusting what can't be read is safe; losing all the others is not. */
		a->change->skipped++;
		netmap_note_trouble(a, &why, "a peer was left out");
		peer = netmap_peer_by_id(a->map, id_of(text));
		if (peer && remove_peer(a, peer) < 0)
			return -ENOMEM;
	}
	return r;
}

/* What the full list did not name. */
static int sweep_peers(struct netmap_apply *a)
{
	struct netmap_peer *peer = a->map->peers_by_id, *next;

	for (; peer; peer = next) {
		next = peer->by_id.next;
		a->map->visits++;
		if (peer->mark != a->map->mark && remove_peer(a, peer) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int apply_online(struct netmap_apply *a, int64_t id, enum optional_bool online)
{
	struct netmap_peer *peer = netmap_peer_by_id(a->map, id);

	if (!peer || peer->node.online == online)
		return 0;
	peer->node.online = online;
	a->map->visits++;
	return netmap_note_update(a->change, peer, NETMAP_NODE_ONLINE, NULL);
}

static int apply_last_seen(struct netmap_apply *a, int64_t id, nanoseconds last_seen)
{
	struct netmap_peer *peer = netmap_peer_by_id(a->map, id);

	if (!peer || peer->node.last_seen == last_seen)
		return 0;
	peer->node.last_seen = last_seen;
	a->map->visits++;
	return netmap_note_update(a->change, peer, NETMAP_NODE_ONLINE, NULL);
}

/* Swap what the patch holds into the node; what it held before is freed with the patch. */
#define SWAP(left, right)                             \
	do {                                          \
		__typeof__(left) swap_held_ = (left); \
		(left) = (right);                     \
		(right) = swap_held_;                 \
	} while (0)

static int patch_peer(struct netmap_apply *a, struct netmap_peer *peer,
		      struct tailcfg_peer_change *patch)
{
	struct tailcfg_node *node = &peer->node;
	struct public_key old_key = node->key;
	uint32_t what = 0;

	a->map->visits++;
	if (patch->derp_region && patch->derp_region != node->home_derp) {
		node->home_derp = patch->derp_region;
		what |= NETMAP_NODE_HOME_DERP;
	}
	if (patch->cap && patch->cap != node->cap) {
		node->cap = patch->cap;
		what |= NETMAP_NODE_CAPABILITIES;
	}
	if (patch->has_cap_map && !tailcfg_capability_list_equal(&patch->cap_map, &node->cap_map)) {
		SWAP(node->cap_map, patch->cap_map);
		what |= NETMAP_NODE_CAPABILITIES;
	}
	if (patch->has_endpoints && !endpoint_list_equal(&patch->endpoints, &node->endpoints)) {
		SWAP(node->endpoints, patch->endpoints);
		what |= NETMAP_NODE_ENDPOINTS;
	}
	if (patch->has_key && !public_key_equal(&patch->key, &node->key)) {
		netmap_peer_set_key(a->map, peer, &patch->key);
		what |= NETMAP_NODE_KEY;
	}
	if (patch->key_signature && !text_equal(patch->key_signature, node->key_signature)) {
		SWAP(node->key_signature, patch->key_signature);
		what |= NETMAP_NODE_OTHER;
	}
	if (patch->has_disco_key && !public_key_equal(&patch->disco_key, &node->disco_key)) {
		node->disco_key = patch->disco_key;
		what |= NETMAP_NODE_DISCO_KEY;
	}
	if (patch->online != OPTIONAL_UNSET && patch->online != node->online) {
		node->online = patch->online;
		what |= NETMAP_NODE_ONLINE;
	}
	if (patch->has_last_seen && patch->last_seen != node->last_seen) {
		node->last_seen = patch->last_seen;
		what |= NETMAP_NODE_ONLINE;
	}
	if (patch->has_key_expiry && patch->key_expiry != node->key_expiry) {
		node->key_expiry = patch->key_expiry;
		node->expired = false;
		netmap_peer_check_expiry(a->map, peer, a->now);
		what |= NETMAP_NODE_EXPIRY;
	}
	return netmap_note_update(a->change, peer, what, &old_key);
}

static int apply_patches(struct netmap_apply *a)
{
	struct json_range list = a->response->peers_changed_patch, text;
	struct json_scan scan;
	int r;

	if (!list.at || json_scan_open(list, '[', &scan) < 0)
		return 0;
	while ((r = json_scan_element(&scan, &text)) == 1) {
		struct tailcfg_peer_change patch;
		struct netmap_peer *peer;
		struct error why = {0};
		json_t *json;

		if (json_range_is_null(text))
			continue;
		json = json_parse(text, &why);
		r = json ? tailcfg_peer_change_decode(json, &patch, &why) : -EINVAL;
		json_decref(json);
		if (r == -ENOMEM)
			return r;
		if (r < 0) {
			netmap_note_trouble(a, &why, "a change of a peer was left out");
			a->change->skipped++;
			continue;
		}
		peer = netmap_peer_by_id(a->map, patch.node_id);
		if (peer)
			r = patch_peer(a, peer, &patch);
		tailcfg_peer_change_clear(&patch);
		if (r < 0)
			return r;
	}
	return r;
}

static int apply_deltas(struct netmap_apply *a)
{
	const struct tailcfg_map_response *m = a->response;
	int r = 0;

	for (uint32_t i = 0; i < m->peers_removed.count && r == 0; i++) {
		struct netmap_peer *peer = netmap_peer_by_id(a->map, m->peers_removed.items[i]);

		a->map->visits++;
		if (peer)
			r = remove_peer(a, peer);
	}
	if (r == 0)
		r = upsert_peers(a, m->peers_changed);
	for (uint32_t i = 0; i < m->peer_seen_change.count && r == 0; i++)
		r = apply_last_seen(a, m->peer_seen_change.items[i].id,
				    m->peer_seen_change.items[i].value ? a->now : JSON_TIME_NONE);
	for (uint32_t i = 0; i < m->online_change.count && r == 0; i++)
		r = apply_online(a, m->online_change.items[i].id,
				 m->online_change.items[i].value ? OPTIONAL_TRUE : OPTIONAL_FALSE);
	return r < 0 ? r : apply_patches(a);
}

/* `[]` and null look alike to the servers, so only a list with something in it is full. */
static bool has_elements(struct json_range list)
{
	struct json_range first;
	struct json_scan scan;

	return list.at && json_scan_open(list, '[', &scan) == 0 &&
	       json_scan_element(&scan, &first) == 1;
}

int netmap_apply_peers(struct netmap_apply *a)
{
	bool full = has_elements(a->response->peers);
	int r;

	if (full || a->fresh)
		a->map->mark++;
	r = full ? upsert_peers(a, a->response->peers) : apply_deltas(a);
	if (r == 0 && (full || a->fresh))
		r = sweep_peers(a);
	return r;
}
