/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy.c - the parts of a parsed policy: lists, names, selectors */
#include "server/policy/policy_internal.h"

#include "base/limits.h"

#include <errno.h>
#include <string.h>

int indexes_add(struct indexes *list, uint32_t item)
{
	if (ARRAY_GROW(list->items, list->count, list->capacity) < 0) {
		list->failed = true;
		return -ENOMEM;
	}
	list->items[list->count++] = item;
	return 0;
}

void indexes_clear(struct indexes *list)
{
	free(list->items);
	*list = (struct indexes){0};
}

static int compare(const void *left, const void *right)
{
	const uint32_t *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

int indexes_sort(struct indexes *list)
{
	uint32_t kept = 0;

	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), compare);
	for (uint32_t i = 0; i < list->count; i++)
		if (i == 0 || list->items[i] != list->items[kept - 1])
			list->items[kept++] = list->items[i];
	list->count = kept;
	return list->failed ? -ENOMEM : 0;
}

bool indexes_contain(const struct indexes *sorted, uint32_t item)
{
	return sorted->count && bsearch(&item, sorted->items, sorted->count, sizeof(item), compare);
}

/* --- Names --- */

size_t login_length(const char *login)
{
	size_t length = strlen(login);

	return length > 1 && login[length - 1] == '@' ? length - 1 : length;
}

struct policy_name *policy_name_find(const struct policy *p, enum name_kind kind, const char *text,
				     size_t length)
{
	struct policy_name *name;

	HASH_FIND(hh, p->names[kind].by_text, text, length, name);
	return name;
}

struct policy_name *policy_name_add(struct policy *p, enum name_kind kind, const char *text,
				    size_t length)
{
	struct name_table *table = &p->names[kind];
	struct policy_name *name = policy_name_find(p, kind, text, length);

	if (name)
		return name;
	name = calloc(1, sizeof(*name) + length + 1);
	if (!name || !ARRAY_ADD(table->items, table->count, table->capacity)) {
		free(name);
		return NULL;
	}
	memcpy(name->text, text, length);
	name->number = table->count - 1;
	for (unsigned int part = 0; part < PART_COUNT; part++)
		name->selectors[part] = NONE;
	HASH_ADD_KEYPTR(hh, table->by_text, name->text, length, name);
	if (!name->hh.tbl) {
		free(name);
		table->count--;
		return NULL;
	}
	table->items[name->number] = name;
	return name;
}

/* --- Prefixes --- */

#define V4(a, b, c, length)                                                           \
	{                                                                             \
		.address = {.family = ADDRESS_V4, .bytes = {a, b, c}}, .bits = length \
	}
#define V6(length, ...)                                                                   \
	{                                                                                 \
		.address = {.family = ADDRESS_V6, .bytes = {__VA_ARGS__}}, .bits = length \
	}

/* All IPv4 without 10/8, 100.64/10, 169.254/16, 172.16/12, 192.168/16; and 2000::/3. */
static const struct prefix internet[] = {
	V4(0, 0, 0, 5),      V4(8, 0, 0, 7),      V4(11, 0, 0, 8),     V4(12, 0, 0, 6),
	V4(16, 0, 0, 4),     V4(32, 0, 0, 3),     V4(64, 0, 0, 3),     V4(96, 0, 0, 6),
	V4(100, 0, 0, 10),   V4(100, 128, 0, 9),  V4(101, 0, 0, 8),    V4(102, 0, 0, 7),
	V4(104, 0, 0, 5),    V4(112, 0, 0, 4),    V4(128, 0, 0, 3),    V4(160, 0, 0, 5),
	V4(168, 0, 0, 8),    V4(169, 0, 0, 9),    V4(169, 128, 0, 10), V4(169, 192, 0, 11),
	V4(169, 224, 0, 12), V4(169, 240, 0, 13), V4(169, 248, 0, 14), V4(169, 252, 0, 15),
	V4(169, 255, 0, 16), V4(170, 0, 0, 7),    V4(172, 0, 0, 12),   V4(172, 32, 0, 11),
	V4(172, 64, 0, 10),  V4(172, 128, 0, 9),  V4(173, 0, 0, 8),    V4(174, 0, 0, 7),
	V4(176, 0, 0, 4),    V4(192, 0, 0, 9),    V4(192, 128, 0, 11), V4(192, 160, 0, 13),
	V4(192, 169, 0, 16), V4(192, 170, 0, 15), V4(192, 172, 0, 14), V4(192, 176, 0, 12),
	V4(192, 192, 0, 10), V4(193, 0, 0, 8),    V4(194, 0, 0, 7),    V4(196, 0, 0, 6),
	V4(200, 0, 0, 5),    V4(208, 0, 0, 4),    V4(224, 0, 0, 3),    V6(3, 0x20),
};

const struct prefix policy_tailnet_ranges[2] = {
	V4(100, 64, 0, 10),
	V6(48, 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0),
};

const struct prefix *policy_internet(size_t *ret_count)
{
	*ret_count = ARRAY_SIZE(internet);
	return internet;
}

bool policy_is_internet(const struct prefix *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(internet); i++)
		if (prefix_covers(&internet[i], p))
			return true;
	return false;
}

/* --- Selectors --- */

int policy_selector(struct policy *p, const struct selector_key *key, uint32_t *ret)
{
	static const uint8_t names_of[] = {
		[SELECT_USER] = NAME_LOGIN,
		[SELECT_GROUP] = NAME_GROUP,
		[SELECT_TAG] = NAME_TAG,
	};
	struct selector *s;

	HASH_FIND(hh, p->selectors_hash, key, sizeof(*key), s);
	if (s) {
		*ret = s->index;
		return 0;
	}
	if (p->selector_count >= LIMIT_POLICY_SELECTORS)
		return -E2BIG;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (!ARRAY_ADD(p->selectors, p->selector_count, p->selector_capacity)) {
		free(s);
		return -ENOMEM;
	}
	s->key = *key;
	s->index = p->selector_count - 1;
	p->selectors[s->index] = s;
	HASH_ADD(hh, p->selectors_hash, key, sizeof(s->key), s);
	if (!s->hh.tbl || (key->kind == SELECT_PREFIX && key->part != PART_TEST &&
			   indexes_add(&p->prefixes, s->index) < 0))
		return -ENOMEM; /* which ends the parsing: the list has it, to be freed */
	if (key->kind == SELECT_USER || key->kind == SELECT_GROUP || key->kind == SELECT_TAG)
		p->names[names_of[key->kind]].items[key->name]->selectors[key->part] = s->index;
	else if (key->kind != SELECT_PREFIX)
		p->special[key->part][key->kind] = s->index;
	*ret = s->index;
	return 0;
}

/* add_name() - The selectors that are @name; NULL: none */
static void add_name(const struct policy_name *name, struct indexes *ret)
{
	for (unsigned int part = 0; name && part < PART_TEST; part++)
		if (name->selectors[part] != NONE)
			indexes_add(ret, name->selectors[part]);
}

static void add_special(const struct policy *p, enum selector_kind kind, struct indexes *ret)
{
	for (unsigned int part = 0; part < PART_TEST; part++)
		if (p->special[part][kind] != NONE)
			indexes_add(ret, p->special[part][kind]);
}

static bool is_exit_node(const struct policy_node *node)
{
	for (uint32_t i = 0; i < node->routes.count; i++)
		if (is_default_route(&node->routes.items[i]))
			return true;
	return false;
}

bool policy_in_prefix(const struct selector_key *key, const struct address *v4,
		      const struct address *v6, const struct prefix_list *routes)
{
	bool by_routes = key->part == PART_SOURCE || key->part == PART_DESTINATION;

	if (prefix_contains(&key->prefix, v4) || prefix_contains(&key->prefix, v6))
		return true;
	for (uint32_t i = 0; by_routes && i < routes->count; i++)
		if (!is_default_route(&routes->items[i]) &&
		    prefix_overlaps(&key->prefix, &routes->items[i]))
			return true;
	return false;
}

/* matches_prefix() - By its addresses, or as an exit node for public addresses */
static bool matches_prefix(const struct policy_node *node, bool is_exit,
			   const struct selector_key *key)
{
	return policy_in_prefix(key, &node->v4, &node->v6, &node->routes) ||
	       (is_exit && key->part == PART_DESTINATION && policy_is_internet(&key->prefix));
}

static void add_user(const struct policy *p, const char *user, struct indexes *ret)
{
	const struct policy_name *login = policy_name_find(p, NAME_LOGIN, user, login_length(user));

	add_name(login, ret);
	for (uint32_t i = 0; login && i < login->groups.count; i++)
		add_name(p->names[NAME_GROUP].items[login->groups.items[i]], ret);
}

int policy_match(const struct policy *p, const struct policy_node *node, struct indexes *ret)
{
	bool is_exit = is_exit_node(node);

	add_special(p, SELECT_ANY, ret);
	add_special(p, SELECT_DANGER_ALL, ret);
	if (is_exit)
		add_special(p, SELECT_INTERNET, ret);
	add_special(p, node->tags.count ? SELECT_TAGGED : SELECT_MEMBER, ret);
	if (!node->tags.count && node->user)
		add_user(p, node->user, ret);
	/* SELF has no members here: struct applied_policy knows the owner of each node. */
	for (uint32_t i = 0; i < node->tags.count; i++) {
		const char *tag = node->tags.items[i];

		add_name(policy_name_find(p, NAME_TAG, tag, strlen(tag)), ret);
	}
	for (uint32_t i = 0; i < p->prefixes.count; i++) {
		const struct selector *s = p->selectors[p->prefixes.items[i]];

		if (matches_prefix(node, is_exit, &s->key))
			indexes_add(ret, s->index);
	}
	/* A node can have a tag twice. */
	return indexes_sort(ret);
}

bool policy_approves_route(const struct policy *policy, const struct policy_node *node,
			   const struct prefix *route)
{
	struct indexes matched = {0};
	bool approved = false;

	if (policy_match(policy, node, &matched) < 0) {
		indexes_clear(&matched);
		return false;
	}
	for (uint32_t i = 0; i < policy->approval_count && !approved; i++) {
		const struct policy_approval *a = &policy->approvals[i];

		if (is_default_route(route) ? !a->exit_node
					    : a->exit_node || !prefix_covers(&a->prefix, route))
			continue;
		for (uint32_t k = 0; k < a->approvers.count && !approved; k++)
			approved = indexes_contain(&matched, a->approvers.items[k]);
	}
	indexes_clear(&matched);
	return approved;
}

size_t policy_ssh_localpart(const struct policy_ssh_rule *rule, const char *login)
{
	const char *at = login ? strrchr(login, '@') : NULL;

	for (uint32_t i = 0; at && i < rule->domains.count; i++)
		if (strcasecmp(at + 1, rule->domains.items[i]) == 0)
			return (size_t)(at - login);
	return 0;
}

bool policy_ssh_allows(const struct policy_ssh_rule *rule, const char *login, const char *user)
{
	size_t length = policy_ssh_localpart(rule, login);

	if (length && strlen(user) == length && strncmp(user, login, length) == 0)
		return true;
	if (strcmp(user, "root") == 0)
		return rule->root;
	return rule->nonroot || string_list_contains(&rule->users, user);
}

bool policy_is_blank(const struct policy *policy)
{
	return policy->blank;
}

/* --- Owners of tags --- */

static bool owns(const struct policy_name *login, const struct policy_name *tag)
{
	if (tag->any_member)
		return true;
	if (!login)
		return false;
	for (uint32_t i = 0; i < tag->logins.count; i++)
		if (tag->logins.items[i] == login->number)
			return true;
	for (uint32_t i = 0; i < tag->groups.count; i++)
		for (uint32_t g = 0; g < login->groups.count; g++)
			if (tag->groups.items[i] == login->groups.items[g])
				return true;
	return false;
}

bool policy_may_tag(const struct policy *policy, const char *user, const struct string_list *tags,
		    const char *tag)
{
	const struct policy_name *wanted = policy_name_find(policy, NAME_TAG, tag, strlen(tag));
	const struct policy_name *login =
		user ? policy_name_find(policy, NAME_LOGIN, user, login_length(user)) : NULL;

	if (!wanted || !wanted->declared)
		return false;
	if (user && owns(login, wanted))
		return true;
	for (uint32_t i = 0; i < wanted->tags.count; i++) {
		const struct policy_name *owner =
			policy->names[NAME_TAG].items[wanted->tags.items[i]];

		if ((user && owns(login, owner)) ||
		    (tags && string_list_contains(tags, owner->text)))
			return true;
	}
	return false;
}

/* --- The end --- */

static void names_free(struct name_table *table)
{
	HASH_CLEAR(hh, table->by_text);
	for (uint32_t i = 0; i < table->count; i++) {
		struct policy_name *name = table->items[i];

		indexes_clear(&name->groups);
		indexes_clear(&name->logins);
		indexes_clear(&name->tags);
		free(name);
	}
	free(table->items);
}

void policy_capabilities_clear(struct tailcfg_capability_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		free((char *)list->items[i].name);
		free((char *)list->items[i].values);
	}
	free(list->items);
}

static void rules_free(struct policy *p)
{
	for (uint32_t i = 0; i < p->rule_count; i++) {
		indexes_clear(&p->rules[i].sources);
		indexes_clear(&p->rules[i].destinations);
		policy_capabilities_clear(&p->rules[i].capabilities);
	}
	free(p->rules);
	for (uint32_t i = 0; i < p->destination_count; i++)
		free(p->destinations[i].ports.items);
	free(p->destinations);
	for (uint32_t i = 0; i < p->ssh_count; i++) {
		indexes_clear(&p->ssh[i].sources);
		indexes_clear(&p->ssh[i].destinations);
		string_list_clear(&p->ssh[i].users);
		string_list_clear(&p->ssh[i].domains);
		string_list_clear(&p->ssh[i].environment);
	}
	free(p->ssh);
	for (uint32_t i = 0; i < p->attribute_count; i++) {
		indexes_clear(&p->attributes[i].targets);
		policy_capabilities_clear(&p->attributes[i].capabilities);
	}
	free(p->attributes);
	for (uint32_t i = 0; i < p->approval_count; i++)
		indexes_clear(&p->approvals[i].approvers);
	free(p->approvals);
	for (uint32_t i = 0; i < p->assertion_count; i++)
		free(p->assertions[i].user);
	free(p->assertions);
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	rules_free(p);
	HASH_CLEAR(hh, p->selectors_hash);
	for (uint32_t i = 0; i < p->selector_count; i++) {
		indexes_clear(&p->selectors[i]->uses);
		free(p->selectors[i]);
	}
	free(p->selectors);
	indexes_clear(&p->prefixes);
	for (unsigned int kind = 0; kind < NAME_KINDS; kind++)
		names_free(&p->names[kind]);
	free(p->text);
	free(p);
}
