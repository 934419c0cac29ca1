/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap.c - what the netmap holds: peers, users, expiry
 *
 * A peer is found by its ID, which deltas use, and by its node key. Two peers with
 * one key ("twins") are not refused here: control may rename a node that way within a
 * message; the by_key table then gives one of them.
 */
#include "control/netmap_internal.h"

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct netmap *netmap_new(void)
{
	struct netmap *map = calloc(1, sizeof(*map));

	if (map) {
		map->fresh = true;
		map->next_expiry = DEADLINE_NEVER;
		map->last_expiry = INT64_MIN;
	}
	return map;
}

void netmap_free(struct netmap *map)
{
	if (!map)
		return;
	while (map->peers_by_id)
		netmap_peer_delete(map, map->peers_by_id);
	while (map->users)
		netmap_user_delete(map, map->users);
	if (map->self)
		tailcfg_node_clear(map->self);
	free(map->self);
	tailcfg_derp_map_clear(&map->derp_map);
	for (uint32_t i = 0; i < map->filter_count; i++) {
		free((char *)map->filters[i].name);
		tailcfg_filter_clear(&map->filters[i].filter);
	}
	free(map->filters);
	tailcfg_dns_config_clear(&map->dns_config);
	free((char *)map->domain);
	free((char *)map->ssh_policy);
	string_list_clear(&map->health);
	for (uint32_t i = 0; i < map->display_message_count; i++)
		tailcfg_display_message_clear(&map->display_messages[i]);
	free(map->display_messages);
	if (map->client_version)
		tailcfg_client_version_clear(map->client_version);
	free(map->client_version);
	free(map);
}

void netmap_begin_session(struct netmap *map)
{
	map->fresh = true;
}

/* --- Peers --- */

/* Without memory it is in no table, and not found by its key. */
static void index_key(struct netmap *map, struct netmap_peer *peer)
{
	peer->by_key.tbl = NULL;
	HASH_ADD(by_key, map->peers_by_key, node.key, sizeof(peer->node.key), peer);
}

static void unindex_key(struct netmap *map, struct netmap_peer *peer)
{
	if (peer->by_key.tbl)
		HASH_DELETE(by_key, map->peers_by_key, peer);
	peer->by_key.tbl = NULL;
}

struct netmap_peer *netmap_peer_insert(struct netmap *map, struct tailcfg_node *node)
{
	struct netmap_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->node = *node;
	*node = (struct tailcfg_node){0};
	HASH_ADD(by_id, map->peers_by_id, node.id, sizeof(peer->node.id), peer);
	if (!peer->by_id.tbl) {
		*node = peer->node;
		free(peer);
		return NULL;
	}
	index_key(map, peer);
	return peer;
}

void netmap_peer_delete(struct netmap *map, struct netmap_peer *peer)
{
	HASH_DELETE(by_id, map->peers_by_id, peer);
	unindex_key(map, peer);
	tailcfg_node_clear(&peer->node);
	free(peer);
}

void netmap_peer_set_key(struct netmap *map, struct netmap_peer *peer, const struct public_key *key)
{
	struct public_key copy = *key;

	unindex_key(map, peer);
	peer->node.key = copy;
	index_key(map, peer);
}

struct netmap_peer *netmap_peer_by_id(const struct netmap *map, int64_t id)
{
	struct netmap_peer *peer;

	HASH_FIND(by_id, map->peers_by_id, &id, sizeof(id), peer);
	return peer;
}

struct netmap_peer *netmap_peer_by_key(const struct netmap *map, const struct public_key *key)
{
	struct netmap_peer *peer;

	HASH_FIND(by_key, map->peers_by_key, key, sizeof(*key), peer);
	return peer;
}

struct netmap_peer *netmap_peer_next_twin(const struct netmap *map, const struct netmap_peer *peer)
{
	/* Equal keys share a bucket, and by_key gives the first of them there. */
	for (UT_hash_handle *h = peer->by_key.hh_next; h; h = h->hh_next) {
		struct netmap_peer *other = ELMT_FROM_HH(map->peers_by_key->by_key.tbl, h);

		if (public_key_equal(&other->node.key, &peer->node.key))
			return other;
	}
	return NULL;
}

struct netmap_peer *netmap_peer_by_address(const struct netmap *map, const struct address *address)
{
	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p))
		for (uint32_t i = 0; i < p->node.addresses.count; i++)
			if (address_equal(&p->node.addresses.items[i].address, address))
				return p;
	return NULL;
}

uint32_t netmap_peer_count(const struct netmap *map)
{
	return HASH_CNT(by_id, map->peers_by_id);
}

struct netmap_peer *netmap_peer_next(const struct netmap *map, const struct netmap_peer *after)
{
	return after ? after->by_id.next : map->peers_by_id;
}

/* --- Users --- */

static struct netmap_user *find_user(const struct netmap *map, int64_t id)
{
	struct netmap_user *user;

	HASH_FIND(by_id, map->users, &id, sizeof(id), user);
	return user;
}

int netmap_user_put(struct netmap *map, struct tailcfg_user_profile *profile)
{
	struct netmap_user *user = find_user(map, profile->id);

	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return -ENOMEM;
		user->profile = *profile;
		user->mark = map->mark;
		*profile = (struct tailcfg_user_profile){0};
		HASH_ADD(by_id, map->users, profile.id, sizeof(user->profile.id), user);
		if (!user->by_id.tbl) {
			tailcfg_user_profile_clear(&user->profile);
			free(user);
			return -ENOMEM;
		}
		return 1;
	}
	user->mark = map->mark;
	if (text_equal(user->profile.login_name, profile->login_name) &&
	    text_equal(user->profile.display_name, profile->display_name) &&
	    text_equal(user->profile.profile_pic_url, profile->profile_pic_url))
		return 0;
	tailcfg_user_profile_clear(&user->profile);
	user->profile = *profile;
	*profile = (struct tailcfg_user_profile){0};
	return 1;
}

void netmap_user_delete(struct netmap *map, struct netmap_user *user)
{
	HASH_DELETE(by_id, map->users, user);
	tailcfg_user_profile_clear(&user->profile);
	free(user);
}

const struct tailcfg_user_profile *netmap_user(const struct netmap *map, int64_t id)
{
	struct netmap_user *user = find_user(map, id);

	return user ? &user->profile : NULL;
}

/* --- Expiry --- */

nanoseconds netmap_control_time(const struct netmap *map, nanoseconds now)
{
	return now + map->control_offset;
}

nanoseconds netmap_local_time(const struct netmap *map, nanoseconds control_time)
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

bool netmap_peer_check_expiry(struct netmap *map, struct netmap_peer *peer, nanoseconds now)
{
	nanoseconds expiry = peer->node.key_expiry;
	bool was = peer->expired, by_clock = expired_by(&peer->node, netmap_control_time(map, now));

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
	nanoseconds control_now = netmap_control_time(map, now);
	int r = 0;

	if (map->next_expiry <= control_now || control_now < map->last_expiry) {
		map->next_expiry = DEADLINE_NEVER;
		map->last_expiry = INT64_MIN;
		for (struct netmap_peer *p = map->peers_by_id; p; p = p->by_id.next)
			if (netmap_peer_check_expiry(map, p, now) && r == 0)
				r = netmap_note_update(ret, p, NETMAP_NODE_EXPIRY, NULL);
	}
	*ret_next = map->next_expiry == DEADLINE_NEVER ? DEADLINE_NEVER
						       : netmap_local_time(map, map->next_expiry);
	for (uint32_t i = 0; i < ret->update_count; i++)
		ret->updates[i].peer->change_index = 0;
	return r;
}

/* --- Changes --- */

void netmap_change_clear(struct netmap_change *change)
{
	free(change->updates);
	free(change->removals);
	*change = (struct netmap_change){0};
}

int netmap_note_update(struct netmap_change *change, struct netmap_peer *peer, uint32_t what,
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

int netmap_note_removal(struct netmap_change *change, struct netmap_peer *peer)
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

/* --- Parts as JSON --- */

/* Stands for the head of a lock that we could not verify anyway. */
#define ANY_TKA_HEAD "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

void netmap_encode_derp(struct json_writer *w, const struct netmap *map)
{
	if (map->derp_map.has_regions)
		tailcfg_derp_map_encode(w, "DERPMap", &map->derp_map);
}

void netmap_encode_filters(struct json_writer *w, const struct netmap *map)
{
	if (!map->has_filter)
		return;
	json_begin_object(w, "PacketFilters");
	json_put_null(w, "*");
	for (uint32_t i = 0; i < map->filter_count; i++)
		tailcfg_filter_encode(w, map->filters[i].name, &map->filters[i].filter);
	json_end_object(w);
}

void netmap_encode_dns(struct json_writer *w, const struct netmap *map)
{
	tailcfg_dns_config_encode(w, "DNSConfig", &map->dns_config);
}

void netmap_encode_health(struct json_writer *w, const struct netmap *map)
{
	json_put_strings(w, "Health", &map->health);
	json_begin_object(w, "DisplayMessages");
	for (uint32_t i = 0; i < map->display_message_count; i++)
		tailcfg_display_message_encode(w, &map->display_messages[i]);
	json_end_object(w);
}

void netmap_encode_domain(struct json_writer *w, const struct netmap *map)
{
	json_put_string_if(w, "Domain", map->domain);
}

void netmap_encode_ssh(struct json_writer *w, const struct netmap *map)
{
	if (map->ssh_policy)
		json_put_raw(w, "SSHPolicy", map->ssh_policy);
}

void netmap_encode_locked(struct json_writer *w, const struct netmap *map)
{
	if (!map->locked)
		return;
	json_begin_object(w, "TKAInfo");
	json_put_string(w, "Head", ANY_TKA_HEAD);
	json_end_object(w);
}

void netmap_encode_client_version(struct json_writer *w, const struct netmap *map)
{
	if (map->client_version)
		tailcfg_client_version_encode(w, "ClientVersion", map->client_version);
}
