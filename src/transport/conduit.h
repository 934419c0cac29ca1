/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/conduit.h - bytes both ways between two sockets
 *
 * The end of one direction is passed on, and the other direction goes on.
 *
 * Bytes are read only when all earlier ones of the direction were taken, so at most one piece waits, and
 * an idle conduit holds no buffer. All conduits of a pool together hold at most what the pool allows: the
 * more bytes wait, the smaller the pieces become.
 *
 * A direction in which full pieces follow each other goes through a pipe by splice(2), without a copy
 * through this process. An empty pipe serves all conduits of the pool in turn; one whose bytes the destination did not take
 * stays with its direction.
 */
#pragma once

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/** struct conduit_pool - What conduits share; one for each loop */
struct conduit_pool {
	size_t most;  /* bytes that may wait, of all conduits */
	size_t share; /* of one direction when half of @most wait */
	nanoseconds
		half_closed; /* so long one direction may rest when the other has ended; 0: for ever */
	bool resets; /* pass a reset on: the peer learns that the bytes were cut short. Else an end */
	size_t waiting; /* bytes that wait now */
	unsigned int pipes;
	int spare[2]; /* an empty pipe; 0, 0: none */
};

/**
 * conduit_pool_init() - For up to @conduits at once, which together hold at most @most bytes
 *
 * With more than @most / 2 KiB conduits the bound is 1 KiB for each of them. The caller sets @half_closed and
 * @resets, which are 0, where it wants them.
 */
void conduit_pool_init(struct conduit_pool *pool, size_t most, size_t conduits);

/** conduit_pool_free() - When all its conduits are closed */
void conduit_pool_free(struct conduit_pool *pool);

/** struct conduit_end - One of the two sockets */
struct conduit_end {
	int fd;               /* connected, non-blocking */
	const uint8_t *early; /* bytes that go to it first: they were read already; copied */
	size_t early_length;
	uint64_t *counter; /* of bytes that it has taken; or NULL */
};

struct conduit;

/**
 * conduit_open() - Pass bytes on until both directions have ended
 * @ends:  their descriptors are owned, on failure too
 * @ended: called once, later; the conduit is gone then
 *
 * Return: NULL without memory, or where the destination does not take early bytes and the pool is full
 */
struct conduit *conduit_open(uv_loop_t *loop, struct conduit_pool *pool,
			     const struct conduit_end ends[static 2], void (*ended)(void *user),
			     void *user);

/** conduit_close() - End it now; @ended is not called. NULL is fine */
void conduit_close(struct conduit *conduit);
