/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http1_server.h - an HTTP/1.1 server on a listener: TCP or Unix, plain or TLS
 *
 * Theory of operation
 *   A connection has one exchange (a request and its answer) at a time. The owner of the server
 *   decides in three hooks: `accept` sees a new connection, `admit` sees the head of a request
 *   before its body is read, and `serve` gets the whole request. `serve` does one of these:
 *
 *	http1_reply()                 the answer, now
 *	http1_hold(), then any other  the answer, later; http1_release() ends the hold
 *	http1_stream_begin()          an answer without end, by http1_stream_send()
 *	http1_upgrade(), http1_take() the connection is handed over to another protocol
 *
 *   A held exchange stays valid until http1_release(), also after its connection has closed; a
 *   reply does nothing then.
 *
 *   An answer outside of `serve` is only queued. The next request of the connection begins when
 *   the loop comes back to it, never inside of the code that answered. For the same reason a
 *   connection that fails while an answer is written closes from the loop.
 *
 *   Everything that a client can make grow has a limit (struct http1_server_limits). Where a
 *   limit on connections is reached, the connection that has been idle for the longest time is
 *   closed in favour of the new one; where one on the bytes that they hold, the largest that has not sent
 *   its whole request.
 */
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "transport/http1.h"
#include "transport/stream.h"
#include "transport/tls.h"

#include <sys/types.h>
#include <uv.h>

#define HTTP1_UID_NONE ((uid_t)-1) /* the peer is not on a Unix socket */

struct http1_server;

struct http1_exchange {
	const struct http1_head *head;
	char *path;          /* without query; writable */
	const char *query;   /* after '?', or "" */
	struct buffer *body; /* whole; wiped when the exchange ends */

	/* Of the peer; `accept` sets the last two, and `admit` may change them for one request. */
	struct endpoint peer; /* ADDRESS_NONE on a Unix socket */
	uid_t uid;            /* HTTP1_UID_NONE unless on a Unix socket */
	uint32_t source;      /* its share of connections; from `sources` on it has none */
	bool privileged;      /* has the reserved connections too, and no share */

	/* The owner's. @closed is called once, when the connection of a stream ends. */
	void *context;
	void (*closed)(struct http1_exchange *x);
};

/* Zero is no limit, except where it says otherwise. */
struct http1_server_limits {
	unsigned int connections; /* required */
	unsigned int reserved;    /* of these, for privileged peers */
	unsigned int sources;     /* how many sources `accept` tells apart; 0: none */
	unsigned int of_source;   /* connections of one source */
	size_t body;              /* bytes of one request's body; 0: no body */
	size_t bodies;            /* of all bodies together */
	size_t held;              /* of all connections: TLS, heads, bodies */
	size_t held_of_source;    /* of the connections of one source */
	size_t queue;             /* of a stream's bytes that its reader has not taken */
	size_t unread;            /* of all answers that were not taken, besides the newest */

	/* Seconds: */
	unsigned int idle;    /* from an answer to the first byte of the next request */
	unsigned int head;    /* from there to the end of its head; 0: @idle limits all of these */
	unsigned int request; /* from there to the end of its body */
	unsigned int write;   /* for a client to take a piece of an answer */
};

/* Each hook but @serve may be NULL. */
struct http1_server_hooks {
	/** @accept: whether to take a new connection; @x has its peer and uid so far */
	bool (*accept)(void *user, int fd, struct http1_exchange *x);
	/** @admit: whether to take the body; false after http1_reply() */
	bool (*admit)(void *user, struct http1_exchange *x);
	/** @serve: answer */
	void (*serve)(void *user, struct http1_exchange *x);
	/** @starved: accept() failed for want of descriptors or memory; it is tried again */
	void (*starved)(void *user, int error);
};

struct http1_server_statistics {
	uint64_t accepted;
	uint64_t refused;   /* closed for want of room, the old connection or the new one */
	uint64_t limited;   /* the same for one source, or closed by the `accept` hook */
	uint64_t timed_out; /* no whole request, or an answer not taken, in time */
	uint64_t malformed;
	size_t open;    /* upgraded ones are not counted */
	size_t waiting; /* of these, without a whole request */
};

/**
 * http1_server_new() - Serve the connections of @listen_fd
 * @listen_fd: owned from here on, also on failure
 * @tls:       of tls_server_context_set(), held; NULL: plain
 * @limits:    copied
 * @hooks, @user: must outlive the server
 */
int http1_server_new(uv_loop_t *loop, int listen_fd, struct tls_context *tls,
		     const struct http1_server_limits *limits,
		     const struct http1_server_hooks *hooks, void *user, struct http1_server **ret,
		     struct error *err);

/** http1_server_free() - Close the listener and every connection but upgraded ones. NULL is fine */
void http1_server_free(struct http1_server *server);

/** http1_server_statistics() - Valid until the next call */
const struct http1_server_statistics *http1_server_statistics(struct http1_server *server);

/** http1_server_endpoint() - Where it listens (the port, if 0 was asked for) */
int http1_server_endpoint(const struct http1_server *server, struct endpoint *ret);

/** http1_has_body() - Whether the head of @x announces a body */
bool http1_has_body(const struct http1_exchange *x);

/** http1_local_endpoint() - The address that the peer connected to; -EAFNOSUPPORT: Unix */
int http1_local_endpoint(struct http1_exchange *x, struct endpoint *ret);

/** http1_reply_header() - Add a header to the answer that follows */
void http1_reply_header(struct http1_exchange *x, const char *name, const char *value);

/** http1_reply_close() - End the connection with the answer that follows */
void http1_reply_close(struct http1_exchange *x);

/**
 * http1_reply() - Answer and end the exchange
 * @type: Content-Type, or NULL for none
 */
void http1_reply(struct http1_exchange *x, int status, const char *type, const void *body,
		 size_t length);

/** http1_reply_text() - Answer with a line of text (a newline is added) */
void http1_reply_text(struct http1_exchange *x, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** http1_hold(), http1_release() - Keep @x for an answer that comes later */
void http1_hold(struct http1_exchange *x);
void http1_release(struct http1_exchange *x);

/** http1_is_open() - Whether the connection of a held exchange still lives */
bool http1_is_open(struct http1_exchange *x);

/** http1_stream_begin() - Begin a chunked answer without end. Return: 0 or -EPIPE */
int http1_stream_begin(struct http1_exchange *x, const char *type);

/**
 * http1_stream_send() - Send one more piece of a stream
 *
 * Return: 0, or -ENOBUFS when the reader is too slow: the connection closes (and `closed` is
 * called) when this has returned to the loop
 */
int http1_stream_send(struct http1_exchange *x, const void *bytes, size_t length);

/** http1_stream_end() - Close the connection of a stream, from our side */
void http1_stream_end(struct http1_exchange *x);

/**
 * http1_upgrade() - Answer 101 with "Upgrade: @protocol", then hand the stream over
 * @ret_head: bytes received after the request; the caller frees them
 *
 * Headers given by http1_reply_header() are sent too. @x is gone afterwards, in any case.
 * Return: the stream, paused, without events, TLS included; NULL on failure
 */
struct stream *http1_upgrade(struct http1_exchange *x, const char *protocol,
			     struct buffer *ret_head);

/** http1_take() - As http1_upgrade(), but nothing is sent (DERP's "fast start") */
struct stream *http1_take(struct http1_exchange *x, struct buffer *ret_head);
