/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/control/control.h - the coordination server on an event loop
 *
 * Theory of operation
 *	listener -> web_server -> /key
 *	                       -> /ts2021 -> Noise -> HTTP/2 -> register, map (node*.c)
 *	Unix socket -> web_server -> operator's API (operator.c)
 *
 *   What a request changed is written, with all that others changed in the same round of
 *   the loop, by one transaction; then the answers go out, and only then peers are told.
 *   If it can't be written (a full disk), answers wait and it is tried again each
 *   second: nobody ever holds an answer that a crash could take back.
 */
#pragma once

#include "server/control/tailnet.h"
#include "transport/tls.h"

#include <uv.h>

struct control;

struct control_options {
	uv_loop_t *loop;
	const char *database;    /* path */
	int listen_fd;           /* owned, also on failure */
	int operator_fd;         /* Unix socket; owned, also on failure; -1: none */
	int dns_hook_fd;         /* of dns_hook_spawn(); owned, also on failure; -1: none */
	struct tls_context *tls; /* held; NULL: plain HTTP */
	bool behind_proxy;       /* as of struct web_server_options */
	/* Strings need to live as long as the server; the DERP map and DNS are taken. */
	struct tailnet_settings settings;
};

/** control_new() - Open the database and serve; 0 or negative errno with @err set */
int control_new(const struct control_options *options, struct control **ret, struct error *err);

/** control_free() - Write what is dirty, end all connections. NULL is fine */
void control_free(struct control *c);

/** control_noise_key() - The public Noise key that /key tells */
const struct public_key *control_noise_key(const struct control *c);

/** control_endpoint() - Where nodes reach it */
int control_endpoint(const struct control *c, struct endpoint *ret);

/** control_knows() - Whether @key is a node's that may use the relay */
bool control_knows(const struct control *c, const struct public_key *key);

/** control_tailnet() - For what isn't the network's to ask */
struct tailnet *control_tailnet(struct control *c);

/** control_metrics() - Append what Prometheus reads; 0, -ENOMEM, -EMSGSIZE */
int control_metrics(const struct control *c, struct buffer *out);
