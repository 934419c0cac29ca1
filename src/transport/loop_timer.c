/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/loop_timer.c - a timer on the loop that can be freed at any moment */
#include "transport/loop_timer.h"

#include <errno.h>
#include <stdlib.h>

struct loop_timer {
	uv_timer_t handle;
	loop_timer_fire *fire;
	void *user;
};

static void fired(uv_timer_t *handle)
{
	struct loop_timer *timer = handle->data;

	timer->fire(timer->user);
}

static void closed(uv_handle_t *handle)
{
	free(handle->data);
}

int loop_timer_create(uv_loop_t *loop, loop_timer_fire *fire, void *user, struct loop_timer **ret)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return -ENOMEM;
	uv_timer_init(loop, &timer->handle); /* can't fail */
	timer->handle.data = timer;
	timer->fire = fire;
	timer->user = user;
	*ret = timer;
	return 0;
}

/* #syscalls: clock_gettime */
void loop_timer_at(struct loop_timer *timer, nanoseconds deadline)
{
	nanoseconds wait;

	if (deadline == DEADLINE_NEVER) {
		uv_timer_stop(&timer->handle);
		return;
	}
	wait = deadline - clock_boottime();
	if (wait < 0)
		wait = 0;
	/* The loop's idea of now may be as old as this round; round up, never early. */
	uv_update_time(timer->handle.loop);
	uv_timer_start(&timer->handle, fired,
		       (uint64_t)((wait + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC), 0);
}

void loop_timer_soon(struct loop_timer *timer)
{
	uv_timer_start(&timer->handle, fired, 0, 0);
}

void loop_timer_free(struct loop_timer *timer)
{
	if (timer)
		uv_close((uv_handle_t *)&timer->handle, closed);
}
