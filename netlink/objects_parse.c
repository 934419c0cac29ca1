/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/objects_parse.c - messages of rtnetlink to small records */
#include "netlink/objects.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/object.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>
#include <string.h>

static uint8_t family_of(int kernel)
{
	return kernel == AF_INET ? ADDRESS_V4 : kernel == AF_INET6 ? ADDRESS_V6 : ADDRESS_NONE;
}

bool net_attributes_are_whole(const struct nlmsghdr *message, int size)
{
	struct nlattr *a = nlmsg_attrdata(message, size);
	int left = nlmsg_attrlen(message, size);

	if (!nlmsg_valid_hdr(message, size))
		return false;
	while (nla_ok(a, left))
		a = nla_next(a, &left);
	return left <= 0; /* the last one needs no padding */
}

/* read_address() - Of @family, or without @must_be of any; false for one of another length */
static bool read_address(const struct nl_addr *from, struct address *ret)
{
	if (!from)
		return false;
	/* No address_v6(): a mapped route is a route of the IPv6 table still. */
	*ret = (struct address){.family = family_of(nl_addr_get_family(from))};
	if (nl_addr_get_len(from) == address_length(ret))
		memcpy(ret->bytes, nl_addr_get_binary_addr(from), address_length(ret));
	else if (nl_addr_get_len(from) != 0)
		return false;
	return true;
}

static int read_link(struct rtnl_link *from, struct net_link *ret)
{
	const char *name = rtnl_link_get_name(from), *type = rtnl_link_get_type(from);

	*ret = (struct net_link){
		.ifindex = (uint32_t)rtnl_link_get_ifindex(from),
		.mtu = rtnl_link_get_mtu(from),
		.flags = rtnl_link_get_flags(from),
		.carrier = rtnl_link_get_carrier(from),
		.is_tun = type && strcmp(type, "tun") == 0,
	};
	strncpy(ret->name, name ?: "", sizeof(ret->name) - 1);
	if (rtnl_link_inet6_get_addr_gen_mode(from, &ret->address_generation) < 0)
		ret->address_generation = NET_GENERATION_UNKNOWN;
	return rtnl_link_get_ifindex(from) > 0 ? 0 : -EBADMSG;
}

static int read_address_object(struct rtnl_addr *from, struct net_address *ret)
{
	*ret = (struct net_address){
		.ifindex = (uint32_t)rtnl_addr_get_ifindex(from),
		.flags = rtnl_addr_get_flags(from),
		.prefix.bits = (uint8_t)rtnl_addr_get_prefixlen(from),
	};
	if (ret->ifindex == 0 || !read_address(rtnl_addr_get_local(from), &ret->prefix.address))
		return -EBADMSG;
	return 0;
}

static int read_route(struct rtnl_route *from, struct net_route *ret)
{
	const struct nl_addr *to = rtnl_route_get_dst(from), *gateway = NULL;
	struct rtnl_nexthop *hop = NULL;

	*ret = (struct net_route){
		.table = rtnl_route_get_table(from),
		.protocol = rtnl_route_get_protocol(from),
		.type = rtnl_route_get_type(from),
		.prefix.bits = (uint8_t)nl_addr_get_prefixlen(to),
	};
	if (rtnl_route_get_nnexthops(from) == 1)
		hop = rtnl_route_nexthop_n(from, 0);
	if (hop) {
		ret->oif = (uint32_t)rtnl_route_nh_get_ifindex(hop);
		gateway = rtnl_route_nh_get_gateway(hop) ?: rtnl_route_nh_get_via(hop);
	}
	return read_address(to, &ret->prefix.address) &&
			       (!gateway || read_address(gateway, &ret->gateway))
		       ? 0
		       : -EBADMSG;
}

/* is_selective() - Whether a rule selects by more than the mark; libnl doesn't read all of it */
static bool is_selective(const struct nlmsghdr *message)
{
	const struct fib_rule_hdr *header = nlmsg_data(message);
	struct nlattr *a;
	int left;

	if (header->dst_len || header->src_len || header->tos || header->flags & FIB_RULE_INVERT)
		return true;
	nlmsg_for_each_attr(a, message, sizeof(*header), left)
	{
		switch (nla_type(a)) {
		case FRA_SUPPRESS_PREFIXLEN: /* -1, always there, is "none" */
			if (nla_len(a) != sizeof(uint32_t) || nla_get_u32(a) != UINT32_MAX)
				return true;
			break;
		case FRA_UNSPEC:
		case FRA_PAD:
		case FRA_PRIORITY:
		case FRA_TABLE:
		case FRA_FWMARK:
		case FRA_FWMASK:
		case FRA_PROTOCOL:
		case FRA_SUPPRESS_IFGROUP:
			break;
		default: /* interface, user, port, l3mdev, …: this room sets none of them */
			return true;
		}
	}
	return false;
}

static int read_rule(struct rtnl_rule *from, const struct nlmsghdr *message, struct net_rule *ret)
{
	const struct fib_rule_hdr *header = nlmsg_data(message);

	*ret = (struct net_rule){
		.family = family_of(rtnl_rule_get_family(from)),
		.action = rtnl_rule_get_action(from),
		.inverted = header->flags & FIB_RULE_INVERT,
		.selective = is_selective(message),
		.priority = rtnl_rule_get_prio(from),
		.table = rtnl_rule_get_table(from),
		.mark = rtnl_rule_get_mark(from),
		.mask = rtnl_rule_get_mask(from),
	};
	(void)rtnl_rule_get_protocol(from, &ret->protocol);
	return 0;
}

static void hide_encapsulation_in(struct nlattr *a, int left)
{
	for (; nla_ok(a, left); a = nla_next(a, &left))
		if (nla_type(a) == RTA_ENCAP || nla_type(a) == RTA_ENCAP_TYPE)
			a->nla_type = 0x3fff; /* the highest, which libnl ignores */
}

/* hide_encapsulation() - libnl reads MPLS alone, and fails at others; a record has none of it */
static void hide_encapsulation(struct nlmsghdr *message)
{
	struct nlattr *hops = nlmsg_find_attr(message, sizeof(struct rtmsg), RTA_MULTIPATH);
	struct rtnexthop *hop = hops ? nla_data(hops) : NULL;
	int left = hops ? nla_len(hops) : 0;

	hide_encapsulation_in(nlmsg_attrdata(message, sizeof(struct rtmsg)),
			      nlmsg_attrlen(message, sizeof(struct rtmsg)));
	while (left >= (int)sizeof(*hop) && RTNH_OK(hop, left)) {
		hide_encapsulation_in((struct nlattr *)(void *)(hop + 1),
				      hop->rtnh_len - (int)sizeof(*hop));
		left -= NLA_ALIGN(hop->rtnh_len);
		hop = (struct rtnexthop *)(void *)((uint8_t *)hop + NLA_ALIGN(hop->rtnh_len));
	}
}

/* keep() - The object that libnl made of a message: the caller takes a reference */
static void keep(struct nl_object *object, void *context)
{
	nl_object_get(object);
	*(struct nl_object **)context = object;
}

/* object_of() - libnl's object of a message, which the caller puts */
static int object_of(struct nlmsghdr *message, struct nl_object **ret)
{
	struct nl_object *object = NULL;
	struct nl_msg *copy;
	int r;

	if (message->nlmsg_type == RTM_NEWROUTE || message->nlmsg_type == RTM_DELROUTE) {
		hide_encapsulation(message);
		r = rtnl_route_parse(message, (struct rtnl_route **)&object);
	} else {
		copy = nlmsg_convert(message);
		if (!copy)
			return -ENOMEM;
		nlmsg_set_proto(copy, NETLINK_ROUTE);
		r = nl_msg_parse(copy, keep, &object);
		nlmsg_free(copy);
	}
	if (r < 0)
		nl_object_put(TAKE_PTR(object));
	if (!object)
		return r == -NLE_NOMEM ? -ENOMEM : -EOPNOTSUPP;
	*ret = object;
	return 0;
}

/* fits() - Whether a prefix is no longer than its family has bits */
static bool fits(const struct prefix *prefix)
{
	return prefix->bits <= address_bits(&prefix->address);
}

int net_parse(struct nlmsghdr *message, struct net_object *ret)
{
	static const struct {
		uint16_t created, deleted;
		enum net_kind kind;
		int header;
	} rows[] = {
		{RTM_NEWLINK, RTM_DELLINK, NET_LINK, sizeof(struct ifinfomsg)},
		{RTM_NEWADDR, RTM_DELADDR, NET_ADDRESS, sizeof(struct ifaddrmsg)},
		{RTM_NEWROUTE, RTM_DELROUTE, NET_ROUTE, sizeof(struct rtmsg)},
		{RTM_NEWRULE, RTM_DELRULE, NET_RULE, sizeof(struct fib_rule_hdr)},
	};
	struct net_object object = {0};
	struct nl_object *from;
	uint8_t family;
	size_t i = 0;
	int r;

	while (i < ARRAY_SIZE(rows) && message->nlmsg_type != rows[i].created &&
	       message->nlmsg_type != rows[i].deleted)
		i++;
	if (i == ARRAY_SIZE(rows))
		return -EAFNOSUPPORT;
	if (!net_attributes_are_whole(message, rows[i].header))
		return -EBADMSG;
	family = *(const uint8_t *)nlmsg_data(message); /* the first byte of each header */
	if (rows[i].kind == NET_LINK ? family != AF_UNSPEC : family_of(family) == ADDRESS_NONE)
		return -EAFNOSUPPORT;
	object.kind = rows[i].kind;
	object.deleted = message->nlmsg_type == rows[i].deleted;
	r = object_of(message, &from);
	if (r < 0)
		return r;
	switch (object.kind) {
	case NET_LINK:
		r = read_link((struct rtnl_link *)from, &object.link);
		break;
	case NET_ADDRESS:
		r = read_address_object((struct rtnl_addr *)from, &object.address);
		if (r == 0 && !fits(&object.address.prefix))
			r = -EBADMSG;
		break;
	case NET_ROUTE:
		r = read_route((struct rtnl_route *)from, &object.route);
		if (r == 0 && !fits(&object.route.prefix))
			r = -EBADMSG;
		break;
	case NET_RULE:
		r = read_rule((struct rtnl_rule *)from, message, &object.rule);
		break;
	}
	nl_object_put(from);
	if (r == 0)
		*ret = object;
	return r;
}
