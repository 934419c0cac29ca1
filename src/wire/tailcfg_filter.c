/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_filter.c - FilterRule, both ways */
#include "wire/tailcfg_filter.h"

#include "base/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY_PREFIX "cap:"
#define NET_TEXT_MAX      (2 * ADDRESS_TEXT_MAX + PREFIX_TEXT_MAX)

/* --- Destinations --- */

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

void tailcfg_nets_encode(struct json_writer *w, const char *name, const struct tailcfg_net *nets,
			 uint32_t count)
{
	char text[NET_TEXT_MAX];

	json_begin_array(w, name);
	for (uint32_t i = 0; i < count; i++)
		json_put_string(w, NULL, net_format(&nets[i], text));
	json_end_array(w);
}

static uint16_t decode_port(struct json_reader *r, const char *name)
{
	int64_t port = json_get_int(r, name);

	if (port < 0 || port > UINT16_MAX)
		json_reader_fail(r, name, -EINVAL);
	return (uint16_t)port;
}

static void decode_destinations(struct json_reader *r, struct tailcfg_filter_rule *rule)
{
	json_t *array = json_get_array(r, "DstPorts"), *item;
	size_t i;

	rule->destinations =
		json_items(r, "DstPorts", json_array_size(array), sizeof(*rule->destinations));
	json_array_foreach(array, i, item) {
		struct json_reader d = json_reader_of(item);
		struct json_reader ports = json_reader_of(json_get_object(&d, "Ports"));
		const char *ip = json_get_text(&d, "IP");
		struct tailcfg_net_ports to = {.first_port = decode_port(&ports, "First"),
					       .last_port = decode_port(&ports, "Last")};

		if (json_get(&d, "Bits") || tailcfg_net_parse(ip, strlen(ip), &to.net) < 0 ||
		    d.error < 0 || ports.error < 0)
			json_reader_fail(r, "DstPorts", -EINVAL);
		else if (rule->destinations)
			rule->destinations[rule->destination_count++] = to;
	}
}

/* --- Grants --- */

static void decode_values(struct json_reader *r, const char *member, void *at)
{
	json_t *map = json_get_object(r, member), *value;
	struct tailcfg_capability_list *list = at;
	const char *name;

	list->items = json_items(r, member, json_object_size(map), sizeof(*list->items));
	if (!list->items)
		return;
	json_object_foreach(map, name, value) {
		struct tailcfg_capability *c = &list->items[list->count++];

		c->name = strdup(name);
		c->values = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
		if (!c->name || !c->values)
			json_reader_fail(r, member, -ENOMEM);
	}
}

static const struct json_member_functions values = {
	.clear = tailcfg_cap_map_clear,
	.decode = decode_values,
	.encode = tailcfg_cap_map_encode,
};

static const struct json_member grant_members[] = {
	MEMBER(struct tailcfg_cap_grant, PREFIXES, "Dsts", dsts, .always = true),
	MEMBER(struct tailcfg_cap_grant, STRINGS, "Caps", caps),
	MEMBER_BY(struct tailcfg_cap_grant, "CapMap", cap_map, &values),
};

static const struct json_members grant = MEMBERS("grant", struct tailcfg_cap_grant, grant_members);

/* --- Rules --- */

static void decode_sources(struct json_reader *r, struct tailcfg_filter_rule *rule)
{
	json_t *array = json_get_array(r, "SrcIPs"), *item;
	size_t i;

	if (json_array_size(json_get_array(r, "SrcBits")))
		json_reader_fail(r, "SrcBits", -EINVAL);
	rule->sources = json_items(r, "SrcIPs", json_array_size(array), sizeof(*rule->sources));
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

static void decode_protocols(struct json_reader *r, struct tailcfg_filter_rule *rule)
{
	json_t *array = json_get_array(r, "IPProto"), *item;
	size_t i;

	rule->default_protocols = json_array_size(array) == 0;
	rule->protocols = json_items(r, "IPProto", json_array_size(array), 1);
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

static void finish_rule(struct json_reader *r, void *object)
{
	decode_sources(r, object);
	decode_destinations(r, object);
	decode_protocols(r, object);
}

static const struct json_member rule_members[] = {
	MEMBER_ITEMS(struct tailcfg_filter_rule, "CapGrant", grants, grant_count, &grant),
};

static const struct json_members filter_rule =
	MEMBERS("filter rule", struct tailcfg_filter_rule, rule_members, .finish = finish_rule);

void tailcfg_filter_rule_clear(struct tailcfg_filter_rule *rule)
{
	free(rule->sources);
	free(rule->destinations);
	string_list_clear(&rule->source_capabilities);
	free(rule->protocols);
	members_clear(&filter_rule, rule);
}

void tailcfg_filter_clear(struct tailcfg_filter *filter)
{
	for (uint32_t i = 0; i < filter->count; i++)
		tailcfg_filter_rule_clear(&filter->rules[i]);
	free(filter->rules);
	*filter = (struct tailcfg_filter){0};
}

int tailcfg_filter_rule_decode(const json_t *json, struct tailcfg_filter_rule *ret,
			       struct error *err)
{
	struct json_reader r = json_reader_of(json);
	struct tailcfg_filter_rule rule = {0};
	int result;

	members_read(&filter_rule, &r, &rule);
	result = json_reader_result(&r, err, filter_rule.what);
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
			members_encode(&grant, w, NULL, &rule->grants[i]);
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
