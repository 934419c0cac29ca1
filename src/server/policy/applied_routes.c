/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/applied_routes.c - the routes of its peers that a node receives */
#include "server/policy/applied_policy_internal.h"

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
