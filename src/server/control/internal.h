/* SPDX-License-Identifier: BSD-3-Clause */
/* server/control/internal.h - what control.c, node.c and operator.c share */
#pragma once

#include "server/control/access.h"
#include "server/control/control.h"
#include "server/control/store.h"
#include "server/web/web_server.h"
#include "transport/http2_server.h"
#include "transport/loop_timer.h"
#include "transport/ts2021_stream.h"

#include <zstd.h>

/* One TS2021 connection: a machine, proved by Noise. */
struct node_connection {
	struct control *control;
	struct node_connection *next, **link;
	struct http2_server *http2;
	struct public_key machine;
	uint16_t version;
	nanoseconds idle_since; /* without an exchange; NEVER while there is one */
	bool used;              /* it has had one: a handshake alone costs a stranger nothing */
};

enum exchange_kind {
	EXCHANGE_ANSWER, /* an answer that waits for the disk */
	EXCHANGE_HELD,   /* a login that waits for an operator */
	EXCHANGE_MAP,    /* a map stream */
	EXCHANGE_KINDS,
};

/* An exchange that isn't over with its request. */
struct node_exchange {
	struct control *control;
	struct node_exchange *next, **link;
	enum exchange_kind kind;
	struct http2_exchange *x;

	struct buffer answer; /* ANSWER */

	struct public_key machine; /* HELD */
	struct control_register_request request;
	nanoseconds until;

	struct map_session *session; /* MAP */
	bool compress;
	nanoseconds keep_alive_at;
	nanoseconds stalled_since; /* NEVER while the reader keeps up */
};

struct control {
	uv_loop_t *loop;
	struct tailnet tailnet;
	struct access access;
	struct store *store;
	struct secret_key noise_key;
	struct public_key noise_public;
	struct web_server *web, *operator;
	struct node_connection *connections;
	struct node_exchange *exchanges[EXCHANGE_KINDS]; /* newest first */
	struct loop_timer *flush, *tick;
	ZSTD_CCtx *zstd;
	bool stopping;
	bool store_failed; /* and was logged */
};

/** control_settle() - Something changed or is to be told: write and answer, once this round is over
 */
void control_settle(struct control *c);

/**
 * control_write() - Write now what is dirty
 *
 * Return: 0, or negative errno with @err set: it stays dirty and is tried again
 */
int control_write(struct control *c, struct error *err);

/* node.c */

/** node_accept() - A /ts2021 request, whole; answers or upgrades */
void node_accept(struct control *c, struct web_exchange *x);

/** node_answer() - What was written may be answered, and told */
void node_answer(struct control *c);

/** node_logins_decided() - Look at held logins again */
void node_logins_decided(struct control *c);

/** node_tick() - Once a second: keep-alives, slow readers, idle connections */
void node_tick(struct control *c, nanoseconds now);

void node_connection_close(struct node_connection *n);

/* operator.c */
void operator_serve(void *user, struct web_exchange *x);
