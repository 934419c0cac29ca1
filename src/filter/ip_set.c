/* SPDX-License-Identifier: BSD-3-Clause */
/* filter/ip_set.c - a set of addresses: built from prefixes and ranges, then searched */
#include "filter/ip_set.h"

#include "base/array.h"
#include "base/cursor.h"

#include <errno.h>
#include <stdlib.h>

struct ip_range {
	uint128 first, last;
	uint8_t family;
};

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
	struct ip_range r = {.family = p->address.family};

	r.first = address_number(&p->address) & ~host;
	r.last = r.first | host;
	return r;
}

static int push(struct ip_set_builder *b, struct ip_range r)
{
	if (ARRAY_GROW(b->ranges, b->count, b->capacity) < 0)
		return -ENOMEM;
	b->ranges[b->count++] = r;
	return 0;
}

int ip_set_add(struct ip_set_builder *b, const struct prefix *p)
{
	if (p->address.family == ADDRESS_NONE)
		return 0;
	return push(b, range_of(p));
}

int ip_set_add_range(struct ip_set_builder *b, const struct address *first,
		     const struct address *last)
{
	struct ip_range r = {.family = first->family};

	if (first->family == ADDRESS_NONE || first->family != last->family)
		return -EINVAL;
	r.first = address_number(first);
	r.last = address_number(last);
	if (r.first > r.last)
		return -EINVAL;
	return push(b, r);
}

int ip_set_remove(struct ip_set_builder *b, const struct prefix *p)
{
	struct ip_range hole = range_of(p);
	size_t count = b->count;

	for (size_t i = 0; i < count; i++) {
		struct ip_range *r = &b->ranges[i], rest = *r;

		if (r->family != hole.family || r->first > hole.last || r->last < hole.first)
			continue;
		if (r->first < hole.first && r->last > hole.last) {
			/* What is right of the hole becomes a range of its own. */
			rest.first = hole.last + 1;
			if (push(b, rest) < 0)
				return -ENOMEM;
			b->ranges[i].last = hole.first - 1;
		} else if (r->first < hole.first) {
			r->last = hole.first - 1;
		} else if (r->last > hole.last) {
			r->first = hole.last + 1;
		} else {
			r->family = ADDRESS_NONE; /* wholly inside: left out when freezing */
		}
	}
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct ip_range *a = left, *b = right;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return a->first < b->first ? -1 : a->first > b->first;
}

/* merge() - Sort, drop what was removed, and join what overlaps or touches */
static void merge(struct ip_set_builder *b)
{
	size_t kept = 0;

	if (b->count)
		qsort(b->ranges, b->count, sizeof(*b->ranges), compare);
	for (size_t i = 0; i < b->count; i++) {
		struct ip_range r = b->ranges[i], *previous = kept ? &b->ranges[kept - 1] : NULL;

		if (r.family == ADDRESS_NONE)
			continue;
		if (previous && previous->family == r.family &&
		    (r.first <= previous->last || r.first - 1 == previous->last)) {
			if (r.last > previous->last)
				previous->last = r.last;
		} else {
			b->ranges[kept++] = r;
		}
	}
	b->count = kept;
}

int ip_set_freeze(struct ip_set_builder *b, struct ip_set *ret)
{
	struct ip_set set = {0};
	size_t v4_count = 0;

	merge(b);
	while (v4_count < b->count && b->ranges[v4_count].family == ADDRESS_V4)
		v4_count++;
	if (v4_count) {
		set.v4 = reallocarray(NULL, v4_count, sizeof(*set.v4));
		if (!set.v4)
			return -ENOMEM;
	}
	if (v4_count < b->count) {
		set.v6 = reallocarray(NULL, b->count - v4_count, sizeof(*set.v6));
		if (!set.v6) {
			free(set.v4);
			return -ENOMEM;
		}
	}
	for (size_t i = 0; i < b->count; i++) {
		const struct ip_range *r = &b->ranges[i];

		if (i < v4_count)
			set.v4[set.v4_count++] = (struct ip_range_v4){.first = (uint32_t)r->first,
								      .last = (uint32_t)r->last};
		else
			set.v6[set.v6_count++] =
				(struct ip_range_v6){.first = r->first, .last = r->last};
	}
	ip_set_builder_free(b);
	*ret = set;
	return 0;
}

void ip_set_builder_free(struct ip_set_builder *b)
{
	free(b->ranges);
	*b = (struct ip_set_builder){0};
}

void ip_set_free(struct ip_set *set)
{
	free(set->v4);
	free(set->v6);
	*set = (struct ip_set){0};
}

/* SEARCH() - Whether a range of the sorted @ranges holds @number */
#define SEARCH(ranges, count, number)                               \
	({                                                          \
		size_t low_ = 0, high_ = (count);                   \
		while (low_ < high_) {                              \
			size_t middle_ = (low_ + high_) / 2;        \
			if ((ranges)[middle_].last < (number))      \
				low_ = middle_ + 1;                 \
			else                                        \
				high_ = middle_;                    \
		}                                                   \
		low_ < (count) && (ranges)[low_].first <= (number); \
	})

bool ip_set_contains(const struct ip_set *set, const struct address *a)
{
	uint128 number = address_number(a);

	if (a->family == ADDRESS_V4)
		return SEARCH(set->v4, set->v4_count, number);
	return a->family == ADDRESS_V6 && SEARCH(set->v6, set->v6_count, number);
}

/* MEET() - Whether two sorted lists have an address in common */
#define MEET(a, a_count, b, b_count)                                                     \
	({                                                                               \
		size_t i_ = 0, j_ = 0;                                                   \
		while (i_ < (a_count) && j_ < (b_count) &&                               \
		       ((a)[i_].last < (b)[j_].first || (b)[j_].last < (a)[i_].first)) { \
			if ((a)[i_].last < (b)[j_].first)                                \
				i_++;                                                    \
			else                                                             \
				j_++;                                                    \
		}                                                                        \
		i_ < (a_count) && j_ < (b_count);                                        \
	})

bool ip_set_overlaps(const struct ip_set *a, const struct ip_set *b)
{
	return MEET(a->v4, a->v4_count, b->v4, b->v4_count) ||
	       MEET(a->v6, a->v6_count, b->v6, b->v6_count);
}
