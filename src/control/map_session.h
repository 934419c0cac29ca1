/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/map_session.h - from the bytes of a map response to its messages (sans-I/O)
 *
 * Frames of a 32-bit little-endian length and a body, which is one whole zstd frame
 * when compression was asked for. A body of length zero counts as a keep-alive.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

struct map_stream {
	struct buffer received;
	bool compressed;
};

/** map_stream_init() - @compressed: the request asked for zstd */
void map_stream_init(struct map_stream *s, bool compressed);
void map_stream_clear(struct map_stream *s);

/** map_stream_feed() - What came; 0, -EMSGSIZE past LIMIT_MAP_FRAME (and one read more), -ENOMEM */
int map_stream_feed(struct map_stream *s, const uint8_t *bytes, size_t length);

/**
 * map_stream_next() - Take the next whole message
 * @ret: its text; the caller frees the buffer. Empty: a keep-alive without content
 *
 * Return: 1; 0 when more bytes are needed; -EMSGSIZE, -EBADMSG (not zstd), -ENOMEM with
 * @err set: the stream is of no more use
 */
int map_stream_next(struct map_stream *s, struct buffer *ret, struct error *err);
