/* SPDX-License-Identifier: BSD-3-Clause */
/* base/prefixes.c - many prefixes: a list that grows, and a table that finds one at once */
#include "base/prefixes.h"

#include "base/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define TABLE_FIRST 16

int prefixes_add(struct prefixes *p, const struct prefix *prefix)
{
	int r = ARRAY_GROW(p->list, p->count, p->capacity);

	if (r == 0)
		p->list[p->count++] = *prefix;
	return r;
}

void prefixes_free(struct prefixes *p)
{
	free(p->list);
	*p = (struct prefixes){0};
}

int prefix_compare(const void *left, const void *right)
{
	const struct prefix *a = left, *b = right;
	int order = a->address.family - b->address.family;

	if (order == 0)
		order = memcmp(a->address.bytes, b->address.bytes, sizeof(a->address.bytes));
	return order != 0 ? order : a->bits - b->bits;
}

void prefixes_unite(struct prefixes *p)
{
	size_t kept = 0;

	if (p->count == 0)
		return;
	qsort(p->list, p->count, sizeof(*p->list), prefix_compare);
	for (size_t i = 1; i < p->count; i++)
		if (prefix_compare(&p->list[kept], &p->list[i]) != 0)
			p->list[++kept] = p->list[i];
	p->count = kept + 1;
}

static uint64_t rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

/* sip_rounds() - SipHash's round, @count times */
static void sip_rounds(uint64_t v[static 4], int count)
{
	while (count-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32) + v[3];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] = rotate(v[2], 32);
	}
}

/* hash() - SipHash-1-3 of the 18 bytes (libsodium has it too, but not every process has that) */
static uint64_t hash(const uint64_t secret[static 2], const struct prefix *prefix)
{
	uint64_t words[3] = {0};
	uint64_t v[4] = {
		secret[0] ^ UINT64_C(0x736f6d6570736575),
		secret[1] ^ UINT64_C(0x646f72616e646f6d),
		secret[0] ^ UINT64_C(0x6c7967656e657261),
		secret[1] ^ UINT64_C(0x7465646279746573),
	};

	memcpy(words, prefix, sizeof(*prefix));
	words[2] |= (uint64_t)sizeof(*prefix) << 56;
	for (int i = 0; i < 3; i++) {
		v[3] ^= words[i];
		sip_rounds(v, 1);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	sip_rounds(v, 3);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* place_of() - The entry of @prefix, or the free one where it belongs; there is a free one */
static struct prefix_entry *place_of(const struct prefix_table *t, const struct prefix *prefix)
{
	size_t at = hash(t->secret, prefix) & (t->capacity - 1);

	while (t->entries[at].prefix.address.family != ADDRESS_NONE &&
	       !prefix_equal(&t->entries[at].prefix, prefix))
		at = (at + 1) & (t->capacity - 1);
	return &t->entries[at];
}

struct prefix_entry *prefix_table_find(const struct prefix_table *t, const struct prefix *prefix)
{
	struct prefix_entry *entry = t->count > 0 ? place_of(t, prefix) : NULL;

	return entry && entry->prefix.address.family != ADDRESS_NONE ? entry : NULL;
}

/* widen() - So that one entry more fills three quarters at most; 0 or -ENOMEM */
static int widen(struct prefix_table *t)
{
	struct prefix_table wider = *t;

	if ((t->count + 1) * 4 <= t->capacity * 3)
		return 0;
	/* Without a random number early at boot the table is right, and its order can be guessed. */
	if (t->capacity == 0)
		(void)!getrandom(wider.secret, sizeof(wider.secret), GRND_NONBLOCK);
	wider.capacity = t->capacity ? t->capacity * 2 : TABLE_FIRST;
	wider.entries = calloc(wider.capacity, sizeof(*wider.entries));
	if (!wider.entries)
		return -ENOMEM;
	for (struct prefix_entry *e = prefix_table_next(t, NULL); e; e = prefix_table_next(t, e))
		*place_of(&wider, &e->prefix) = *e;
	free(t->entries);
	*t = wider;
	return 0;
}

struct prefix_entry *prefix_table_add(struct prefix_table *t, const struct prefix *prefix)
{
	struct prefix_entry *entry = prefix_table_find(t, prefix);

	if (entry)
		return entry;
	if (widen(t) < 0)
		return NULL;
	entry = place_of(t, prefix);
	*entry = (struct prefix_entry){.prefix = *prefix};
	t->count++;
	return entry;
}

void prefix_table_remove(struct prefix_table *t, struct prefix_entry *entry)
{
	size_t hole = (size_t)(entry - t->entries), at = hole, mask = t->capacity - 1;

	/* Those behind move up, unless that would put one before the place where it belongs. */
	for (;;) {
		size_t home;

		at = (at + 1) & mask;
		if (t->entries[at].prefix.address.family == ADDRESS_NONE)
			break;
		home = hash(t->secret, &t->entries[at].prefix) & mask;
		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		t->entries[hole] = t->entries[at];
		hole = at;
	}
	t->entries[hole] = (struct prefix_entry){0};
	t->count--;
}

struct prefix_entry *prefix_table_next(const struct prefix_table *t,
				       const struct prefix_entry *after)
{
	size_t at = after ? (size_t)(after - t->entries) + 1 : 0;

	while (at < t->capacity && t->entries[at].prefix.address.family == ADDRESS_NONE)
		at++;
	return at < t->capacity ? &t->entries[at] : NULL;
}

void prefix_table_free(struct prefix_table *t)
{
	free(t->entries);
	*t = (struct prefix_table){0};
}
