/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/prefixes.h - many prefixes: a list that grows, and a table that finds one at once
 *
 * The table's hash has a secret key, so that chosen prefixes can't make it slow.
 */
#pragma once

#include "base/address.h"

/** struct prefixes - A growing list; a zeroed one is empty and valid */
struct prefixes {
	struct prefix *list;
	size_t count;
	size_t capacity;
};

/** prefixes_add() - Append; 0 or -ENOMEM */
int prefixes_add(struct prefixes *prefixes, const struct prefix *prefix);

/** prefixes_unite() - Sort by family, address, length, and drop doubles */
void prefixes_unite(struct prefixes *prefixes);

/** prefixes_free() - Release; @prefixes is empty and valid after it */
void prefixes_free(struct prefixes *prefixes);

/** prefix_compare() - The order of prefixes_unite(), for qsort() */
int prefix_compare(const void *left, const void *right);

/* A place of the table; the caller's @value is 0 at first. */
struct prefix_entry {
	struct prefix prefix; /* family ADDRESS_NONE: the place is free */
	uint32_t value;
};

/** struct prefix_table - A zeroed one is empty and valid */
struct prefix_table {
	struct prefix_entry *entries;
	size_t capacity; /* 0 or a power of two */
	size_t count;
	uint64_t secret[2];
};

/** prefix_table_find() - The entry of @prefix, until the next change of the table; NULL: none */
struct prefix_entry *prefix_table_find(const struct prefix_table *table,
				       const struct prefix *prefix);

/** prefix_table_add() - The entry of @prefix, made if need be, until the next change; NULL: memory */
struct prefix_entry *prefix_table_add(struct prefix_table *table, const struct prefix *prefix);

/** prefix_table_remove() - Take an entry out; it may move others */
void prefix_table_remove(struct prefix_table *table, struct prefix_entry *entry);

/** prefix_table_next() - Walk all entries in no order; NULL begins, NULL ends */
struct prefix_entry *prefix_table_next(const struct prefix_table *table,
				       const struct prefix_entry *after);

/** prefix_table_free() - Release; @table is empty and valid after it */
void prefix_table_free(struct prefix_table *table);
