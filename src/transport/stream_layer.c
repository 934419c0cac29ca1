/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/stream_layer.c - what streams over another stream share */
#include "transport/stream_layer.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>

static struct stream_layer *layer_of(const struct stream *s)
{
	return container_of(s, struct stream_layer, stream);
}

static bool alive(const struct stream_layer *l)
{
	return !l->stream.closed && !l->stream.ended;
}

void stream_layer_init(struct stream_layer *l, const struct stream_operations *stream,
		       const struct stream_layer_operations *operations, struct stream *below)
{
	stream_init(&l->stream, stream);
	l->operations = operations;
	l->below = below;
	l->rest = l->early = BUFFER_INIT(LIMIT_STREAM_QUEUE);
}

void stream_layer_free(struct stream_layer *l)
{
	stream_close(l->below);
	buffer_free_secret(&l->early);
	buffer_free(&l->rest);
}

int stream_layer_opened(struct stream_layer *l)
{
	int r = 0;

	l->open = true;
	if (l->early.length)
		r = l->operations->seal(l, buffer_head(&l->early), l->early.length);
	if (r < 0)
		return r;
	buffer_free_secret(&l->early);
	if (l->paused)
		stream_pause(l->below);
	stream_emit_opened(&l->stream);
	return 0;
}

/* reads() - Whether bytes from below are of use */
static bool reads(const struct stream_layer *l)
{
	return alive(l) && !l->stream.finished;
}

/* take() - Work on the bytes in `rest` and on new ones; keep the remainder */
static void take(struct stream_layer *l, const uint8_t *bytes, size_t length)
{
	struct buffer kept = l->rest;
	struct error err = {0};
	int r = 0;

	stream_hold(&l->stream);
	l->rest = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	if (kept.length) {
		r = buffer_append(&kept, bytes, length);
		bytes = buffer_head(&kept);
		length = kept.length;
	}
	if (r < 0)
		error_set_errno(&err, r, "store the received bytes");
	l->input = cursor_of(bytes, length);
	l->pumping = true;
	while (r == 0 && reads(l) && !(l->open && l->paused))
		r = l->operations->step(l, &err);
	l->pumping = false;
	if ((r == 0 || r == -EAGAIN) && reads(l)) {
		r = buffer_append(&l->rest, l->input.at, l->input.left);
		if (r < 0)
			error_set_errno(&err, r, "store the received bytes");
	}
	l->input = cursor_of(NULL, 0);
	buffer_free(&kept);
	if (r == 1)
		stream_emit_finished(&l->stream);
	else if (r != 0 && r != -EAGAIN)
		stream_emit_closed(&l->stream, &err);
	/* A pause and its end while we worked have stopped the stream below. */
	if (alive(l) && !l->paused)
		stream_resume(l->below);
	stream_release(&l->stream);
}

static void below_data(void *user, const uint8_t *bytes, size_t length)
{
	take(user, bytes, length);
}

static void below_drained(void *user)
{
	struct stream_layer *l = user;

	if (l->open)
		stream_emit_drained(&l->stream);
}

/* below_finished() - No more comes: a cut, unless the layer's own end came before */
static void below_finished(void *user)
{
	struct stream_layer *l = user;
	struct error err = {0};

	if (l->stream.finished)
		return;
	l->operations->cut(l, &err);
	stream_emit_closed(&l->stream, err.code ? &err : NULL);
}

static void below_closed(void *user, const struct error *cause)
{
	struct stream_layer *l = user;

	if (cause)
		stream_emit_closed(&l->stream, cause);
	else
		below_finished(user);
}

void stream_layer_start(struct stream_layer *l)
{
	static const struct stream_events events = {
		.data = below_data,
		.drained = below_drained,
		.finished = below_finished,
		.closed = below_closed,
	};

	stream_set_events(l->below, &events, l);
}

size_t stream_layer_pending(const struct stream *s)
{
	const struct stream_layer *l = layer_of(s);

	return l->early.length + stream_pending(l->below);
}

int stream_layer_write(struct stream_layer *l, const void *bytes, size_t length, size_t room)
{
	if (length > LIMIT_STREAM_QUEUE ||
	    stream_layer_pending(&l->stream) + room > LIMIT_STREAM_QUEUE)
		return -ENOBUFS;
	return l->open ? l->operations->seal(l, bytes, length)
		       : buffer_append(&l->early, bytes, length);
}

void stream_layer_pause(struct stream *s)
{
	struct stream_layer *l = layer_of(s);

	l->paused = true;
	if (l->open)
		stream_pause(l->below);
}

void stream_layer_resume(struct stream *s)
{
	struct stream_layer *l = layer_of(s);

	if (!l->paused)
		return;
	l->paused = false;
	if (!l->pumping) /* else the loop goes on by itself */
		take(l, NULL, 0);
}

void stream_layer_close(struct stream *s)
{
	stream_close(TAKE_PTR(layer_of(s)->below));
}
