/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap_apply.c - one message of the map stream into the netmap
 *
 * Order: peers; then the own node; then the other parts (netmap_parts.c). Peers come as the full list, or as
 * deltas in this order: removed, changed, seen, online, patched.
 */
#include "control/netmap_internal.h"

#include "base/array.h"
#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * When this was built. A clock before that is wrong: control's is not believed, and by ours no
 * key is called expired.
 */
#define NETMAP_SANE_CLOCK ((nanoseconds)PILLION_BUILD_TIME * NSEC_PER_SEC)

#define OFFSET_MOST (INT64_C(100) * 365 * 86400 * NSEC_PER_SEC)

/* --- Changes --- */

void netmap_change_clear(struct netmap_change *change)
{
	free(change->updates);
	free(change->removals);
	*change = (struct netmap_change){0};
}

static int note_update(struct netmap_change *change, struct netmap_peer *peer, uint32_t what,
		       const struct public_key *old_key)
{
	struct netmap_update *update;

	if (!what)
		return 0;
	if (!peer->change_index) {
		if (ARRAY_GROW(change->updates, change->update_count, change->update_room) < 0)
			return -ENOMEM;
		change->updates[change->update_count++] = (struct netmap_update){.peer = peer};
		peer->change_index = change->update_count;
		change->parts |= NETMAP_PEERS;
	}
	update = &change->updates[peer->change_index - 1];
	/* Changed twice: what the reader knows is the first of the old keys. */
	if (old_key && !(update->what & NETMAP_NODE_KEY))
		update->old_key = *old_key;
	update->what |= what;
	return 0;
}

static int note_removal(struct netmap_change *change, struct netmap_peer *peer)
{
	struct public_key known = peer->node.key;
	uint32_t at = peer->change_index;
	bool added = false;

	if (at) {
		struct netmap_update *update = &change->updates[at - 1];

		added = update->what & NETMAP_NODE_ADDED;
		if (update->what & NETMAP_NODE_KEY)
			known = update->old_key;
		*update = change->updates[--change->update_count];
		if (at <= change->update_count)
			update->peer->change_index = at;
		peer->change_index = 0;
	}
	/* Added and removed within one message: never reported. */
	if (added)
		return 0;
	if (ARRAY_GROW(change->removals, change->removal_count, change->removal_room) < 0)
		return -ENOMEM;
	change->removals[change->removal_count++] =
		(struct netmap_removal){.id = peer->node.id, .key = known};
	change->parts |= NETMAP_PEERS;
	return 0;
}

/* --- Expiry --- */

static nanoseconds control_time_of(const struct netmap *map, nanoseconds now)
{
	return now + map->control_offset;
}

static nanoseconds local_time_of(const struct netmap *map, nanoseconds control_time)
{
	nanoseconds local;

	return __builtin_sub_overflow(control_time, map->control_offset, &local) ? DEADLINE_NEVER
										 : local;
}

static bool expired_by(const struct tailcfg_node *node, nanoseconds control_now)
{
	return node->key_expiry != JSON_TIME_NONE && node->key_expiry <= control_now &&
	       control_now >= NETMAP_SANE_CLOCK;
}

bool netmap_self_expired(const struct netmap *map, nanoseconds now)
{
	return map->self && (map->self->expired || expired_by(map->self, now));
}

static bool check_expiry(struct netmap *map, struct netmap_peer *peer, nanoseconds now)
{
	nanoseconds expiry = peer->node.key_expiry;
	bool was = peer->expired, by_clock = expired_by(&peer->node, control_time_of(map, now));

	map->visits++;
	peer->expired = peer->node.expired || by_clock;
	if (by_clock && expiry > map->last_expiry)
		map->last_expiry = expiry;
	else if (!by_clock && expiry != JSON_TIME_NONE)
		map->next_expiry = deadline_min(map->next_expiry, expiry);
	return peer->expired != was;
}

int netmap_expire(struct netmap *map, nanoseconds now, struct netmap_change *ret,
		  nanoseconds *ret_next)
{
	nanoseconds control_now = control_time_of(map, now);
	int r = 0;

	if (map->next_expiry <= control_now || control_now < map->last_expiry) {
		map->next_expiry = DEADLINE_NEVER;
		map->last_expiry = INT64_MIN;
		for (struct netmap_peer *p = map->peers_by_id; p; p = p->by_id.next)
			if (check_expiry(map, p, now) && r == 0)
				r = note_update(ret, p, NETMAP_NODE_EXPIRY, NULL);
	}
	*ret_next = map->next_expiry == DEADLINE_NEVER ? DEADLINE_NEVER
						       : local_time_of(map, map->next_expiry);
	for (uint32_t i = 0; i < ret->update_count; i++)
		ret->updates[i].peer->change_index = 0;
	return r;
}

/* --- What differs between two nodes --- */

/* The parts that members belong to; the others are NETMAP_NODE_OTHER. */
#define PART(member, part)                                                \
	{                                                                 \
		offsetof(struct tailcfg_node, member), NETMAP_NODE_##part \
	}
static const struct {
	uint16_t offset;
	uint32_t part;
} node_parts[] = {
	PART(key, KEY),
	PART(disco_key, DISCO_KEY),
	PART(endpoints, ENDPOINTS),
	PART(home_derp, HOME_DERP),
	PART(addresses, ADDRESSES),
	PART(allowed_ips, ALLOWED_IPS),
	PART(primary_routes, ALLOWED_IPS),
	PART(online, ONLINE),
	PART(last_seen, ONLINE),
	PART(key_expiry, EXPIRY),
	PART(expired, EXPIRY),
	PART(cap_map, CAPABILITIES),
	PART(cap, CAPABILITIES),
	PART(name, NAME),
	PART(computed_name, NAME),
	PART(self_v4_masq_for_this_peer, TREATMENT),
	PART(self_v6_masq_for_this_peer, TREATMENT),
	PART(is_jailed, TREATMENT),
	PART(is_wireguard_only, TREATMENT),
	PART(unsigned_peer_api_only, TREATMENT),
};

static uint32_t part_of(const struct json_member *member)
{
	for (size_t i = 0; i < ARRAY_SIZE(node_parts); i++)
		if (node_parts[i].offset == member->offset)
			return node_parts[i].part;
	return NETMAP_NODE_OTHER;
}

static uint32_t node_differences(const struct tailcfg_node *a, const struct tailcfg_node *b)
{
	const struct json_members *all = &tailcfg_node_members;
	uint32_t what = 0;

	for (size_t i = 0; i < all->count; i++)
		if (!member_equal(&all->list[i], a, b))
			what |= part_of(&all->list[i]);
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
	int r = note_removal(a->change, peer);

	/* A peer stays if its removal can't be reported: the node still holds it. */
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
		check_expiry(a->map, peer, a->now);
		return note_update(a->change, peer, NETMAP_NODE_ALL, NULL);
	}
	old_key = peer->node.key;
	peer->mark = a->map->mark;
	what = node_differences(&peer->node, node);
	if (what & NETMAP_NODE_KEY)
		netmap_peer_set_key(a->map, peer, &node->key);
	tailcfg_node_clear(&peer->node);
	peer->node = *node;
	if (check_expiry(a->map, peer, a->now))
		what |= NETMAP_NODE_EXPIRY;
	return note_update(a->change, peer, what, &old_key);
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

		r = members_parse(&tailcfg_node_members, text, &node, &why);
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
	return note_update(a->change, peer, NETMAP_NODE_ONLINE, NULL);
}

static int apply_last_seen(struct netmap_apply *a, int64_t id, nanoseconds last_seen)
{
	struct netmap_peer *peer = netmap_peer_by_id(a->map, id);

	if (!peer || peer->node.last_seen == last_seen)
		return 0;
	peer->node.last_seen = last_seen;
	a->map->visits++;
	return note_update(a->change, peer, NETMAP_NODE_ONLINE, NULL);
}

/* @json: a PeerChange; what it replaces in the node moves to @patch */
static int patch_peer(struct netmap_apply *a, struct netmap_peer *peer, const json_t *json,
		      struct tailcfg_node *patch)
{
	const struct json_members *all = &tailcfg_peer_change_members;
	struct public_key old_key = peer->node.key;
	uint32_t what = 0;

	a->map->visits++;
	for (const struct json_member *m = all->list; m < all->list + all->count; m++) {
		const json_t *value = json_object_get(json, m->name);

		/* 0 is no region, and no capability version. */
		if (!value || json_is_null(value) || member_equal(m, &peer->node, patch) ||
		    (m->kind == VALUE_UINT16 && !*(uint16_t *)((char *)patch + m->offset)))
			continue;
		what |= part_of(m);
		if (m->offset == offsetof(struct tailcfg_node, key))
			netmap_peer_set_key(a->map, peer, &patch->key);
		else
			member_swap(m, &peer->node, patch);
	}
	if (what & NETMAP_NODE_EXPIRY) {
		peer->node.expired = false;
		check_expiry(a->map, peer, a->now);
	}
	return note_update(a->change, peer, what, &old_key);
}

static int apply_patch(struct netmap_apply *a, struct json_range text)
{
	const struct json_members *all = &tailcfg_peer_change_members;
	struct tailcfg_node patch;
	struct netmap_peer *peer;
	struct error why = {0};
	json_t *json = json_parse(text, &why);
	int r = json ? members_decode(all, json, &patch, &why) : -EINVAL;

	if (r == 0) {
		peer = netmap_peer_by_id(a->map, patch.id);
		if (peer)
			r = patch_peer(a, peer, json, &patch);
		members_clear(all, &patch);
	} else if (r != -ENOMEM) {
		netmap_note_trouble(a, &why, "a change of a peer was left out");
		a->change->skipped++;
		r = 0;
	}
	json_decref(json);
	return r;
}

static int apply_patches(struct netmap_apply *a)
{
	struct json_range list = a->response->peers_changed_patch, text;
	struct json_scan scan;
	int r;

	if (!list.at || json_scan_open(list, '[', &scan) < 0)
		return 0;
	while ((r = json_scan_element(&scan, &text)) == 1) {
		r = json_range_is_null(text) ? 0 : apply_patch(a, text);
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

static int apply_peers(struct netmap_apply *a)
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

/* --- Own node and users --- */

static void apply_self(struct netmap_apply *a)
{
	struct tailcfg_node *node = a->response->node;
	uint32_t what;

	if (!node)
		return;
	what = a->map->self ? node_differences(a->map->self, node) : NETMAP_NODE_ALL;
	if (a->map->self)
		tailcfg_node_clear(a->map->self);
	free(a->map->self);
	a->map->self = node;
	a->response->node = NULL;
	if (what) {
		a->change->parts |= NETMAP_SELF;
		a->change->self_what = what;
	}
}

static int apply_users(struct netmap_apply *a)
{
	struct netmap_user *user, *next;

	for (uint32_t i = 0; i < a->response->user_profile_count; i++) {
		int r = netmap_user_put(a->map, &a->response->user_profiles[i]);

		if (r < 0)
			return r;
		if (r > 0)
			a->change->parts |= NETMAP_USERS;
	}
	for (user = a->fresh ? a->map->users : NULL; user; user = next) {
		next = user->by_id.next;
		if (user->mark == a->map->mark)
			continue;
		netmap_user_delete(a->map, user);
		a->change->parts |= NETMAP_USERS;
	}
	return 0;
}

/* A clock that is a century away, or before this was built, is no clock. */
static void note_control_time(struct netmap *map, nanoseconds control_time, nanoseconds now)
{
	nanoseconds offset;

	if (control_time < NETMAP_SANE_CLOCK ||
	    __builtin_sub_overflow(control_time, now, &offset) || offset >= OFFSET_MOST ||
	    offset <= -OFFSET_MOST)
		return;
	map->control_offset = offset;
	map->control_known = true;
}

int netmap_apply(struct netmap *map, struct tailcfg_map_response *response, nanoseconds now,
		 struct netmap_change *ret, struct error *err)
{
	struct netmap_apply a = {
		.map = map, .response = response, .change = ret, .now = now, .fresh = map->fresh};
	int r;

	note_control_time(map, response->control_time, now);
	/* The official client makes a new map of such a message, and notifies watchers of it. */
	ret->full =
		!response->keep_alive && (response->node || response->peers.at ||
					  netmap_mentioned(response) & ~(uint32_t)NETMAP_FILTER);
	if (response->keep_alive) {
		/* Its version notice counts, nothing else that it may carry. */
		if (response->client_version)
			netmap_take_client_version(map, response);
		return 0;
	}
	if (map->fresh && !response->node)
		return error_set(err, -EPROTO, "map: the first message has no Node");
	r = apply_peers(&a);
	if (r == 0) {
		apply_self(&a);
		r = apply_users(&a);
	}
	if (r == 0)
		r = netmap_apply_parts(&a);
	for (uint32_t i = 0; i < ret->update_count; i++)
		ret->updates[i].peer->change_index = 0;
	if (r < 0)
		return error_set_errno(err, r, "map: apply");
	map->fresh = false;
	return 0;
}
