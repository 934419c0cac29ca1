/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_ssh.c - the ssh section */
#include "base/text.h"
#include "server/policy/policy_parse.h"

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
				  "\"*\" is no user: write autogroup:nonroot for all but "
				  "root, and root");
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
		return parse_fail(ps, field->key, "checkPeriod goes with \"action\": \"check\"");
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

/* check_pairs() - A machine doesn't become a person, and a person no other one */
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
					  "a tagged source can't log in on people's nodes: "
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
	rule = policy_grow(p->ssh, &p->ssh_count, &p->ssh_capacity, sizeof(*rule));
	if (!rule)
		return parse_no_memory(ps);
	p->ssh = rule;
	rule = &rule[p->ssh_count - 1];
	r = parse_both(r, parse_action(ps, f[0].value, value, &rule->check));
	r = parse_both(r, parse_selectors(ps, PART_SSH_SOURCE, f[1].value, "src", &rule->sources));
	r = parse_both(r, parse_selectors(ps, PART_SSH_DESTINATION, f[2].value, "dst",
					  &rule->destinations));
	if (r == 0)
		r = check_pairs(ps, rule, f[2].value);
	r = parse_both(r, parse_each(ps, f[3].value, "users", parse_user, rule));
	if (r == 0 && !rule->root && !rule->nonroot && !rule->users.count && !rule->domains.count)
		r = parse_fail(ps, f[3].value,
			       "an ssh rule for no user: add \"root\" or "
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
