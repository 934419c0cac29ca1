/* SPDX-License-Identifier: BSD-3-Clause */
/* localapi/localapi_metrics.h - what the LocalAPI and the health server share: limits, metrics */
#pragma once

#include "node/node.h"
#include "transport/http1_server.h"

/* Users that the LocalAPI tells apart: others may have to share their share. */
#define LOCALAPI_SOURCES 1021u

/** localapi_listen() - http1_server_new() with the limits of both (LIMIT_LOCALAPI_…) */
int localapi_listen(uv_loop_t *loop, int listen_fd, const struct http1_server_hooks *hooks,
		    void *user, struct http1_server **ret, struct error *err);

/** localapi_reply_metrics() - Answer with node_metrics() */
void localapi_reply_metrics(struct node *node, struct http1_exchange *x);
