/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/policy_test.c - a policy's own tests
 *
 * A test is evaluated against the policy's rules, not against the lists of struct applied_policy:
 * each side of a test becomes a subject, and each rule is applied to the two subjects.
 */
#include "server/policy/applied_policy_internal.h"

#include "server/policy/hujson.h"
#include "wire/ip.h"

#include <errno.h>
#include <string.h>

/* struct subject - One side of a test */
struct subject {
	const char *login;              /* NULL: tagged, or unknown */
	const struct string_list *tags; /* of an existing node, or … */
	const char *tag;
	bool is_node;          /* of the tailnet */
	struct prefix address; /* ADDRESS_NONE: somewhere in the tailnet */
	const char *name;      /* for the error */
};

static bool is_tagged(const struct subject *subject)
{
	return subject->tag || (subject->tags && subject->tags->count);
}

static bool has_tag(const struct subject *subject, const char *tag)
{
	return (subject->tag && !strcmp(subject->tag, tag)) ||
	       (subject->tags && string_list_contains(subject->tags, tag));
}

static bool in_group(const struct policy *p, const char *login, uint32_t group)
{
	const struct policy_name *name =
		login ? policy_name_find(p, NAME_LOGIN, login, login_length(login)) : NULL;

	for (uint32_t i = 0; name && i < name->groups.count; i++)
		if (name->groups.items[i] == group)
			return true;
	return false;
}

static bool is_login(const struct policy *p, const char *login, uint32_t number)
{
	const struct policy_name *name =
		login ? policy_name_find(p, NAME_LOGIN, login, login_length(login)) : NULL;

	return name && name->number == number;
}

/* in_prefix() - Whether the subject's possible addresses lie in @p */
static bool in_prefix(const struct prefix *p, const struct subject *subject)
{
	const struct prefix *own = policy_tailnet_ranges;

	if (subject->address.address.family != ADDRESS_NONE)
		return prefix_covers(p, &subject->address);
	return prefix_covers(p, &own[0]) || prefix_covers(p, &own[1]);
}

static bool is_subject(const struct policy *p, const struct selector *s,
		       const struct subject *subject)
{
	const struct prefix *own = policy_tailnet_ranges;

	switch (s->key.kind) {
	case SELECT_ANY:
		return s->key.part == PART_DESTINATION || in_prefix(&own[0], subject) ||
		       in_prefix(&own[1], subject);
	case SELECT_DANGER_ALL:
		return true;
	case SELECT_USER:
		return !is_tagged(subject) && is_login(p, subject->login, s->key.name);
	case SELECT_GROUP:
		return !is_tagged(subject) && in_group(p, subject->login, s->key.name);
	case SELECT_TAG:
		return has_tag(subject, p->names[NAME_TAG].items[s->key.name]->text);
	case SELECT_PREFIX:
		return in_prefix(&s->key.prefix, subject);
	case SELECT_MEMBER:
		return subject->is_node && !is_tagged(subject);
	case SELECT_TAGGED:
		return is_tagged(subject);
	case SELECT_INTERNET:
		return subject->address.address.family != ADDRESS_NONE &&
		       policy_is_internet(&subject->address);
	default:
		return false;
	}
}

static bool is_one_of(const struct policy *p, const struct indexes *selectors,
		      const struct subject *subject)
{
	for (uint32_t i = 0; i < selectors->count; i++)
		if (is_subject(p, p->selectors[selectors->items[i]], subject))
			return true;
	return false;
}

/* same_user() - For autogroup:self */
static bool same_user(const struct subject *a, const struct subject *b)
{
	return a->login && b->login && !is_tagged(a) && !is_tagged(b) &&
	       login_length(a->login) == login_length(b->login) &&
	       !strncmp(a->login, b->login, login_length(a->login));
}

static bool rule_allows(const struct policy *p, const struct policy_rule *rule,
			const struct subject *from, const struct subject *to, uint16_t port)
{
	if (!is_one_of(p, &rule->sources, from))
		return false;
	for (uint32_t i = 0; i < rule->destinations.count; i++) {
		const struct policy_destination *d = &p->destinations[rule->destinations.items[i]];
		const struct selector *s = p->selectors[d->selector];

		if (s->key.kind == SELECT_SELF ? !same_user(from, to) : !is_subject(p, s, to))
			continue;
		for (uint32_t k = 0; k < d->ports.count; k++)
			if (port >= d->ports.items[k].first && port <= d->ports.items[k].last)
				return true;
	}
	return false;
}

/* protocol_fits() - A test without a protocol asks for TCP or UDP */
static bool protocol_fits(uint8_t rule, uint8_t test)
{
	bool by_default = test != IP_PROTOCOL_SCTP;

	if (rule == 0)
		return by_default;
	return test ? rule == test : rule == IP_PROTOCOL_TCP || rule == IP_PROTOCOL_UDP;
}

static bool allows(const struct policy *p, const struct subject *from, const struct subject *to,
		   uint16_t port, uint8_t protocol)
{
	for (uint32_t i = 0; i < p->rule_count; i++)
		if (protocol_fits(p->rules[i].protocol, protocol) &&
		    rule_allows(p, &p->rules[i], from, to, port))
			return true;
	return false;
}

/* --- The subjects of a test --- */

struct subjects {
	struct subject *items;
	uint32_t count, capacity;
};

static int add_subject(struct subjects *subjects, struct subject subject)
{
	struct subject *added = ARRAY_ADD(subjects->items, subjects->count, subjects->capacity);

	if (!added)
		return -ENOMEM;
	*added = subject;
	return 0;
}

/* node_at() - The node with an address, or NULL */
static const struct applied_node *node_at(const struct applied_policy *nodes,
					  const struct prefix *address)
{
	for (const struct applied_node *n = nodes ? nodes->nodes : NULL; n; n = n->hh.next)
		if (address->bits == address_bits(&address->address) &&
		    (address_equal(&n->v4, &address->address) ||
		     address_equal(&n->v6, &address->address)))
			return n;
	return NULL;
}

static int add_group(const struct policy *p, uint32_t group, struct subjects *subjects)
{
	const struct name_table *logins = &p->names[NAME_LOGIN];
	int r = 0;

	for (uint32_t i = 0; i < logins->count && r == 0; i++) {
		const char *login = logins->items[i]->text;

		if (in_group(p, login, group))
			r = add_subject(
				subjects,
				(struct subject){.login = login, .name = login, .is_node = true});
	}
	return r;
}

static int find_people(const struct policy *p, const struct applied_policy *nodes,
		       uint32_t selector, struct subjects *subjects)
{
	const struct selector *s = p->selectors[selector];
	struct subject subject = {.is_node = true};
	const struct applied_node *node;

	switch (s->key.kind) {
	case SELECT_USER:
		subject.login = subject.name = p->names[NAME_LOGIN].items[s->key.name]->text;
		return add_subject(subjects, subject);
	case SELECT_GROUP:
		return add_group(p, s->key.name, subjects);
	case SELECT_TAG:
		subject.tag = subject.name = p->names[NAME_TAG].items[s->key.name]->text;
		return add_subject(subjects, subject);
	case SELECT_MEMBER:
		subject.name = "autogroup:member";
		return add_subject(subjects, subject);
	case SELECT_TAGGED:
		subject.tag = "autogroup:tagged"; /* no tag that a rule could name */
		subject.name = subject.tag;
		return add_subject(subjects, subject);
	default:
		node = node_at(nodes, &s->key.prefix);
		subject.address = s->key.prefix;
		subject.name = "that address";
		subject.is_node = node != NULL;
		if (node) {
			subject.login = node->user;
			subject.tags = &node->tags;
		}
		return add_subject(subjects, subject);
	}
}

/* fail() - The error for an assertion that failed, with its place and its subjects */
static int fail(const struct policy *p, struct json_range at, const struct subject *from,
		const char *what, struct error *err)
{
	struct hujson_position place = hujson_position(p->text, (size_t)(at.at - p->text));

	return error_set(err, -EPERM, "line %zu, column %zu: the test fails: %s %s %.*s",
			 place.line, place.column, from->name, what,
			 (int)(at.length < 80 ? at.length : 80), at.at);
}

/* --- SSH --- */

static enum policy_ssh_action ssh_action(const struct policy *p, const struct subject *from,
					 const struct subject *to, const char *user)
{
	enum policy_ssh_action action = POLICY_SSH_REFUSE;

	for (uint32_t i = 0; i < p->ssh_count; i++) {
		const struct policy_ssh_rule *rule = &p->ssh[i];

		if (!is_one_of(p, &rule->sources, from) ||
		    !policy_ssh_allows(rule, from->login, user))
			continue;
		if (!is_one_of(p, &rule->destinations, to) &&
		    !(rule->has_self && same_user(from, to)))
			continue;
		if (rule->check)
			return POLICY_SSH_CHECK;
		action = POLICY_SSH_ACCEPT;
	}
	return action;
}

/* unmet() - What is wrong, for the error; NULL: the assertion holds */
static const char *unmet(const struct policy *p, const struct policy_assertion *a,
			 const struct subject *from, const struct subject *to)
{
	enum policy_ssh_action action;
	bool allowed;

	if (!a->user) {
		allowed = allows(p, from, to, a->port, a->protocol);
		if (a->expectation == EXPECT_ACCEPT)
			return allowed ? NULL : "must reach, but no rule lets it reach";
		return allowed ? "must not reach, but a rule lets it reach" : NULL;
	}
	action = ssh_action(p, from, to, a->user);
	if (a->expectation == EXPECT_ACCEPT && action == POLICY_SSH_REFUSE)
		return "must be let in, but no ssh rule lets it be";
	if (a->expectation == EXPECT_CHECK && action != POLICY_SSH_CHECK)
		return "must be checked, but no ssh rule does that for";
	if (a->expectation == EXPECT_DENY && action != POLICY_SSH_REFUSE)
		return "must be kept out, but an ssh rule lets it be";
	return NULL;
}

static int run_assertion(const struct policy *p, const struct applied_policy *nodes,
			 const struct policy_assertion *a, struct error *err)
{
	struct subjects from = {0}, to = {0};
	int r = find_people(p, nodes, a->source, &from);

	if (r == 0)
		r = find_people(p, nodes, a->target, &to);
	for (uint32_t f = 0; f < from.count && r == 0; f++)
		for (uint32_t i = 0; i < to.count && r == 0; i++) {
			const char *what = unmet(p, a, &from.items[f], &to.items[i]);

			if (what)
				r = fail(p, a->at, &from.items[f], what, err);
		}
	free(from.items);
	free(to.items);
	return r;
}

int policy_test(const struct policy *policy, const struct applied_policy *nodes,
		struct string_list *problems, struct error *err)
{
	uint32_t failed = 0;
	int r = 0;

	for (uint32_t i = 0;
	     i < policy->assertion_count && failed < POLICY_PROBLEMS_MAX && r != -ENOMEM; i++) {
		struct error one = {0};
		int failure = run_assertion(policy, nodes, &policy->assertions[i], &one);

		if (failure == 0)
			continue;
		if (failure != -ENOMEM && problems && string_list_add(problems, one.text) < 0)
			failure = -ENOMEM;
		if (failure == -ENOMEM)
			r = error_set_errno(err, failure, "policy tests");
		else if (failed++ == 0)
			r = error_set(err, failure, "%s", one.text);
	}
	return r;
}
