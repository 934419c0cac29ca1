/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/filter/test_filter.c - the filter's rules, row by row */
#include "unit/unit.h"

#include "filter/filter_internal.h"
#include "filter/flows.c" /* for the count */
#include "wire/tsmp.h"

static struct address ip(const char *text)
{
	struct address a;

	if (address_parse(text, strlen(text), &a) < 0)
		fail_msg("no address: %s", text);
	return a;
}

static struct prefix net(const char *text)
{
	struct prefix p;

	if (prefix_parse(text, strlen(text), &p) < 0)
		fail_msg("no prefix: %s", text);
	return p;
}

/* view() - A packet as ip_parse() would show it */
static struct ip_view view(const char *source, const char *destination, uint8_t protocol,
			   uint16_t port)
{
	struct ip_view v = {
		.source = ip(source),
		.destination = ip(destination),
		.protocol = protocol,
		.source_port = 40000,
		.destination_port = port,
		.tcp_flags = IP_TCP_SYN,
		.icmp_type = IP_ICMP_ECHO_REQUEST,
		.length = 100,
	};

	v.version = v.source.family;
	if (v.version == 6)
		v.icmp_type = IP_ICMPV6_ECHO_REQUEST;
	return v;
}

static struct tailcfg_net parsed(const char *text)
{
	const char *dash = strchr(text, '-');

	if (strcmp(text, "*") == 0)
		return (struct tailcfg_net){.kind = TAILCFG_NET_ANY};
	if (dash) {
		struct tailcfg_net range = {.kind = TAILCFG_NET_RANGE, .last = ip(dash + 1)};

		if (address_parse(text, (size_t)(dash - text), &range.prefix.address) < 0)
			fail_msg("no range: %s", text);
		return range;
	}
	return (struct tailcfg_net){.kind = TAILCFG_NET_PREFIX, .prefix = net(text)};
}

/* one_rule() - A filter of one rule on a node with 100.64.0.1, fd7a:115c:a1e0::1 and the
 * route 10.9.0.0/16 */
static struct filter *one_rule(const char *source, const char *destination, uint16_t first,
			       uint16_t last, int protocol, struct filter_config *base)
{
	struct tailcfg_net sources[] = {parsed(source)};
	struct tailcfg_net_ports destinations[] = {{parsed(destination), first, last}};
	uint8_t protocols[] = {(uint8_t)protocol};
	struct tailcfg_filter_rule rule = {
		.sources = sources,
		.source_count = 1,
		.destinations = destinations,
		.destination_count = 1,
		.default_protocols = protocol < 0,
		.protocols = protocols,
		.protocol_count = protocol >= 0,
	};
	const struct tailcfg_filter list = {&rule, 1}, *lists[] = {&list};
	const struct prefix own[] = {net("100.64.0.1"), net("fd7a:115c:a1e0::1")};
	const struct prefix routes[] = {net("10.9.0.0/16")};
	struct filter_config config = base ? *base : (struct filter_config){0};
	struct filter *f;

	config.lists = lists;
	config.list_count = 1;
	config.addresses = (struct filter_prefixes){own, 2};
	if (!config.advertised.count)
		config.advertised = (struct filter_prefixes){routes, 1};
	assert_int_equal(filter_compile(&config, &f), 0);
	return f;
}

static void rules_match(void **state)
{
	static const struct {
		const char *source, *destination; /* of the rule */
		uint16_t first, last;
		int rule_protocol; /* -1: the default four */
		const char *from, *to;
		uint8_t protocol;
		uint16_t port;
		bool accepted;
	} rows[] = {
		/* 0 */ {"*", "*", 0, 65535, -1, "100.64.0.2", "100.64.0.1", 6, 80, true},
		/* 1 */ {"*", "*", 80, 80, -1, "100.64.0.2", "100.64.0.1", 6, 80, true},
		/* 2 */ {"*", "*", 80, 80, -1, "100.64.0.2", "100.64.0.1", 6, 81, false},
		/* 3 */ {"*", "*", 80, 90, -1, "100.64.0.2", "100.64.0.1", 17, 90, true},
		/* 4 */ {"*", "*", 80, 90, -1, "100.64.0.2", "100.64.0.1", 17, 91, false},
		/* 5 */ {"100.64.0.2", "*", 0, 65535, -1, "100.64.0.2", "100.64.0.1", 6, 1, true},
		/* 6 */ {"100.64.0.2", "*", 0, 65535, -1, "100.64.0.3", "100.64.0.1", 6, 1, false},
		/* 7 */
		{"100.64.0.0/10", "*", 0, 65535, -1, "100.127.9.9", "100.64.0.1", 6, 1, true},
		/* 8 */
		{"100.64.0.2-100.64.0.9", "*", 0, 65535, -1, "100.64.0.9", "100.64.0.1", 6, 1,
		 true},
		/* 9 */
		{"100.64.0.2-100.64.0.9", "*", 0, 65535, -1, "100.64.0.10", "100.64.0.1", 6, 1,
		 false},
		/* 10 */ {"*", "100.64.0.1", 0, 65535, -1, "100.64.0.2", "10.9.1.1", 6, 1, false},
		/* 11 */ {"*", "10.9.0.0/16", 0, 65535, -1, "100.64.0.2", "10.9.1.1", 6, 1, true},
		/* 12 a destination that isn't ours, though a rule names it */
		{"*", "10.8.0.0/16", 0, 65535, -1, "100.64.0.2", "10.8.1.1", 6, 1, false},
		/* 13 */ {"*", "*", 0, 65535, 17, "100.64.0.2", "100.64.0.1", 6, 80, false},
		/* 14 */ {"*", "*", 0, 65535, 17, "100.64.0.2", "100.64.0.1", 17, 80, true},
		/* 15 SCTP is not among the default protocols */
		{"*", "*", 0, 65535, -1, "100.64.0.2", "100.64.0.1", 132, 80, false},
		/* 16 */ {"*", "*", 0, 65535, 132, "100.64.0.2", "100.64.0.1", 132, 80, true},
		/* 17 ping: any port will do, and any protocol */
		{"*", "*", 80, 80, 6, "100.64.0.2", "100.64.0.1", 1, 0, true},
		/* 18 */ {"100.64.0.3", "*", 80, 80, 6, "100.64.0.2", "100.64.0.1", 1, 0, false},
		/* 19 ping of an address that the rule doesn't name */
		{"*", "10.9.0.0/16", 80, 80, 6, "100.64.0.2", "100.64.0.1", 1, 0, false},
		/* 20 GRE: named, and all ports */
		{"*", "*", 0, 65535, 47, "100.64.0.2", "100.64.0.1", 47, 0, true},
		/* 21 */ {"*", "*", 0, 65534, 47, "100.64.0.2", "100.64.0.1", 47, 0, false},
		/* 22 */ {"*", "*", 0, 65535, -1, "100.64.0.2", "100.64.0.1", 47, 0, false},
		/* 23 */
		{"*", "*", 22, 22, -1, "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1", 6, 22, true},
		/* 24 */
		{"*", "*", 22, 22, -1, "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1", 58, 0, true},
		/* 25 the families don't mix */
		{"100.64.0.0/10", "*", 0, 65535, -1, "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1", 6,
		 22, false},
		/* 26 */
		{"fd7a:115c:a1e0::/48", "*", 0, 65535, -1,
		 "fd7a:115c:a1e0:ffff::", "fd7a:115c:a1e0::1", 6, 22, true},
		/* 27 */
		{"fd7a:115c:a1e0::/48", "*", 0, 65535, -1, "fd7a:115c:a1e1::", "fd7a:115c:a1e0::1",
		 6, 22, false},
	};
	const struct filter_peer peer = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct filter *f = one_rule(rows[i].source, rows[i].destination, rows[i].first,
					    rows[i].last, rows[i].rule_protocol, NULL);
		struct filter_flows *flows = filter_flows_create(1);
		struct ip_view v = view(rows[i].from, rows[i].to, rows[i].protocol, rows[i].port);
		enum filter_verdict verdict = filter_inbound(f, flows, &v, &peer);

		if (filter_accepts(verdict) != rows[i].accepted)
			fail_msg("row %zu: %s", i, filter_verdict_label(verdict));
		filter_free(f);
		filter_flows_free(flows);
	}
}

static void packets_that_need_no_rule(void **state)
{
	static const struct {
		const char *from, *to;
		uint8_t protocol, tcp_flags, icmp_type, icmp_code, fragment;
		enum filter_verdict verdict;
	} rows[] = {
#define US4   "100.64.0.1"
#define US6   "fd7a:115c:a1e0::1"
#define PEER4 "100.64.0.2"
#define PEER6 "fd7a:115c:a1e0::2"
		/* 0 */ {PEER4, US4, 6, IP_TCP_SYN, 0, 0, 0, FILTER_DROP_RULES},
		/* 1 */ {PEER4, US4, 6, IP_TCP_SYN | IP_TCP_ACK, 0, 0, 0, FILTER_ACCEPT_TCP},
		/* 2 */ {PEER4, US4, 6, IP_TCP_ACK, 0, 0, 0, FILTER_ACCEPT_TCP},
		/* 3 */ {PEER4, US4, 6, IP_TCP_RST, 0, 0, 0, FILTER_ACCEPT_TCP},
		/* 4 a SYN is one whatever else is set */
		{PEER4, US4, 6, IP_TCP_SYN | IP_TCP_FIN | IP_TCP_PSH | IP_TCP_URG, 0, 0, 0,
		 FILTER_DROP_RULES},
		/* 5 */ {PEER4, US4, 1, 0, IP_ICMP_ECHO_REQUEST, 0, 0, FILTER_DROP_RULES},
		/* 6 */ {PEER4, US4, 1, 0, IP_ICMP_ECHO_REPLY, 0, 0, FILTER_ACCEPT_ICMP},
		/* 7 */ {PEER4, US4, 1, 0, IP_ICMP_ECHO_REPLY, 1, 0, FILTER_DROP_RULES},
		/* 8 */ {PEER4, US4, 1, 0, IP_ICMP_UNREACHABLE, 4, 0, FILTER_ACCEPT_ICMP},
		/* 9 */ {PEER4, US4, 1, 0, IP_ICMP_TIME_EXCEEDED, 0, 0, FILTER_ACCEPT_ICMP},
		/* 10 */ {PEER4, US4, 1, 0, IP_ICMP_PARAMETER_PROBLEM, 0, 0, FILTER_ACCEPT_ICMP},
		/* 11 redirect */ {PEER4, US4, 1, 0, 5, 0, 0, FILTER_DROP_RULES},
		/* 12 */ {PEER6, US6, 58, 0, IP_ICMPV6_PACKET_TOO_BIG, 0, 0, FILTER_ACCEPT_ICMP},
		/* 13 */ {PEER6, US6, 58, 0, IP_ICMPV6_ECHO_REPLY, 0, 0, FILTER_ACCEPT_ICMP},
		/* 14 neighbour solicitation */ {PEER6, US6, 58, 0, 135, 0, 0, FILTER_DROP_RULES},
		/* 15 the other family's ICMP */
		{PEER4, US4, 58, 0, IP_ICMPV6_ECHO_REPLY, 0, 0, FILTER_DROP_RULES},
		/* 16 */ {PEER6, US6, 1, 0, IP_ICMP_ECHO_REPLY, 0, 0, FILTER_DROP_RULES},
		/* 17 */ {PEER4, US4, 17, 0, 0, 0, 0, FILTER_DROP_RULES},
		/* 18 */ {PEER4, US4, 99, 0, 0, 0, 0, FILTER_ACCEPT_TSMP},
		/* 19 */ {PEER4, US4, 17, 0, 0, 0, IP_FRAGMENT_LATER, FILTER_ACCEPT_FRAGMENT},
		/* 20 */ {PEER4, US4, 17, 0, 0, 0, IP_FRAGMENT_FIRST, FILTER_DROP_RULES},
		/* 21 */ {PEER4, "8.8.8.8", 6, IP_TCP_ACK, 0, 0, 0, FILTER_DROP_NOT_LOCAL},
		/* 22 */ {PEER4, "8.8.8.8", 99, 0, 0, 0, 0, FILTER_DROP_NOT_LOCAL},
		/* 23 */ {PEER4, "8.8.8.8", 17, 0, 0, 0, IP_FRAGMENT_LATER, FILTER_DROP_NOT_LOCAL},
		/* 24 */ {PEER4, "224.0.0.1", 17, 0, 0, 0, 0, FILTER_DROP_MULTICAST},
		/* 25 */ {PEER6, "ff02::fb", 17, 0, 0, 0, 0, FILTER_DROP_MULTICAST},
		/* 26 */ {PEER4, "169.254.0.1", 17, 0, 0, 0, 0, FILTER_DROP_LINK_LOCAL},
		/* 27 */ {PEER6, "fe80::1", 6, IP_TCP_ACK, 0, 0, 0, FILTER_DROP_LINK_LOCAL},
		/* 28 not refused as link-local; but no route of ours */
		{PEER4, "169.254.169.254", 6, IP_TCP_ACK, 0, 0, 0, FILTER_DROP_NOT_LOCAL},
		/* 29 */ {PEER4, US4, 47, 0, 0, 0, 0, FILTER_DROP_RULES},
	};
	const struct prefix own[] = {net(US4), net(US6)};
	const struct filter_config config = {.addresses = {own, 2}};
	struct filter_flows *flows = filter_flows_create(1);
	const struct filter_peer peer = {0};
	struct filter *f;

	(void)state;
	assert_int_equal(filter_compile(&config, &f), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip_view v = view(rows[i].from, rows[i].to, rows[i].protocol, 80);
		enum filter_verdict verdict;

		v.tcp_flags = rows[i].tcp_flags;
		v.icmp_type = rows[i].icmp_type;
		v.icmp_code = rows[i].icmp_code;
		v.fragment = rows[i].fragment;
		verdict = filter_inbound(f, flows, &v, &peer);
		if (verdict != rows[i].verdict)
			fail_msg("row %zu: %s", i, filter_verdict_label(verdict));
		verdict = filter_inbound(NULL, flows, &v, &peer);
		if (filter_accepts(verdict))
			fail_msg("row %zu without a filter: %s", i, filter_verdict_label(verdict));
	}
	filter_free(f);
	filter_flows_free(flows);
}

static void answers_to_our_flows(void **state)
{
	struct filter *old = one_rule("100.64.0.9", "*", 0, 65535, -1, NULL);
	struct filter *new = one_rule("100.64.0.8", "*", 0, 65535, -1, NULL);
	struct filter_flows *flows = filter_flows_create(7);
	const struct filter_peer peer = {0};
	struct ip_view out = view(US4, PEER4, 17, 53), in = view(PEER4, US4, 17, 40000), other;

	(void)state;
	in.source_port = 53;
	assert_int_equal(filter_inbound(old, flows, &in, &peer), FILTER_DROP_RULES);
	assert_int_equal(filter_outbound(flows, &out), FILTER_ACCEPT_OUTBOUND);
	assert_int_equal(filter_inbound(old, flows, &in, &peer), FILTER_ACCEPT_FLOW);
	/* Rules that change don't cut off the answer. */
	assert_int_equal(filter_inbound(new, flows, &in, &peer), FILTER_ACCEPT_FLOW);
	other = in;
	other.source_port = 54;
	assert_int_equal(filter_inbound(new, flows, &other, &peer), FILTER_DROP_RULES);
	other = in;
	other.protocol = IP_PROTOCOL_SCTP;
	assert_int_equal(filter_inbound(new, flows, &other, &peer), FILTER_DROP_RULES);
	other = in;
	other.source = ip("100.64.0.3");
	assert_int_equal(filter_inbound(new, flows, &other, &peer), FILTER_DROP_RULES);
	/* 512 later ones push it out; while it is used it stays. */
	for (uint16_t port = 1; port <= FILTER_FLOWS_MAX; port++) {
		out.destination_port = (uint16_t)(1000 + port);
		assert_int_equal(filter_outbound(flows, &out), FILTER_ACCEPT_OUTBOUND);
		if (port == FILTER_FLOWS_MAX / 2)
			assert_int_equal(filter_inbound(new, flows, &in, &peer),
					 FILTER_ACCEPT_FLOW);
	}
	assert_int_equal(flows->count, FILTER_FLOWS_MAX);
	assert_int_equal(filter_inbound(new, flows, &in, &peer), FILTER_ACCEPT_FLOW);
	for (uint16_t port = 1; port <= FILTER_FLOWS_MAX; port++) {
		out.destination_port = (uint16_t)(5000 + port);
		filter_outbound(flows, &out);
	}
	assert_int_equal(filter_inbound(new, flows, &in, &peer), FILTER_DROP_RULES);
	filter_free(old);
	filter_free(new);
	filter_flows_free(flows);
}

static void outbound_packets(void **state)
{
	static const struct {
		const char *to;
		uint8_t protocol, fragment;
		enum filter_verdict verdict;
		size_t flows; /* afterwards, in all */
	} rows[] = {
		/* 0 */ {PEER4, 6, 0, FILTER_ACCEPT_OUTBOUND, 0},
		/* 1 */ {PEER4, 17, 0, FILTER_ACCEPT_OUTBOUND, 1},
		/* 2 */ {PEER4, 132, 0, FILTER_ACCEPT_OUTBOUND, 2},
		/* 3 no ports, no flow */ {PEER4, 17, IP_FRAGMENT_LATER, FILTER_ACCEPT_OUTBOUND, 2},
		/* 4 */ {PEER4, 17, IP_FRAGMENT_FIRST, FILTER_ACCEPT_OUTBOUND, 2},
		/* 5 */ {PEER4, 99, 0, FILTER_DROP_TSMP_FROM_HOST, 2},
		/* 6 */ {"224.0.0.251", 17, 0, FILTER_DROP_MULTICAST, 2},
		/* 7 */ {"169.254.1.1", 17, 0, FILTER_DROP_LINK_LOCAL, 2},
		/* 8 */ {"169.254.169.254", 17, 0, FILTER_ACCEPT_OUTBOUND, 3},
		/* 9 */ {"8.8.8.8", 47, 0, FILTER_ACCEPT_OUTBOUND, 3},
	};
	struct filter_flows *flows = filter_flows_create(1);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip_view v = view(US4, rows[i].to, rows[i].protocol, 53);

		v.fragment = rows[i].fragment;
		if (filter_outbound(flows, &v) != rows[i].verdict || flows->count != rows[i].flows)
			fail_msg("row %zu", i);
	}
	filter_flows_free(flows);
}

static void shields_and_jail(void **state)
{
	struct filter_config up = {.shields_up = true};
	struct filter *open = one_rule("*", "*", 0, 65535, -1, NULL);
	struct filter *shielded = one_rule("*", "*", 0, 65535, -1, &up);
	struct filter_flows *flows = filter_flows_create(1);
	const struct filter_peer free_peer = {0}, jailed = {.jailed = true};
	struct ip_view syn = view(PEER4, US4, 6, 80), v6 = view(PEER6, US6, 6, 80), reply = syn;
	enum filter_verdict verdict;

	(void)state;
	reply.tcp_flags = IP_TCP_ACK;
	assert_int_equal(filter_inbound(open, flows, &syn, &free_peer), FILTER_ACCEPT_RULE);
	verdict = filter_inbound(shielded, flows, &syn, &free_peer);
	assert_int_equal(verdict, FILTER_DROP_SHIELDS_UP);
	assert_int_equal(filter_reject_reason(verdict, &syn), TSMP_REASON_SHIELDS_UP);
	verdict = filter_inbound(open, flows, &syn, &jailed);
	assert_int_equal(verdict, FILTER_DROP_JAILED);
	assert_int_equal(filter_reject_reason(verdict, &syn), TSMP_REASON_SHIELDS_UP);
	assert_int_equal(filter_inbound(shielded, flows, &reply, &free_peer), FILTER_ACCEPT_TCP);
	assert_int_equal(filter_inbound(open, flows, &reply, &jailed), FILTER_ACCEPT_TCP);
	assert_int_equal(filter_reject_reason(FILTER_DROP_RULES, &syn), TSMP_REASON_ACL);
	assert_int_equal(filter_reject_reason(FILTER_DROP_NOT_LOCAL, &syn), TSMP_REASON_NONE);
	assert_int_equal(filter_reject_reason(FILTER_DROP_RULES, &v6), TSMP_REASON_NONE);
	assert_int_equal(filter_reject_reason(FILTER_DROP_RULES, &reply), TSMP_REASON_NONE);
	assert_int_equal(filter_reject_reason(FILTER_ACCEPT_RULE, &syn), TSMP_REASON_NONE);
	filter_free(open);
	filter_free(shielded);
	filter_flows_free(flows);
}

static void peerapi_is_always_reached(void **state)
{
	const struct endpoint peerapi[] = {{ip(US4), 41000}, {ip(US6), 41001}};
	struct filter_config up = {.shields_up = true, .peerapi = peerapi, .peerapi_count = 2};
	struct filter *f = one_rule("*", "*", 0, 65535, -1, &up);
	struct filter_flows *flows = filter_flows_create(1);
	const struct filter_peer jailed = {.jailed = true};
	struct ip_view v4 = view(PEER4, US4, 6, 41000), v6 = view(PEER6, US6, 6, 41001);
	struct ip_view wrong = view(PEER4, US4, 6, 41001), udp = view(PEER4, US4, 17, 41000);

	(void)state;
	assert_int_equal(filter_inbound(f, flows, &v4, &jailed), FILTER_ACCEPT_PEERAPI);
	assert_int_equal(filter_inbound(f, flows, &v6, &jailed), FILTER_ACCEPT_PEERAPI);
	assert_int_equal(filter_inbound(f, flows, &wrong, &jailed), FILTER_DROP_SHIELDS_UP);
	assert_int_equal(filter_inbound(f, flows, &udp, &jailed), FILTER_DROP_SHIELDS_UP);
	filter_free(f);
	filter_flows_free(flows);
}

static void a_default_route_is_narrowed(void **state)
{
	const struct prefix routes[] = {net("0.0.0.0/0"), net("::/0"), net("192.168.5.0/24")};
	const struct prefix host[] = {net("198.51.100.0/24"), net("2001:db8:7::/64")};
	struct filter_config config = {.advertised = {routes, 3}, .host = {host, 2}};
	struct filter *f = one_rule("*", "*", 0, 65535, -1, &config);
	static const struct {
		const char *address;
		bool local;
	} rows[] = {
		/* 0 */ {"8.8.8.8", true},
		/* 1 */ {"10.9.1.1", false},
		/* 2 */ {"172.31.255.255", false},
		/* 3 */ {"172.32.0.0", true},
		/* 4 */ {"192.168.1.1", false},
		/* 5 advertised by itself */ {"192.168.5.9", true},
		/* 6 */ {"169.254.169.254", false},
		/* 7 */ {"100.64.0.2", false},
		/* 8 own */ {"100.64.0.1", true},
		/* 9 */ {"239.1.1.1", false},
		/* 10 the host's network */ {"198.51.100.7", false},
		/* 11 */ {"198.51.101.0", true},
		/* 12 */ {"2001:db8::1", true},
		/* 13 */ {"2001:db8:7::9", false},
		/* 14 */ {"fe80::1", false},
		/* 15 */ {"ff02::1", false},
		/* 16 */ {"fd7a:115c:a1e0::2", false},
		/* 17 own */ {"fd7a:115c:a1e0::1", true},
		/* 18 another ULA */ {"fd7a:115c:a1e1::1", true},
		/* 19 */ {"255.255.255.255", true},
		/* 20 */ {"0.0.0.0", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct address a = ip(rows[i].address);

		if (ip_set_contains(&f->local, &a) != rows[i].local)
			fail_msg("row %zu: %s", i, rows[i].address);
	}
	filter_free(f);
}

static void an_unsigned_peer_voids_the_rules(void **state)
{
	const struct prefix theirs[] = {net("100.64.0.66"), net("10.66.0.0/16")};
	static const struct {
		const char *source;
		bool discarded;
	} rows[] = {
		/* 0 */ {"*", true},
		/* 1 */ {"100.64.0.2", false},
		/* 2 */ {"100.64.0.66", true},
		/* 3 */ {"100.64.0.0/10", true},
		/* 4 their route */ {"10.66.1.1", true},
		/* 5 */ {"fd7a:115c:a1e0::/48", false},
		/* 6 */ {"100.64.0.1-100.64.0.65", false},
		/* 7 */ {"100.64.0.1-100.64.0.66", true},
	};
	const struct filter_peer peer = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct filter_config config = {.unsigned_peers = {theirs, 2}};
		/* The destination is not even ours. */
		struct filter *f = one_rule(rows[i].source, "10.8.0.0/16", 0, 65535, -1, &config);
		struct filter_flows *flows = filter_flows_create(1);
		struct ip_view syn = view(PEER4, US4, 6, 80);

		if (filter_is_discarded(f) != rows[i].discarded)
			fail_msg("row %zu", i);
		assert_int_equal(filter_inbound(f, flows, &syn, &peer), FILTER_DROP_RULES);
		filter_free(f);
		filter_flows_free(flows);
	}
}

static bool collect(void *data, const char *name, const char *values)
{
	char *text = data;

	strcat(text, name);
	strcat(text, "=");
	strcat(text, values ? values : "-");
	strcat(text, " ");
	return strcmp(name, "stop") != 0;
}

static bool owner_is_two(const void *peer, const struct address *source, const char *name)
{
	struct address two = ip(PEER4);

	return peer && strcmp(name, "X") == 0 && address_equal(source, &two);
}

static void capabilities_by_grant(void **state)
{
	char *caps[] = {"a", "b"}, *x[] = {"X"};
	struct tailcfg_capability value = {"c", "[{\"k\":1}]"};
	char *stop[] = {"stop"};
	struct prefix own = net(US4);
	struct tailcfg_cap_grant grant = {
		.dsts = {&own, 1}, .caps = {caps, 2}, .cap_map = {&value, 1}};
	struct tailcfg_cap_grant by_capability = {.dsts = {&own, 1}, .caps = {stop, 1}};
	struct tailcfg_net sources[] = {parsed("100.64.0.2-100.64.0.3")};
	struct tailcfg_filter_rule rules[] = {
		{.sources = sources, .source_count = 1, .grants = &grant, .grant_count = 1},
		{.source_capabilities = {x, 1}, .grants = &by_capability, .grant_count = 1},
		{.sources = sources, .source_count = 1, .grants = &grant, .grant_count = 1},
	};
	const struct tailcfg_filter list = {rules, 3}, *lists[] = {&list};
	struct filter_config config = {.lists = lists,
				       .list_count = 1,
				       .addresses = {&own, 1},
				       .has_capability = owner_is_two};
	const struct filter_peer peer = {.node = &config}, jailed = {.jailed = true};
	struct address two = ip(PEER4), three = ip("100.64.0.3"), four = ip("100.64.0.4");
	struct address us = ip(US4), v6 = ip(US6);
	struct filter_flows *flows = filter_flows_create(1);
	struct ip_view syn = view(PEER4, US4, 6, 80);
	char text[200] = "";
	struct filter *f;

	(void)state;
	assert_int_equal(filter_compile(&config, &f), 0);
	filter_peer_capabilities(f, &peer, &three, &us, collect, text);
	assert_string_equal(text, "a=- b=- c=[{\"k\":1}] a=- b=- c=[{\"k\":1}] ");
	text[0] = 0;
	filter_peer_capabilities(f, &peer, &two, &us, collect, text);
	assert_string_equal(text, "a=- b=- c=[{\"k\":1}] stop=- ");
	text[0] = 0;
	filter_peer_capabilities(f, &peer, &four, &us, collect, text);
	filter_peer_capabilities(f, &peer, &two, &v6, collect, text);
	filter_peer_capabilities(f, &jailed, &two, &us, collect, text);
	assert_string_equal(text, "");
	/* A grant opens no port. */
	assert_int_equal(filter_inbound(f, flows, &syn, &peer), FILTER_DROP_RULES);
	filter_free(f);
	filter_flows_free(flows);
}

static void parse_errors_have_verdicts(void **state)
{
	(void)state;
	assert_int_equal(filter_parse_verdict(-ENODATA), FILTER_ACCEPT_EMPTY);
	assert_int_equal(filter_parse_verdict(-EBADMSG), FILTER_DROP_MALFORMED);
	assert_int_equal(filter_parse_verdict(-EPROTONOSUPPORT), FILTER_DROP_UNKNOWN_PROTOCOL);
	assert_false(filter_accepts(FILTER_DROP_MALFORMED));
	assert_true(filter_accepts(FILTER_ACCEPT_OUTBOUND));
	assert_string_equal(filter_verdict_label(FILTER_DROP_RULES), "acl");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_match),
		cmocka_unit_test(packets_that_need_no_rule),
		cmocka_unit_test(answers_to_our_flows),
		cmocka_unit_test(outbound_packets),
		cmocka_unit_test(shields_and_jail),
		cmocka_unit_test(peerapi_is_always_reached),
		cmocka_unit_test(a_default_route_is_narrowed),
		cmocka_unit_test(an_unsigned_peer_voids_the_rules),
		cmocka_unit_test(capabilities_by_grant),
		cmocka_unit_test(parse_errors_have_verdicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
