/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/policy_parse.c - a policy file into a struct policy
 *
 * The text is walked as ranges of bytes, so that each error has its place.
 * Names are declared before rules use them, whatever the order in the file.
 */
#include "server/policy/policy_parse.h"

#include "base/limits.h"
#include "server/policy/hujson.h"

#include <errno.h>
#include <string.h>

enum section {
	SECTION_GROUPS,
	SECTION_HOSTS,
	SECTION_TAG_OWNERS,
	SECTION_ACLS,
	SECTION_GRANTS,
	SECTION_AUTO_APPROVERS,
	SECTION_SSH,
	SECTION_NODE_ATTRS,
	SECTION_TESTS,
	SECTION_SSH_TESTS,
	SECTION_RANDOM_PORT,
};

static int parse_file(struct parse *ps, struct json_range file)
{
	struct parse_field f[] = {
		[SECTION_GROUPS] = {.name = "groups"},
		[SECTION_HOSTS] = {.name = "hosts"},
		[SECTION_TAG_OWNERS] = {.name = "tagOwners"},
		[SECTION_ACLS] = {.name = "acls"},
		[SECTION_GRANTS] = {.name = "grants"},
		[SECTION_AUTO_APPROVERS] = {.name = "autoApprovers"},
		[SECTION_SSH] = {.name = "ssh"},
		[SECTION_NODE_ATTRS] = {.name = "nodeAttrs"},
		[SECTION_TESTS] = {.name = "tests"},
		[SECTION_SSH_TESTS] = {.name = "sshTests"},
		[SECTION_RANDOM_PORT] = {.name = "randomizeClientPort"},
		{0},
	};
	static int (*const parsers[])(struct parse * ps, struct json_range value) = {
		[SECTION_GROUPS] = parse_groups,
		[SECTION_HOSTS] = parse_hosts,
		[SECTION_TAG_OWNERS] = parse_tag_owners,
		[SECTION_ACLS] = parse_acls,
		[SECTION_GRANTS] = parse_grants,
		[SECTION_AUTO_APPROVERS] = parse_auto_approvers,
		[SECTION_SSH] = parse_ssh,
		[SECTION_NODE_ATTRS] = parse_attributes,
		[SECTION_TESTS] = parse_tests,
		[SECTION_SSH_TESTS] = parse_ssh_tests,
		[SECTION_RANDOM_PORT] = parse_random_port,
	};
	int r = file.at ? parse_fields(ps, file, "a policy", f) : 0;

	ps->policy->blank = true;
	for (size_t i = 0; i < ARRAY_SIZE(parsers) && parse_goes_on(ps, r); i++) {
		ps->policy->blank &= !f[i].value.at;
		r = parse_both(r, parsers[i](ps, f[i].value));
	}
	if (r == 0 && !f[SECTION_ACLS].value.at && !f[SECTION_GRANTS].value.at)
		r = parse_open(ps);
	return r;
}

int policy_parse(const char *text, size_t length, struct policy **ret, struct string_list *problems,
		 struct error *err)
{
	struct error unread;
	struct parse ps = {.err = err ? err : &unread, .problems = problems};
	struct json_range file = {0};
	int r;

	if (length > LIMIT_POLICY_TEXT)
		return error_set(err, -E2BIG, "a policy of %zu bytes; the limit is %u", length,
				 LIMIT_POLICY_TEXT);
	ps.policy = calloc(1, sizeof(*ps.policy));
	if (!ps.policy)
		return parse_no_memory(&ps);
	memset(ps.policy->special, 0xff, sizeof(ps.policy->special));
	ps.policy->text = malloc(length + 1);
	if (!ps.policy->text) {
		r = parse_no_memory(&ps);
		goto failed;
	}
	if (length)
		memcpy(ps.policy->text, text, length);
	ps.policy->text[length] = 0;
	r = hujson_parse(ps.policy->text, length, &file, ps.err);
	if (r == 0)
		r = parse_file(&ps, file);
	if (r < 0)
		goto failed;
	*ret = ps.policy;
	return 0;

failed:
	/* Only the last error can be of another kind than -EINVAL. */
	if (r == -EINVAL && ps.first.code)
		*ps.err = ps.first;
	policy_free(ps.policy);
	return r;
}
