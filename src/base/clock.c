/* SPDX-License-Identifier: BSD-3-Clause */
/* base/clock.c - the one place that reads a clock */
#include "base/clock.h"

#include <time.h>

static nanoseconds clock_read(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

nanoseconds clock_boottime(void)
{
	return clock_read(CLOCK_BOOTTIME);
}

nanoseconds clock_realtime(void)
{
	return clock_read(CLOCK_REALTIME);
}
