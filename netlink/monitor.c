/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/monitor.c - notifications of changes of the network and of our own state
 *
 * DOC: Theory of operation
 *
 * Two multicast sockets, rtnetlink's and nf_tables', behind one epoll descriptor. A
 * notification names the socket whose request caused it, which separates our own changes
 * from those of other programs. The monitor keeps of a notification only that something
 * changed: the caller takes a new snapshot, so a lost one (ENOBUFS) costs one snapshot.
 */
#include "netlink/monitor.h"

#include "base/cleanup.h"
#include "netlink/channel.h"
#include "netlink/interfaces.h"
#include "netlink/nft.h"
#include "netlink/reconcile.h"

#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* Datagrams taken in by one call, so that a storm doesn't hold the caller's loop. */
#define DATAGRAMS_A_READ 256

struct net_monitor {
	struct netlink *nl;
	struct net_watch watch;
	struct mnl_socket *route;
	struct mnl_socket *nft; /* NULL in a kernel without nf_tables */
	int epoll;
};

#define LOOK_AGAIN (NET_EVENT_INTERFACES | NET_EVENT_OURS)

static int of_link(const struct net_link *link, bool deleted, bool own,
		   const struct net_watch *watch)
{
	if (link->ifindex != watch->ifindex)
		return NET_EVENT_INTERFACES;
	if (deleted)
		return NET_EVENT_INTERFACES | NET_EVENT_LINK_GONE;
	return own ? NET_EVENT_INTERFACES : LOOK_AGAIN;
}

static int of_route(const struct net_route *route, bool own, const struct net_watch *watch)
{
	if (route->protocol == NET_ROUTE_PROTOCOL && route->table == watch->table)
		return own ? 0 : NET_EVENT_OURS;
	if (route->prefix.bits == 0 &&
	    (route->table == RT_TABLE_MAIN || route->table == RT_TABLE_DEFAULT))
		return NET_EVENT_INTERFACES;
	if (route->prefix.bits <= 1 && route->table != RT_TABLE_MAIN)
		return NET_EVENT_OURS; /* where a rule before ours may lead */
	if (route->table == RT_TABLE_MAIN && route->protocol != NET_ROUTE_PROTOCOL &&
	    watch->ranges && net_ranges_shared(watch->ranges, &route->prefix))
		return NET_EVENT_INTERFACES;
	return 0;
}

static int of_rule(const struct net_rule *rule, const struct net_watch *watch)
{
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++) {
		struct net_rule ours = net_rule_of_ours(i, watch->table, watch->mark);

		if (net_rule_equal(rule, &ours))
			return NET_EVENT_OURS;
	}
	/* A rule of another program before ours may take our packets. */
	return rule->protocol != NET_ROUTE_PROTOCOL && rule->priority < NET_RULE_TUNNEL
		       ? NET_EVENT_OURS
		       : 0;
}

static int of_object(struct nlmsghdr *message, const struct net_watch *watch)
{
	bool own = message->nlmsg_pid == watch->route_portid;
	struct net_object object;
	int r = net_parse(message, &object);

	if (r < 0) /* a family that isn't ours to look at (bridge, multicast routing) is no event */
		return r == -EAFNOSUPPORT ? 0 : LOOK_AGAIN;
	switch (object.kind) {
	case NET_LINK:
		return of_link(&object.link, object.deleted, own, watch);
	case NET_ADDRESS:
		return object.address.ifindex == watch->ifindex && !own ? LOOK_AGAIN
									: NET_EVENT_INTERFACES;
	case NET_ROUTE:
		return of_route(&object.route, own, watch);
	case NET_RULE:
		break;
	}
	return own ? 0 : of_rule(&object.rule, watch);
}

static int of_nft(const struct nlmsghdr *message, const struct net_watch *watch)
{
	char table[64], comment[64];

	switch (message->nlmsg_type) {
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELCHAIN:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE:
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELRULE:
		break;
	default: /* sets, objects, the generation: we have none */
		return 0;
	}
	/* The table's name stands in the same attribute of all of them. */
	static_assert(NFTA_TABLE_NAME == 1 && NFTA_CHAIN_TABLE == 1 && NFTA_RULE_TABLE == 1, "");
	if (message->nlmsg_pid == watch->nft_portid)
		return 0;
	if (net_nft_parse_rule(message, table, comment) < 0)
		return NET_EVENT_OURS;
	return strcmp(table, watch->nft_table) == 0 ? NET_EVENT_OURS : 0;
}

int net_classify(void *data, size_t length, int bus, const struct net_watch *watch)
{
	struct nlmsghdr *message = data;
	int left = (int)length, events = 0;

	for (; nlmsg_ok(message, left); message = nlmsg_next(message, &left))
		events |= bus == NETLINK_NETFILTER ? of_nft(message, watch)
						   : of_object(message, watch);
	return left > 0 ? events | LOOK_AGAIN : events;
}

static int subscribe(int bus, const unsigned int *groups, size_t count, struct mnl_socket **ret)
{
	struct mnl_socket *socket = mnl_socket_open2(bus, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = 0;

	if (!socket)
		return -errno;
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
		r = -errno;
	for (size_t i = 0; r == 0 && i < count; i++)
		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, (void *)&groups[i],
					  sizeof(groups[i])) < 0)
			r = -errno;
	if (r < 0)
		mnl_socket_close(socket);
	else
		*ret = socket;
	return r;
}

static int watch_socket(int epoll, struct mnl_socket *socket)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, mnl_socket_get_fd(socket), &event) < 0 ? -errno : 0;
}

int net_monitor_open(struct netlink *nl, struct net_monitor **ret, struct error *err)
{
	static const unsigned int route_groups[] = {
		RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
		RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,
	};
	static const unsigned int nft_groups[] = {NFNLGRP_NFTABLES};
	struct net_monitor *monitor = calloc(1, sizeof(*monitor));
	int r;

	if (!monitor)
		return error_set_errno(err, -ENOMEM, "network monitor");
	monitor->nl = nl;
	monitor->watch.ranges = &nl->ranges;
	monitor->epoll = epoll_create1(EPOLL_CLOEXEC);
	r = monitor->epoll < 0 ? -errno : 0;
	if (r == 0)
		r = subscribe(NETLINK_ROUTE, route_groups, ARRAY_SIZE(route_groups),
			      &monitor->route);
	if (r == 0)
		r = watch_socket(monitor->epoll, monitor->route);
	if (r == 0 &&
	    subscribe(NETLINK_NETFILTER, nft_groups, ARRAY_SIZE(nft_groups), &monitor->nft) == 0)
		r = watch_socket(monitor->epoll, monitor->nft);
	if (r < 0) {
		net_monitor_close(monitor);
		return error_set_errno(err, r, "watch the network");
	}
	*ret = monitor;
	return 0;
}

struct net_monitor *net_monitor_close(struct net_monitor *monitor)
{
	if (!monitor)
		return NULL;
	if (monitor->route)
		mnl_socket_close(monitor->route);
	if (monitor->nft)
		mnl_socket_close(monitor->nft);
	if (monitor->epoll >= 0)
		close(monitor->epoll);
	free(monitor);
	return NULL;
}

void net_monitor_watch(struct net_monitor *monitor, uint32_t ifindex, uint32_t table)
{
	monitor->watch.ifindex = ifindex;
	monitor->watch.table = table;
	net_nft_table_name(table, monitor->watch.nft_table);
}

int net_monitor_fd(const struct net_monitor *monitor)
{
	return monitor->epoll;
}

/* read_socket() - Events of the queued notifications; negative errno when the socket failed */
static int read_socket(struct mnl_socket *socket, int bus, const struct net_watch *watch)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[NET_RECEIVE_SIZE];
	int events = 0;

	for (int i = 0; i < DATAGRAMS_A_READ; i++) {
		struct sockaddr_nl from = {0};
		socklen_t from_length = sizeof(from);
		ssize_t length = recvfrom(mnl_socket_get_fd(socket), buffer, sizeof(buffer),
					  MSG_DONTWAIT, (struct sockaddr *)&from, &from_length);

		if (length < 0 && errno == EAGAIN)
			return events;
		if (length < 0 && errno == ENOBUFS)
			events |= NET_EVENT_INTERFACES | NET_EVENT_OURS;
		else if (length < 0 && errno != EINTR)
			return -errno;
		else if (length > 0 && from.nl_pid == 0) /* only the kernel is believed */
			events |= net_classify(buffer, (size_t)length, bus, watch);
	}
	return events;
}

int net_monitor_read(struct net_monitor *monitor)
{
	int events, more = 0;

	monitor->watch.mark = monitor->nl->mark;
	monitor->watch.route_portid = monitor->nl->route.portid;
	monitor->watch.nft_portid = monitor->nl->nft.portid;
	events = read_socket(monitor->route, NETLINK_ROUTE, &monitor->watch);
	if (events >= 0 && monitor->nft)
		more = read_socket(monitor->nft, NETLINK_NETFILTER, &monitor->watch);
	return events < 0 ? events : more < 0 ? more : events | more;
}
