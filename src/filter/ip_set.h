/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/ip_set.h - a set of addresses: built from prefixes and ranges, then searched
 *
 * A set is sorted, disjoint, non-adjacent ranges per family: membership is a binary search, and
 * the ten thousand consecutive addresses of a large tailnet are one range. The builder takes
 * pieces in any order, and takes pieces away; freezing it makes the immutable set.
 */
#pragma once

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 uint128;

struct ip_range_v4 {
	uint32_t first, last;
};

struct ip_range_v6 {
	uint128 first, last;
};

struct ip_set {
	struct ip_range_v4 *v4;
	struct ip_range_v6 *v6;
	size_t v4_count;
	size_t v6_count;
};

/* struct ip_set_builder - Zeroed is empty. After -ENOMEM it stays valid */
struct ip_set_builder {
	struct ip_range *ranges;
	size_t count;
	size_t capacity;
};

/** ip_set_add() - Add a prefix (its host bits don't matter); 0 or -ENOMEM */
int ip_set_add(struct ip_set_builder *b, const struct prefix *p);

/** ip_set_add_range() - Add all from @first to @last; -EINVAL unless of one family and in order */
int ip_set_add_range(struct ip_set_builder *b, const struct address *first,
		     const struct address *last);

/** ip_set_remove() - Take a prefix out of what was added so far; 0 or -ENOMEM */
int ip_set_remove(struct ip_set_builder *b, const struct prefix *p);

/** ip_set_freeze() - Make the set, released by ip_set_free(). The builder is empty afterwards */
int ip_set_freeze(struct ip_set_builder *b, struct ip_set *ret);

void ip_set_builder_free(struct ip_set_builder *b);
void ip_set_free(struct ip_set *set);

bool ip_set_contains(const struct ip_set *set, const struct address *a);

/** ip_set_overlaps() - Whether some address is in both */
bool ip_set_overlaps(const struct ip_set *a, const struct ip_set *b);
