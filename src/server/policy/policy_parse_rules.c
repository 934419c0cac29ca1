/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_rules.c - acls, grants, nodeAttrs and randomizeClientPort */
#include "server/policy/policy_parse.h"

#include "base/limits.h"
#include "wire/ip.h"

#include <errno.h>
#include <string.h>

/* Capabilities that need a second one in the other direction, so that the destination's client
 * knows about the source. */
static const struct {
	const char *name, *companion;
} companions[] = {
	{"tailscale.com/cap/drive", "tailscale.com/cap/drive-sharer"},
	{"tailscale.com/cap/relay", "tailscale.com/cap/relay-target"},
};

/* add_rule() - A rule from the selectors of @sources; NULL with the error set */
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
	for (uint32_t i = 0; rule && i < sources->count; i++)
		if (indexes_add(&rule->sources, sources->items[i]) < 0 ||
		    indexes_add(&p->selectors[sources->items[i]]->uses, p->rule_count - 1) < 0)
			rule = NULL;
	if (!rule)
		parse_no_memory(ps);
	return rule;
}

/* add_destination() - Add to the last rule; takes @ports in any case */
static int add_destination(struct parse *ps, uint32_t selector, struct port_range *ports,
			   uint32_t port_count)
{
	struct policy *p = ps->policy;
	struct policy_rule *rule = &p->rules[p->rule_count - 1];
	struct policy_destination *d =
		ARRAY_ADD(p->destinations, p->destination_count, p->destination_capacity);

	if (!d) {
		free(ports);
		return parse_no_memory(ps);
	}
	d->rule = p->rule_count - 1;
	d->selector = selector;
	d->ports = ports;
	d->port_count = port_count;
	if (p->selectors[selector]->key.kind == SELECT_SELF)
		rule->has_self = true;
	if (indexes_add(&rule->destinations, p->destination_count - 1) < 0 ||
	    indexes_add(&p->selectors[selector]->uses, p->destination_count - 1) < 0)
		return parse_no_memory(ps);
	return 0;
}

/* check_self() - autogroup:self needs sources with a user */
static int check_self(struct parse *ps, const struct indexes *sources, bool any_allowed,
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
	return 0;
}

static bool has_ports(uint8_t protocol)
{
	return protocol == 0 || protocol == IP_PROTOCOL_TCP || protocol == IP_PROTOCOL_UDP ||
	       protocol == IP_PROTOCOL_SCTP;
}

static int check_ports(struct parse *ps, uint8_t protocol, const struct port_range *ports,
		       uint32_t count, struct json_range at)
{
	for (uint32_t i = 0; i < count && !has_ports(protocol); i++)
		if (ports[i].first != 0 || ports[i].last != UINT16_MAX)
			return parse_fail(ps, at, "protocol %u has no ports: write *", protocol);
	return 0;
}

/* --- acls --- */

static int add_acl_destination(struct parse *ps, struct json_range value, void *data)
{
	const uint8_t *protocol = data;
	_cleanup_free_ char *text = NULL;
	char *host = NULL, *ports_text = NULL;
	struct port_range *ports = NULL;
	uint32_t count = 0, selector = 0;
	int r = parse_string(ps, value, "host:ports", &text);

	if (r == 0)
		r = parse_split(ps, value, text, &host, &ports_text);
	if (r == 0) {
		r = parse_ports(ps, value, ports_text, &ports, &count);
		if (r == 0)
			r = check_ports(ps, *protocol, ports, count, value);
		r = parse_both(r, parse_selector(ps, PART_DESTINATION, host, value, &selector));
	}
	if (r < 0) {
		free(ports);
		return r;
	}
	return add_destination(ps, selector, ports, count);
}

static int parse_optional_text(struct parse *ps, struct json_range at, const char *what, char **ret)
{
	return at.at && !json_range_is(at, "\"\"") ? parse_string(ps, at, what, ret) : 0;
}

static int check_action(struct parse *ps, const struct parse_field *action, struct json_range rule)
{
	if (!action->value.at)
		return parse_fail(ps, rule,
				  "an acl without \"action\": add \"action\": \"accept\"");
	if (!json_range_is(action->value, "\"accept\""))
		return parse_fail(
			ps, action->value,
			"an acl's action is \"accept\"; packets that no rule accepts are dropped");
	return 0;
}

static int parse_acl(struct parse *ps, struct json_range value, void *data)
{
	struct parse_field f[] = {
		{.name = "action"}, {.name = "proto"}, {.name = "src"}, {.name = "dst"}, {0}};
	_cleanup_free_ char *protocol_text = NULL;
	struct indexes sources = {0};
	struct policy_rule *rule;
	uint8_t protocol = 0;
	int r = parse_fields(ps, value, "an acl", f);

	(void)data;
	if (!parse_is_object(value))
		return r;
	r = parse_both(r, check_action(ps, &f[0], value));
	r = parse_both(r, parse_optional_text(ps, f[1].value, "a protocol", &protocol_text));
	r = parse_both(r, parse_protocol(ps, f[1].value, protocol_text, &protocol));
	if (!f[2].value.at || !f[3].value.at)
		r = parse_both(r, parse_fail(ps, value, "an acl without \"%s\"",
					     f[2].value.at ? "dst" : "src"));
	r = parse_both(r, parse_selectors(ps, PART_SOURCE, f[2].value, "src", &sources));
	if (parse_goes_on(ps, r)) {
		rule = add_rule(ps, &sources, value);
		if (rule)
			rule->protocol = protocol;
		r = parse_both(
			r, rule ? parse_each(ps, f[3].value, "dst", add_acl_destination, &protocol)
				: ps->err->code);
	}
	if (r == 0 && ps->policy->rules[ps->policy->rule_count - 1].has_self)
		r = check_self(ps, &sources, true, f[2].value);
	indexes_clear(&sources);
	return r;
}

int parse_acls(struct parse *ps, struct json_range array)
{
	return parse_each(ps, array, "acls", parse_acl, NULL);
}

int parse_open(struct parse *ps)
{
	struct selector_key source = {.part = PART_SOURCE, .kind = SELECT_ANY};
	struct selector_key destination = {.part = PART_DESTINATION, .kind = SELECT_ANY};
	struct indexes sources = {0};
	struct port_range *ports = NULL;
	uint32_t count = 0, from = 0, to = 0;
	int r = policy_selector(ps->policy, &source, &from);

	if (r == 0)
		r = policy_selector(ps->policy, &destination, &to);
	if (r == 0)
		r = indexes_add(&sources, from);
	if (r < 0) {
		r = parse_no_memory(ps);
	} else {
		r = parse_ports(ps, (struct json_range){0}, "*", &ports, &count);
		if (r == 0 && !add_rule(ps, &sources, (struct json_range){0}))
			r = -ENOMEM;
		if (r == 0)
			r = add_destination(ps, to, TAKE_PTR(ports), count);
	}
	free(ports);
	indexes_clear(&sources);
	return r;
}

/* --- Capabilities --- */

struct capabilities_walk {
	struct policy_capability **list;
	uint32_t *count;
};

static int add_capability(struct parse *ps, const struct capabilities_walk *walk, const char *name,
			  char *values)
{
	struct policy_capability *list = reallocarray(*walk->list, *walk->count + 1, sizeof(*list));
	char *copy = strdup(name);

	if (list)
		*walk->list = list;
	if (!list || !copy) {
		free(copy);
		free(values);
		return parse_no_memory(ps);
	}
	list[(*walk->count)++] = (struct policy_capability){.name = copy, .values = values};
	return 0;
}

/* add_valued() - "NAME": [values], with the values as compact JSON */
static int add_valued(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	_cleanup_free_ char *name = NULL;
	char *values = NULL;
	json_t *tree;
	int r = parse_string(ps, key, "a capability", &name);

	if (r < 0)
		return r;
	if (strstr(name, "://") || !strchr(name, '/'))
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
		tree = json_parse(value, ps->err);
		if (!tree)
			return parse_fail(ps, value, "invalid values");
		values = json_dumps(tree, JSON_COMPACT);
		json_decref(tree);
		if (!values)
			return parse_no_memory(ps);
	}
	return add_capability(ps, data, name, values);
}

static int add_plain(struct parse *ps, struct json_range value, void *data)
{
	_cleanup_free_ char *name = NULL;
	int r = parse_string(ps, value, "a capability", &name);

	return r < 0 ? r : add_capability(ps, data, name, NULL);
}

/* --- grants --- */

/* struct grant - The parts of a grant, from which its rules are made */
struct grant {
	struct indexes sources, destinations;
	struct json_range at;
	struct json_range ip_at;
	bool has_self;

	/* The ports of "ip" so far, by protocol; each becomes a rule. */
	struct {
		uint8_t protocol;
		struct port_range *ports;
		uint32_t port_count;
	} * protocols;
	uint32_t protocol_count;
};

static int add_grant_ports(struct parse *ps, struct grant *g, uint8_t protocol, const char *ports,
			   struct json_range at)
{
	uint32_t i = 0;
	void *grown;
	int r;

	while (i < g->protocol_count && g->protocols[i].protocol != protocol)
		i++;
	if (i == g->protocol_count) {
		grown = reallocarray(g->protocols, i + 1, sizeof(*g->protocols));
		if (!grown)
			return parse_no_memory(ps);
		g->protocols = grown;
		memset(&g->protocols[i], 0, sizeof(g->protocols[i]));
		g->protocols[i].protocol = protocol;
		g->protocol_count++;
	}
	r = parse_ports(ps, at, ports, &g->protocols[i].ports, &g->protocols[i].port_count);
	return r < 0 ? r
		     : check_ports(ps, protocol, g->protocols[i].ports, g->protocols[i].port_count,
				   at);
}

/* add_ip() - "*", "443", "tcp:443", "icmp:*" */
static int add_ip(struct parse *ps, struct json_range value, void *data)
{
	struct grant *g = data;
	_cleanup_free_ char *text = NULL;
	uint8_t protocol = 0;
	char *colon;
	int r = parse_string(ps, value, "protocol:ports", &text);

	if (r < 0)
		return r;
	colon = strchr(text, ':');
	if (!colon)
		return add_grant_ports(ps, g, 0, text, value);
	*colon = 0;
	r = parse_protocol(ps, value, text, &protocol);
	return r < 0 ? r : add_grant_ports(ps, g, protocol, colon + 1, value);
}

/* add_grant_rule() - A rule from the grant's sources to its destinations */
static int add_grant_rule(struct parse *ps, const struct grant *g, uint8_t protocol,
			  const struct port_range *ports, uint32_t count)
{
	struct policy_rule *rule = add_rule(ps, &g->sources, g->at);
	int r = rule ? 0 : ps->err->code;

	if (rule)
		rule->protocol = protocol;
	for (uint32_t i = 0; i < g->destinations.count && r == 0; i++) {
		struct port_range *copy = NULL;

		if (count) {
			copy = reallocarray(NULL, count, sizeof(*copy));
			if (!copy)
				return parse_no_memory(ps);
			memcpy(copy, ports, count * sizeof(*copy));
		}
		r = add_destination(ps, g->destinations.items[i], copy, count);
	}
	return r;
}

static int other_part(struct parse *ps, const struct indexes *from, enum policy_part part,
		      struct indexes *ret)
{
	for (uint32_t i = 0; i < from->count; i++) {
		struct selector_key key = parse_selector_at(ps, from->items[i])->key;
		uint32_t selector;

		/* Sources outside the tailnet have no filter. */
		if (key.kind == SELECT_INTERNET || key.kind == SELECT_DANGER_ALL)
			continue;
		key.part = (uint8_t)part;
		if (policy_selector(ps->policy, &key, &selector) < 0 ||
		    indexes_add(ret, selector) < 0)
			return parse_no_memory(ps);
	}
	return 0;
}

/* add_companions() - The rules in the other direction, for capabilities that need them */
static int add_companions(struct parse *ps, const struct grant *g, uint32_t rule)
{
	struct policy *p = ps->policy;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(companions) && r == 0; i++) {
		struct policy_rule *from = &p->rules[rule];
		struct grant back = {.at = g->at};
		bool wanted = false;

		for (uint32_t c = 0; c < from->capability_count; c++)
			wanted |= !strcmp(from->capabilities[c].name, companions[i].name);
		if (!wanted)
			continue;
		if (g->has_self) {
			/* Self is symmetric. */
			struct capabilities_walk own = {&from->capabilities,
							&from->capability_count};

			r = add_capability(ps, &own, companions[i].companion, NULL);
			continue;
		}
		r = other_part(ps, &g->destinations, PART_SOURCE, &back.sources);
		if (r == 0)
			r = other_part(ps, &g->sources, PART_DESTINATION, &back.destinations);
		if (r == 0)
			r = add_grant_rule(ps, &back, 0, NULL, 0);
		if (r == 0) {
			struct policy_rule *made = &p->rules[p->rule_count - 1];
			struct capabilities_walk walk = {&made->capabilities,
							 &made->capability_count};

			r = add_capability(ps, &walk, companions[i].companion, NULL);
		}
		indexes_clear(&back.sources);
		indexes_clear(&back.destinations);
	}
	return r;
}

static int parse_app(struct parse *ps, const struct grant *g, struct json_range app)
{
	struct policy *p = ps->policy;
	struct policy_capability *capabilities = NULL;
	uint32_t count = 0, rule;
	struct capabilities_walk walk = {&capabilities, &count};
	int r = parse_members(ps, app, "app", add_valued, &walk);

	if (r == 0)
		r = add_grant_rule(ps, g, 0, NULL, 0);
	if (r < 0) {
		for (uint32_t i = 0; i < count; i++) {
			free(capabilities[i].name);
			free(capabilities[i].values);
		}
		free(capabilities);
		return r;
	}
	rule = p->rule_count - 1;
	p->rules[rule].capabilities = capabilities;
	p->rules[rule].capability_count = count;
	return add_companions(ps, g, rule);
}

static int check_grant(struct parse *ps, struct grant *g, const struct parse_field *f)
{
	bool internet = false, self = false;

	for (uint32_t i = 0; i < g->destinations.count; i++) {
		uint8_t kind = parse_selector_at(ps, g->destinations.items[i])->key.kind;

		internet |= kind == SELECT_INTERNET;
		self |= kind == SELECT_SELF;
	}
	if (internet && f[3].value.at)
		return parse_fail(
			ps, f[3].value,
			"autogroup:internet can't have capabilities: grant them to nodes");
	if (self && g->destinations.count > 1 && f[3].value.at)
		return parse_fail(ps, f[1].value,
				  "a grant of capabilities to autogroup:self can't have other "
				  "destinations: split the grant");
	g->has_self = self;
	return self ? check_self(ps, &g->sources, false, f[0].value) : 0;
}

static int parse_grant(struct parse *ps, struct json_range value, void *data)
{
	struct parse_field f[] = {
		{.name = "src"}, {.name = "dst"}, {.name = "ip"}, {.name = "app"}, {0}};
	struct grant g = {.at = value};
	int r = parse_fields(ps, value, "a grant", f);

	(void)data;
	if (!parse_is_object(value))
		return r;
	if (!f[0].value.at || !f[1].value.at)
		r = parse_both(r, parse_fail(ps, value, "a grant without \"%s\"",
					     f[0].value.at ? "dst" : "src"));
	if (!f[2].value.at && !f[3].value.at)
		r = parse_both(
			r,
			parse_fail(
				ps, value,
				"a grant without protocols and capabilities: add \"ip\": [\"*\"] "
				"or \"app\""));
	r = parse_both(r, parse_selectors(ps, PART_SOURCE, f[0].value, "src", &g.sources));
	r = parse_both(r,
		       parse_selectors(ps, PART_DESTINATION, f[1].value, "dst", &g.destinations));
	r = parse_both(r, check_grant(ps, &g, f));
	r = parse_both(r, parse_each(ps, f[2].value, "ip", add_ip, &g));
	for (uint32_t i = 0; i < g.protocol_count && r == 0; i++)
		r = add_grant_rule(ps, &g, g.protocols[i].protocol, g.protocols[i].ports,
				   g.protocols[i].port_count);
	if (parse_goes_on(ps, r) && f[3].value.at)
		r = parse_both(r, parse_app(ps, &g, f[3].value));
	for (uint32_t i = 0; i < g.protocol_count; i++)
		free(g.protocols[i].ports);
	free(g.protocols);
	indexes_clear(&g.sources);
	indexes_clear(&g.destinations);
	return r;
}

int parse_grants(struct parse *ps, struct json_range array)
{
	return parse_each(ps, array, "grants", parse_grant, NULL);
}

/* --- nodeAttrs --- */

static int parse_attribute(struct parse *ps, struct json_range value, void *data)
{
	struct parse_field f[] = {
		{.name = "target"}, {.name = "attr"}, {.name = "app"}, {.name = "ipPool"}, {0}};
	struct policy *p = ps->policy;
	struct policy_attribute *a;
	struct capabilities_walk walk;
	int r = parse_fields(ps, value, "nodeAttrs", f);

	(void)data;
	if (!parse_is_object(value))
		return r;
	if (f[3].value.at)
		r = parse_both(
			r, parse_fail(ps, f[3].key, "\"ipPool\" is not supported: leave it out"));
	if (!f[0].value.at)
		r = parse_both(r,
			       parse_fail(ps, value,
					  "nodeAttrs without \"target\"; [\"*\"] means all nodes"));
	if (!parse_goes_on(ps, r))
		return r;
	a = ARRAY_ADD(p->attributes, p->attribute_count, p->attribute_capacity);
	if (!a)
		return parse_no_memory(ps);
	walk = (struct capabilities_walk){&a->capabilities, &a->capability_count};
	r = parse_both(r, parse_selectors(ps, PART_ATTRIBUTE, f[0].value, "target", &a->targets));
	r = parse_both(r, parse_each(ps, f[1].value, "attr", add_plain, &walk));
	r = parse_both(r, parse_members(ps, f[2].value, "app", add_valued, &walk));
	for (uint32_t i = 0; i < a->targets.count && r == 0; i++)
		if (indexes_add(&p->selectors[a->targets.items[i]]->uses, p->attribute_count - 1) <
		    0)
			r = parse_no_memory(ps);
	return r;
}

int parse_attributes(struct parse *ps, struct json_range array)
{
	return parse_each(ps, array, "nodeAttrs", parse_attribute, NULL);
}

int parse_random_port(struct parse *ps, struct json_range value)
{
	struct selector_key any = {.part = PART_ATTRIBUTE, .kind = SELECT_ANY};
	struct policy *p = ps->policy;
	struct policy_attribute *a;
	uint32_t selector;

	if (!value.at || json_range_is(value, "false"))
		return 0;
	if (!json_range_is(value, "true"))
		return parse_fail(ps, value, "randomizeClientPort is true or false");
	a = ARRAY_ADD(p->attributes, p->attribute_count, p->attribute_capacity);
	if (!a || policy_selector(p, &any, &selector) < 0 ||
	    indexes_add(&a->targets, selector) < 0 ||
	    indexes_add(&p->selectors[selector]->uses, p->attribute_count - 1) < 0)
		return parse_no_memory(ps);
	return add_capability(ps,
			      &(struct capabilities_walk){&a->capabilities, &a->capability_count},
			      "randomize-client-port", NULL);
}
