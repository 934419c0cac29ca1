/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2_server.h - the server side of HTTP/2 over any stream (nghttp2)
 *
 * Theory of operation
 *   One http2_server is one connection. The owner gets a request when its body is complete, and
 *   answers at once or later: with a whole body (http2_reply()), or with a body without end
 *   (http2_begin(), then http2_push()). An exchange is valid until its `gone` event, which comes
 *   after the answer was sent, the client reset it, or the connection ended. An owner that keeps
 *   an exchange drops it there.
 *
 *   Limits: streams at once, and bytes of all bodies of one connection. The `held` event gives the
 *   bytes at each change, for limits over many connections. The owner sets time limits: see
 *   http2_server_waiting_since().
 */
#pragma once

#include "base/buffer.h"
#include "base/clock.h"
#include "transport/http1.h"
#include "transport/stream.h"

struct http2_server;

/* A request and its answer. Fields are for reading, except those that are the owner's. */
struct http2_exchange {
	const char *method;
	const char *path;   /* with its query */
	struct buffer body; /* whole; wiped when the exchange ends */
	struct http2_server *connection;
	void *context; /* the owner's */

	/* The owner's, until it has answered: at most eight headers beside Content-Type. */
	const struct http1_header *headers; /* names in lower case */
	size_t header_count;
};

/* @user is what http2_serve() was given. */
struct http2_server_events {
	/** @request: a complete request; to be answered now or later */
	void (*request)(void *user, struct http2_exchange *x);
	/** @drained: all pushed bytes were sent; the owner may push more. May be NULL */
	void (*drained)(void *user, struct http2_exchange *x);
	/**
	 * @held: the bytes that requests and unread answers take now. May be NULL. The owner may
	 * close the connection when they have grown
	 */
	void (*held)(void *user, size_t bytes);
	/** @gone: the exchange has ended, for any reason. May be NULL */
	void (*gone)(void *user, struct http2_exchange *x);
	/**
	 * @ended: the connection is over, after all `gone`; http2_server_close() is still due.
	 * @err is NULL when the client ended it in order
	 */
	void (*ended)(void *user, const struct error *err);
};

/**
 * http2_serve() - Speak HTTP/2 as the server over @below
 * @below: open; owned from here on, also on failure
 *
 * Our settings are queued on @below before this returns. Resume a stream that is born
 * paused afterwards.
 */
int http2_serve(struct stream *below, const struct http2_server_events *events, void *user,
		struct http2_server **ret, struct error *err);

/**
 * http2_reply() - Answer whole
 * @type: Content-Type, or NULL: none
 *
 * Return: 0; -ENOMEM, after which the exchange is reset. A second answer is -EALREADY
 */
int http2_reply(struct http2_exchange *x, int status, const char *type, const void *body,
		size_t length);

/** http2_begin() - Answer with a body that http2_push() adds to; as http2_reply() */
int http2_begin(struct http2_exchange *x, int status, const char *type);

/**
 * http2_push() - Add to the body
 *
 * Return: 0, -ENOMEM, -EPIPE when it has ended. It never refuses for lack of room: the
 * owner looks at http2_pushed() and waits for `drained`
 */
int http2_push(struct http2_exchange *x, const void *bytes, size_t length);

/** http2_pushed() - Bytes that wait in the exchange */
size_t http2_pushed(const struct http2_exchange *x);

/** http2_finish() - The body that http2_begin() began is complete */
void http2_finish(struct http2_exchange *x);

/** http2_reset() - Cut the exchange off; `gone` follows */
void http2_reset(struct http2_exchange *x);

/**
 * http2_server_waiting_since() - Since when the client is late, or DEADLINE_NEVER
 *
 * With the rest of a request, or with taking a whole answer.
 */
nanoseconds http2_server_waiting_since(const struct http2_server *c);

/** http2_server_limit_bodies() - Of all requests at once; LIMIT_RPC_BODY at first */
void http2_server_limit_bodies(struct http2_server *c, size_t bytes);

/** http2_server_exchanges() - Exchanges under way */
size_t http2_server_exchanges(const struct http2_server *c);

/** http2_server_close() - End it, with `gone` for all exchanges, without `ended`. NULL is fine */
void http2_server_close(struct http2_server *c);
