/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/reconcile.h - the difference between the wanted and the kernel's state
 *
 * Pure: records in, an ordered list of changes out.
 */
#pragma once

#include "base/prefixes.h"
#include "netlink/netstate.h"
#include "netlink/objects.h"

#define NET_RULE_COUNT 8 /* four priorities, IPv4 first, then IPv6 */

/* Our part of the kernel's state. */
struct net_have {
	struct net_link link;
	struct prefixes addresses;
	struct prefixes routes;
	unsigned int rules; /* bit i: net_rule_of_ours(i, table, mark) stands */
	bool bypass_shared; /* a tunnel rule of another pillion (same protocol, other table) stands
			     */
};

/* In the order in which they are made. */
enum net_change_kind {
	NET_RULE_ADD,
	NET_LINK_MTU,
	NET_LINK_GENERATION, /* no link-local address: the link has no neighbours */
	NET_ADDRESS_ADD,
	NET_LINK_UP,
	NET_ROUTE_ADD,
	NET_ROUTE_DELETE,
	NET_ADDRESS_DELETE,
	NET_RULE_DELETE,
	NET_LINK_DOWN,
};

struct net_change {
	enum net_change_kind kind;
	union {
		struct prefix prefix; /* NET_ADDRESS_*, NET_ROUTE_* */
		unsigned int rule;    /* NET_RULE_*: index */
		uint32_t mtu;
	};
};

struct net_changes {
	struct net_change *list;
	size_t count;
	size_t capacity;
	int result; /* -ENOMEM once a change could not be appended */
};

/** net_changes_add() - Append; @changes->result has a failure */
void net_changes_add(struct net_changes *changes, struct net_change change);

/**
 * net_rule_of_ours() - The rule with index @index (0 to NET_RULE_COUNT - 1) for @table and sockets
 * with @mark
 *
 * In the order of adding: the bypass stands before the rule that needs it.
 */
struct net_rule net_rule_of_ours(unsigned int index, uint32_t table, uint32_t mark);

/** net_rule_equal() - Whether two rules are the same to the kernel, protocol included */
bool net_rule_equal(const struct net_rule *a, const struct net_rule *b);

/** net_have_free() - Release the lists; @have is empty and valid after it */
void net_have_free(struct net_have *have);

/**
 * net_reconcile() - Compute the changes that lead from @have to @wanted
 * @have:    its lists are sorted by the call
 * @without: bits of enum net_warning: NET_WARNING_IPV6_OFF leaves out IPv6 addresses and routes,
 *           NET_WARNING_NO_RULES the rules
 * @ret:     in order; caller ends it by net_changes_free()
 *
 * Return: 0 or -ENOMEM
 */
int net_reconcile(struct net_have *have, const struct net_wanted *wanted, unsigned int without,
		  struct net_changes *ret);
void net_changes_free(struct net_changes *changes);

enum net_outcome {
	NET_OUTCOME_DONE,
	NET_OUTCOME_AGAIN,    /* the state has changed since the dump: dump again */
	NET_OUTCOME_CONFLICT, /* as AGAIN, or a route of another program stands there */
	NET_OUTCOME_NO_IPV6,
	NET_OUTCOME_NO_RULES,
	NET_OUTCOME_IGNORED, /* refused, and nothing depends on it */
	NET_OUTCOME_FAILED,
};

/** net_outcome_of() - The meaning of the kernel's answer @code (0 or negative errno) to @change */
enum net_outcome net_outcome_of(const struct net_change *change, int code);

/** net_change_format() - "add route 100.64.0.7/32", for a person */
const char *net_change_format(const struct net_change *change, char out[static 80]);
