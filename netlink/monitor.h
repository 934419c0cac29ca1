/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/monitor.h - notifications of changes of the network and of our own state
 *
 *	events = net_monitor_read(monitor);
 *	if (events & NET_EVENT_INTERFACES)
 *		net_interfaces_read(…), and send the snapshot to the engine
 *	if (events & NET_EVENT_OURS)
 *		netlink_apply(…) again, not too often
 */
#pragma once

#include "base/error.h"
#include "netlink/netstate.h"

struct net_monitor;

enum net_event {
	NET_EVENT_INTERFACES = 1 << 0, /* addresses, links or default routes changed */
	NET_EVENT_OURS =
		1
		<< 1, /* another program changed our link, addresses, rules, routes or nft table */
	NET_EVENT_LINK_GONE =
		1 << 2, /* our link was deleted: its queues are dead, make a new one */
};

/**
 * net_monitor_open() - Subscribe
 * @nl:  handle whose own changes are not reported; must outlive the monitor
 * @ret: monitor
 *
 * Return: 0 or negative errno
 */
int net_monitor_open(struct netlink *nl, struct net_monitor **ret, struct error *err);

/** net_monitor_close() - Takes NULL, returns NULL */
struct net_monitor *net_monitor_close(struct net_monitor *monitor);

/** net_monitor_watch() - Which link and table are ours; 0 and 0: none yet */
void net_monitor_watch(struct net_monitor *monitor, uint32_t ifindex, uint32_t table);

/** net_monitor_fd() - Readable when net_monitor_read() has something; stays the monitor's */
int net_monitor_fd(const struct net_monitor *monitor);

/**
 * net_monitor_read() - Read all queued notifications, without blocking
 *
 * Lost notifications (ENOBUFS) count as every event but NET_EVENT_LINK_GONE: look again.
 *
 * Return: bits of enum net_event, or negative errno when the socket itself failed
 */
int net_monitor_read(struct net_monitor *monitor);

/* Our link, tables and mark, and the sockets by which we change them. */
struct net_watch {
	uint32_t ifindex; /* 0: none yet */
	uint32_t table;
	uint32_t mark;
	char nft_table[32];
	const struct prefix_set *ranges; /* of tailnet addresses; NULL: none */
	uint32_t route_portid;
	uint32_t nft_portid;
};

/**
 * net_classify() - Bits of enum net_event in one datagram of notifications
 * @bus:  NETLINK_ROUTE or NETLINK_NETFILTER
 * @data: aligned as struct nlmsghdr
 *
 * Pure. A datagram that can't be read counts as a loss: look again.
 */
int net_classify(void *data, size_t length, int bus, const struct net_watch *watch);
