/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/nft.h - our nftables table: no forged tailnet address comes in by another link
 *
 *	table inet pillion {
 *		chain input {
 *			type filter hook input priority filter; policy accept;
 *			iif != { lo, TUN } fib saddr oif TUN counter drop
 *		}
 *	}
 *
 * A packet whose source address would be answered through the tunnel, but which
 * didn't come out of it, is forged (by a neighbour on the LAN, say). Exact where a
 * blanket drop of 100.64.0.0/10 would cut off networks that really lie there. With a
 * default route into the tunnel every address is answered through it, so then only
 * the tailnet's own ranges are held to it:
 *
 *			iif != { lo, TUN } ip saddr 100.64.0.0/10 fib saddr oif TUN counter drop
 *			iif != { lo, TUN } ip6 saddr fd7a:115c:a1e0::/48 fib saddr oif TUN counter
 *drop
 *
 * Each rule's comment says for which link and form it was made; a table whose
 * comments are right is left alone, any other is replaced in one transaction.
 */
#pragma once

#include "netlink/channel.h"

#include <stdbool.h>

enum net_nft_form {
	NET_NFT_NONE,   /* no table */
	NET_NFT_ALL,    /* every source address that leads into the tunnel */
	NET_NFT_RANGES, /* the tailnet's ranges alone */
};

/** net_nft_table_name() - "pillion", or "pillion-53" for another routing table than the default */
void net_nft_table_name(uint32_t table, char out[static 32]);

/**
 * net_nft_apply() - Make the table of @name what @form says
 * @ifindex: our link
 * @changed: whether something was to do
 *
 * Return: 0, or negative errno: whatever it is, the kernel has no such table now that is wrong
 */
int net_nft_apply(struct net_channel *channel, const char *name, enum net_nft_form form,
		  uint32_t ifindex, bool *changed, struct error *err);

/**
 * net_nft_flush_official() - Empty the chains that a crashed official client left (ts-input,
 * ts-forward, ts-postrouting), whose rules name a link that is gone
 *
 * Return: chains emptied; 0 without nf_tables
 */
unsigned int net_nft_flush_official(struct net_channel *channel);
