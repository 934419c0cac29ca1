/* SPDX-License-Identifier: BSD-3-Clause */
/* control/backoff.c - how long to wait before the next try */
#include "control/backoff.h"

#include <stdbool.h>

#define EASED 3 /* failures: the next wait is 2³ × first */

#define RETRY_AFTER_ABSURD  3600
#define RETRY_AFTER_MOST    300
#define RETRY_AFTER_DEFAULT (5 * NSEC_PER_SEC)

/* @span × random / 2³² */
static nanoseconds part_of(nanoseconds span, uint32_t random)
{
	return span / NSEC_PER_USEC * random / ((nanoseconds)UINT32_MAX + 1) * NSEC_PER_USEC;
}

nanoseconds backoff_next(struct backoff *b, nanoseconds first, nanoseconds most, uint32_t random)
{
	bool soon = first < BACKOFF_SOON && b->failures < BACKOFF_SOON_TRIES;
	nanoseconds wait = first;

	if (soon && most > BACKOFF_SOON)
		most = BACKOFF_SOON;
	for (unsigned int i = 0; i < b->failures && wait < most; i++)
		wait *= 2;
	if (wait > most)
		wait = most;
	if (soon || wait < most)
		b->failures++;
	return wait / 2 + part_of(wait / 2, random);
}

void backoff_ease(struct backoff *b)
{
	if (b->failures > EASED)
		b->failures = EASED;
}

nanoseconds retry_after_wait(int64_t seconds, uint32_t random)
{
	if (seconds <= 0 || seconds > RETRY_AFTER_ABSURD)
		return RETRY_AFTER_DEFAULT + part_of(RETRY_AFTER_DEFAULT, random);
	if (seconds > RETRY_AFTER_MOST)
		seconds = RETRY_AFTER_MOST;
	return seconds * NSEC_PER_SEC;
}
