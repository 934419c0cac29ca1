/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/ingress/ingress_flow.c - bytes both ways between a client and a node
 *
 * DOC: Theory of operation
 *
 * Bytes are read from one end only when the other has taken all earlier ones, so at most one piece
 * waits in each direction, and an idle connection holds no buffer. A piece becomes smaller as
 * connections become more, so that all together hold INGRESS_QUEUED_ALL at most. The end of one
 * direction is passed on, and the other goes on. A reset of one end resets the other: a client then
 * knows that the answer was cut short.
 */
#include "base/cleanup.h"
#include "server/ingress/ingress_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECES_A_TURN 8

/* How long one direction may still go on when the other has ended and no byte moves. */
#define HALF_CLOSED_PATIENCE (600 * NSEC_PER_SEC)

struct way {
	uint8_t *rest; /* read, and not taken yet */
	size_t at, length;
	bool ended; /* the source has closed its side, */
	bool shut;  /* and the destination knows */
	uint64_t *counter;
};

struct end {
	struct ingress_flow *flow;
	uv_poll_t poll;
	int fd;
	bool open; /* the handle */
};

struct ingress_flow {
	struct ingress *ingress;
	struct end client, node;
	struct way to_node, to_client;
	struct loop_timer *timer;
	void (*ended)(void *user);
	void *user;
	bool closing;
};

static void flow_free(struct ingress_flow *flow)
{
	if (flow->client.open || flow->node.open)
		return;
	cleanup_close_at(&flow->client.fd);
	cleanup_close_at(&flow->node.fd);
	free(flow->to_node.rest);
	free(flow->to_client.rest);
	free(flow);
}

static void on_end_closed(uv_handle_t *handle)
{
	struct end *end = handle->data;

	end->open = false;
	flow_free(end->flow);
}

void ingress_flow_close(struct ingress_flow *flow)
{
	if (!flow || flow->closing)
		return;
	flow->closing = true;
	loop_timer_free(flow->timer);
	for (struct end *end = &flow->client; end; end = end == &flow->client ? &flow->node : NULL)
		if (end->open) {
			uv_poll_stop(&end->poll);
			uv_close((uv_handle_t *)&end->poll, on_end_closed);
		}
	flow_free(flow);
}

/* finish() - Close it, and tell */
static void finish(struct ingress_flow *flow)
{
	void (*ended)(void *) = flow->ended;
	void *user = flow->user;

	ingress_flow_close(flow);
	ended(user);
}

/* abort_ends() - Both ends get a reset and not an orderly end */
static void abort_ends(struct ingress_flow *flow)
{
	const struct linger linger = {.l_onoff = 1};

	(void)setsockopt(flow->client.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)setsockopt(flow->node.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* drain() - Write what waits; 0, or negative errno */
static int drain(struct way *way, int to)
{
	while (way->at < way->length) {
		ssize_t n = send(to, way->rest + way->at, way->length - way->at, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		way->at += (size_t)n;
		*way->counter += (uint64_t)n;
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
static int keep(struct way *way, const uint8_t *bytes, size_t length)
{
	if (length == 0)
		return 0;
	way->rest = malloc(length);
	if (!way->rest)
		return -ENOMEM;
	memcpy(way->rest, bytes, length);
	way->at = 0;
	way->length = length;
	return 0;
}

static size_t piece_size(const struct ingress *ingress)
{
	size_t share = INGRESS_QUEUED_ALL / (2 * (ingress->client_count + 1));

	return share > INGRESS_PIECE       ? INGRESS_PIECE
	       : share < INGRESS_PIECE_MIN ? INGRESS_PIECE_MIN
					   : share;
}

/* move() - Read and write as much as goes; 0 or negative errno */
static int move(struct ingress_flow *flow, struct way *way, int from, int to)
{
	static uint8_t piece[INGRESS_PIECE];
	int r = drain(way, to);

	for (int left = PIECES_A_TURN; r == 0 && left > 0 && !way->rest && !way->ended; left--) {
		ssize_t n = recv(from, piece, piece_size(flow->ingress), 0), sent;

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (n == 0) {
			way->ended = true;
			return drain(way, to);
		}
		sent = send(to, piece, (size_t)n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (sent < 0)
			sent = 0;
		*way->counter += (uint64_t)sent;
		r = keep(way, piece + sent, (size_t)(n - sent));
	}
	return r;
}

static void on_event(uv_poll_t *poll, int status, int events);

/* watch() - @from: the bytes that this end sends; @to: those that it gets */
static int watch(struct end *end, const struct way *from, const struct way *to)
{
	int events = (!from->rest && !from->ended ? UV_READABLE : 0) | (to->rest ? UV_WRITABLE : 0);

	return events ? uv_poll_start(&end->poll, events, on_event) : uv_poll_stop(&end->poll);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct end *end = poll->data;
	struct ingress_flow *flow = end->flow;
	int r = status;

	(void)events;
	if (flow->closing)
		return;
	if (r == 0)
		r = move(flow, &flow->to_node, flow->client.fd, flow->node.fd);
	if (r == 0)
		r = move(flow, &flow->to_client, flow->node.fd, flow->client.fd);
	if (r == 0 && (flow->to_node.shut || flow->to_client.shut))
		loop_timer_at(flow->timer, clock_boottime() + HALF_CLOSED_PATIENCE);
	if (r < 0)
		abort_ends(flow);
	if (r < 0 || (flow->to_node.shut && flow->to_client.shut) ||
	    watch(&flow->client, &flow->to_node, &flow->to_client) < 0 ||
	    watch(&flow->node, &flow->to_client, &flow->to_node) < 0)
		finish(flow);
}

static void on_timer(void *user)
{
	struct ingress_flow *flow = user;

	if (flow->to_node.shut || flow->to_client.shut)
		finish(flow);
	else
		on_event(&flow->client.poll, 0, 0); /* the start */
}

static int open_end(struct ingress_flow *flow, struct end *end)
{
	int r = uv_poll_init(flow->ingress->loop, &end->poll, end->fd);

	end->flow = flow;
	end->poll.data = end;
	end->open = r == 0;
	return r;
}

struct ingress_flow *ingress_flow_open(struct ingress *ingress, int client, int node,
				       const uint8_t *to_node, size_t to_node_length,
				       const uint8_t *to_client, size_t to_client_length,
				       void (*ended)(void *user), void *user)
{
	struct ingress_flow *flow = calloc(1, sizeof(*flow));

	if (!flow) {
		close(client);
		close(node);
		return NULL;
	}
	*flow = (struct ingress_flow){
		.ingress = ingress,
		.client.fd = client,
		.node.fd = node,
		.to_node.counter = &ingress->statistics.bytes_in,
		.to_client.counter = &ingress->statistics.bytes_out,
		.ended = ended,
		.user = user,
	};
	if (loop_timer_create(ingress->loop, on_timer, flow, &flow->timer) < 0 ||
	    open_end(flow, &flow->client) < 0 || open_end(flow, &flow->node) < 0 ||
	    keep(&flow->to_node, to_node, to_node_length) < 0 ||
	    keep(&flow->to_client, to_client, to_client_length) < 0) {
		ingress_flow_close(flow);
		return NULL;
	}
	loop_timer_soon(flow->timer);
	return flow;
}
