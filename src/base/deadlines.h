/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/deadlines.h - many deadlines, looked at when they come (a timing wheel)
 *
 * Theory of operation
 *   A deadline stands in the slot of its second, or in the last one when it is further away than
 *   the wheel is long, and is then placed again. Setting one costs the same however many there
 *   are, needs no memory, and a turn looks only at what stands in the slots that passed.
 *
 *	deadlines_turn(&w, now);
 *	while ((d = deadlines_next(&w)))
 *		...container_of(d, ...), which may set and clear any of them
 *
 *   None is given before its time; how late depends on how often the wheel is turned.
 */
#pragma once

#include "base/clock.h"

#include <stddef.h>

#define DEADLINES_SLOTS 256
#define DEADLINES_GRAIN NSEC_PER_SEC

/* A zeroed one is not set. */
struct deadline {
	nanoseconds at;
	struct deadline *next, **link; /* NULL: not set */
};

/* A zeroed one is empty. */
struct deadlines {
	struct deadline *slots[DEADLINES_SLOTS];
	struct deadline *passed; /* taken out of its slot, to be looked at */
	nanoseconds now;
};

/** deadlines_set() - @d is due at @at; NEVER: as deadlines_clear() */
void deadlines_set(struct deadlines *w, struct deadline *d, nanoseconds at);

/** deadlines_clear() - @d is not due any more, whether it was set or not */
void deadlines_clear(struct deadline *d);

/** deadlines_turn() - It is @now */
void deadlines_turn(struct deadlines *w, nanoseconds now);

/** deadlines_next() - One that is due, and is not set any more; NULL: there is none */
struct deadline *deadlines_next(struct deadlines *w);

/** deadlines_first() - The second in which the next one may be due; DEADLINE_NEVER: none is set */
nanoseconds deadlines_first(const struct deadlines *w);
