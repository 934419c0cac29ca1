/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/check.h - which addresses and routes an engine may request
 *
 * The engine parses bytes from strangers, so the supervisor checks its requests against the
 * needs of an honest tailnet node. It refuses a route that would take traffic of this machine's
 * own networks, whichever peer advertised it.
 */
#pragma once

#include "netlink/interfaces.h"
#include "netlink/netstate.h"

/**
 * net_route_check() - Whether a route by itself may lead into the tunnel
 * @route:      as asked for
 * @ifindex:    our own link, whose addresses are no obstacle
 * @interfaces: snapshot of this namespace
 * @allowed:    by the start
 * @err:        says which route, and why not
 *
 * Always allowed are one tailnet address and fd7a:115c:a1e0::/48; then routes that lie in
 * @allowed->routes; and with @allowed->exit_node a default route or one half of it. A route that is
 * no such half is refused if it holds loopback, link-local or multicast addresses, an address of
 * this machine or its gateway, or if it overlaps an on-link prefix. A tailnet address may lie
 * inside an on-link prefix (pods whose network is in 100.64.0.0/10), but not be such an address.
 *
 * Return: 0, -EINVAL (not a prefix) or -EPERM
 */
int net_route_check(const struct prefix *route, uint32_t ifindex,
		    const struct interfaces *interfaces, const struct net_allowed *allowed,
		    struct error *err);

/**
 * net_route_is_plain() - Whether net_route_check() alone decides about a route
 *
 * Not about a default route or half of one, and without @allowed->exit_node not about public
 * addresses, which are judged together by net_wanted_check().
 */
bool net_route_is_plain(const struct prefix *route, const struct net_allowed *allowed);

/**
 * net_address_check() - Whether our link may have this address: one of the tailnet's, and none of
 * this machine's
 */
int net_address_check(const struct prefix *address, uint32_t ifindex,
		      const struct interfaces *interfaces, const struct net_allowed *allowed,
		      struct error *err);

/* The result of net_wanted_check(). */
struct net_verdict {
	size_t refused;   /* addresses and routes that were not allowed */
	struct error why; /* of the first of these */
};

/**
 * net_wanted_check() - Judge the parts of a wanted state that an engine chooses: MTU, addresses,
 * routes and their number; those that are not allowed are taken out of @wanted
 *
 * Each is judged by itself, and then the routes as a set: without @allowed->exit_node those to
 * public addresses are all refused where together they hold more than a /8 of IPv4 or a /20 of
 * IPv6, so that many short ones are no default route.
 *
 * Return: 0, also where some were taken out; or why there is nothing to apply, with @err set
 */
int net_wanted_check(struct net_wanted *wanted, const struct interfaces *interfaces,
		     const struct net_allowed *allowed, struct net_verdict *ret, struct error *err);
