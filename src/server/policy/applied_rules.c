/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/applied_rules.c - the inbound filter of a node, as rules for the client */
#include "server/policy/applied_policy_internal.h"

#include "base/limits.h"
#include "filter/ip_set.h"

#include <errno.h>
#include <string.h>

/* --- Sources: sets of addresses as few nets --- */

static struct address address_of_v4(uint32_t n)
{
	const uint8_t bytes[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
				  (uint8_t)n};

	return address_v4(bytes);
}

static struct address address_of_v6(uint128 n)
{
	uint8_t bytes[16];

	for (unsigned int i = 0; i < 16; i++)
		bytes[i] = (uint8_t)(n >> (120 - 8 * i));
	return address_v6(bytes);
}

/* net_of() - The range as a prefix, if it is one */
static struct tailcfg_net net_of(struct address first, struct address last, uint128 from,
				 uint128 to)
{
	struct tailcfg_net net = {.kind = TAILCFG_NET_RANGE, .last = last};
	uint128 host = from ^ to;
	uint8_t bits = address_bits(&first);

	net.prefix.address = first;
	net.prefix.bits = bits;
	if ((host & (host + 1)) || (from & host))
		return net;
	for (; host; host >>= 1)
		bits--;
	net.kind = TAILCFG_NET_PREFIX;
	net.prefix.bits = bits;
	net.last = (struct address){0};
	return net;
}

static int nets_of(const struct ip_set *set, struct tailcfg_net **ret, uint32_t *ret_count)
{
	size_t count = set->v4_count + set->v6_count, n = 0;
	struct tailcfg_net *nets = reallocarray(NULL, count ? count : 1, sizeof(*nets));

	if (!nets)
		return -ENOMEM;
	for (size_t i = 0; i < set->v4_count; i++)
		nets[n++] = net_of(address_of_v4(set->v4[i].first), address_of_v4(set->v4[i].last),
				   set->v4[i].first, set->v4[i].last);
	for (size_t i = 0; i < set->v6_count; i++)
		nets[n++] = net_of(address_of_v6(set->v6[i].first), address_of_v6(set->v6[i].last),
				   set->v6[i].first, set->v6[i].last);
	*ret = nets;
	*ret_count = (uint32_t)n;
	return 0;
}

static int add_node(struct ip_set_builder *b, const struct applied_node *node)
{
	const struct prefix v4 = prefix_of(&node->v4), v6 = prefix_of(&node->v6);
	int r = ip_set_add(b, &v4);

	return r < 0 ? r : ip_set_add(b, &v6);
}

static int add_members(struct applied_policy *t, struct ip_set_builder *b,
		       const struct member_list *list)
{
	int r = 0;

	t->steps += list->count;
	for (uint32_t i = 0; i < list->count && r == 0; i++)
		r = add_node(b, t->slots[list->items[i].slot]);
	return r;
}

/* add_any() - The tailnet and the networks behind it */
static int add_any(const struct applied_policy *t, struct ip_set_builder *b)
{
	/* The gap holds ChromeOS's virtual machines: no node has an address there. */
	const struct address low[2] = {address_of_v4(0x64400000), address_of_v4(0x64735bff)};
	const struct address high[2] = {address_of_v4(0x64735e00), address_of_v4(0x647fffff)};
	int r = ip_set_add_range(b, &low[0], &low[1]);

	if (r == 0)
		r = ip_set_add_range(b, &high[0], &high[1]);
	if (r == 0)
		r = ip_set_add(b, &policy_tailnet_ranges()[1]);
	for (uint32_t i = 0; i < t->routers.count && r == 0; i++) {
		const struct prefix_list *routes = &t->slots[t->routers.items[i].slot]->routes;

		for (uint32_t k = 0; k < routes->count && r == 0; k++)
			if (!is_default_route(&routes->items[k]))
				r = ip_set_add(b, &routes->items[k]);
	}
	return r;
}

static int add_source(struct applied_policy *t, struct ip_set_builder *b, const struct selector *s)
{
	switch (s->key.kind) {
	case SELECT_ANY:
		return add_any(t, b);
	case SELECT_PREFIX:
		return ip_set_add(b, &s->key.prefix);
	default:
		return add_members(t, b, &t->members[s->index]);
	}
}

static int freeze_nets(struct ip_set_builder *b, int r, struct tailcfg_net **ret,
		       uint32_t *ret_count)
{
	struct ip_set set = {0};

	if (r == 0)
		r = ip_set_freeze(b, &set);
	if (r == 0)
		r = nets_of(&set, ret, ret_count);
	ip_set_builder_free(b);
	ip_set_free(&set);
	return r;
}

/* rule_sources() - A rule's sources as addresses, cached until one of them changes */
static int rule_sources(struct applied_policy *t, uint32_t index, const struct source_nets **ret)
{
	const struct indexes *sources = &t->policy->rules[index].sources;
	struct source_nets *nets = &t->sources[index];
	struct ip_set_builder b = {0};
	struct tailcfg_net *items = NULL;
	uint32_t count = 0;
	bool everyone = false;
	int r = 0;

	*ret = nets;
	if (nets->valid)
		return 0;
	for (uint32_t i = 0; i < sources->count && r == 0 && !everyone; i++) {
		const struct selector *s = applied_selector(t, sources->items[i]);

		everyone = s->key.kind == SELECT_DANGER_ALL;
		if (!everyone)
			r = add_source(t, &b, s);
	}
	if (everyone) {
		ip_set_builder_free(&b);
		items = calloc(1, sizeof(*items));
		if (!items)
			return -ENOMEM;
		items->kind = TAILCFG_NET_ANY;
		count = 1;
	} else {
		r = freeze_nets(&b, r, &items, &count);
		if (r < 0)
			return r;
	}
	free(nets->items);
	free(nets->text);
	*nets = (struct source_nets){.items = items, .count = count, .valid = true};
	return 0;
}

/* --- The filter --- */

/* struct compile - The rule being made for a node */
struct compile {
	struct applied_policy *t;
	const struct applied_node *node;
	struct tailcfg_filter filter;
	uint32_t capacity;
};

static int add_net(struct tailcfg_filter_rule *rule, const struct tailcfg_net *net,
		   const struct policy_destination *d)
{
	struct tailcfg_net_ports *list = reallocarray(
		rule->destinations, rule->destination_count + d->port_count, sizeof(*list));

	if (!list)
		return -ENOMEM;
	rule->destinations = list;
	for (uint32_t i = 0; i < d->port_count; i++)
		list[rule->destination_count++] = (struct tailcfg_net_ports){
			.net = *net,
			.first_port = d->ports[i].first,
			.last_port = d->ports[i].last,
		};
	return 0;
}

static int add_prefix(struct tailcfg_filter_rule *rule, const struct prefix *p,
		      const struct policy_destination *d)
{
	const struct tailcfg_net net = {.kind = TAILCFG_NET_PREFIX, .prefix = *p};

	return p->address.family == ADDRESS_NONE ? 0 : add_net(rule, &net, d);
}

static int add_own(const struct compile *c, struct tailcfg_filter_rule *rule,
		   const struct policy_destination *d)
{
	const struct prefix v4 = prefix_of(&c->node->v4), v6 = prefix_of(&c->node->v6);
	int r = add_prefix(rule, &v4, d);

	return r < 0 ? r : add_prefix(rule, &v6, d);
}

static int add_destination(const struct compile *c, struct tailcfg_filter_rule *rule,
			   const struct policy_destination *d)
{
	static const struct tailcfg_net any = {.kind = TAILCFG_NET_ANY};
	const struct selector *s = applied_selector(c->t, d->selector);
	const struct prefix *internet;
	size_t count;
	int r = 0;

	switch (s->key.kind) {
	case SELECT_ANY:
		return add_net(rule, &any, d);
	case SELECT_PREFIX:
		return add_prefix(rule, &s->key.prefix, d);
	case SELECT_INTERNET:
		internet = policy_internet(&count);
		for (size_t i = 0; i < count && r == 0; i++)
			r = add_prefix(rule, &internet[i], d);
		return r;
	default:
		return add_own(c, rule, d);
	}
}

/* --- Capabilities --- */

static int add_grant_prefix(struct tailcfg_cap_grant *grant, const struct prefix *p)
{
	struct prefix *list;

	for (uint32_t i = 0; i < grant->dsts.count; i++)
		if (prefix_equal(&grant->dsts.items[i], p))
			return 0;
	list = reallocarray(grant->dsts.items, grant->dsts.count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	grant->dsts.items = list;
	list[grant->dsts.count++] = *p;
	return 0;
}

/* add_grant_destination() - The addresses or served prefixes of this node to which the
 * capabilities apply */
static int add_grant_destination(const struct compile *c, struct tailcfg_cap_grant *grant,
				 const struct policy_destination *d)
{
	const struct selector *s = applied_selector(c->t, d->selector);
	const struct address *own[] = {&c->node->v4, &c->node->v6};
	bool is_prefix = s->key.kind == SELECT_PREFIX;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(own) && r == 0; i++) {
		const struct prefix p = prefix_of(own[i]);

		if (own[i]->family != ADDRESS_NONE &&
		    (!is_prefix || prefix_contains(&s->key.prefix, own[i])))
			r = add_grant_prefix(grant, &p);
	}
	for (uint32_t i = 0; is_prefix && i < c->node->routes.count && r == 0; i++)
		if (!is_default_route(&c->node->routes.items[i]) &&
		    prefix_overlaps(&s->key.prefix, &c->node->routes.items[i]))
			r = add_grant_prefix(grant, &s->key.prefix);
	return r;
}

static int copy_capabilities(const struct policy_rule *from, struct tailcfg_cap_grant *grant)
{
	grant->cap_map.items = calloc(from->capability_count, sizeof(*grant->cap_map.items));
	if (!grant->cap_map.items)
		return -ENOMEM;
	for (uint32_t i = 0; i < from->capability_count; i++) {
		const struct policy_capability *c = &from->capabilities[i];
		struct tailcfg_capability *to = &grant->cap_map.items[grant->cap_map.count];

		if (!c->values) {
			if (string_list_add(&grant->caps, c->name) < 0)
				return -ENOMEM;
			continue;
		}
		grant->cap_map.count++;
		to->name = strdup(c->name);
		to->values = strdup(c->values);
		if (!to->name || !to->values)
			return -ENOMEM;
	}
	return 0;
}

/* --- A rule from its destinations that concern the node --- */

/* own_sources() - For autogroup:self: the user's nodes among the rule's sources */
static int own_sources(const struct compile *c, const struct policy_rule *from,
		       struct tailcfg_filter_rule *rule)
{
	const struct owner *owner = c->node->owner;
	struct ip_set_builder b = {0};
	int r = 0;

	for (uint32_t i = 0; i < owner->nodes.count && r == 0; i++) {
		const struct applied_node *node = c->t->slots[owner->nodes.items[i].slot];

		if (applied_matches_any(node, &from->sources))
			r = add_node(&b, node);
	}
	return freeze_nets(&b, r, &rule->sources, &rule->source_count);
}

/* sources_text() - Encoded once for all destinations of the rule; NULL without memory */
static const char *sources_text(struct source_nets *nets)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct json_writer w = json_writer_to(&text);

	if (nets->text)
		return nets->text;
	tailcfg_nets_encode(&w, NULL, nets->items, nets->count);
	if (json_writer_result(&w) == 0)
		nets->text = strndup((char *)buffer_head(&text), text.length);
	buffer_free(&text);
	return nets->text;
}

static int copy_sources(const struct compile *c, uint32_t index, struct tailcfg_filter_rule *rule)
{
	const struct source_nets *nets;
	int r = rule_sources(c->t, index, &nets);

	if (r < 0)
		return r;
	rule->sources = reallocarray(NULL, nets->count ? nets->count : 1, sizeof(*nets->items));
	if (!rule->sources)
		return -ENOMEM;
	memcpy(rule->sources, nets->items, nets->count * sizeof(*nets->items));
	rule->source_count = nets->count;
	rule->sources_text = sources_text(&c->t->sources[index]);
	return 0;
}

static int set_protocol(const struct policy_rule *from, struct tailcfg_filter_rule *rule)
{
	rule->default_protocols = from->protocol == 0;
	if (rule->default_protocols)
		return 0;
	rule->protocols = malloc(1);
	if (!rule->protocols)
		return -ENOMEM;
	rule->protocols[0] = from->protocol;
	rule->protocol_count = 1;
	return 0;
}

static bool is_self(const struct compile *c, uint32_t destination)
{
	return applied_selector(c->t, c->t->policy->destinations[destination].selector)->key.kind ==
	       SELECT_SELF;
}

/* fill_rule() - Fill @rule from those of the @count destinations that are, or aren't, autogroup:self */
static int fill_rule(const struct compile *c, const uint32_t *destinations, uint32_t count,
		     bool self, struct tailcfg_filter_rule *rule)
{
	const struct policy *p = c->t->policy;
	uint32_t index = p->destinations[destinations[0]].rule;
	const struct policy_rule *from = &p->rules[index];
	int r = self ? own_sources(c, from, rule) : copy_sources(c, index, rule);

	if (r == 0 && from->capability_count) {
		rule->default_protocols = true;
		rule->grants = calloc(1, sizeof(*rule->grants));
		if (!rule->grants)
			return -ENOMEM;
		rule->grant_count = 1;
		r = copy_capabilities(from, rule->grants);
	} else if (r == 0) {
		r = set_protocol(from, rule);
	}
	for (uint32_t i = 0; i < count && r == 0; i++) {
		const struct policy_destination *d = &p->destinations[destinations[i]];

		if (is_self(c, destinations[i]) != self)
			continue;
		r = from->capability_count ? add_grant_destination(c, rule->grants, d)
					   : add_destination(c, rule, d);
	}
	return r;
}

static int compile_rule(struct compile *c, const uint32_t *destinations, uint32_t count, bool self)
{
	struct tailcfg_filter_rule *rule;
	bool wanted = false;
	int r;

	for (uint32_t i = 0; i < count; i++)
		wanted |= is_self(c, destinations[i]) == self;
	if (!wanted)
		return 0;
	rule = ARRAY_ADD(c->filter.rules, c->filter.count, c->capacity);
	if (!rule)
		return -ENOMEM;
	r = fill_rule(c, destinations, count, self, rule);
	if (r < 0)
		return r;
	/* Leave out a rule without sources or destinations. */
	if (rule->source_count == 0 ||
	    (rule->destination_count == 0 &&
	     (rule->grant_count == 0 || rule->grants[0].dsts.count == 0))) {
		tailcfg_filter_rule_clear(rule);
		c->filter.count--;
	}
	return 0;
}

int applied_policy_filter(struct applied_policy *t, int64_t id, struct tailcfg_filter *ret)
{
	struct compile c = {.t = t, .node = applied_find(t, id)};
	struct indexes list = {0};
	uint32_t end;
	int r;

	if (!c.node)
		return -ENOENT;
	r = applied_uses(t, c.node, PART_DESTINATION, &list);
	for (uint32_t i = 0; i < list.count && r == 0; i = end) {
		const struct policy_destination *d = t->policy->destinations;

		end = i + 1;
		while (end < list.count && d[list.items[end]].rule == d[list.items[i]].rule)
			end++;
		r = compile_rule(&c, &list.items[i], end - i, false);
		if (r == 0)
			r = compile_rule(&c, &list.items[i], end - i, true);
	}
	indexes_clear(&list);
	if (r < 0)
		tailcfg_filter_clear(&c.filter);
	else
		*ret = c.filter;
	return r;
}

int applied_policy_capabilities(struct applied_policy *t, int64_t id,
				bool (*each)(void *data, const char *name, const char *values),
				void *data)
{
	const struct applied_node *node = applied_find(t, id);
	const struct policy *p = t->policy;

	if (!node)
		return -ENOENT;
	for (uint32_t i = 0; i < node->matched.count; i++) {
		const struct selector *s = applied_selector(t, node->matched.items[i]);

		for (uint32_t u = 0; s->key.part == PART_ATTRIBUTE && u < s->uses.count; u++) {
			const struct policy_attribute *a = &p->attributes[s->uses.items[u]];

			for (uint32_t k = 0; k < a->capability_count; k++)
				if (!each(data, a->capabilities[k].name, a->capabilities[k].values))
					return 0;
		}
	}
	return 0;
}
