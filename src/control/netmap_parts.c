/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap_parts.c - the parts of a netmap beside nodes and users
 *
 * A part is "changed" when its JSON differs afterwards. A part is only compared when the message
 * mentions it, or when the message begins a session: then a missing part is an empty one.
 */
#include "control/netmap_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TKA_HEAD_LENGTH 52 /* 32 bytes in base32 without padding */

/* Stands for the head of a lock that we could not verify anyway. */
#define ANY_TKA_HEAD "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

/* --- Relays --- */

static int apply_derp(struct netmap_apply *a)
{
	/* A session without a DERPMap keeps the relays: without relays no peer is reachable. */
	if (a->response->derp_map)
		tailcfg_derp_map_merge(&a->map->derp_map, a->response->derp_map);
	return 0;
}

static void encode_derp(struct json_writer *w, const struct netmap *map)
{
	if (map->derp_map.has_regions)
		tailcfg_derp_map_encode(w, "DERPMap", &map->derp_map);
}

/* --- Lists by name: filters, display messages --- */

/*
 * put_named() - Put, replace or (@gone) delete the item of that name in a list sorted by name
 *
 * Items have @size bytes and begin with their name. What is kept moves out of @item.
 */
static int put_named(void *items, uint32_t *count, size_t size, void *item, bool gone,
		     void (*clear)(void *item))
{
	const char *name = *(char **)item;
	char *list = *(char **)items;
	size_t at = 0, end = *count * size;

	while (at < end && strcmp(*(char **)(list + at), name) < 0)
		at += size;
	if (at < end && strcmp(*(char **)(list + at), name) == 0) {
		clear(list + at);
		end -= size;
		memmove(list + at, list + at + size, end - at);
		--*count;
	}
	if (gone)
		return 0;
	list = reallocarray(list, *count + 1, size);
	if (!list)
		return -ENOMEM;
	*(char **)items = list;
	memmove(list + at + size, list + at, end - at);
	memcpy(list + at, item, size);
	memset(item, 0, size);
	++*count;
	return 0;
}

static void clear_filter(void *item)
{
	tailcfg_named_filter_clear(item);
}

static void clear_display_message(void *item)
{
	tailcfg_display_message_clear(item);
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
			tailcfg_named_filter_clear(&a->map->filters[--a->map->filter_count]);
		a->map->has_filter = false;
	}
	if (m->filters_clear || m->filter_count)
		a->map->has_filter = true;
	for (uint32_t i = 0; i < m->filter_count && r == 0; i++)
		r = put_named(&a->map->filters, &a->map->filter_count, sizeof(*m->filters),
			      &m->filters[i], m->filters[i].removed, clear_filter);
	return r;
}

static void encode_filters(struct json_writer *w, const struct netmap *map)
{
	if (!map->has_filter)
		return;
	json_begin_object(w, "PacketFilters");
	json_put_null(w, "*");
	for (uint32_t i = 0; i < map->filter_count; i++)
		tailcfg_filter_encode(w, map->filters[i].name, &map->filters[i].filter);
	json_end_object(w);
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
		r = put_named(&a->map->display_messages, &a->map->display_message_count,
			      sizeof(*m->display_messages.items), &m->display_messages.items[i],
			      !m->display_messages.items[i].present, clear_display_message);
	return r;
}

static void encode_health(struct json_writer *w, const struct netmap *map)
{
	json_put_strings(w, "Health", &map->health);
	json_begin_object(w, "DisplayMessages");
	for (uint32_t i = 0; i < map->display_message_count; i++)
		members_encode(&tailcfg_display_message_members, w, map->display_messages[i].id,
			       &map->display_messages[i]);
	json_end_object(w);
}

/* --- The others --- */

static int apply_dns(struct netmap_apply *a)
{
	tailcfg_dns_config_clear(&a->map->dns_config);
	if (a->response->dns_config) {
		a->map->dns_config = *a->response->dns_config;
		*a->response->dns_config = (struct tailcfg_dns_config){0};
	}
	return 0;
}

static void encode_dns(struct json_writer *w, const struct netmap *map)
{
	tailcfg_dns_config_encode(w, "DNSConfig", &map->dns_config);
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

static void encode_domain(struct json_writer *w, const struct netmap *map)
{
	json_put_string_if(w, "Domain", map->domain);
}

static int apply_ssh(struct netmap_apply *a)
{
	move_text(&a->map->ssh_policy, &a->response->ssh_policy);
	return 0;
}

static void encode_ssh(struct json_writer *w, const struct netmap *map)
{
	if (map->ssh_policy)
		json_put_raw(w, "SSHPolicy", map->ssh_policy);
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

static void encode_locked(struct json_writer *w, const struct netmap *map)
{
	if (!map->locked)
		return;
	json_begin_object(w, "TKAInfo");
	json_put_string(w, "Head", ANY_TKA_HEAD);
	json_end_object(w);
}

void netmap_take_client_version(struct netmap *map, struct tailcfg_map_response *response)
{
	if (map->client_version)
		tailcfg_client_version_clear(map->client_version);
	free(map->client_version);
	map->client_version = TAKE_PTR(response->client_version);
}

static int apply_client_version(struct netmap_apply *a)
{
	netmap_take_client_version(a->map, a->response);
	return 0;
}

static void encode_client_version(struct json_writer *w, const struct netmap *map)
{
	if (map->client_version)
		tailcfg_client_version_encode(w, "ClientVersion", map->client_version);
}

/* --- All --- */

static const struct part {
	uint32_t flag;
	int (*apply)(struct netmap_apply *a);
	void (*encode)(struct json_writer *w, const struct netmap *map);
} parts[] = {
	{NETMAP_DERP, apply_derp, encode_derp},
	{NETMAP_FILTER, apply_filters, encode_filters},
	{NETMAP_DNS, apply_dns, encode_dns},
	{NETMAP_HEALTH, apply_health, encode_health},
	{NETMAP_DOMAIN, apply_domain, encode_domain},
	{NETMAP_SSH, apply_ssh, encode_ssh},
	{NETMAP_LOCKED, apply_locked, encode_locked},
	{NETMAP_CLIENT_VERSION, apply_client_version, encode_client_version},
};

uint32_t netmap_mentioned(const struct tailcfg_map_response *m)
{
	const bool filter = m->filters_clear || m->filter_count || m->filter_error.code < 0;
	const bool health = m->has_health || m->display_messages.clear || m->display_messages.count;

	return (m->derp_map ? NETMAP_DERP : 0) | (filter ? NETMAP_FILTER : 0) |
	       (m->dns_config ? NETMAP_DNS : 0) | (health ? NETMAP_HEALTH : 0) |
	       (m->domain ? NETMAP_DOMAIN : 0) | (m->ssh_policy ? NETMAP_SSH : 0) |
	       (m->has_tka_info ? NETMAP_LOCKED : 0) |
	       (m->client_version ? NETMAP_CLIENT_VERSION : 0);
}

/* apply_part() - Apply one part, and say so if it looks different afterwards */
static int apply_part(struct netmap_apply *a, const struct part *part)
{
	struct buffer before = BUFFER_INIT(SIZE_MAX), after = before;
	struct json_writer w = json_writer_to(&before);
	int r;

	part->encode(&w, a->map);
	r = json_writer_result(&w);
	if (r == 0)
		r = part->apply(a);
	w = json_writer_to(&after);
	if (r == 0) {
		part->encode(&w, a->map);
		r = json_writer_result(&w);
	}
	if (r == 0 && !buffer_equal(&before, &after))
		a->change->parts |= part->flag;
	buffer_free(&before);
	buffer_free(&after);
	return r;
}

int netmap_apply_parts(struct netmap_apply *a)
{
	uint32_t wanted = a->fresh ? NETMAP_ALL : netmap_mentioned(a->response);
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts) && r == 0; i++)
		if (wanted & parts[i].flag)
			r = apply_part(a, &parts[i]);
	return r;
}

void netmap_encode_parts(struct json_writer *w, const struct netmap *map)
{
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		parts[i].encode(w, map);
}
