/* SPDX-License-Identifier: BSD-3-Clause */
/* control/netmap_internal.h - shared among the netmap files only */
#pragma once

#include "control/netmap.h"

/*
 * When this was built. A clock before that is wrong: control's is not believed, and by ours no
 * key is called expired.
 */
#define NETMAP_SANE_CLOCK ((nanoseconds)PILLION_BUILD_TIME * NSEC_PER_SEC)

/** netmap_peer_insert() - Put @node, which moves, under its ID; NULL without memory */
struct netmap_peer *netmap_peer_insert(struct netmap *map, struct tailcfg_node *node);

/** netmap_peer_delete() - Take a peer out and free it */
void netmap_peer_delete(struct netmap *map, struct netmap_peer *peer);

/** netmap_peer_set_key() - Change the node key it is found by */
void netmap_peer_set_key(struct netmap *map, struct netmap_peer *peer,
			 const struct public_key *key);

/** netmap_peer_check_expiry() - Whether its key has expired, into peer->expired; true: news */
bool netmap_peer_check_expiry(struct netmap *map, struct netmap_peer *peer, nanoseconds now);

/** netmap_user_put() - Add or replace a profile, which moves; 1 it differs, 0, -ENOMEM */
int netmap_user_put(struct netmap *map, struct tailcfg_user_profile *profile);

/** netmap_user_delete() - Take a user out and free it */
void netmap_user_delete(struct netmap *map, struct netmap_user *user);

/** netmap_note_update() - Add @what to the peer's entry in the change; 0 or -ENOMEM */
int netmap_note_update(struct netmap_change *change, struct netmap_peer *peer, uint32_t what,
		       const struct public_key *old_key);

/** netmap_note_removal() - Say that it goes, before netmap_peer_delete(); 0 or -ENOMEM */
int netmap_note_removal(struct netmap_change *change, struct netmap_peer *peer);

/* Parts that are compared, and stored, by what they look like as JSON members. */
void netmap_encode_derp(struct json_writer *w, const struct netmap *map);
void netmap_encode_filters(struct json_writer *w, const struct netmap *map);
void netmap_encode_dns(struct json_writer *w, const struct netmap *map);
void netmap_encode_health(struct json_writer *w, const struct netmap *map);
void netmap_encode_domain(struct json_writer *w, const struct netmap *map);
void netmap_encode_ssh(struct json_writer *w, const struct netmap *map);
void netmap_encode_locked(struct json_writer *w, const struct netmap *map);
void netmap_encode_client_version(struct json_writer *w, const struct netmap *map);
