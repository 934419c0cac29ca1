/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/objects_build.c - small records to requests for rtnetlink */
#include "netlink/objects.h"

#include "base/cleanup.h"

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>

#define FLAGS_NEW (NLM_F_CREATE | NLM_F_EXCL)

static int kernel_family(uint8_t family)
{
	return family == ADDRESS_V4 ? AF_INET : AF_INET6;
}

/* address_new() - libnl's form of a prefix; NULL: out of memory */
static struct nl_addr *address_new(const struct prefix *p)
{
	struct nl_addr *address = nl_addr_build(kernel_family(p->address.family), p->address.bytes,
						address_length(&p->address));

	if (address)
		nl_addr_set_prefixlen(address, p->bits);
	return address;
}

/* request_new() - A request that opens with @header */
static struct nl_msg *request_new(int type, int flags, const void *header, size_t size)
{
	struct nl_msg *request = nlmsg_alloc_simple(type, NLM_F_REQUEST | flags);

	if (request && nlmsg_append(request, (void *)(uintptr_t)header, size, NLMSG_ALIGNTO) == 0)
		return request;
	nlmsg_free(request);
	return NULL;
}

/* put() - Append an attribute; NULL where there is no request, or no room in it */
static struct nl_msg *put(struct nl_msg *request, int attribute, const void *value, size_t size)
{
	if (!request || nla_put(request, attribute, (int)size, value) == 0)
		return request;
	nlmsg_free(request);
	return NULL;
}

struct nl_msg *net_request_dump(enum net_kind kind, uint8_t family, uint32_t ifindex,
				uint32_t table, uint8_t protocol)
{
	const struct ifinfomsg link = {.ifi_index = (int)ifindex};
	const struct ifaddrmsg address = {.ifa_family = family, .ifa_index = ifindex};
	const struct rtmsg route = {.rtm_family = family, .rtm_protocol = protocol};
	const struct fib_rule_hdr rule = {.family = family};
	const uint32_t skip = RTEXT_FILTER_SKIP_STATS;
	struct nl_msg *request;

	switch (kind) {
	case NET_LINK: /* one link is no dump */
		request = request_new(RTM_GETLINK, ifindex ? 0 : NLM_F_DUMP, &link, sizeof(link));
		return put(request, IFLA_EXT_MASK, &skip, sizeof(skip));
	case NET_ADDRESS:
		return request_new(RTM_GETADDR, NLM_F_DUMP, &address, sizeof(address));
	case NET_ROUTE:
		request = request_new(RTM_GETROUTE, NLM_F_DUMP, &route, sizeof(route));
		request = put(request, RTA_TABLE, &table, sizeof(table));
		return ifindex ? put(request, RTA_OIF, &ifindex, sizeof(ifindex)) : request;
	case NET_RULE:
		break;
	}
	return request_new(RTM_GETRULE, NLM_F_DUMP, &rule, sizeof(rule));
}

struct nl_msg *net_request_lookup(const struct address *to, uint32_t mark)
{
	const struct rtmsg header = {
		.rtm_family = (uint8_t)kernel_family(to->family),
		.rtm_dst_len = address_bits(to),
		/* IPv6 always says in which table the answer stands, and knows no flag for it. */
		.rtm_flags = to->family == ADDRESS_V4 ? RTM_F_LOOKUP_TABLE : 0,
	};
	struct nl_msg *request = request_new(RTM_GETROUTE, 0, &header, sizeof(header));

	request = put(request, RTA_DST, to->bytes, address_length(to));
	return mark ? put(request, RTA_MARK, &mark, sizeof(mark)) : request;
}

/* link_request() - Turn @changes, which end here, into a request */
static struct nl_msg *link_request(uint32_t ifindex, struct rtnl_link *changes)
{
	struct rtnl_link *link = rtnl_link_alloc();
	struct nl_msg *request = NULL;

	if (link && changes) {
		rtnl_link_set_ifindex(link, (int)ifindex);
		(void)rtnl_link_build_change_request(link, changes, 0, &request);
	}
	rtnl_link_put(link);
	rtnl_link_put(changes);
	return request;
}

struct nl_msg *net_request_link(uint32_t ifindex, unsigned int flags, unsigned int mask,
				uint32_t mtu)
{
	struct rtnl_link *changes = rtnl_link_alloc();

	if (changes) {
		rtnl_link_set_flags(changes, flags & mask);
		rtnl_link_unset_flags(changes, ~flags & mask);
		if (mtu)
			rtnl_link_set_mtu(changes, mtu);
	}
	return link_request(ifindex, changes);
}

struct nl_msg *net_request_generation(uint32_t ifindex)
{
	struct rtnl_link *changes = rtnl_link_alloc();

	if (changes && rtnl_link_inet6_set_addr_gen_mode(changes, IN6_ADDR_GEN_MODE_NONE) < 0) {
		rtnl_link_put(changes);
		return NULL;
	}
	return link_request(ifindex, changes);
}

struct nl_msg *net_request_address(uint16_t type, const struct prefix *prefix, uint32_t ifindex)
{
	struct nl_addr *local = address_new(prefix);
	struct rtnl_addr *address = rtnl_addr_alloc();
	struct nl_msg *request = NULL;

	if (local && address && rtnl_addr_set_local(address, local) == 0) {
		rtnl_addr_set_ifindex(address, (int)ifindex);
		rtnl_addr_set_scope(address, RT_SCOPE_UNIVERSE);
		/* Routes are ours to set, and a TUN link has no neighbour that could answer the
		 * duplicate detection. */
		if (type == RTM_NEWADDR)
			rtnl_addr_set_flags(address, IFA_F_NOPREFIXROUTE | IFA_F_NODAD);
		(void)(type == RTM_NEWADDR
			       ? rtnl_addr_build_add_request(address, FLAGS_NEW, &request)
			       : rtnl_addr_build_delete_request(address, 0, &request));
	}
	rtnl_addr_put(address);
	nl_addr_put(local);
	return request;
}

/* set_link() - The route leads to a link; false: out of memory */
static bool set_link(struct rtnl_route *route, uint32_t ifindex)
{
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();

	if (!hop)
		return false;
	rtnl_route_nh_set_ifindex(hop, (int)ifindex);
	rtnl_route_add_nexthop(route, hop);
	return true;
}

struct nl_msg *net_request_route(uint16_t type, const struct net_route *from)
{
	bool link_scope = type == RTM_NEWROUTE && from->prefix.address.family == ADDRESS_V4;
	struct nl_addr *to = address_new(&from->prefix);
	struct rtnl_route *route = rtnl_route_alloc();
	struct nl_msg *request = NULL;

	if (to && route && rtnl_route_set_dst(route, to) == 0 &&
	    rtnl_route_set_type(route, from->type) == 0 &&
	    (from->oif == 0 || set_link(route, from->oif))) {
		rtnl_route_set_table(route, from->table);
		rtnl_route_set_protocol(route, from->protocol);
		rtnl_route_set_scope(route, link_scope ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
		(void)(type == RTM_NEWROUTE
			       ? rtnl_route_build_add_request(route, FLAGS_NEW, &request)
			       : rtnl_route_build_del_request(route, 0, &request));
	}
	/* Any scope, which libnl would replace by a guess. */
	if (request && type == RTM_DELROUTE)
		((struct rtmsg *)nlmsg_data(nlmsg_hdr(request)))->rtm_scope = RT_SCOPE_NOWHERE;
	rtnl_route_put(route);
	nl_addr_put(to);
	return request;
}

struct nl_msg *net_request_rule(uint16_t type, const struct net_rule *from)
{
	struct rtnl_rule *rule = rtnl_rule_alloc();
	struct nl_msg *request = NULL;

	if (!rule)
		return NULL;
	rtnl_rule_set_family(rule, kernel_family(from->family));
	rtnl_rule_set_action(rule, from->action);
	rtnl_rule_set_prio(rule, from->priority);
	rtnl_rule_set_table(rule, from->table);
	if (from->mask) {
		rtnl_rule_set_mark(rule, from->mark);
		rtnl_rule_set_mask(rule, from->mask);
	}
	(void)rtnl_rule_set_protocol(rule, from->protocol);
	(void)(type == RTM_NEWRULE ? rtnl_rule_build_add_request(rule, FLAGS_NEW, &request)
				   : rtnl_rule_build_delete_request(rule, 0, &request));
	rtnl_rule_put(rule);
	return request;
}
