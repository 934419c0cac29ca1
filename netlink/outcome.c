/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/outcome.c - what the kernel's answer to a change means */
#include "netlink/reconcile.h"

#include <errno.h>
#include <stdio.h>

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
