/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/interfaces.h - the addresses and default routes of this namespace
 *
 * What the engine may know of the network without a right to ask the kernel: the
 * supervisor takes a snapshot at start and at each NET_EVENT_INTERFACES of the
 * monitor, and hands it over.
 */
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "netlink/netstate.h"

#include <net/if.h>

enum net_interface_flags {
	NET_INTERFACE_UP = 1 << 0, /* administratively up, with a carrier */
	NET_INTERFACE_LOOPBACK = 1 << 1,
	NET_INTERFACE_POINT_TO_POINT = 1 << 2,
	NET_INTERFACE_DEPRECATED = 1 << 3, /* address: not for new connections */
	NET_INTERFACE_TEMPORARY = 1 << 4,  /* address: RFC 8981 */
	NET_INTERFACE_TENTATIVE = 1 << 5,  /* address: duplicate detection not done, or failed */
};

/* One address of one link. */
struct net_interface {
	uint32_t ifindex;
	char name[IFNAMSIZ];
	struct prefix prefix; /* the address with the length of its on-link prefix */
	uint32_t flags;       /* enum net_interface_flags, of link and address */
};

/* Where a marked socket's packets to the internet go. */
struct net_default_route {
	bool present;
	uint32_t ifindex;
	struct address gateway; /* ADDRESS_NONE on a link without one */
};

struct net_interfaces {
	struct net_interface *list; /* sorted by ifindex, family, address */
	size_t count;
	size_t omitted;         /* beyond LIMIT_NET_INTERFACES */
	uint32_t routed_ranges; /* of the tailnet's, by bit: another's route shares addresses */
	struct net_default_route default_v4;
	struct net_default_route default_v6;
};

/**
 * net_interfaces_read() - Take a snapshot
 * @ret: caller ends it by net_interfaces_free()
 *
 * The default routes are asked for as the kernel would route (a lookup with the bypass mark; no
 * packet is sent), so that it costs the same with a million routes, and rules count.
 *
 * Return: 0 or negative errno
 */
int net_interfaces_read(struct netlink *nl, struct net_interfaces *ret, struct error *err);

/** net_ranges_shared() - Those of @ranges, by bit, with addresses of @p; no default route has any
 */
uint32_t net_ranges_shared(const struct prefix_set *ranges, const struct prefix *p);

/**
 * net_ranges_alone() - The tailnet's ranges, by bit, that only the tailnet has addresses in
 * @ifindex: our link
 *
 * No other link of @interfaces has an address there, nor does a route of this machine lead there,
 * but for a default route.
 */
uint32_t net_ranges_alone(const struct netlink *nl, uint32_t ifindex,
			  const struct net_interfaces *interfaces);

/** net_interfaces_free() - Release; @interfaces is empty and valid after it */
void net_interfaces_free(struct net_interfaces *interfaces);

/** net_interfaces_equal() - Whether two snapshots say the same */
bool net_interfaces_equal(const struct net_interfaces *a, const struct net_interfaces *b);
