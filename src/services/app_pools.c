/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/app_pools.c - connections to the app between two requests
 *
 * DOC: Theory of operation
 *
 * Connections are kept for a few seconds after a request. Most apps close an idle one after 5 s
 * or more, and one that is closed meanwhile is dropped at once. A pool belongs to a target of the
 * configuration in force; it goes on to the next one if the target is there too, at the same
 * addresses, whatever its number.
 */
#include "services/services_internal.h"
#include "transport/loop_timer.h"

#include <stdlib.h>

#define IDLE_LIMIT    (4 * NSEC_PER_SEC)
#define IDLE_LOOK     (NSEC_PER_SEC / 2) /* how often those past the limit are closed */
#define IDLE_A_TARGET 256u

/* Connections to one target that have no request now, the latest one first. */
struct app_pool {
	LIST_ENTRY(app_pool) entry;
	int target;                           /* in the configuration in force */
	TAILQ_HEAD(app_idles, app_idle) idle; /* never empty */
	unsigned int count;
};

struct app_idle {
	TAILQ_ENTRY(app_idle) entry;
	struct app_pool *pool;
	struct stream *stream;
	nanoseconds since;
};

static struct app_pool *find_pool(const struct services *services, int target)
{
	struct app_pool *pool;

	LIST_FOREACH(pool, &services->app_pools, entry)
		if (pool->target == target)
			break;
	return pool;
}

/* take_out() - Its stream, which is the caller's; the last one takes the pool along */
static struct stream *take_out(struct app_idle *idle)
{
	struct app_pool *pool = idle->pool;
	struct stream *stream = idle->stream;

	TAILQ_REMOVE(&pool->idle, idle, entry);
	free(idle);
	stream_set_events(stream, NULL, NULL);
	if (--pool->count == 0) {
		LIST_REMOVE(pool, entry);
		free(pool);
	}
	return stream;
}

void app_look(struct services *services)
{
	nanoseconds now = clock_boottime();
	struct app_pool *pool, *next;

	for (pool = LIST_FIRST(&services->app_pools); pool; pool = next) {
		struct app_idle *oldest = TAILQ_LAST(&pool->idle, app_idles);
		struct app_idle *before;

		next = LIST_NEXT(pool, entry);
		for (; oldest && now - oldest->since > IDLE_LIMIT; oldest = before) {
			before = TAILQ_PREV(oldest, app_idles, entry);
			stream_close(take_out(oldest));
		}
	}
	if (!LIST_EMPTY(&services->app_pools))
		loop_timer_at(services->app_timer, now + IDLE_LOOK);
}

static void on_idle_data(void *user, const uint8_t *bytes, size_t length)
{
	(void)bytes;
	(void)length;
	stream_close(take_out(user)); /* nothing was asked */
}

static void on_idle_closed(void *user, const struct error *err)
{
	(void)err;
	stream_close(take_out(user));
}

struct stream *app_take(struct services *services, const struct serving *serving,
			unsigned int target, nanoseconds idle_at_most)
{
	struct app_pool *pool = find_pool(services, serving_target_now(services, serving, target));
	struct app_idle *idle = pool ? TAILQ_FIRST(&pool->idle) : NULL;
	nanoseconds age = idle ? clock_boottime() - idle->since : 0;

	return idle && age <= idle_at_most && age <= IDLE_LIMIT ? take_out(idle) : NULL;
}

/* make_pool() - NULL without memory */
static struct app_pool *make_pool(struct services *services, int target)
{
	struct app_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->target = target;
	TAILQ_INIT(&pool->idle);
	if (LIST_EMPTY(&services->app_pools))
		loop_timer_at(services->app_timer, clock_boottime() + IDLE_LOOK);
	LIST_INSERT_HEAD(&services->app_pools, pool, entry);
	return pool;
}

void app_give(struct services *services, const struct serving *serving, unsigned int target,
	      struct stream *stream)
{
	static const struct stream_events events = {
		.data = on_idle_data,
		.closed = on_idle_closed,
	};
	int now = serving_place_now(services, serving, target);
	struct app_pool *pool = find_pool(services, now);
	struct app_idle *idle = NULL;

	if (now >= 0 && (!pool || pool->count < IDLE_A_TARGET))
		idle = calloc(1, sizeof(*idle));
	if (idle && !pool)
		pool = make_pool(services, now);
	if (!idle || !pool) {
		free(idle);
		stream_close(stream);
		return;
	}
	idle->pool = pool;
	idle->stream = stream;
	idle->since = clock_boottime();
	TAILQ_INSERT_HEAD(&pool->idle, idle, entry);
	pool->count++;
	stream_set_events(stream, &events, idle);
	stream_resume(stream);
}

static void close_pool(struct app_pool *pool)
{
	for (unsigned int left = pool->count; left > 0; left--)
		stream_close(take_out(TAILQ_FIRST(&pool->idle)));
}

void app_move(struct services *services, const struct serving *before)
{
	struct app_pool *pool, *next;

	for (pool = LIST_FIRST(&services->app_pools); pool; pool = next) {
		next = LIST_NEXT(pool, entry);
		pool->target = serving_place_now(services, before, (unsigned int)pool->target);
		if (pool->target < 0)
			close_pool(pool);
	}
}

void app_forget(struct services *services)
{
	while (!LIST_EMPTY(&services->app_pools))
		close_pool(LIST_FIRST(&services->app_pools));
}
