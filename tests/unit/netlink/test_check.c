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

static struct net_interface interface(uint32_t ifindex, const char *name, const char *prefix)
{
	struct net_interface one = {.ifindex = ifindex, .flags = NET_INTERFACE_UP};

	strcpy(one.name, name);
	one.prefix = prefix_of_text(prefix);
	return one;
}

static struct net_interface list[6];
static struct net_interfaces interfaces = {.list = list, .count = 6};

static int set_up(void **state)
{
	(void)state;
	list[0] = interface(1, "lo", "127.0.0.1/8");
	list[1] = interface(2, "eth0", "10.0.3.4/24");
	list[2] = interface(2, "eth0", "fe80::1/64");
	list[3] = interface(2, "eth0", "2001:db8:1::4/64");
	list[4] = interface(3, "eth1", "100.80.0.5/16");
	list[5] = interface(OURS, "tailscale0", "100.64.0.1/32");
	interfaces.default_v4 =
		(struct net_default_route){true, 2, prefix_of_text("10.0.3.1").address};
	interfaces.default_v6 =
		(struct net_default_route){true, 2, prefix_of_text("fe80::99").address};
	return 0;
}

static void routes_are_judged(void **state)
{
	static const struct {
		const char *route;
		bool exit_node;
		int code;
	} rows[] = {
		/* 0 */ {"100.64.0.7", false, 0},
		/* 1 */ {"fd7a:115c:a1e0::/48", false, 0},
		/* 2 */ {"100.100.100.100", false, 0},
		/* 3 */ {"192.168.7.0/24", false, 0},
		/* 4 */ {"172.16.0.0/12", false, 0},
		/* 5 */ {"0.0.0.0/0", false, -EPERM},
		/* 6 */ {"0.0.0.0/0", true, 0},
		/* 7 */ {"::/0", true, 0},
		/* 8 */ {"::/0", false, -EPERM},
		/* 9 */ {"128.0.0.0/1", false, -EPERM},
		/* 10 */ {"2000::/3", false, -EPERM},
		/* 11 */ {"16.0.0.0/7", false, -EPERM},
		/* 12 */ {"16.0.0.0/8", false, 0},
		/* 13 */ {"127.0.0.53", true, -EPERM},
		/* 14 */ {"::1", true, -EPERM},
		/* 15 */ {"169.254.169.254", true, -EPERM},
		/* 16 */ {"169.0.0.0/8", true, -EPERM}, /* holds link-local */
		/* 17 */ {"fe80::/64", true, -EPERM},
		/* 18 */ {"224.0.0.251", true, -EPERM},
		/* 19 */ {"ff02::1", true, -EPERM},
		/* 20 */ {"0.0.0.0/8", true, -EPERM},
		/* 21 */ {"10.0.3.0/24", true, -EPERM}, /* on-link */
		/* 22 */ {"10.0.3.9", true, -EPERM},
		/* 23 */ {"10.0.3.128/25", true, -EPERM},
		/* 24 */ {"10.0.0.0/8", true, -EPERM}, /* covers what is on-link */
		/* 25 */ {"10.0.4.0/24", true, 0},
		/* 26 */ {"2001:db8:1::/48", true, -EPERM},
		/* 27 */ {"2001:db8:2::/48", true, 0},
		/* 28 */ {"100.80.9.9", true, 0},      /* a peer inside eth1's network … */
		/* 29 */ {"100.80.0.5", true, -EPERM}, /* … but not our own address there */
		/* 30 */ {"100.80.9.0/24", true, -EPERM},
		/* 31 */ {"100.64.0.0/10", true, -EPERM},
		/* 32 */ {"100.64.0.1", true, 0},       /* our own link is no obstacle */
		/* 33 */ {"10.0.3.77/9", true, -EPERM}, /* host bits don't hide it */
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix p = prefix_of_text(rows[i].route);
		int r = net_route_check(&p, OURS, &interfaces, rows[i].exit_node, &err);

		if (r != rows[i].code)
			fail_msg("row %zu: %s gave %d", i, rows[i].route, r);
	}
	assert_int_equal(net_route_check(&(struct prefix){0}, OURS, &interfaces, true, &err),
			 -EINVAL);
	assert_int_equal(net_route_check(&(struct prefix){.address.family = ADDRESS_V4, .bits = 33},
					 OURS, &interfaces, true, &err),
			 -EINVAL);
}

static void a_tailnet_gateway_is_no_route(void **state)
{
	struct prefix p = prefix_of_text("100.80.0.1");
	struct error err = {0};

	(void)state;
	interfaces.default_v4 = (struct net_default_route){true, 3, p.address};
	assert_int_equal(net_route_check(&p, OURS, &interfaces, true, &err), -EPERM);
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
		/* 6 */ {"10.0.3.4", -EPERM},      /* 7 */ {"172.20.1.1", 0},
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix p = prefix_of_text(rows[i].address);

		if (net_address_check(&p, OURS, &interfaces, &err) != rows[i].code)
			fail_msg("row %zu: %s", i, rows[i].address);
	}
}

static void a_whole_wish_is_judged(void **state)
{
	static struct prefix routes[LIMIT_NET_ROUTES + 1];
	struct prefix address = prefix_of_text("100.64.0.1");
	const struct net_wanted good = {
		.ifindex = OURS,
		.mtu = 1280,
		.table = 52,
		.addresses = &address,
		.address_count = 1,
		.routes = routes,
		.route_count = 2,
	};
	static struct prefix allowed[LIMIT_NET_ROUTES];
	struct net_wanted wanted = good;
	struct net_verdict verdict;
	struct error err = {0};

	(void)state;
	for (size_t i = 0; i < LIMIT_NET_ROUTES + 1; i++)
		routes[i] = prefix_of_text("100.64.0.9");
	assert_int_equal(net_wanted_check(&wanted, &interfaces, true, allowed, &verdict, &err), 0);
	assert_int_equal(verdict.routes, 2);
	assert_int_equal(verdict.refused, 0);
	/* Routes are left out one by one, and the first is named. */
	wanted.route_count = 4;
	routes[0] = prefix_of_text("127.0.0.1");
	routes[1] = prefix_of_text("100.64.0.10");
	routes[2] = prefix_of_text("224.0.0.1");
	assert_int_equal(net_wanted_check(&wanted, &interfaces, true, allowed, &verdict, &err), 0);
	assert_int_equal(verdict.routes, 2);
	assert_true(prefix_equal(&allowed[0], &routes[1]));
	assert_true(prefix_equal(&allowed[1], &routes[3]));
	assert_int_equal(verdict.refused, 2);
	assert_int_equal(verdict.why.code, -EPERM);
	assert_string_equal(verdict.why.text,
			    "127.0.0.1/32 is or holds a loopback address (127.0.0.0/8)");
	routes[0] = routes[1] = routes[2] = routes[3];
	wanted = good;
	/* An address that is refused refuses all. */
	address = prefix_of_text("127.0.0.1");
	assert_int_equal(net_wanted_check(&wanted, &interfaces, true, allowed, &verdict, &err),
			 -EPERM);
	address = prefix_of_text("100.64.0.1");
	wanted = good;
	wanted.mtu = 1279;
	assert_int_equal(net_wanted_check(&wanted, &interfaces, true, allowed, &verdict, &err),
			 -EINVAL);
	wanted = good;
	wanted.route_count = LIMIT_NET_ROUTES + 1;
	assert_int_equal(net_wanted_check(&wanted, &interfaces, true, allowed, &verdict, &err),
			 -E2BIG);
	wanted = good;
	wanted.address_count = LIMIT_NET_ADDRESSES + 1;
	assert_int_equal(net_wanted_check(&wanted, &interfaces, true, allowed, &verdict, &err),
			 -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(routes_are_judged, set_up),
		cmocka_unit_test_setup(a_tailnet_gateway_is_no_route, set_up),
		cmocka_unit_test_setup(addresses_are_judged, set_up),
		cmocka_unit_test_setup(a_whole_wish_is_judged, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
