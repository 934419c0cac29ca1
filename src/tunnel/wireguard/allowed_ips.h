/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/allowed_ips.h - find the owner of an address, by longest prefix
 *
 * DOC: Theory of operation
 *
 * There is one path-compressed binary trie for each family. A node holds a prefix; its
 * children hold longer prefixes that begin with it and differ in the next bit. A node
 * without an owner exists only as a fork, so there are fewer than two nodes a prefix.
 * Each owner has a list of its nodes: removing an owner's prefixes costs their number,
 * independent of the size of the trie.
 */
#pragma once

#include "base/address.h"

struct allowed_ip;

struct allowed_ips {
	struct allowed_ip *roots[2]; /* IPv4, IPv6 */
};

/* Where the packets to an address go. */
enum allowed_ips_target {
	ALLOWED_IPS_PEER,  /* to a peer, which may send from the address too */
	ALLOWED_IPS_LOCAL, /* to this node itself: its own addresses, and services of its own */
};

/* Embedded in the owner of prefixes; initially zero. */
struct allowed_ips_owner {
	struct allowed_ip *first;
	enum allowed_ips_target target;
};

/**
 * allowed_ips_insert() - Make @owner the owner of @prefix; ignores host bits
 *
 * The owner replaces an earlier one, except that a peer never replaces a local target.
 *
 * Return: 0, -EINVAL (no family, or too many bits), -ENOMEM
 */
int allowed_ips_insert(struct allowed_ips *ips, const struct prefix *prefix,
		       struct allowed_ips_owner *owner);

/** allowed_ips_remove_owner() - Remove all prefixes of @owner */
void allowed_ips_remove_owner(struct allowed_ips *ips, struct allowed_ips_owner *owner);

/** allowed_ips_lookup() - The owner of the longest prefix that holds @address, or NULL */
struct allowed_ips_owner *allowed_ips_lookup(const struct allowed_ips *ips,
					     const struct address *address);
