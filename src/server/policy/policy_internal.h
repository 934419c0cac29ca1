/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/policy_internal.h - a parsed policy
 *
 * Theory of operation
 *   Every name or address in a rule is a selector, kept once for each part that it has in
 *   rules (source, destination …). A selector lists the rules that use it. A few hash look-ups
 *   (policy_match()) give the selectors that a node matches, and their lists give the rules
 *   for the node.
 *
 *   ACLs and grants become the same struct policy_rule: an ACL with several destinations is
 *   one rule, a grant is one for each protocol that it names and one for its capabilities.
 */
#pragma once

#include "base/array.h"
#include "base/cleanup.h"
#include "server/policy/policy.h"
#include "wire/tailcfg_node.h"

#include <assert.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum policy_part {
	PART_SOURCE,      /* of a rule; uses are rules */
	PART_DESTINATION, /* of a rule; uses are destinations */
	PART_SSH_SOURCE,  /* uses are SSH rules, here and below */
	PART_SSH_DESTINATION,
	PART_ATTRIBUTE, /* target of nodeAttrs; uses are attributes */
	PART_APPROVER,  /* of routes; uses are approvals */
	PART_TEST,      /* in a test; nothing uses it */
	PART_COUNT,
};

enum selector_kind {
	SELECT_ANY,
	SELECT_USER,
	SELECT_GROUP,
	SELECT_TAG,
	SELECT_PREFIX,
	SELECT_MEMBER,
	SELECT_TAGGED,
	SELECT_SELF,
	SELECT_INTERNET,
	SELECT_DANGER_ALL,
};

/* struct indexes - A list of numbers of other objects */
struct indexes {
	uint32_t *items;
	uint32_t count;
	uint32_t capacity;
	bool failed; /* an item is missing for lack of memory */
};

/* indexes_add() - 0, or -ENOMEM and @list has failed */
int indexes_add(struct indexes *list, uint32_t item);
void indexes_clear(struct indexes *list);

/* indexes_sort() - Ascending, each once; 0, or -ENOMEM if the list has failed */
int indexes_sort(struct indexes *list);
bool indexes_contain(const struct indexes *sorted, uint32_t item);

struct selector_key {
	uint8_t part; /* enum policy_part */
	uint8_t kind; /* enum selector_kind */
	struct prefix prefix;
	uint32_t name; /* USER, GROUP, TAG: number of the name */
};

static_assert(sizeof(struct selector_key) == 2 + sizeof(struct prefix) + 4,
	      "hashed whole: it has no padding");

struct selector {
	struct selector_key key;
	uint32_t index;
	struct indexes uses;
	UT_hash_handle hh;
};

/* A login, group, tag or host that the policy mentions. Each kind has a table. */
struct policy_name {
	uint32_t number;
	uint32_t selectors[PART_COUNT]; /* NONE, or the selector that is this name */

	/* Of a login: the groups that contain it, directly or not. Of a group: its members. Of a
	 * tag: its owners. */
	struct indexes groups;
	struct indexes logins;
	struct indexes tags;
	bool any_member;      /* autogroup:member owns the tag */
	bool declared;        /* a group, a tag */
	struct prefix prefix; /* of a host */
	struct json_range at;
	uint32_t visited;
	UT_hash_handle hh;
	char text[]; /* login without a trailing "@", "group:…", "tag:…" */
};

#define NONE UINT32_MAX

enum name_kind {
	NAME_LOGIN,
	NAME_GROUP,
	NAME_TAG,
	NAME_HOST,
	NAME_KINDS,
};

struct name_table {
	struct policy_name *by_text; /* hash */
	struct policy_name **items;  /* by number */
	uint32_t count;
	uint32_t capacity;
};

struct port_range {
	uint16_t first, last;
};

struct port_list {
	struct port_range *items;
	uint32_t count;
};

struct policy_destination {
	uint32_t rule;
	uint32_t selector;
	struct port_list ports; /* none in a rule of capabilities */
};

struct policy_rule {
	struct indexes sources;      /* selectors */
	struct indexes destinations; /* numbers of struct policy_destination */
	bool has_self;               /* among the destinations */
	uint8_t protocol;            /* 0: TCP, UDP, ICMP */
	struct tailcfg_capability_list capabilities;
};

struct policy_ssh_rule {
	struct indexes sources;
	struct indexes destinations; /* selectors */
	bool has_self;
	bool check;
	nanoseconds period; /* of check; 0: always */
	bool root, nonroot;
	struct string_list users;   /* by name */
	struct string_list domains; /* localpart:*@DOMAIN */
	struct string_list environment;
};

struct policy_attribute {
	struct indexes targets;
	struct tailcfg_capability_list capabilities;
};

struct policy_approval {
	struct prefix prefix;
	bool exit_node;
	struct indexes approvers;
};

enum expectation {
	EXPECT_ACCEPT, /* of SSH: or check */
	EXPECT_CHECK,  /* of SSH */
	EXPECT_DENY,
};

struct policy_assertion {
	uint32_t source, target; /* PART_TEST */
	uint16_t port;
	uint8_t protocol; /* 0: TCP or UDP */
	char *user;       /* of SSH; NULL: about packets */
	enum expectation expectation;
	struct json_range at;
};

struct policy {
	char *text; /* standardized; all struct json_range point into it */
	bool blank; /* no section at all */

	struct name_table names[NAME_KINDS];
	struct selector *selectors_hash; /* by key */
	struct selector **selectors;
	uint32_t selector_count;
	uint32_t selector_capacity;
	uint32_t special[PART_COUNT][SELECT_DANGER_ALL + 1]; /* those without a name, or NONE */
	struct indexes prefixes; /* selectors that are prefixes, of every part */
	uint32_t visit;

	struct policy_rule *rules;
	uint32_t rule_count, rule_capacity;
	struct policy_destination *destinations;
	uint32_t destination_count, destination_capacity;
	struct policy_ssh_rule *ssh;
	uint32_t ssh_count, ssh_capacity;
	struct policy_attribute *attributes;
	uint32_t attribute_count, attribute_capacity;
	struct policy_approval *approvals;
	uint32_t approval_count, approval_capacity;
	struct policy_assertion *assertions;
	uint32_t assertion_count, assertion_capacity;
};

/** policy_name_find() - NULL if the policy doesn't mention it */
struct policy_name *policy_name_find(const struct policy *p, enum name_kind kind, const char *text,
				     size_t length);

/** policy_name_add() - Find it or make it; NULL: -ENOMEM */
struct policy_name *policy_name_add(struct policy *p, enum name_kind kind, const char *text,
				    size_t length);

/** login_length() - The length of a login without the final "@" of a name without a domain */
size_t login_length(const char *login);

/** policy_selector() - Find or add the selector for a part; 0, -ENOMEM, -E2BIG */
int policy_selector(struct policy *p, const struct selector_key *key, uint32_t *ret);

/** policy_internet() - The prefixes of autogroup:internet */
const struct prefix *policy_internet(size_t *ret_count);

/* The two prefixes of "*" as a source */
extern const struct prefix policy_tailnet_ranges[2];

/** policy_is_internet() - Whether the prefix contains only public addresses */
bool policy_is_internet(const struct prefix *p);

/** policy_in_prefix() - Whether a node matches a prefix selector: by its addresses; as source or
 *  destination also by the routes that it serves */
bool policy_in_prefix(const struct selector_key *key, const struct address *v4,
		      const struct address *v6, const struct prefix_list *routes);

/** is_default_route() - 0.0.0.0/0 or ::/0 */
static inline bool is_default_route(const struct prefix *p)
{
	return p->bits == 0;
}

/**
 * policy_match() - The selectors that a node matches, of all parts but tests
 * @ret: appended to, ascending, each once
 */
int policy_match(const struct policy *p, const struct policy_node *node, struct indexes *ret);

/** policy_ssh_localpart() - The length of the local user for a login by localpart:*@DOMAIN; 0: none */
size_t policy_ssh_localpart(const struct policy_ssh_rule *rule, const char *login);

/** policy_ssh_allows() - Whether @login (NULL: none) may become @user by the rule */
bool policy_ssh_allows(const struct policy_ssh_rule *rule, const char *login, const char *user);

void policy_capabilities_clear(struct tailcfg_capability_list *list);
