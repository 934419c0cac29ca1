/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * localapi/http_server.h - HTTP/1.1 on a listener that the supervisor made
 *
 * Theory of operation
 *   One exchange (request and response) at a time on a connection. `admit` decides
 *   at the head, before a body is taken; `serve` gets the whole request and answers
 *   by http1_reply(), now or, after http1_hold(), later; or begins a stream.
 *   An exchange that is held stays valid until http1_release(), also when its
 *   connection is gone by then (replying is then a no-op).
 *
 *   A reply outside of `serve` only queues: the next request of the connection begins
 *   when the loop comes back to it, never inside of the code that replied. For the same
 *   reason a connection that fails while bytes are queued closes in the loop.
 *
 *   Bounds (base/limits.h): connections, of which some are kept for users who may write;
 *   where there is no room the longest idle one makes way. The time for a head, a body,
 *   and for a reader to take the next byte. The bytes of all bodies together, and of all
 *   that readers have not taken: past that limit the reader that has been slowest is cut.
 *
 *   Nothing here but accept4(), recv(), send(), close() and getsockopt() touches the
 *   kernel: libuv only watches the descriptors (its own streams would open
 *   /dev/null and call listen()).
 */
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "transport/http1.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#define HTTP_UID_NONE ((uid_t)-1) /* not a local peer */

struct http_server;

struct http1_exchange {
	const struct http1_head *head;
	char *path;          /* without query; writable */
	const char *query;   /* after '?', or "" */
	struct buffer *body; /* whole; wiped when the exchange ends */
	uid_t uid;           /* of the peer of a Unix socket, else HTTP_UID_NONE */

	/* The handler's own. @closed is called once, when a stream's connection ends. */
	void *context;
	void (*closed)(struct http1_exchange *x);
};

struct http_server_handler {
	/** @admit: whether to take the body; false once it replied. NULL: always */
	bool (*admit)(void *user, struct http1_exchange *x);
	/** @serve: answer */
	void (*serve)(void *user, struct http1_exchange *x);
	/** @privileged: whether a peer may use the reserved connections. NULL: never */
	bool (*privileged)(void *user, uid_t uid);
};

/**
 * http_server_new() - Accept connections on @listen_fd
 * @listen_fd: owned from here on, also on failure
 * @handler, @user: must outlive the server
 */
int http_server_new(uv_loop_t *loop, int listen_fd, const struct http_server_handler *handler,
		    void *user, struct http_server **ret, struct error *err);

/** http_server_free() - Close the listener and every connection. NULL is fine */
void http_server_free(struct http_server *server);

/** http1_has_body() - Whether the head of @x announces a body */
bool http1_has_body(const struct http1_exchange *x);

/** http1_local_address() - Where the peer of a TCP connection reached us; -EAFNOSUPPORT: Unix */
int http1_local_address(struct http1_exchange *x, struct address *ret);

/** http1_reply_header() - One more header for the reply that follows */
void http1_reply_header(struct http1_exchange *x, const char *name, const char *value);

/**
 * http1_reply() - Answer and end the exchange
 * @type: Content-Type, or NULL where there is no body (204)
 */
void http1_reply(struct http1_exchange *x, int status, const char *type, const void *body,
		 size_t length);

/** http1_reply_text() - Answer with a line of text (a newline is added) */
void http1_reply_text(struct http1_exchange *x, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** http1_is_open() - Whether the connection of a held exchange still lives */
bool http1_is_open(struct http1_exchange *x);

/** http1_stream_begin() - A chunked reply without end; then http1_stream_send(). 0, or -EPIPE */
int http1_stream_begin(struct http1_exchange *x, const char *type);

/**
 * http1_stream_send() - One more piece
 *
 * Return: 0, or -ENOBUFS when the reader is too slow: the connection is closed (and `closed`
 * called) once this returns to the loop
 */
int http1_stream_send(struct http1_exchange *x, const void *bytes, size_t length);

/** http1_stream_end() - Close the connection of a stream, from our side */
void http1_stream_end(struct http1_exchange *x);

/** http1_hold() - Keep @x until http1_release(): the answer comes later */
void http1_hold(struct http1_exchange *x);
void http1_release(struct http1_exchange *x);
