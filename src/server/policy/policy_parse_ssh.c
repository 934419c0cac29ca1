/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_ssh.c - the sections ssh, tests and sshTests */
#include "base/text.h"
#include "server/policy/policy_parse.h"
#include "wire/ip.h"

#include <errno.h>
#include <string.h>

#define HOURS                (INT64_C(3600) * 1000000000)
#define CHECK_PERIOD_DEFAULT (12 * HOURS)
#define CHECK_PERIOD_MAX     (168 * HOURS)
#define LOCALPART            "localpart:"

static int parse_user(struct parse *ps, struct json_range value, void *data)
{
	struct policy_ssh_rule *rule = data;
	_cleanup_free_ char *text = NULL;
	const char *domain;
	int r = parse_string(ps, value, "a user of the system", &text);

	if (r < 0)
		return r;
	if (!strcmp(text, "*"))
		return parse_fail(ps, value,
				  "\"*\" is not a valid user: write autogroup:nonroot for all "
				  "users but root, and root");
	if (!strcmp(text, "autogroup:nonroot")) {
		rule->nonroot = true;
		return 0;
	}
	if (!strcmp(text, "root")) {
		rule->root = true;
		return 0;
	}
	if (strncmp(text, LOCALPART, strlen(LOCALPART)) != 0)
		return string_list_add(&rule->users, text) < 0 ? parse_no_memory(ps) : 0;
	domain = text + strlen(LOCALPART);
	if (strncmp(domain, "*@", 2) != 0 || !domain[2])
		return parse_fail(ps, value, "\"%s\": write it as localpart:*@example.com", text);
	return string_list_add(&rule->domains, domain + 2) < 0 ? parse_no_memory(ps) : 0;
}

static int parse_period(struct parse *ps, const struct parse_field *field,
			struct policy_ssh_rule *rule)
{
	_cleanup_free_ char *text = NULL;
	int r;

	rule->period = CHECK_PERIOD_DEFAULT;
	if (!field->value.at)
		return 0;
	if (!rule->check)
		return parse_fail(ps, field->key, "checkPeriod needs \"action\": \"check\"");
	r = parse_string(ps, field->value, "a time", &text);
	if (r < 0)
		return r;
	if (!strcmp(text, "always"))
		rule->period = 0;
	else if (duration_parse(text, strlen(text), false, &rule->period) < 0 ||
		 rule->period <= 0 || rule->period > CHECK_PERIOD_MAX)
		return parse_fail(ps, field->value,
				  "\"%s\": a checkPeriod is \"always\", or a time up to 168h, as "
				  "\"12h\"",
				  text);
	return 0;
}

/* check_pairs() - A tagged node can't log in as a user, and a user not as another user */
static int check_pairs(struct parse *ps, const struct policy_ssh_rule *rule, struct json_range at)
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
	return 0;
}

static int add_uses(struct parse *ps, const struct indexes *selectors, uint32_t rule)
{
	for (uint32_t i = 0; i < selectors->count; i++)
		if (indexes_add(&ps->policy->selectors[selectors->items[i]]->uses, rule) < 0)
			return parse_no_memory(ps);
	return 0;
}

static int parse_action(struct parse *ps, struct json_range at, struct json_range rule, bool *check)
{
	if (!at.at)
		return parse_fail(ps, rule,
				  "an ssh rule without \"action\": it is \"accept\" or "
				  "\"check\"");
	*check = json_range_is(at, "\"check\"");
	if (!*check && !json_range_is(at, "\"accept\""))
		return parse_fail(ps, at, "an ssh rule's action is \"accept\" or \"check\"");
	return 0;
}

static int parse_ssh_rule(struct parse *ps, struct json_range value, void *data)
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
	int r = parse_fields(ps, value, "an ssh rule", f);

	(void)data;
	if (!parse_is_object(value))
		return r;
	for (size_t i = 1; i <= 3; i++)
		if (!f[i].value.at)
			r = parse_both(
				r, parse_fail(ps, value, "an ssh rule without \"%s\"", f[i].name));
	if (!parse_goes_on(ps, r))
		return r;
	rule = ARRAY_ADD(p->ssh, p->ssh_count, p->ssh_capacity);
	if (!rule)
		return parse_no_memory(ps);
	r = parse_both(r, parse_action(ps, f[0].value, value, &rule->check));
	r = parse_both(r, parse_selectors(ps, PART_SSH_SOURCE, f[1].value, "src", &rule->sources));
	r = parse_both(r, parse_selectors(ps, PART_SSH_DESTINATION, f[2].value, "dst",
					  &rule->destinations));
	if (r == 0)
		r = check_pairs(ps, rule, f[2].value);
	r = parse_both(r, parse_each(ps, f[3].value, "users", parse_user, rule));
	if (r == 0 && !rule->root && !rule->nonroot && !rule->users.count && !rule->domains.count)
		r = parse_fail(ps, f[3].value,
			       "an ssh rule without a user: add \"root\" or "
			       "\"autogroup:nonroot\"");
	r = parse_both(r, parse_period(ps, &f[4], rule));
	r = parse_both(r, parse_strings(ps, f[5].value, "acceptEnv", &rule->environment));
	for (uint32_t i = 0; i < rule->destinations.count; i++)
		rule->has_self |=
			parse_selector_at(ps, rule->destinations.items[i])->key.kind == SELECT_SELF;
	if (r == 0)
		r = add_uses(ps, &rule->sources, p->ssh_count - 1);
	return r < 0 ? r : add_uses(ps, &rule->destinations, p->ssh_count - 1);
}

int parse_ssh(struct parse *ps, struct json_range array)
{
	ps->policy->has_ssh = array.at != NULL;
	return parse_each(ps, array, "ssh", parse_ssh_rule, NULL);
}

/* --- tests --- */

struct assertions_walk {
	uint32_t source;
	uint8_t protocol;
	bool allowed;
};

static int parse_source(struct parse *ps, struct json_range value, struct json_range test,
			uint32_t *ret)
{
	_cleanup_free_ char *text = NULL;
	int r;

	if (!value.at)
		return parse_fail(ps, test, "a test without \"src\"");
	r = parse_string(ps, value, "a source", &text);
	return r < 0 ? r : parse_selector(ps, PART_TEST, text, value, ret);
}

static int add_assertion(struct parse *ps, struct json_range value, void *data)
{
	const struct assertions_walk *walk = data;
	struct policy *p = ps->policy;
	struct policy_assertion a = {.source = walk->source,
				     .protocol = walk->protocol,
				     .allowed = walk->allowed,
				     .target.at = value};
	struct policy_assertion *added;
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ struct port_range *ports = NULL;
	const struct selector *target;
	uint32_t count = 0;
	char *host = NULL, *ports_text = NULL;
	int r = parse_string(ps, value, "host:port", &text);

	if (r == 0)
		r = parse_split(ps, value, text, &host, &ports_text);
	if (r < 0)
		return r;
	r = parse_ports(ps, value, ports_text, &ports, &count);
	if (r == 0 && (count != 1 || ports[0].first != ports[0].last))
		r = parse_fail(ps, value, "a test needs a single port, not \"%s\"", ports_text);
	r = parse_both(r, parse_selector(ps, PART_TEST, host, value, &a.target.selector));
	if (r < 0)
		return r;
	target = parse_selector_at(ps, a.target.selector);
	if (target->key.kind == SELECT_PREFIX &&
	    target->key.prefix.bits != address_bits(&target->key.prefix.address))
		return parse_fail(ps, value, "a test needs a single address, not a prefix");
	a.target.port = ports[0].first;
	added = ARRAY_ADD(p->assertions, p->assertion_count, p->assertion_capacity);
	if (!added)
		return parse_no_memory(ps);
	*added = a;
	return 0;
}

static int parse_test(struct parse *ps, struct json_range value, void *data)
{
	struct parse_field f[] = {
		{.name = "src"}, {.name = "proto"}, {.name = "accept"}, {.name = "deny"}, {0}};
	_cleanup_free_ char *protocol = NULL;
	struct assertions_walk walk = {0};
	uint32_t before = ps->policy->assertion_count;
	int r = parse_fields(ps, value, "a test", f);

	(void)data;
	if (!parse_is_object(value))
		return r;
	r = parse_both(r, parse_source(ps, f[0].value, value, &walk.source));
	if (f[1].value.at && !json_range_is(f[1].value, "\"\""))
		r = parse_both(r, parse_string(ps, f[1].value, "a protocol", &protocol));
	r = parse_both(r, parse_protocol(ps, f[1].value, protocol, &walk.protocol));
	if (r == 0 && walk.protocol && walk.protocol != IP_PROTOCOL_TCP &&
	    walk.protocol != IP_PROTOCOL_UDP && walk.protocol != IP_PROTOCOL_SCTP)
		r = parse_fail(ps, f[1].value, "a test's protocol is tcp, udp or sctp");
	walk.allowed = true;
	r = parse_both(r, parse_each(ps, f[2].value, "accept", add_assertion, &walk));
	walk.allowed = false;
	r = parse_both(r, parse_each(ps, f[3].value, "deny", add_assertion, &walk));
	if (r == 0 && ps->policy->assertion_count == before)
		r = parse_fail(ps, value, "a test without assertions: add \"accept\" or \"deny\"");
	return r;
}

int parse_tests(struct parse *ps, struct json_range array)
{
	return parse_each(ps, array, "tests", parse_test, NULL);
}

/* --- sshTests --- */

struct ssh_walk {
	uint32_t source;
	struct indexes destinations;
	enum ssh_expectation expectation;
};

static int add_ssh_destination(struct parse *ps, struct json_range value, void *data)
{
	struct ssh_walk *walk = data;
	_cleanup_free_ char *text = NULL;
	uint32_t selector;
	int r = parse_string(ps, value, "a destination", &text);

	if (r == 0)
		r = parse_selector(ps, PART_TEST, text, value, &selector);
	if (r == 0 && indexes_add(&walk->destinations, selector) < 0)
		r = parse_no_memory(ps);
	return r;
}

static int add_ssh_assertions(struct parse *ps, struct json_range value, void *data)
{
	const struct ssh_walk *walk = data;
	struct policy *p = ps->policy;
	_cleanup_free_ char *user = NULL;
	int r = parse_string(ps, value, "a user of the system", &user);

	for (uint32_t i = 0; i < walk->destinations.count && r == 0; i++) {
		struct policy_ssh_assertion *added = ARRAY_ADD(
			p->ssh_assertions, p->ssh_assertion_count, p->ssh_assertion_capacity);

		if (!added)
			return parse_no_memory(ps);
		*added = (struct policy_ssh_assertion){
			.source = walk->source,
			.destination = walk->destinations.items[i],
			.expectation = walk->expectation,
			.user = strdup(user),
			.at = value,
		};
		if (!added->user)
			r = parse_no_memory(ps);
	}
	return r;
}

static int parse_ssh_test(struct parse *ps, struct json_range value, void *data)
{
	struct parse_field f[] = {{.name = "src"},   {.name = "dst"},  {.name = "accept"},
				  {.name = "check"}, {.name = "deny"}, {0}};
	struct ssh_walk walk = {0};
	int r = parse_fields(ps, value, "an ssh test", f);

	(void)data;
	if (!parse_is_object(value))
		return r;
	r = parse_both(r, parse_source(ps, f[0].value, value, &walk.source));
	r = parse_both(r, parse_each(ps, f[1].value, "dst", add_ssh_destination, &walk));
	if (r == 0 && walk.destinations.count == 0)
		r = parse_fail(ps, value, "an ssh test without \"dst\"");
	for (unsigned int e = EXPECT_ACCEPT; e <= EXPECT_DENY; e++) {
		walk.expectation = e;
		r = parse_both(r, parse_each(ps, f[2 + e].value, f[2 + e].name, add_ssh_assertions,
					     &walk));
	}
	indexes_clear(&walk.destinations);
	return r;
}

int parse_ssh_tests(struct parse *ps, struct json_range array)
{
	return parse_each(ps, array, "sshTests", parse_ssh_test, NULL);
}
