/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_rules.c - acls, grants, nodeAttrs and randomizeClientPort */
#include "server/policy/policy_parse.h"

#include "base/limits.h"
#include "wire/ip.h"

#include <string.h>

/* Capabilities that need a second one in the other direction, so that the destination's client
 * knows about the source. */
static const struct {
	const char *name, *companion;
} companions[] = {
	{"tailscale.com/cap/drive", "tailscale.com/cap/drive-sharer"},
	{"tailscale.com/cap/relay", "tailscale.com/cap/relay-target"},
};

/* add_rule() - A rule from the selectors of @sources; NULL after an error */
static struct policy_rule *add_rule(struct parse *ps, const struct indexes *sources,
				    struct json_range at)
{
	struct policy *p = ps->policy;
	struct policy_rule *rule;

	if (p->rule_count >= LIMIT_POLICY_RULES) {
		parse_fail(ps, at, "more than %u rules", LIMIT_POLICY_RULES);
		return NULL;
	}
	rule = ARRAY_ADD(p->rules, p->rule_count, p->rule_capacity);
	if (!rule) {
		parse_no_memory(ps);
		return NULL;
	}
	for (uint32_t i = 0; i < sources->count; i++)
		if (!parse_add(ps, &rule->sources, sources->items[i]))
			return NULL;
	return parse_add_uses(ps, sources, p->rule_count - 1) ? rule : NULL;
}

/* add_destination() - Add to the last rule; takes @ports in any case */
static bool add_destination(struct parse *ps, uint32_t selector, struct port_list ports)
{
	struct policy *p = ps->policy;
	struct policy_rule *rule = &p->rules[p->rule_count - 1];
	struct policy_destination *d =
		ARRAY_ADD(p->destinations, p->destination_count, p->destination_capacity);

	if (!d) {
		free(ports.items);
		return parse_no_memory(ps);
	}
	*d = (struct policy_destination){p->rule_count - 1, selector, ports};
	rule->has_self |= p->selectors[selector]->key.kind == SELECT_SELF;
	return parse_add(ps, &rule->destinations, p->destination_count - 1) &&
	       parse_add(ps, &p->selectors[selector]->uses, p->destination_count - 1);
}

/* check_self() - autogroup:self needs sources with a user */
static bool check_self(struct parse *ps, const struct indexes *sources, bool any_allowed,
		       struct json_range at)
{
	for (uint32_t i = 0; i < sources->count; i++) {
		switch (parse_selector_at(ps, sources->items[i])->key.kind) {
		case SELECT_USER:
		case SELECT_GROUP:
		case SELECT_MEMBER:
			continue;
		case SELECT_ANY:
			if (any_allowed)
				continue;
		}
		return parse_fail(ps, at,
				  "with autogroup:self as a destination, sources must be users, "
				  "groups or autogroup:member");
	}
	return true;
}

static bool has_ports(uint8_t protocol)
{
	return protocol == 0 || protocol == IP_PROTOCOL_TCP || protocol == IP_PROTOCOL_UDP ||
	       protocol == IP_PROTOCOL_SCTP;
}

static bool check_ports(struct parse *ps, uint8_t protocol, const struct port_list *ports,
			struct json_range at)
{
	for (uint32_t i = 0; i < ports->count && !has_ports(protocol); i++)
		if (ports->items[i].first != 0 || ports->items[i].last != UINT16_MAX)
			return parse_fail(ps, at, "protocol %u has no ports: write *", protocol);
	return true;
}

/* --- acls --- */

static bool add_acl_destination(struct parse *ps, struct json_range at, char *text, void *data)
{
	const uint8_t *protocol = data;
	const char *ports_text = parse_split(ps, at, text);
	struct port_list ports = {0};
	uint32_t selector;
	bool good;

	if (!ports_text)
		return false;
	good = parse_ports(ps, at, ports_text, &ports) && check_ports(ps, *protocol, &ports, at);
	selector = parse_selector(ps, PART_DESTINATION, text, at);
	if (good && selector != NONE)
		return add_destination(ps, selector, ports);
	free(ports.items);
	return false;
}

static bool check_action(struct parse *ps, const struct parse_field *action, struct json_range rule)
{
	if (!action->value.at)
		return parse_fail(ps, rule,
				  "an acl without \"action\": add \"action\": \"accept\"");
	if (!json_range_is(action->value, "\"accept\""))
		return parse_fail(
			ps, action->value,
			"an acl's action is \"accept\"; packets that no rule accepts are dropped");
	return true;
}

bool parse_acl(struct parse *ps, struct json_range value, void *unused)
{
	struct parse_field f[] = {
		{.name = "action"}, {.name = "proto"}, {.name = "src"}, {.name = "dst"}, {0}};
	struct indexes sources = {0};
	uint32_t before = ps->problem_count;
	struct policy_rule *rule;
	uint8_t protocol = 0;

	(void)unused;
	if (!parse_fields(ps, value, "an acl", f))
		return false;
	check_action(ps, &f[0], value);
	parse_protocol_field(ps, f[1].value, &protocol);
	if (!f[2].value.at || !f[3].value.at)
		parse_fail(ps, value, "an acl without \"%s\"", f[2].value.at ? "dst" : "src");
	parse_selectors(ps, PART_SOURCE, f[2].value, "src", &sources);
	rule = ps->ended ? NULL : add_rule(ps, &sources, value);
	if (rule) {
		rule->protocol = protocol;
		parse_each_string(ps, f[3].value, "dst", "host:ports", add_acl_destination,
				  &protocol);
		if (ps->problem_count == before && rule->has_self)
			check_self(ps, &sources, true, f[2].value);
	}
	indexes_clear(&sources);
	return rule;
}

void parse_open(struct parse *ps)
{
	struct selector_key source = {.part = PART_SOURCE, .kind = SELECT_ANY};
	struct selector_key destination = {.part = PART_DESTINATION, .kind = SELECT_ANY};
	const struct json_range nowhere = {0};
	struct indexes from = {0}, to = {0};
	struct port_list ports = {0};

	if (parse_add_selector(ps, &source, &from) && parse_add_selector(ps, &destination, &to) &&
	    parse_ports(ps, nowhere, "*", &ports) && add_rule(ps, &from, nowhere))
		add_destination(ps, to.items[0], ports);
	else
		free(ports.items);
	indexes_clear(&from);
	indexes_clear(&to);
}

/* --- Capabilities --- */

/* Tailscale's own server alone grants this one, to its ingress nodes; here an operator has them. */
#define CAP_INGRESS "https://tailscale.com/cap/ingress"

/* add_capability() - Takes @values in any case */
static bool add_capability(struct parse *ps, struct tailcfg_capability_list *list, const char *name,
			   char *values)
{
	struct tailcfg_capability *items =
		reallocarray(list->items, list->count + 1, sizeof(*items));
	char *copy = strdup(name);

	if (items)
		list->items = items;
	if (!items || !copy) {
		free(copy);
		free(values);
		return parse_no_memory(ps);
	}
	items[list->count++] = (struct tailcfg_capability){.name = copy, .values = values};
	return true;
}

/* add_valued() - "NAME": [values], with the values as compact JSON */
static bool add_valued(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	_cleanup_free_ char *name = parse_string(ps, key, "a capability");
	char *values = NULL;
	json_t *tree;

	if (!name)
		return false;
	if ((strstr(name, "://") || !strchr(name, '/')) && strcmp(name, CAP_INGRESS) != 0)
		return parse_fail(ps, key,
				  "\"%s\": a capability's name looks like example.com/cap/name",
				  name);
	for (size_t i = 0; i < ARRAY_SIZE(companions); i++)
		if (!strcmp(companions[i].companion, name))
			return parse_fail(ps, key,
					  "\"%s\" is added automatically by %s: leave it out", name,
					  companions[i].name);
	if (!json_range_is_null(value)) {
		if (*value.at != '[')
			return parse_fail(ps, value,
					  "the values of a capability are a list: put "
					  "them in [ ]");
		tree = json_parse(value, NULL);
		if (!tree)
			return parse_fail(ps, value, "invalid values");
		values = json_dumps(tree, JSON_COMPACT);
		json_decref(tree);
		if (!values)
			return parse_no_memory(ps);
	}
	return add_capability(ps, data, name, values);
}

static bool add_plain(struct parse *ps, struct json_range at, char *name, void *data)
{
	(void)at;
	return add_capability(ps, data, name, NULL);
}

/* --- grants --- */

/* struct grant - The parts of a grant, from which its rules are made */
struct grant {
	struct indexes sources, destinations;
	struct json_range at;
	bool has_self;

	/* The ports of "ip" so far, by protocol; each becomes a rule. */
	struct {
		uint8_t protocol;
		struct port_list ports;
	} * protocols;
	uint32_t protocol_count, protocol_capacity;
};

static bool add_grant_ports(struct parse *ps, struct grant *g, uint8_t protocol, const char *ports,
			    struct json_range at)
{
	uint32_t i = 0;

	while (i < g->protocol_count && g->protocols[i].protocol != protocol)
		i++;
	if (i == g->protocol_count) {
		if (!ARRAY_ADD(g->protocols, g->protocol_count, g->protocol_capacity))
			return parse_no_memory(ps);
		g->protocols[i].protocol = protocol;
	}
	return parse_ports(ps, at, ports, &g->protocols[i].ports) &&
	       check_ports(ps, protocol, &g->protocols[i].ports, at);
}

/* add_ip() - "*", "443", "tcp:443", "icmp:*" */
static bool add_ip(struct parse *ps, struct json_range at, char *text, void *grant)
{
	char *colon = strchr(text, ':');
	uint8_t protocol = 0;

	if (!colon)
		return add_grant_ports(ps, grant, 0, text, at);
	*colon = 0;
	return parse_protocol(ps, at, text, &protocol) &&
	       add_grant_ports(ps, grant, protocol, colon + 1, at);
}

/* add_grant_rule() - A rule from the grant's sources to its destinations; NULL after an error */
static struct policy_rule *add_grant_rule(struct parse *ps, const struct grant *g, uint8_t protocol,
					  const struct port_list *ports)
{
	struct policy_rule *rule = add_rule(ps, &g->sources, g->at);

	if (rule)
		rule->protocol = protocol;
	for (uint32_t i = 0; rule && i < g->destinations.count; i++) {
		struct port_list copy = {0};

		if (ports->count) {
			copy.items = calloc(ports->count, sizeof(*copy.items));
			if (!copy.items) {
				parse_no_memory(ps);
				return NULL;
			}
			memcpy(copy.items, ports->items, ports->count * sizeof(*copy.items));
			copy.count = ports->count;
		}
		if (!add_destination(ps, g->destinations.items[i], copy))
			return NULL;
	}
	return rule;
}

/* add_capability_rule() - The same, of capabilities without ports; takes @list on success */
static struct policy_rule *add_capability_rule(struct parse *ps, const struct grant *g,
					       struct tailcfg_capability_list list)
{
	struct policy_rule *rule = add_grant_rule(ps, g, 0, &(struct port_list){0});

	if (rule)
		rule->capabilities = list;
	return rule;
}

static bool add_other_part(struct parse *ps, const struct indexes *from, enum policy_part part,
			   struct indexes *ret)
{
	for (uint32_t i = 0; i < from->count; i++) {
		struct selector_key key = parse_selector_at(ps, from->items[i])->key;

		/* Sources outside the tailnet have no filter. */
		if (key.kind == SELECT_INTERNET || key.kind == SELECT_DANGER_ALL)
			continue;
		key.part = (uint8_t)part;
		if (!parse_add_selector(ps, &key, ret))
			return false;
	}
	return true;
}

/* add_companion() - The rule in the other direction, for a capability that needs it */
static void add_companion(struct parse *ps, const struct grant *g, const char *companion)
{
	struct grant back = {.at = g->at};
	struct policy_rule *rule;

	if (add_other_part(ps, &g->destinations, PART_SOURCE, &back.sources) &&
	    add_other_part(ps, &g->sources, PART_DESTINATION, &back.destinations)) {
		rule = add_capability_rule(ps, &back, (struct tailcfg_capability_list){0});
		if (rule)
			add_capability(ps, &rule->capabilities, companion, NULL);
	}
	indexes_clear(&back.sources);
	indexes_clear(&back.destinations);
}

static void parse_app(struct parse *ps, const struct grant *g, struct json_range app)
{
	struct policy *p = ps->policy;
	struct tailcfg_capability_list list = {0};
	uint32_t index = p->rule_count;

	if (!parse_members(ps, app, "app", add_valued, &list) ||
	    !add_capability_rule(ps, g, list)) {
		policy_capabilities_clear(&list);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(companions); i++) {
		struct tailcfg_capability_list *own = &p->rules[index].capabilities;
		bool wanted = false;

		for (uint32_t c = 0; c < own->count; c++)
			wanted |= !strcmp(own->items[c].name, companions[i].name);
		if (wanted && g->has_self) /* which is symmetric */
			add_capability(ps, own, companions[i].companion, NULL);
		else if (wanted)
			add_companion(ps, g, companions[i].companion);
	}
}

static void check_grant(struct parse *ps, struct grant *g, const struct parse_field *f)
{
	bool internet = false;

	for (uint32_t i = 0; i < g->destinations.count; i++) {
		uint8_t kind = parse_selector_at(ps, g->destinations.items[i])->key.kind;

		internet |= kind == SELECT_INTERNET;
		g->has_self |= kind == SELECT_SELF;
	}
	if (internet && f[3].value.at)
		parse_fail(ps, f[3].value,
			   "autogroup:internet can't have capabilities: grant them to nodes");
	else if (g->has_self && g->destinations.count > 1 && f[3].value.at)
		parse_fail(ps, f[1].value,
			   "a grant of capabilities to autogroup:self can't have other "
			   "destinations: split the grant");
	else if (g->has_self)
		check_self(ps, &g->sources, false, f[0].value);
}

bool parse_grant(struct parse *ps, struct json_range value, void *unused)
{
	struct parse_field f[] = {
		{.name = "src"}, {.name = "dst"}, {.name = "ip"}, {.name = "app"}, {0}};
	struct grant g = {.at = value};
	uint32_t before = ps->problem_count;

	(void)unused;
	if (!parse_fields(ps, value, "a grant", f))
		return false;
	if (!f[0].value.at || !f[1].value.at)
		parse_fail(ps, value, "a grant without \"%s\"", f[0].value.at ? "dst" : "src");
	if (!f[2].value.at && !f[3].value.at)
		parse_fail(ps, value,
			   "a grant without protocols and capabilities: add \"ip\": [\"*\"] "
			   "or \"app\"");
	parse_selectors(ps, PART_SOURCE, f[0].value, "src", &g.sources);
	parse_selectors(ps, PART_DESTINATION, f[1].value, "dst", &g.destinations);
	check_grant(ps, &g, f);
	parse_each_string(ps, f[2].value, "ip", "protocol:ports", add_ip, &g);
	for (uint32_t i = 0; i < g.protocol_count; i++) {
		if (ps->problem_count == before && !ps->ended)
			add_grant_rule(ps, &g, g.protocols[i].protocol, &g.protocols[i].ports);
		free(g.protocols[i].ports.items);
	}
	if (f[3].value.at && !ps->ended)
		parse_app(ps, &g, f[3].value);
	free(g.protocols);
	indexes_clear(&g.sources);
	indexes_clear(&g.destinations);
	return true;
}

/* --- nodeAttrs --- */

bool parse_attribute(struct parse *ps, struct json_range value, void *unused)
{
	struct parse_field f[] = {
		{.name = "target"}, {.name = "attr"}, {.name = "app"}, {.name = "ipPool"}, {0}};
	struct policy *p = ps->policy;
	struct policy_attribute *a;

	(void)unused;
	if (!parse_fields(ps, value, "nodeAttrs", f))
		return false;
	if (f[3].value.at)
		parse_fail(ps, f[3].key, "\"ipPool\" is not supported: leave it out");
	if (!f[0].value.at)
		parse_fail(ps, value, "nodeAttrs without \"target\"; [\"*\"] means all nodes");
	a = ARRAY_ADD(p->attributes, p->attribute_count, p->attribute_capacity);
	if (!a)
		return parse_no_memory(ps);
	parse_selectors(ps, PART_ATTRIBUTE, f[0].value, "target", &a->targets);
	parse_each_string(ps, f[1].value, "attr", "a capability", add_plain, &a->capabilities);
	parse_members(ps, f[2].value, "app", add_valued, &a->capabilities);
	return parse_add_uses(ps, &a->targets, p->attribute_count - 1);
}

void parse_random_port(struct parse *ps, struct json_range value)
{
	struct selector_key any = {.part = PART_ATTRIBUTE, .kind = SELECT_ANY};
	struct policy *p = ps->policy;
	struct policy_attribute *a;

	if (json_range_is(value, "false"))
		return;
	if (!json_range_is(value, "true")) {
		parse_fail(ps, value, "randomizeClientPort is true or false");
		return;
	}
	a = ARRAY_ADD(p->attributes, p->attribute_count, p->attribute_capacity);
	if (!a)
		parse_no_memory(ps);
	else if (parse_add_selector(ps, &any, &a->targets) &&
		 parse_add_uses(ps, &a->targets, p->attribute_count - 1))
		add_capability(ps, &a->capabilities, "randomize-client-port", NULL);
}
