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

/* Stands for the head of a lock that we could not verify anyway. */
#define ANY_TKA_HEAD "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

#define USERS_SHARE   4u  /* user profiles take 1/USERS_SHARE of what the rest leaves */
#define ROOM_TO_CLOSE 16u /* what ends the list of peers and the map */

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
	const struct tailcfg_client_version *v = map->client_version;

	if (!v)
		return;
	json_begin_object(w, "ClientVersion");
	json_put_bool_if(w, "RunningLatest", v->running_latest);
	json_put_string_if(w, "LatestVersion", v->latest_version);
	json_put_bool_if(w, "UrgentSecurityUpdate", v->urgent_security_update);
	json_put_bool_if(w, "Notify", v->notify);
	json_put_string_if(w, "NotifyURL", v->notify_url);
	json_put_string_if(w, "NotifyText", v->notify_text);
	json_end_object(w);
}

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
	netmap_encode_derp(w, map);
	netmap_encode_filters(w, map);
	netmap_encode_dns(w, map);
	netmap_encode_health(w, map);
	netmap_encode_domain(w, map);
	netmap_encode_ssh(w, map);
	netmap_encode_locked(w, map);
	netmap_encode_client_version(w, map);
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
