/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/compile.c - the control server's rules into the form that packets are matched against
 *
 * A destination that can't be ours is left out, and a rule that opens nothing with it, so that
 * a packet meets only the rules that matter to this node. Sources become one sorted set a rule.
 */
#include "filter/filter_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What an advertised default route does not open: private and special networks are reached
 * through an exit node only when they are advertised themselves. */
static const struct prefix not_by_default[] = {
#define V4(a, b, length)                                                           \
	{                                                                          \
		.address = {.family = ADDRESS_V4, .bytes = {a, b}}, .bits = length \
	}
	V4(10, 0, 8),       V4(172, 16, 12), V4(192, 168, 16),
	V4(169, 254, 16),   V4(224, 0, 4),   V4(100, 64, 10),
#undef V4
#define V6(length, ...)                                                                   \
	{                                                                                 \
		.address = {.family = ADDRESS_V6, .bytes = {__VA_ARGS__}}, .bits = length \
	}
	V6(10, 0xfe, 0x80), V6(8, 0xff),     V6(48, 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0),
#undef V6
};

static void add_prefixes(struct ip_set *set, const struct prefix *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ip_set_add(set, &list[i]);
}

static void remove_prefixes(struct ip_set *set, const struct prefix *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ip_set_remove(set, &list[i]);
}

/* add_advertised() - The routes that are default routes, or those that are not */
static void add_advertised(struct ip_set *set, const struct filter_prefixes *routes,
			   bool by_default)
{
	for (size_t i = 0; i < routes->count; i++)
		if ((routes->list[i].bits == 0) == by_default)
			ip_set_add(set, &routes->list[i]);
}

/* compile_local() - Where packets may go: the narrowed default routes first, since what is
 * taken from them must not be taken from the rest */
static int compile_local(const struct filter_config *config, struct ip_set *ret)
{
	add_advertised(ret, &config->advertised, true);
	remove_prefixes(ret, not_by_default, ARRAY_SIZE(not_by_default));
	remove_prefixes(ret, config->host.list, config->host.count);
	add_advertised(ret, &config->advertised, false);
	add_prefixes(ret, config->addresses.list, config->addresses.count);
	return ip_set_seal(ret);
}

static void add_net(struct ip_set *set, const struct tailcfg_net *net)
{
	static const struct prefix everything[] = {
		{.address = {.family = ADDRESS_V4}},
		{.address = {.family = ADDRESS_V6}},
	};

	switch (net->kind) {
	case TAILCFG_NET_ANY:
		add_prefixes(set, everything, ARRAY_SIZE(everything));
		break;
	case TAILCFG_NET_RANGE:
		ip_set_add_range(set, &net->prefix.address, &net->last);
		break;
	default:
		ip_set_add(set, &net->prefix);
		break;
	}
}

static int compile_sources(const struct tailcfg_filter_rule *rule, struct ip_set *ret)
{
	for (uint32_t i = 0; i < rule->source_count; i++)
		add_net(ret, &rule->sources[i]);
	return ip_set_seal(ret);
}

static void compile_protocols(const struct tailcfg_filter_rule *rule, struct filter_rule *out)
{
	static const uint8_t defaults[] = {IP_PROTOCOL_TCP, IP_PROTOCOL_UDP, IP_PROTOCOL_ICMP,
					   IP_PROTOCOL_ICMPV6};
	const uint8_t *list = rule->default_protocols ? defaults : rule->protocols;
	size_t count = rule->default_protocols ? ARRAY_SIZE(defaults) : rule->protocol_count;

	for (size_t i = 0; i < count; i++)
		out->protocols[list[i] / 8] |= (uint8_t)(1 << list[i] % 8);
}

static int compile_destinations(const struct tailcfg_filter_rule *rule, const struct ip_set *local,
				struct filter_rule *out)
{
	if (rule->destination_count == 0)
		return 0;
	out->destinations = calloc(rule->destination_count, sizeof(*out->destinations));
	if (!out->destinations)
		return -ENOMEM;
	for (uint32_t i = 0; i < rule->destination_count; i++) {
		struct filter_destination *d = &out->destinations[out->destination_count];
		const struct tailcfg_net_ports *from = &rule->destinations[i];
		int r;

		add_net(&d->net, &from->net);
		r = ip_set_seal(&d->net);
		if (r < 0 || !ip_set_overlaps(&d->net, local)) {
			ip_set_free(&d->net);
			if (r < 0)
				return r;
			continue;
		}
		d->first_port = from->first_port;
		d->last_port = from->last_port;
		out->destination_count++;
	}
	return 0;
}

static int add_capability(struct filter_grant *grant, const char *name, const char *values)
{
	struct filter_capability *c = &grant->capabilities[grant->capability_count];

	c->name = strdup(name);
	c->values = values ? strdup(values) : NULL;
	grant->capability_count++; /* counted in any case, so that it is freed */
	return c->name && (c->values || !values) ? 0 : -ENOMEM;
}

static int compile_grant(const struct tailcfg_cap_grant *from, struct filter_grant *out)
{
	int r;

	add_prefixes(&out->destinations, from->dsts.items, from->dsts.count);
	r = ip_set_seal(&out->destinations);
	if (r < 0)
		return r;
	out->capabilities = calloc((size_t)from->caps.count + from->cap_map.count + 1,
				   sizeof(*out->capabilities));
	if (!out->capabilities)
		return -ENOMEM;
	for (uint32_t i = 0; i < from->caps.count && r == 0; i++)
		r = add_capability(out, from->caps.items[i], NULL);
	for (uint32_t i = 0; i < from->cap_map.count && r == 0; i++)
		r = add_capability(out, from->cap_map.items[i].name, from->cap_map.items[i].values);
	return r;
}

static int compile_grants(const struct tailcfg_filter_rule *rule, struct filter_rule *out)
{
	if (rule->grant_count == 0)
		return 0;
	out->grants = calloc(rule->grant_count, sizeof(*out->grants));
	if (!out->grants)
		return -ENOMEM;
	for (uint32_t i = 0; i < rule->grant_count; i++) {
		int r = compile_grant(&rule->grants[i], &out->grants[out->grant_count++]);

		if (r < 0)
			return r;
	}
	return 0;
}

static void rule_free(struct filter_rule *rule)
{
	ip_set_free(&rule->sources);
	for (size_t i = 0; i < rule->source_capability_count; i++)
		free(rule->source_capabilities[i]);
	free(rule->source_capabilities);
	for (size_t i = 0; i < rule->destination_count; i++)
		ip_set_free(&rule->destinations[i].net);
	free(rule->destinations);
	for (size_t i = 0; i < rule->grant_count; i++) {
		struct filter_grant *grant = &rule->grants[i];

		ip_set_free(&grant->destinations);
		for (size_t c = 0; c < grant->capability_count; c++) {
			free(grant->capabilities[c].name);
			free(grant->capabilities[c].values);
		}
		free(grant->capabilities);
	}
	free(rule->grants);
	*rule = (struct filter_rule){0};
}

/* compile_rule() - @out is freed by the caller in any case */
static int compile_rule(const struct tailcfg_filter_rule *rule, const struct ip_set *local,
			struct filter_rule *out)
{
	int r = compile_destinations(rule, local, out);

	if (r == 0)
		r = compile_grants(rule, out);
	if (r < 0 || (out->destination_count == 0 && out->grant_count == 0))
		return r;
	compile_protocols(rule, out);
	r = compile_sources(rule, &out->sources);
	if (r < 0 || rule->source_capabilities.count == 0)
		return r;
	out->source_capabilities =
		calloc(rule->source_capabilities.count, sizeof(*out->source_capabilities));
	if (!out->source_capabilities)
		return -ENOMEM;
	for (uint32_t i = 0; i < rule->source_capabilities.count; i++) {
		char *name = strdup(rule->source_capabilities.items[i]);

		if (!name)
			return -ENOMEM;
		out->source_capabilities[out->source_capability_count++] = name;
	}
	return 0;
}

/* admits_unsigned() - Whether a rule that opens anything, here or elsewhere, has an unsigned
 * peer among its sources: the server breaks its word, so none of its rules are trusted */
static int admits_unsigned(const struct filter_config *config, bool *ret)
{
	struct ip_set unsigned_peers = {0}, sources = {0};
	int r;

	add_prefixes(&unsigned_peers, config->unsigned_peers.list, config->unsigned_peers.count);
	r = ip_set_seal(&unsigned_peers);
	for (size_t l = 0; l < config->list_count && r == 0 && !*ret; l++) {
		for (uint32_t i = 0; i < config->lists[l]->count && r == 0 && !*ret; i++) {
			const struct tailcfg_filter_rule *rule = &config->lists[l]->rules[i];

			if (rule->destination_count == 0)
				continue;
			r = compile_sources(rule, &sources);
			*ret = ip_set_overlaps(&sources, &unsigned_peers);
			ip_set_free(&sources);
		}
	}
	ip_set_free(&unsigned_peers);
	return r;
}

static int compile_rules(const struct filter_config *config, struct filter *f)
{
	size_t total = 0;
	int r;

	for (size_t l = 0; l < config->list_count; l++)
		total += config->lists[l]->count;
	if (total == 0)
		return 0;
	f->rules = calloc(total, sizeof(*f->rules));
	if (!f->rules)
		return -ENOMEM;
	for (size_t l = 0; l < config->list_count; l++) {
		for (uint32_t i = 0; i < config->lists[l]->count; i++) {
			struct filter_rule *out = &f->rules[f->rule_count++];

			r = compile_rule(&config->lists[l]->rules[i], &f->local, out);
			if (r < 0)
				return r;
			if (out->destination_count == 0 && out->grant_count == 0) {
				rule_free(out);
				f->rule_count--;
			}
		}
	}
	return 0;
}

int filter_compile(const struct filter_config *config, struct filter **ret)
{
	struct filter *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->shields_up = config->shields_up;
	f->has_capability = config->has_capability;
	r = compile_local(config, &f->local);
	if (r == 0 && config->unsigned_peers.count)
		r = admits_unsigned(config, &f->discarded);
	if (r == 0 && config->peerapi_count) {
		f->peerapi = calloc(config->peerapi_count, sizeof(*f->peerapi));
		if (f->peerapi) {
			memcpy(f->peerapi, config->peerapi,
			       config->peerapi_count * sizeof(*f->peerapi));
			f->peerapi_count = config->peerapi_count;
		} else {
			r = -ENOMEM;
		}
	}
	if (r == 0 && !f->discarded && !f->shields_up)
		r = compile_rules(config, f);
	if (r < 0) {
		filter_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

void filter_free(struct filter *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->rule_count; i++)
		rule_free(&f->rules[i]);
	free(f->rules);
	free(f->peerapi);
	ip_set_free(&f->local);
	free(f);
}
