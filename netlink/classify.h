/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/classify.h - what a notification means to us
 */
#pragma once

#include "base/address.h"

#include <stddef.h>
#include <stdint.h>

/* What is ours, and by which sockets we change it. */
struct net_watch {
	uint32_t ifindex; /* 0: none yet */
	uint32_t table;
	uint32_t mark;
	char nft_table[32];
	const struct prefix_set *ranges; /* of tailnet addresses; NULL: none */
	uint32_t route_portid;
	uint32_t nft_portid;
};

/**
 * net_classify() - Bits of enum net_event in one datagram of notifications
 * @bus: NETLINK_ROUTE or NETLINK_NETFILTER
 *
 * Pure. A datagram that can't be read counts as a loss: look again.
 */
int net_classify(const void *data, size_t length, int bus, const struct net_watch *watch);
