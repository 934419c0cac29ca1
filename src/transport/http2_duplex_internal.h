/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/http2_duplex_internal.h - what http2_duplex.c and http2_flow.c share */
#pragma once

#include "base/quota.h"
#include "transport/http2_duplex.h"
#include "transport/http2_head.h"
#include "transport/http2_link.h"

#include <sys/queue.h>

struct http2_flow {
	struct http2_duplex *duplex;
	LIST_ENTRY(http2_flow) entry;
	int32_t id; /* -1: the stream is closed */
	unsigned int holds;
	const struct http2_flow_events *events;
	void *user;
	struct http2_head *reading;  /* a head that is not whole */
	struct http2_head *head;     /* of the request */
	struct http2_head *trailers; /* received, until `end` */
	struct http2_fields *sent_trailers;
	struct buffer in, out;
	size_t owed; /* bytes of `in` that the connection's window still counts */
	bool closed; /* by the owner */
	bool paused;
	bool in_last, in_ended; /* the peer has ended it; the owner knows */
	bool answered;          /* the final head was received, or sent */
	bool out_ended;
	bool out_sent; /* its end is among the frames for the stream below */
	bool drained;  /* the event is due */
};

struct http2_duplex {
	struct http2_link link;
	struct http2_duplex_options options;
	const struct http2_duplex_events *events;
	void *user;
	LIST_HEAD(, http2_flow) flows;
	size_t count;
	size_t kept_in;
	struct quota cheap, resets;
	size_t moved; /* bytes of bodies since the bucket of cheap frames was filled up */
	bool going;   /* GOAWAY was sent or received */
	bool changed;
};

static inline struct http2_flow *http2_flow_of(nghttp2_session *session, int32_t id)
{
	return nghttp2_session_get_stream_user_data(session, id);
}

/** http2_kept() - So many bytes of bodies more, or fewer, are kept */
static inline void http2_kept(struct http2_duplex *d, size_t more, size_t fewer)
{
	d->kept_in += more - fewer;
	if (d->options.pool)
		d->options.pool->used += more - fewer;
}

/** http2_flow_new() - Without a stream yet; NULL without memory */
struct http2_flow *http2_flow_new(struct http2_duplex *d);

/** http2_flow_forget() - The flow belongs to nobody any more */
void http2_flow_forget(struct http2_flow *flow);

/** http2_flow_gone() - As http2_flow_forget(), after which its owner is told */
void http2_flow_gone(struct http2_flow *flow, uint32_t code);

/** http2_flow_release() - The end of a hold */
void http2_flow_release(struct http2_flow *flow);

/** http2_flow_opened() - @length bytes were handed out: the windows open again */
void http2_flow_opened(struct http2_flow *flow, size_t length);

/** http2_flow_deliver() - Hand out what has come, and the end, unless it is paused */
void http2_flow_deliver(struct http2_flow *flow);

/** http2_duplex_moved() - Bytes of a body went either way: pings may come with them (gRPC measures by them) */
void http2_duplex_moved(struct http2_duplex *d, size_t length);
