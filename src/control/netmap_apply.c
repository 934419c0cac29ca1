/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap_apply.c - one message of the map stream into the netmap
 *
 * Order: peers (netmap_peers.c); then self; then the other parts. A part is "changed" when it looks
 * different as JSON afterwards; it is only looked at when the message mentions it, or when the
 * message begins a session and so says everything by what it leaves out.
 */
#include "control/netmap_internal.h"

#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TKA_HEAD_LENGTH 52 /* 32 bytes in base32 without padding */

#define OFFSET_MOST (INT64_C(100) * 365 * 86400 * NSEC_PER_SEC)

static void apply_self(struct netmap_apply *a)
{
	struct tailcfg_node *node = a->response->node;
	uint32_t what;

	if (!node)
		return;
	what = a->map->self ? netmap_node_differences(a->map->self, node) : NETMAP_NODE_ALL;
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
	/* A session that says nothing of relays keeps them: without any nobody is reached. */
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
		netmap_note_trouble(a, &m->filter_error, "the packet filter stays as it was");
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
 * Changed or not: who follows its node is told of each such map.
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
	r = netmap_apply_peers(&a);
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
