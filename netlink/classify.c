/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/classify.c - what a notification means to us */
#include "netlink/classify.h"

#include "netlink/interfaces.h"
#include "netlink/monitor.h"
#include "netlink/parse.h"
#include "netlink/reconcile.h"

#include <assert.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#define LOOK_AGAIN (NET_EVENT_INTERFACES | NET_EVENT_OURS)

/* A family that isn't ours to look at (bridge, multicast routing) is no event. */
static int unreadable(int code)
{
	return code == -EAFNOSUPPORT ? 0 : LOOK_AGAIN;
}

static int of_link(const struct net_message *message, const struct net_watch *watch)
{
	struct net_link link;
	int r = net_parse_link(message->body, &link);

	if (r < 0)
		return unreadable(r);
	if (link.ifindex != watch->ifindex)
		return NET_EVENT_INTERFACES;
	if (message->type == RTM_DELLINK)
		return NET_EVENT_INTERFACES | NET_EVENT_LINK_GONE;
	return message->portid == watch->route_portid ? NET_EVENT_INTERFACES : LOOK_AGAIN;
}

static int of_address(const struct net_message *message, const struct net_watch *watch)
{
	struct net_address address;
	int r = net_parse_address(message->body, &address);

	if (r < 0)
		return unreadable(r);
	if (address.ifindex == watch->ifindex && message->portid != watch->route_portid)
		return LOOK_AGAIN;
	return NET_EVENT_INTERFACES;
}

static int of_route(const struct net_message *message, const struct net_watch *watch)
{
	struct net_route route;
	int r = net_parse_route(message->body, &route);

	if (r < 0)
		return unreadable(r);
	if (route.protocol == NET_ROUTE_PROTOCOL && route.table == watch->table)
		return message->portid == watch->route_portid ? 0 : NET_EVENT_OURS;
	if (route.prefix.bits == 0 &&
	    (route.table == RT_TABLE_MAIN || route.table == RT_TABLE_DEFAULT))
		return NET_EVENT_INTERFACES;
	if (route.prefix.bits <= 1 && route.table != RT_TABLE_MAIN)
		return NET_EVENT_OURS; /* where a rule before ours may lead */
	if (route.table == RT_TABLE_MAIN && route.protocol != NET_ROUTE_PROTOCOL && watch->ranges &&
	    net_ranges_shared(watch->ranges, &route.prefix))
		return NET_EVENT_INTERFACES;
	return 0;
}

static int of_rule(const struct net_message *message, const struct net_watch *watch)
{
	struct net_rule rule;
	int r = net_parse_rule(message->body, &rule);

	if (r < 0)
		return unreadable(r);
	if (message->portid == watch->route_portid)
		return 0;
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++) {
		struct net_rule ours = net_rule_of_ours(i, watch->table, watch->mark);

		if (net_rule_equal(&rule, &ours))
			return NET_EVENT_OURS;
	}
	/* Another's that stands before ours may take our packets. */
	return rule.protocol != NET_ROUTE_PROTOCOL && rule.priority < NET_RULE_TUNNEL
		       ? NET_EVENT_OURS
		       : 0;
}

static int of_nft(const struct net_message *message, const struct net_watch *watch)
{
	char table[64], comment[64];

	switch (message->type) {
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELCHAIN:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELRULE:
		break;
	default: /* sets, objects, the generation: we have none */
		return 0;
	}
	/* The table's name stands in the same attribute of all of them. */
	static_assert(NFTA_TABLE_NAME == 1 && NFTA_CHAIN_TABLE == 1 && NFTA_RULE_TABLE == 1, "");
	if (message->portid == watch->nft_portid)
		return 0;
	if (net_parse_nft_rule(message->body, table, comment) < 0)
		return NET_EVENT_OURS;
	return strcmp(table, watch->nft_table) == 0 ? NET_EVENT_OURS : 0;
}

static int of_message(const struct net_message *message, const struct net_watch *watch)
{
	switch (message->type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return of_link(message, watch);
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return of_address(message, watch);
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return of_route(message, watch);
	case RTM_NEWRULE:
	case RTM_DELRULE:
		return of_rule(message, watch);
	default:
		return 0;
	}
}

int net_classify(const void *data, size_t length, int bus, const struct net_watch *watch)
{
	struct cursor datagram = cursor_of(data, length);
	struct net_message message;
	int events = 0;

	while (net_message_next(&datagram, &message))
		events |= bus == NETLINK_NETFILTER ? of_nft(&message, watch)
						   : of_message(&message, watch);
	return cursor_ok(&datagram) ? events : events | LOOK_AGAIN;
}
