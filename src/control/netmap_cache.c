/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap_cache.c - the netmap as one MapResponse, for the disk
 *
 * What is written is what a server would send as the first message of a session, so
 * reading it back needs no code of its own, and a file from a newer version is read
 * as far as this one understands it.
 */
#include "control/netmap_internal.h"

#include <errno.h>
#include <string.h>

#define USERS_SHARE   4u  /* user profiles take 1/USERS_SHARE of what the rest leaves */
#define ROOM_TO_CLOSE 16u /* what ends the list of peers and the map */

/* fits() - Whether what was written since @mark may stay; else it is taken back */
static bool fits(struct json_writer *w, const struct json_writer *mark, size_t length, size_t limit)
{
	if (w->error == 0 && w->out->length <= limit)
		return true;
	if (w->error == 0 || w->error == -EMSGSIZE) {
		w->out->length = length;
		*w = *mark;
	}
	return false;
}

static void encode_users(struct json_writer *w, const struct netmap *map)
{
	size_t limit = w->out->length + (w->out->limit - w->out->length) / USERS_SHARE;

	json_begin_array(w, "UserProfiles");
	for (struct netmap_user *u = map->users; u; u = u->by_id.next) {
		const struct json_writer mark = *w;
		size_t length = w->out->length;

		tailcfg_user_profile_encode(w, NULL, &u->profile);
		if (!fits(w, &mark, length, limit))
			break;
	}
	json_end_array(w);
}

/* encode_peers() - As many as fit, by rank; how many did not */
static uint32_t encode_peers(struct json_writer *w, const struct netmap *map, netmap_rank rank,
			     void *context)
{
	uint32_t left = netmap_peer_count(map);
	size_t limit = w->out->limit > ROOM_TO_CLOSE ? w->out->limit - ROOM_TO_CLOSE : 0;
	bool full = false;

	json_begin_array(w, "Peers");
	for (unsigned int now = 0; now < (rank ? NETMAP_RANKS : 1) && !full; now++)
		for (struct netmap_peer *p = netmap_peer_next(map, NULL); p && !full;
		     p = netmap_peer_next(map, p)) {
			const struct json_writer mark = *w;
			size_t length = w->out->length;

			if (rank && rank(context, p) != now)
				continue;
			tailcfg_node_encode(w, NULL, &p->node);
			full = !fits(w, &mark, length, limit);
			left -= !full;
		}
	json_end_array(w);
	return left;
}

int netmap_encode(const struct netmap *map, netmap_rank rank, void *context, struct buffer *out)
{
	struct json_writer writer = json_writer_to(out), *w = &writer;
	uint32_t left;
	int r;

	if (!map->self)
		return -ENODATA;
	json_begin_object(w, NULL);
	tailcfg_node_encode(w, "Node", map->self);
	netmap_encode_parts(w, map);
	encode_users(w, map);
	left = encode_peers(w, map, rank, context);
	json_end_object(w);
	r = json_writer_result(w);
	return r < 0 ? r : (int)left;
}

int netmap_decode(const void *bytes, size_t length, nanoseconds now, struct netmap **ret_map,
		  struct error *err)
{
	struct tailcfg_map_response response;
	struct netmap_change change = {0};
	struct netmap *map;
	int r;

	r = tailcfg_map_response_parse(bytes, length, &response, err);
	if (r < 0)
		return r;
	map = netmap_new();
	r = map ? netmap_apply(map, &response, now, &change, err)
		: error_set(err, -ENOMEM, "out of memory");
	netmap_change_clear(&change);
	tailcfg_map_response_clear(&response);
	if (r < 0) {
		netmap_free(map);
		return r;
	}
	*ret_map = map;
	return 0;
}
