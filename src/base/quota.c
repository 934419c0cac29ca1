/* SPDX-License-Identifier: BSD-3-Clause */
/* base/quota.c - a token bucket, kept as the time at which it is full again */
#include "base/quota.h"

static nanoseconds span_of(const struct quota *quota)
{
	return (nanoseconds)quota->burst * quota->interval;
}

bool quota_spend(nanoseconds *full_at, nanoseconds span, nanoseconds cost, nanoseconds now)
{
	if (*full_at < now)
		*full_at = now;
	if (cost > span - (*full_at - now))
		return false;
	*full_at += cost;
	return true;
}

bool quota_take_many(struct quota *quota, unsigned int count, nanoseconds now)
{
	return quota_spend(&quota->full_at, span_of(quota), (nanoseconds)count * quota->interval,
			   now);
}

bool quota_take(struct quota *quota, nanoseconds now)
{
	return quota_take_many(quota, 1, now);
}

bool quota_left(const struct quota *quota, unsigned int reserve, nanoseconds now)
{
	nanoseconds least = (nanoseconds)(reserve + 1) * quota->interval;
	nanoseconds full_at = quota->full_at < now ? now : quota->full_at;

	return full_at + least <= now + span_of(quota);
}

nanoseconds quota_wait(const struct quota *quota, nanoseconds now)
{
	nanoseconds at = quota->full_at + quota->interval - span_of(quota);

	return at > now ? at - now : 0;
}
