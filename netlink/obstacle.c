/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/obstacle.c - what another program's rules do to our packets */
#include "netlink/obstacle.h"

#include "base/cleanup.h"
#include "netlink/channel.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdio.h>

#define RULES_MAX 64 /* of others that stand before ours, and are looked at */

struct before {
	struct net_rule rules[RULES_MAX];
	size_t count;
};

bool net_rule_takes_mark(const struct net_rule *rule, uint32_t mark)
{
	bool system = rule->action == FR_ACT_TO_TBL &&
		      (rule->table == RT_TABLE_MAIN || rule->table == RT_TABLE_DEFAULT ||
		       rule->table == RT_TABLE_LOCAL);

	return rule->protocol != NET_ROUTE_PROTOCOL && rule->priority < NET_RULE_BYPASS_MAIN &&
	       !system && !rule->inverted && rule->mask != 0 &&
	       ((rule->mark ^ mark) & rule->mask) == 0;
}

uint32_t net_mark_choose(const bool taken[static 256])
{
	/* 0x04, the official client's for forwarded packets, is not among them. */
	static const uint8_t choices[] = {0x08, 0x80, 0x40, 0x20, 0x10, 0x02, 0x01};

	for (size_t i = 0; i < ARRAY_SIZE(choices); i++)
		if (!taken[choices[i]])
			return (uint32_t)choices[i] << 16;
	return NET_BYPASS_MARK;
}

static int take_rule(const struct net_object *object, void *context)
{
	const struct net_rule *rule = &object->rule;
	struct before *before = context;

	if (rule->protocol != NET_ROUTE_PROTOCOL && rule->priority < NET_RULE_TUNNEL &&
	    rule->table != RT_TABLE_LOCAL && before->count < RULES_MAX)
		before->rules[before->count++] = *rule;
	return 0;
}

static const struct prefix *first_route(const struct net_wanted *wanted, enum address_family family)
{
	for (size_t i = 0; i < wanted->route_count; i++)
		if (wanted->routes[i].address.family == family && wanted->routes[i].bits > 1)
			return &wanted->routes[i];
	return NULL;
}

/* takes_unmarked() - Whether the mark that @rule selects by, if any, leaves the app's packets to it
 */
static bool takes_unmarked(const struct net_rule *rule)
{
	return rule->mask == 0 || (rule->mark & rule->mask) == 0 || rule->inverted;
}

/* taker() - Of the rules before ours, the one that leads where @answer says, or nowhere */
static const struct net_rule *taker(const struct before *before, enum address_family family,
				    const struct net_route *answer)
{
	for (size_t i = 0; i < before->count; i++) {
		const struct net_rule *rule = &before->rules[i];
		bool elsewhere = rule->action != FR_ACT_TO_TBL ||
				 (rule->table != RT_TABLE_MAIN && rule->table != RT_TABLE_DEFAULT);

		if (rule->family == family && takes_unmarked(rule) &&
		    (answer->oif ? rule->table == answer->table : elsewhere))
			return rule;
	}
	return NULL;
}

static void describe(const struct net_rule *rule, char out[static 96])
{
	char mark[40] = "";

	if (rule->mask)
		snprintf(mark, sizeof(mark), "%sfwmark 0x%x/0x%x, ", rule->inverted ? "not " : "",
			 rule->mark, rule->mask);
	if (rule->action == FR_ACT_TO_TBL)
		snprintf(out, 96, "rule %u (%slookup %u)", rule->priority, mark, rule->table);
	else
		snprintf(out, 96, "rule %u (%sno way out)", rule->priority, mark);
}

/* of_family() - Whether packets of the app to the tailnet are taken */
static int of_family(struct netlink *nl, const struct net_wanted *wanted,
		     const struct before *before, enum address_family family, char out[static 256])
{
	const struct prefix *to = first_route(wanted, family);
	struct net_route answer = {0};
	const struct net_rule *rule;
	char text[PREFIX_TEXT_MAX], name[96];
	int r;

	if (!to)
		return 0;
	r = net_look_up(&nl->route, &to->address, 0, &answer);
	if (r < 0 || answer.oif == wanted->ifindex)
		return r;
	rule = taker(before, family, &answer);
	if (!rule)
		return 0;
	describe(rule, name);
	snprintf(out, 256,
		 "%s of another program takes packets to the tailnet (%s) before our rule %u: "
		 "remove it, or add `ip rule add priority %u not fwmark 0x%x/0x%x lookup %u`",
		 name, prefix_format(to, text), NET_RULE_TUNNEL,
		 rule->priority > 1 ? rule->priority - 1 : 1, nl->mark, NET_MARK_MASK,
		 wanted->table);
	return 0;
}

int netlink_obstacle(struct netlink *nl, const struct net_wanted *wanted, unsigned int warnings,
		     char out[static 256])
{
	struct before before = {0};
	char name[96];
	int r;

	out[0] = 0;
	if (!wanted->rules)
		return 0;
	r = net_dump(&nl->route, NET_RULE, 0, 0, 0, take_rule, &before, NULL, NULL);
	if (r == 0)
		r = of_family(nl, wanted, &before, ADDRESS_V4, out);
	if (r == 0 && !out[0] && !(warnings & NET_WARNING_IPV6_OFF))
		r = of_family(nl, wanted, &before, ADDRESS_V6, out);
	for (size_t i = 0; r == 0 && !out[0] && i < before.count; i++) {
		if (!net_rule_takes_mark(&before.rules[i], nl->mark))
			continue;
		describe(&before.rules[i], name);
		snprintf(out, 256,
			 "%s of another program takes packets of our own sockets, whose mark is "
			 "0x%x: start again, so that a free one is chosen",
			 name, nl->mark);
	}
	return r;
}
