/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/objects.h - small records of links, addresses, routes and rules
 *
 * libnl-3 and libnl-route-3 parse and build the messages of rtnetlink, one object at a
 * time: no cache of libnl is ever filled. A record keeps of an object what this room
 * needs. libnl ignores the rest of a message that ends in the middle of an attribute;
 * net_parse() refuses such a message.
 */
#pragma once

#include "base/address.h"

#include <linux/netlink.h>
#include <net/if.h>

struct nl_msg;

#define NET_GENERATION_UNKNOWN 0xff

struct net_link {
	uint32_t ifindex;
	uint32_t mtu;
	uint32_t flags; /* IFF_… */
	char name[IFNAMSIZ];
	bool carrier;
	bool is_tun;
	uint8_t address_generation; /* IN6_ADDR_GEN_MODE_…, or NET_GENERATION_UNKNOWN without IPv6
				     */
};

struct net_address {
	uint32_t ifindex;
	uint32_t flags; /* IFA_F_… */
	struct prefix prefix;
};

struct net_route {
	uint32_t table;
	uint32_t oif; /* 0: none, or more than one */
	uint8_t protocol;
	uint8_t type; /* RTN_… */
	struct prefix prefix;
	struct address gateway; /* ADDRESS_NONE without */
};

struct net_rule {
	uint8_t family;   /* enum address_family */
	uint8_t protocol; /* RTPROT_… */
	uint8_t action;   /* FR_ACT_… */
	bool inverted;    /* it matches the packets that its selectors don't match */
	bool selective;   /* it also selects by something other than the mark */
	uint32_t priority;
	uint32_t table;
	uint32_t mark;
	uint32_t mask;
};

enum net_kind {
	NET_LINK,
	NET_ADDRESS,
	NET_ROUTE,
	NET_RULE,
};

/** struct net_object - A record of any kind */
struct net_object {
	enum net_kind kind;
	bool deleted; /* the message is a notification of its deletion */
	union {
		struct net_link link;
		struct net_address address;
		struct net_route route;
		struct net_rule rule;
	};
};

/**
 * net_parse() - Read a message of rtnetlink about one object
 *
 * Return: 0; -EAFNOSUPPORT for other messages and for other families than IPv4 and IPv6 (of
 * links: bridge); -EOPNOTSUPP for an object that libnl can't read; -EBADMSG for bytes that the
 * kernel would not send; -ENOMEM. Encapsulations of a route are made unreadable in @message.
 */
int net_parse(struct nlmsghdr *message, struct net_object *ret);

/** net_attributes_are_whole() - Whether attributes alone follow a header of @size bytes */
bool net_attributes_are_whole(const struct nlmsghdr *message, int size);

/* The requests below belong to the caller, who frees them by nlmsg_free(); NULL: out of memory.
 * They lack a sequence number, and those for a batch NLM_F_REQUEST. */

/** net_request_dump() - All objects of @kind and @family; 0 in the others doesn't filter */
struct nl_msg *net_request_dump(enum net_kind kind, uint8_t family, uint32_t ifindex,
				uint32_t table, uint8_t protocol);

/** net_request_lookup() - How a packet to @to of a socket with @mark would be routed */
struct nl_msg *net_request_lookup(const struct address *to, uint32_t mark);

/** net_request_link() - Set the flags @flags of those in @mask, and the MTU unless it is 0 */
struct nl_msg *net_request_link(uint32_t ifindex, unsigned int flags, unsigned int mask,
				uint32_t mtu);

/** net_request_generation() - The link shall make no IPv6 address of its own */
struct nl_msg *net_request_generation(uint32_t ifindex);

/* Each adds the object (RTM_NEW…, which must not exist), or deletes exactly that one (RTM_DEL…). */
struct nl_msg *net_request_address(uint16_t type, const struct prefix *prefix, uint32_t ifindex);
struct nl_msg *net_request_route(uint16_t type, const struct net_route *route);
struct nl_msg *net_request_rule(uint16_t type, const struct net_rule *rule);
