/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap.c - what the netmap holds: peers and users
 *
 * A peer is found by its ID, which deltas use, and by its node key. Two peers with
 * one key ("twins") are not refused here: control may rename a node that way within a
 * message; the by_key table then gives one of them.
 */
#include "control/netmap_internal.h"

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
	for (uint32_t i = 0; i < map->filter_count; i++)
		tailcfg_named_filter_clear(&map->filters[i]);
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
