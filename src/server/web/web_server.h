/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/web/web_server.h - the HTTP server that strangers reach (transport/http1_server.h)
 *
 * Theory of operation
 *   A connection that has not sent a whole request within LIMIT_SERVER_PATIENCE is closed. At most
 *   LIMIT_SERVER_CONNECTIONS are open, and the oldest one is closed for the next one, so a flood of
 *   half-open connections keeps no client out for long. Their bytes are bounded too
 *   (LIMIT_SERVER_BYTES). One source (an address, a /64) has less of both: its own connection is
 *   closed, and one that connects too often is closed before a byte of
 *   it is read. Only loopback is not counted. The kernel finds dead connections
 *   (TCP_USER_TIMEOUT, keep-alive), upgraded ones too.
 *
 *   Behind a proxy (`behind_proxy`) a peer on loopback or in a private network is that proxy: its
 *   connections are not counted, and the peer of each request is the address that the proxy added
 *   to X-Forwarded-For last.
 */
#pragma once

#include "server/web/source_limit.h"
#include "transport/http1_server.h"

struct web_server;

struct web_server_options {
	uv_loop_t *loop;
	int listen_fd;           /* owned from web_server_new() on, also on failure */
	struct tls_context *tls; /* of tls_server_context_set(), held; NULL: plain */
	size_t body_limit;       /* longer ones are answered with 413 */
	bool behind_proxy;
	/** @serve: as struct http1_server_hooks */
	void (*serve)(void *user, struct http1_exchange *x);
	void *user;
};

/** web_listen() - A listening TCP socket at @at; -errno with @err set */
int web_listen(const struct endpoint *at, int *ret_fd, struct error *err);

/** web_listen_unix() - The same at a path, mode 0600; a stale socket there is replaced */
int web_listen_unix(const char *path, int *ret_fd, struct error *err);

int web_server_new(const struct web_server_options *options, struct web_server **ret,
		   struct error *err);

/** web_server_free() - Close the listener and every connection but upgraded ones. NULL is fine */
void web_server_free(struct web_server *server);

/** web_server_http() - For its endpoint and statistics */
struct http1_server *web_server_http(const struct web_server *server);
