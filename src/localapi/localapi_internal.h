/* SPDX-License-Identifier: BSD-3-Clause */
/* localapi/localapi_internal.h - the server of the LocalAPI, and that of probes */
#pragma once

#include "localapi/localapi.h"
#include "transport/http1_server.h"

/* The LocalAPI counts connections of each user; users with the same remainder share a count. */
#define LOCALAPI_SOURCES 1021u

struct localapi_server {
	struct node *node;
	struct http1_server *http;
	unsigned int paths; /* of probes: bits of enum health_server_paths */
	char *names;        /* of probes: host names separated by commas, or NULL */
};

/**
 * localapi_listen() - Serve @listen_fd by @hooks, with the limits of LIMIT_LOCALAPI_…
 * @from: its node, paths and names (copied)
 *
 * The hooks get a struct localapi_server.
 */
int localapi_listen(uv_loop_t *loop, int listen_fd, const struct http1_server_hooks *hooks,
		    const struct localapi_server *from, struct localapi_server **ret,
		    struct error *err);

/** localapi_cert() - GET cert/DOMAIN */
void localapi_cert(struct node *node, struct http1_exchange *x);

/** localapi_cert_authority() - Ours: the certificate of the node's own authority */
void localapi_cert_authority(struct node *node, struct http1_exchange *x);

/** localapi_reply_metrics() - Answer with node_metrics() */
void localapi_reply_metrics(struct node *node, struct http1_exchange *x);
