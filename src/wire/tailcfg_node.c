/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_node.c - Node, PeerChange and UserProfile, both ways */
#include "wire/tailcfg_node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A node's home region in the old form is an endpoint at this address. */
#define LEGACY_DERP "127.3.3.40:"

void tailcfg_capability_list_clear(struct tailcfg_capability_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		free(list->items[i].name);
		free(list->items[i].values);
	}
	free(list->items);
	*list = (struct tailcfg_capability_list){0};
}

void tailcfg_node_clear(struct tailcfg_node *node)
{
	free(node->stable_id);
	free(node->name);
	prefix_list_clear(&node->addresses);
	prefix_list_clear(&node->allowed_ips);
	prefix_list_clear(&node->primary_routes);
	endpoint_list_clear(&node->endpoints);
	string_list_clear(&node->tags);
	tailcfg_capability_list_clear(&node->cap_map);
	if (node->hostinfo)
		tailcfg_hostinfo_clear(node->hostinfo);
	free(node->hostinfo);
	free(node->computed_name);
	free(node->key_signature);
	free(node->stable_tailnet_id);
	*node = (struct tailcfg_node){0};
}

void tailcfg_peer_change_clear(struct tailcfg_peer_change *change)
{
	tailcfg_capability_list_clear(&change->cap_map);
	endpoint_list_clear(&change->endpoints);
	free(change->key_signature);
	*change = (struct tailcfg_peer_change){0};
}

void tailcfg_user_profile_clear(struct tailcfg_user_profile *profile)
{
	free(profile->login_name);
	free(profile->display_name);
	free(profile->profile_pic_url);
	*profile = (struct tailcfg_user_profile){0};
}

/* --- Capabilities --- */

static int by_name(const void *a, const void *b)
{
	const struct tailcfg_capability *left = a, *right = b;

	return strcmp(left->name, right->name);
}

const struct tailcfg_capability *tailcfg_capability_find(const struct tailcfg_capability_list *list,
							 const char *name)
{
	struct tailcfg_capability wanted = {.name = (char *)name};

	if (!list->count)
		return NULL;
	return bsearch(&wanted, list->items, list->count, sizeof(wanted), by_name);
}

static bool has_name(const struct tailcfg_capability_list *list, const char *name)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i].name, name) == 0)
			return true;
	return false;
}

/* Append @name if it isn't there; there is room. */
static int add_capability(struct tailcfg_capability_list *list, const char *name,
			  const json_t *values)
{
	struct tailcfg_capability c = {.name = strdup(name)};

	if (json_array_size(values))
		c.values = json_dumps(values, JSON_COMPACT);
	if (!c.name || (json_array_size(values) && !c.values)) {
		free(c.name);
		free(c.values);
		return -ENOMEM;
	}
	list->items[list->count++] = c;
	return 0;
}

/* CapMap, with the deprecated list of bare names behind it. */
static void decode_cap_map(struct json_reader *r, struct tailcfg_capability_list *ret)
{
	json_t *map = json_get_object(r, "CapMap"), *bare = json_get_array(r, "Capabilities");
	size_t room = json_object_size(map) + json_array_size(bare), i;
	const char *name;
	json_t *value;

	*ret = (struct tailcfg_capability_list){0};
	if (!room)
		return;
	ret->items = calloc(room, sizeof(*ret->items));
	if (!ret->items) {
		json_reader_fail(r, "CapMap", -ENOMEM);
		return;
	}
	json_object_foreach(map, name, value) {
		if (!json_is_array(value) && !json_is_null(value))
			json_reader_fail(r, "CapMap", -EINVAL);
		else if (add_capability(ret, name, value) < 0)
			json_reader_fail(r, "CapMap", -ENOMEM);
	}
	json_array_foreach(bare, i, value) {
		if (!json_is_string(value))
			json_reader_fail(r, "Capabilities", -EINVAL);
		else if (!has_name(ret, json_string_value(value)) &&
			 add_capability(ret, json_string_value(value), NULL) < 0)
			json_reader_fail(r, "Capabilities", -ENOMEM);
	}
	qsort(ret->items, ret->count, sizeof(*ret->items), by_name);
}

static void encode_cap_map(struct json_writer *w, const struct tailcfg_capability_list *list)
{
	json_begin_object(w, "CapMap");
	for (uint32_t i = 0; i < list->count; i++)
		json_put_raw(w, list->items[i].name,
			     list->items[i].values ? list->items[i].values : "null");
	json_end_object(w);
}

/* --- Node --- */

/* Regions are 16 bits in the pseudo address; what is beyond can't be a home. */
static uint16_t region_of(int64_t id)
{
	return id > 0 && id <= UINT16_MAX ? (uint16_t)id : 0;
}

static uint16_t decode_home_derp(struct json_reader *r)
{
	uint16_t home = region_of(json_get_int(r, "HomeDERP"));
	const char *legacy = json_get_text(r, "DERP");
	struct endpoint e;

	if (home || strncmp(legacy, LEGACY_DERP, strlen(LEGACY_DERP)) != 0 ||
	    endpoint_parse(legacy, strlen(legacy), &e) < 0)
		return home;
	return e.port;
}

static uint16_t decode_cap(struct json_reader *r)
{
	int64_t cap = json_get_int(r, "Cap");

	return (uint16_t)(cap < 0 ? 0 : cap > UINT16_MAX ? UINT16_MAX : cap);
}

static int copy_prefixes(const struct prefix_list *from, struct prefix_list *ret)
{
	struct prefix_list copy = {.count = from->count};

	if (from->count) {
		copy.items = calloc(from->count, sizeof(*copy.items));
		if (!copy.items)
			return -ENOMEM;
		memcpy(copy.items, from->items, from->count * sizeof(*copy.items));
	}
	*ret = copy;
	return 0;
}

static void decode_allowed_ips(struct json_reader *r, struct tailcfg_node *node)
{
	/* Absent or null is not the same as []: it stands for the node's own addresses. */
	if (json_get(r, "AllowedIPs") && !node->unsigned_peer_api_only)
		json_get_prefixes(r, "AllowedIPs", &node->allowed_ips);
	else if (copy_prefixes(&node->addresses, &node->allowed_ips) < 0)
		json_reader_fail(r, "AllowedIPs", -ENOMEM);
}

static void decode_hostinfo(struct json_reader *r, struct tailcfg_node *node)
{
	json_t *json = json_get(r, "Hostinfo");

	if (!json_is_object(json))
		return;
	node->hostinfo = calloc(1, sizeof(*node->hostinfo));
	if (!node->hostinfo || tailcfg_hostinfo_decode_peer(json, node->hostinfo) < 0)
		json_reader_fail(r, "Hostinfo", -ENOMEM);
}

int tailcfg_node_decode(const json_t *json, struct tailcfg_node *ret, struct error *err)
{
	struct json_reader reader = json_reader_of(json), *r = &reader;
	struct tailcfg_node node = {
		.id = json_get_int(r, "ID"),
		.stable_id = json_get_string(r, "StableID"),
		.name = json_get_string(r, "Name"),
		.user = json_get_int(r, "User"),
		.sharer = json_get_int(r, "Sharer"),
		.key = json_get_key(r, "Key", KEY_NODE),
		.machine = json_get_key(r, "Machine", KEY_MACHINE),
		.disco_key = json_get_key(r, "DiscoKey", KEY_DISCO),
		.key_expiry = json_get_time(r, "KeyExpiry"),
		.created = json_get_time(r, "Created"),
		.last_seen = json_get_time(r, "LastSeen"),
		.home_derp = decode_home_derp(r),
		.cap = decode_cap(r),
		.online = json_get_optional_bool(r, "Online"),
		.machine_authorized = json_get_bool(r, "MachineAuthorized"),
		.unsigned_peer_api_only = json_get_bool(r, "UnsignedPeerAPIOnly"),
		.expired = json_get_bool(r, "Expired"),
		.is_wireguard_only = json_get_bool(r, "IsWireGuardOnly"),
		.is_jailed = json_get_bool(r, "IsJailed"),
		.self_v4_masq_for_this_peer = json_get_address(r, "SelfNodeV4MasqAddrForThisPeer"),
		.self_v6_masq_for_this_peer = json_get_address(r, "SelfNodeV6MasqAddrForThisPeer"),
		.computed_name = json_get_string(r, "ComputedName"),
		.key_signature = json_get_string(r, "KeySignature"),
		.stable_tailnet_id = json_get_string(r, "StableTailnetID"),
	};
	int result;

	json_get_prefixes(r, "Addresses", &node.addresses);
	decode_allowed_ips(r, &node);
	json_get_prefixes(r, "PrimaryRoutes", &node.primary_routes);
	json_get_endpoints(r, "Endpoints", &node.endpoints);
	json_get_strings(r, "Tags", &node.tags);
	decode_cap_map(r, &node.cap_map);
	decode_hostinfo(r, &node);
	if (node.id <= 0)
		json_reader_fail(r, "ID", -EINVAL);
	result = json_reader_result(r, err, "node");
	if (result < 0) {
		tailcfg_node_clear(&node);
		return result;
	}
	*ret = node;
	return 0;
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

static void put_address_if(struct json_writer *w, const char *name, const struct address *address)
{
	char text[ADDRESS_TEXT_MAX];

	if (address->family != ADDRESS_NONE)
		json_put_string(w, name, address_format(address, text));
}

void tailcfg_node_encode(struct json_writer *w, const char *name, const struct tailcfg_node *node)
{
	json_begin_object(w, name);
	json_put_int(w, "ID", node->id);
	json_put_string(w, "StableID", node->stable_id);
	json_put_string(w, "Name", node->name);
	json_put_int(w, "User", node->user);
	json_put_int_if(w, "Sharer", node->sharer);
	json_put_key(w, "Key", &node->key, KEY_NODE);
	json_put_time(w, "KeyExpiry", node->key_expiry);
	json_put_string_if(w, "KeySignature", node->key_signature);
	json_put_key(w, "Machine", &node->machine, KEY_MACHINE);
	json_put_key(w, "DiscoKey", &node->disco_key, KEY_DISCO);
	json_put_prefixes(w, "Addresses", &node->addresses);
	json_put_prefixes(w, "AllowedIPs", &node->allowed_ips);
	if (node->endpoints.count)
		json_put_endpoints(w, "Endpoints", &node->endpoints);
	json_put_int_if(w, "HomeDERP", node->home_derp);
	if (node->hostinfo)
		tailcfg_hostinfo_encode(w, "Hostinfo", node->hostinfo);
	json_put_time(w, "Created", node->created);
	json_put_int_if(w, "Cap", node->cap);
	if (node->tags.count)
		json_put_strings(w, "Tags", &node->tags);
	if (node->primary_routes.count)
		json_put_prefixes(w, "PrimaryRoutes", &node->primary_routes);
	json_put_time_if(w, "LastSeen", node->last_seen);
	json_put_optional_bool(w, "Online", node->online);
	json_put_bool_if(w, "MachineAuthorized", node->machine_authorized);
	if (node->cap_map.count)
		encode_cap_map(w, &node->cap_map);
	json_put_bool_if(w, "UnsignedPeerAPIOnly", node->unsigned_peer_api_only);
	json_put_string_if(w, "ComputedName", node->computed_name);
	json_put_bool_if(w, "Expired", node->expired);
	put_address_if(w, "SelfNodeV4MasqAddrForThisPeer", &node->self_v4_masq_for_this_peer);
	put_address_if(w, "SelfNodeV6MasqAddrForThisPeer", &node->self_v6_masq_for_this_peer);
	json_put_bool_if(w, "IsWireGuardOnly", node->is_wireguard_only);
	json_put_bool_if(w, "IsJailed", node->is_jailed);
	json_put_string_if(w, "StableTailnetID", node->stable_tailnet_id);
	json_end_object(w);
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

int tailcfg_peer_change_decode(const json_t *json, struct tailcfg_peer_change *ret,
			       struct error *err)
{
	struct json_reader reader = json_reader_of(json), *r = &reader;
	struct tailcfg_peer_change change = {
		.node_id = json_get_int(r, "NodeID"),
		.derp_region = region_of(json_get_int(r, "DERPRegion")),
		.cap = decode_cap(r),
		.has_cap_map = json_get(r, "CapMap") != NULL,
		.has_endpoints = json_get(r, "Endpoints") != NULL,
		.has_key = json_get(r, "Key") != NULL,
		.has_disco_key = json_get(r, "DiscoKey") != NULL,
		.has_last_seen = json_get(r, "LastSeen") != NULL,
		.has_key_expiry = json_get(r, "KeyExpiry") != NULL,
		.online = json_get_optional_bool(r, "Online"),
		.key = json_get_key(r, "Key", KEY_NODE),
		.disco_key = json_get_key(r, "DiscoKey", KEY_DISCO),
		.key_signature = json_get_string(r, "KeySignature"),
		.last_seen = json_get_time(r, "LastSeen"),
		.key_expiry = json_get_time(r, "KeyExpiry"),
	};
	int result;

	json_get_endpoints(r, "Endpoints", &change.endpoints);
	decode_cap_map(r, &change.cap_map);
	result = json_reader_result(r, err, "peer change");
	if (result < 0) {
		tailcfg_peer_change_clear(&change);
		return result;
	}
	*ret = change;
	return 0;
}

void tailcfg_peer_change_encode(struct json_writer *w, const char *name,
				const struct tailcfg_peer_change *change)
{
	json_begin_object(w, name);
	json_put_int(w, "NodeID", change->node_id);
	json_put_int_if(w, "DERPRegion", change->derp_region);
	json_put_int_if(w, "Cap", change->cap);
	if (change->has_cap_map)
		encode_cap_map(w, &change->cap_map);
	if (change->has_endpoints)
		json_put_endpoints(w, "Endpoints", &change->endpoints);
	if (change->has_key)
		json_put_key(w, "Key", &change->key, KEY_NODE);
	json_put_string_if(w, "KeySignature", change->key_signature);
	if (change->has_disco_key)
		json_put_key(w, "DiscoKey", &change->disco_key, KEY_DISCO);
	json_put_optional_bool(w, "Online", change->online);
	if (change->has_last_seen)
		json_put_time(w, "LastSeen", change->last_seen);
	if (change->has_key_expiry)
		json_put_time(w, "KeyExpiry", change->key_expiry);
	json_end_object(w);
}

/* --- UserProfile --- */

int tailcfg_user_profile_decode(const json_t *json, struct tailcfg_user_profile *ret,
				struct error *err)
{
	struct json_reader r = json_reader_of(json);
	struct tailcfg_user_profile profile = {
		.id = json_get_int(&r, "ID"),
		.login_name = json_get_string(&r, "LoginName"),
		.display_name = json_get_string(&r, "DisplayName"),
		.profile_pic_url = json_get_string(&r, "ProfilePicURL"),
	};
	int result = json_reader_result(&r, err, "user profile");

	if (result < 0) {
		tailcfg_user_profile_clear(&profile);
		return result;
	}
	*ret = profile;
	return 0;
}

void tailcfg_user_profile_encode(struct json_writer *w, const char *name,
				 const struct tailcfg_user_profile *profile)
{
	json_begin_object(w, name);
	json_put_int(w, "ID", profile->id);
	json_put_string(w, "LoginName", profile->login_name);
	json_put_string(w, "DisplayName", profile->display_name);
	json_put_string_if(w, "ProfilePicURL", profile->profile_pic_url);
	json_end_object(w);
}
