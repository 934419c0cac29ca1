/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/parse.c - kernel bytes to small records */
#include "netlink/parse.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* The type of nft's comment in a rule's user data (libnftnl/udata.h). */
#define UDATA_COMMENT 0

/* split() - Take @length bytes including the @used ones before them, and the padding after */
static bool split(struct cursor *c, size_t length, size_t used, struct cursor *ret)
{
	size_t padding = NLMSG_ALIGN(length) - length;
	const uint8_t *data;

	if (length < used) {
		c->bad = true;
		return false;
	}
	data = cursor_take(c, length - used);
	if (!data)
		return false;
	/* The last one needs no padding. */
	cursor_take(c, padding < c->left ? padding : c->left);
	*ret = cursor_of(data, length - used);
	return true;
}

bool net_message_next(struct cursor *datagram, struct net_message *ret)
{
	struct nlmsghdr header;

	if (datagram->left == 0 || !cursor_copy(datagram, &header, sizeof(header)))
		return false;
	ret->type = header.nlmsg_type;
	ret->flags = header.nlmsg_flags;
	ret->sequence = header.nlmsg_seq;
	ret->portid = header.nlmsg_pid;
	return split(datagram, header.nlmsg_len, sizeof(header), &ret->body);
}

bool net_attribute_next(struct cursor *attributes, struct net_attribute *ret)
{
	struct nlattr header;

	if (attributes->left == 0 || !cursor_copy(attributes, &header, sizeof(header)))
		return false;
	ret->type = (uint16_t)(header.nla_type & NLA_TYPE_MASK);
	return split(attributes, header.nla_len, sizeof(header), &ret->data);
}

static uint8_t attribute_u8(struct net_attribute *a, struct cursor *whole)
{
	uint8_t value = cursor_u8(&a->data);

	whole->bad |= a->data.bad;
	return value;
}

static uint32_t attribute_u32(struct net_attribute *a, struct cursor *whole)
{
	uint32_t value;

	whole->bad |= !cursor_copy(&a->data, &value, sizeof(value));
	return value;
}

/* attribute_text() - A string, cut to @size; the kernel ends it with a zero, we don't rely on it */
static void attribute_text(struct net_attribute *a, char *out, size_t size)
{
	size_t length = a->data.left < size - 1 ? a->data.left : size - 1;

	memset(out, 0, size);
	cursor_copy(&a->data, out, length);
}

static struct address attribute_address(struct net_attribute *a, struct cursor *whole,
					uint8_t family)
{
	struct address address = {.family = family};

	/* No address_v6(): a mapped route is a route of the IPv6 table still. */
	whole->bad |= !cursor_copy(&a->data, address.bytes, address_length(&address));
	return address;
}

static uint8_t family_of(uint8_t kernel)
{
	return kernel == AF_INET ? ADDRESS_V4 : kernel == AF_INET6 ? ADDRESS_V6 : ADDRESS_NONE;
}

int net_parse_ack(struct cursor body, uint16_t flags, struct net_ack *ret)
{
	struct net_attribute a;
	struct nlmsghdr request;
	struct net_ack ack = {0};
	int32_t code;

	cursor_copy(&body, &code, sizeof(code));
	cursor_copy(&body, &request, sizeof(request));
	if (!cursor_ok(&body) || code > 0 || code < -4095)
		return -EBADMSG;
	ack.code = code;
	if (flags & NLM_F_ACK_TLVS) {
		/* Without NLM_F_CAPPED the whole request stands before the attributes. */
		if (!(flags & NLM_F_CAPPED) && request.nlmsg_len > sizeof(request))
			cursor_take(&body, NLMSG_ALIGN(request.nlmsg_len) - sizeof(request));
		while (net_attribute_next(&body, &a))
			if (a.type == NLMSGERR_ATTR_MSG)
				attribute_text(&a, ack.text, sizeof(ack.text));
	}
	*ret = ack;
	return 0;
}

static void parse_link_info(struct cursor nested, struct net_link *link)
{
	struct net_attribute a;
	char kind[16];

	while (net_attribute_next(&nested, &a))
		if (a.type == IFLA_INFO_KIND) {
			attribute_text(&a, kind, sizeof(kind));
			link->is_tun = strcmp(kind, "tun") == 0;
		}
}

static void parse_link_families(struct cursor nested, struct net_link *link)
{
	struct net_attribute family, a;

	while (net_attribute_next(&nested, &family)) {
		if (family.type != AF_INET6)
			continue;
		while (net_attribute_next(&family.data, &a))
			if (a.type == IFLA_INET6_ADDR_GEN_MODE)
				link->address_generation = attribute_u8(&a, &nested);
	}
}

int net_parse_link(struct cursor body, struct net_link *ret)
{
	struct net_link link = {.address_generation = NET_GENERATION_UNKNOWN};
	struct net_attribute a;
	struct ifinfomsg header;

	cursor_copy(&body, &header, sizeof(header));
	if (!cursor_ok(&body) || header.ifi_index <= 0)
		return -EBADMSG;
	if (header.ifi_family != AF_UNSPEC)
		return -EAFNOSUPPORT;
	link.ifindex = (uint32_t)header.ifi_index;
	link.flags = header.ifi_flags;
	while (net_attribute_next(&body, &a)) {
		switch (a.type) {
		case IFLA_IFNAME:
			attribute_text(&a, link.name, sizeof(link.name));
			break;
		case IFLA_MTU:
			link.mtu = attribute_u32(&a, &body);
			break;
		case IFLA_CARRIER:
			link.carrier = attribute_u8(&a, &body) != 0;
			break;
		case IFLA_LINKINFO:
			parse_link_info(a.data, &link);
			break;
		case IFLA_AF_SPEC:
			parse_link_families(a.data, &link);
			break;
		default:
			break;
		}
	}
	if (!cursor_ok(&body))
		return -EBADMSG;
	*ret = link;
	return 0;
}

int net_parse_address(struct cursor body, struct net_address *ret)
{
	struct net_address address = {0};
	bool has_local = false;
	struct net_attribute a;
	struct ifaddrmsg header;
	uint8_t family;

	cursor_copy(&body, &header, sizeof(header));
	family = family_of(header.ifa_family);
	if (!cursor_ok(&body) || header.ifa_index == 0)
		return -EBADMSG;
	if (family == ADDRESS_NONE)
		return -EAFNOSUPPORT;
	address.ifindex = header.ifa_index;
	address.flags = header.ifa_flags;
	while (net_attribute_next(&body, &a)) {
		switch (a.type) {
		case IFA_LOCAL: /* ours; IFA_ADDRESS is then the other end's */
			address.prefix.address = attribute_address(&a, &body, family);
			has_local = true;
			break;
		case IFA_ADDRESS:
			if (!has_local)
				address.prefix.address = attribute_address(&a, &body, family);
			break;
		case IFA_FLAGS:
			address.flags = attribute_u32(&a, &body);
			break;
		default:
			break;
		}
	}
	address.prefix.bits = header.ifa_prefixlen;
	if (!cursor_ok(&body) || address.prefix.address.family == ADDRESS_NONE ||
	    address.prefix.bits > address_bits(&address.prefix.address))
		return -EBADMSG;
	*ret = address;
	return 0;
}

/* parse_via() - struct rtvia: a gateway of the other family */
static struct address parse_via(struct net_attribute *a, struct cursor *whole)
{
	uint16_t kernel;
	uint8_t family;

	cursor_copy(&a->data, &kernel, sizeof(kernel));
	family = kernel > UINT8_MAX ? ADDRESS_NONE : family_of((uint8_t)kernel);
	return attribute_address(a, whole, family);
}

int net_parse_route(struct cursor body, struct net_route *ret)
{
	struct net_attribute a;
	struct rtmsg header;
	struct net_route route = {0};
	uint8_t family;

	cursor_copy(&body, &header, sizeof(header));
	family = family_of(header.rtm_family);
	if (!cursor_ok(&body))
		return -EBADMSG;
	if (family == ADDRESS_NONE)
		return -EAFNOSUPPORT;
	route.table = header.rtm_table;
	route.protocol = header.rtm_protocol;
	route.type = header.rtm_type;
	route.prefix = (struct prefix){.address.family = family, .bits = header.rtm_dst_len};
	while (net_attribute_next(&body, &a)) {
		switch (a.type) {
		case RTA_TABLE:
			route.table = attribute_u32(&a, &body);
			break;
		case RTA_OIF:
			route.oif = attribute_u32(&a, &body);
			break;
		case RTA_DST:
			route.prefix.address = attribute_address(&a, &body, family);
			break;
		case RTA_GATEWAY:
			route.gateway = attribute_address(&a, &body, family);
			break;
		case RTA_VIA:
			route.gateway = parse_via(&a, &body);
			break;
		default:
			break;
		}
	}
	if (!cursor_ok(&body) || route.prefix.bits > address_bits(&route.prefix.address))
		return -EBADMSG;
	*ret = route;
	return 0;
}

int net_parse_rule(struct cursor body, struct net_rule *ret)
{
	struct net_attribute a;
	struct fib_rule_hdr header;
	struct net_rule rule = {0};

	cursor_copy(&body, &header, sizeof(header));
	if (!cursor_ok(&body))
		return -EBADMSG;
	rule.family = family_of(header.family);
	if (rule.family == ADDRESS_NONE)
		return -EAFNOSUPPORT;
	rule.action = header.action;
	rule.table = header.table;
	rule.inverted = header.flags & FIB_RULE_INVERT;
	rule.selective = header.dst_len || header.src_len || header.tos || rule.inverted;
	while (net_attribute_next(&body, &a)) {
		switch (a.type) {
		case FRA_PRIORITY:
			rule.priority = attribute_u32(&a, &body);
			break;
		case FRA_TABLE:
			rule.table = attribute_u32(&a, &body);
			break;
		case FRA_FWMARK:
			rule.mark = attribute_u32(&a, &body);
			break;
		case FRA_FWMASK:
			rule.mask = attribute_u32(&a, &body);
			break;
		case FRA_PROTOCOL:
			rule.protocol = attribute_u8(&a, &body);
			break;
		case FRA_SUPPRESS_PREFIXLEN:
			/* -1, always there, is "none" */
			rule.selective |= attribute_u32(&a, &body) != UINT32_MAX;
			break;
		case FRA_UNSPEC:
		case FRA_PAD:
		case FRA_SUPPRESS_IFGROUP:
			break;
		default: /* interface, user, port, l3mdev, …: what we never set */
			rule.selective = true;
			break;
		}
	}
	if (!cursor_ok(&body))
		return -EBADMSG;
	*ret = rule;
	return 0;
}

/* parse_comment() - nft's user data: type u8, length u8, value */
static void parse_comment(struct cursor data, char out[static 64])
{
	while (data.left > 0) {
		uint8_t type = cursor_u8(&data), length = cursor_u8(&data);
		const uint8_t *value = cursor_take(&data, length);

		if (!value)
			return;
		if (type == UDATA_COMMENT && length > 0 && length <= 64 && value[length - 1] == 0)
			memcpy(out, value, length);
	}
}

int net_parse_nft_rule(struct cursor body, char ret_table[static 64], char ret_comment[static 64])
{
	char table[64] = "", comment[64] = "";
	struct net_attribute a;

	cursor_take(&body, sizeof(struct nfgenmsg));
	while (net_attribute_next(&body, &a)) {
		if (a.type == NFTA_RULE_TABLE)
			attribute_text(&a, table, sizeof(table));
		else if (a.type == NFTA_RULE_USERDATA)
			parse_comment(a.data, comment);
	}
	if (!cursor_ok(&body))
		return -EBADMSG;
	memcpy(ret_table, table, sizeof(table));
	memcpy(ret_comment, comment, sizeof(comment));
	return 0;
}
