/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/netlink/test_check.c - what an engine may ask for
 *
 *	eth0  10.0.3.4/24, fe80::1/64, 2001:db8:1::4/64    gateway 10.0.3.1, fe80::99
 *	eth1  100.80.0.5/16 (a pod network inside the tailnet's range)
 *	tun   100.64.0.1/32 (ours)
 */
#include "base/limits.h"
#include "netlink/check.h"
#include "unit/unit.h"

#define OURS 7

static struct prefix prefix_of_text(const char *text)
{
	struct prefix p;

	if (prefix_parse(text, strlen(text), &p) < 0)
		fail_msg("bad test: %s", text);
	return p;
}

static struct interface_address interface(uint32_t ifindex, const char *name, const char *prefix)
{
	struct interface_address one = {.index = ifindex, .flags = INTERFACE_UP};

	strcpy(one.name, name);
	one.prefix = prefix_of_text(prefix);
	return one;
}

static struct interface_address list[6];
static struct interfaces interfaces = {.list = list, .count = 6};

static struct net_allowed any, none;

static int set_up_allowed(void **state)
{
	(void)state;
	none = (struct net_allowed){0};
	any = (struct net_allowed){.exit_node = true};
	return prefix_set_parse("0.0.0.0/0,::/0", &any.routes);
}

static int set_up(void **state)
{
	list[0] = interface(1, "lo", "127.0.0.1/8");
	list[1] = interface(2, "eth0", "10.0.3.4/24");
	list[2] = interface(2, "eth0", "fe80::1/64");
	list[3] = interface(2, "eth0", "2001:db8:1::4/64");
	list[4] = interface(3, "eth1", "100.80.0.5/16");
	list[5] = interface(OURS, "tailscale0", "100.64.0.1/32");
	interfaces.route_count = 2;
	interfaces.routes[0] = (struct default_route){
		.index = 2, .gateway = prefix_of_text("10.0.3.1").address, .family = ADDRESS_V4};
	interfaces.routes[1] = (struct default_route){
		.index = 2, .gateway = prefix_of_text("fe80::99").address, .family = ADDRESS_V6};
	return set_up_allowed(state);
}

static void routes_are_judged(void **state)
{
	static const struct {
		const char *route;
		char allowed; /* e: all and an exit node, r: all routes, n: none */
		int code;
	} rows[] = {
		/* 0 */ {"100.64.0.7", 'n', 0},
		/* 1 */ {"fd7a:115c:a1e0::/48", 'n', 0},
		/* 2 */ {"100.100.100.100", 'n', 0},
		/* 3 */ {"192.168.7.0/24", 'r', 0},
		/* 4 */ {"172.16.0.0/12", 'r', 0},
		/* 5 */ {"0.0.0.0/0", 'r', -EPERM},
		/* 6 */ {"0.0.0.0/0", 'e', 0},
		/* 7 */ {"::/0", 'e', 0},
		/* 8 */ {"::/0", 'r', -EPERM},
		/* 9 */ {"128.0.0.0/1", 'r', -EPERM},
		/* 10 */ {"128.0.0.0/1", 'e', 0},
		/* 11 */ {"8000::/1", 'r', -EPERM},
		/* 12 */ {"16.0.0.0/8", 'r', 0},
		/* 13 */ {"127.0.0.53", 'e', -EPERM},
		/* 14 */ {"::1", 'e', -EPERM},
		/* 15 */ {"169.254.169.254", 'e', -EPERM},
		/* 16 */ {"169.0.0.0/8", 'e', -EPERM}, /* holds link-local */
		/* 17 */ {"fe80::/64", 'e', -EPERM},
		/* 18 */ {"224.0.0.251", 'e', -EPERM},
		/* 19 */ {"ff02::1", 'e', -EPERM},
		/* 20 */ {"0.0.0.0/8", 'e', -EPERM},
		/* 21 */ {"10.0.3.0/24", 'e', -EPERM}, /* on-link */
		/* 22 */ {"10.0.3.9", 'e', -EPERM},
		/* 23 */ {"10.0.3.128/25", 'e', -EPERM},
		/* 24 */ {"10.0.0.0/8", 'e', -EPERM}, /* covers what is on-link */
		/* 25 */ {"10.0.4.0/24", 'e', 0},
		/* 26 */ {"2001:db8:1::/48", 'e', -EPERM},
		/* 27 */ {"2001:db8:2::/48", 'e', 0},
		/* 28 */ {"100.80.9.9", 'n', 0},      /* a peer inside eth1's network … */
		/* 29 */ {"100.80.0.5", 'e', -EPERM}, /* … but not our own address there */
		/* 30 */ {"100.80.9.0/24", 'e', -EPERM},
		/* 31 */ {"100.64.0.0/10", 'e', -EPERM},
		/* 32 */ {"100.64.0.1", 'n', 0},       /* our own link is no obstacle */
		/* 33 */ {"10.0.3.77/9", 'e', -EPERM}, /* host bits don't hide it */
		/* 34 */ {"8.8.8.8", 'n', -EPERM},     /* a single address, but not a tailnet's */
		/* 35 */ {"10.96.0.10", 'n', -EPERM},  /* a cluster's DNS */
		/* 36 */ {"100.64.8.0/24", 'n', -EPERM},
		/* 37 */ {"fd7a:115c:a1e0:b1a::a01:2", 'n', -EPERM}, /* an IPv4 network's */
		/* 38 */ {"fd7a:115c:a1e0:b1a::/64", 'r', 0},
		/* 39 */ {"fd7a:115c:a1e0::/47", 'n', -EPERM},
		/* 40 */ {"64.0.0.0/2", 'e', -EPERM}, /* no half: holds a network of this machine */
		/* 41 */ {"224.0.0.0/3", 'e', -EPERM}, /* … or a special one */
		/* 42 */ {"255.255.255.255", 'e', -EPERM},
		/* 43 */ {"127.0.0.77/2", 'r', -EPERM},
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix p = prefix_of_text(rows[i].route);
		struct net_allowed allowed = any;
		int r;

		allowed.exit_node = rows[i].allowed == 'e';
		if (rows[i].allowed == 'n')
			allowed = none;
		r = net_route_check(&p, OURS, &interfaces, &allowed, &err);
		if (r != rows[i].code)
			fail_msg("row %zu: %s gave %d", i, rows[i].route, r);
	}
	assert_int_equal(net_route_check(&(struct prefix){0}, OURS, &interfaces, &any, &err),
			 -EINVAL);
	assert_int_equal(net_route_check(&(struct prefix){.address.family = ADDRESS_V4, .bits = 33},
					 OURS, &interfaces, &any, &err),
			 -EINVAL);
}

static void routes_lie_where_the_start_lets_them(void **state)
{
	struct prefix inside = prefix_of_text("10.20.0.0/16"), at = prefix_of_text("10.99.0.3");
	struct prefix wider = prefix_of_text("10.16.0.0/12");
	struct net_allowed allowed = {0};
	struct error err;

	(void)state;
	assert_int_equal(prefix_set_parse("10.20.0.0/14,fd00::/8", &allowed.routes), 0);
	assert_int_equal(net_route_check(&inside, OURS, &interfaces, &allowed, &err), 0);
	assert_int_equal(net_route_check(&wider, OURS, &interfaces, &allowed, &err), -EPERM);
	/* A tailnet with addresses of its own. */
	assert_int_equal(net_route_check(&at, OURS, &interfaces, &allowed, &err), -EPERM);
	assert_int_equal(net_address_check(&at, OURS, &interfaces, &allowed, &err), -EPERM);
	assert_int_equal(prefix_set_parse("10.99.0.0/16", &allowed.tailnet), 0);
	assert_int_equal(net_route_check(&at, OURS, &interfaces, &allowed, &err), 0);
	assert_int_equal(net_address_check(&at, OURS, &interfaces, &allowed, &err), 0);
}

static size_t let_pass(const struct net_allowed *allowed, const struct prefix *routes, size_t count)
{
	static struct prefix copy[600];
	struct net_wanted wanted = {.ifindex = OURS, .routes = {copy, count, 600}};
	struct net_verdict verdict;
	struct error err;

	memcpy(copy, routes, count * sizeof(*routes));
	assert_int_equal(net_wanted_check(&wanted, &interfaces, allowed, &verdict, &err), 0);
	assert_int_equal(wanted.routes.count + verdict.refused, count);
	return wanted.routes.count;
}

static void many_short_routes_are_no_default_route(void **state)
{
	struct prefix routes[600];
	size_t count = 0;

	(void)state;
	any.exit_node = false;
	/* A whole /8 of the internet, and all private networks but this machine's, are fine. */
	for (const char *const *text =
		     (const char *const[]){"16.0.0.0/8", "16.5.0.0/16", "16.0.0.9/8",
					   "172.16.0.0/12", "192.168.0.0/16", "2600::/20",
					   "2600:1::/32", "fd00::/10", NULL};
	     *text; text++)
		routes[count++] = prefix_of_text(*text);
	assert_int_equal(let_pass(&any, routes, count), count);
	/* One address more, and all of the public ones go. */
	routes[count++] = prefix_of_text("8.8.8.8");
	assert_int_equal(let_pass(&any, routes, count), 3);
	routes[count - 1] = prefix_of_text("2a00::/64");
	assert_int_equal(let_pass(&any, routes, count), 3);
	any.exit_node = true;
	assert_int_equal(let_pass(&any, routes, count), count);
	any.exit_node = false;
	/* The internet in 256 parts, or in two. */
	for (count = 0; count < 256; count++)
		routes[count] = (struct prefix){{ADDRESS_V4, {(uint8_t)count}}, 8};
	assert_int_equal(let_pass(&any, routes, count), 0);
	for (count = 0; count < 512; count++)
		routes[count] = (struct prefix){
			{ADDRESS_V4, {(uint8_t)(count / 2), (uint8_t)(count % 2 * 128)}}, 9};
	assert_true(let_pass(&any, routes, count) <= 2);
	routes[0] = prefix_of_text("0.0.0.0/1");
	routes[1] = prefix_of_text("128.0.0.0/1");
	assert_int_equal(let_pass(&any, routes, 2), 0);
	for (count = 0; count < 8; count++)
		routes[count] = (struct prefix){{ADDRESS_V6, {0x20, (uint8_t)(count * 0x10)}}, 12};
	assert_int_equal(let_pass(&any, routes, count), 0);
	/* All of IPv4 by NAT64, and a /8 of it. */
	routes[0] = prefix_of_text("64:ff9b::/96");
	assert_int_equal(let_pass(&any, routes, 1), 0);
	routes[0] = prefix_of_text("64:ff9b::1000:0/104");
	assert_int_equal(let_pass(&any, routes, 1), 1);
	routes[1] = prefix_of_text("8.8.8.8");
	assert_int_equal(let_pass(&any, routes, 2), 0);
}

static void a_tailnet_gateway_is_no_route(void **state)
{
	struct prefix p = prefix_of_text("100.80.0.1");
	struct error err = {0};

	(void)state;
	interfaces.routes[0] =
		(struct default_route){.index = 3, .gateway = p.address, .family = ADDRESS_V4};
	assert_int_equal(net_route_check(&p, OURS, &interfaces, &any, &err), -EPERM);
	assert_string_equal(err.text, "100.80.0.1/32 holds the default gateway 100.80.0.1");
}

static void addresses_are_judged(void **state)
{
	static const struct {
		const char *address;
		int code;
	} rows[] = {
		/* 0 */ {"100.64.0.1", 0},         /* 1 */ {"fd7a:115c:a1e0::1", 0},
		/* 2 */ {"100.64.0.1/24", -EPERM}, /* 3 */ {"10.0.3.1", -EPERM},
		/* 4 */ {"127.0.0.2", -EPERM},     /* 5 */ {"0.0.0.0/0", -EPERM},
		/* 6 */ {"10.0.3.4", -EPERM},      /* 7 */ {"172.20.1.1", -EPERM},
		/* 8 */ {"8.8.8.8", -EPERM},       /* 9 */ {"100.80.0.5", -EPERM},
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix p = prefix_of_text(rows[i].address);

		if (net_address_check(&p, OURS, &interfaces, &any, &err) != rows[i].code)
			fail_msg("row %zu: %s", i, rows[i].address);
	}
}

static void a_whole_wish_is_judged(void **state)
{
	static struct prefix routes[LIMIT_NET_ROUTES + 1];
	const struct prefix ours = prefix_of_text("100.64.0.1"),
			    kept = prefix_of_text("100.64.0.10");
	struct prefix address[2] = {ours, prefix_of_text("8.8.8.8")};
	const struct net_wanted good = {
		.ifindex = OURS,
		.mtu = 1280,
		.table = 52,
		.addresses = {address, 1, 2},
		.routes = {routes, 2, LIMIT_NET_ROUTES + 1},
	};
	struct net_wanted wanted = good;
	struct net_verdict verdict;
	struct error err = {0};

	(void)state;
	for (size_t i = 0; i < LIMIT_NET_ROUTES + 1; i++)
		routes[i] = prefix_of_text("100.64.0.9");
	assert_int_equal(net_wanted_check(&wanted, &interfaces, &any, &verdict, &err), 0);
	assert_int_equal(wanted.routes.count, 2);
	assert_int_equal(verdict.refused, 0);
	/* Routes are left out one by one, and the first is named. */
	wanted.routes.count = 4;
	routes[0] = prefix_of_text("127.0.0.1");
	routes[1] = kept;
	routes[2] = prefix_of_text("224.0.0.1");
	assert_int_equal(net_wanted_check(&wanted, &interfaces, &any, &verdict, &err), 0);
	assert_int_equal(wanted.routes.count, 2);
	assert_true(prefix_equal(&routes[0], &kept));
	assert_true(prefix_equal(&routes[1], &routes[3]));
	assert_int_equal(verdict.refused, 2);
	assert_int_equal(verdict.why.code, -EPERM);
	assert_string_equal(verdict.why.text,
			    "127.0.0.1/32 is or holds a loopback address (127.0.0.0/8)");
	routes[0] = routes[1] = routes[2] = routes[3];
	wanted = good;
	/* So are addresses. */
	wanted.addresses.count = 2;
	assert_int_equal(net_wanted_check(&wanted, &interfaces, &any, &verdict, &err), 0);
	assert_int_equal(wanted.addresses.count, 1);
	assert_int_equal(verdict.refused, 1);
	assert_true(prefix_equal(&address[0], &ours));
	wanted = good;
	wanted.mtu = 1279;
	assert_int_equal(net_wanted_check(&wanted, &interfaces, &any, &verdict, &err), -EINVAL);
	wanted = good;
	wanted.routes.count = LIMIT_NET_ROUTES + 1;
	assert_int_equal(net_wanted_check(&wanted, &interfaces, &any, &verdict, &err), -E2BIG);
	wanted = good;
	wanted.addresses.count = LIMIT_NET_ADDRESSES + 1;
	assert_int_equal(net_wanted_check(&wanted, &interfaces, &any, &verdict, &err), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(routes_are_judged, set_up),
		cmocka_unit_test_setup(routes_lie_where_the_start_lets_them, set_up),
		cmocka_unit_test_setup(many_short_routes_are_no_default_route, set_up),
		cmocka_unit_test_setup(a_tailnet_gateway_is_no_route, set_up),
		cmocka_unit_test_setup(addresses_are_judged, set_up),
		cmocka_unit_test_setup(a_whole_wish_is_judged, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
