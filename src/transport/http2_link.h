/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2_link.h - nghttp2 on a stream; what client and server share. For http2*.c only
 *
 * Theory of operation
 *   nghttp2 is fed by `data` of the stream and emptied into it as long as little is
 *   queued there. Owners are told from within nghttp2's callbacks, where they may send,
 *   answer and close; so each call in is between enter() and `leave`, and only the
 *   outermost `leave` sends, judges and frees.
 */
#pragma once

#include "transport/stream.h"

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

/* No more is asked of nghttp2 while this much waits below. */
#define HTTP2_QUEUE_HIGH (64u * 1024)

struct http2_link {
	struct stream *below;
	nghttp2_session *session;
	const struct http2_link_ops *ops;
	unsigned int busy; /* calls in */
	bool over;         /* the owner was told the end */
	bool closed;       /* by the owner: freed by the outermost leave() */
};

struct http2_link_ops {
	/** @leave: one call in returns; @r is what nghttp2 said in between */
	void (*leave)(struct http2_link *link, int r);
	/** @end: the stream ended */
	void (*end)(struct http2_link *link, const struct error *err);
};

static inline void http2_link_enter(struct http2_link *link)
{
	link->busy++;
}

/** http2_link_start() - Take the stream's events, and send what is to be sent first */
void http2_link_start(struct http2_link *link);

/** http2_link_flush() - Move frames down while there is room; the fatal error of nghttp2 or 0 */
int http2_link_flush(struct http2_link *link);

/**
 * http2_link_judge() - Whether it can go on
 * @r:    what nghttp2 said
 * @peer: "client", "server", for people
 *
 * Return: 0; -EPROTO with @err set, and nghttp2 has told the peer why, by GOAWAY
 */
int http2_link_judge(struct http2_link *link, int r, const char *peer, struct error *err);

/** http2_option() - What both sides want of nghttp2; NULL when out of memory */
nghttp2_option *http2_option(void);

/** http2_nv() - A name and a value that nghttp2 copies */
nghttp2_nv http2_nv(const char *name, const char *value);
