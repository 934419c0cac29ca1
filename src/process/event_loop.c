/* SPDX-License-Identifier: BSD-3-Clause */
/* process/event_loop.c - an event loop: descriptors and timers */
#include "process/event_loop.h"

#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>

int loop_init(struct loop *loop)
{
	*loop = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
	return loop->epoll < 0 ? -errno : 0;
}

void loop_close(struct loop *loop)
{
	cleanup_close_at(&loop->epoll);
	loop->epoll = -1;
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	source->fd = fd;
	return 0;
}

int loop_change(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	if (source->fd >= 0)
		(void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
}

void timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	for (struct loop_timer **at = &loop->timers; *at; at = &(*at)->next)
		if (*at == timer) {
			*at = timer->next;
			break;
		}
	timer->at = 0;
}

void timer_arm(struct loop *loop, struct loop_timer *timer, nanoseconds at)
{
	struct loop_timer **place = &loop->timers;

	timer_cancel(loop, timer);
	while (*place && (*place)->at <= at)
		place = &(*place)->next;
	timer->at = at;
	timer->next = *place;
	*place = timer;
}

static int timeout_ms(const struct loop *loop, nanoseconds now)
{
	nanoseconds left;

	if (!loop->timers)
		return -1;
	left = (loop->timers->at - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
	if (left < 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

static void fire_due(struct loop *loop)
{
	nanoseconds now = clock_boottime();
	struct loop_timer *timer;

	while (!loop->done && (timer = loop->timers) && timer->at <= now) {
		timer_cancel(loop, timer);
		timer->fire(timer, now);
	}
}

int loop_run(struct loop *loop)
{
	while (!loop->done) {
		struct epoll_event event;
		int n = epoll_wait(loop->epoll, &event, 1, timeout_ms(loop, clock_boottime()));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 1) {
			struct loop_source *source = event.data.ptr;

			source->ready(source, event.events);
		}
		fire_due(loop);
	}
	return 0;
}
