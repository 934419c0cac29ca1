/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_derp.c - DERPMap, both ways, and its updates */
#include "wire/tailcfg_derp.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE(...)    MEMBER(struct tailcfg_derp_node, __VA_ARGS__)
#define NODE_BY(...) MEMBER_BY(struct tailcfg_derp_node, __VA_ARGS__)
#define REGION(...)  MEMBER(struct tailcfg_derp_region, __VA_ARGS__)

/* --- Node --- */

/* An address of a node, and the flag behind it. */
struct family {
	struct address address;
	bool disabled;
};
static_assert(offsetof(struct tailcfg_derp_node, ipv4_disabled) ==
			      offsetof(struct tailcfg_derp_node, ipv4) +
				      offsetof(struct family, disabled) &&
		      offsetof(struct tailcfg_derp_node, ipv6_disabled) ==
			      offsetof(struct tailcfg_derp_node, ipv6) +
				      offsetof(struct family, disabled),
	      "each flag stands behind its address");

/* decode_family() - "" is to be resolved; "none", or what is no address, disables the family */
static void decode_family(struct json_reader *r, const char *name, void *at)
{
	enum address_family family = strcmp(name, "IPv4") == 0 ? ADDRESS_V4 : ADDRESS_V6;
	const char *text = json_get_text(r, name);
	struct family *ret = at;

	ret->disabled = *text && (address_parse(text, strlen(text), &ret->address) < 0 ||
				  ret->address.family != family);
	if (ret->disabled)
		ret->address = (struct address){0};
}

static void encode_family(struct json_writer *w, const char *name, const void *at)
{
	const struct family *one = at;
	char text[ADDRESS_TEXT_MAX];

	if (one->disabled)
		json_put_string(w, name, "none");
	else if (one->address.family != ADDRESS_NONE)
		json_put_string(w, name, address_format(&one->address, text));
}

/* decode_port() - 0 stands for the standard port; a negative one for no STUN */
static void decode_port(struct json_reader *r, const char *name, void *at)
{
	bool stun = strcmp(name, "STUNPort") == 0;
	int64_t port = json_get_int(r, name);

	if (port > UINT16_MAX || (port < 0 && !stun))
		json_reader_fail(r, name, -EINVAL);
	if (port == 0)
		port = stun ? TAILCFG_STUN_PORT : TAILCFG_DERP_PORT;
	*(uint16_t *)at = (uint16_t)(port < 0 ? 0 : port);
}

static void encode_port(struct json_writer *w, const char *name, const void *at)
{
	bool stun = strcmp(name, "STUNPort") == 0;
	uint16_t port = *(const uint16_t *)at;

	if (port != (stun ? TAILCFG_STUN_PORT : TAILCFG_DERP_PORT))
		json_put_int(w, name, stun && port == 0 ? -1 : port);
}

static const struct json_member_functions family = {.decode = decode_family,
						    .encode = encode_family};
static const struct json_member_functions port = {.decode = decode_port, .encode = encode_port};

static const struct json_member node_members[] = {
	NODE(TEXT, "Name", name, .always = true),
	NODE(UINT16, "RegionID", region_id, .always = true),
	NODE(TEXT, "HostName", host_name, .always = true),
	NODE(TEXT, "CertName", cert_name),
	NODE_BY("IPv4", ipv4, &family),
	NODE_BY("IPv6", ipv6, &family),
	NODE_BY("STUNPort", stun_port, &port),
	NODE(BOOL, "STUNOnly", stun_only),
	NODE_BY("DERPPort", derp_port, &port),
	NODE(BOOL, "InsecureForTests", insecure_for_tests),
	NODE(ADDRESS, "STUNTestIP", stun_test_ip),
	NODE(BOOL, "CanPort80", can_port_80),
};

static const struct json_members node =
	MEMBERS("DERP node", struct tailcfg_derp_node, node_members);

/* --- Region --- */

static const struct json_member region_members[] = {
	REGION(UINT16, "RegionID", id, .always = true),
	REGION(TEXT, "RegionCode", code, .always = true),
	REGION(TEXT, "RegionName", name, .always = true),
	REGION(BOOL, "Avoid", avoid),
	REGION(BOOL, "NoMeasureNoHome", no_measure_no_home),
	MEMBER_LIST(struct tailcfg_derp_region, ITEMS, "Nodes", nodes, node_count, &node,
		    .always = true),
};

static const struct json_members region =
	MEMBERS("DERP region", struct tailcfg_derp_region, region_members);

/* --- Map --- */

const struct tailcfg_derp_region *tailcfg_derp_map_region(const struct tailcfg_derp_map *map,
							  uint16_t id)
{
	for (uint32_t i = 0; i < map->region_count; i++)
		if (map->regions[i].id == id)
			return &map->regions[i];
	return NULL;
}

static bool parse_region_id(const char *text, uint16_t *ret)
{
	unsigned long id;
	char *end;

	if (*text < '1' || *text > '9')
		return false;
	errno = 0;
	id = strtoul(text, &end, 10);
	if (errno || *end || id > UINT16_MAX)
		return false;
	*ret = (uint16_t)id;
	return true;
}

static int by_id(const void *a, const void *b)
{
	const struct tailcfg_derp_region *left = a, *right = b;

	return (left->id > right->id) - (left->id < right->id);
}

/* The list as it stands in a map. */
struct regions {
	struct tailcfg_derp_region *items;
	uint32_t count;
};

static void decode_regions(struct json_reader *r, const char *name, void *at)
{
	json_t *object = json_get_object(r, name), *value;
	struct regions *regions = at;
	const char *key;
	uint16_t id;

	if (!json_object_size(object))
		return;
	regions->items = json_items(r, name, json_object_size(object), sizeof(*regions->items));
	if (!regions->items)
		return;
	json_object_foreach(object, key, value) {
		struct tailcfg_derp_region *one;

		if (json_is_null(value) || !parse_region_id(key, &id))
			continue;
		one = &regions->items[regions->count++];
		members_read(&region, r, key, value, one);
		one->id = id;
		for (uint32_t i = 0; i < one->node_count; i++)
			one->nodes[i].region_id = id;
	}
	qsort(regions->items, regions->count, sizeof(*regions->items), by_id);
}

static void encode_regions(struct json_writer *w, const char *name, const void *at)
{
	const struct regions *regions = at;
	char id[8];

	json_begin_object(w, name);
	for (uint32_t i = 0; i < regions->count; i++) {
		snprintf(id, sizeof(id), "%u", regions->items[i].id);
		members_encode(&region, w, id, &regions->items[i]);
	}
	json_end_object(w);
}

static void clear_regions(void *at)
{
	struct regions *regions = at;

	for (uint32_t i = 0; i < regions->count; i++)
		members_clear(&region, &regions->items[i]);
	free(regions->items);
}

static const struct json_member_functions region_functions = {
	.clear = clear_regions, .decode = decode_regions, .encode = encode_regions};

static const struct json_member map_members[] = {
	MEMBER_BY(struct tailcfg_derp_map, "Regions", regions, &region_functions,
		  .present = offsetof(struct tailcfg_derp_map, has_regions)),
};

const struct json_members tailcfg_derp_map_members =
	MEMBERS("DERP map", struct tailcfg_derp_map, map_members);

void tailcfg_derp_map_merge(struct tailcfg_derp_map *map, struct tailcfg_derp_map *update)
{
	if (update->has_regions) {
		tailcfg_derp_map_clear(map);
		*map = *update;
		*update = (struct tailcfg_derp_map){0};
	}
	tailcfg_derp_map_clear(update);
}
