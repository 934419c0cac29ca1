/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/netlink/test_reconcile.c - the difference, against a naive model of the kernel
 *
 * The model is two arrays of flags over a small universe of prefixes, so that random
 * states overlap. The changes are played on it one by one, as the kernel would.
 */
#include "netlink/reconcile.h"
#include "unit/unit.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#define UNIVERSE 48
#define TABLE    52

static struct prefix universe[UNIVERSE];

static void fill_universe(void)
{
	for (unsigned int i = 0; i < UNIVERSE; i++) {
		char text[PREFIX_TEXT_MAX];

		if (i % 3 == 0)
			snprintf(text, sizeof(text), "fd7a:115c:a1e0::%x/%u", i, i % 2 ? 128 : 127);
		else if (i % 3 == 1)
			snprintf(text, sizeof(text), "100.64.%u.0/%u", i, 24 + i % 8);
		else
			snprintf(text, sizeof(text), "100.64.0.%u/32", i);
		assert_int_equal(prefix_parse(text, strlen(text), &universe[i]), 0);
		universe[i] = prefix_mask(&universe[i]);
	}
}

static uint64_t seed = 1;

static unsigned int draw(unsigned int below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned int)(seed >> 33) % below;
}

/* What the kernel has, as the simplest thing that can hold it. */
struct model {
	bool addresses[UNIVERSE], routes[UNIVERSE], rules[NET_RULE_COUNT];
	bool up, generates;
	uint32_t mtu;
};

static unsigned int index_of(const struct prefix *p)
{
	for (unsigned int i = 0; i < UNIVERSE; i++)
		if (prefix_equal(&universe[i], p))
			return i;
	fail_msg("a prefix that nobody asked for");
	return 0;
}

/* play() - One change, with what the kernel would refuse asserted */
static void play(struct model *model, const struct net_change *change)
{
	unsigned int i = 0;

	if (change->kind == NET_ADDRESS_ADD || change->kind == NET_ADDRESS_DELETE ||
	    change->kind == NET_ROUTE_ADD || change->kind == NET_ROUTE_DELETE)
		i = index_of(&change->prefix);
	switch (change->kind) {
	case NET_RULE_ADD:
		assert_false(model->rules[change->rule]);
		model->rules[change->rule] = true;
		break;
	case NET_RULE_DELETE:
		assert_true(model->rules[change->rule]);
		model->rules[change->rule] = false;
		break;
	case NET_LINK_MTU:
		assert_int_not_equal(model->mtu, change->mtu);
		model->mtu = change->mtu;
		break;
	case NET_LINK_GENERATION:
		assert_true(model->generates);
		model->generates = false;
		break;
	case NET_ADDRESS_ADD:
		assert_false(model->addresses[i]);
		model->addresses[i] = true;
		break;
	case NET_ADDRESS_DELETE:
		assert_true(model->addresses[i]);
		model->addresses[i] = false;
		break;
	case NET_ROUTE_ADD:
		assert_true(model->up);
		assert_false(model->routes[i]);
		model->routes[i] = true;
		break;
	case NET_ROUTE_DELETE:
		assert_true(model->routes[i]);
		model->routes[i] = false;
		break;
	case NET_LINK_UP:
		assert_false(model->up);
		model->up = true;
		break;
	case NET_LINK_DOWN:
		assert_true(model->up);
		model->up = false;
		break;
	}
	/* Never a tunnel rule whose bypass doesn't stand. */
	for (unsigned int rule = 0; rule < NET_RULE_COUNT; rule += 4)
		if (model->rules[rule + 3])
			assert_true(model->rules[rule] && model->rules[rule + 1] &&
				    model->rules[rule + 2]);
}

static void have_of(const struct model *model, struct net_have *ret)
{
	*ret = (struct net_have){
		.link.mtu = model->mtu,
		.link.flags = model->up ? IFF_UP : 0,
		.link.address_generation =
			model->generates ? IN6_ADDR_GEN_MODE_RANDOM : IN6_ADDR_GEN_MODE_NONE,
	};
	for (unsigned int n = 0; n < UNIVERSE; n++) {
		unsigned int i = (n * 31 + 7) % UNIVERSE; /* the kernel's order is any */

		if (model->addresses[i])
			assert_int_equal(prefixes_add(&ret->addresses, &universe[i]), 0);
		if (model->routes[i])
			assert_int_equal(prefixes_add(&ret->routes, &universe[i]), 0);
	}
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++)
		ret->rules |= (unsigned int)model->rules[i] << i;
}

static size_t reconcile(struct model *model, const struct net_wanted *wanted, unsigned int without)
{
	struct net_changes changes = {0};
	struct net_have have;
	size_t count;

	have_of(model, &have);
	assert_int_equal(net_reconcile(&have, wanted, without, &changes), 0);
	for (size_t i = 0; i < changes.count; i++) {
		if (i > 0)
			assert_true(changes.list[i].kind >= changes.list[i - 1].kind);
		play(model, &changes.list[i]);
	}
	count = changes.count;
	net_changes_free(&changes);
	net_have_free(&have);
	return count;
}

static void any_state_leads_to_any_other(void **state)
{
	(void)state;
	fill_universe();
	for (unsigned int round = 0; round < 3000; round++) {
		struct prefix addresses[2 * UNIVERSE], routes[2 * UNIVERSE];
		bool want_address[UNIVERSE] = {0}, want_route[UNIVERSE] = {0};
		struct model model = {
			.up = draw(2), .generates = draw(2), .mtu = draw(2) ? 1280 : 1500};
		struct net_wanted wanted = {
			.ifindex = 5,
			.mtu = draw(3) * 1280,
			.up = draw(4) != 0,
			.rules = draw(4) != 0,
			.table = TABLE,
			.addresses.list = addresses,
			.routes.list = routes,
		};
		unsigned int without = draw(4) == 0 ? NET_WARNING_IPV6_OFF : 0;
		unsigned int standing = draw(3); /* rules: none, the first few, all */

		for (unsigned int i = 0; i < UNIVERSE; i++) {
			model.addresses[i] = draw(3) == 0;
			model.routes[i] = model.up && draw(2);
		}
		for (unsigned int i = 0; i < NET_RULE_COUNT; i++)
			model.rules[i] = standing == 2 || (standing == 1 && i % 4 < draw(4));
		if (standing == 1) /* what a lost rule leaves: bypass first is only for adding */
			for (unsigned int i = 0; i < NET_RULE_COUNT; i += 4)
				model.rules[i + 3] = model.rules[i + 1] = model.rules[i + 2] =
					false;
		for (unsigned int n = draw(2 * UNIVERSE); n > 0; n--) {
			unsigned int i = draw(UNIVERSE);
			bool counts = !without || universe[i].address.family == ADDRESS_V4;

			addresses[wanted.addresses.count++] = universe[i];
			want_address[i] = counts;
			i = draw(UNIVERSE);
			counts = !without || universe[i].address.family == ADDRESS_V4;
			routes[wanted.routes.count++] = universe[i];
			want_route[i] = counts && wanted.up;
		}
		reconcile(&model, &wanted, without);
		assert_memory_equal(model.addresses, want_address, sizeof(want_address));
		assert_memory_equal(model.routes, want_route, sizeof(want_route));
		for (unsigned int i = 0; i < NET_RULE_COUNT; i++)
			assert_int_equal(model.rules[i], wanted.rules);
		assert_int_equal(model.up, wanted.up);
		if (wanted.mtu)
			assert_int_equal(model.mtu, wanted.mtu);
		assert_int_equal(reconcile(&model, &wanted, without), 0);
	}
}

static void host_bits_of_a_route_are_ignored(void **state)
{
	struct prefix loose, strict;
	struct net_have have = {.link.flags = IFF_UP,
				.link.address_generation = NET_GENERATION_UNKNOWN};
	struct net_wanted wanted = {.up = true, .routes = {&loose, 1, 1}};
	struct net_changes changes = {0};

	(void)state;
	assert_int_equal(prefix_parse("10.1.2.3/8", 10, &loose), 0);
	assert_int_equal(prefix_parse("10.0.0.0/8", 10, &strict), 0);
	assert_int_equal(prefixes_add(&have.routes, &strict), 0);
	assert_int_equal(net_reconcile(&have, &wanted, 0, &changes), 0);
	assert_int_equal(changes.count, 0);
	net_have_free(&have);
}

static void shared_bypass_rules_stay(void **state)
{
	struct net_have have = {.rules = 0xff, .bypass_shared = true};
	struct net_wanted nothing = {.table = 53};
	struct net_changes changes = {0};

	(void)state;
	assert_int_equal(net_reconcile(&have, &nothing, 0, &changes), 0);
	assert_int_equal(changes.count, 2);
	for (size_t i = 0; i < changes.count; i++) {
		assert_int_equal(changes.list[i].kind, NET_RULE_DELETE);
		assert_int_equal(net_rule_of_ours(changes.list[i].rule, 53, 0).priority,
				 NET_RULE_TUNNEL);
	}
	net_changes_free(&changes);
	assert_int_equal(net_reconcile(&have, &nothing, NET_WARNING_NO_RULES, &changes), 0);
	assert_int_equal(changes.count, 0);
}

static void answers_mean_what_they_mean(void **state)
{
	static const struct prefix v4 = {.address = {.family = ADDRESS_V4}, .bits = 32};
	static const struct prefix v6 = {.address = {.family = ADDRESS_V6}, .bits = 128};
	const struct {
		struct net_change change;
		int code;
		enum net_outcome outcome;
	} rows[] = {
		/* 0 */ {{NET_ROUTE_ADD, .prefix = v4}, 0, NET_OUTCOME_DONE},
		/* 1 */ {{NET_ROUTE_ADD, .prefix = v4}, -EEXIST, NET_OUTCOME_CONFLICT},
		/* 2 */ {{NET_ADDRESS_ADD, .prefix = v4}, -EEXIST, NET_OUTCOME_AGAIN},
		/* 3 */ {{NET_RULE_ADD, .rule = 0}, -EEXIST, NET_OUTCOME_AGAIN},
		/* 4 */ {{NET_ROUTE_DELETE, .prefix = v4}, -ESRCH, NET_OUTCOME_AGAIN},
		/* 5 */ {{NET_ADDRESS_DELETE, .prefix = v4}, -EADDRNOTAVAIL, NET_OUTCOME_AGAIN},
		/* 6 */ {{NET_RULE_DELETE, .rule = 3}, -ENOENT, NET_OUTCOME_AGAIN},
		/* 7 */ {{NET_RULE_ADD, .rule = 3}, -ENOENT, NET_OUTCOME_FAILED},
		/* 8 */ {{NET_ROUTE_ADD, .prefix = v4}, -ENODEV, NET_OUTCOME_AGAIN},
		/* 9 */ {{NET_ROUTE_ADD, .prefix = v4}, -ENETDOWN, NET_OUTCOME_AGAIN},
		/* 10 */ {{NET_ADDRESS_ADD, .prefix = v6}, -EACCES, NET_OUTCOME_NO_IPV6},
		/* 11 */ {{NET_ADDRESS_ADD, .prefix = v6}, -EPERM, NET_OUTCOME_NO_IPV6},
		/* 12 */ {{NET_ADDRESS_ADD, .prefix = v6}, -EOPNOTSUPP, NET_OUTCOME_NO_IPV6},
		/* 13 */ {{NET_ADDRESS_ADD, .prefix = v4}, -EPERM, NET_OUTCOME_FAILED},
		/* 14 */ {{NET_RULE_ADD, .rule = 7}, -EAFNOSUPPORT, NET_OUTCOME_NO_IPV6},
		/* 15 */ {{NET_RULE_ADD, .rule = 7}, -EPERM, NET_OUTCOME_FAILED},
		/* 16 */ {{NET_RULE_ADD, .rule = 2}, -EOPNOTSUPP, NET_OUTCOME_NO_RULES},
		/* 17 */ {{.kind = NET_LINK_GENERATION}, -EINVAL, NET_OUTCOME_IGNORED},
		/* 18 */ {{.kind = NET_LINK_UP}, -EPERM, NET_OUTCOME_FAILED},
		/* 19 */ {{NET_ROUTE_ADD, .prefix = v4}, -EINVAL, NET_OUTCOME_FAILED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (net_outcome_of(&rows[i].change, rows[i].code) != rows[i].outcome)
			fail_msg("row %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_state_leads_to_any_other),
		cmocka_unit_test(host_bits_of_a_route_are_ignored),
		cmocka_unit_test(shared_bypass_rules_stay),
		cmocka_unit_test(answers_mean_what_they_mean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
