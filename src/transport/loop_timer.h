/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/loop_timer.h - a timer on the loop that can be freed at any moment
 *
 * libuv wants a handle's memory until a callback after uv_close(); this keeps that out
 * of the objects that have a timer.
 */
#pragma once

#include "base/clock.h"

#include <uv.h>

struct loop_timer;

typedef void loop_timer_fire(void *user);

/** loop_timer_create() - Stopped. Return: 0 or -ENOMEM */
int loop_timer_create(uv_loop_t *loop, loop_timer_fire *fire, void *user, struct loop_timer **ret);

/** loop_timer_at() - Fire once at @deadline (CLOCK_BOOTTIME), or DEADLINE_NEVER; replaces the last
 */
void loop_timer_at(struct loop_timer *timer, nanoseconds deadline);

/** loop_timer_soon() - Fire once from the loop, at once */
void loop_timer_soon(struct loop_timer *timer);

/** loop_timer_free() - Will not fire any more; also from within its own firing. NULL is fine */
void loop_timer_free(struct loop_timer *timer);
