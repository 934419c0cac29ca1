/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_filter.c - FilterRule, both ways */
#include "wire/tailcfg_filter.h"

#include "base/array.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY_PREFIX "cap:"
#define NET_TEXT_MAX      (2 * ADDRESS_TEXT_MAX + PREFIX_TEXT_MAX)

/* --- Nets --- */

/* parse_net() - "*", address, prefix or "first-last"; 0 or -EINVAL */
static int parse_net(const char *text, size_t length, struct tailcfg_net *ret)
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

static const char *net_format(const struct tailcfg_net *net, char out[static NET_TEXT_MAX])
{
	char first[ADDRESS_TEXT_MAX], last[ADDRESS_TEXT_MAX];

	switch (net->kind) {
	case TAILCFG_NET_PREFIX:
		return prefix_format(&net->prefix, out);
	case TAILCFG_NET_RANGE:
		snprintf(out, NET_TEXT_MAX, "%s-%s", address_format(&net->prefix.address, first),
			 address_format(&net->last, last));
		return out;
	default:
		return strcpy(out, "*");
	}
}

static void decode_net(struct json_reader *r, const char *name, void *at)
{
	const char *text = json_get_text(r, name);

	if (parse_net(text, strlen(text), at) < 0)
		json_reader_fail(r, name, -EINVAL);
}

static void encode_net(struct json_writer *w, const char *name, const void *at)
{
	char text[NET_TEXT_MAX];

	json_put_string(w, name, net_format(at, text));
}

/* --- Destinations --- */

static void decode_port(struct json_reader *r, const char *name, void *at)
{
	int64_t port = json_get_int(r, name);

	if (port < 0 || port > UINT16_MAX)
		json_reader_fail(r, name, -EINVAL);
	*(uint16_t *)at = (uint16_t)port;
}

static void encode_port(struct json_writer *w, const char *name, const void *at)
{
	json_put_int(w, name, *(const uint16_t *)at);
}

static const struct json_member_functions net = {.decode = decode_net, .encode = encode_net};
static const struct json_member_functions port = {.decode = decode_port, .encode = encode_port};

static const struct json_member ports_members[] = {
	MEMBER_BY(struct tailcfg_net_ports, "First", first_port, &port),
	MEMBER_BY(struct tailcfg_net_ports, "Last", last_port, &port),
};

static const struct json_members ports = MEMBERS("ports", struct tailcfg_net_ports, ports_members);

static const struct json_member destination_members[] = {
	MEMBER_BY(struct tailcfg_net_ports, "IP", net, &net),
	MEMBER_WITHIN("Ports", &ports),
};

static void finish_destination(struct json_reader *r, void *object)
{
	(void)object;
	if (json_get(r, "Bits") || !json_get(r, "Ports"))
		json_reader_fail(r, "Ports", -EINVAL);
}

static const struct json_members destination = MEMBERS(
	"destination", struct tailcfg_net_ports, destination_members, .finish = finish_destination);

/* --- Grants --- */

static const struct json_member grant_members[] = {
	MEMBER(struct tailcfg_cap_grant, PREFIXES, "Dsts", dsts, .always = true),
	MEMBER(struct tailcfg_cap_grant, STRINGS, "Caps", caps),
	MEMBER_LIST(struct tailcfg_cap_grant, MAP, "CapMap", cap_map.items, cap_map.count,
		    &tailcfg_capability_members),
};

static const struct json_members grant = MEMBERS("grant", struct tailcfg_cap_grant, grant_members);

/* --- Sources --- */

static void decode_sources(struct json_reader *r, const char *name, void *at)
{
	struct tailcfg_filter_rule *rule = container_of(at, struct tailcfg_filter_rule, sources);
	json_t *array = json_get_array(r, name), *item;
	size_t i;

	if (json_array_size(json_get_array(r, "SrcBits")))
		json_reader_fail(r, "SrcBits", -EINVAL);
	rule->sources = json_items(r, name, json_array_size(array), sizeof(*rule->sources));
	if (!rule->sources)
		return;
	json_array_foreach(array, i, item) {
		const char *text = json_string_value(item);

		if (text && strncmp(text, CAPABILITY_PREFIX, strlen(CAPABILITY_PREFIX)) == 0) {
			if (string_list_add(&rule->source_capabilities,
					    text + strlen(CAPABILITY_PREFIX)) < 0)
				json_reader_fail(r, name, -ENOMEM);
		} else if (!text || parse_net(text, json_string_length(item),
					      &rule->sources[rule->source_count]) < 0) {
			json_reader_fail(r, name, -EINVAL);
		} else {
			rule->source_count++;
		}
	}
}

static void encode_sources(struct json_writer *w, const char *name, const void *at)
{
	const struct tailcfg_filter_rule *rule =
		container_of(at, struct tailcfg_filter_rule, sources);

	json_begin_array(w, name);
	for (uint32_t i = 0; i < rule->source_count; i++)
		encode_net(w, NULL, &rule->sources[i]);
	for (uint32_t i = 0; i < rule->source_capabilities.count; i++) {
		_cleanup_free_ char *text = NULL;

		if (asprintf(&text, CAPABILITY_PREFIX "%s", rule->source_capabilities.items[i]) <
		    0) {
			text = NULL;
			w->error = w->error ? w->error : -ENOMEM;
		}
		json_put_string(w, NULL, text);
	}
	json_end_array(w);
}

static void clear_sources(void *at)
{
	struct tailcfg_filter_rule *rule = container_of(at, struct tailcfg_filter_rule, sources);

	free(rule->sources);
	string_list_clear(&rule->source_capabilities);
}

static const struct json_member_functions sources = {
	.clear = clear_sources, .decode = decode_sources, .encode = encode_sources};

/* --- Protocols --- */

static void decode_protocols(struct json_reader *r, const char *name, void *at)
{
	struct tailcfg_filter_rule *rule = container_of(at, struct tailcfg_filter_rule, protocols);
	json_t *array = json_get_array(r, name), *item;
	size_t i;

	rule->default_protocols = json_array_size(array) == 0;
	rule->protocols = json_items(r, name, json_array_size(array), 1);
	if (!rule->protocols)
		return;
	/* A number that is no protocol matches nothing, which is not the same as "default". */
	json_array_foreach(array, i, item) {
		json_int_t number = json_integer_value(item);

		if (!json_is_integer(item))
			json_reader_fail(r, name, -EINVAL);
		else if (number >= 0 && number <= UINT8_MAX)
			rule->protocols[rule->protocol_count++] = (uint8_t)number;
	}
}

static void encode_protocols(struct json_writer *w, const char *name, const void *at)
{
	const struct tailcfg_filter_rule *rule =
		container_of(at, struct tailcfg_filter_rule, protocols);

	if (rule->default_protocols)
		return;
	json_begin_array(w, name);
	for (uint32_t i = 0; i < rule->protocol_count; i++)
		json_put_int(w, NULL, rule->protocols[i]);
	/* Never an empty list: that would mean the default ones. */
	if (!rule->protocol_count)
		json_put_int(w, NULL, -1);
	json_end_array(w);
}

static void clear_protocols(void *at)
{
	free(*(uint8_t **)at);
}

static const struct json_member_functions protocols = {
	.clear = clear_protocols, .decode = decode_protocols, .encode = encode_protocols};

/* --- Rules --- */

static const struct json_member rule_members[] = {
	MEMBER_BY(struct tailcfg_filter_rule, "SrcIPs", sources, &sources),
	MEMBER_LIST(struct tailcfg_filter_rule, ITEMS, "DstPorts", destinations, destination_count,
		    &destination, .always = true),
	MEMBER_BY(struct tailcfg_filter_rule, "IPProto", protocols, &protocols),
	MEMBER_LIST(struct tailcfg_filter_rule, ITEMS, "CapGrant", grants, grant_count, &grant),
};

const struct json_members tailcfg_filter_rule_members =
	MEMBERS("filter rule", struct tailcfg_filter_rule, rule_members);

void tailcfg_filter_clear(struct tailcfg_filter *filter)
{
	for (uint32_t i = 0; i < filter->count; i++)
		tailcfg_filter_rule_clear(&filter->rules[i]);
	free(filter->rules);
	*filter = (struct tailcfg_filter){0};
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
		if (ARRAY_GROW(filter.rules, filter.count, room) < 0)
			r = error_set(err, -ENOMEM, "filter: out of memory");
		else
			r = members_parse(&tailcfg_filter_rule_members, rule,
					  &filter.rules[filter.count], err);
		if (r < 0)
			break;
		filter.count++;
	}
	if (r < 0)
		tailcfg_filter_clear(&filter);
	*ret = filter;
	return r;
}

void tailcfg_filter_encode(struct json_writer *w, const char *name,
			   const struct tailcfg_filter *filter)
{
	json_begin_array(w, name);
	for (uint32_t i = 0; i < filter->count; i++)
		tailcfg_filter_rule_encode(w, NULL, &filter->rules[i]);
	json_end_array(w);
}
