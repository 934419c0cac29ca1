/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/allowed_ips.h - from an address to its owner, by longest prefix
 *
 * DOC: Theory of operation
 *
 * One path-compressed binary trie a family. A node holds a prefix; its children hold
 * longer ones that begin with it and differ in the next bit. A node without an owner
 * exists only where two children part, so there are fewer than two nodes a prefix.
 * Each owner has a list of its nodes: taking all of an owner's prefixes away costs
 * their number, whatever the size of the trie.
 */
#pragma once

#include "base/address.h"

struct allowed_ip;

struct allowed_ips {
	struct allowed_ip *roots[2]; /* IPv4, IPv6 */
};

/* Embedded in whatever owns prefixes; zeroed at first. */
struct allowed_ips_owner {
	struct allowed_ip *first;
};

/**
 * allowed_ips_insert() - @prefix leads to @owner, whoever it led to before; host bits are ignored
 *
 * Return: 0, -EINVAL (no family, or too many bits), -ENOMEM
 */
int allowed_ips_insert(struct allowed_ips *ips, const struct prefix *prefix,
		       struct allowed_ips_owner *owner);

/** allowed_ips_remove_owner() - Take away all that leads to @owner */
void allowed_ips_remove_owner(struct allowed_ips *ips, struct allowed_ips_owner *owner);

/** allowed_ips_lookup() - The owner of the longest prefix that holds @address, or NULL */
struct allowed_ips_owner *allowed_ips_lookup(const struct allowed_ips *ips,
					     const struct address *address);
