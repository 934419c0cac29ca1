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

/* What net_wanted_check() lets pass. */
struct net_verdict {
	size_t routes;    /* that many */
	size_t refused;   /* and that many not */
	struct error why; /* of the first of these */
};

/**
 * net_wanted_check() - What an engine chooses of a wanted state: MTU, counts, addresses, routes
 * @ret_routes: room for @wanted->route_count: the routes that may be
 *
 * Return: 0, where routes may have been left out; or why there is nothing to apply (one address
 * that is refused refuses all), with @err set
 */
int net_wanted_check(const struct net_wanted *wanted, const struct net_interfaces *interfaces,
		     bool allow_exit_node, struct prefix *ret_routes, struct net_verdict *ret,
		     struct error *err);
