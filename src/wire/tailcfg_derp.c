/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_derp.c - DERPMap, both ways, and its updates */
#include "wire/tailcfg_derp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void clear_region(struct tailcfg_derp_region *region)
{
	for (uint32_t i = 0; i < region->node_count; i++) {
		free(region->nodes[i].name);
		free(region->nodes[i].host_name);
		free(region->nodes[i].cert_name);
	}
	free(region->nodes);
	free(region->code);
	free(region->name);
}

static void clear_regions(struct tailcfg_derp_map *map)
{
	for (uint32_t i = 0; i < map->region_count; i++)
		clear_region(&map->regions[i]);
	free(map->regions);
	map->regions = NULL;
	map->region_count = 0;
}

void tailcfg_derp_map_clear(struct tailcfg_derp_map *map)
{
	clear_regions(map);
	free(map->scores);
	*map = (struct tailcfg_derp_map){0};
}

const struct tailcfg_derp_region *tailcfg_derp_map_region(const struct tailcfg_derp_map *map,
							  uint16_t id)
{
	for (uint32_t i = 0; i < map->region_count; i++)
		if (map->regions[i].id == id)
			return &map->regions[i];
	return NULL;
}

/* "" is to be resolved, "none" (or what is no address, as Go has it) is off. */
static struct address decode_address(struct json_reader *r, const char *name,
				     enum address_family family, bool *ret_disabled)
{
	const char *text = json_get_text(r, name);
	struct address address = {0};

	*ret_disabled = *text && (address_parse(text, strlen(text), &address) < 0 ||
				  address.family != family);
	return *ret_disabled ? (struct address){0} : address;
}

/* 0 stands for @standard; below it, where that has a meaning, for none. */
static uint16_t decode_port(struct json_reader *r, const char *name, uint16_t standard,
			    bool may_be_off)
{
	int64_t port = json_get_int(r, name);

	if (port > UINT16_MAX || (port < 0 && !may_be_off))
		json_reader_fail(r, name, -EINVAL);
	return port == 0 ? standard : port < 0 ? 0 : (uint16_t)port;
}

static void decode_node(struct json_reader *outer, const json_t *json,
			struct tailcfg_derp_node *ret)
{
	struct json_reader r = json_reader_of(json);

	*ret = (struct tailcfg_derp_node){
		.name = json_get_string(&r, "Name"),
		.host_name = json_get_string(&r, "HostName"),
		.cert_name = json_get_string(&r, "CertName"),
		.stun_only = json_get_bool(&r, "STUNOnly"),
		.insecure_for_tests = json_get_bool(&r, "InsecureForTests"),
		.can_port_80 = json_get_bool(&r, "CanPort80"),
		.derp_port = decode_port(&r, "DERPPort", TAILCFG_DERP_PORT, false),
		.stun_port = decode_port(&r, "STUNPort", TAILCFG_STUN_PORT, true),
		.stun_test_ip = json_get_address(&r, "STUNTestIP"),
	};
	ret->ipv4 = decode_address(&r, "IPv4", ADDRESS_V4, &ret->ipv4_disabled);
	ret->ipv6 = decode_address(&r, "IPv6", ADDRESS_V6, &ret->ipv6_disabled);
	if (r.error < 0)
		json_reader_fail(outer, "Nodes", r.error);
}

static void decode_region(struct json_reader *outer, uint16_t id, const json_t *json,
			  struct tailcfg_derp_region *ret)
{
	struct json_reader r = json_reader_of(json);
	json_t *nodes = json_get_array(&r, "Nodes"), *node;
	size_t i;

	*ret = (struct tailcfg_derp_region){
		.id = id,
		.code = json_get_string(&r, "RegionCode"),
		.name = json_get_string(&r, "RegionName"),
		.avoid = json_get_bool(&r, "Avoid"),
		.no_measure_no_home = json_get_bool(&r, "NoMeasureNoHome"),
	};
	if (json_array_size(nodes)) {
		ret->nodes = calloc(json_array_size(nodes), sizeof(*ret->nodes));
		if (!ret->nodes)
			json_reader_fail(&r, "Nodes", -ENOMEM);
	}
	json_array_foreach(nodes, i, node) {
		if (!ret->nodes || json_is_null(node))
			continue;
		decode_node(&r, node, &ret->nodes[ret->node_count++]);
	}
	if (r.error < 0)
		json_reader_fail(outer, "Regions", r.error);
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

static void decode_regions(struct json_reader *r, struct tailcfg_derp_map *map)
{
	json_t *regions = json_get_object(r, "Regions"), *region;
	const char *name;
	uint16_t id;

	map->has_regions = regions != NULL;
	if (!json_object_size(regions))
		return;
	map->regions = calloc(json_object_size(regions), sizeof(*map->regions));
	if (!map->regions) {
		json_reader_fail(r, "Regions", -ENOMEM);
		return;
	}
	json_object_foreach(regions, name, region) {
		if (!json_is_null(region) && parse_region_id(name, &id))
			decode_region(r, id, region, &map->regions[map->region_count++]);
	}
	qsort(map->regions, map->region_count, sizeof(*map->regions), by_id);
}

static void decode_scores(struct json_reader *r, struct tailcfg_derp_map *map)
{
	json_t *params = json_get_object(r, "HomeParams"), *scores, *score;
	struct json_reader inner;
	const char *name;
	uint16_t id;

	if (!params)
		return;
	inner = json_reader_of(params);
	scores = json_get_object(&inner, "RegionScore");
	map->has_scores = scores != NULL;
	if (json_object_size(scores)) {
		map->scores = calloc(json_object_size(scores), sizeof(*map->scores));
		if (!map->scores) {
			json_reader_fail(r, "HomeParams", -ENOMEM);
			return;
		}
	}
	json_object_foreach(scores, name, score) {
		/* A score of zero or below counts as not given. */
		if (parse_region_id(name, &id) && json_number_value(score) > 0)
			map->scores[map->score_count++] = (struct tailcfg_region_score){
				.region = id, .score = json_number_value(score)};
	}
	if (inner.error < 0)
		json_reader_fail(r, "HomeParams", inner.error);
}

int tailcfg_derp_map_decode(const json_t *json, struct tailcfg_derp_map *ret, struct error *err)
{
	struct json_reader r = json_reader_of(json);
	struct tailcfg_derp_map map = {0};
	int result;

	decode_regions(&r, &map);
	decode_scores(&r, &map);
	result = json_reader_result(&r, err, "DERP map");
	if (result < 0) {
		tailcfg_derp_map_clear(&map);
		return result;
	}
	*ret = map;
	return 0;
}

static void put_family(struct json_writer *w, const char *name, const struct address *address,
		       bool disabled)
{
	char text[ADDRESS_TEXT_MAX];

	if (disabled)
		json_put_string(w, name, "none");
	else if (address->family != ADDRESS_NONE)
		json_put_string(w, name, address_format(address, text));
}

static void encode_node(struct json_writer *w, uint16_t region,
			const struct tailcfg_derp_node *node)
{
	json_begin_object(w, NULL);
	json_put_string(w, "Name", node->name);
	json_put_int(w, "RegionID", region);
	json_put_string(w, "HostName", node->host_name);
	json_put_string_if(w, "CertName", node->cert_name);
	put_family(w, "IPv4", &node->ipv4, node->ipv4_disabled);
	put_family(w, "IPv6", &node->ipv6, node->ipv6_disabled);
	if (node->stun_port != TAILCFG_STUN_PORT)
		json_put_int(w, "STUNPort", node->stun_port ? node->stun_port : -1);
	json_put_bool_if(w, "STUNOnly", node->stun_only);
	if (node->derp_port != TAILCFG_DERP_PORT)
		json_put_int(w, "DERPPort", node->derp_port);
	json_put_bool_if(w, "InsecureForTests", node->insecure_for_tests);
	put_family(w, "STUNTestIP", &node->stun_test_ip, false);
	json_put_bool_if(w, "CanPort80", node->can_port_80);
	json_end_object(w);
}

void tailcfg_derp_map_encode(struct json_writer *w, const char *name,
			     const struct tailcfg_derp_map *map)
{
	char id[8];

	json_begin_object(w, name);
	if (map->has_scores) {
		json_begin_object(w, "HomeParams");
		json_begin_object(w, "RegionScore");
		for (uint32_t i = 0; i < map->score_count; i++) {
			snprintf(id, sizeof(id), "%u", map->scores[i].region);
			json_put_number(w, id, map->scores[i].score);
		}
		json_end_object(w);
		json_end_object(w);
	}
	if (map->has_regions) {
		json_begin_object(w, "Regions");
		for (uint32_t i = 0; i < map->region_count; i++) {
			const struct tailcfg_derp_region *region = &map->regions[i];

			snprintf(id, sizeof(id), "%u", region->id);
			json_begin_object(w, id);
			json_put_int(w, "RegionID", region->id);
			json_put_string(w, "RegionCode", region->code);
			json_put_string(w, "RegionName", region->name);
			json_put_bool_if(w, "Avoid", region->avoid);
			json_put_bool_if(w, "NoMeasureNoHome", region->no_measure_no_home);
			json_begin_array(w, "Nodes");
			for (uint32_t j = 0; j < region->node_count; j++)
				encode_node(w, region->id, &region->nodes[j]);
			json_end_array(w);
			json_end_object(w);
		}
		json_end_object(w);
	} else {
		json_put_null(w, "Regions");
	}
	json_end_object(w);
}

void tailcfg_derp_map_merge(struct tailcfg_derp_map *map, struct tailcfg_derp_map *update)
{
	if (update->has_regions) {
		clear_regions(map);
		map->regions = update->regions;
		map->region_count = update->region_count;
		map->has_regions = true;
		update->regions = NULL;
		update->region_count = 0;
	}
	if (update->has_scores) {
		free(map->scores);
		map->scores = update->scores;
		map->score_count = update->score_count;
		map->has_scores = true;
		update->scores = NULL;
	}
	tailcfg_derp_map_clear(update);
}
