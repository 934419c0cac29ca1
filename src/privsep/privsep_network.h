/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/privsep_network.h - the network state wanted, and the network state seen
 *
 * The engine sends the addresses and routes that our link needs; the supervisor, which alone
 * may use netlink, sets them and reports. The supervisor sends a snapshot of the machine's
 * other addresses and its default routes, at the start and at each change. Both
 * travel as counted records in a sealed memfd (privsep/records.h), capped per kind.
 */
#pragma once

#include "base/buffer.h"
#include "base/interfaces.h"
#include "base/prefixes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETWORK_ADDRESSES_MAX 16u
#define NETWORK_ROUTES_MAX    (256u * 1024) /* two host routes a peer and what peers advertise */
#define INTERFACES_MAX        256u          /* addresses in a snapshot */

/**
 * struct privsep_network - The network state that the engine needs; lists belong to the caller
 *
 * The first request of an engine has all routes, and so has the next one after a failure.
 * Other requests are deltas, with the routes to add and to remove.
 */
struct privsep_network {
	bool up;                   /* false: link down, no addresses, routes or rules */
	bool netfilter;            /* the input chain against forged tailnet sources */
	bool share_ranges;         /* tailnet addresses of no peer may come by other links */
	uint32_t mtu;              /* 0: as the start configuration says */
	struct prefixes addresses; /* own tailnet addresses, /32 and /128 */
	bool delta;                /* add @routes and remove @gone; false: @routes are all */
	uint32_t number; /* of the request; a delta follows the one that has the number before */
	struct prefixes routes; /* to peers, in our table */
	struct prefixes gone;
};

/** privsep_network_encode(), privsep_network_decode() - 0, -EMSGSIZE past a cap, -EBADMSG, -ENOMEM
 *
 * privsep_network_free() frees the lists of a decoded network. Host bits set, families and lengths
 * out of range are refused.
 */
int privsep_network_encode(const struct privsep_network *network, struct buffer *out);
int privsep_network_decode(const void *bytes, size_t length, struct privsep_network *ret);
void privsep_network_free(struct privsep_network *network);

/**
 * privsep_interfaces_encode() - As records; at most INTERFACES_MAX addresses
 * @without: index of our own TUN, whose addresses are left out
 *
 * Return: 0 or -ENOMEM
 */
int privsep_interfaces_encode(const struct interfaces *interfaces, uint32_t without,
			      struct buffer *out);

/** privsep_interfaces_decode() - For interfaces_free(); 0, -EMSGSIZE past a cap, -EBADMSG, -ENOMEM */
int privsep_interfaces_decode(const void *bytes, size_t length, struct interfaces *ret);
