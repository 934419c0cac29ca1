/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2_link.h - nghttp2 on a stream; what client and server share. For http2*.c only
 *
 * Theory of operation
 *   nghttp2 is fed by `data` of the stream and emptied into it as long as little is
 *   queued there. Owners get their events from within nghttp2's callbacks, where they may send,
 *   answer and close; so each call stands between http2_link_enter() and http2_link_leave(), and
 *   only the outermost http2_link_leave() sends, judges and frees.
 */
#pragma once

#include "transport/stream.h"

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

/* nghttp2 is not asked for more frames while the stream below queues so many bytes. */
#define HTTP2_QUEUE_HIGH (64u * 1024)

struct http2_link {
	struct stream *below;
	nghttp2_session *session;
	const struct http2_link_ops *ops;
	unsigned int busy; /* calls in */
	bool over;         /* the owner was notified of the end */
	bool closed;       /* by the owner: freed by the outermost http2_link_leave() */
};

struct http2_link_ops {
	bool server;
	bool windows_by_hand; /* the owner says which bytes are consumed */
	nghttp2_on_begin_frame_callback on_begin_frame; /* or NULL. Their user is the link */
	nghttp2_on_begin_headers_callback on_begin;
	nghttp2_on_invalid_header_callback on_invalid_header; /* NULL: such a header is dropped */
	nghttp2_on_header_callback on_header;
	nghttp2_on_data_chunk_recv_callback on_data;
	nghttp2_on_frame_recv_callback on_frame;
	nghttp2_on_stream_close_callback on_stream_closed;
	nghttp2_on_frame_send_callback on_frame_sent; /* or NULL */
	/** @sent: all frames were passed to the stream; may add some */
	void (*sent)(struct http2_link *link);
	/** @end: the link has ended: with the stream, or for an error of the peer */
	void (*end)(struct http2_link *link, const struct error *err);
	/** @free: the owner has closed it, and nothing works on it any more */
	void (*free)(struct http2_link *link);
};

/**
 * http2_link_open() - Make a session whose first frame is @settings
 *
 * Return: 0 or -ENOMEM; the caller frees the session in any case
 */
int http2_link_open(struct http2_link *link, struct stream *below, const struct http2_link_ops *ops,
		    const nghttp2_settings_entry *settings, size_t count);

static inline void http2_link_enter(struct http2_link *link)
{
	link->busy++;
}

/** http2_link_start() - Take the stream's events, and send the first frames */
void http2_link_start(struct http2_link *link);

/** http2_link_receive() - Bytes of the stream that came before http2_link_start() */
void http2_link_receive(struct http2_link *link, const uint8_t *bytes, size_t length);

/** http2_link_flush() - Move frames down while there is room; the fatal error of nghttp2 or 0 */
int http2_link_flush(struct http2_link *link);

/** http2_link_leave() - The end of a call that http2_link_enter() began; @r: nghttp2's result */
void http2_link_leave(struct http2_link *link, int r);

/** http2_link_reset() - Reset one HTTP/2 stream; @code of enum nghttp2_error_code */
void http2_link_reset(struct http2_link *link, int32_t id, uint32_t code);

/** http2_nv() - A name and a value that nghttp2 copies */
nghttp2_nv http2_nv(const char *name, const char *value);
