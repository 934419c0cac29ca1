/* SPDX-License-Identifier: BSD-3-Clause */
/* control/backoff.h - how long to wait before the next try */
#pragma once

#include "base/clock.h"

#include <stdint.h>

#define BACKOFF_FIRST (200 * NSEC_PER_MSEC)
#define BACKOFF_MOST  (30 * NSEC_PER_SEC)

/* So often no wait is longer than this: a server that restarts is found again soon. All of
 * these waits are a minute at least. */
#define BACKOFF_SOON       (5 * NSEC_PER_SEC)
#define BACKOFF_SOON_TRIES 28

/* What no waiting of seconds heals (a refused auth key), but still may heal. */
#define BACKOFF_SLOW_FIRST (30 * NSEC_PER_SEC)
#define BACKOFF_SLOW_MOST  (600 * NSEC_PER_SEC)

struct backoff {
	unsigned int failures; /* in a row */
};

/**
 * backoff_next() - After one more failure: how long to wait
 * @random: 32 random bits
 *
 * d = min(first × 2ⁿ, most), and at most BACKOFF_SOON for the first BACKOFF_SOON_TRIES; the wait is
 * drawn evenly from [d/2, d]: so many nodes that lost their server at once come back spread out.
 */
nanoseconds backoff_next(struct backoff *b, nanoseconds first, nanoseconds most, uint32_t random);

/** backoff_ease() - It worked once: wait no more than 8 × first after the next failure */
void backoff_ease(struct backoff *b);

/**
 * retry_after_wait() - What a 429 or 503 asks for (protocol.md 3.3)
 * @seconds: of Retry-After; -1 when it was missing or unreadable
 *
 * Missing, zero or beyond an hour: 5-10 s. More than five minutes: five minutes.
 */
nanoseconds retry_after_wait(int64_t seconds, uint32_t random);
