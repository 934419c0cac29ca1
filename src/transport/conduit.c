/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/conduit.c - bytes both ways between two sockets
 *
 * DOC: Theory of operation
 *
 * A way is one direction; way[0] leads to ends[0]. What the destination did not take waits in memory or in the pipe,
 * and is counted in the pool. While less than half of the pool's bytes wait, a piece has up to PIECE; from
 * there on the pool's share, of which there is enough for each way of all conduits. So the sum can't pass the
 * bound, however the conduits became slow.
 */
#include "transport/conduit.h"

#include "base/cleanup.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE         ((size_t)64 * 1024)
#define SHARE_MIN     ((size_t)512)
#define PIECES_A_TURN 8
#define BULK          2u                  /* full pieces in a row: from there on by splice */
#define SMALL         ((size_t)16 * 1024) /* less than that at once is copied */
#define PIPES_MAX     256u

struct way {
	uint8_t *rest; /* read, and not taken yet */
	size_t at, length;
	int pipe[2]; /* with @piped bytes, which were not taken yet; 0, 0: none */
	size_t piped;
	unsigned int full; /* pieces in a row that were full */
	bool no_splice;    /* a socket that can't */
	bool ended;        /* the source has closed its side, */
	bool shut;         /* and the destination knows */
	uint64_t *counter;
};

struct end {
	struct conduit *conduit;
	uv_poll_t poll;
	int fd;
	bool open; /* the handle */
};

struct conduit {
	struct conduit_pool *pool;
	struct end ends[2];
	struct way ways[2];
	struct loop_timer *timer;
	void (*ended)(void *user);
	void *user;
	bool closing;
};

/* --- The pool --- */

void conduit_pool_init(struct conduit_pool *pool, size_t most, size_t conduits)
{
	size_t share = (most / 2 - PIECE) / (2 * conduits + 1);

	*pool = (struct conduit_pool){
		.most = most,
		.share = share < SHARE_MIN ? SHARE_MIN
			 : share > PIECE   ? PIECE
					   : share,
	};
}

static void close_pipe(struct conduit_pool *pool, int pipe[static 2])
{
	if (pipe[1] == 0)
		return;
	close(pipe[0]);
	close(pipe[1]);
	pipe[0] = pipe[1] = 0;
	pool->pipes--;
}

void conduit_pool_free(struct conduit_pool *pool)
{
	close_pipe(pool, pool->spare);
}

/*
 * take_pipe() - An empty pipe for @way; false: there is none
 * #syscalls: pipe2 splice
 */
static bool take_pipe(struct conduit_pool *pool, struct way *way)
{
	if (pool->spare[1] == 0) {
		if (pool->pipes >= PIPES_MAX || pipe2(pool->spare, O_NONBLOCK | O_CLOEXEC) < 0)
			return false;
		pool->pipes++;
	}
	memcpy(way->pipe, pool->spare, sizeof(pool->spare));
	memset(pool->spare, 0, sizeof(pool->spare));
	return true;
}

/* give_pipe() - The pipe of @way is empty */
static void give_pipe(struct conduit_pool *pool, struct way *way)
{
	if (pool->spare[1] != 0) {
		close_pipe(pool, way->pipe);
		return;
	}
	memcpy(pool->spare, way->pipe, sizeof(pool->spare));
	memset(way->pipe, 0, sizeof(way->pipe));
}

static size_t piece_size(const struct conduit_pool *pool)
{
	return pool->waiting <= pool->most / 2 ? PIECE : pool->share;
}

/* --- Life --- */

/* conduit_free() - When libuv has let go of both handles */
static void conduit_free(struct conduit *c)
{
	if (c->ends[0].open || c->ends[1].open)
		return;
	cleanup_close_at(&c->ends[0].fd);
	cleanup_close_at(&c->ends[1].fd);
	free(c);
}

static void on_end_closed(uv_handle_t *handle)
{
	struct end *end = handle->data;

	end->open = false;
	conduit_free(end->conduit);
}

void conduit_close(struct conduit *c)
{
	if (!c || c->closing)
		return;
	c->closing = true;
	loop_timer_free(c->timer);
	for (size_t i = 0; i < ARRAY_SIZE(c->ends); i++) {
		struct way *way = &c->ways[i];

		/* The pool may be gone when the handles are closed. */
		c->pool->waiting -= way->length - way->at + way->piped;
		close_pipe(c->pool, way->pipe);
		free(TAKE_PTR(way->rest));
		if (c->ends[i].open) {
			uv_poll_stop(&c->ends[i].poll);
			uv_close((uv_handle_t *)&c->ends[i].poll, on_end_closed);
		}
	}
	conduit_free(c);
}

static void finish(struct conduit *c)
{
	void (*ended)(void *) = c->ended;
	void *user = c->user;

	conduit_close(c);
	ended(user);
}

/* abort_ends() - Both ends get a reset and not an orderly end */
static void abort_ends(struct conduit *c)
{
	const struct linger linger = {.l_onoff = 1};

	/* #syscalls: setsockopt */
	for (size_t i = 0; i < ARRAY_SIZE(c->ends); i++)
		(void)setsockopt(c->ends[i].fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* --- Bytes --- */

/* waits() - Whether bytes wait for the destination */
static bool waits(const struct way *way)
{
	return way->rest || way->piped > 0;
}

static void count(struct way *way, size_t taken)
{
	if (way->counter)
		*way->counter += taken;
}

/* drain_pipe() - 0: all is taken, or the destination takes no more now; or negative errno */
static int drain_pipe(struct conduit_pool *pool, struct way *way, int to)
{
	while (way->piped > 0) {
		ssize_t n = splice(way->pipe[0], NULL, to, NULL, way->piped,
				   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n <= 0)
			return n == 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
		way->piped -= (size_t)n;
		pool->waiting -= (size_t)n;
		count(way, (size_t)n);
		if (way->piped == 0)
			give_pipe(pool, way);
	}
	return 0;
}

/* drain() - Write what waits; 0 or negative errno */
static int drain(struct conduit_pool *pool, struct way *way, int to)
{
	int r = drain_pipe(pool, way, to);

	if (r < 0 || way->piped > 0)
		return r;
	while (way->at < way->length) {
		ssize_t n = send(to, way->rest + way->at, way->length - way->at, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		way->at += (size_t)n;
		pool->waiting -= (size_t)n;
		count(way, (size_t)n);
	}
	free(TAKE_PTR(way->rest));
	way->at = way->length = 0;
	if (way->ended && !way->shut) {
		/* #syscalls: shutdown sendto recvfrom */
		way->shut = true;
		(void)shutdown(to, SHUT_WR);
	}
	return 0;
}

/* keep() - What the destination did not take */
static int keep(struct conduit_pool *pool, struct way *way, const uint8_t *bytes, size_t length)
{
	if (length == 0)
		return 0;
	way->rest = malloc(length);
	if (!way->rest)
		return -ENOMEM;
	memcpy(way->rest, bytes, length);
	way->at = 0;
	way->length = length;
	pool->waiting += length;
	return 0;
}

/* pass_piece() - One piece through a pipe; its length, 0 at the end, or negative errno */
static ssize_t pass_piece(struct conduit_pool *pool, struct way *way, int from, int to)
{
	ssize_t n = splice(from, NULL, way->pipe[1], NULL, piece_size(pool),
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	int r;

	if (n <= 0) {
		r = n < 0 ? -errno : 0;
		give_pipe(pool, way);
		return r;
	}
	way->piped = (size_t)n;
	pool->waiting += (size_t)n;
	if ((size_t)n < SMALL)
		way->full = 0;
	r = drain_pipe(pool, way, to);
	return r < 0 ? r : n;
}

/* copy_piece() - The same through memory */
static ssize_t copy_piece(struct conduit_pool *pool, struct way *way, int from, int to)
{
	static _Thread_local uint8_t piece[PIECE];
	ssize_t n = recv(from, piece, piece_size(pool), 0), sent;
	int r;

	way->full = n == (ssize_t)PIECE ? way->full + 1 : 0;
	if (n <= 0)
		return n < 0 ? -errno : 0;
	sent = send(to, piece, (size_t)n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	if (sent < 0)
		sent = 0;
	count(way, (size_t)sent);
	r = keep(pool, way, piece + sent, (size_t)(n - sent));
	return r < 0 ? r : n;
}

/* move() - Read and write as much as goes; 0 or negative errno */
static int move(struct conduit_pool *pool, struct way *way, int from, int to)
{
	int r = drain(pool, way, to);

	for (int left = PIECES_A_TURN; r == 0 && left > 0 && !waits(way) && !way->ended; left--) {
		bool pipe = way->full >= BULK && !way->no_splice && take_pipe(pool, way);
		ssize_t n =
			pipe ? pass_piece(pool, way, from, to) : copy_piece(pool, way, from, to);

		if (n == -EAGAIN || n == -EINTR)
			return 0;
		if (n == -EINVAL && pipe && !waits(way)) {
			way->no_splice = true; /* a kind of socket that can't */
		} else if (n < 0) {
			r = (int)n;
		} else if (n == 0) {
			way->ended = true;
			r = drain(pool, way, to);
		}
	}
	return r;
}

/* --- Events --- */

static void on_event(uv_poll_t *poll, int status, int events);

/* watch() - @from: the way of the bytes that this end sends; @to: of those that it gets */
static int watch(struct end *end, const struct way *from, const struct way *to)
{
	int events =
		(!waits(from) && !from->ended ? UV_READABLE : 0) | (waits(to) ? UV_WRITABLE : 0);

	return events ? uv_poll_start(&end->poll, events, on_event) : uv_poll_stop(&end->poll);
}

/* pass() - @r: negative if a socket has failed; what it received before that is passed on still */
static void pass(struct conduit *c, int r)
{
	struct way *ways = c->ways;

	for (size_t i = ARRAY_SIZE(c->ways); i-- > 0;) {
		int moved = move(c->pool, &ways[i], c->ends[!i].fd, c->ends[i].fd);

		r = r < 0 ? r : moved;
	}
	if (r == 0 && c->pool->half_closed && (ways[0].shut || ways[1].shut))
		loop_timer_at(c->timer, clock_boottime() + c->pool->half_closed);
	if (r < 0 && c->pool->resets)
		abort_ends(c);
	if (r < 0 || (ways[0].shut && ways[1].shut) || watch(&c->ends[0], &ways[1], &ways[0]) < 0 ||
	    watch(&c->ends[1], &ways[0], &ways[1]) < 0)
		finish(c);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct end *end = poll->data;

	(void)events;
	if (!end->conduit->closing)
		pass(end->conduit, status);
}

static void on_timer(void *user)
{
	struct conduit *c = user;

	if (c->ways[0].shut || c->ways[1].shut)
		finish(c);
	else
		pass(c, 0); /* the start */
}

/* put_early() - A new socket takes them all, as a rule */
static int put_early(struct conduit_pool *pool, struct way *way, const struct conduit_end *given)
{
	ssize_t sent = given->early_length
			       ? send(given->fd, given->early, given->early_length, MSG_NOSIGNAL)
			       : 0;
	size_t taken = sent > 0 ? (size_t)sent : 0; /* an error shows again */
	size_t rest = given->early_length - taken;

	if (rest > piece_size(pool))
		return -ENOBUFS;
	count(way, taken);
	return keep(pool, way, given->early + taken, rest);
}

static int open_end(struct conduit *c, uv_loop_t *loop, size_t i, const struct conduit_end *given)
{
	struct end *end = &c->ends[i];
	int r = uv_poll_init(loop, &end->poll, end->fd);

	end->conduit = c;
	end->poll.data = end;
	end->open = r == 0;
	c->ways[i].counter = given->counter;
	return r < 0 ? r : put_early(c->pool, &c->ways[i], given);
}

struct conduit *conduit_open(uv_loop_t *loop, struct conduit_pool *pool,
			     const struct conduit_end ends[static 2], void (*ended)(void *user),
			     void *user)
{
	struct conduit *c = calloc(1, sizeof(*c));

	if (!c) {
		close(ends[0].fd);
		close(ends[1].fd);
		return NULL;
	}
	c->pool = pool;
	c->ends[0].fd = ends[0].fd;
	c->ends[1].fd = ends[1].fd;
	c->ended = ended;
	c->user = user;
	if (loop_timer_create(loop, on_timer, c, &c->timer) < 0 ||
	    open_end(c, loop, 0, &ends[0]) < 0 || open_end(c, loop, 1, &ends[1]) < 0) {
		conduit_close(c);
		return NULL;
	}
	loop_timer_soon(c->timer);
	return c;
}
