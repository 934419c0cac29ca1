/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/check.h - what the supervisor lets an engine ask for
 *
 * The engine parses what strangers send, so its wishes are checked against what a
 * tailnet node can honestly need. A route that would take traffic of this
 * machine's own networks is refused, whoever advertised it.
 */
#pragma once

#include "netlink/interfaces.h"
#include "netlink/netstate.h"

/**
 * net_route_check() - Whether a route may lead into the tunnel
 * @route:           as asked for
 * @ifindex:         our own link, whose addresses are no obstacle
 * @interfaces:      snapshot of this namespace
 * @allow_exit_node: whether routes shorter than /8, the default route among them, are allowed
 * @err:             says which route, and why not
 *
 * Refused: loopback, link-local, multicast; what overlaps an on-link prefix or holds an address
 * of this machine or its gateway. A host route to a tailnet address may lie inside an on-link
 * prefix (pods whose network is in 100.64.0.0/10), but not be such an address. A permitted
 * route shorter than /8 may cover anything.
 *
 * Return: 0, -EINVAL (not a prefix) or -EPERM
 */
int net_route_check(const struct prefix *route, uint32_t ifindex,
		    const struct net_interfaces *interfaces, bool allow_exit_node,
		    struct error *err);

/**
 * net_address_check() - Whether our link may have this address: as net_route_check(), and a host
 * prefix
 */
int net_address_check(const struct prefix *address, uint32_t ifindex,
		      const struct net_interfaces *interfaces, struct error *err);

/**
 * net_wanted_check() - All addresses, all routes, table, MTU and counts of a wanted state
 *
 * Return: 0, or the first refusal
 */
int net_wanted_check(const struct net_wanted *wanted, const struct net_interfaces *interfaces,
		     bool allow_exit_node, struct error *err);
