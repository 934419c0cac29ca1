/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/stream.c - what all streams have in common: their owner, their life */
#include "transport/stream.h"

#include <errno.h>

void stream_init(struct stream *s, const struct stream_operations *operations)
{
	*s = (struct stream){.operations = operations, .holds = 1};
}

void stream_set_events(struct stream *s, const struct stream_events *events, void *user)
{
	s->events = events;
	s->user = user;
}

int stream_write(struct stream *s, const void *bytes, size_t length)
{
	if (s->closed || s->ended || s->shut)
		return -EPIPE;
	return length ? s->operations->write(s, bytes, length) : 0;
}

void stream_end(struct stream *s)
{
	if (s->closed || s->ended || s->shut)
		return;
	if (s->operations->end)
		s->operations->end(s);
	s->shut = true;
}

size_t stream_pending(const struct stream *s)
{
	return s->ended ? 0 : s->operations->pending(s);
}

void stream_pause(struct stream *s)
{
	if (!s->ended)
		s->operations->pause(s);
}

void stream_resume(struct stream *s)
{
	if (!s->ended)
		s->operations->resume(s);
}

void stream_close(struct stream *s)
{
	if (!s || s->closed)
		return;
	s->closed = true;
	s->events = NULL;
	s->operations->close(s);
	stream_release(s);
}

static void finish_drained(void *user)
{
	stream_close(user);
}

static void finish_closed(void *user, const struct error *err)
{
	(void)err;
	stream_close(user);
}

void stream_finish(struct stream *s)
{
	static const struct stream_events finishing = {
		.drained = finish_drained,
		.closed = finish_closed,
	};

	if (!s)
		return;
	if (stream_pending(s) == 0) {
		stream_close(s);
		return;
	}
	stream_set_events(s, &finishing, s);
	stream_resume(s); /* an end must be noticed */
}

void stream_hold(struct stream *s)
{
	s->holds++;
}

void stream_release(struct stream *s)
{
	if (--s->holds == 0)
		s->operations->release(s);
}

void stream_emit_opened(struct stream *s)
{
	if (s->events && s->events->opened && !s->ended)
		s->events->opened(s->user);
}

void stream_emit_data(struct stream *s, const uint8_t *bytes, size_t length)
{
	if (s->events && s->events->data && !s->ended && !s->finished && length)
		s->events->data(s->user, bytes, length);
}

void stream_emit_drained(struct stream *s)
{
	if (s->events && s->events->drained && !s->ended)
		s->events->drained(s->user);
}

void stream_emit_finished(struct stream *s)
{
	if (s->ended || s->finished)
		return;
	if (!s->events || !s->events->finished) {
		stream_emit_closed(s, NULL);
		return;
	}
	s->finished = true;
	s->events->finished(s->user);
}

void stream_emit_closed(struct stream *s, const struct error *err)
{
	if (s->ended)
		return;
	s->ended = true;
	if (s->events && s->events->closed)
		s->events->closed(s->user, err);
}
