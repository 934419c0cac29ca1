/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/stun_server.h - answers STUN binding requests of tailnet nodes (RFC 5389)
 *
 * An answer is never longer than its request plus 4 bytes, so the server is no
 * amplifier; what one source (address, /64) gets is limited all the same, and what
 * isn't a node's request gets nothing.
 */
#pragma once

#include "base/address.h"
#include "base/clock.h"
#include "base/error.h"
#include "server/web/source_limit.h"
#include "wire/stun.h"

#include <stdbool.h>
#include <uv.h>

/* Sans-I/O */

struct stun_statistics {
	uint64_t answered;
	uint64_t malformed;
	uint64_t limited;
	uint64_t unsent; /* the kernel's buffer was full */
};

/**
 * stun_answer() - What to answer to a datagram
 *
 * Return: bytes of @out, or 0: nothing
 */
size_t stun_answer(struct source_limit *limiter, const void *packet, size_t length,
		   const struct endpoint *source, nanoseconds now,
		   uint8_t out[static STUN_RESPONSE_MAX], struct stun_statistics *statistics);

/* On the loop */

struct stun_server;

/** stun_server_new() - Listen at @at; on [::] both families. 0 or negative errno with @err set */
int stun_server_new(uv_loop_t *loop, const struct endpoint *at, struct stun_server **ret,
		    struct error *err);
void stun_server_free(struct stun_server *server);

/** stun_server_endpoint() - Where it listens */
const struct endpoint *stun_server_endpoint(const struct stun_server *server);
const struct stun_statistics *stun_server_statistics(const struct stun_server *server);
