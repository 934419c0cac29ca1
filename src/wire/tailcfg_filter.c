/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_filter.c - FilterRule, both ways */
#include "wire/tailcfg_filter.h"

#include "base/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY_PREFIX "cap:"
#define NET_TEXT_MAX      (2 * ADDRESS_TEXT_MAX + PREFIX_TEXT_MAX)

static void clear_grant(struct tailcfg_cap_grant *grant)
{
	prefix_list_clear(&grant->dsts);
	string_list_clear(&grant->caps);
	for (uint32_t i = 0; i < grant->cap_map_count; i++) {
		free(grant->cap_map_names[i]);
		free(grant->cap_map_values[i]);
	}
	free(grant->cap_map_names);
	free(grant->cap_map_values);
}

void tailcfg_filter_rule_clear(struct tailcfg_filter_rule *rule)
{
	free(rule->sources);
	string_list_clear(&rule->source_capabilities);
	free(rule->destinations);
	free(rule->protocols);
	for (uint32_t i = 0; i < rule->grant_count; i++)
		clear_grant(&rule->grants[i]);
	free(rule->grants);
	*rule = (struct tailcfg_filter_rule){0};
}

void tailcfg_filter_clear(struct tailcfg_filter *filter)
{
	for (uint32_t i = 0; i < filter->count; i++)
		tailcfg_filter_rule_clear(&filter->rules[i]);
	free(filter->rules);
	*filter = (struct tailcfg_filter){0};
}

int tailcfg_net_parse(const char *text, size_t length, struct tailcfg_net *ret)
{
	const char *dash = memchr(text, '-', length);
	struct tailcfg_net net = {0};
	struct prefix masked;

	if (length == 1 && *text == '*') {
		net.kind = TAILCFG_NET_ANY;
	} else if (dash) {
		net.kind = TAILCFG_NET_RANGE;
		if (address_parse(text, (size_t)(dash - text), &net.prefix.address) < 0 ||
		    address_parse(dash + 1, (size_t)(text + length - dash - 1), &net.last) < 0 ||
		    net.prefix.address.family != net.last.family ||
		    memcmp(net.prefix.address.bytes, net.last.bytes, sizeof(net.last.bytes)) > 0)
			return -EINVAL;
		net.prefix.bits = address_bits(&net.prefix.address);
	} else {
		net.kind = TAILCFG_NET_PREFIX;
		if (prefix_parse(text, length, &net.prefix) < 0)
			return -EINVAL;
		masked = prefix_mask(&net.prefix);
		if (!prefix_equal(&masked, &net.prefix))
			return -EINVAL;
	}
	*ret = net;
	return 0;
}

/* Room for @count items, one at least, so that NULL always means failure. */
static void *items_for(struct json_reader *r, const char *name, size_t count, size_t size)
{
	void *items = calloc(count ? count : 1, size);

	if (!items)
		json_reader_fail(r, name, -ENOMEM);
	return items;
}

static void decode_sources(struct json_reader *r, struct tailcfg_filter_rule *rule)
{
	json_t *array = json_get_array(r, "SrcIPs"), *item;
	size_t i;

	if (json_array_size(json_get_array(r, "SrcBits")))
		json_reader_fail(r, "SrcBits", -EINVAL);
	rule->sources = items_for(r, "SrcIPs", json_array_size(array), sizeof(*rule->sources));
	if (!rule->sources)
		return;
	json_array_foreach(array, i, item) {
		const char *text = json_string_value(item);

		if (text && strncmp(text, CAPABILITY_PREFIX, strlen(CAPABILITY_PREFIX)) == 0) {
			if (string_list_add(&rule->source_capabilities,
					    text + strlen(CAPABILITY_PREFIX)) < 0)
				json_reader_fail(r, "SrcIPs", -ENOMEM);
		} else if (!text || tailcfg_net_parse(text, json_string_length(item),
						      &rule->sources[rule->source_count]) < 0) {
			json_reader_fail(r, "SrcIPs", -EINVAL);
		} else {
			rule->source_count++;
		}
	}
}

static uint16_t decode_port(struct json_reader *r, const char *name)
{
	int64_t port = json_get_int(r, name);

	if (port < 0 || port > UINT16_MAX)
		json_reader_fail(r, name, -EINVAL);
	return (uint16_t)port;
}

static int decode_destination(const json_t *json, struct tailcfg_net_ports *ret)
{
	struct json_reader r = json_reader_of(json);
	const char *ip = json_get_text(&r, "IP");
	struct json_reader ports = json_reader_of(json_get_object(&r, "Ports"));

	ret->first_port = decode_port(&ports, "First");
	ret->last_port = decode_port(&ports, "Last");
	if (json_get(&r, "Bits") || tailcfg_net_parse(ip, strlen(ip), &ret->net) < 0)
		return -EINVAL;
	return r.error ? r.error : ports.error;
}

static void decode_destinations(struct json_reader *r, struct tailcfg_filter_rule *rule)
{
	json_t *array = json_get_array(r, "DstPorts"), *item;
	size_t i;

	rule->destinations =
		items_for(r, "DstPorts", json_array_size(array), sizeof(*rule->destinations));
	if (!rule->destinations)
		return;
	json_array_foreach(array, i, item) {
		if (decode_destination(item, &rule->destinations[rule->destination_count]) < 0)
			json_reader_fail(r, "DstPorts", -EINVAL);
		else
			rule->destination_count++;
	}
}

static void decode_protocols(struct json_reader *r, struct tailcfg_filter_rule *rule)
{
	json_t *array = json_get_array(r, "IPProto"), *item;
	size_t i;

	rule->default_protocols = json_array_size(array) == 0;
	rule->protocols = items_for(r, "IPProto", json_array_size(array), 1);
	if (!rule->protocols)
		return;
	/* A number that is no protocol matches nothing, which is not the same as "default". */
	json_array_foreach(array, i, item) {
		json_int_t number = json_integer_value(item);

		if (!json_is_integer(item))
			json_reader_fail(r, "IPProto", -EINVAL);
		else if (number >= 0 && number <= UINT8_MAX)
			rule->protocols[rule->protocol_count++] = (uint8_t)number;
	}
}

static void decode_grant(struct json_reader *outer, const json_t *json,
			 struct tailcfg_cap_grant *grant)
{
	struct json_reader r = json_reader_of(json);
	json_t *map = json_get_object(&r, "CapMap"), *value;
	const char *name;

	json_get_prefixes(&r, "Dsts", &grant->dsts);
	json_get_strings(&r, "Caps", &grant->caps);
	grant->cap_map_names =
		items_for(&r, "CapMap", json_object_size(map), sizeof(*grant->cap_map_names));
	grant->cap_map_values =
		items_for(&r, "CapMap", json_object_size(map), sizeof(*grant->cap_map_values));
	if (grant->cap_map_names && grant->cap_map_values) {
		json_object_foreach(map, name, value) {
			uint32_t at = grant->cap_map_count++;

			grant->cap_map_names[at] = strdup(name);
			grant->cap_map_values[at] =
				json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
			if (!grant->cap_map_names[at] || !grant->cap_map_values[at])
				json_reader_fail(&r, "CapMap", -ENOMEM);
		}
	}
	if (r.error < 0)
		json_reader_fail(outer, "CapGrant", r.error);
}

static void decode_grants(struct json_reader *r, struct tailcfg_filter_rule *rule)
{
	json_t *array = json_get_array(r, "CapGrant"), *item;
	size_t i;

	rule->grants = items_for(r, "CapGrant", json_array_size(array), sizeof(*rule->grants));
	if (!rule->grants)
		return;
	json_array_foreach(array, i, item)
		decode_grant(r, item, &rule->grants[rule->grant_count++]);
}

int tailcfg_filter_rule_decode(const json_t *json, struct tailcfg_filter_rule *ret,
			       struct error *err)
{
	struct json_reader r = json_reader_of(json);
	struct tailcfg_filter_rule rule = {0};
	int result;

	decode_sources(&r, &rule);
	decode_destinations(&r, &rule);
	decode_protocols(&r, &rule);
	decode_grants(&r, &rule);
	result = json_reader_result(&r, err, "filter rule");
	if (result < 0) {
		tailcfg_filter_rule_clear(&rule);
		return result;
	}
	*ret = rule;
	return 0;
}

/* Append one rule from its text. */
static int add_rule(struct tailcfg_filter *filter, uint32_t *room, struct json_range text,
		    struct error *err)
{
	json_t *json;
	int r;

	if (ARRAY_GROW(filter->rules, filter->count, *room) < 0)
		return error_set(err, -ENOMEM, "filter: out of memory");
	json = json_parse(text, err);
	if (!json)
		return -EINVAL;
	r = tailcfg_filter_rule_decode(json, &filter->rules[filter->count], err);
	if (r == 0)
		filter->count++;
	json_decref(json);
	return r;
}

int tailcfg_filter_parse(struct json_range text, struct tailcfg_filter *ret, struct error *err)
{
	struct tailcfg_filter filter = {0};
	struct json_range rule;
	struct json_scan scan;
	uint32_t room = 0;
	int r;

	if (json_scan_open(text, '[', &scan) < 0)
		return error_set(err, -EINVAL, "filter: not a list of rules");
	while ((r = json_scan_element(&scan, &rule)) == 1) {
		r = add_rule(&filter, &room, rule, err);
		if (r < 0) {
			tailcfg_filter_clear(&filter);
			return r;
		}
	}
	if (r < 0) {
		tailcfg_filter_clear(&filter);
		return error_set(err, r, "filter: not JSON");
	}
	*ret = filter;
	return 0;
}

static const char *net_format(const struct tailcfg_net *net,
			      char out[static 2 * ADDRESS_TEXT_MAX + PREFIX_TEXT_MAX])
{
	size_t used;

	switch (net->kind) {
	case TAILCFG_NET_PREFIX:
		return prefix_format(&net->prefix, out);
	case TAILCFG_NET_RANGE:
		address_format(&net->prefix.address, out);
		used = strlen(out);
		out[used++] = '-';
		address_format(&net->last, out + used);
		return out;
	default:
		return strcpy(out, "*");
	}
}

static void encode_grant(struct json_writer *w, const struct tailcfg_cap_grant *grant)
{
	json_begin_object(w, NULL);
	json_put_prefixes(w, "Dsts", &grant->dsts);
	if (grant->caps.count)
		json_put_strings(w, "Caps", &grant->caps);
	if (grant->cap_map_count) {
		json_begin_object(w, "CapMap");
		for (uint32_t i = 0; i < grant->cap_map_count; i++)
			json_put_raw(w, grant->cap_map_names[i], grant->cap_map_values[i]);
		json_end_object(w);
	}
	json_end_object(w);
}

void tailcfg_nets_encode(struct json_writer *w, const char *name, const struct tailcfg_net *nets,
			 uint32_t count)
{
	char text[NET_TEXT_MAX];

	json_begin_array(w, name);
	for (uint32_t i = 0; i < count; i++)
		json_put_string(w, NULL, net_format(&nets[i], text));
	json_end_array(w);
}

static void put_sources(struct json_writer *w, const struct tailcfg_filter_rule *rule)
{
	char text[NET_TEXT_MAX];

	json_begin_array(w, "SrcIPs");
	for (uint32_t i = 0; i < rule->source_count; i++)
		json_put_string(w, NULL, net_format(&rule->sources[i], text));
	for (uint32_t i = 0; i < rule->source_capabilities.count; i++) {
		struct buffer source = BUFFER_INIT(UINT16_MAX);

		/* The terminating zero goes in, so that the bytes are a string. */
		if (buffer_append(&source, CAPABILITY_PREFIX, strlen(CAPABILITY_PREFIX)) < 0 ||
		    buffer_append(&source, rule->source_capabilities.items[i],
				  strlen(rule->source_capabilities.items[i]) + 1) < 0)
			w->error = w->error ? w->error : -ENOMEM;
		else
			json_put_string(w, NULL, (const char *)buffer_head(&source));
		buffer_free(&source);
	}
	json_end_array(w);
}

static void encode_rule(struct json_writer *w, const struct tailcfg_filter_rule *rule)
{
	char text[NET_TEXT_MAX];

	json_begin_object(w, NULL);
	if (rule->sources_text && rule->source_capabilities.count == 0)
		json_put_raw(w, "SrcIPs", rule->sources_text);
	else
		put_sources(w, rule);
	json_begin_array(w, "DstPorts");
	for (uint32_t i = 0; i < rule->destination_count; i++) {
		json_begin_object(w, NULL);
		json_put_string(w, "IP", net_format(&rule->destinations[i].net, text));
		json_begin_object(w, "Ports");
		json_put_int(w, "First", rule->destinations[i].first_port);
		json_put_int(w, "Last", rule->destinations[i].last_port);
		json_end_object(w);
		json_end_object(w);
	}
	json_end_array(w);
	if (!rule->default_protocols) {
		json_begin_array(w, "IPProto");
		for (uint32_t i = 0; i < rule->protocol_count; i++)
			json_put_int(w, NULL, rule->protocols[i]);
		/* Never an empty list: that would mean the default ones. */
		if (!rule->protocol_count)
			json_put_int(w, NULL, -1);
		json_end_array(w);
	}
	if (rule->grant_count) {
		json_begin_array(w, "CapGrant");
		for (uint32_t i = 0; i < rule->grant_count; i++)
			encode_grant(w, &rule->grants[i]);
		json_end_array(w);
	}
	json_end_object(w);
}

void tailcfg_filter_encode(struct json_writer *w, const char *name,
			   const struct tailcfg_filter *filter)
{
	json_begin_array(w, name);
	for (uint32_t i = 0; i < filter->count; i++)
		encode_rule(w, &filter->rules[i]);
	json_end_array(w);
}
