/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/hash_table.c - a table of entries that live in their owners */
#include "tunnel/wireguard/hash_table.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS_AT_FIRST 64u

static struct hash_entry **bucket_of(const struct hash_table *table, uint32_t hash)
{
	return &table->buckets[hash & (table->bucket_count - 1)];
}

int hash_table_init(struct hash_table *table)
{
	*table = (struct hash_table){.bucket_count = BUCKETS_AT_FIRST};
	table->buckets = calloc(table->bucket_count, sizeof(struct hash_entry *));
	return table->buckets ? 0 : -ENOMEM;
}

void hash_table_free(struct hash_table *table)
{
	free(table->buckets);
	*table = (struct hash_table){0};
}

static void grow(struct hash_table *table)
{
	struct hash_table larger = {.bucket_count = table->bucket_count * 2, .count = table->count};

	larger.buckets = calloc(larger.bucket_count, sizeof(struct hash_entry *));
	if (!larger.buckets)
		return;
	for (size_t i = 0; i < table->bucket_count; i++) {
		struct hash_entry *entry;

		while ((entry = table->buckets[i])) {
			struct hash_entry **bucket = bucket_of(&larger, entry->hash);

			table->buckets[i] = entry->next;
			entry->next = *bucket;
			*bucket = entry;
		}
	}
	free(table->buckets);
	*table = larger;
}

void hash_table_insert(struct hash_table *table, struct hash_entry *entry, uint32_t hash)
{
	struct hash_entry **bucket;

	if (table->count >= table->bucket_count)
		grow(table);
	bucket = bucket_of(table, hash);
	entry->hash = hash;
	entry->next = *bucket;
	*bucket = entry;
	table->count++;
}

void hash_table_remove(struct hash_table *table, struct hash_entry *entry)
{
	struct hash_entry **at = bucket_of(table, entry->hash);

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	entry->next = NULL;
	table->count--;
}

static struct hash_entry *first_with(struct hash_entry *entry, uint32_t hash)
{
	while (entry && entry->hash != hash)
		entry = entry->next;
	return entry;
}

struct hash_entry *hash_table_find(const struct hash_table *table, uint32_t hash)
{
	return first_with(*bucket_of(table, hash), hash);
}

struct hash_entry *hash_table_next(const struct hash_entry *entry)
{
	return first_with(entry->next, entry->hash);
}
