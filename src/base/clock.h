/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/clock.h - the one place that reads a clock
 *
 * Protocol cores never do: they are handed `now`, nanoseconds of CLOCK_BOOTTIME
 * (which keeps counting while the machine sleeps), so that tests run them under
 * virtual time.
 */
#pragma once

#include <stdint.h>

typedef int64_t nanoseconds;

#define NSEC_PER_USEC INT64_C(1000)
#define NSEC_PER_MSEC INT64_C(1000000)
#define NSEC_PER_SEC  INT64_C(1000000000)

/* "No deadline": later than any other. */
#define DEADLINE_NEVER INT64_MAX

/** clock_boottime() - Now, in nanoseconds since boot; never 0 */
nanoseconds clock_boottime(void);

/** clock_realtime() - Now, in nanoseconds since 1970, for what leaves the process */
nanoseconds clock_realtime(void);

/** deadline_min() - The earlier of two deadlines */
static inline nanoseconds deadline_min(nanoseconds a, nanoseconds b)
{
	return a < b ? a : b;
}
