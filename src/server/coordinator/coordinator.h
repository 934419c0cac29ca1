/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/coordinator.h - the coordination server on an event loop
 *
 * Theory of operation
 *	listener -> web_server -> /key
 *	                       -> /ts2021 -> Noise -> HTTP/2 -> register, map (machine_*.c)
 *	Unix socket -> web_server -> operator's API (operator.c)
 *
 *   All changes of one round of the loop are written together, by one transaction; then the answers are sent, and only then peers are notified.
 *   If it can't be written (a full disk), answers wait and it is tried again each
 *   second: a crash never takes back a change that was answered.
 */
#pragma once

#include "server/coordinator/tailnet.h"
#include "transport/certificate.h"
#include "transport/tls.h"

#include <uv.h>

struct coordinator;

struct coordinator_options {
	uv_loop_t *loop;
	const char *database; /* path */
	int listen_fd;        /* owned, also on failure */
	int operator_fd;      /* Unix socket; owned, also on failure; -1: none */
	int dns_hook_fd;      /* of dns_hook_spawn(); owned, also on failure; -1: none */
	struct certificate
		*authority;      /* signs certificates of nodes; outlives the server; or NULL */
	struct tls_context *tls; /* held; NULL: plain HTTP */
	bool behind_proxy;       /* as of struct web_server_options */
	/* Strings need to live as long as the server; the DERP map and DNS are taken. */
	struct tailnet_settings settings;
};

/** coordinator_new() - Open the database and serve; 0 or negative errno with @err set */
int coordinator_new(const struct coordinator_options *options, struct coordinator **ret,
		    struct error *err);

/** coordinator_free() - Write all changes, end all connections. NULL is fine */
void coordinator_free(struct coordinator *c);

/** coordinator_endpoint() - Where nodes reach it */
int coordinator_endpoint(const struct coordinator *c, struct endpoint *ret);

/** coordinator_knows() - Whether @key is a node's that may use the relay */
bool coordinator_knows(const struct coordinator *c, const struct public_key *key);

/** coordinator_tailnet() - Its tailnet, for local use */
struct tailnet *coordinator_tailnet(struct coordinator *c);

/** coordinator_metrics() - Append what Prometheus reads; 0, -ENOMEM, -EMSGSIZE */
int coordinator_metrics(const struct coordinator *c, struct buffer *out);
