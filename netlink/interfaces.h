/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/interfaces.h - the addresses and default routes of this namespace
 *
 * The engine has no right to ask the kernel. The supervisor takes a snapshot at the start
 * and at each NET_EVENT_INTERFACES of the monitor, and sends it to the engine.
 */
#pragma once

#include "base/error.h"
#include "base/interfaces.h"
#include "netlink/netstate.h"

/**
 * net_interfaces_read() - Take a snapshot
 * @ret: sorted by index, family and address, at most LIMIT_NET_INTERFACES of them; caller ends it
 *       by interfaces_free()
 *
 * The default routes are asked for as the kernel would route (a lookup with the bypass mark; no
 * packet is sent), so that it costs the same with a million routes, and rules count.
 *
 * Return: 0 or negative errno
 */
int net_interfaces_read(struct netlink *nl, struct interfaces *ret, struct error *err);

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
			  const struct interfaces *interfaces);

/** net_interfaces_equal() - Whether two snapshots are equal */
bool net_interfaces_equal(const struct interfaces *a, const struct interfaces *b);
