/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process/event_loop.h - the event loop: descriptors and timers
 *
 * epoll, one event at a time, so that a handler may remove any source. It is small, since PID 1
 * of every container has it in memory.
 */
#pragma once

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop_source {
	int fd; /* -1 while not in the loop; not owned */
	void (*ready)(struct loop_source *source, uint32_t events);
};

struct loop_timer {
	struct loop_timer *next;
	nanoseconds at; /* 0 while not armed */
	void (*fire)(struct loop_timer *timer, nanoseconds now);
};

struct loop {
	int epoll;
	struct loop_timer *timers; /* earliest first */
	bool done;
};

#define LOOP_SOURCE(handler) ((struct loop_source){.fd = -1, .ready = (handler)})
#define LOOP_TIMER(handler)  ((struct loop_timer){.fire = (handler)})

/** loop_init(), loop_close() - 0 or negative errno; sources and timers stay the caller's */
int loop_init(struct loop *loop);
void loop_close(struct loop *loop);

/** loop_add() - Call source->ready when @fd has one of @events; level-triggered */
int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events);

/** loop_change() - Other events for a source that is in the loop */
int loop_change(struct loop *loop, struct loop_source *source, uint32_t events);

/** loop_remove() - Before its descriptor is closed; harmless when it isn't in the loop */
void loop_remove(struct loop *loop, struct loop_source *source);

/** timer_arm() - (Re)arm to fire once at @at; timer_cancel() is harmless on an unarmed one */
void timer_arm(struct loop *loop, struct loop_timer *timer, nanoseconds at);
void timer_cancel(struct loop *loop, struct loop_timer *timer);

/** loop_run() - Until loop->done; 0 or negative errno */
int loop_run(struct loop *loop);
