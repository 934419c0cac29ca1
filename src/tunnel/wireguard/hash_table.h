/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/hash_table.h - a table of entries that live in their owners
 *
 * Insertion can't fail: an entry brings its own memory, and a table that can't grow
 * only becomes slower. The caller brings the hash: session indices are random
 * already, public keys are hashed with a secret.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hash_entry {
	struct hash_entry *next;
	uint32_t hash;
};

struct hash_table {
	struct hash_entry **buckets; /* a power of two of them */
	size_t bucket_count;
	size_t count;
};

/** hash_table_init() - 0, or -ENOMEM */
int hash_table_init(struct hash_table *table);

/** hash_table_free() - Release the table, not the entries */
void hash_table_free(struct hash_table *table);

/** hash_table_insert() - Put @entry under @hash */
void hash_table_insert(struct hash_table *table, struct hash_entry *entry, uint32_t hash);

/** hash_table_remove() - Take @entry out; it must be in */
void hash_table_remove(struct hash_table *table, struct hash_entry *entry);

/** hash_table_find() - The first entry with @hash, or NULL */
struct hash_entry *hash_table_find(const struct hash_table *table, uint32_t hash);

/** hash_table_next() - The next entry after @entry with the same hash, or NULL */
struct hash_entry *hash_table_next(const struct hash_entry *entry);
