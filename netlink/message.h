/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/message.h - records to rtnetlink requests
 *
 * Each builder fills a zeroed buffer of NET_REQUEST_SIZE bytes, all but the
 * sequence number.
 */
#pragma once

#include "netlink/reconcile.h"

#include <linux/netlink.h>

/** net_message_change() - The request that makes @change; @mark is that of our sockets */
struct nlmsghdr *net_message_change(void *buffer, const struct net_change *change, uint32_t ifindex,
				    uint32_t table, uint32_t mark);

/** net_message_rule() - Add (@type RTM_NEWRULE) or delete (RTM_DELRULE) exactly @rule */
struct nlmsghdr *net_message_rule(void *buffer, uint16_t type, const struct net_rule *rule);

/** net_message_delete_route() - Delete a route that no longer has, or needs, a link */
struct nlmsghdr *net_message_delete_route(void *buffer, const struct net_route *route);

/** net_message_get_link() - One link, or all with @ifindex 0 */
struct nlmsghdr *net_message_get_link(void *buffer, uint32_t ifindex);

/** net_message_dump_addresses() - Of one link, or all with @ifindex 0; AF_INET or AF_INET6 */
struct nlmsghdr *net_message_dump_addresses(void *buffer, uint8_t family, uint32_t ifindex);

/** net_message_dump_routes() - Of a table; @protocol and @ifindex 0 don't filter */
struct nlmsghdr *net_message_dump_routes(void *buffer, uint8_t family, uint32_t table,
					 uint8_t protocol, uint32_t ifindex);

/** net_message_dump_rules() - All rules of a family */
struct nlmsghdr *net_message_dump_rules(void *buffer, uint8_t family);

/** net_message_lookup() - How a packet to @to of a socket with @mark would be routed */
struct nlmsghdr *net_message_lookup(void *buffer, const struct address *to, uint32_t mark);
