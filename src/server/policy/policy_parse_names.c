/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_names.c - groups, hosts, owners of tags and approvers of routes */
#include "server/policy/policy_parse.h"

#include "base/limits.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* Deepest nesting of groups. */
#define NAMES_DEPTH_MAX 32

/* Logins in all groups together, each counted in every group that holds it. */
#define GROUP_MEMBERS_MAX (1024u * 1024)

/* Tags that own tags, directly or not, each counted for every tag that it owns. */
#define TAG_OWNERS_MAX (1024u * 1024)

static bool is_name(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("-_.", *text))
			return false;
	return true;
}

/* declare() - The key of a section as a name of its kind */
static int declare(struct parse *ps, struct json_range key, enum name_kind kind,
		   struct policy_name **ret)
{
	static const char *const prefixes[] = {
		[NAME_GROUP] = "group:",
		[NAME_TAG] = "tag:",
	};
	const char *prefix = prefixes[kind];
	_cleanup_free_ char *text = NULL;
	struct policy_name *name;
	int r = parse_string(ps, key, kind == NAME_GROUP ? "a group" : "a tag", &text);

	if (r < 0)
		return r;
	if (strncmp(text, prefix, strlen(prefix)) != 0)
		return parse_fail(ps, key, "\"%s\": write it as \"%s%s\"", text, prefix, text);
	if (!is_name(text + strlen(prefix)) ||
	    (kind == NAME_TAG && !isalpha((unsigned char)text[strlen(prefix)])))
		return parse_fail(ps, key,
				  "\"%s\": only letters, digits and hyphens may follow \"%s\"%s",
				  text, prefix, kind == NAME_TAG ? ", a letter first" : "");
	name = policy_name_add(ps->policy, kind, text, strlen(text));
	if (!name)
		return parse_no_memory(ps);
	name->declared = true;
	name->at = key;
	*ret = name;
	return 0;
}

/* refer() - Add a member of a group, or an owner */
static int refer(struct parse *ps, const char *text, enum name_kind kind, struct indexes *list)
{
	size_t length = kind == NAME_LOGIN ? login_length(text) : strlen(text);
	struct policy_name *name = policy_name_add(ps->policy, kind, text, length);

	if (!name || indexes_add(list, name->number) < 0)
		return parse_no_memory(ps);
	return 0;
}

static int refer_known(struct parse *ps, struct json_range at, const char *text,
		       enum name_kind kind, struct indexes *list)
{
	const struct policy_name *name = policy_name_find(ps->policy, kind, text, strlen(text));

	if (!name || !name->declared)
		return parse_fail(ps, at,
				  kind == NAME_GROUP
					  ? "there is no \"%s\": declare it under \"groups\""
					  : "there is no \"%s\": declare it under \"tagOwners\"",
				  text);
	return refer(ps, text, kind, list);
}

/* declare_name() - @data: enum name_kind */
static int declare_name(struct parse *ps, struct json_range key, struct json_range value,
			void *data)
{
	struct policy_name *name;

	(void)value;
	return declare(ps, key, *(const enum name_kind *)data, &name);
}

/* refer_login() - A user among the members of a group or the owners of a tag */
static int refer_login(struct parse *ps, struct json_range at, const char *text,
		       struct indexes *list)
{
	if (!strchr(text, '@'))
		return parse_fail(ps, at,
				  "\"%s\" is not a user: a user has an @, as in \"%s@\" or "
				  "\"%s@example.com\"",
				  text, text, text);
	return refer(ps, text, NAME_LOGIN, list);
}

static int add_to_group(struct parse *ps, struct json_range value, void *data)
{
	struct policy_name *group = data;
	_cleanup_free_ char *text = NULL;
	int r = parse_string(ps, value, "a user or a group", &text);

	if (r < 0)
		return r;
	if (!strncmp(text, "group:", 6))
		return refer_known(ps, value, text, NAME_GROUP, &group->groups);
	return refer_login(ps, value, text, &group->logins);
}

static int fill_group(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	struct policy_name *group = NULL;
	int r = declare(ps, key, NAME_GROUP, &group);

	(void)data;
	return r < 0 ? r : parse_each(ps, value, "a group", add_to_group, group);
}

/* check_cycle() - A group must not be reached from itself. @chain: the path, for the error */
static int check_cycle(struct parse *ps, struct policy_name *name, struct policy_name **chain,
		       uint32_t depth)
{
	struct policy *p = ps->policy;

	for (uint32_t i = 0; i < depth; i++)
		if (chain[i] == name)
			return parse_fail(ps, name->at,
					  "\"%s\" contains itself, through \"%s\": remove one of "
					  "them from the other",
					  name->text, chain[depth - 1]->text);
	if (name->visited == p->visit)
		return 0;
	if (depth == NAMES_DEPTH_MAX)
		return parse_fail(ps, name->at, "\"%s\" is nested deeper than %d levels",
				  name->text, NAMES_DEPTH_MAX);
	chain[depth] = name;
	for (uint32_t i = 0; i < name->groups.count; i++) {
		int r = check_cycle(ps, p->names[NAME_GROUP].items[name->groups.items[i]], chain,
				    depth + 1);

		if (r < 0)
			return r;
	}
	name->visited = p->visit;
	return 0;
}

static int check_cycles(struct parse *ps)
{
	struct policy_name *chain[NAMES_DEPTH_MAX];
	struct policy *p = ps->policy;
	int r = 0;

	p->visit++;
	for (uint32_t i = 0; i < p->names[NAME_GROUP].count && r == 0; i++)
		r = check_cycle(ps, p->names[NAME_GROUP].items[i], chain, 0);
	return r;
}

/* spread_group() - Add @group to the groups of every login below @name */
static int spread_group(struct parse *ps, const struct policy_name *group, struct policy_name *name,
			uint32_t *budget)
{
	struct policy *p = ps->policy;

	if (name->visited == p->visit)
		return 0;
	name->visited = p->visit;
	for (uint32_t i = 0; i < name->logins.count; i++) {
		struct policy_name *login = p->names[NAME_LOGIN].items[name->logins.items[i]];
		const struct indexes *in = &login->groups;

		if ((*budget)-- == 0)
			return parse_fail(ps, group->at,
					  "the groups have more than %u members together",
					  GROUP_MEMBERS_MAX);
		if (in->count && in->items[in->count - 1] == group->number)
			continue;
		if (indexes_add(&login->groups, group->number) < 0)
			return parse_no_memory(ps);
	}
	for (uint32_t i = 0; i < name->groups.count; i++) {
		int r = spread_group(ps, group, p->names[NAME_GROUP].items[name->groups.items[i]],
				     budget);

		if (r < 0)
			return r;
	}
	return 0;
}

int parse_groups(struct parse *ps, struct json_range object)
{
	struct policy *p = ps->policy;
	uint32_t budget = GROUP_MEMBERS_MAX;
	int r = parse_members(ps, object, "groups", declare_name, &(enum name_kind){NAME_GROUP});

	if (parse_goes_on(ps, r))
		r = parse_both(r, parse_members(ps, object, "groups", fill_group, NULL));
	if (parse_goes_on(ps, r))
		r = parse_both(r, check_cycles(ps));
	for (uint32_t i = 0; r == 0 && i < p->names[NAME_GROUP].count; i++) {
		struct policy_name *group = p->names[NAME_GROUP].items[i];

		p->visit++;
		r = spread_group(ps, group, group, &budget);
	}
	return r;
}

/* --- Owners of tags --- */

static int add_owner(struct parse *ps, struct json_range value, void *data)
{
	struct policy_name *tag = data;
	_cleanup_free_ char *text = NULL;
	int r = parse_string(ps, value, "a user, group or tag", &text);

	if (r < 0)
		return r;
	if (!strncmp(text, "group:", 6))
		return refer_known(ps, value, text, NAME_GROUP, &tag->groups);
	if (!strncmp(text, "tag:", 4))
		return refer_known(ps, value, text, NAME_TAG, &tag->tags);
	if (!strcmp(text, "autogroup:member")) {
		tag->any_member = true;
		return 0;
	}
	/* The operator assigns tags by keys and commands, independent of this list. */
	if (parse_is_role(text))
		return 0;
	if (!strncmp(text, "autogroup:", 10))
		return parse_fail(ps, value,
				  "\"%s\" can't own a tag: name users, a group, a tag, a role as "
				  "autogroup:admin, or autogroup:member",
				  text);
	return refer_login(ps, value, text, &tag->logins);
}

static int fill_tag(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	struct policy_name *tag = NULL;
	int r = declare(ps, key, NAME_TAG, &tag);

	(void)data;
	return r < 0 ? r : parse_each(ps, value, "the owners of a tag", add_owner, tag);
}

static int add_owners(struct policy *p, const struct policy_name *name, struct indexes *all)
{
	for (uint32_t i = 0; i < name->tags.count; i++) {
		struct policy_name *owner = p->names[NAME_TAG].items[name->tags.items[i]];

		if (owner->visited == p->visit)
			continue;
		owner->visited = p->visit;
		if (indexes_add(all, owner->number) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* gather_owners() - The tags that own @name, whether directly or not, into @all; tags may own each
 * other and themselves */
static int gather_owners(struct policy *p, const struct policy_name *name, struct indexes *all)
{
	int r = add_owners(p, name, all);

	for (uint32_t i = 0; i < all->count && r == 0; i++)
		r = add_owners(p, p->names[NAME_TAG].items[all->items[i]], all);
	return r;
}

int parse_tag_owners(struct parse *ps, struct json_range object)
{
	struct policy *p = ps->policy;
	struct name_table *tags = &p->names[NAME_TAG];
	uint32_t budget = TAG_OWNERS_MAX;
	struct indexes *all;
	int r = parse_members(ps, object, "tagOwners", declare_name, &(enum name_kind){NAME_TAG});

	if (parse_goes_on(ps, r))
		r = parse_both(r, parse_members(ps, object, "tagOwners", fill_tag, NULL));
	if (r < 0 || tags->count == 0)
		return r;
	all = calloc(tags->count, sizeof(*all));
	if (!all)
		return parse_no_memory(ps);
	for (uint32_t i = 0; i < tags->count && r == 0; i++) {
		p->visit++;
		if (gather_owners(p, tags->items[i], &all[i]) < 0)
			r = parse_no_memory(ps);
		else if (all[i].count > budget)
			r = parse_fail(ps, tags->items[i]->at,
				       "the tags have more than %u tags as owners together",
				       TAG_OWNERS_MAX);
		budget -= all[i].count;
	}
	/* Replaced all at once: gathering needs the direct owners of each tag. */
	for (uint32_t i = 0; i < tags->count; i++) {
		indexes_clear(&tags->items[i]->tags);
		tags->items[i]->tags = all[i];
	}
	free(all);
	return r;
}

/* --- Hosts --- */

static int add_host(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	_cleanup_free_ char *name = NULL, *text = NULL;
	struct policy_host *host;
	struct prefix prefix;
	int r = parse_string(ps, key, "a name", &name);

	(void)data;
	if (r == 0)
		r = parse_string(ps, value, "an address or prefix", &text);
	if (r < 0)
		return r;
	if (strpbrk(name, ":@*") || prefix_parse(name, strlen(name), &prefix) == 0)
		return parse_fail(ps, key,
				  "\"%s\": a host's name must not contain : @ or *, and must not "
				  "be an address",
				  name);
	if (prefix_parse(text, strlen(text), &prefix) < 0)
		return parse_fail(ps, value,
				  "\"%s\" is not a valid address or prefix, as in 10.0.0.0/8",
				  text);
	host = calloc(1, sizeof(*host));
	if (!host)
		return parse_no_memory(ps);
	host->name = TAKE_PTR(name);
	host->prefix = prefix_mask(&prefix);
	HASH_ADD_KEYPTR(hh, ps->policy->hosts, host->name, strlen(host->name), host);
	if (!host->hh.tbl) {
		free(host->name);
		free(host);
		return parse_no_memory(ps);
	}
	return 0;
}

int parse_hosts(struct parse *ps, struct json_range object)
{
	return parse_members(ps, object, "hosts", add_host, NULL);
}

/* --- Approvers of routes --- */

static int add_approver(struct parse *ps, struct json_range value, void *data)
{
	_cleanup_free_ char *text = NULL;
	uint32_t selector;
	int r = parse_string(ps, value, "a user, group or tag", &text);

	/* The operator approves routes by command. */
	if (r < 0 || parse_is_role(text))
		return r;
	r = parse_selector(ps, PART_APPROVER, text, value, &selector);
	if (r == 0 && indexes_add(data, selector) < 0)
		r = parse_no_memory(ps);
	return r;
}

static struct policy_approval *add_approval(struct policy *p)
{
	return ARRAY_ADD(p->approvals, p->approval_count, p->approval_capacity);
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
		return parse_fail(ps, key,
				  "\"%s\" is not a valid prefix; a route looks like 10.0.0.0/8",
				  text);
	approval = add_approval(ps->policy);
	if (!approval)
		return parse_no_memory(ps);
	approval->prefix = prefix_mask(&prefix);
	return parse_each(ps, value, "the approvers of a route", add_approver,
			  &approval->approvers);
}

int parse_auto_approvers(struct parse *ps, struct json_range object)
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
