/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/nft.h - our nftables table: no forged tailnet address comes in by another link
 *
 *	table inet pillion {
 *		chain input {
 *			type filter hook input priority filter; policy accept;
 *			socket mark & 0xff0000 == 0x80000 accept
 *			iif != { lo, TUN } fib saddr oif TUN counter drop
 *			ct state established,related accept
 *			iif != { lo, TUN } ip saddr 100.64.0.0/10 counter drop
 *			iif != { lo, TUN } ip6 saddr fd7a:115c:a1e0::/48 counter drop
 *		}
 *		chain output {
 *			type nat hook output priority dstnat; policy accept;
 *			ip daddr OWN tcp dport SERVED dnat ip to OWN:HIGH
 *			ip6 daddr OWN tcp dport SERVED dnat ip6 to [OWN]:HIGH
 *		}
 *	}
 *
 * A packet whose source address would be answered through the tunnel, but which
 * didn't come out of it, is forged (by a neighbour on the LAN, say). The first rule is
 * for our own sockets: their servers and peers (control, relays, name servers) may have an
 * address that a route into the tunnel covers, and each protocol authenticates them.
 *
 * The last rules are for addresses of the tailnet that no peer has. A range is dropped
 * as a whole only where this machine has no network of its own inside of it; a server in
 * the range that the app asks (a cloud's name server) still answers, by the rule before.
 *
 * With a default route into the tunnel every address is answered through it, so then
 * the rule covers the tailnet's own ranges alone:
 *
 *			iif != { lo, TUN } ip saddr 100.64.0.0/10 fib saddr oif TUN counter drop
 *
 * The chain `output` exists only while ports are served. It leads this machine's own connections to
 * a served port to the service, as the packet path does for peers: such packets stay on the loopback
 * link and never enter the TUN.
 *
 * Each rule's comment has a hash of the state that it was made for. A table with the right
 * comments stays; any other is replaced in one transaction.
 */
#pragma once

#include "base/address.h"
#include "netlink/channel.h"
#include "netlink/netstate.h"

#include <stdbool.h>

/**
 * struct net_nft_wanted - The contents of the table
 * @ifindex: our link
 * @mark:    of our sockets, within NET_MARK_MASK
 * @all:     every source address that leads into the tunnel is held to it; else those in @ranges
 * @ranges:  of tailnet addresses
 * @whole:   of these, by bit: no packet from there comes by another link
 * @diverts: served ports, @divert_count of them
 */
struct net_nft_wanted {
	uint32_t ifindex;
	uint32_t mark;
	bool all;
	struct prefix_set ranges;
	uint32_t whole;
	const struct net_divert *diverts;
	size_t divert_count;
};

/* Rules that need what an old kernel may lack; they are left out there. */
enum net_nft_part {
	NET_NFT_OWN_SOCKETS = 1 << 0, /* nft_socket */
	NET_NFT_WHOLE = 1 << 1,       /* nft_ct */
	NET_NFT_DIVERTS = 1 << 2,     /* nf_nat, nft_nat; for the family inet since Linux 5.2 */
	NET_NFT_PARTS = NET_NFT_OWN_SOCKETS | NET_NFT_WHOLE | NET_NFT_DIVERTS,
};

/** net_nft_table_name() - "pillion", or "pillion-53" for another routing table than the default */
void net_nft_table_name(uint32_t table, char out[static 32]);

/**
 * net_nft_apply() - Bring the table @name to the wanted contents
 * @wanted:    NULL: there is no such table
 * @changed:   whether something was to do
 * @ret_parts: bits of enum net_nft_part that this kernel has
 *
 * Return: 0, or negative errno: whatever it is, the kernel has no such table now that is wrong
 */
int net_nft_apply(struct net_channel *channel, const char *name,
		  const struct net_nft_wanted *wanted, bool *changed, unsigned int *ret_parts,
		  struct error *err);

/**
 * net_nft_flush_official() - Empty the chains that a crashed official client left (ts-input,
 * ts-forward, ts-postrouting), whose rules name a link that is gone
 *
 * Return: chains emptied; 0 without nf_tables
 */
unsigned int net_nft_flush_official(struct net_channel *channel);

/**
 * net_nft_parse_rule() - Table and comment of NFT_MSG_NEWRULE and its like
 * @ret_table:   name; empty if the message has none
 * @ret_comment: the comment that nft would show; empty if there is none
 *
 * Return: 0 or -EBADMSG
 */
int net_nft_parse_rule(const struct nlmsghdr *message, char ret_table[static 64],
		       char ret_comment[static 64]);
