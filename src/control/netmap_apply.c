/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap_apply.c - one message of the map stream into the netmap
 *
 * Order: peers; then the own node; then the other parts. Peers come as the full list, or as
 * deltas in this order: removed, changed, seen, online, patched. A part is "changed" when its
 * JSON differs afterwards. A part is only compared when the message mentions it, or when the
 * message begins a session: then a missing part is an empty one.
 */
#include "control/netmap_internal.h"

#include "base/limits.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TKA_HEAD_LENGTH 52 /* 32 bytes in base32 without padding */

#define OFFSET_MOST (INT64_C(100) * 365 * 86400 * NSEC_PER_SEC)

struct netmap_apply {
	struct netmap *map;
	struct tailcfg_map_response *response;
	struct netmap_change *change;
	nanoseconds now;
	bool fresh;
};

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

static uint32_t node_differences(const struct tailcfg_node *a, const struct tailcfg_node *b)
{
	const struct json_members *all = &tailcfg_node_members;
	uint32_t what = 0;

	for (size_t i = 0; i < all->count; i++)
		if (!member_equal(&all->list[i], a, b))
			what |= part_of(all->list[i].name);
	return what;
}

/* --- Peers --- */

static void note_trouble(struct netmap_apply *a, const struct error *why, const char *what)
{
	if (a->change->trouble.code == 0) {
		a->change->trouble = *why;
		error_wrap(&a->change->trouble, "%s", what);
	}
}

static int remove_peer(struct netmap_apply *a, struct netmap_peer *peer)
{
	int r = netmap_note_removal(a->change, peer);

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
			note_trouble(a, &why, "peers were left out");
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
	what = node_differences(&peer->node, node);
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
		note_trouble(a, &why, "a peer was left out");
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
			note_trouble(a, &why, "a change of a peer was left out");
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

/* --- Own node and other parts --- */

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

static int apply_derp(struct netmap_apply *a)
{
	/* A session without a DERPMap keeps the relays: without relays no peer is reachable. */
	if (a->response->derp_map)
		tailcfg_derp_map_merge(&a->map->derp_map, a->response->derp_map);
	return 0;
}

static void delete_filter(struct netmap *map, uint32_t at)
{
	free((char *)map->filters[at].name);
	tailcfg_filter_clear(&map->filters[at].filter);
	memmove(&map->filters[at], &map->filters[at + 1],
		(map->filter_count - at - 1) * sizeof(*map->filters));
	map->filter_count--;
}

/* Put, replace or delete one filter, keeping them sorted by name. */
static int apply_filter(struct netmap *map, struct tailcfg_named_filter *filter)
{
	struct tailcfg_named_filter *filters;
	uint32_t at = 0;

	while (at < map->filter_count && strcmp(map->filters[at].name, filter->name) < 0)
		at++;
	if (at < map->filter_count && strcmp(map->filters[at].name, filter->name) == 0)
		delete_filter(map, at);
	if (filter->removed)
		return 0;
	filters = reallocarray(map->filters, map->filter_count + 1, sizeof(*filters));
	if (!filters)
		return -ENOMEM;
	map->filters = filters;
	memmove(&filters[at + 1], &filters[at], (map->filter_count - at) * sizeof(*filters));
	filters[at] = *filter;
	map->filter_count++;
	*filter = (struct tailcfg_named_filter){0};
	return 0;
}

static int apply_filters(struct netmap_apply *a)
{
	struct tailcfg_map_response *m = a->response;
	int r = 0;

	if (m->filter_error.code < 0) {
		note_trouble(a, &m->filter_error, "the packet filter stays as it was");
		return 0;
	}
	if (a->fresh || m->filters_clear) {
		while (a->map->filter_count)
			delete_filter(a->map, a->map->filter_count - 1);
		a->map->has_filter = false;
	}
	if (m->filters_clear || m->filter_count)
		a->map->has_filter = true;
	for (uint32_t i = 0; i < m->filter_count && r == 0; i++)
		r = apply_filter(a->map, &m->filters[i]);
	return r;
}

static int apply_dns(struct netmap_apply *a)
{
	tailcfg_dns_config_clear(&a->map->dns_config);
	if (a->response->dns_config) {
		a->map->dns_config = *a->response->dns_config;
		*a->response->dns_config = (struct tailcfg_dns_config){0};
	}
	return 0;
}

static int apply_display_message(struct netmap *map, struct tailcfg_display_message *message)
{
	struct tailcfg_display_message *messages = map->display_messages;
	uint32_t at = 0;

	while (at < map->display_message_count && strcmp(messages[at].id, message->id) < 0)
		at++;
	if (at < map->display_message_count && strcmp(messages[at].id, message->id) == 0) {
		tailcfg_display_message_clear(&messages[at]);
		memmove(&messages[at], &messages[at + 1],
			(map->display_message_count - at - 1) * sizeof(*messages));
		map->display_message_count--;
	}
	if (message->removed)
		return 0;
	messages = reallocarray(messages, map->display_message_count + 1, sizeof(*messages));
	if (!messages)
		return -ENOMEM;
	map->display_messages = messages;
	memmove(&messages[at + 1], &messages[at],
		(map->display_message_count - at) * sizeof(*messages));
	messages[at] = *message;
	map->display_message_count++;
	*message = (struct tailcfg_display_message){0};
	return 0;
}

static int apply_health(struct netmap_apply *a)
{
	struct tailcfg_map_response *m = a->response;
	int r = 0;

	if (a->fresh || m->has_health) {
		string_list_clear(&a->map->health);
		a->map->health = m->health;
		m->health = (struct string_list){0};
	}
	while ((a->fresh || m->display_messages.clear) && a->map->display_message_count)
		tailcfg_display_message_clear(
			&a->map->display_messages[--a->map->display_message_count]);
	for (uint32_t i = 0; i < m->display_messages.count && r == 0; i++)
		r = apply_display_message(a->map, &m->display_messages.items[i]);
	return r;
}

static void move_text(const char **to, const char **from)
{
	free((char *)*to);
	*to = *from;
	*from = NULL;
}

static int apply_domain(struct netmap_apply *a)
{
	move_text(&a->map->domain, &a->response->domain);
	return 0;
}

static int apply_ssh(struct netmap_apply *a)
{
	move_text(&a->map->ssh_policy, &a->response->ssh_policy);
	return 0;
}

static int apply_locked(struct netmap_apply *a)
{
	const struct tailcfg_map_response *m = a->response;

	/* A head that is no hash counts as "off", as everywhere. */
	a->map->locked = m->has_tka_info && !m->tka_disabled && m->tka_head &&
			 strlen(m->tka_head) == TKA_HEAD_LENGTH &&
			 strspn(m->tka_head, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == TKA_HEAD_LENGTH;
	return 0;
}

static int apply_client_version(struct netmap_apply *a)
{
	if (a->map->client_version)
		tailcfg_client_version_clear(a->map->client_version);
	free(a->map->client_version);
	a->map->client_version = a->response->client_version;
	a->response->client_version = NULL;
	return 0;
}

/* Apply one part, and say so if it looks different afterwards. */
static int apply_part(struct netmap_apply *a, bool mentioned, uint32_t flag,
		      int (*apply)(struct netmap_apply *),
		      void (*encode)(struct json_writer *, const struct netmap *))
{
	struct buffer before = BUFFER_INIT(SIZE_MAX), after = before;
	struct json_writer w;
	int r;

	if (!mentioned && !a->fresh)
		return 0;
	w = json_writer_to(&before);
	encode(&w, a->map);
	r = json_writer_result(&w);
	if (r == 0)
		r = apply(a);
	if (r == 0) {
		w = json_writer_to(&after);
		encode(&w, a->map);
		r = json_writer_result(&w);
	}
	if (r == 0 && !buffer_equal(&before, &after))
		a->change->parts |= flag;
	buffer_free(&before);
	buffer_free(&after);
	return r;
}

static int apply_parts(struct netmap_apply *a)
{
	const struct tailcfg_map_response *m = a->response;
	const struct {
		bool mentioned;
		uint32_t flag;
		int (*apply)(struct netmap_apply *);
		void (*encode)(struct json_writer *, const struct netmap *);
	} parts[] = {
		{m->derp_map, NETMAP_DERP, apply_derp, netmap_encode_derp},
		{m->filters_clear || m->filter_count || m->filter_error.code < 0, NETMAP_FILTER,
		 apply_filters, netmap_encode_filters},
		{m->dns_config, NETMAP_DNS, apply_dns, netmap_encode_dns},
		{m->has_health || m->display_messages.clear || m->display_messages.count,
		 NETMAP_HEALTH, apply_health, netmap_encode_health},
		{m->domain, NETMAP_DOMAIN, apply_domain, netmap_encode_domain},
		{m->ssh_policy, NETMAP_SSH, apply_ssh, netmap_encode_ssh},
		{m->has_tka_info, NETMAP_LOCKED, apply_locked, netmap_encode_locked},
		{m->client_version, NETMAP_CLIENT_VERSION, apply_client_version,
		 netmap_encode_client_version},
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && r == 0; i++)
		r = apply_part(a, parts[i].mentioned, parts[i].flag, parts[i].apply,
			       parts[i].encode);
	return r;
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

/*
 * is_full() - Whether the official client makes a new map of this message
 *
 * Watchers of the node are notified of each such map, changed or not.
 */
static bool is_full(const struct tailcfg_map_response *m)
{
	return m->node || m->peers.at || m->derp_map || m->dns_config || m->domain ||
	       m->has_health || m->display_messages.clear || m->display_messages.count ||
	       m->ssh_policy || m->has_tka_info || m->client_version;
}

int netmap_apply(struct netmap *map, struct tailcfg_map_response *response, nanoseconds now,
		 struct netmap_change *ret, struct error *err)
{
	struct netmap_apply a = {
		.map = map, .response = response, .change = ret, .now = now, .fresh = map->fresh};
	int r;

	note_control_time(map, response->control_time, now);
	ret->full = !response->keep_alive && is_full(response);
	if (response->keep_alive) {
		/* Its version notice counts, nothing else that it may carry. */
		if (response->client_version)
			apply_client_version(&a);
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
		r = apply_parts(&a);
	for (uint32_t i = 0; i < ret->update_count; i++)
		ret->updates[i].peer->change_index = 0;
	if (r < 0)
		return error_set_errno(err, r, "map: apply");
	map->fresh = false;
	return 0;
}
