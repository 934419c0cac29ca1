/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/obstacle.h - rules of other programs that take our packets
 *
 * The kernel tries rules in order of priority. A rule before ours, of another VPN for example,
 * may take the packets to the tailnet, or those of our own sockets if it selects by their mark.
 */
#pragma once

#include "netlink/netstate.h"
#include "netlink/objects.h"

/** net_rule_takes_mark() - Whether @rule of another program selects packets by a mark, and takes @mark */
bool net_rule_takes_mark(const struct net_rule *rule, uint32_t mark);

/**
 * net_mark_choose() - A mark for our sockets
 * @taken: by mark >> 16: a rule of another program takes it
 *
 * Return: NET_BYPASS_MARK, or another one of NET_MARK_MASK where that is taken; NET_BYPASS_MARK
 * too where all are
 */
uint32_t net_mark_choose(const bool taken[static 256]);

/**
 * netlink_obstacle() - The first rule of another program that misdirects packets
 * @wanted:   applied; the kernel is asked how it routes to the first of its routes
 * @warnings: of the apply: without IPv6 there are no such packets to take
 * @out:      one line for a person that names the rule and the remedy; empty if there is none
 *
 * Return: 0 or negative errno
 */
int netlink_obstacle(struct netlink *nl, const struct net_wanted *wanted, unsigned int warnings,
		     char out[static 256]);
