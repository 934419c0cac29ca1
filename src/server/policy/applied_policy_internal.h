/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/applied_policy_internal.h - a policy applied to nodes
 *
 * Theory of operation
 *   A node is in the member list of each selector that it matches, and in that of its user. So
 *   the peers of a node are found from its selectors by the rules that use them and the
 *   members of the selectors on the other side. Selectors, rules and nodes store the number of
 *   the last walk that visited them, so that each walk visits them once.
 *
 *   The addresses of a rule's sources are kept with the rule, since all of its destinations
 *   get the same list. A changed node invalidates the lists of the rules that have it as a
 *   source.
 *
 *   autogroup:self has no member list: it means the nodes of one user, which are looked up
 *   each time.
 */
#pragma once

#include "server/policy/policy_internal.h"

struct member {
	uint32_t slot;  /* of the node */
	uint32_t place; /* among its memberships */
};

struct member_list {
	struct member *items;
	uint32_t count;
	uint32_t capacity;
};

/* A user with untagged nodes. */
struct owner {
	struct member_list nodes;
	UT_hash_handle hh;
	char login[];
};

struct membership {
	struct member_list *list;
	uint32_t position;
};

struct applied_node {
	int64_t id;
	uint32_t slot;
	char *user; /* NULL: none, or tagged */
	struct string_list tags;
	struct address v4, v6;
	struct prefix_list routes;
	struct owner *owner;    /* NULL when user is */
	struct indexes matched; /* selectors, ascending */
	struct membership *memberships;
	uint32_t membership_count;
	uint64_t mark;
	UT_hash_handle hh;
};

struct applied_policy {
	struct policy *policy;
	struct applied_node *nodes; /* hash by id */
	struct applied_node **slots;
	uint32_t slot_count, slot_capacity;
	struct indexes free_slots;
	struct owner *owners;        /* hash */
	struct member_list *members; /* by selector */
	struct member_list routers;  /* nodes with a route that isn't a default route */
	struct indexes self_rules;   /* those with autogroup:self */
	bool has_self;               /* or an SSH rule with it */
	char **sources; /* by rule: its sources in JSON; NULL until they are asked for */

	uint64_t mark; /* of the current walk */
	uint64_t *selector_marks, *rule_marks, *ssh_marks;

	uint64_t steps; /* members visited since the start, for the scale test */
};

/** applied_find() - NULL if there is none */
struct applied_node *applied_find(const struct applied_policy *t, int64_t id);

/** applied_matches() - Whether the node matches the selector, without autogroup:self */
bool applied_matches(const struct applied_node *node, uint32_t selector);

/** applied_matches_any() - Whether it matches one of them */
bool applied_matches_any(const struct applied_node *node, const struct indexes *selectors);

/** applied_uses() - What uses the selectors of @part that the node matches, autogroup:self among them:
 *  ascending, each once */
int applied_uses(const struct applied_policy *t, const struct applied_node *node,
		 enum policy_part part, struct indexes *ret);

/**
 * applied_is_reached() - Whether a selector that the node matches makes it a peer
 *
 * A rule for public addresses is in the filter of an exit node, but only autogroup:internet makes
 * the exit node a peer.
 */
bool applied_is_reached(const struct applied_policy *t, const struct applied_node *node,
			uint32_t selector);

static inline const struct selector *applied_selector(const struct applied_policy *t,
						      uint32_t index)
{
	return t->policy->selectors[index];
}
