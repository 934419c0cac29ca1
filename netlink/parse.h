/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/parse.h - kernel bytes to small records
 *
 * Pure. Messages and attributes are walked by base/cursor; an attribute that is too
 * short for what it should hold fails the message, an unknown one is passed over.
 * Layouts and numbers are linux/netlink.h's, linux/rtnetlink.h's and their like, all
 * in host byte order (addresses in network order).
 */
#pragma once

#include "base/address.h"
#include "base/cursor.h"

#include <net/if.h>

/* One netlink message; @body is what follows its header. */
struct net_message {
	uint16_t type;
	uint16_t flags; /* NLM_F_… */
	uint32_t sequence;
	uint32_t portid; /* of the socket whose request caused it; 0: the kernel's own doing */
	struct cursor body;
};

struct net_attribute {
	uint16_t type; /* without NLA_F_NESTED and its like */
	struct cursor data;
};

/* NLMSG_ERROR: code 0 is an acknowledgement. */
struct net_ack {
	int code;       /* negative errno */
	char text[128]; /* what the kernel says beside it; empty if nothing */
};

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
	bool inverted;    /* it takes what is not as it says */
	bool selective;   /* it also selects by something other than the mark */
	uint32_t priority;
	uint32_t table;
	uint32_t mark;
	uint32_t mask;
};

/**
 * net_message_next() - Split the next message off a datagram
 *
 * Return: whether there was one; a message that claims more bytes than are left ends the walk and
 * marks @datagram bad
 */
bool net_message_next(struct cursor *datagram, struct net_message *ret);

/** net_attribute_next() - Split the next attribute off; as net_message_next() */
bool net_attribute_next(struct cursor *attributes, struct net_attribute *ret);

/**
 * net_parse_ack() - The body of NLMSG_ERROR; @flags are the message's
 * net_parse_link() - The body of RTM_NEWLINK, RTM_DELLINK
 * net_parse_address() - … of RTM_NEWADDR, RTM_DELADDR
 * net_parse_route() - … of RTM_NEWROUTE, RTM_DELROUTE
 * net_parse_rule() - … of RTM_NEWRULE, RTM_DELRULE
 *
 * Return: 0; -EAFNOSUPPORT for a family other than IPv4 and IPv6 (of link: none and bridge);
 * -EBADMSG for bytes that the kernel would not send
 */
int net_parse_ack(struct cursor body, uint16_t flags, struct net_ack *ret);
int net_parse_link(struct cursor body, struct net_link *ret);
int net_parse_address(struct cursor body, struct net_address *ret);
int net_parse_route(struct cursor body, struct net_route *ret);
int net_parse_rule(struct cursor body, struct net_rule *ret);

/**
 * net_parse_nft_rule() - Table, chain and comment of NFT_MSG_NEWRULE and its like
 * @ret_table:   name; empty if the message has none
 * @ret_comment: the comment that nft would show; empty if there is none
 */
int net_parse_nft_rule(struct cursor body, char ret_table[static 64], char ret_comment[static 64]);
