/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/route_set.h - the routes that an engine requests, and which of them are allowed; pure
 *
 * Both are kept: a route that is refused today may be allowed once the networks of this machine
 * are others. A change of a few routes is judged by itself if its routes are plain: each allowed
 * without looking at the others. Others need a look at the whole: a default route (the nft rules
 * depend on it), routes to public addresses (judged together), refused ones (the first is named),
 * the first and the last of a family (they show whether another program's rule takes the packets).
 */
#pragma once

#include "base/prefixes.h"
#include "netlink/check.h"

/** struct net_route_set - A zeroed one is empty and valid */
struct net_route_set {
	struct prefix_table asked; /* value: 1 if allowed */
	size_t allowed_v4, allowed_v6;
};

/** net_route_set_change() - Take a change into the set
 * @added, @gone: to add a present route, or to remove an absent one, is no error
 * @ifindex, @interfaces, @allowed: as for net_route_check()
 * @ret_added, @ret_gone: empty lists, to which the routes are appended that the kernel has to
 *                        add and remove, if the change is plain
 *
 * Return: 1 if the change is plain; 0 if the whole must be judged again, until when the new routes
 * count as refused; -E2BIG past LIMIT_NET_ROUTES (with those to remove), and nothing is taken in;
 * -ENOMEM, when a part of it was taken in
 */
int net_route_set_change(struct net_route_set *set, const struct prefixes *added,
			 const struct prefixes *gone, uint32_t ifindex,
			 const struct interfaces *interfaces, const struct net_allowed *allowed,
			 struct prefixes *ret_added, struct prefixes *ret_gone, struct error *err);

/** net_route_set_list() - Append the routes to @ret, all or the allowed ones; 0 or -ENOMEM */
int net_route_set_list(const struct net_route_set *set, bool allowed_only, struct prefixes *ret);

/** net_route_set_judge() - Of the set, @routes are allowed and no other */
void net_route_set_judge(struct net_route_set *set, const struct prefixes *routes);

void net_route_set_free(struct net_route_set *set);
