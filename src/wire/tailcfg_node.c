/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_node.c - Node, PeerChange and UserProfile, both ways */
#include "wire/tailcfg_node.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A node's home region in the old form is an endpoint at this address. */
#define LEGACY_DERP "127.3.3.40:"

#define NODE(...)   MEMBER(struct tailcfg_node, __VA_ARGS__)
#define CHANGE(...) MEMBER(struct tailcfg_peer_change, __VA_ARGS__)
#define USER(...)   MEMBER(struct tailcfg_user_profile, __VA_ARGS__)

/* --- Capabilities --- */

static int by_name(const void *a, const void *b)
{
	const struct tailcfg_capability *left = a, *right = b;

	return strcmp(left->name, right->name);
}

const struct tailcfg_capability *tailcfg_capability_find(const struct tailcfg_capability_list *list,
							 const char *name)
{
	const struct tailcfg_capability wanted = {.name = name};

	if (!list->count)
		return NULL;
	return bsearch(&wanted, list->items, list->count, sizeof(wanted), by_name);
}

void tailcfg_cap_map_clear(void *at)
{
	struct tailcfg_capability_list *list = at;

	for (uint32_t i = 0; i < list->count; i++) {
		free((char *)list->items[i].name);
		free((char *)list->items[i].values);
	}
	free(list->items);
	*list = (struct tailcfg_capability_list){0};
}

bool tailcfg_capability_list_equal(const struct tailcfg_capability_list *a,
				   const struct tailcfg_capability_list *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (!text_equal(a->items[i].name, b->items[i].name) ||
		    !text_equal(a->items[i].values, b->items[i].values))
			return false;
	return true;
}

static bool has_name(const struct tailcfg_capability_list *list, const char *name)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i].name, name) == 0)
			return true;
	return false;
}

/* add_capability() - Append to a list that has room */
static int add_capability(struct tailcfg_capability_list *list, const char *name,
			  const json_t *values)
{
	struct tailcfg_capability *c = &list->items[list->count++];

	c->name = strdup(name);
	if (json_array_size(values))
		c->values = json_dumps(values, JSON_COMPACT);
	return c->name && (c->values || !json_array_size(values)) ? 0 : -ENOMEM;
}

/* decode_cap_map() - CapMap, and the bare names of the deprecated list beside it */
static void decode_cap_map(struct json_reader *r, const char *member, void *at)
{
	json_t *map = json_get_object(r, member), *bare = json_get_array(r, "Capabilities");
	size_t room = json_object_size(map) + json_array_size(bare), i;
	struct tailcfg_capability_list *list = at;
	const char *name;
	json_t *value;

	if (!room)
		return;
	list->items = json_items(r, member, room, sizeof(*list->items));
	if (!list->items)
		return;
	json_object_foreach(map, name, value) {
		if (!json_is_array(value) && !json_is_null(value))
			json_reader_fail(r, member, -EINVAL);
		else if (add_capability(list, name, value) < 0)
			json_reader_fail(r, member, -ENOMEM);
	}
	json_array_foreach(bare, i, value) {
		if (!json_is_string(value))
			json_reader_fail(r, "Capabilities", -EINVAL);
		else if (r->error != -ENOMEM && !has_name(list, json_string_value(value)) &&
			 add_capability(list, json_string_value(value), NULL) < 0)
			json_reader_fail(r, "Capabilities", -ENOMEM);
	}
	if (r->error != -ENOMEM)
		qsort(list->items, list->count, sizeof(*list->items), by_name);
}

static void encode_cap_map(struct json_writer *w, const char *member, const void *at)
{
	const struct tailcfg_capability_list *list = at;

	json_begin_object(w, member);
	for (uint32_t i = 0; i < list->count; i++)
		json_put_raw(w, list->items[i].name,
			     list->items[i].values ? list->items[i].values : "null");
	json_end_object(w);
}

void tailcfg_cap_map_encode(struct json_writer *w, const char *name, const void *list)
{
	if (((const struct tailcfg_capability_list *)list)->count)
		encode_cap_map(w, name, list);
}

static bool cap_map_equal(const void *a, const void *b)
{
	return tailcfg_capability_list_equal(a, b);
}

static const struct json_member_functions cap_map = {
	.clear = tailcfg_cap_map_clear,
	.decode = decode_cap_map,
	.encode = tailcfg_cap_map_encode,
	.equal = cap_map_equal,
};
static const struct json_member_functions cap_map_change = {
	.clear = tailcfg_cap_map_clear,
	.decode = decode_cap_map,
	.encode = encode_cap_map,
};

/* --- Node --- */

/* finish_node() - What an older server writes otherwise, and what one member means for another */
static void finish_node(struct json_reader *r, void *object)
{
	struct tailcfg_node *node = object;
	const char *legacy = json_get_text(r, "DERP");
	struct endpoint e;

	if (!node->home_derp && strncmp(legacy, LEGACY_DERP, strlen(LEGACY_DERP)) == 0 &&
	    endpoint_parse(legacy, strlen(legacy), &e) == 0)
		node->home_derp = e.port;
	/* Absent or null is not the same as []: it stands for the node's own addresses. */
	if (!json_get(r, "AllowedIPs") || node->unsigned_peer_api_only) {
		prefix_list_clear(&node->allowed_ips);
		if (prefix_list_copy(&node->addresses, &node->allowed_ips) < 0)
			json_reader_fail(r, "AllowedIPs", -ENOMEM);
	}
	if (node->id <= 0)
		json_reader_fail(r, "ID", -EINVAL);
}

static const struct json_member node_members[] = {
	NODE(INT, "ID", id, .always = true),
	NODE(TEXT, "StableID", stable_id, .always = true),
	NODE(TEXT, "Name", name, .always = true),
	NODE(INT, "User", user, .always = true),
	NODE(INT, "Sharer", sharer),
	NODE(KEY, "Key", key, .key = KEY_NODE, .always = true),
	NODE(TIME, "KeyExpiry", key_expiry, .always = true),
	NODE(TEXT, "KeySignature", key_signature),
	NODE(KEY, "Machine", machine, .key = KEY_MACHINE, .always = true),
	NODE(KEY, "DiscoKey", disco_key, .key = KEY_DISCO, .always = true),
	NODE(PREFIXES, "Addresses", addresses, .always = true),
	NODE(PREFIXES, "AllowedIPs", allowed_ips, .always = true),
	NODE(ENDPOINTS, "Endpoints", endpoints),
	NODE(UINT16, "HomeDERP", home_derp),
	MEMBER_STRUCT(struct tailcfg_node, "Hostinfo", hostinfo, &tailcfg_hostinfo_of_peer),
	NODE(TIME, "Created", created, .always = true),
	NODE(UINT16, "Cap", cap, .clamped = true),
	NODE(STRINGS, "Tags", tags),
	NODE(PREFIXES, "PrimaryRoutes", primary_routes),
	NODE(TIME, "LastSeen", last_seen),
	NODE(OPTIONAL_BOOL, "Online", online),
	NODE(BOOL, "MachineAuthorized", machine_authorized),
	MEMBER_BY(struct tailcfg_node, "CapMap", cap_map, &cap_map),
	NODE(BOOL, "UnsignedPeerAPIOnly", unsigned_peer_api_only),
	NODE(TEXT, "ComputedName", computed_name),
	NODE(BOOL, "Expired", expired),
	NODE(ADDRESS, "SelfNodeV4MasqAddrForThisPeer", self_v4_masq_for_this_peer),
	NODE(ADDRESS, "SelfNodeV6MasqAddrForThisPeer", self_v6_masq_for_this_peer),
	NODE(BOOL, "IsWireGuardOnly", is_wireguard_only),
	NODE(BOOL, "IsJailed", is_jailed),
	NODE(TEXT, "StableTailnetID", stable_tailnet_id),
};

const struct json_members tailcfg_node_members =
	MEMBERS("node", struct tailcfg_node, node_members, .finish = finish_node);

void tailcfg_node_clear(struct tailcfg_node *node)
{
	members_clear(&tailcfg_node_members, node);
}

int tailcfg_node_decode(const json_t *json, struct tailcfg_node *ret, struct error *err)
{
	return members_decode(&tailcfg_node_members, json, ret, err);
}

int tailcfg_node_parse(struct json_range text, struct tailcfg_node *ret, struct error *err)
{
	json_t *json = json_parse(text, err);
	int r;

	if (!json)
		return -EINVAL;
	r = tailcfg_node_decode(json, ret, err);
	json_decref(json);
	return r;
}

void tailcfg_node_encode(struct json_writer *w, const char *name, const struct tailcfg_node *node)
{
	members_encode(&tailcfg_node_members, w, name, node);
}

const char *tailcfg_node_display_name(const struct tailcfg_node *node, char out[static 64])
{
	const char *name = node->computed_name ? node->computed_name : node->name;
	size_t length;

	if (!name)
		name = node->hostinfo && node->hostinfo->hostname ? node->hostinfo->hostname : "";
	length = strcspn(name, ".");
	if (length > 63)
		length = 63;
	memcpy(out, name, length);
	out[length] = 0;
	return out;
}

/* --- PeerChange --- */

#define PRESENT(member) .present = offsetof(struct tailcfg_peer_change, member)

static const struct json_member change_members[] = {
	CHANGE(INT, "NodeID", node_id, .always = true),
	CHANGE(UINT16, "DERPRegion", derp_region),
	CHANGE(UINT16, "Cap", cap, .clamped = true),
	MEMBER_BY(struct tailcfg_peer_change, "CapMap", cap_map, &cap_map_change,
		  PRESENT(has_cap_map)),
	CHANGE(ENDPOINTS, "Endpoints", endpoints, PRESENT(has_endpoints)),
	CHANGE(KEY, "Key", key, .key = KEY_NODE, PRESENT(has_key)),
	CHANGE(TEXT, "KeySignature", key_signature),
	CHANGE(KEY, "DiscoKey", disco_key, .key = KEY_DISCO, PRESENT(has_disco_key)),
	CHANGE(OPTIONAL_BOOL, "Online", online),
	CHANGE(TIME, "LastSeen", last_seen, PRESENT(has_last_seen)),
	CHANGE(TIME, "KeyExpiry", key_expiry, PRESENT(has_key_expiry)),
};

static const struct json_members peer_change =
	MEMBERS("peer change", struct tailcfg_peer_change, change_members);

void tailcfg_peer_change_clear(struct tailcfg_peer_change *change)
{
	members_clear(&peer_change, change);
}

int tailcfg_peer_change_decode(const json_t *json, struct tailcfg_peer_change *ret,
			       struct error *err)
{
	return members_decode(&peer_change, json, ret, err);
}

void tailcfg_peer_change_encode(struct json_writer *w, const char *name,
				const struct tailcfg_peer_change *change)
{
	members_encode(&peer_change, w, name, change);
}

/* --- UserProfile --- */

static const struct json_member user_members[] = {
	USER(INT, "ID", id, .always = true),
	USER(TEXT, "LoginName", login_name, .always = true),
	USER(TEXT, "DisplayName", display_name, .always = true),
	USER(TEXT, "ProfilePicURL", profile_pic_url),
};

const struct json_members tailcfg_user_profile_members =
	MEMBERS("user profile", struct tailcfg_user_profile, user_members);

void tailcfg_user_profile_clear(struct tailcfg_user_profile *profile)
{
	members_clear(&tailcfg_user_profile_members, profile);
}

void tailcfg_user_profile_encode(struct json_writer *w, const char *name,
				 const struct tailcfg_user_profile *profile)
{
	members_encode(&tailcfg_user_profile_members, w, name, profile);
}
