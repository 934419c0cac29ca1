/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/netlink/test_parse.c - kernel bytes: what we build reads back, cut bytes
 * are refused, notifications mean what they mean
 *
 * A request to make a thing has the layout in which the kernel shows it, so the
 * builders make the samples; real dumps of the kernel are the fuzz corpus.
 */
#include "netlink/channel.h"
#include "netlink/monitor.h"
#include "netlink/nft.h"
#include "netlink/reconcile.h"
#include "unit/unit.h"

#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/lwtunnel.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>

#include <libmnl/libmnl.h>

#define LINK    7
#define TABLE   52
#define US      4711
#define ANOTHER 99

static _Alignas(struct nlmsghdr) uint8_t request[2 * NET_REQUEST_SIZE];

static struct prefix prefix_of_text(const char *text)
{
	struct prefix p;

	if (prefix_parse(text, strlen(text), &p) < 0)
		fail_msg("bad test: %s", text);
	return p;
}

/* shown() - A request as the kernel would show the object, which is a message of @type */
static struct nlmsghdr *shown(struct nl_msg *message, uint16_t type)
{
	struct nlmsghdr *header = nlmsg_hdr(message);

	assert_in_range(header->nlmsg_len, 1, NET_REQUEST_SIZE);
	memset(request, 0, sizeof(request));
	memcpy(request, header, header->nlmsg_len);
	nlmsg_free(message);
	header = (struct nlmsghdr *)request;
	header->nlmsg_type = type;
	return header;
}

static struct nlmsghdr *route(const char *prefix, uint32_t table)
{
	struct net_route one = {
		.table = table,
		.oif = LINK,
		.protocol = NET_ROUTE_PROTOCOL,
		.type = RTN_UNICAST,
		.prefix = prefix_of_text(prefix),
	};

	return shown(net_request_route(RTM_NEWROUTE, &one), RTM_NEWROUTE);
}

static struct nlmsghdr *address(const char *text)
{
	struct prefix one = prefix_of_text(text);

	return shown(net_request_address(RTM_NEWADDR, &one, LINK), RTM_NEWADDR);
}

static struct nlmsghdr *rule(unsigned int index, uint32_t table)
{
	struct net_rule one = net_rule_of_ours(index, table, NET_BYPASS_MARK);

	return shown(net_request_rule(RTM_NEWRULE, &one), RTM_NEWRULE);
}

/* named() - The kernel shows no link without its name */
static struct nlmsghdr *named(struct nl_msg *message)
{
	struct nlmsghdr *header = shown(message, RTM_NEWLINK);

	mnl_attr_put_strz(header, IFLA_IFNAME, "tailscale0");
	return header;
}

static struct nlmsghdr *link_up(void)
{
	return named(net_request_link(LINK, IFF_UP, IFF_UP, 1280));
}

static void what_we_build_reads_back(void **state)
{
	struct net_object read;

	(void)state;
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++)
		for (uint32_t table = TABLE; table < 1000; table += 700) {
			struct net_rule built = net_rule_of_ours(i, table, NET_BYPASS_MARK);

			assert_int_equal(net_parse(rule(i, table), &read), 0);
			assert_int_equal(read.kind, NET_RULE);
			assert_true(net_rule_equal(&read.rule, &built));
		}
	assert_int_equal(net_parse(route("100.64.0.9", 1000), &read), 0);
	assert_int_equal(read.kind, NET_ROUTE);
	assert_false(read.deleted);
	assert_int_equal(read.route.table, 1000);
	assert_int_equal(read.route.oif, LINK);
	assert_int_equal(read.route.protocol, NET_ROUTE_PROTOCOL);
	assert_int_equal(read.route.type, RTN_UNICAST);
	assert_true(prefix_equal(&read.route.prefix,
				 &(struct prefix){prefix_of_text("100.64.0.9").address, 32}));
	assert_int_equal(net_parse(address("fd7a:115c:a1e0::5"), &read), 0);
	assert_int_equal(read.kind, NET_ADDRESS);
	assert_int_equal(read.address.ifindex, LINK);
	assert_int_equal(read.address.flags, IFA_F_NOPREFIXROUTE | IFA_F_NODAD);
	assert_int_equal(read.address.prefix.bits, 128);
	assert_int_equal(read.address.prefix.address.bytes[15], 5);
	assert_int_equal(net_parse(link_up(), &read), 0);
	assert_int_equal(read.kind, NET_LINK);
	assert_int_equal(read.link.ifindex, LINK);
	assert_int_equal(read.link.mtu, 1280);
	assert_string_equal(read.link.name, "tailscale0");
	assert_true(read.link.flags & IFF_UP);
	assert_int_equal(read.link.address_generation, NET_GENERATION_UNKNOWN);
	assert_int_equal(net_parse(named(net_request_generation(LINK)), &read), 0);
	assert_int_equal(read.link.address_generation, IN6_ADDR_GEN_MODE_NONE);
}

/* An attribute cut in its middle is refused; one cut away whole may be missed or not, but is safe.
 */
static void cut_bytes_are_refused(void **state)
{
	struct nlmsghdr *whole = route("fd7a:115c:a1e0::/48", TABLE);
	size_t length = whole->nlmsg_len, refused = 0, attributes = 0;
	struct nlattr *a;

	(void)state;
	mnl_attr_for_each(a, whole, sizeof(struct rtmsg)) attributes++;
	for (size_t cut = sizeof(*whole); cut < length; cut++) {
		struct nlmsghdr *copy = malloc(cut); /* its end is the sanitizer's business */
		struct net_object read;

		assert_non_null(copy);
		memcpy(copy, whole, cut);
		copy->nlmsg_len = (uint32_t)cut;
		refused += net_parse(copy, &read) == -EBADMSG;
		free(copy);
	}
	/* What is left is whole only where an attribute would begin. */
	assert_int_equal(refused, length - sizeof(*whole) - attributes);
}

static void acknowledgements_carry_the_kernels_words(void **state)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr body;
		struct nlattr attribute;
		char text[12];
	} bytes = {
		.header = {.nlmsg_len = sizeof(bytes),
			   .nlmsg_flags = NLM_F_CAPPED | NLM_F_ACK_TLVS},
		.body = {.error = -EPERM, .msg.nlmsg_len = 200},
		.attribute = {.nla_len = 4 + 12, .nla_type = NLMSGERR_ATTR_MSG},
		.text = "no right for",
	};
	struct net_ack ack;

	(void)state;
	assert_int_equal(net_ack_parse(&bytes.header, &ack), 0);
	assert_int_equal(ack.code, -EPERM);
	assert_string_equal(ack.text, "no right for");
	/* Not capped: 184 bytes of request should stand before the text, and don't. */
	bytes.header.nlmsg_flags = NLM_F_ACK_TLVS;
	assert_int_equal(net_ack_parse(&bytes.header, &ack), 0);
	assert_string_equal(ack.text, "");
	bytes.body.msg.nlmsg_len = UINT32_MAX;
	assert_int_equal(net_ack_parse(&bytes.header, &ack), 0);
	assert_string_equal(ack.text, "");
	bytes.body.error = 5;
	assert_int_equal(net_ack_parse(&bytes.header, &ack), -EBADMSG);
	bytes.body.error = -EPERM;
	bytes.header.nlmsg_len = sizeof(bytes.header) + 3;
	assert_int_equal(net_ack_parse(&bytes.header, &ack), -EBADMSG);
}

static const struct net_watch watch = {
	.ifindex = LINK,
	.table = TABLE,
	.mark = NET_BYPASS_MARK,
	.nft_table = "pillion",
	.route_portid = US,
	.nft_portid = US,
};

static void lengths_that_lie_are_refused(void **state)
{
	static const struct {
		uint32_t length;
		bool ok;
	} rows[] = {
		/* 0 */ {sizeof(struct nlmsghdr), true},
		/* 1 */ {sizeof(struct nlmsghdr) + 8, true},
		/* 2 */ {sizeof(struct nlmsghdr) + 9, false},
		/* 3 */ {sizeof(struct nlmsghdr) - 1, false},
		/* 4 */ {0, false},
		/* 5 */ {UINT32_MAX, false},
		/* 6 */ {UINT32_MAX - 2, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct {
			struct nlmsghdr header;
			uint8_t rest[8];
		} bytes = {.header.nlmsg_len = rows[i].length};
		size_t size = rows[i].length == sizeof(bytes.header) ? sizeof(bytes.header)
								     : sizeof(bytes);

		if ((net_classify(&bytes, size, NETLINK_ROUTE, &watch) == 0) != rows[i].ok)
			fail_msg("row %zu", i);
	}
}

static int events_of(struct nlmsghdr *header, uint16_t type, uint32_t portid)
{
	header->nlmsg_type = type;
	header->nlmsg_pid = portid;
	return net_classify(header, header->nlmsg_len, NETLINK_ROUTE, &watch);
}

static void notifications_mean_what_they_mean(void **state)
{
	const int interfaces = NET_EVENT_INTERFACES, ours = NET_EVENT_OURS;
	const int gone = NET_EVENT_LINK_GONE;
	struct nlmsghdr *other;

	(void)state;
	assert_int_equal(events_of(link_up(), RTM_NEWLINK, ANOTHER), interfaces | ours);
	assert_int_equal(events_of(link_up(), RTM_NEWLINK, US), interfaces);
	assert_int_equal(events_of(link_up(), RTM_DELLINK, ANOTHER), interfaces | gone);
	assert_int_equal(events_of(address("100.64.0.1"), RTM_DELADDR, ANOTHER), interfaces | ours);
	assert_int_equal(events_of(address("100.64.0.1"), RTM_NEWADDR, US), interfaces);
	for (uint32_t table = TABLE; table < 1000; table += 700) {
		int expected = table == TABLE ? ours : 0;

		assert_int_equal(events_of(route("100.64.0.9", table), RTM_DELROUTE, ANOTHER),
				 expected);
		assert_int_equal(events_of(rule(3, table), RTM_DELRULE, ANOTHER), expected);
	}
	assert_int_equal(events_of(route("100.64.0.9", TABLE), RTM_NEWROUTE, US), 0);
	assert_int_equal(events_of(rule(0, TABLE), RTM_NEWRULE, US), 0);
	other = route("0.0.0.0/0", RT_TABLE_MAIN);
	assert_int_equal(events_of(other, RTM_NEWROUTE, ANOTHER), interfaces);
	other = route("10.0.0.0/8", RT_TABLE_MAIN);
	assert_int_equal(events_of(other, RTM_NEWROUTE, ANOTHER), 0);
	/* What can't be read counts as lost. */
	other = route("10.0.0.0/8", RT_TABLE_MAIN);
	other->nlmsg_len -= 2;
	assert_int_equal(events_of(other, RTM_NEWROUTE, ANOTHER), interfaces | ours);
	assert_int_equal(net_classify((char[4]){"abc"}, 3, NETLINK_ROUTE, &watch),
			 interfaces | ours);
}

static int nft_events_of(const char *table, uint16_t type, uint32_t portid)
{
	struct nlmsghdr *header;

	memset(request, 0, sizeof(request));
	header = mnl_nlmsg_put_header(request);
	header->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	header->nlmsg_pid = portid;
	mnl_nlmsg_put_extra_header(header, sizeof(struct nfgenmsg));
	mnl_attr_put_strz(header, NFTA_RULE_TABLE, table);
	return net_classify(header, header->nlmsg_len, NETLINK_NETFILTER, &watch);
}

static void only_our_nft_table_matters(void **state)
{
	(void)state;
	assert_int_equal(nft_events_of("pillion", NFT_MSG_DELTABLE, ANOTHER), NET_EVENT_OURS);
	assert_int_equal(nft_events_of("pillion", NFT_MSG_DELRULE, ANOTHER), NET_EVENT_OURS);
	assert_int_equal(nft_events_of("pillion", NFT_MSG_NEWRULE, US), 0);
	assert_int_equal(nft_events_of("pillion-53", NFT_MSG_DELTABLE, ANOTHER), 0);
	assert_int_equal(nft_events_of("pillion", NFT_MSG_NEWGEN, ANOTHER), 0);
}

static void a_rule_that_selects_more_is_not_ours(void **state)
{
	struct net_rule ours = net_rule_of_ours(3, TABLE, NET_BYPASS_MARK);
	struct net_object read;
	struct nlmsghdr *header = rule(3, TABLE);

	(void)state;
	mnl_attr_put_strz(header, FRA_IIFNAME, "eth0");
	assert_int_equal(net_parse(header, &read), 0);
	assert_true(read.rule.selective);
	assert_false(net_rule_equal(&read.rule, &ours));
	header = rule(3, TABLE);
	mnl_attr_put_u32(header, FRA_SUPPRESS_PREFIXLEN, UINT32_MAX); /* the kernel's "none" */
	assert_int_equal(net_parse(header, &read), 0);
	assert_true(net_rule_equal(&read.rule, &ours));
	header = rule(3, TABLE);
	mnl_attr_put_u32(header, FRA_SUPPRESS_PREFIXLEN, 0);
	assert_int_equal(net_parse(header, &read), 0);
	assert_false(net_rule_equal(&read.rule, &ours));
}

static void put_encapsulation(struct nlmsghdr *header)
{
	struct nlattr *nest = mnl_attr_nest_start(header, RTA_ENCAP);

	mnl_attr_put_u32(header, LWTUNNEL_IP_DST, 0);
	mnl_attr_nest_end(header, nest);
	mnl_attr_put_u16(header, RTA_ENCAP_TYPE, LWTUNNEL_ENCAP_IP);
}

/* Of an encapsulation, libnl-route reads MPLS alone, and fails at another. */
static void a_route_with_an_encapsulation_is_read(void **state)
{
	struct nlmsghdr *header = route("0.0.0.0/0", RT_TABLE_MAIN);
	struct rtmsg *body = mnl_nlmsg_get_payload(header);
	struct net_object read;
	struct rtnexthop *hop;
	struct nlattr *hops;

	(void)state;
	put_encapsulation(header);
	assert_int_equal(events_of(header, RTM_NEWROUTE, ANOTHER), NET_EVENT_INTERFACES);
	header = route("0.0.0.0/0", RT_TABLE_MAIN);
	put_encapsulation(header);
	assert_int_equal(net_parse(header, &read), 0);
	assert_int_equal(read.route.oif, LINK);
	header->nlmsg_len = NLMSG_LENGTH(sizeof(*body));
	hops = mnl_attr_nest_start(header, RTA_MULTIPATH);
	for (int i = 1; i <= 2; i++) {
		hop = mnl_nlmsg_get_payload_tail(header);
		*hop = (struct rtnexthop){.rtnh_ifindex = LINK + i};
		header->nlmsg_len += sizeof(*hop);
		put_encapsulation(header);
		hop->rtnh_len =
			(uint16_t)((uint8_t *)mnl_nlmsg_get_payload_tail(header) - (uint8_t *)hop);
	}
	mnl_attr_nest_end(header, hops);
	assert_int_equal(net_parse(header, &read), 0);
	assert_int_equal(read.route.prefix.bits, 0);
	assert_int_equal(read.route.oif, 0);
}

static void what_libnl_rejects_is_no_malformed_message(void **state)
{
	struct nlmsghdr *header = route("10.0.0.0/8", RT_TABLE_MAIN);
	struct net_object read;

	(void)state;
	mnl_attr_put_u8(header, RTA_PRIORITY, 1);
	assert_int_equal(net_parse(header, &read), -EOPNOTSUPP);
	assert_int_equal(events_of(header, RTM_NEWROUTE, ANOTHER),
			 NET_EVENT_INTERFACES | NET_EVENT_OURS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_we_build_reads_back),
		cmocka_unit_test(cut_bytes_are_refused),
		cmocka_unit_test(lengths_that_lie_are_refused),
		cmocka_unit_test(acknowledgements_carry_the_kernels_words),
		cmocka_unit_test(notifications_mean_what_they_mean),
		cmocka_unit_test(only_our_nft_table_matters),
		cmocka_unit_test(a_rule_that_selects_more_is_not_ours),
		cmocka_unit_test(a_route_with_an_encapsulation_is_read),
		cmocka_unit_test(what_libnl_rejects_is_no_malformed_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
