/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/policy_parse.c - a policy file into a struct policy
 *
 * The text is walked as ranges of bytes, so that each error has its place.
 */
#include "server/policy/policy_parse.h"

#include "base/limits.h"
#include "server/policy/hujson.h"

#include <errno.h>
#include <string.h>

/* A section is an array, of which each element is parsed, or another value. In this order, names
 * are declared before rules use them, whatever the order in the file. */
static const struct {
	const char *name;
	void (*parse)(struct parse *ps, struct json_range value);
	bool (*each)(struct parse *ps, struct json_range value, void *unused);
	bool has_rules; /* without a section of rules everybody may reach everybody */
} sections[] = {
	{"groups", .parse = parse_groups},
	{"hosts", .parse = parse_hosts},
	{"tagOwners", .parse = parse_tag_owners},
	{"acls", .each = parse_acl, .has_rules = true},
	{"grants", .each = parse_grant, .has_rules = true},
	{"autoApprovers", .parse = parse_auto_approvers},
	{"ssh", .each = parse_ssh_rule},
	{"nodeAttrs", .each = parse_attribute},
	{"tests", .each = parse_test},
	{"sshTests", .each = parse_ssh_test},
	{"randomizeClientPort", .parse = parse_random_port},
};

static void parse_file(struct parse *ps, struct json_range file)
{
	struct parse_field fields[ARRAY_SIZE(sections) + 1] = {0};
	bool open = true;

	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		fields[i].name = sections[i].name;
	if (file.at)
		parse_fields(ps, file, "a policy", fields);
	ps->policy->blank = true;
	for (size_t i = 0; i < ARRAY_SIZE(sections) && !ps->ended; i++) {
		struct json_range value = fields[i].value;

		if (!value.at)
			continue;
		ps->policy->blank = false;
		open &= !sections[i].has_rules;
		if (sections[i].each)
			parse_each(ps, value, sections[i].name, sections[i].each, NULL);
		else
			sections[i].parse(ps, value);
	}
	if (open && !ps->error.code)
		parse_open(ps);
}

int policy_parse(const char *text, size_t length, struct policy **ret, struct string_list *problems,
		 struct error *err)
{
	struct parse ps = {.problems = problems};
	struct json_range file = {0};

	if (length > LIMIT_POLICY_TEXT)
		return error_set(err, -E2BIG, "a policy of %zu bytes; the limit is %u", length,
				 LIMIT_POLICY_TEXT);
	ps.policy = calloc(1, sizeof(*ps.policy));
	if (ps.policy)
		ps.policy->text = malloc(length + 1);
	if (!ps.policy || !ps.policy->text) {
		policy_free(ps.policy);
		return error_set_errno(err, -ENOMEM, "policy");
	}
	memset(ps.policy->special, 0xff, sizeof(ps.policy->special));
	if (length)
		memcpy(ps.policy->text, text, length);
	ps.policy->text[length] = 0;
	if (hujson_parse(ps.policy->text, length, &file, &ps.error) == 0)
		parse_file(&ps, file);
	if (ps.error.code < 0) {
		policy_free(ps.policy);
		if (err)
			*err = ps.error;
		return ps.error.code;
	}
	*ret = ps.policy;
	return 0;
}
