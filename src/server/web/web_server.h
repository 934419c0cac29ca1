/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/web/web_server.h - HTTP/1.1 on a listener of our own, TLS or plain, with upgrades
 *
 * Theory of operation
 *   One request at a time on a connection. `serve` gets the whole request and, before it
 *   returns, answers by http1_reply() or takes the connection's stream away for another protocol
 *   (http1_upgrade()). An exchange is valid until then. No request is served inside of an answer.
 *
 *   Hostile clients: who hasn't sent a whole request within LIMIT_SERVER_PATIENCE is
 *   cut; of such connections at most LIMIT_SERVER_YOUNG are kept, and the oldest goes
 *   for the next one, so a flood of half-open connections keeps nobody out for long. Of one
 *   source (an address, a /64) there are fewer: its own oldest goes, and one that connects
 *   too often is closed before a byte of it is read; only loopback is not counted. Dead
 *   ones are found by the kernel (TCP_USER_TIMEOUT, keep-alive), upgraded ones too.
 *
 *   Behind a proxy (`behind_proxy`) a peer on loopback or in a private network is that proxy: its
 *   connections are not counted, and each request is of the address that the proxy added to
 *   X-Forwarded-For last.
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/error.h"
#include "server/web/source_limit.h"
#include "transport/http1.h"
#include "transport/stream.h"
#include "transport/tls.h"

#include <uv.h>

struct web_server;

struct http1_exchange {
	const struct http1_head *head;
	char *path;           /* without query; writable */
	const char *query;    /* after '?', or "" */
	struct buffer *body;  /* whole */
	struct endpoint peer; /* ADDRESS_NONE on a Unix socket */
	unsigned int
		source; /* its slot, as of source_limit_slot(); WEB_SOURCE_LOCAL: not counted */
};

struct web_server_options {
	uv_loop_t *loop;
	int listen_fd;           /* owned from web_server_new() on, also on failure */
	struct tls_context *tls; /* of tls_server_context_create(), held; NULL: plain */
	size_t body_limit;       /* longer ones are answered with 413 */
	bool behind_proxy;
	/** @serve: answer or upgrade before it returns */
	void (*serve)(void *user, struct http1_exchange *x);
	void *user;
};

struct web_statistics {
	uint64_t accepted;
	uint64_t refused;   /* over LIMIT_SERVER_CONNECTIONS, or pushed out by newer ones */
	uint64_t limited;   /* of a source with too many */
	uint64_t timed_out; /* no whole request in time */
	uint64_t malformed;
	size_t open;
	size_t young;
};

/** web_listen() - A listening TCP socket at @at; -errno with @err set */
int web_listen(const struct endpoint *at, int *ret_fd, struct error *err);

/** web_listen_unix() - The same at a path, mode 0600; a stale socket there is replaced */
int web_listen_unix(const char *path, int *ret_fd, struct error *err);

int web_server_new(const struct web_server_options *options, struct web_server **ret,
		   struct error *err);

/** web_server_free() - Close the listener and every connection but upgraded ones. NULL is fine */
void web_server_free(struct web_server *server);

/** web_server_endpoint() - Where it listens (the port, if 0 was asked for) */
int web_server_endpoint(const struct web_server *server, struct endpoint *ret);

const struct web_statistics *web_server_statistics(const struct web_server *server);

/** http1_reply_header() - One more header for the answer that follows */
void http1_reply_header(struct http1_exchange *x, const char *name, const char *value);

/** http1_reply_close() - The connection ends with the answer that follows */
void http1_reply_close(struct http1_exchange *x);

/** http1_reply() - Answer; @x is gone afterwards. @type NULL: no Content-Type */
void http1_reply(struct http1_exchange *x, int status, const char *type, const void *body,
		 size_t length);

/** http1_reply_text() - Answer with a line of text (a newline is added) */
void http1_reply_text(struct http1_exchange *x, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * http1_upgrade() - Answer 101 with "Upgrade: @protocol", then hand the stream over
 * @ret_head: bytes that came behind the request; the caller's to free
 *
 * Headers given by http1_reply_header() are sent too. @x is gone afterwards, in any case.
 * Return: the stream, paused, without events, TLS included; NULL on failure
 */
struct stream *http1_upgrade(struct http1_exchange *x, const char *protocol,
			     struct buffer *ret_head);

/** http1_take() - As http1_upgrade(), but nothing is sent (DERP's "fast start") */
struct stream *http1_take(struct http1_exchange *x, struct buffer *ret_head);
