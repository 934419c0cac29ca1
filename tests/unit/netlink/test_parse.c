/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/netlink/test_parse.c - kernel bytes: what we build reads back, cut bytes
 * are refused, notifications mean what they mean
 *
 * A request to make a thing has the layout in which the kernel shows it, so the
 * builders make the samples; real dumps of the kernel are the fuzz corpus.
 */
#include "netlink/channel.h"
#include "netlink/classify.h"
#include "netlink/message.h"
#include "netlink/monitor.h"
#include "unit/unit.h"

#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#include <libmnl/libmnl.h>

#define LINK    7
#define TABLE   52
#define US      4711
#define ANOTHER 99

static _Alignas(struct nlmsghdr) uint8_t request[NET_REQUEST_SIZE];

static struct prefix prefix_of_text(const char *text)
{
	struct prefix p;

	if (prefix_parse(text, strlen(text), &p) < 0)
		fail_msg("bad test: %s", text);
	return p;
}

static struct nlmsghdr *change(enum net_change_kind kind, const char *prefix, uint32_t table)
{
	struct net_change one = {.kind = kind};

	if (prefix)
		one.prefix = prefix_of_text(prefix);
	memset(request, 0, sizeof(request));
	return net_message_change(request, &one, LINK, table, NET_BYPASS_MARK);
}

static struct nlmsghdr *rule(unsigned int index, uint32_t table)
{
	struct net_rule one = net_rule_of_ours(index, table, NET_BYPASS_MARK);

	memset(request, 0, sizeof(request));
	return net_message_rule(request, RTM_NEWRULE, &one);
}

static struct cursor body_of(const struct nlmsghdr *header)
{
	struct cursor datagram = cursor_of(header, header->nlmsg_len);
	struct net_message message;

	assert_true(net_message_next(&datagram, &message));
	assert_int_equal(message.type, header->nlmsg_type);
	return message.body;
}

static void what_we_build_reads_back(void **state)
{
	struct net_address address;
	struct net_route route;
	struct net_rule read;
	struct net_link link;

	(void)state;
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++)
		for (uint32_t table = TABLE; table < 1000; table += 700) {
			struct net_rule built = net_rule_of_ours(i, table, NET_BYPASS_MARK);

			assert_int_equal(net_parse_rule(body_of(rule(i, table)), &read), 0);
			assert_true(net_rule_equal(&read, &built));
		}
	assert_int_equal(
		net_parse_route(body_of(change(NET_ROUTE_ADD, "100.64.0.9", 1000)), &route), 0);
	assert_int_equal(route.table, 1000);
	assert_int_equal(route.oif, LINK);
	assert_int_equal(route.protocol, NET_ROUTE_PROTOCOL);
	assert_int_equal(route.type, RTN_UNICAST);
	assert_true(prefix_equal(&route.prefix,
				 &(struct prefix){prefix_of_text("100.64.0.9").address, 32}));
	assert_int_equal(net_parse_address(body_of(change(NET_ADDRESS_ADD, "fd7a:115c:a1e0::5", 0)),
					   &address),
			 0);
	assert_int_equal(address.ifindex, LINK);
	assert_int_equal(address.prefix.bits, 128);
	assert_int_equal(address.prefix.address.bytes[15], 5);
	assert_int_equal(net_parse_link(body_of(change(NET_LINK_UP, NULL, 0)), &link), 0);
	assert_int_equal(link.ifindex, LINK);
	assert_true(link.flags & IFF_UP);
	assert_int_equal(link.address_generation, NET_GENERATION_UNKNOWN);
	assert_int_equal(net_parse_link(body_of(change(NET_LINK_GENERATION, NULL, 0)), &link), 0);
	assert_int_equal(link.address_generation, IN6_ADDR_GEN_MODE_NONE);
}

/* An attribute cut in its middle is refused; one cut away whole may be missed or not, but is safe.
 */
static void cut_bytes_are_refused(void **state)
{
	struct nlmsghdr *whole = change(NET_ROUTE_ADD, "fd7a:115c:a1e0::/48", TABLE);
	size_t body = whole->nlmsg_len - sizeof(*whole);
	unsigned int refused = 0;

	(void)state;
	for (size_t length = 0; length < body; length++) {
		uint8_t *copy = malloc(length + 1); /* its end is the sanitizer's business */
		struct net_route route;

		assert_non_null(copy);
		memcpy(copy, whole + 1, length);
		refused += net_parse_route(cursor_of(copy, length), &route) == -EBADMSG;
		free(copy);
	}
	/* What is left is whole only where one of the three attributes (table, destination, link)
	 * would begin. */
	assert_int_equal(refused, body - 3);
}

static void lengths_that_lie_are_refused(void **state)
{
	static const struct {
		uint32_t length;
		bool first; /* the message is handed out */
		bool ok;
	} rows[] = {
		/* 0 */ {sizeof(struct nlmsghdr), true, true},
		/* 1 */ {sizeof(struct nlmsghdr) + 8, true, true},
		/* 2 */ {sizeof(struct nlmsghdr) + 9, false, false},
		/* 3 */ {sizeof(struct nlmsghdr) - 1, false, false},
		/* 4 */ {0, false, false},
		/* 5 */ {UINT32_MAX, false, false},
		/* 6 */ {UINT32_MAX - 2, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct {
			struct nlmsghdr header;
			uint8_t rest[8];
		} bytes = {.header.nlmsg_len = rows[i].length};
		size_t size = rows[i].length == sizeof(bytes.header) ? sizeof(bytes.header)
								     : sizeof(bytes);
		struct cursor c = cursor_of(&bytes, size);
		struct net_message message;

		if (net_message_next(&c, &message) != rows[i].first || cursor_ok(&c) != rows[i].ok)
			fail_msg("row %zu", i);
	}
}

static void acknowledgements_carry_the_kernels_words(void **state)
{
	struct {
		int32_t code;
		struct nlmsghdr request;
		struct nlattr attribute;
		char text[12];
	} bytes = {
		.code = -EPERM,
		.request.nlmsg_len = 200,
		.attribute = {.nla_len = 4 + 12, .nla_type = NLMSGERR_ATTR_MSG},
		.text = "no right for",
	};
	struct net_ack ack;

	(void)state;
	assert_int_equal(net_parse_ack(cursor_of(&bytes, sizeof(bytes)),
				       NLM_F_CAPPED | NLM_F_ACK_TLVS, &ack),
			 0);
	assert_int_equal(ack.code, -EPERM);
	assert_string_equal(ack.text, "no right for");
	/* Not capped: 184 bytes of request should stand before the text, and don't. */
	assert_int_equal(net_parse_ack(cursor_of(&bytes, sizeof(bytes)), NLM_F_ACK_TLVS, &ack), 0);
	assert_string_equal(ack.text, "");
	bytes.code = 5;
	assert_int_equal(net_parse_ack(cursor_of(&bytes, sizeof(bytes)), 0, &ack), -EBADMSG);
	assert_int_equal(net_parse_ack(cursor_of(&bytes, 3), 0, &ack), -EBADMSG);
}

static const struct net_watch watch = {
	.ifindex = LINK,
	.table = TABLE,
	.mark = NET_BYPASS_MARK,
	.nft_table = "pillion",
	.route_portid = US,
	.nft_portid = US,
};

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
	struct nlmsghdr *route;

	(void)state;
	assert_int_equal(events_of(change(NET_LINK_UP, NULL, 0), RTM_NEWLINK, ANOTHER),
			 interfaces | ours);
	assert_int_equal(events_of(change(NET_LINK_UP, NULL, 0), RTM_NEWLINK, US), interfaces);
	assert_int_equal(events_of(change(NET_LINK_UP, NULL, 0), RTM_DELLINK, ANOTHER),
			 interfaces | gone);
	assert_int_equal(events_of(change(NET_ADDRESS_ADD, "100.64.0.1", 0), RTM_DELADDR, ANOTHER),
			 interfaces | ours);
	assert_int_equal(events_of(change(NET_ADDRESS_ADD, "100.64.0.1", 0), RTM_NEWADDR, US),
			 interfaces);
	for (uint32_t table = TABLE; table < 1000; table += 700) {
		int expected = table == TABLE ? ours : 0;

		assert_int_equal(events_of(change(NET_ROUTE_ADD, "100.64.0.9", table), RTM_DELROUTE,
					   ANOTHER),
				 expected);
		assert_int_equal(events_of(rule(3, table), RTM_DELRULE, ANOTHER), expected);
	}
	assert_int_equal(events_of(change(NET_ROUTE_ADD, "100.64.0.9", TABLE), RTM_NEWROUTE, US),
			 0);
	assert_int_equal(events_of(rule(0, TABLE), RTM_NEWRULE, US), 0);
	route = change(NET_ROUTE_ADD, "0.0.0.0/0", RT_TABLE_MAIN);
	assert_int_equal(events_of(route, RTM_NEWROUTE, ANOTHER), interfaces);
	route = change(NET_ROUTE_ADD, "10.0.0.0/8", RT_TABLE_MAIN);
	assert_int_equal(events_of(route, RTM_NEWROUTE, ANOTHER), 0);
	/* What can't be read counts as lost. */
	route = change(NET_ROUTE_ADD, "10.0.0.0/8", RT_TABLE_MAIN);
	route->nlmsg_len -= 2;
	assert_int_equal(events_of(route, RTM_NEWROUTE, ANOTHER), interfaces | ours);
	assert_int_equal(net_classify("abc", 3, NETLINK_ROUTE, &watch), interfaces | ours);
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
	struct net_rule ours = net_rule_of_ours(3, TABLE, NET_BYPASS_MARK), read;
	struct nlmsghdr *header = rule(3, TABLE);

	(void)state;
	mnl_attr_put_strz(header, FRA_IIFNAME, "eth0");
	assert_int_equal(net_parse_rule(body_of(header), &read), 0);
	assert_true(read.selective);
	assert_false(net_rule_equal(&read, &ours));
	header = rule(3, TABLE);
	mnl_attr_put_u32(header, FRA_SUPPRESS_PREFIXLEN, UINT32_MAX); /* the kernel's "none" */
	assert_int_equal(net_parse_rule(body_of(header), &read), 0);
	assert_true(net_rule_equal(&read, &ours));
	header = rule(3, TABLE);
	mnl_attr_put_u32(header, FRA_SUPPRESS_PREFIXLEN, 0);
	assert_int_equal(net_parse_rule(body_of(header), &read), 0);
	assert_false(net_rule_equal(&read, &ours));
}

static void repairs_come_ten_at_once_then_one_in_five_seconds(void **state)
{
	struct net_repair repair = {0};
	nanoseconds now = 1000 * NSEC_PER_SEC;

	(void)state;
	for (int i = 0; i < NET_REPAIR_BURST; i++) {
		assert_int_equal(net_repair_due(&repair, now), now);
		net_repair_take(&repair, now);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(net_repair_due(&repair, now), now + NET_REPAIR_INTERVAL);
		now += NET_REPAIR_INTERVAL;
		assert_int_equal(net_repair_due(&repair, now), now);
		net_repair_take(&repair, now);
	}
	now += NET_REPAIR_BURST * NET_REPAIR_INTERVAL;
	for (int i = 0; i < NET_REPAIR_BURST; i++) {
		assert_int_equal(net_repair_due(&repair, now), now);
		net_repair_take(&repair, now);
	}
	assert_true(net_repair_due(&repair, now) > now);
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
		cmocka_unit_test(repairs_come_ten_at_once_then_one_in_five_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
