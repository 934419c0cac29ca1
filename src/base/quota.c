/* SPDX-License-Identifier: BSD-3-Clause */
/* base/quota.c - a token bucket, kept as the time at which it is full again */
#include "base/quota.h"

static nanoseconds span(const struct quota *quota)
{
	return (nanoseconds)quota->burst * quota->interval;
}

bool quota_take_many(struct quota *quota, unsigned int count, nanoseconds now)
{
	nanoseconds cost = (nanoseconds)count * quota->interval;

	if (quota->full_at < now)
		quota->full_at = now;
	if (quota->full_at + cost > now + span(quota))
		return false;
	quota->full_at += cost;
	return true;
}

bool quota_take(struct quota *quota, nanoseconds now)
{
	return quota_take_many(quota, 1, now);
}

bool quota_left(const struct quota *quota, unsigned int reserve, nanoseconds now)
{
	nanoseconds least = (nanoseconds)(reserve + 1) * quota->interval;
	nanoseconds full_at = quota->full_at < now ? now : quota->full_at;

	return full_at + least <= now + span(quota);
}

nanoseconds quota_wait(const struct quota *quota, nanoseconds now)
{
	nanoseconds at = quota->full_at + quota->interval - span(quota);

	return at > now ? at - now : 0;
}
