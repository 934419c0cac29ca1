/* SPDX-License-Identifier: BSD-3-Clause */
/* base/quota.h - a token bucket: how often others may have something done */
#pragma once

#include "base/clock.h"

#include <stdbool.h>

struct quota {
	unsigned int burst;
	nanoseconds interval; /* a new token each */
	nanoseconds full_at;
};

/**
 * quota_spend() - Take from a bucket that is kept as the time at which it is full again
 * @full_at: that time; 0 for a full bucket
 * @span:    how long an empty bucket takes to fill
 * @cost:    the time in which the bucket refills by the requested amount
 *
 * Return: whether there was enough; else nothing is taken
 */
bool quota_spend(nanoseconds *full_at, nanoseconds span, nanoseconds cost, nanoseconds now);

/** quota_take() - Whether one more request is allowed at @now */
bool quota_take(struct quota *quota, nanoseconds now);

/** quota_take_many() - @count tokens, or none of them */
bool quota_take_many(struct quota *quota, unsigned int count, nanoseconds now);

/** quota_left() - Whether more than @reserve tokens are there at @now */
bool quota_left(const struct quota *quota, unsigned int reserve, nanoseconds now);

/** quota_wait() - How long from @now until quota_take() succeeds; 0: at once */
nanoseconds quota_wait(const struct quota *quota, nanoseconds now);
