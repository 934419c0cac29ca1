/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * localapi/localapi.h - HTTP servers for local programs
 *
 * HTTP/1.1 on listeners of the supervisor: the LocalAPI on a Unix socket (the official
 * paths and JSON), and health and metrics on TCP. The answers come from node.h; nothing
 * here keeps state of the node.
 */
#pragma once

#include "base/error.h"
#include "node/node.h"

#include <uv.h>

struct localapi_server;

/**
 * localapi_server_new() - Serve the LocalAPI
 * @listen_fd: a listening Unix stream socket; owned from here on, also on failure
 *
 * Return: 0 or negative errno
 */
int localapi_server_new(uv_loop_t *loop, int listen_fd, struct node *node,
			struct localapi_server **ret, struct error *err);

/** localapi_server_free() - Close the listener and all connections, of probes too. NULL is fine */
void localapi_server_free(struct localapi_server *server);

enum health_server_paths {
	HEALTH_SERVE_HEALTHZ = 1 << 0, /* /healthz: 200 "ok", or 503 and the reason */
	HEALTH_SERVE_METRICS = 1 << 1, /* /metrics: Prometheus text */
};

/**
 * health_server_new() - Serve /healthz and /metrics
 * @listen_fd: a listening TCP socket; owned from here on, also on failure
 * @paths:     bits of enum health_server_paths; the others answer 404
 * @names:     host names, separated by commas, that a request may name; or NULL; copied
 */
int health_server_new(uv_loop_t *loop, int listen_fd, unsigned int paths, const char *names,
		      struct node *node, struct localapi_server **ret, struct error *err);
