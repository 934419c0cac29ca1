/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/transport/memory_stream.h - a stream whose other end is the test
 *
 * Written bytes gather in `sent` (and count as pending until the test takes them);
 * the test delivers by stream_emit_data() and ends by stream_emit_closed().
 */
#pragma once

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/stream.h"

#include <errno.h>

struct memory_stream {
	struct stream stream;
	struct buffer sent;
	bool *closed; /* set when its owner closed it */
};

static inline struct memory_stream *memory_stream_of(const struct stream *s)
{
	return container_of(s, struct memory_stream, stream);
}

static int memory_write(struct stream *s, const void *bytes, size_t length)
{
	return buffer_append(&memory_stream_of(s)->sent, bytes, length) < 0 ? -ENOBUFS : 0;
}

static size_t memory_pending(const struct stream *s)
{
	return memory_stream_of(s)->sent.length;
}

static void memory_nothing(struct stream *s)
{
	(void)s;
}

static void memory_close(struct stream *s)
{
	if (memory_stream_of(s)->closed)
		*memory_stream_of(s)->closed = true;
}

static void memory_release(struct stream *s)
{
	buffer_free(&memory_stream_of(s)->sent);
	free(memory_stream_of(s));
}

static inline struct memory_stream *memory_stream_create(bool *closed)
{
	static const struct stream_operations operations = {
		.write = memory_write,
		.pending = memory_pending,
		.pause = memory_nothing,
		.resume = memory_nothing,
		.close = memory_close,
		.release = memory_release,
	};
	struct memory_stream *m = calloc(1, sizeof(*m));

	stream_init(&m->stream, &operations);
	m->sent = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	m->closed = closed;
	return m;
}
