/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_names.c - groups, hosts, owners of tags and approvers of routes */
#include "server/policy/policy_parse.h"

#include "base/limits.h"

#include <ctype.h>
#include <string.h>

/* Deepest nesting of groups. */
#define NAMES_DEPTH_MAX 32

/* Logins in all groups together, each counted in every group that holds it. */
#define GROUP_MEMBERS_MAX (1024u * 1024)

/* Tags that own tags, directly or not, each counted for every tag that it owns. */
#define TAG_OWNERS_MAX (1024u * 1024)

static bool is_name(const char *text)
{
	const char *end = text;

	while (isalnum((unsigned char)*end) || (*end && strchr("-_.", *end)))
		end++;
	return end > text && !*end;
}

/* declare() - The key of a section as a name of its kind; NULL after an error */
static struct policy_name *declare(struct parse *ps, struct json_range key, enum name_kind kind)
{
	const char *prefix = kind == NAME_GROUP ? "group:" : "tag:";
	_cleanup_free_ char *text = parse_string(ps, key, kind == NAME_GROUP ? "a group" : "a tag");
	struct policy_name *name;

	if (!text)
		return NULL;
	if (strncmp(text, prefix, strlen(prefix)) != 0) {
		parse_fail(ps, key, "\"%s\": write it as \"%s%s\"", text, prefix, text);
		return NULL;
	}
	if (!is_name(text + strlen(prefix)) ||
	    (kind == NAME_TAG && !isalpha((unsigned char)text[strlen(prefix)]))) {
		parse_fail(ps, key, "\"%s\": only letters, digits and hyphens may follow \"%s\"%s",
			   text, prefix, kind == NAME_TAG ? ", a letter first" : "");
		return NULL;
	}
	name = parse_name(ps, kind, text);
	if (name) {
		name->declared = true;
		name->at = key;
	}
	return name;
}

/* refer() - Add a group or a tag to the members of a group, or to the owners of a tag */
static bool refer(struct parse *ps, struct json_range at, const char *text, enum name_kind kind,
		  struct indexes *list)
{
	const struct policy_name *name = policy_name_find(ps->policy, kind, text, strlen(text));

	if (!name || !name->declared)
		return parse_fail(ps, at,
				  kind == NAME_GROUP
					  ? "there is no \"%s\": declare it under \"groups\""
					  : "there is no \"%s\": declare it under \"tagOwners\"",
				  text);
	return parse_add(ps, list, name->number);
}

/* refer_login() - Add a user to the members of a group, or to the owners of a tag */
static bool refer_login(struct parse *ps, struct json_range at, const char *text,
			struct indexes *list)
{
	const struct policy_name *name;

	if (!strchr(text, '@'))
		return parse_fail(ps, at,
				  "\"%s\" is not a user: a user has an @, as in \"%s@\" or "
				  "\"%s@example.com\"",
				  text, text, text);
	name = parse_name(ps, NAME_LOGIN, text);
	return name && parse_add(ps, list, name->number);
}

static bool add_member(struct parse *ps, struct json_range at, char *text, void *data)
{
	struct policy_name *group = data;

	if (!strncmp(text, "group:", 6))
		return refer(ps, at, text, NAME_GROUP, &group->groups);
	return refer_login(ps, at, text, &group->logins);
}

static bool add_owner(struct parse *ps, struct json_range at, char *text, void *data)
{
	struct policy_name *tag = data;

	if (!strncmp(text, "group:", 6))
		return refer(ps, at, text, NAME_GROUP, &tag->groups);
	if (!strncmp(text, "tag:", 4))
		return refer(ps, at, text, NAME_TAG, &tag->tags);
	if (!strcmp(text, "autogroup:member")) {
		tag->any_member = true;
		return true;
	}
	/* The operator assigns tags by keys and commands, independent of this list. */
	if (parse_is_role(text))
		return true;
	if (!strncmp(text, "autogroup:", 10))
		return parse_fail(ps, at,
				  "\"%s\" can't own a tag: name users, a group, a tag, a role as "
				  "autogroup:admin, or autogroup:member",
				  text);
	return refer_login(ps, at, text, &tag->logins);
}

static bool declare_name(struct parse *ps, struct json_range key, struct json_range value,
			 void *kind)
{
	(void)value;
	return declare(ps, key, *(const enum name_kind *)kind) != NULL;
}

static bool fill_name(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	enum name_kind kind = *(const enum name_kind *)data;
	struct policy_name *name = declare(ps, key, kind);

	if (!name)
		return false;
	if (kind == NAME_GROUP)
		return parse_each_string(ps, value, "a group", "a user or a group", add_member,
					 name);
	return parse_each_string(ps, value, "the owners of a tag", "a user, group or tag",
				 add_owner, name);
}

/* fill_names() - All names of a kind, and then what belongs to each; false after an error */
static bool fill_names(struct parse *ps, struct json_range object, const char *what,
		       enum name_kind kind)
{
	bool good = parse_members(ps, object, what, declare_name, &kind);

	return parse_members(ps, object, what, fill_name, &kind) && good;
}

/* struct spread - A group, and the groups between it and the one that is visited */
struct spread {
	const struct policy_name *group;
	uint32_t depth;
	uint32_t budget;
};

/* spread_group() - Add the group to the groups of every login below @name, which is the group or one
 * that it contains. A group must not be reached from itself */
static bool spread_group(struct parse *ps, struct spread *to, struct policy_name *name)
{
	struct policy *p = ps->policy;

	if (name->visited == p->visit)
		return true;
	if (to->depth == NAMES_DEPTH_MAX)
		return parse_fail(ps, name->at, "\"%s\" is nested deeper than %d levels",
				  name->text, NAMES_DEPTH_MAX);
	name->visited = p->visit;
	for (uint32_t i = 0; i < name->logins.count; i++) {
		struct policy_name *login = p->names[NAME_LOGIN].items[name->logins.items[i]];
		const struct indexes *in = &login->groups;

		if (to->budget-- == 0)
			return parse_fail(ps, to->group->at,
					  "the groups have more than %u members together",
					  GROUP_MEMBERS_MAX);
		if (in->count && in->items[in->count - 1] == to->group->number)
			continue;
		if (!parse_add(ps, &login->groups, to->group->number))
			return false;
	}
	for (uint32_t i = 0; i < name->groups.count; i++) {
		struct policy_name *inner = p->names[NAME_GROUP].items[name->groups.items[i]];

		if (inner == to->group)
			return parse_fail(ps, inner->at,
					  "\"%s\" contains itself, through \"%s\": remove one of "
					  "them from the other",
					  inner->text, name->text);
		to->depth++;
		if (!spread_group(ps, to, inner))
			return false;
		to->depth--;
	}
	return true;
}

void parse_groups(struct parse *ps, struct json_range object)
{
	struct policy *p = ps->policy;
	const struct name_table *groups = &p->names[NAME_GROUP];
	struct spread to = {.budget = GROUP_MEMBERS_MAX};

	fill_names(ps, object, "groups", NAME_GROUP);
	for (uint32_t i = 0; i < groups->count; i++) {
		p->visit++;
		to.group = groups->items[i];
		to.depth = 0;
		if (!spread_group(ps, &to, groups->items[i]))
			return;
	}
}

/* --- Owners of tags --- */

static bool add_owners(struct parse *ps, const struct policy_name *name, struct indexes *all)
{
	struct policy *p = ps->policy;

	for (uint32_t i = 0; i < name->tags.count; i++) {
		struct policy_name *owner = p->names[NAME_TAG].items[name->tags.items[i]];

		if (owner->visited == p->visit)
			continue;
		owner->visited = p->visit;
		if (!parse_add(ps, all, owner->number))
			return false;
	}
	return true;
}

/* gather_owners() - The tags that own @name, whether directly or not, into @all; tags may own each
 * other and themselves */
static bool gather_owners(struct parse *ps, const struct policy_name *name, struct indexes *all)
{
	bool good = add_owners(ps, name, all);

	for (uint32_t i = 0; i < all->count && good; i++)
		good = add_owners(ps, ps->policy->names[NAME_TAG].items[all->items[i]], all);
	return good;
}

void parse_tag_owners(struct parse *ps, struct json_range object)
{
	struct policy *p = ps->policy;
	struct name_table *tags = &p->names[NAME_TAG];
	uint32_t budget = TAG_OWNERS_MAX;
	struct indexes *all;
	bool good = fill_names(ps, object, "tagOwners", NAME_TAG);

	if (!good || tags->count == 0)
		return;
	all = calloc(tags->count, sizeof(*all));
	if (!all) {
		parse_no_memory(ps);
		return;
	}
	for (uint32_t i = 0; i < tags->count && good; i++) {
		p->visit++;
		good = gather_owners(ps, tags->items[i], &all[i]);
		if (all[i].count > budget)
			good = parse_fail(ps, tags->items[i]->at,
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
}

/* --- Hosts --- */

static bool add_host(struct parse *ps, struct json_range key, struct json_range value, void *unused)
{
	_cleanup_free_ char *name = parse_string(ps, key, "a name");
	_cleanup_free_ char *text = name ? parse_string(ps, value, "an address or prefix") : NULL;
	struct policy_name *host;
	struct prefix prefix;

	(void)unused;
	if (!text)
		return false;
	if (strpbrk(name, ":@*") || prefix_parse(name, strlen(name), &prefix) == 0)
		return parse_fail(ps, key,
				  "\"%s\": a host's name must not contain : @ or *, and must not "
				  "be an address",
				  name);
	if (prefix_parse(text, strlen(text), &prefix) < 0)
		return parse_fail(ps, value,
				  "\"%s\" is not a valid address or prefix, as in 10.0.0.0/8",
				  text);
	host = parse_name(ps, NAME_HOST, name);
	if (host)
		host->prefix = prefix_mask(&prefix);
	return host;
}

void parse_hosts(struct parse *ps, struct json_range object)
{
	parse_members(ps, object, "hosts", add_host, NULL);
}

/* --- Approvers of routes --- */

static bool add_approver(struct parse *ps, struct json_range at, char *text, void *data)
{
	uint32_t selector;

	/* The operator approves routes by command. */
	if (parse_is_role(text))
		return true;
	selector = parse_selector(ps, PART_APPROVER, text, at);
	return selector != NONE && parse_add(ps, data, selector);
}

static bool add_approval(struct parse *ps, struct policy_approval approval, const char *what,
			 struct json_range approvers)
{
	struct policy *p = ps->policy;
	struct policy_approval *added =
		ARRAY_ADD(p->approvals, p->approval_count, p->approval_capacity);

	if (!added)
		return parse_no_memory(ps);
	*added = approval;
	return parse_each_string(ps, approvers, what, "a user, group or tag", add_approver,
				 &added->approvers);
}

static bool add_route(struct parse *ps, struct json_range key, struct json_range value,
		      void *unused)
{
	_cleanup_free_ char *text = parse_string(ps, key, "a prefix");
	struct prefix prefix;

	(void)unused;
	if (!text)
		return false;
	if (prefix_parse(text, strlen(text), &prefix) < 0)
		return parse_fail(ps, key,
				  "\"%s\" is not a valid prefix; a route looks like 10.0.0.0/8",
				  text);
	return add_approval(ps, (struct policy_approval){.prefix = prefix_mask(&prefix)},
			    "the approvers of a route", value);
}

void parse_auto_approvers(struct parse *ps, struct json_range object)
{
	struct parse_field fields[] = {{.name = "routes"}, {.name = "exitNode"}, {0}};

	parse_fields(ps, object, "autoApprovers", fields);
	parse_members(ps, fields[0].value, "routes", add_route, NULL);
	if (fields[1].value.at)
		add_approval(ps, (struct policy_approval){.exit_node = true}, "exitNode",
			     fields[1].value);
}
