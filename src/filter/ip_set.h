/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/ip_set.h - a set of addresses: built from prefixes and ranges, then searched
 *
 * A set is sorted, disjoint, non-adjacent ranges per family: membership is a binary search, and
 * the ten thousand consecutive addresses of a large tailnet are one range. Pieces are added and
 * taken away in any order; ip_set_seal() makes the set ready to be searched.
 */
#pragma once

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 uint128;

struct ip_range {
	uint128 first, last;
};

struct ip_ranges {
	struct ip_range *list;
	size_t count, capacity;
};

/* struct ip_set - Zeroed is empty */
struct ip_set {
	struct ip_ranges v4, v6;
	bool failed; /* memory ran out: ip_set_seal() says so */
};

/** ip_set_add() - Add a prefix (its host bits don't matter) */
void ip_set_add(struct ip_set *set, const struct prefix *p);

/** ip_set_add_range() - Add all from @first to @last; none unless of one family and in order */
void ip_set_add_range(struct ip_set *set, const struct address *first, const struct address *last);

/** ip_set_remove() - Remove a prefix from the prefixes added so far */
void ip_set_remove(struct ip_set *set, const struct prefix *p);

/** ip_set_seal() - No more changes follow; -ENOMEM if one of them failed. ip_set_free() is due */
int ip_set_seal(struct ip_set *set);

void ip_set_free(struct ip_set *set);

/** ip_set_contains(), ip_set_overlaps() - Of sealed sets: @a is in it; some address is in both */
bool ip_set_contains(const struct ip_set *set, const struct address *a);
bool ip_set_overlaps(const struct ip_set *a, const struct ip_set *b);
