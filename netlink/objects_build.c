/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/objects_build.c - small records to requests for rtnetlink */
#include "netlink/objects.h"

#include "base/cleanup.h"

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#define FLAGS_NEW (NLM_F_CREATE | NLM_F_EXCL)

static uint8_t kernel_family(uint8_t family)
{
	return family == ADDRESS_V4 ? AF_INET : AF_INET6;
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

static struct nl_msg *put_u32(struct nl_msg *request, int attribute, uint32_t value)
{
	return put(request, attribute, &value, sizeof(value));
}

struct nl_msg *net_request_dump(enum net_kind kind, uint8_t family, uint32_t ifindex,
				uint32_t table, uint8_t protocol)
{
	const struct ifinfomsg link = {.ifi_index = (int)ifindex};
	const struct ifaddrmsg address = {.ifa_family = family, .ifa_index = ifindex};
	const struct rtmsg route = {.rtm_family = family, .rtm_protocol = protocol};
	const struct fib_rule_hdr rule = {.family = family};
	struct nl_msg *request;

	switch (kind) {
	case NET_LINK: /* one link is no dump */
		request = request_new(RTM_GETLINK, ifindex ? 0 : NLM_F_DUMP, &link, sizeof(link));
		return put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	case NET_ADDRESS:
		return request_new(RTM_GETADDR, NLM_F_DUMP, &address, sizeof(address));
	case NET_ROUTE:
		request = request_new(RTM_GETROUTE, NLM_F_DUMP, &route, sizeof(route));
		request = put_u32(request, RTA_TABLE, table);
		return ifindex ? put_u32(request, RTA_OIF, ifindex) : request;
	case NET_RULE:
		break;
	}
	return request_new(RTM_GETRULE, NLM_F_DUMP, &rule, sizeof(rule));
}

struct nl_msg *net_request_lookup(const struct address *to, uint32_t mark)
{
	const struct rtmsg header = {
		.rtm_family = kernel_family(to->family),
		.rtm_dst_len = address_bits(to),
		/* IPv6 always says in which table the answer stands, and knows no flag for it. */
		.rtm_flags = to->family == ADDRESS_V4 ? RTM_F_LOOKUP_TABLE : 0,
	};
	struct nl_msg *request = request_new(RTM_GETROUTE, 0, &header, sizeof(header));

	request = put(request, RTA_DST, to->bytes, address_length(to));
	return mark ? put_u32(request, RTA_MARK, mark) : request;
}

struct nl_msg *net_request_link(uint32_t ifindex, unsigned int flags, unsigned int mask,
				uint32_t mtu)
{
	const struct ifinfomsg header = {
		.ifi_index = (int)ifindex, .ifi_flags = flags & mask, .ifi_change = mask};
	struct nl_msg *request = request_new(RTM_NEWLINK, 0, &header, sizeof(header));

	return mtu ? put_u32(request, IFLA_MTU, mtu) : request;
}

struct nl_msg *net_request_generation(uint32_t ifindex)
{
	/* Attributes in attributes: each header, then what it holds. */
	const struct {
		struct nlattr inet6, mode;
		uint8_t value, padding[NLA_ALIGNTO - 1];
	} family = {
		.inet6 = {sizeof(family), AF_INET6},
		.mode = {sizeof(family.mode) + sizeof(family.value), IFLA_INET6_ADDR_GEN_MODE},
		.value = IN6_ADDR_GEN_MODE_NONE,
	};

	return put(net_request_link(ifindex, 0, 0, 0), IFLA_AF_SPEC, &family, sizeof(family));
}

struct nl_msg *net_request_address(uint16_t type, const struct prefix *prefix, uint32_t ifindex)
{
	const struct ifaddrmsg header = {
		.ifa_family = kernel_family(prefix->address.family),
		.ifa_prefixlen = prefix->bits,
		.ifa_index = ifindex,
	};
	bool adds = type == RTM_NEWADDR;
	struct nl_msg *request = request_new(type, adds ? FLAGS_NEW : 0, &header, sizeof(header));

	request = put(request, IFA_LOCAL, prefix->address.bytes, address_length(&prefix->address));
	/* Routes are ours to set, and a TUN link has no neighbour that could answer the duplicate
	 * detection. */
	return adds ? put_u32(request, IFA_FLAGS, IFA_F_NOPREFIXROUTE | IFA_F_NODAD) : request;
}

struct nl_msg *net_request_route(uint16_t type, const struct net_route *route)
{
	const struct address *to = &route->prefix.address;
	bool adds = type == RTM_NEWROUTE;
	const struct rtmsg header = {
		.rtm_family = kernel_family(to->family),
		.rtm_dst_len = route->prefix.bits,
		.rtm_protocol = route->protocol,
		.rtm_type = route->type,
		/* The scope of a route to a link; in a deletion RT_SCOPE_NOWHERE is any. */
		.rtm_scope = !adds                      ? RT_SCOPE_NOWHERE
			     : to->family == ADDRESS_V4 ? RT_SCOPE_LINK
							: RT_SCOPE_UNIVERSE,
	};
	struct nl_msg *request = request_new(type, adds ? FLAGS_NEW : 0, &header, sizeof(header));

	request = put(request, RTA_DST, to->bytes, address_length(to));
	request = put_u32(request, RTA_TABLE, route->table);
	return route->oif ? put_u32(request, RTA_OIF, route->oif) : request;
}

struct nl_msg *net_request_rule(uint16_t type, const struct net_rule *rule)
{
	const struct fib_rule_hdr header = {.family = kernel_family(rule->family),
					    .action = rule->action};
	struct nl_msg *request =
		request_new(type, type == RTM_NEWRULE ? FLAGS_NEW : 0, &header, sizeof(header));

	request = put_u32(request, FRA_PRIORITY, rule->priority);
	request = put_u32(request, FRA_TABLE, rule->table);
	if (rule->mask) {
		request = put_u32(request, FRA_FWMARK, rule->mark);
		request = put_u32(request, FRA_FWMASK, rule->mask);
	}
	return put(request, FRA_PROTOCOL, &rule->protocol, sizeof(rule->protocol));
}
