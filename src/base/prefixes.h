/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/prefixes.h - many prefixes: a list that grows, and a table that finds one at once
 *
 * The table is a balanced tree (tsearch()), so chosen prefixes can't make it slow.
 */
#pragma once

#include "base/address.h"

#include <sys/queue.h>

/** struct prefixes - A growing list; a zeroed one is empty and valid */
struct prefixes {
	struct prefix *list;
	size_t count;
	size_t capacity;
};

/** prefixes_add() - Append; 0 or -ENOMEM */
int prefixes_add(struct prefixes *prefixes, const struct prefix *prefix);

/** prefixes_unite() - Sort by prefix_compare(), and drop doubles */
void prefixes_unite(struct prefixes *prefixes);

/** prefixes_free() - Release; @prefixes is empty and valid after it */
void prefixes_free(struct prefixes *prefixes);

/* The caller's @value is 0 at first. */
struct prefix_entry {
	struct prefix prefix; /* the first member: the tree compares entries by it */
	uint32_t value;
	LIST_ENTRY(prefix_entry) entry;
};

/** struct prefix_table - A zeroed one is empty and valid */
struct prefix_table {
	void *tree;
	LIST_HEAD(, prefix_entry) entries; /* all of them, in no order */
	size_t count;
};

/** prefix_table_find() - The entry of @prefix; NULL: none */
struct prefix_entry *prefix_table_find(const struct prefix_table *table,
				       const struct prefix *prefix);

/** prefix_table_add() - The entry of @prefix, made if need be; NULL without memory */
struct prefix_entry *prefix_table_add(struct prefix_table *table, const struct prefix *prefix);

/** prefix_table_remove() - Take an entry out and free it */
void prefix_table_remove(struct prefix_table *table, struct prefix_entry *entry);

/** prefix_table_free() - Release; @table is empty and valid after it */
void prefix_table_free(struct prefix_table *table);
