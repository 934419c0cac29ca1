/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2.h - an HTTP/2 client over any stream (nghttp2)
 *
 * Several requests run at once, one of them (the map) without end. Bytes passed to the `data`
 * event count as consumed, and both flow-control windows are opened again.
 */
#pragma once

#include "base/clock.h"
#include "transport/http1.h"
#include "transport/stream.h"

#include <uv.h>

/* Interval of pings: proxies on the way cut connections that are idle for 50 or 60 s. */
#define HTTP2_KEEP_ALIVE (25 * NSEC_PER_SEC)

struct http2_client;
struct http2_request;

/* The events of one request, which is gone after `end` or `failed`. Each may be NULL. */
struct http2_events {
	/**
	 * @response: the head was received
	 * @retry_after: seconds of the Retry-After header; -1: it has none
	 */
	void (*response)(void *user, int status, int64_t retry_after);
	void (*data)(void *user, const uint8_t *bytes, size_t length);
	void (*end)(void *user);
	/** @failed: -ETIMEDOUT, -ECONNRESET (by the server), -EPIPE (the connection ended), … */
	void (*failed)(void *user, const struct error *err);
};

/* All pointers need to be valid only during http2_send(). */
struct http2_message {
	const char *method;
	const char *path;
	const struct http1_header *headers; /* names in lower case */
	size_t header_count;
	const void *body;
	size_t body_length;
	nanoseconds timeout; /* until the end of the response; 0: none */
	size_t body_limit;   /* of the response; a longer one fails with -EMSGSIZE; 0: none */
};

/**
 * http2_ended - The connection takes no more requests
 * @err: NULL when the server ended it in order
 *
 * Called once, after all its requests have failed. http2_close() is still due.
 */
typedef void http2_ended(void *user, const struct error *err);

/**
 * http2_open() - Speak HTTP/2 over @below
 * @below:     open; owned from here on, also on failure
 * @authority: host[:port] of the requests
 */
int http2_open(uv_loop_t *loop, struct stream *below, const char *authority, http2_ended *ended,
	       void *user, struct http2_client **ret, struct error *err);

/**
 * http2_send() - Start a request
 * @ret: valid until its `end` or `failed`, or http2_cancel(); may be NULL
 *
 * Return: 0; -EPIPE when the connection takes no more; -EMSGSIZE; -ENOMEM; with @err set
 */
int http2_send(struct http2_client *client, const struct http2_message *message,
	       const struct http2_events *events, void *user, struct http2_request **ret,
	       struct error *err);

/** http2_cancel() - Reset the request; no event follows. NULL is fine */
void http2_cancel(struct http2_request *request);

/** http2_usable() - Whether http2_send() can succeed (no GOAWAY came, and it lives) */
bool http2_usable(const struct http2_client *client);

/** http2_close() - End it; its requests vanish without an event. NULL is fine */
void http2_close(struct http2_client *client);
