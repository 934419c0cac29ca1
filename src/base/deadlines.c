/* SPDX-License-Identifier: BSD-3-Clause */
/* base/deadlines.c - many deadlines, looked at when they come */
#include "base/deadlines.h"

static void link_to(struct deadline **list, struct deadline *d)
{
	d->next = *list;
	d->link = list;
	if (d->next)
		d->next->link = &d->next;
	*list = d;
}

void deadlines_clear(struct deadline *d)
{
	if (!d->link)
		return;
	*d->link = d->next;
	if (d->next)
		d->next->link = d->link;
	d->link = NULL;
}

void deadlines_set(struct deadlines *w, struct deadline *d, nanoseconds at)
{
	int64_t turn = w->now / DEADLINES_GRAIN, slot = at / DEADLINES_GRAIN;

	deadlines_clear(d);
	if (at == DEADLINE_NEVER)
		return;
	d->at = at;
	if (slot < turn)
		slot = turn;
	if (slot >= turn + DEADLINES_SLOTS)
		slot = turn + DEADLINES_SLOTS - 1;
	link_to(&w->slots[slot % DEADLINES_SLOTS], d);
}

void deadlines_turn(struct deadlines *w, nanoseconds now)
{
	int64_t from = w->now / DEADLINES_GRAIN, to = now / DEADLINES_GRAIN;

	if (to > from + DEADLINES_SLOTS - 1)
		from = to - (DEADLINES_SLOTS - 1);
	/* What was set before its second is over stands in a slot that was seen: so the first too.
	 */
	for (int64_t turn = from; turn <= to; turn++) {
		struct deadline **slot = &w->slots[turn % DEADLINES_SLOTS];

		while (*slot) {
			struct deadline *d = *slot;

			deadlines_clear(d);
			link_to(&w->passed, d);
		}
	}
	if (now > w->now)
		w->now = now;
}

struct deadline *deadlines_next(struct deadlines *w)
{
	while (w->passed) {
		struct deadline *d = w->passed;

		deadlines_clear(d);
		if (d->at <= w->now)
			return d;
		deadlines_set(w, d, d->at);
	}
	return NULL;
}

nanoseconds deadlines_first(const struct deadlines *w)
{
	int64_t turn = w->now / DEADLINES_GRAIN;

	if (w->passed)
		return w->now;
	for (int64_t at = turn; at < turn + DEADLINES_SLOTS; at++)
		if (w->slots[at % DEADLINES_SLOTS])
			return (at + 1) * DEADLINES_GRAIN;
	return DEADLINE_NEVER;
}
