/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/map_stream.c - the bytes of a map response into its messages (sans-I/O)
 *
 * A body is inflated in one call into a buffer of its whole size, so zstd needs no
 * window of its own; what it needs is given back between messages, which are rare.
 */
#include "control/map_stream.h"

#include "base/cursor.h"
#include "base/limits.h"

#include <errno.h>
#include <zstd.h>

#define HEADER_SIZE  4
#define READ_AT_ONCE (1024u * 1024) /* more than a transport ever hands over in one piece */
#define INFLATE_STEP (256u * 1024)
#define WINDOW_LOG   23 /* 8 MB: the largest window a frame may ask for */

void map_stream_init(struct map_stream *s, bool compressed)
{
	*s = (struct map_stream){
		.received = BUFFER_INIT(LIMIT_MAP_FRAME + READ_AT_ONCE),
		.compressed = compressed,
	};
}

void map_stream_clear(struct map_stream *s)
{
	buffer_free(&s->received);
}

int map_stream_feed(struct map_stream *s, const uint8_t *bytes, size_t length)
{
	return buffer_append(&s->received, bytes, length);
}

/* A frame that doesn't say how large it is inside. */
static int inflate_unsized(ZSTD_DCtx *context, const uint8_t *bytes, size_t length,
			   struct buffer *out, struct error *err)
{
	ZSTD_inBuffer in = {.src = bytes, .size = length};
	size_t left = 1;

	while (left) {
		ZSTD_outBuffer step;

		if (buffer_reserve(out, INFLATE_STEP) < 0)
			return error_set(err, -EMSGSIZE, "map: a message inflates beyond %u bytes",
					 LIMIT_MAP_OBJECT);
		step = (ZSTD_outBuffer){.dst = buffer_end(out), .size = INFLATE_STEP};
		left = ZSTD_decompressStream(context, &step, &in);
		if (ZSTD_isError(left) || (left && in.pos == in.size && step.pos == 0))
			return error_set(err, -EBADMSG, "map: not a whole zstd frame");
		out->length += step.pos;
	}
	return in.pos == in.size ? 0 : error_set(err, -EBADMSG, "map: more than a zstd frame");
}

static int inflate_sized(ZSTD_DCtx *context, const uint8_t *bytes, size_t length, size_t size,
			 struct buffer *out, struct error *err)
{
	size_t inflated;

	if (size > LIMIT_MAP_OBJECT)
		return error_set(err, -EMSGSIZE, "map: a message of %zu bytes", size);
	if (buffer_reserve(out, size + 1) < 0)
		return error_set(err, -ENOMEM, "map: out of memory");
	inflated = ZSTD_decompressDCtx(context, buffer_end(out), size, bytes, length);
	if (ZSTD_isError(inflated))
		return error_set(err, -EBADMSG, "map: zstd: %s", ZSTD_getErrorName(inflated));
	out->length += inflated;
	return 0;
}

static int inflate(const uint8_t *bytes, size_t length, struct buffer *out, struct error *err)
{
	unsigned long long size = ZSTD_getFrameContentSize(bytes, length);
	ZSTD_DCtx *context;
	int r;

	if (size == ZSTD_CONTENTSIZE_ERROR)
		return error_set(err, -EBADMSG, "map: not a zstd frame");
	context = ZSTD_createDCtx();
	if (!context)
		return error_set(err, -ENOMEM, "map: out of memory");
	if (size == ZSTD_CONTENTSIZE_UNKNOWN) {
		ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_LOG);
		r = inflate_unsized(context, bytes, length, out, err);
	} else {
		r = inflate_sized(context, bytes, length, size > SIZE_MAX ? SIZE_MAX : (size_t)size,
				  out, err);
	}
	ZSTD_freeDCtx(context);
	return r;
}

int map_stream_next(struct map_stream *s, struct buffer *ret, struct error *err)
{
	struct buffer message = BUFFER_INIT(LIMIT_MAP_OBJECT + INFLATE_STEP);
	struct cursor c = cursor_of(buffer_head(&s->received), s->received.length);
	uint32_t length = cursor_le32(&c);
	const uint8_t *body;
	int r = 0;

	if (!cursor_ok(&c))
		return 0;
	if (length > LIMIT_MAP_FRAME)
		return error_set(err, -EMSGSIZE, "map: a frame of %u bytes", length);
	body = cursor_take(&c, length);
	if (!body)
		return 0;
	if (length && s->compressed)
		r = inflate(body, length, &message, err);
	else if (length && buffer_append(&message, body, length) < 0)
		r = error_set(err, -ENOMEM, "map: out of memory");
	if (r < 0) {
		buffer_free(&message);
		return r;
	}
	buffer_consume(&s->received, HEADER_SIZE + (size_t)length);
	/* A map of megabytes is followed by hours of small messages. */
	if (!s->received.length)
		buffer_free(&s->received);
	*ret = message;
	return 1;
}
