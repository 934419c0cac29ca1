/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/have.c - one strict dump: what the kernel has of ours */
#include "netlink/have.h"

#include "base/cleanup.h"
#include "netlink/message.h"

#include <errno.h>
#include <linux/rtnetlink.h>

static const uint8_t families[] = {AF_INET, AF_INET6};

struct reading {
	uint32_t ifindex;
	uint32_t table;
	struct net_have have;
};

static int take_link(const struct net_message *message, void *context)
{
	struct reading *reading = context;

	return message->type == RTM_NEWLINK ? net_parse_link(message->body, &reading->have.link)
					    : 0;
}

static int take_address(const struct net_message *message, void *context)
{
	struct reading *reading = context;
	struct net_address address;
	int r;

	if (message->type != RTM_NEWADDR)
		return 0;
	r = net_parse_address(message->body, &address);
	if (r < 0)
		return r == -EAFNOSUPPORT ? 0 : r;
	if (address.ifindex != reading->ifindex || address_is_link_local(&address.prefix.address))
		return 0;
	return net_prefixes_add(&reading->have.addresses, &address.prefix);
}

static int take_route(const struct net_message *message, void *context)
{
	struct reading *reading = context;
	struct net_route route;
	int r;

	if (message->type != RTM_NEWROUTE)
		return 0;
	r = net_parse_route(message->body, &route);
	if (r < 0)
		return r == -EAFNOSUPPORT ? 0 : r;
	if (route.table != reading->table || route.oif != reading->ifindex ||
	    route.protocol != NET_ROUTE_PROTOCOL || route.type != RTN_UNICAST)
		return 0;
	return net_prefixes_add(&reading->have.routes, &route.prefix);
}

static int take_rule(const struct net_message *message, void *context)
{
	struct reading *reading = context;
	struct net_rule rule;
	int r;

	if (message->type != RTM_NEWRULE)
		return 0;
	r = net_parse_rule(message->body, &rule);
	if (r < 0)
		return r == -EAFNOSUPPORT ? 0 : r;
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++) {
		struct net_rule ours = net_rule_of_ours(i, reading->table);

		if (net_rule_equal(&rule, &ours))
			reading->have.rules |= 1u << i;
	}
	if (rule.protocol == NET_ROUTE_PROTOCOL && rule.priority == NET_RULE_TUNNEL &&
	    rule.table != reading->table)
		reading->have.bypass_shared = true;
	return 0;
}

int net_dump_routes(struct net_channel *channel, uint8_t family, uint32_t table, uint8_t protocol,
		    uint32_t ifindex, net_record_fn *each, void *context, struct error *err)
{
	_Alignas(struct nlmsghdr) uint8_t request[NET_REQUEST_SIZE] = {0};
	struct error ignored = {0};
	int r = net_channel_ask(channel,
				net_message_dump_routes(request, family, table, protocol, ifindex),
				each, context, &ignored);

	/* ENOENT: the table is made with its first route. ENODEV: the link went meanwhile. */
	if (r == -ENOENT || r == -ENODEV)
		return 0;
	return r < 0 ? error_set(err, r, "dump routes: %s", ignored.text) : 0;
}

/* lacks() - Errors by which a kernel says that it knows nothing of this family or object */
static bool lacks(int code)
{
	return code == -EAFNOSUPPORT || code == -EOPNOTSUPP;
}

static int read_rules(struct net_channel *channel, struct reading *reading, unsigned int *without,
		      struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		_Alignas(struct nlmsghdr) uint8_t request[NET_REQUEST_SIZE] = {0};
		int r = net_channel_ask(channel, net_message_dump_rules(request, families[i]),
					take_rule, reading, err);

		if (lacks(r))
			*without |= families[i] == AF_INET ? NET_WARNING_NO_RULES
							   : NET_WARNING_IPV6_OFF;
		else if (r < 0)
			return error_wrap(err, "dump rules"), r;
	}
	return 0;
}

static int read_addresses(struct net_channel *channel, struct reading *reading, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		_Alignas(struct nlmsghdr) uint8_t request[NET_REQUEST_SIZE] = {0};
		struct error cause = {0};
		int r = net_channel_ask(
			channel, net_message_dump_addresses(request, families[i], reading->ifindex),
			take_address, reading, &cause);

		/* ENODEV: a link without IPv6 has no addresses of it. */
		if (r < 0 && r != -ENODEV && !lacks(r))
			return error_set(err, r, "dump addresses: %s", cause.text);
	}
	return 0;
}

int net_have_read(struct net_channel *channel, uint32_t ifindex, uint32_t table,
		  unsigned int *without, struct net_have *ret, struct error *err)
{
	_Alignas(struct nlmsghdr) uint8_t request[NET_REQUEST_SIZE] = {0};
	struct reading reading = {.ifindex = ifindex, .table = table};
	int r;

	r = read_rules(channel, &reading, without, err);
	if (r < 0 || ifindex == 0)
		goto done;
	if (*without & NET_WARNING_NO_RULES)
		reading.table = RT_TABLE_MAIN;
	r = net_channel_ask(channel, net_message_get_link(request, ifindex), take_link, &reading,
			    err);
	if (r < 0) {
		error_wrap(err, "read link %u", ifindex);
		goto done;
	}
	r = read_addresses(channel, &reading, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(families); i++) {
		r = net_dump_routes(channel, families[i], reading.table, NET_ROUTE_PROTOCOL,
				    ifindex, take_route, &reading, err);
		if (lacks(r))
			r = 0;
	}
done:
	if (r < 0)
		net_have_free(&reading.have);
	else
		*ret = reading.have;
	return r;
}
