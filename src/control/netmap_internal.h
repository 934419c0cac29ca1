/* SPDX-License-Identifier: BSD-3-Clause */
/* control/netmap_internal.h - shared among the netmap files only */
#pragma once

#include "control/netmap.h"

/** netmap_peer_insert() - Put @node, which moves, under its ID; NULL without memory */
struct netmap_peer *netmap_peer_insert(struct netmap *map, struct tailcfg_node *node);

/** netmap_peer_delete() - Take a peer out and free it */
void netmap_peer_delete(struct netmap *map, struct netmap_peer *peer);

/** netmap_peer_set_key() - Change the node key it is found by */
void netmap_peer_set_key(struct netmap *map, struct netmap_peer *peer,
			 const struct public_key *key);

/** netmap_user_put() - Add or replace a profile, which moves; 1 it differs, 0, -ENOMEM */
int netmap_user_put(struct netmap *map, struct tailcfg_user_profile *profile);

/** netmap_user_delete() - Take a user out and free it */
void netmap_user_delete(struct netmap *map, struct netmap_user *user);

/* One message that is being applied. */
struct netmap_apply {
	struct netmap *map;
	struct tailcfg_map_response *response;
	struct netmap_change *change;
	nanoseconds now;
	bool fresh;
};

/** netmap_note_trouble() - Keep the first cause for which something was ignored: @what */
void netmap_note_trouble(struct netmap_apply *a, const struct error *why, const char *what);

/* netmap_parts.c */

/** netmap_mentioned() - The parts that a message has something about, as enum netmap_part */
uint32_t netmap_mentioned(const struct tailcfg_map_response *m);

/** netmap_apply_parts() - Apply those; 0 or -ENOMEM */
int netmap_apply_parts(struct netmap_apply *a);

/** netmap_take_client_version() - The one of the message, or none */
void netmap_take_client_version(struct netmap *map, struct tailcfg_map_response *response);

/** netmap_encode_parts() - As members of a MapResponse */
void netmap_encode_parts(struct json_writer *w, const struct netmap *map);
