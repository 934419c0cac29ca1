/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/netlink/test_route_set.c - a change of a few routes: what judging all of them would
 * say, at a cost that the number of routes doesn't change
 *
 * mnl_socket_sendto() and recvmsg() are replaced at link time: the first notes the requests, the
 * second acknowledges them, or refuses one with an errno. prefix_compare(), by which the table
 * compares, and net_route_check() are counted.
 */
#include "base/limits.h"
#include "netlink/channel.h"
#include "netlink/route_set.h"
#include "unit/unit.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#define OURS     5
#define UNIVERSE 64

static unsigned int compared, checked, messages, bytes;
static unsigned int acknowledged; /* of the batch sent last */
static uint32_t first;
static int refusal; /* of the first request of a batch */

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t length);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
int __real_prefix_compare(const void *left, const void *right);
int __wrap_prefix_compare(const void *left, const void *right);
int __real_net_route_check(const struct prefix *route, uint32_t ifindex,
			   const struct interfaces *interfaces, const struct net_allowed *allowed,
			   struct error *err);
int __wrap_net_route_check(const struct prefix *route, uint32_t ifindex,
			   const struct interfaces *interfaces, const struct net_allowed *allowed,
			   struct error *err);

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t length)
{
	const uint8_t *at = data;

	(void)socket;
	first = ((const struct nlmsghdr *)data)->nlmsg_seq;
	acknowledged = 0;
	for (size_t used = 0; used < length;
	     used += NLMSG_ALIGN(((const struct nlmsghdr *)(at + used))->nlmsg_len))
		messages++;
	bytes += (unsigned int)length;
	return (ssize_t)length;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr body;
	} answer = {
		.header = {.nlmsg_len = sizeof(answer),
			   .nlmsg_type = NLMSG_ERROR,
			   .nlmsg_seq = first + acknowledged},
		.body.error = acknowledged == 0 ? refusal : 0,
	};

	(void)fd;
	(void)flags;
	acknowledged++;
	memcpy(message->msg_iov->iov_base, &answer, sizeof(answer));
	((struct sockaddr_nl *)message->msg_name)->nl_pid = 0;
	message->msg_flags = 0;
	return sizeof(answer);
}

int __wrap_prefix_compare(const void *left, const void *right)
{
	compared++;
	return __real_prefix_compare(left, right);
}

int __wrap_net_route_check(const struct prefix *route, uint32_t ifindex,
			   const struct interfaces *interfaces, const struct net_allowed *allowed,
			   struct error *err)
{
	checked++;
	return __real_net_route_check(route, ifindex, interfaces, allowed, err);
}

static struct interface_address address = {.name = "eth0", .index = 2, .flags = INTERFACE_UP};
static struct interfaces interfaces = {.list = &address, .count = 1};
static struct net_allowed allowed;

static struct prefix prefix_of_text(const char *text)
{
	struct prefix p;

	if (prefix_parse(text, strlen(text), &p) < 0)
		fail_msg("bad test: %s", text);
	return p;
}

static int set_up(void **state)
{
	(void)state;
	address.prefix = prefix_of_text("10.9.0.5/16");
	allowed = (struct net_allowed){0};
	return prefix_set_parse("0.0.0.0/0,::/0", &allowed.routes);
}

static struct prefix number(unsigned int i)
{
	const uint8_t b[4] = {100, (uint8_t)(64 + i / 65536), (uint8_t)(i / 256), (uint8_t)i};

	return (struct prefix){address_v4(b), 32};
}

/* universe() - Single addresses, subnets, refused ones, public ones, and halves of everything */
static struct prefix universe(unsigned int i)
{
	char text[PREFIX_TEXT_MAX];

	if (i == 0)
		return prefix_of_text("fd7a:115c:a1e0::/48");
	if (i == 1)
		return prefix_of_text("::/1");
	if (i < 8)
		snprintf(text, sizeof(text), "10.%u.0.0/16", 4 + i); /* one overlaps eth0's */
	else if (i < 12)
		snprintf(text, sizeof(text), "%u.0.0.0/9", 20 + i); /* two are a /8 */
	else
		snprintf(text, sizeof(text), "100.64.0.%u/32", i);
	return prefix_of_text(text);
}

static uint64_t seed = 1;

static unsigned int draw(unsigned int below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned int)(seed >> 33) % below;
}

/* judged() - What judging all of @asked allows, in order */
static void judged(const struct prefixes *asked, struct prefixes *ret)
{
	struct net_wanted wanted = {.ifindex = OURS};
	struct net_verdict verdict;
	struct error err = {0};

	for (size_t i = 0; i < asked->count; i++)
		assert_int_equal(prefixes_add(&wanted.routes, &asked->list[i]), 0);
	assert_int_equal(net_wanted_check(&wanted, &interfaces, &allowed, &verdict, &err), 0);
	*ret = wanted.routes;
	prefixes_unite(ret);
}

static void assert_same(struct prefixes *a, const struct prefixes *b)
{
	prefixes_unite(a);
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++)
		assert_int_equal(prefix_compare(&a->list[i], &b->list[i]), 0);
}

/* The supervisor collects the routes of a request in one set and then copies it over another. */
static void a_copied_set_forgets_what_goes(void **state)
{
	struct prefix prefixes[] = {number(1), number(2)};
	const struct prefixes both = {.list = prefixes, .count = 2},
			      last = {.list = prefixes + 1, .count = 1}, none = {0};
	struct net_route_set from = {0}, set;
	struct prefixes come = {0}, go = {0}, asked = {0};
	struct error err = {0};

	(void)state;
	assert_in_range(net_route_set_change(&from, &both, &none, OURS, &interfaces, &allowed,
					     &come, &go, &err),
			0, 1);
	set = from;
	memset(&from, 0xa5, sizeof(from));
	assert_in_range(net_route_set_change(&set, &none, &last, OURS, &interfaces, &allowed, &come,
					     &go, &err),
			0, 1);
	assert_int_equal(net_route_set_list(&set, false, &asked), 0);
	assert_int_equal(asked.count, 1);
	net_route_set_free(&set);
	prefixes_free(&asked);
	prefixes_free(&come);
	prefixes_free(&go);
}

/* A plain change leads to what judging all says; and says to the kernel what that changes. */
static void changes_lead_where_judging_all_does(void **state)
{
	struct net_route_set set = {0};
	struct prefixes kernel = {0};
	unsigned int plain = 0;

	(void)state;
	for (unsigned int round = 0; round < 5000; round++) {
		struct prefix lists[2][4];
		struct prefixes added = {.list = lists[0]}, gone = {.list = lists[1]}, swap;
		struct prefixes come = {0}, go = {0}, asked = {0}, right = {0}, has = {0};
		struct error err = {0};
		int r;

		allowed.exit_node = round / 500 % 2 == 1;
		if (round % 500 == 0) { /* what is public is judged anew */
			net_route_set_free(&set);
			kernel.count = 0;
		}
		/* Routes that come and go are not the same: which would win is nobody's to know. */
		while (added.count < draw(4))
			added.list[added.count++] = universe(draw(UNIVERSE / 2) * 2);
		while (gone.count < draw(4))
			gone.list[gone.count++] = universe(draw(UNIVERSE / 2) * 2 + 1);
		if (draw(2)) {
			swap = added;
			added = gone;
			gone = swap;
		}
		r = net_route_set_change(&set, &added, &gone, OURS, &interfaces, &allowed, &come,
					 &go, &err);
		assert_in_range(r, 0, 1);
		assert_int_equal(net_route_set_list(&set, false, &asked), 0);
		judged(&asked, &right);
		if (r == 1) {
			plain++;
			for (size_t i = 0; i < come.count; i++)
				assert_int_equal(prefixes_add(&kernel, &come.list[i]), 0);
			for (size_t i = 0; i < go.count; i++) {
				size_t at = 0;

				while (!prefix_equal(&kernel.list[at], &go.list[i]))
					at++;
				kernel.list[at] = kernel.list[--kernel.count];
			}
		} else {
			net_route_set_judge(&set, &right);
			kernel.count = 0;
			for (size_t i = 0; i < right.count; i++)
				assert_int_equal(prefixes_add(&kernel, &right.list[i]), 0);
		}
		assert_int_equal(net_route_set_list(&set, true, &has), 0);
		assert_same(&has, &right);
		assert_same(&kernel, &right);
		assert_int_equal(set.allowed_v4 + set.allowed_v6, right.count);
		prefixes_free(&come);
		prefixes_free(&go);
		prefixes_free(&asked);
		prefixes_free(&right);
		prefixes_free(&has);
	}
	assert_true(plain > 1000);
	prefixes_free(&kernel);
	net_route_set_free(&set);
}

static int change(struct net_route_set *set, const struct prefix *added, const struct prefix *gone,
		  struct prefixes *come, struct prefixes *go)
{
	const struct prefixes in = {(struct prefix *)added, added != NULL, 0};
	const struct prefixes out = {(struct prefix *)gone, gone != NULL, 0};
	struct error err = {0};

	return net_route_set_change(set, &in, &out, OURS, &interfaces, &allowed, come, go, &err);
}

/* One route of 10,000 costs what one of 10 does, to the messages for the kernel. */
static void a_delta_costs_what_it_changes(void **state)
{
	static const unsigned int sizes[] = {10, 10000};
	const struct net_wanted wanted = {.ifindex = OURS, .table = NET_TABLE_DEFAULT};
	unsigned int cost[2][4];

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct netlink nl = {.route.bus = NETLINK_ROUTE};
		struct prefixes all = {0}, come = {0}, go = {0};
		struct net_route_set set = {0};
		unsigned int changes;

		for (unsigned int at = 0; at < sizes[i]; at++) {
			struct prefix p = number(at);

			assert_int_equal(prefixes_add(&all, &p), 0);
			assert_int_equal(change(&set, &p, NULL, &come, &go), 0);
		}
		net_route_set_judge(&set, &all);
		compared = checked = messages = bytes = 0;
		for (unsigned int round = 0; round < 100; round++) {
			struct prefix p = number(20000 + round), before = number(round % 10);

			come.count = go.count = 0;
			assert_int_equal(change(&set, &p, &before, &come, &go), 1);
			assert_int_equal(
				netlink_change_routes(&nl, &wanted, 0, &come, &go, &changes), 0);
			assert_int_equal(changes, 2);
			come.count = go.count = 0;
			assert_int_equal(change(&set, &before, &p, &come, &go), 1);
		}
		assert_int_equal(set.asked.count, sizes[i]);
		cost[i][0] = checked;
		cost[i][1] = messages;
		cost[i][2] = bytes;
		cost[i][3] = compared;
		net_channel_close(&nl.route);
		prefixes_free(&all);
		prefixes_free(&come);
		prefixes_free(&go);
		net_route_set_free(&set);
	}
	for (unsigned int what = 0; what < 3; what++)
		assert_int_equal(cost[0][what], cost[1][what]);
	assert_int_equal(cost[0][0], 200);
	assert_int_equal(cost[0][1], 200);
	/* Places of the tree that are looked at: a few times its height, never thousands. */
	assert_in_range(cost[1][3], 0, 20 * 600);
}

static void a_refused_change_asks_for_the_whole(void **state)
{
	const struct net_wanted wanted = {.ifindex = OURS, .table = NET_TABLE_DEFAULT};
	struct netlink nl = {.route.bus = NETLINK_ROUTE};
	struct prefix v4 = number(1), v6 = prefix_of_text("fd7a:115c:a1e0::/48");
	struct prefixes both[2] = {0}, none = {0};
	unsigned int changes;

	(void)state;
	assert_int_equal(prefixes_add(&both[0], &v4), 0);
	assert_int_equal(prefixes_add(&both[0], &v6), 0);
	for (size_t i = 0; i < 2; i++) {
		static const int codes[] = {-EEXIST, -ENODEV, -EPERM, -ENOBUFS};

		for (size_t j = 0; j < sizeof(codes) / sizeof(codes[0]); j++) {
			refusal = codes[j];
			assert_true(netlink_change_routes(&nl, &wanted, 0, i ? &none : &both[0],
							  i ? &both[0] : &none, &changes) < 0);
		}
	}
	refusal = 0;
	messages = 0;
	/* Without IPv6 its routes are not there; new ones show whether it came back. */
	assert_int_equal(netlink_change_routes(&nl, &wanted, NET_WARNING_IPV6_OFF, &none, &both[0],
					       &changes),
			 0);
	assert_int_equal(messages, 1);
	assert_int_equal(netlink_change_routes(&nl, &wanted, NET_WARNING_IPV6_OFF, &both[0], &none,
					       &changes),
			 -EAGAIN);
	assert_int_equal(prefixes_add(&both[1], &v6), 0);
	refusal = -EACCES;
	assert_int_equal(netlink_change_routes(&nl, &wanted, NET_WARNING_IPV6_OFF, &both[1],
					       &both[0], &changes),
			 0);
	refusal = 0;
	net_channel_close(&nl.route);
	prefixes_free(&both[0]);
	prefixes_free(&both[1]);
}

static void the_set_is_bounded(void **state)
{
	struct prefix *many = calloc(LIMIT_NET_ROUTES + 1, sizeof(*many));
	struct prefixes come = {0}, go = {0};
	struct net_route_set set = {0};
	struct prefixes added = {.list = many, .count = LIMIT_NET_ROUTES + 1}, gone = {0};
	struct error err = {0};

	(void)state;
	assert_non_null(many);
	for (unsigned int i = 0; i <= LIMIT_NET_ROUTES; i++)
		many[i] = number(i);
	assert_int_equal(net_route_set_change(&set, &added, &gone, OURS, &interfaces, &allowed,
					      &come, &go, &err),
			 -E2BIG);
	assert_int_equal(set.asked.count, 0);
	added.count--;
	assert_in_range(net_route_set_change(&set, &added, &gone, OURS, &interfaces, &allowed,
					     &come, &go, &err),
			0, 1);
	assert_int_equal(set.asked.count, LIMIT_NET_ROUTES);
	/* Routes that go make no room, and a refused change leaves them in. */
	added = (struct prefixes){.list = &many[LIMIT_NET_ROUTES], .count = 1};
	gone = (struct prefixes){.list = many, .count = 1};
	assert_int_equal(net_route_set_change(&set, &added, &gone, OURS, &interfaces, &allowed,
					      &come, &go, &err),
			 -E2BIG);
	assert_int_equal(set.asked.count, LIMIT_NET_ROUTES);
	net_route_set_free(&set);
	prefixes_free(&come);
	prefixes_free(&go);
	free(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_copied_set_forgets_what_goes, set_up),
		cmocka_unit_test_setup(changes_lead_where_judging_all_does, set_up),
		cmocka_unit_test_setup(a_delta_costs_what_it_changes, set_up),
		cmocka_unit_test_setup(a_refused_change_asks_for_the_whole, set_up),
		cmocka_unit_test_setup(the_set_is_bounded, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
