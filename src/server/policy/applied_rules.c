/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/applied_rules.c - what rules give a node: its inbound filter, routes, capabilities */
#include "server/policy/applied_policy_internal.h"

#include "base/limits.h"
#include "base/prefixes.h"
#include "filter/ip_set.h"

#include <errno.h>
#include <string.h>

/* --- Sources: sets of addresses as few nets --- */

static struct address address_of(uint8_t family, uint128 n)
{
	struct address a = {.family = family};

	for (size_t i = address_length(&a); i-- > 0; n >>= 8)
		a.bytes[i] = (uint8_t)n;
	return a;
}

/* put_ranges() - Each range as a prefix if it is one, else as "first-last" */
static void put_ranges(struct json_writer *w, uint8_t family, const struct ip_ranges *ranges)
{
	char text[2 * ADDRESS_TEXT_MAX + PREFIX_TEXT_MAX], end[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < ranges->count; i++) {
		uint128 from = ranges->list[i].first, to = ranges->list[i].last, host = from ^ to;
		struct address first = address_of(family, from), last = address_of(family, to);
		struct prefix p = prefix_of(&first);

		if ((host & (host + 1)) || (from & host)) {
			address_format(&first, text);
			strcat(text, "-");
			strcat(text, address_format(&last, end));
		} else {
			for (; host; host >>= 1)
				p.bits--;
			prefix_format(&p, text);
		}
		json_put_string(w, NULL, text);
	}
}

/* sources_text() - @set as a JSON array; frees @set. NULL without memory */
static char *sources_text(struct ip_set *set)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct json_writer w = json_writer_to(&text);
	int r = ip_set_seal(set);

	json_begin_array(&w, NULL);
	put_ranges(&w, ADDRESS_V4, &set->v4);
	put_ranges(&w, ADDRESS_V6, &set->v6);
	json_end_array(&w);
	if (r == 0 && json_writer_result(&w) == 0)
		r = buffer_append(&text, "", 1);
	ip_set_free(set);
	if (r == 0 && w.error == 0)
		return (char *)text.data;
	buffer_free(&text);
	return NULL;
}

static void add_node(struct ip_set *set, const struct applied_node *node)
{
	const struct prefix v4 = prefix_of(&node->v4), v6 = prefix_of(&node->v6);

	ip_set_add(set, &v4);
	ip_set_add(set, &v6);
}

static void add_members(struct applied_policy *t, struct ip_set *set,
			const struct member_list *list)
{
	t->steps += list->count;
	for (uint32_t i = 0; i < list->count; i++)
		add_node(set, t->slots[list->items[i].slot]);
}

/* add_any() - The tailnet and the networks behind it */
static void add_any(const struct applied_policy *t, struct ip_set *set)
{
	/* The gap holds ChromeOS's virtual machines: no node has an address there. */
	static const uint32_t ranges[][2] = {{0x64400000, 0x64735bff}, {0x64735e00, 0x647fffff}};

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		const struct address first = address_of(ADDRESS_V4, ranges[i][0]);
		const struct address last = address_of(ADDRESS_V4, ranges[i][1]);

		ip_set_add_range(set, &first, &last);
	}
	ip_set_add(set, &policy_tailnet_ranges[1]);
	for (uint32_t i = 0; i < t->routers.count; i++) {
		const struct prefix_list *routes = &t->slots[t->routers.items[i].slot]->routes;

		for (uint32_t k = 0; k < routes->count; k++)
			if (!is_default_route(&routes->items[k]))
				ip_set_add(set, &routes->items[k]);
	}
}

static void add_source(struct applied_policy *t, struct ip_set *set, const struct selector *s)
{
	if (s->key.kind == SELECT_ANY)
		add_any(t, set);
	else if (s->key.kind == SELECT_PREFIX)
		ip_set_add(set, &s->key.prefix);
	else
		add_members(t, set, &t->members[s->index]);
}

/* rule_sources() - A rule's sources, cached until one of them changes; NULL without memory */
static const char *rule_sources(struct applied_policy *t, uint32_t index)
{
	const struct indexes *sources = &t->policy->rules[index].sources;
	struct ip_set set = {0};
	bool everyone = false;

	if (t->sources[index])
		return t->sources[index];
	for (uint32_t i = 0; i < sources->count && !everyone; i++) {
		const struct selector *s = applied_selector(t, sources->items[i]);

		everyone = s->key.kind == SELECT_DANGER_ALL;
		if (!everyone)
			add_source(t, &set, s);
	}
	if (everyone) {
		ip_set_free(&set);
		t->sources[index] = strdup("[\"*\"]");
	} else {
		t->sources[index] = sources_text(&set);
	}
	return t->sources[index];
}

/* own_sources() - For autogroup:self: the user's nodes among the rule's sources */
static char *own_sources(const struct applied_policy *t, const struct owner *owner,
			 const struct policy_rule *rule)
{
	struct ip_set set = {0};

	for (uint32_t i = 0; i < owner->nodes.count; i++) {
		const struct applied_node *node = t->slots[owner->nodes.items[i].slot];

		if (applied_matches_any(node, &rule->sources))
			add_node(&set, node);
	}
	return sources_text(&set);
}

/* --- Destinations; what puts one returns whether it put any --- */

static bool put_net(struct json_writer *w, const char *net, const struct port_list *ports)
{
	for (uint32_t i = 0; i < ports->count; i++) {
		json_begin_object(w, NULL);
		json_put_string(w, "IP", net);
		json_begin_object(w, "Ports");
		json_put_int(w, "First", ports->items[i].first);
		json_put_int(w, "Last", ports->items[i].last);
		json_end_object(w);
		json_end_object(w);
	}
	return ports->count;
}

static bool put_prefix(struct json_writer *w, const struct prefix *p, const struct port_list *ports)
{
	char text[PREFIX_TEXT_MAX];

	return p->address.family != ADDRESS_NONE && put_net(w, prefix_format(p, text), ports);
}

static bool put_destination(struct json_writer *w, const struct applied_node *node,
			    const struct selector *s, const struct port_list *ports)
{
	const struct prefix own[] = {prefix_of(&node->v4), prefix_of(&node->v6)};
	const struct prefix *list = own;
	size_t count = ARRAY_SIZE(own);
	bool any = false;

	if (s->key.kind == SELECT_ANY)
		return put_net(w, "*", ports);
	if (s->key.kind == SELECT_PREFIX)
		return put_prefix(w, &s->key.prefix, ports);
	if (s->key.kind == SELECT_INTERNET)
		list = policy_internet(&count);
	for (size_t i = 0; i < count; i++)
		any |= put_prefix(w, &list[i], ports);
	return any;
}

/* add_granted() - The addresses or served prefixes of this node to which capabilities apply */
static int add_granted(const struct applied_node *node, const struct selector *s,
		       struct prefixes *ret)
{
	const struct prefix own[] = {prefix_of(&node->v4), prefix_of(&node->v6)};
	bool is_prefix = s->key.kind == SELECT_PREFIX;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (own[i].address.family != ADDRESS_NONE &&
		    (!is_prefix || prefix_contains(&s->key.prefix, &own[i].address)))
			r |= prefixes_add(ret, &own[i]);
	for (uint32_t i = 0; is_prefix && i < node->routes.count; i++)
		if (!is_default_route(&node->routes.items[i]) &&
		    prefix_overlaps(&s->key.prefix, &node->routes.items[i]))
			r |= prefixes_add(ret, &s->key.prefix);
	return r;
}

static void put_grant(struct json_writer *w, struct prefixes *on,
		      const struct tailcfg_capability_list *list)
{
	prefixes_unite(on);
	json_begin_array(w, "CapGrant");
	json_begin_object(w, NULL);
	json_put_prefixes(w, "Dsts", &(struct prefix_list){on->list, (uint32_t)on->count});
	json_begin_array(w, "Caps");
	for (uint32_t i = 0; i < list->count; i++)
		if (!list->items[i].values)
			json_put_string(w, NULL, list->items[i].name);
	json_end_array(w);
	json_begin_object(w, "CapMap");
	for (uint32_t i = 0; i < list->count; i++)
		if (list->items[i].values)
			json_put_raw(w, list->items[i].name, list->items[i].values);
	json_end_object(w);
	json_end_object(w);
	json_end_array(w);
}

/* put_rule() - The rule of @count destinations, by those that are, or aren't, autogroup:self */
static void put_rule(struct applied_policy *t, const struct applied_node *node,
		     const uint32_t *destinations, uint32_t count, bool self, struct json_writer *w)
{
	uint32_t index = t->policy->destinations[destinations[0]].rule;
	const struct policy_rule *rule = &t->policy->rules[index];
	_cleanup_free_ char *own = self ? own_sources(t, node->owner, rule) : NULL;
	const char *sources = self ? own : rule_sources(t, index);
	const struct json_writer before = *w;
	const size_t length = w->out->length;
	struct prefixes granted = {0};
	bool any = false;

	if (!sources) {
		w->error = -ENOMEM;
		return;
	}
	json_begin_object(w, NULL);
	json_put_raw(w, "SrcIPs", sources);
	json_begin_array(w, "DstPorts");
	for (uint32_t i = 0; i < count; i++) {
		const struct policy_destination *d = &t->policy->destinations[destinations[i]];
		const struct selector *s = applied_selector(t, d->selector);

		if ((s->key.kind == SELECT_SELF) != self)
			continue;
		if (!rule->capabilities.count)
			any |= put_destination(w, node, s, &d->ports);
		else if (add_granted(node, s, &granted) < 0)
			w->error = -ENOMEM;
	}
	json_end_array(w);
	if (rule->protocol) {
		json_begin_array(w, "IPProto");
		json_put_int(w, NULL, rule->protocol);
		json_end_array(w);
	}
	if (granted.count)
		put_grant(w, &granted, &rule->capabilities);
	json_end_object(w);
	any |= granted.count > 0;
	prefixes_free(&granted);
	/* Leave out a rule without sources or destinations. */
	if (w->error == 0 && (!any || strcmp(sources, "[]") == 0)) {
		*w = before;
		w->out->length = length;
	}
}

bool applied_policy_filter(struct applied_policy *t, int64_t id, struct json_writer *w,
			   const char *name)
{
	const struct applied_node *node = applied_find(t, id);
	const struct policy *p = t->policy;
	struct indexes list = {0};
	uint32_t end;

	json_begin_array(w, name);
	if (node && applied_uses(t, node, PART_DESTINATION, &list) < 0)
		w->error = -ENOMEM;
	for (uint32_t i = 0; i < list.count && w->error == 0; i = end) {
		uint32_t rule = p->destinations[list.items[i]].rule;

		for (end = i + 1; end < list.count; end++)
			if (p->destinations[list.items[end]].rule != rule)
				break;
		put_rule(t, node, &list.items[i], end - i, false, w);
		if (p->rules[rule].has_self && node->owner)
			put_rule(t, node, &list.items[i], end - i, true, w);
	}
	json_end_array(w);
	indexes_clear(&list);
	return node;
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

			for (uint32_t k = 0; k < a->capabilities.count; k++)
				if (!each(data, a->capabilities.items[k].name,
					  a->capabilities.items[k].values))
					return 0;
		}
	}
	return 0;
}

/* --- Routes of peers --- */

static bool covers_some(const struct selector *s, const struct prefix *route)
{
	return s->key.kind == SELECT_ANY || s->key.kind == SELECT_DANGER_ALL ||
	       (s->key.kind == SELECT_PREFIX && prefix_overlaps(&s->key.prefix, route));
}

static bool rule_reaches(const struct applied_policy *t, uint32_t rule, const struct prefix *route)
{
	const struct policy *p = t->policy;
	const struct indexes *to = &p->rules[rule].destinations;

	for (uint32_t i = 0; i < to->count; i++)
		if (covers_some(applied_selector(t, p->destinations[to->items[i]].selector), route))
			return true;
	return false;
}

static bool rule_comes_from(const struct applied_policy *t, uint32_t rule,
			    const struct prefix *route)
{
	const struct indexes *from = &t->policy->rules[rule].sources;

	for (uint32_t i = 0; i < from->count; i++)
		if (covers_some(applied_selector(t, from->items[i]), route))
			return true;
	return false;
}

bool applied_policy_grants_route(const struct applied_policy *t, int64_t id,
				 const struct prefix *route)
{
	const struct applied_node *node = applied_find(t, id);

	if (!node)
		return false;
	if (is_default_route(route))
		return true;
	for (uint32_t i = 0; i < node->routes.count; i++)
		if (prefix_equal(&node->routes.items[i], route))
			return true;
	for (uint32_t i = 0; i < node->matched.count; i++) {
		const struct selector *s = applied_selector(t, node->matched.items[i]);
		bool to = s->key.part == PART_DESTINATION && s->key.kind != SELECT_INTERNET &&
			  applied_is_reached(t, node, s->index);

		for (uint32_t u = 0; u < s->uses.count; u++) {
			uint32_t use = s->uses.items[u];

			if (s->key.part == PART_SOURCE && rule_reaches(t, use, route))
				return true;
			if (to && rule_comes_from(t, t->policy->destinations[use].rule, route))
				return true;
		}
	}
	return false;
}
