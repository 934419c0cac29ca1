/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/dump.h - walk what the kernel has, IPv4 first, then IPv6
 *
 * A family that the kernel lacks is empty. Filtered by the kernel where it can; kernels
 * that can't give more, so @each looks again.
 *
 * Return, of each: 0; -EINTR, -ENOBUFS: dump again; other negative errno with @err set
 */
#pragma once

#include "netlink/channel.h"

/* Each takes one record; a negative errno ends the walk. */
typedef int net_link_fn(const struct net_link *link, void *context);
typedef int net_address_fn(const struct net_address *address, void *context);
typedef int net_route_fn(const struct net_route *route, void *context);
typedef int net_rule_fn(const struct net_rule *rule, void *context);

/* Families that the kernel lacks, as bits. */
#define NET_LACKS_IPV4 (1u << 0)
#define NET_LACKS_IPV6 (1u << 1)

/** net_dump_links() - Link @ifindex, or with 0 all; -ENODEV when there is no such one */
int net_dump_links(struct net_channel *channel, uint32_t ifindex, net_link_fn *each, void *context,
		   struct error *err);

/** net_dump_addresses() - Of link @ifindex, or with 0 of all; a link without IPv6 has none */
int net_dump_addresses(struct net_channel *channel, uint32_t ifindex, net_address_fn *each,
		       void *context, struct error *err);

/** net_dump_routes() - Of @table, @protocol and link, each 0 for any; no such table is empty */
int net_dump_routes(struct net_channel *channel, uint32_t table, uint8_t protocol, uint32_t ifindex,
		    net_route_fn *each, void *context, struct error *err);

/** net_dump_rules() - @ret_lacks: bits of NET_LACKS_…, or NULL */
int net_dump_rules(struct net_channel *channel, net_rule_fn *each, void *context,
		   unsigned int *ret_lacks, struct error *err);
