/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/load_node.h - one simulated node: a real TS2021 session with nothing behind it
 *
 *	connect -> upgrade -> Noise -> HTTP/2 -> register -> map stream -> lite update -> JOINED
 *
 * Its messages are inflated and handed on as text; nothing is kept of them. The node key and the
 * disco key are random bytes, since no server asks for a proof of them.
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "transport/http2.h"
#include "transport/tls.h"
#include "transport/ts2021.h"

#include <uv.h>
#include <zstd.h>

struct load_node;

enum load_stage {
	LOAD_IDLE,
	LOAD_CONNECTING,
	LOAD_REGISTERING,
	LOAD_MAPPING,
	LOAD_UPDATING,
	LOAD_JOINED,
};

/* What all nodes share. */
struct load_server {
	uv_loop_t *loop;
	struct endpoint at;
	struct tls_context *tls; /* NULL: plain */
	struct public_key key;
	ZSTD_DCtx *zstd;
	struct buffer text; /* of the message at hand */
	void *user;

	/** @joined: the server has answered the last of a join's requests */
	void (*joined)(struct load_node *n);
	/** @message: one map message but keep-alives; @text ends with a zero */
	void (*message)(struct load_node *n, const char *text, size_t length);
	/** @failed: its connection is gone, with its stage back at IDLE */
	void (*failed)(struct load_node *n, const char *why);
};

struct load_node {
	struct load_server *server;
	uint32_t number;
	const char *auth_key;
	enum load_stage stage;
	struct secret_key machine;
	struct public_key key, disco;
	int fd;
	struct stream *stream; /* until HTTP/2 has it */
	struct ts2021_client *noise;
	struct http2_client *http2;
	struct buffer frames;         /* of the map stream, incomplete */
	nanoseconds registering_at;   /* when the register request left */
	nanoseconds mapped_at;        /* when the first map was there */
	uint64_t messages, full_maps; /* since the owner last set them to zero */
	uint32_t keep_alives;         /* as well */
	int status;

	/* The owner's. */
	uint32_t group;
	uint32_t attempts;
	nanoseconds retry_at;
	nanoseconds seen_at;
	uint64_t bytes_before;
};

/** load_node_start() - Join, from IDLE */
void load_node_start(struct load_node *n);

/** load_node_received() - Bytes of TCP payload that its connection has received */
uint64_t load_node_received(const struct load_node *n);
