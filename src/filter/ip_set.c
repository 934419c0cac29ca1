/* SPDX-License-Identifier: BSD-3-Clause */
/* filter/ip_set.c - a set of addresses: built from prefixes and ranges, then searched */
#include "filter/ip_set.h"

#include "base/array.h"
#include "base/cursor.h"

#include <errno.h>
#include <stdlib.h>

static uint128 address_number(const struct address *a)
{
	struct cursor c = cursor_of(a->bytes, sizeof(a->bytes));
	uint128 high;

	if (a->family == ADDRESS_V4)
		return cursor_be32(&c);
	high = cursor_be64(&c);
	return high << 64 | cursor_be64(&c);
}

static struct ip_range range_of(const struct prefix *p)
{
	uint8_t host_bits = (uint8_t)(address_bits(&p->address) - p->bits);
	uint128 all = ~(uint128)0, host = host_bits == 128 ? all : ((uint128)1 << host_bits) - 1;
	uint128 first = address_number(&p->address) & ~host;

	return (struct ip_range){first, first | host};
}

static struct ip_ranges *ranges_of(struct ip_set *set, const struct address *a)
{
	return a->family == ADDRESS_V4 ? &set->v4 : &set->v6;
}

static void push(struct ip_set *set, struct ip_ranges *ranges, struct ip_range r)
{
	if (ARRAY_GROW(ranges->list, ranges->count, ranges->capacity) < 0)
		set->failed = true;
	else
		ranges->list[ranges->count++] = r;
}

void ip_set_add(struct ip_set *set, const struct prefix *p)
{
	if (p->address.family != ADDRESS_NONE)
		push(set, ranges_of(set, &p->address), range_of(p));
}

void ip_set_add_range(struct ip_set *set, const struct address *first, const struct address *last)
{
	struct ip_range r = {address_number(first), address_number(last)};

	if (first->family != ADDRESS_NONE && first->family == last->family && r.first <= r.last)
		push(set, ranges_of(set, first), r);
}

void ip_set_remove(struct ip_set *set, const struct prefix *p)
{
	struct ip_ranges *ranges = ranges_of(set, &p->address);
	struct ip_range hole = range_of(p);
	size_t count = ranges->count;

	for (size_t i = 0; i < count; i++) {
		struct ip_range *r = &ranges->list[i], before = *r;

		if (r->first > hole.last || r->last < hole.first)
			continue;
		/* What is left of the hole stays, or an empty range: ip_set_seal() drops it. */
		if (r->first < hole.first)
			r->last = hole.first - 1;
		else
			*r = (struct ip_range){1, 0};
		if (before.last > hole.last)
			push(set, ranges, (struct ip_range){hole.last + 1, before.last});
	}
}

static int compare(const void *left, const void *right)
{
	const struct ip_range *a = left, *b = right;

	return a->first < b->first ? -1 : a->first > b->first;
}

/* merge() - Sort the ranges, drop removed ones, join those that overlap or touch; free spare memory */
static void merge(struct ip_ranges *ranges)
{
	struct ip_range *list = ranges->list;
	size_t kept = 0;

	if (ranges->count)
		qsort(list, ranges->count, sizeof(*list), compare);
	for (size_t i = 0; i < ranges->count; i++) {
		struct ip_range r = list[i], *previous = kept ? &list[kept - 1] : NULL;

		if (r.first > r.last)
			continue;
		if (!previous || (r.first > previous->last && r.first - 1 != previous->last))
			list[kept++] = r;
		else if (r.last > previous->last)
			previous->last = r.last;
	}
	ranges->count = kept;
	list = kept ? reallocarray(list, kept, sizeof(*list)) : NULL;
	if (list) {
		ranges->list = list;
		ranges->capacity = kept;
	}
}

int ip_set_seal(struct ip_set *set)
{
	merge(&set->v4);
	merge(&set->v6);
	return set->failed ? -ENOMEM : 0;
}

void ip_set_free(struct ip_set *set)
{
	free(set->v4.list);
	free(set->v6.list);
	*set = (struct ip_set){0};
}

bool ip_set_contains(const struct ip_set *set, const struct address *a)
{
	const struct ip_ranges *ranges = a->family == ADDRESS_V4 ? &set->v4 : &set->v6;
	size_t low = 0, high = a->family == ADDRESS_NONE ? 0 : ranges->count;
	uint128 number = address_number(a);

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (number > ranges->list[middle].last)
			low = middle + 1;
		else if (number < ranges->list[middle].first)
			high = middle;
		else
			return true;
	}
	return false;
}

static bool meet(const struct ip_ranges *a, const struct ip_ranges *b)
{
	size_t i = 0, j = 0;

	while (i < a->count && j < b->count) {
		if (a->list[i].last < b->list[j].first)
			i++;
		else if (b->list[j].last < a->list[i].first)
			j++;
		else
			return true;
	}
	return false;
}

bool ip_set_overlaps(const struct ip_set *a, const struct ip_set *b)
{
	return meet(&a->v4, &b->v4) || meet(&a->v6, &b->v6);
}
