/* SPDX-License-Identifier: BSD-3-Clause */
/* services/stream_pair.c - two streams, each of which gets what the other one sends */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"

#include <stdlib.h>

struct side {
	struct pair *pair;
	struct side *other;
	struct stream *stream; /* NULL: it has ended */
	bool finished;         /* it sends no more, and the other one knows */
};

struct pair {
	struct services_part part;
	struct side sides[2];
	struct loop_timer *timer; /* when one has finished; else NULL */
};

static void close_pair(struct services_part *part)
{
	struct pair *pair = container_of(part, struct pair, part);

	loop_timer_free(pair->timer);
	stream_close(pair->sides[0].stream);
	stream_close(pair->sides[1].stream);
	services_remove(&pair->part);
	free(pair);
}

static void on_taken(void *user)
{
	close_pair(user);
}

static void on_lost(void *user, const struct error *err)
{
	(void)err;
	close_pair(user);
}

/* end() - One side has ended: the other one gets the rest of its bytes, and ends too */
static void end(struct pair *pair, struct side *ended)
{
	static const struct stream_events events = {.drained = on_taken, .closed = on_lost};
	struct stream *other = ended->other->stream;

	stream_close(TAKE_PTR(ended->stream));
	if (stream_pending(other) == 0) {
		close_pair(&pair->part);
		return;
	}
	stream_set_events(other, &events, &pair->part);
	stream_resume(other); /* an end must be noticed */
}

/* moved() - Bytes have come or gone */
static void moved(struct pair *pair)
{
	if (pair->timer)
		loop_timer_at(pair->timer, clock_boottime() + HALF_CLOSED);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct side *side = user;
	struct stream *to = side->other->stream;

	moved(side->pair);

	if (stream_write(to, bytes, length) < 0)
		end(side->pair, side->other);
	else if (stream_pending(to) > services_queue_limit(side->pair->part.services))
		stream_pause(side->stream);
}

/* settle() - Both have sent all: close when both have taken all */
static void settle(struct pair *pair)
{
	if (stream_pending(pair->sides[0].stream) == 0 &&
	    stream_pending(pair->sides[1].stream) == 0)
		close_pair(&pair->part);
}

static void on_drained(void *user)
{
	struct side *side = user;

	moved(side->pair);
	if (side->finished && side->other->finished)
		settle(side->pair);
	else
		stream_resume(side->other->stream);
}

/* on_finished() - Of a bridge: the other direction goes on */
static void on_finished(void *user)
{
	struct side *side = user;

	side->finished = true;
	stream_end(side->other->stream);
	if (side->other->finished)
		settle(side->pair);
	else if (loop_timer_create(side->pair->part.services->loop, on_taken, &side->pair->part,
				   &side->pair->timer) == 0)
		moved(side->pair);
}

static void on_closed(void *user, const struct error *err)
{
	struct side *side = user;

	(void)err;
	end(side->pair, side);
}

void stream_pair_open(struct services *services, const struct stream_pair_kind *kind,
		      struct stream *a, struct buffer *from_a, struct stream *b,
		      struct buffer *from_b)
{
	static const struct stream_events both_end = {
		.data = on_data,
		.drained = on_drained,
		.closed = on_closed,
	};
	static const struct stream_events each_ends = {
		.data = on_data,
		.drained = on_drained,
		.finished = on_finished,
		.closed = on_closed,
	};
	const struct stream_events *events = kind->each_ends ? &each_ends : &both_end;
	struct pair *pair = calloc(1, sizeof(*pair));

	if (!pair || stream_write(b, buffer_head(from_a), from_a->length) < 0 ||
	    stream_write(a, buffer_head(from_b), from_b->length) < 0) {
		stream_close(a);
		stream_close(b);
		free(pair);
		return;
	}
	buffer_free(from_a);
	buffer_free(from_b);
	services_add(services, &pair->part, kind->port, close_pair);
	services_set_peer(&pair->part, kind->peer);
	if (kind->funnel)
		services_add_funnel(&pair->part);
	pair->sides[0] = (struct side){pair, &pair->sides[1], a, false};
	pair->sides[1] = (struct side){pair, &pair->sides[0], b, false};
	stream_set_events(a, events, &pair->sides[0]);
	stream_set_events(b, events, &pair->sides[1]);
	stream_hold(b); /* the first may deliver, and so end both, before it returns */
	stream_resume(a);
	stream_resume(b);
	stream_release(b);
}
