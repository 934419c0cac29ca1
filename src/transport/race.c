/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/race.c - several ways to one goal, started one after another */
#include "transport/race.h"

void race_init(struct race *r, unsigned int count, nanoseconds delay)
{
	*r = (struct race){.count = count, .delay = delay, .next = count ? 0 : DEADLINE_NEVER};
}

int race_next(struct race *r, nanoseconds now)
{
	if (r->started == r->count || now < r->next)
		return RACE_NONE;
	r->started++;
	r->next = r->started < r->count ? now + r->delay : DEADLINE_NEVER;
	return (int)r->started - 1;
}

void race_failed(struct race *r, nanoseconds now)
{
	r->failed++;
	if (r->started < r->count)
		r->next = now;
}

bool race_lost(const struct race *r)
{
	return r->failed == r->count;
}

void race_order(struct address *addresses, size_t count)
{
	uint8_t wanted = ADDRESS_V6;

	for (size_t i = 0; i < count; i++) {
		size_t found = i;

		while (found < count && addresses[found].family != wanted)
			found++;
		if (found == count)
			return; /* one family is used up: the rest keeps its order */
		for (; found > i; found--) {
			struct address swap = addresses[found];

			addresses[found] = addresses[found - 1];
			addresses[found - 1] = swap;
		}
		wanted = wanted == ADDRESS_V6 ? ADDRESS_V4 : ADDRESS_V6;
	}
}
