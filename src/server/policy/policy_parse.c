/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/policy_parse.c - a policy file into a struct policy
 *
 * The text is walked as ranges of bytes, so that whatever is wrong is said with its place.
 * Names are declared before rules use them, whatever the order in the file.
 */
#include "server/policy/policy_parse.h"

#include "base/limits.h"
#include "server/policy/hujson.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

int parse_fail(struct parse *ps, struct json_range at, const char *format, ...)
{
	const char *text = ps->policy->text;
	struct hujson_position p = hujson_position(text, at.at ? (size_t)(at.at - text) : 0);
	char message[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	error_set(ps->err, -EINVAL, "line %zu, column %zu: %s", p.line, p.column, message);
	if (!ps->first.code)
		ps->first = *ps->err;
	ps->problem_count++;
	/* What is read twice, as keys are, is said once. */
	if (ps->problems && ps->problem_count <= POLICY_PROBLEMS_MAX &&
	    !string_list_contains(ps->problems, ps->err->text) &&
	    string_list_add(ps->problems, ps->err->text) < 0)
		return parse_no_memory(ps);
	return -EINVAL;
}

int parse_unsupported(struct parse *ps, enum unsupported what, struct json_range at)
{
	static const char *const texts[] = {
		[UNSUPPORTED_IPSETS] = "ipsets are not supported: write their prefixes where they "
				       "are used, or name them under \"hosts\"",
		[UNSUPPORTED_POSTURES] =
			"postures are not supported: leave them out, and \"srcPosture\" "
			"of every rule",
		[UNSUPPORTED_VIA] =
			"\"via\" is not supported: leave it out of every grant, and approve "
			"the route on one node only",
	};

	if (ps->said[what])
		return -EINVAL;
	ps->said[what] = true;
	return parse_fail(ps, at, "%s", texts[what]);
}

int parse_no_memory(struct parse *ps)
{
	return error_set_errno(ps->err, -ENOMEM, "policy");
}

int parse_string(struct parse *ps, struct json_range at, const char *what, char **ret)
{
	json_t *value;
	char *text;

	if (at.length < 2 || *at.at != '"')
		return parse_fail(ps, at, "%.*s: %s is wanted here, in quotes",
				  (int)(at.length < 60 ? at.length : 60), at.at, what);
	value = json_parse(at, ps->err);
	if (!value)
		return parse_fail(ps, at, "not a string that can be read");
	if (json_string_length(value) == 0) {
		json_decref(value);
		return parse_fail(ps, at, "\"\": %s is wanted here", what);
	}
	text = strdup(json_string_value(value));
	json_decref(value);
	if (!text)
		return parse_no_memory(ps);
	*ret = text;
	return 0;
}

int parse_each(struct parse *ps, struct json_range array, const char *what,
	       int (*each)(struct parse *ps, struct json_range value, void *data), void *data)
{
	struct json_scan scan;
	struct json_range value;
	int r, worst = 0;

	if (json_range_is_null(array))
		return 0;
	if (json_scan_open(array, '[', &scan) < 0)
		return parse_fail(ps, array, "%s is a list: put it in [ ]", what);
	while ((r = json_scan_element(&scan, &value)) > 0) {
		worst = parse_both(worst, each(ps, value, data));
		if (!parse_goes_on(ps, worst))
			return worst;
	}
	return parse_both(worst, r);
}

int parse_members(struct parse *ps, struct json_range object, const char *what,
		  int (*each)(struct parse *ps, struct json_range key, struct json_range value,
			      void *data),
		  void *data)
{
	struct json_scan scan;
	struct json_range key, value;
	int r, worst = 0;

	if (json_range_is_null(object))
		return 0;
	if (json_scan_open(object, '{', &scan) < 0)
		return parse_fail(ps, object, "%s is an object: put it in { }", what);
	while ((r = json_scan_member(&scan, &key, &value)) > 0) {
		key.at--; /* with its quotes */
		key.length += 2;
		worst = parse_both(worst, each(ps, key, value, data));
		if (!parse_goes_on(ps, worst))
			return worst;
	}
	return parse_both(worst, r);
}

struct fields_walk {
	struct parse_field *fields;
	const char *what;
};

/* name_field() - The names that could have been meant, for the error */
static void known_names(const struct parse_field *fields, char *out, size_t size)
{
	size_t used = 0;

	out[0] = 0;
	for (; fields->name && used < size; fields++)
		used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
					 fields->name);
}

/* is_key() - Without regard to case; @key has its quotes */
static bool is_key(struct json_range key, const char *name)
{
	return strlen(name) == key.length - 2 && strncasecmp(name, key.at + 1, key.length - 2) == 0;
}

static int take_field(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	static const struct {
		const char *name;
		enum unsupported what;
	} unsupported[] = {
		{"ipsets", UNSUPPORTED_IPSETS},
		{"postures", UNSUPPORTED_POSTURES},
		{"srcPosture", UNSUPPORTED_POSTURES},
		{"defaultSrcPosture", UNSUPPORTED_POSTURES},
		{"via", UNSUPPORTED_VIA},
	};
	struct fields_walk *walk = data;
	char known[200];

	if (key.at[1] == '#' || key.at[1] == '$')
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(unsupported); i++)
		if (is_key(key, unsupported[i].name))
			return parse_unsupported(ps, unsupported[i].what, key);
	for (struct parse_field *f = walk->fields; f->name; f++) {
		if (!is_key(key, f->name))
			continue;
		if (f->key.at)
			return parse_fail(ps, key, "%.*s stands here twice", (int)key.length,
					  key.at);
		f->key = key;
		if (!json_range_is_null(value))
			f->value = value;
		return 0;
	}
	known_names(walk->fields, known, sizeof(known));
	return parse_fail(ps, key, "%.*s is not known in %s; known are %s",
			  (int)(key.length < 60 ? key.length : 60), key.at, walk->what, known);
}

int parse_fields(struct parse *ps, struct json_range object, const char *what,
		 struct parse_field *fields)
{
	struct fields_walk walk = {.fields = fields, .what = what};

	if (json_range_is_null(object))
		return parse_fail(ps, object, "%s is an object: put it in { }", what);
	return parse_members(ps, object, what, take_field, &walk);
}

static int add_string(struct parse *ps, struct json_range value, void *data)
{
	_cleanup_free_ char *text = NULL;
	int r = parse_string(ps, value, "text", &text);

	if (r < 0)
		return r;
	return string_list_add(data, text) < 0 ? parse_no_memory(ps) : 0;
}

int parse_strings(struct parse *ps, struct json_range array, const char *what,
		  struct string_list *ret)
{
	return parse_each(ps, array, what, add_string, ret);
}

/* --- The file --- */

static int add_approver(struct parse *ps, struct json_range value, void *data)
{
	_cleanup_free_ char *text = NULL;
	uint32_t selector;
	int r = parse_string(ps, value, "a user, group or tag", &text);

	/* The operator approves by an order. */
	if (r < 0 || parse_is_role(text))
		return r;
	r = parse_selector(ps, PART_APPROVER, text, value, &selector);
	if (r == 0 && indexes_add(data, selector) < 0)
		r = parse_no_memory(ps);
	return r;
}

static struct policy_approval *add_approval(struct policy *p)
{
	struct policy_approval *list = policy_grow(p->approvals, &p->approval_count,
						   &p->approval_capacity, sizeof(*p->approvals));

	if (!list)
		return NULL;
	p->approvals = list;
	return &list[p->approval_count - 1];
}

static int add_route(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	_cleanup_free_ char *text = NULL;
	struct policy_approval *approval;
	struct prefix prefix;
	int r = parse_string(ps, key, "a prefix", &text);

	(void)data;
	if (r < 0)
		return r;
	if (prefix_parse(text, strlen(text), &prefix) < 0)
		return parse_fail(ps, key, "\"%s\" is no prefix; routes look like 10.0.0.0/8",
				  text);
	approval = add_approval(ps->policy);
	if (!approval)
		return parse_no_memory(ps);
	approval->prefix = prefix_mask(&prefix);
	return parse_each(ps, value, "who may approve a route", add_approver, &approval->approvers);
}

static int parse_auto_approvers(struct parse *ps, struct json_range object)
{
	struct parse_field fields[] = {{.name = "routes"}, {.name = "exitNode"}, {0}};
	struct policy_approval *approval;
	int r;

	if (!object.at)
		return 0;
	r = parse_fields(ps, object, "autoApprovers", fields);
	r = parse_both(r, parse_members(ps, fields[0].value, "routes", add_route, NULL));
	if (!parse_goes_on(ps, r) || !fields[1].value.at)
		return r;
	approval = add_approval(ps->policy);
	if (!approval)
		return parse_no_memory(ps);
	approval->exit_node = true;
	return parse_both(
		r, parse_each(ps, fields[1].value, "exitNode", add_approver, &approval->approvers));
}

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

static int parse_random_port(struct parse *ps, struct json_range value)
{
	struct selector_key any = {.part = PART_ATTRIBUTE, .kind = SELECT_ANY};
	struct policy *p = ps->policy;
	struct policy_attribute *list;
	uint32_t selector;
	int r;

	if (!value.at || json_range_is(value, "false"))
		return 0;
	if (!json_range_is(value, "true"))
		return parse_fail(ps, value, "randomizeClientPort is true or false");
	list = policy_grow(p->attributes, &p->attribute_count, &p->attribute_capacity,
			   sizeof(*list));
	if (!list)
		return parse_no_memory(ps);
	p->attributes = list;
	list = &list[p->attribute_count - 1];
	list->capabilities = calloc(1, sizeof(*list->capabilities));
	if (!list->capabilities)
		return parse_no_memory(ps);
	list->capability_count = 1;
	list->capabilities[0].name = strdup("randomize-client-port");
	r = policy_selector(p, &any, &selector);
	if (!list->capabilities[0].name || r < 0 || indexes_add(&list->targets, selector) < 0)
		return parse_no_memory(ps);
	if (indexes_add(&p->selectors[selector]->uses, p->attribute_count - 1) < 0)
		return parse_no_memory(ps);
	return 0;
}

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
	/* Nothing but the last error may be of another kind. */
	if (r == -EINVAL && ps.first.code)
		*ps.err = ps.first;
	policy_free(ps.policy);
	return r;
}
