/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/message.c - records to rtnetlink requests */
#include "netlink/message.h"

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#define FLAGS_NEW  (NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL)
#define FLAGS_DUMP (NLM_F_REQUEST | NLM_F_DUMP)

static uint8_t kernel_family(uint8_t family)
{
	return family == ADDRESS_V4 ? AF_INET : AF_INET6;
}

static struct nlmsghdr *begin(void *buffer, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	request->nlmsg_type = type;
	request->nlmsg_flags = flags;
	return request;
}

static void *extra(struct nlmsghdr *request, size_t size)
{
	return mnl_nlmsg_put_extra_header(request, size);
}

static void put_address(struct nlmsghdr *request, uint16_t type, const struct address *address)
{
	mnl_attr_put(request, type, address_length(address), address->bytes);
}

/* put_table() - The header has room for 8 bits */
static uint8_t put_table(struct nlmsghdr *request, uint16_t type, uint32_t table)
{
	mnl_attr_put_u32(request, type, table);
	return table < 256 ? (uint8_t)table : RT_TABLE_UNSPEC;
}

static struct nlmsghdr *link_request(void *buffer, uint32_t ifindex, unsigned int flags,
				     unsigned int mask)
{
	struct nlmsghdr *request = begin(buffer, RTM_NEWLINK, NLM_F_REQUEST);
	struct ifinfomsg *header = extra(request, sizeof(*header));

	header->ifi_index = (int)ifindex;
	header->ifi_flags = flags;
	header->ifi_change = mask;
	return request;
}

static struct nlmsghdr *link_generation(void *buffer, uint32_t ifindex)
{
	struct nlmsghdr *request = link_request(buffer, ifindex, 0, 0);
	struct nlattr *families = mnl_attr_nest_start(request, IFLA_AF_SPEC);
	struct nlattr *family = mnl_attr_nest_start(request, AF_INET6);

	mnl_attr_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(request, family);
	mnl_attr_nest_end(request, families);
	return request;
}

static struct nlmsghdr *address_request(void *buffer, uint16_t type, uint16_t flags,
					const struct prefix *prefix, uint32_t ifindex)
{
	struct nlmsghdr *request = begin(buffer, type, flags);
	struct ifaddrmsg *header = extra(request, sizeof(*header));

	header->ifa_family = kernel_family(prefix->address.family);
	header->ifa_prefixlen = prefix->bits;
	header->ifa_scope = RT_SCOPE_UNIVERSE;
	header->ifa_index = ifindex;
	put_address(request, IFA_LOCAL, &prefix->address);
	put_address(request, IFA_ADDRESS, &prefix->address);
	/* Routes are ours to set, and nobody on a TUN link could answer duplicate detection. */
	if (type == RTM_NEWADDR)
		mnl_attr_put_u32(request, IFA_FLAGS, IFA_F_NOPREFIXROUTE | IFA_F_NODAD);
	return request;
}

static struct nlmsghdr *route_request(void *buffer, uint16_t type, uint16_t flags,
				      const struct net_route *route)
{
	struct nlmsghdr *request = begin(buffer, type, flags);
	struct rtmsg *header = extra(request, sizeof(*header));
	bool link_scope = type == RTM_NEWROUTE && route->prefix.address.family == ADDRESS_V4;

	header->rtm_family = kernel_family(route->prefix.address.family);
	header->rtm_dst_len = route->prefix.bits;
	header->rtm_protocol = route->protocol;
	header->rtm_type = route->type;
	header->rtm_scope = link_scope ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	if (type == RTM_DELROUTE)
		header->rtm_scope = RT_SCOPE_NOWHERE; /* any */
	header->rtm_table = put_table(request, RTA_TABLE, route->table);
	put_address(request, RTA_DST, &route->prefix.address);
	if (route->oif)
		mnl_attr_put_u32(request, RTA_OIF, route->oif);
	return request;
}

struct nlmsghdr *net_message_rule(void *buffer, uint16_t type, const struct net_rule *rule)
{
	struct nlmsghdr *request =
		begin(buffer, type, type == RTM_NEWRULE ? FLAGS_NEW : NLM_F_REQUEST);
	struct fib_rule_hdr *header = extra(request, sizeof(*header));

	header->family = kernel_family(rule->family);
	header->action = rule->action;
	mnl_attr_put_u32(request, FRA_PRIORITY, rule->priority);
	if (rule->table != RT_TABLE_UNSPEC)
		header->table = put_table(request, FRA_TABLE, rule->table);
	if (rule->mask) {
		mnl_attr_put_u32(request, FRA_FWMARK, rule->mark);
		mnl_attr_put_u32(request, FRA_FWMASK, rule->mask);
	}
	mnl_attr_put_u8(request, FRA_PROTOCOL, rule->protocol);
	return request;
}

struct nlmsghdr *net_message_change(void *buffer, const struct net_change *change, uint32_t ifindex,
				    uint32_t table, uint32_t mark)
{
	struct net_route route = {
		.table = table,
		.oif = ifindex,
		.protocol = NET_ROUTE_PROTOCOL,
		.type = RTN_UNICAST,
		.prefix = change->prefix,
	};
	struct nlmsghdr *request;
	struct net_rule rule;

	switch (change->kind) {
	case NET_RULE_ADD:
	case NET_RULE_DELETE:
		rule = net_rule_of_ours(change->rule, table, mark);
		return net_message_rule(
			buffer, change->kind == NET_RULE_ADD ? RTM_NEWRULE : RTM_DELRULE, &rule);
	case NET_LINK_MTU:
		request = link_request(buffer, ifindex, 0, 0);
		mnl_attr_put_u32(request, IFLA_MTU, change->mtu);
		return request;
	case NET_LINK_GENERATION:
		return link_generation(buffer, ifindex);
	case NET_ADDRESS_ADD:
		return address_request(buffer, RTM_NEWADDR, FLAGS_NEW, &change->prefix, ifindex);
	case NET_ADDRESS_DELETE:
		return address_request(buffer, RTM_DELADDR, NLM_F_REQUEST, &change->prefix,
				       ifindex);
	case NET_ROUTE_ADD:
		return route_request(buffer, RTM_NEWROUTE, FLAGS_NEW, &route);
	case NET_ROUTE_DELETE:
		return route_request(buffer, RTM_DELROUTE, NLM_F_REQUEST, &route);
	case NET_LINK_UP:
		return link_request(buffer, ifindex, IFF_UP, IFF_UP);
	case NET_LINK_DOWN:
		break;
	}
	return link_request(buffer, ifindex, 0, IFF_UP);
}

struct nlmsghdr *net_message_delete_route(void *buffer, const struct net_route *route)
{
	return route_request(buffer, RTM_DELROUTE, NLM_F_REQUEST, route);
}

struct nlmsghdr *net_message_get_link(void *buffer, uint32_t ifindex)
{
	struct nlmsghdr *request = begin(buffer, RTM_GETLINK, ifindex ? NLM_F_REQUEST : FLAGS_DUMP);
	struct ifinfomsg *header = extra(request, sizeof(*header));

	header->ifi_index = (int)ifindex;
	mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return request;
}

struct nlmsghdr *net_message_dump_addresses(void *buffer, uint8_t family, uint32_t ifindex)
{
	struct nlmsghdr *request = begin(buffer, RTM_GETADDR, FLAGS_DUMP);
	struct ifaddrmsg *header = extra(request, sizeof(*header));

	header->ifa_family = family;
	header->ifa_index = ifindex;
	return request;
}

struct nlmsghdr *net_message_dump_routes(void *buffer, uint8_t family, uint32_t table,
					 uint8_t protocol, uint32_t ifindex)
{
	struct nlmsghdr *request = begin(buffer, RTM_GETROUTE, FLAGS_DUMP);
	struct rtmsg *header = extra(request, sizeof(*header));

	header->rtm_family = family;
	header->rtm_protocol = protocol;
	header->rtm_table = put_table(request, RTA_TABLE, table);
	if (ifindex)
		mnl_attr_put_u32(request, RTA_OIF, ifindex);
	return request;
}

struct nlmsghdr *net_message_dump_rules(void *buffer, uint8_t family)
{
	struct nlmsghdr *request = begin(buffer, RTM_GETRULE, FLAGS_DUMP);
	struct fib_rule_hdr *header = extra(request, sizeof(*header));

	header->family = family;
	return request;
}

struct nlmsghdr *net_message_lookup(void *buffer, const struct address *to, uint32_t mark)
{
	struct nlmsghdr *request = begin(buffer, RTM_GETROUTE, NLM_F_REQUEST);
	struct rtmsg *header = extra(request, sizeof(*header));

	header->rtm_family = kernel_family(to->family);
	header->rtm_dst_len = address_bits(to);
	put_address(request, RTA_DST, to);
	/* IPv6 always says in which table the answer stands, and knows no flag for it. */
	if (to->family == ADDRESS_V4)
		header->rtm_flags = RTM_F_LOOKUP_TABLE;
	if (mark)
		mnl_attr_put_u32(request, RTA_MARK, mark);
	return request;
}
