/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_ssh.c - the sections ssh, tests and sshTests */
#include "base/text.h"
#include "server/policy/policy_parse.h"
#include "wire/ip.h"

#include <string.h>

#define HOURS                (INT64_C(3600) * 1000000000)
#define CHECK_PERIOD_DEFAULT (12 * HOURS)
#define CHECK_PERIOD_MAX     (168 * HOURS)
#define LOCALPART            "localpart:"

static bool parse_user(struct parse *ps, struct json_range at, char *text, void *data)
{
	struct policy_ssh_rule *rule = data;
	const char *domain;

	if (!strcmp(text, "*"))
		return parse_fail(ps, at,
				  "\"*\" is not a valid user: write autogroup:nonroot for all "
				  "users but root, and root");
	if (!strcmp(text, "autogroup:nonroot")) {
		rule->nonroot = true;
		return true;
	}
	if (!strcmp(text, "root")) {
		rule->root = true;
		return true;
	}
	if (strncmp(text, LOCALPART, strlen(LOCALPART)) != 0)
		return string_list_add(&rule->users, text) == 0 || parse_no_memory(ps);
	domain = text + strlen(LOCALPART);
	if (strncmp(domain, "*@", 2) != 0 || !domain[2])
		return parse_fail(ps, at, "\"%s\": write it as localpart:*@example.com", text);
	return string_list_add(&rule->domains, domain + 2) == 0 || parse_no_memory(ps);
}

static void parse_period(struct parse *ps, const struct parse_field *field,
			 struct policy_ssh_rule *rule)
{
	_cleanup_free_ char *text = NULL;

	rule->period = CHECK_PERIOD_DEFAULT;
	if (field->value.at && !rule->check)
		parse_fail(ps, field->key, "checkPeriod needs \"action\": \"check\"");
	else if (field->value.at)
		text = parse_string(ps, field->value, "a time");
	if (!text)
		return;
	if (!strcmp(text, "always"))
		rule->period = 0;
	else if (duration_parse(text, strlen(text), false, &rule->period) < 0 ||
		 rule->period <= 0 || rule->period > CHECK_PERIOD_MAX)
		parse_fail(ps, field->value,
			   "\"%s\": a checkPeriod is \"always\", or a time up to 168h, as "
			   "\"12h\"",
			   text);
}

/* check_pairs() - A tagged node can't log in as a user, and a user not as another user */
static bool check_pairs(struct parse *ps, const struct policy_ssh_rule *rule, struct json_range at)
{
	bool tagged = false, several = rule->sources.count != 1;
	const struct selector *source = NULL;

	for (uint32_t i = 0; i < rule->sources.count; i++) {
		source = parse_selector_at(ps, rule->sources.items[i]);
		tagged |= source->key.kind == SELECT_TAG || source->key.kind == SELECT_TAGGED;
	}
	for (uint32_t i = 0; i < rule->destinations.count; i++) {
		const struct selector *d = parse_selector_at(ps, rule->destinations.items[i]);

		if (tagged && (d->key.kind == SELECT_USER || d->key.kind == SELECT_MEMBER ||
			       d->key.kind == SELECT_SELF))
			return parse_fail(ps, at,
					  "a tagged source can't log in on users' nodes: "
					  "use a tag or autogroup:tagged as destination");
		if (d->key.kind == SELECT_USER &&
		    (several || source->key.kind != SELECT_USER || source->key.name != d->key.name))
			return parse_fail(ps, at,
					  "on a user's nodes only that user may log in: use "
					  "autogroup:self as destination");
	}
	return true;
}

static void parse_action(struct parse *ps, struct json_range at, struct json_range rule,
			 bool *check)
{
	if (!at.at) {
		parse_fail(ps, rule,
			   "an ssh rule without \"action\": it is \"accept\" or \"check\"");
		return;
	}
	*check = json_range_is(at, "\"check\"");
	if (!*check && !json_range_is(at, "\"accept\""))
		parse_fail(ps, at, "an ssh rule's action is \"accept\" or \"check\"");
}

bool parse_ssh_rule(struct parse *ps, struct json_range value, void *unused)
{
	struct parse_field f[] = {{.name = "action"},
				  {.name = "src"},
				  {.name = "dst"},
				  {.name = "users"},
				  {.name = "checkPeriod"},
				  {.name = "acceptEnv"},
				  {0}};
	struct policy *p = ps->policy;
	struct policy_ssh_rule *rule;
	uint32_t before = ps->problem_count;

	(void)unused;
	if (!parse_fields(ps, value, "an ssh rule", f))
		return false;
	for (size_t i = 1; i <= 3; i++)
		if (!f[i].value.at)
			parse_fail(ps, value, "an ssh rule without \"%s\"", f[i].name);
	rule = ARRAY_ADD(p->ssh, p->ssh_count, p->ssh_capacity);
	if (!rule)
		return parse_no_memory(ps);
	parse_action(ps, f[0].value, value, &rule->check);
	parse_selectors(ps, PART_SSH_SOURCE, f[1].value, "src", &rule->sources);
	parse_selectors(ps, PART_SSH_DESTINATION, f[2].value, "dst", &rule->destinations);
	if (ps->problem_count == before)
		check_pairs(ps, rule, f[2].value);
	parse_each_string(ps, f[3].value, "users", "a user of the system", parse_user, rule);
	if (ps->problem_count == before && !rule->root && !rule->nonroot && !rule->users.count &&
	    !rule->domains.count)
		parse_fail(ps, f[3].value,
			   "an ssh rule without a user: add \"root\" or \"autogroup:nonroot\"");
	parse_period(ps, &f[4], rule);
	parse_strings(ps, f[5].value, "acceptEnv", &rule->environment);
	for (uint32_t i = 0; i < rule->destinations.count; i++)
		rule->has_self |=
			parse_selector_at(ps, rule->destinations.items[i])->key.kind == SELECT_SELF;
	return parse_add_uses(ps, &rule->sources, p->ssh_count - 1) &&
	       parse_add_uses(ps, &rule->destinations, p->ssh_count - 1);
}

/* --- tests --- */

static uint32_t parse_source(struct parse *ps, struct json_range value, struct json_range test)
{
	_cleanup_free_ char *text = NULL;

	if (value.at)
		text = parse_string(ps, value, "a source");
	else
		parse_fail(ps, test, "a test without \"src\"");
	return text ? parse_selector(ps, PART_TEST, text, value) : NONE;
}

/* add_assertion() - @data: an assertion with its source, protocol and result */
static bool add_assertion(struct parse *ps, struct json_range at, char *text, void *data)
{
	struct policy *p = ps->policy;
	struct policy_assertion a = *(const struct policy_assertion *)data, *added;
	const char *ports_text = parse_split(ps, at, text);
	struct port_list ports = {0};
	const struct selector *target;
	bool good;

	if (!ports_text)
		return false;
	good = parse_ports(ps, at, ports_text, &ports);
	if (good && (ports.count != 1 || ports.items[0].first != ports.items[0].last))
		good = parse_fail(ps, at, "a test needs a single port, not \"%s\"", ports_text);
	if (good)
		a.port = ports.items[0].first;
	free(ports.items);
	a.at = at;
	a.target = parse_selector(ps, PART_TEST, text, at);
	if (!good || a.target == NONE)
		return false;
	target = parse_selector_at(ps, a.target);
	if (target->key.kind == SELECT_PREFIX &&
	    target->key.prefix.bits != address_bits(&target->key.prefix.address))
		return parse_fail(ps, at, "a test needs a single address, not a prefix");
	added = ARRAY_ADD(p->assertions, p->assertion_count, p->assertion_capacity);
	if (!added)
		return parse_no_memory(ps);
	*added = a;
	return true;
}

bool parse_test(struct parse *ps, struct json_range value, void *unused)
{
	struct parse_field f[] = {
		{.name = "src"}, {.name = "proto"}, {.name = "accept"}, {.name = "deny"}, {0}};
	struct policy_assertion a = {.expectation = EXPECT_ACCEPT};
	uint32_t before = ps->policy->assertion_count, problems = ps->problem_count;

	(void)unused;
	if (!parse_fields(ps, value, "a test", f))
		return false;
	a.source = parse_source(ps, f[0].value, value);
	if (parse_protocol_field(ps, f[1].value, &a.protocol) && a.protocol &&
	    a.protocol != IP_PROTOCOL_TCP && a.protocol != IP_PROTOCOL_UDP &&
	    a.protocol != IP_PROTOCOL_SCTP)
		parse_fail(ps, f[1].value, "a test's protocol is tcp, udp or sctp");
	parse_each_string(ps, f[2].value, "accept", "host:port", add_assertion, &a);
	a.expectation = EXPECT_DENY;
	parse_each_string(ps, f[3].value, "deny", "host:port", add_assertion, &a);
	if (ps->problem_count == problems && ps->policy->assertion_count == before)
		return parse_fail(ps, value,
				  "a test without assertions: add \"accept\" or \"deny\"");
	return true;
}

/* --- sshTests --- */

struct ssh_walk {
	struct policy_assertion assertion; /* with its source and result */
	struct indexes destinations;
};

static bool add_ssh_destination(struct parse *ps, struct json_range at, char *text, void *data)
{
	uint32_t selector = parse_selector(ps, PART_TEST, text, at);

	return selector != NONE && parse_add(ps, data, selector);
}

static bool add_ssh_assertions(struct parse *ps, struct json_range at, char *user, void *data)
{
	const struct ssh_walk *walk = data;
	struct policy *p = ps->policy;

	for (uint32_t i = 0; i < walk->destinations.count; i++) {
		struct policy_assertion *added =
			ARRAY_ADD(p->assertions, p->assertion_count, p->assertion_capacity);

		if (!added)
			return parse_no_memory(ps);
		*added = walk->assertion;
		added->target = walk->destinations.items[i];
		added->at = at;
		added->user = strdup(user);
		if (!added->user)
			return parse_no_memory(ps);
	}
	return true;
}

bool parse_ssh_test(struct parse *ps, struct json_range value, void *unused)
{
	struct parse_field f[] = {{.name = "src"},   {.name = "dst"},  {.name = "accept"},
				  {.name = "check"}, {.name = "deny"}, {0}};
	struct ssh_walk walk = {0};
	uint32_t before = ps->problem_count;

	(void)unused;
	if (!parse_fields(ps, value, "an ssh test", f))
		return false;
	walk.assertion.source = parse_source(ps, f[0].value, value);
	parse_each_string(ps, f[1].value, "dst", "a destination", add_ssh_destination,
			  &walk.destinations);
	if (ps->problem_count == before && walk.destinations.count == 0)
		parse_fail(ps, value, "an ssh test without \"dst\"");
	for (unsigned int e = EXPECT_ACCEPT; e <= EXPECT_DENY; e++) {
		walk.assertion.expectation = e;
		parse_each_string(ps, f[2 + e].value, f[2 + e].name, "a user of the system",
				  add_ssh_assertions, &walk);
	}
	indexes_clear(&walk.destinations);
	return true;
}
