/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/reconcile.c - the difference between the wanted and the kernel's state */
#include "netlink/reconcile.h"

#include "base/array.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void net_have_free(struct net_have *have)
{
	prefixes_free(&have->addresses);
	prefixes_free(&have->routes);
	*have = (struct net_have){0};
}

void net_changes_free(struct net_changes *changes)
{
	free(changes->list);
	*changes = (struct net_changes){0};
}

void net_changes_add(struct net_changes *changes, struct net_change change)
{
	if (changes->result == 0)
		changes->result = ARRAY_GROW(changes->list, changes->count, changes->capacity);
	if (changes->result == 0)
		changes->list[changes->count++] = change;
}

struct net_rule net_rule_of_ours(unsigned int index, uint32_t table, uint32_t mark)
{
	static const struct {
		enum net_rule_priority priority;
		uint8_t action;
		uint32_t table;
	} rows[NET_RULE_COUNT / 2] = {
		{NET_RULE_BYPASS_MAIN, FR_ACT_TO_TBL, RT_TABLE_MAIN},
		{NET_RULE_BYPASS_DEFAULT, FR_ACT_TO_TBL, RT_TABLE_DEFAULT},
		{NET_RULE_BYPASS_UNREACHABLE, FR_ACT_UNREACHABLE, RT_TABLE_UNSPEC},
		{NET_RULE_TUNNEL, FR_ACT_TO_TBL, RT_TABLE_UNSPEC},
	};
	unsigned int row = index % (NET_RULE_COUNT / 2);
	bool tunnel = rows[row].priority == NET_RULE_TUNNEL;

	return (struct net_rule){
		.family = index < NET_RULE_COUNT / 2 ? ADDRESS_V4 : ADDRESS_V6,
		.protocol = NET_ROUTE_PROTOCOL,
		.action = rows[row].action,
		.priority = rows[row].priority,
		.table = tunnel ? table : rows[row].table,
		.mark = tunnel ? 0 : mark,
		.mask = tunnel ? 0 : NET_MARK_MASK,
	};
}

bool net_rule_equal(const struct net_rule *a, const struct net_rule *b)
{
	return a->family == b->family && a->protocol == b->protocol && a->action == b->action &&
	       a->selective == b->selective && a->priority == b->priority && a->table == b->table &&
	       a->mark == b->mark && a->mask == b->mask;
}

/* collect() - The wanted prefixes as a sorted list, @mask clearing their host bits */
static int collect(const struct prefixes *from, bool mask, bool v4_only, struct prefixes *ret)
{
	for (size_t i = 0; i < from->count; i++) {
		struct prefix one = mask ? prefix_mask(&from->list[i]) : from->list[i];
		int r;

		if (v4_only && one.address.family == ADDRESS_V6)
			continue;
		r = prefixes_add(ret, &one);
		if (r < 0)
			return r;
	}
	prefixes_unite(ret);
	return 0;
}

/* only_in() - A change of @kind for each prefix of @in that is not in @other; both are sorted */
static void only_in(const struct prefixes *in, const struct prefixes *other,
		    enum net_change_kind kind, struct net_changes *changes)
{
	size_t j = 0;

	for (size_t i = 0; i < in->count; i++) {
		int order = 1;

		while (j < other->count &&
		       (order = prefix_compare(&in->list[i], &other->list[j])) > 0)
			j++;
		if (j == other->count || order != 0)
			net_changes_add(changes,
					(struct net_change){.kind = kind, .prefix = in->list[i]});
	}
}

static void add_rules(const struct net_have *have, struct net_changes *changes)
{
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++)
		if (!(have->rules & 1u << i))
			net_changes_add(changes,
					(struct net_change){.kind = NET_RULE_ADD, .rule = i});
}

/* delete_rules() - The tunnel's first, so that no marked packet meets it without the bypass */
static void delete_rules(const struct net_have *have, struct net_changes *changes)
{
	for (unsigned int i = NET_RULE_COUNT; i-- > 0;) {
		bool tunnel = net_rule_of_ours(i, 0, 0).priority == NET_RULE_TUNNEL;

		if (have->rules & 1u << i && (tunnel || !have->bypass_shared))
			net_changes_add(changes,
					(struct net_change){.kind = NET_RULE_DELETE, .rule = i});
	}
}

/* set_link() - Its MTU, and how it makes addresses: while it is down, if it is */
static void set_link(const struct net_link *link, const struct net_wanted *wanted,
		     struct net_changes *changes)
{
	if (wanted->mtu != 0 && link->mtu != wanted->mtu)
		net_changes_add(changes,
				(struct net_change){.kind = NET_LINK_MTU, .mtu = wanted->mtu});
	if (wanted->up && link->address_generation != NET_GENERATION_UNKNOWN &&
	    link->address_generation != IN6_ADDR_GEN_MODE_NONE)
		net_changes_add(changes, (struct net_change){.kind = NET_LINK_GENERATION});
}

int net_reconcile(struct net_have *have, const struct net_wanted *wanted, unsigned int without,
		  struct net_changes *ret)
{
	bool v4_only = without & NET_WARNING_IPV6_OFF;
	bool rules = !(without & NET_WARNING_NO_RULES);
	bool is_up = have->link.flags & IFF_UP;
	struct prefixes addresses = {0}, routes = {0};
	struct net_changes changes = {0};
	int r;

	prefixes_unite(&have->addresses);
	prefixes_unite(&have->routes);
	r = collect(&wanted->addresses, false, v4_only, &addresses);
	if (r == 0 && wanted->up)
		r = collect(&wanted->routes, true, v4_only, &routes);

	if (rules && wanted->rules)
		add_rules(have, &changes);
	set_link(&have->link, wanted, &changes);
	only_in(&addresses, &have->addresses, NET_ADDRESS_ADD, &changes);
	if (wanted->up && !is_up)
		net_changes_add(&changes, (struct net_change){.kind = NET_LINK_UP});
	only_in(&routes, &have->routes, NET_ROUTE_ADD, &changes);
	only_in(&have->routes, &routes, NET_ROUTE_DELETE, &changes);
	only_in(&have->addresses, &addresses, NET_ADDRESS_DELETE, &changes);
	if (rules && !wanted->rules)
		delete_rules(have, &changes);
	if (!wanted->up && is_up)
		net_changes_add(&changes, (struct net_change){.kind = NET_LINK_DOWN});
	if (r == 0)
		r = changes.result;

	prefixes_free(&addresses);
	prefixes_free(&routes);
	if (r < 0)
		net_changes_free(&changes);
	else
		*ret = changes;
	return r;
}

static bool is_ipv6(const struct net_change *change)
{
	switch (change->kind) {
	case NET_RULE_ADD:
	case NET_RULE_DELETE:
		return net_rule_of_ours(change->rule, 0, 0).family == ADDRESS_V6;
	case NET_ADDRESS_ADD:
	case NET_ADDRESS_DELETE:
	case NET_ROUTE_ADD:
	case NET_ROUTE_DELETE:
		return change->prefix.address.family == ADDRESS_V6;
	default:
		return false;
	}
}

static bool is_deletion(const struct net_change *change)
{
	return change->kind == NET_RULE_DELETE || change->kind == NET_ADDRESS_DELETE ||
	       change->kind == NET_ROUTE_DELETE;
}

static bool is_rule(const struct net_change *change)
{
	return change->kind == NET_RULE_ADD || change->kind == NET_RULE_DELETE;
}

enum net_outcome net_outcome_of(const struct net_change *change, int code)
{
	if (code == 0)
		return NET_OUTCOME_DONE;
	if (change->kind == NET_LINK_GENERATION)
		return NET_OUTCOME_IGNORED;
	switch (code) {
	case -EEXIST:
		return change->kind == NET_ROUTE_ADD ? NET_OUTCOME_CONFLICT : NET_OUTCOME_AGAIN;
	case -ESRCH:
	case -ENOENT:
	case -EADDRNOTAVAIL:
		return is_deletion(change) ? NET_OUTCOME_AGAIN : NET_OUTCOME_FAILED;
	case -ENODEV: /* the next dump says whether the link is gone */
	case -ENETDOWN:
		return NET_OUTCOME_AGAIN;
	case -EACCES: /* disable_ipv6=1 */
	case -EPERM:
		return is_ipv6(change) && !is_rule(change) ? NET_OUTCOME_NO_IPV6
							   : NET_OUTCOME_FAILED;
	case -EOPNOTSUPP: /* a kernel without */
	case -EAFNOSUPPORT:
		if (is_ipv6(change))
			return NET_OUTCOME_NO_IPV6;
		return is_rule(change) ? NET_OUTCOME_NO_RULES : NET_OUTCOME_FAILED;
	default:
		return NET_OUTCOME_FAILED;
	}
}

const char *net_change_format(const struct net_change *change, char out[static 80])
{
	static const char *const verbs[] = {
		[NET_RULE_ADD] = "add rule",           [NET_LINK_MTU] = "set MTU",
		[NET_LINK_GENERATION] = "set up IPv6", [NET_ADDRESS_ADD] = "add address",
		[NET_LINK_UP] = "set link up",         [NET_ROUTE_ADD] = "add route",
		[NET_ROUTE_DELETE] = "delete route",   [NET_ADDRESS_DELETE] = "delete address",
		[NET_RULE_DELETE] = "delete rule",     [NET_LINK_DOWN] = "set link down",
	};
	char text[PREFIX_TEXT_MAX];

	if (is_rule(change))
		snprintf(out, 80, "%s %u (%s)", verbs[change->kind],
			 net_rule_of_ours(change->rule, 0, 0).priority,
			 is_ipv6(change) ? "IPv6" : "IPv4");
	else if (change->kind == NET_LINK_MTU)
		snprintf(out, 80, "%s %u", verbs[change->kind], change->mtu);
	else if (change->kind == NET_LINK_GENERATION || change->kind == NET_LINK_UP ||
		 change->kind == NET_LINK_DOWN)
		snprintf(out, 80, "%s", verbs[change->kind]);
	else
		snprintf(out, 80, "%s %s", verbs[change->kind],
			 prefix_format(&change->prefix, text));
	return out;
}
