/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/have.c - one strict dump: what the kernel has of ours */
#include "netlink/have.h"

#include "netlink/dump.h"

#include <errno.h>
#include <linux/rtnetlink.h>

struct reading {
	uint32_t ifindex;
	uint32_t table;
	uint32_t mark;
	struct net_have have;
};

static int take_link(const struct net_link *link, void *context)
{
	struct reading *reading = context;

	reading->have.link = *link;
	return 0;
}

static int take_address(const struct net_address *address, void *context)
{
	struct reading *reading = context;

	if (address->ifindex != reading->ifindex || address_is_link_local(&address->prefix.address))
		return 0;
	return net_prefixes_add(&reading->have.addresses, &address->prefix);
}

static int take_route(const struct net_route *route, void *context)
{
	struct reading *reading = context;

	if (route->table != reading->table || route->oif != reading->ifindex ||
	    route->protocol != NET_ROUTE_PROTOCOL || route->type != RTN_UNICAST)
		return 0;
	return net_prefixes_add(&reading->have.routes, &route->prefix);
}

static int take_rule(const struct net_rule *rule, void *context)
{
	struct reading *reading = context;

	for (unsigned int i = 0; i < NET_RULE_COUNT; i++) {
		struct net_rule ours = net_rule_of_ours(i, reading->table, reading->mark);

		if (net_rule_equal(rule, &ours))
			reading->have.rules |= 1u << i;
	}
	if (rule->protocol == NET_ROUTE_PROTOCOL && rule->priority == NET_RULE_TUNNEL &&
	    rule->table != reading->table)
		reading->have.bypass_shared = true;
	return 0;
}

int net_have_read(struct net_channel *channel, uint32_t ifindex, uint32_t table, uint32_t mark,
		  unsigned int *without, struct net_have *ret, struct error *err)
{
	struct reading reading = {.ifindex = ifindex, .table = table, .mark = mark};
	unsigned int lacks = 0;
	int r = net_dump_rules(channel, take_rule, &reading, &lacks, err);

	if (lacks & NET_LACKS_IPV4)
		*without |= NET_WARNING_NO_RULES;
	if (lacks & NET_LACKS_IPV6)
		*without |= NET_WARNING_IPV6_OFF;
	if (r < 0 || ifindex == 0)
		goto done;
	if (*without & NET_WARNING_NO_RULES)
		reading.table = RT_TABLE_MAIN;
	r = net_dump_links(channel, ifindex, take_link, &reading, err);
	if (r < 0) {
		error_wrap(err, "read link %u", ifindex);
		goto done;
	}
	r = net_dump_addresses(channel, ifindex, take_address, &reading, err);
	if (r == 0)
		r = net_dump_routes(channel, reading.table, NET_ROUTE_PROTOCOL, ifindex, take_route,
				    &reading, err);
done:
	if (r < 0)
		net_have_free(&reading.have);
	else
		*ret = reading.have;
	return r;
}
