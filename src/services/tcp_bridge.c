/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/tcp_bridge.c - TCP to the app, byte by byte
 *
 * DOC: Theory of operation
 *
 * A flow is one direction. Bytes are read only when all earlier ones were taken, so at most one
 * piece waits. The end of one direction is passed on, and the other goes on: a client may close
 * its side and still wait for the answer.
 *
 * Once a flow is BULK, its bytes go from socket to socket through a pipe, by splice(2), without a
 * copy. An empty pipe serves all flows in turn; one whose bytes the destination did not take stays
 * with its flow. Where there is no pipe (PIPES_MAX, descriptors), bytes are copied.
 */
#include "base/cleanup.h"
#include "services/services_internal.h"
#include "transport/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE         ((size_t)64 * 1024)
#define PIECES_A_TURN 8
#define BULK          2u                  /* full pieces in a row */
#define SMALL         ((size_t)16 * 1024) /* less than that at once is copied */
#define PIPES_MAX     256u

struct flow {
	uint8_t *rest; /* read, and not taken yet */
	size_t at, length;
	int pipe[2]; /* with @piped bytes, which were not taken yet; 0, 0: none */
	size_t piped;
	unsigned int full; /* pieces in a row that were full */
	bool no_splice;    /* a socket that can't */
	bool ended;        /* the source has closed its side */
	bool shut;         /* and the destination knows */
};

struct end {
	struct bridge *bridge;
	uv_poll_t poll;
	int fd;
	bool open; /* the handle */
};

struct bridge {
	struct services_part part;
	struct serving *serving;
	struct app_call *call;
	struct end client, app;
	struct flow up, down; /* client to app, app to client */
	bool closing;
	uint8_t line[PROXY_LINE_MAX];
	size_t line_length;
};

size_t proxy_line(unsigned int version, const struct endpoint *from, const struct endpoint *to,
		  uint8_t out[static PROXY_LINE_MAX])
{
	static const uint8_t signature[] = "\r\n\r\n\0\r\nQUIT\n";
	size_t size = address_length(&from->address), at = 16;
	char source[ADDRESS_TEXT_MAX], destination[ADDRESS_TEXT_MAX];
	const uint16_t ports[] = {from->port, to->port};

	if (version == 0)
		return 0;
	if (version == 1)
		return (size_t)snprintf(
			(char *)out, PROXY_LINE_MAX, "PROXY TCP%u %s %s %u %u\r\n",
			from->address.family, address_format(&from->address, source),
			address_format(&to->address, destination), from->port, to->port);
	memcpy(out, signature, 12);
	out[12] = 0x21; /* version 2, PROXY */
	out[13] = from->address.family == ADDRESS_V6 ? 0x21 : 0x11;
	out[14] = 0;
	out[15] = (uint8_t)(2 * size + 4);
	memcpy(out + at, from->address.bytes, size);
	memcpy(out + at + size, to->address.bytes, size);
	at += 2 * size;
	for (size_t i = 0; i < 2; i++) {
		out[at++] = (uint8_t)(ports[i] >> 8);
		out[at++] = (uint8_t)ports[i];
	}
	return at;
}

/* --- Pipes --- */

static int spare_pipe[2]; /* empty; 0, 0: none */
static unsigned int pipe_count;

static void close_pipe(int pipe[static 2])
{
	if (pipe[1] == 0)
		return;
	close(pipe[0]);
	close(pipe[1]);
	pipe[0] = pipe[1] = 0;
	pipe_count--;
}

/*
 * take_pipe() - An empty pipe for @flow; false: there is none
 * #syscalls: pipe2 splice
 */
static bool take_pipe(struct flow *flow)
{
	if (spare_pipe[1] == 0) {
		if (pipe_count >= PIPES_MAX || pipe2(spare_pipe, O_NONBLOCK | O_CLOEXEC) < 0)
			return false;
		pipe_count++;
	}
	memcpy(flow->pipe, spare_pipe, sizeof(spare_pipe));
	memset(spare_pipe, 0, sizeof(spare_pipe));
	return true;
}

/* give_pipe() - The pipe of @flow is empty */
static void give_pipe(struct flow *flow)
{
	if (spare_pipe[1] != 0) {
		close_pipe(flow->pipe);
		return;
	}
	memcpy(spare_pipe, flow->pipe, sizeof(spare_pipe));
	memset(flow->pipe, 0, sizeof(flow->pipe));
}

/* waits() - Whether bytes wait for the destination */
static bool waits(const struct flow *flow)
{
	return flow->rest || flow->piped > 0;
}

static void bridge_free(struct bridge *b)
{
	if (b->client.open || b->app.open)
		return;
	serving_release(b->serving);
	cleanup_close_at(&b->client.fd);
	cleanup_close_at(&b->app.fd);
	free(b->up.rest);
	free(b->down.rest);
	close_pipe(b->up.pipe);
	close_pipe(b->down.pipe);
	free(b);
}

static void on_end_closed(uv_handle_t *handle)
{
	struct end *end = handle->data;

	end->open = false;
	bridge_free(end->bridge);
}

static void bridge_close(struct bridge *b)
{
	struct end *const ends[] = {&b->client, &b->app};

	if (b->closing)
		return;
	b->closing = true;
	services_remove(&b->part);
	app_call_cancel(TAKE_PTR(b->call));
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (ends[i]->open) {
			uv_poll_stop(&ends[i]->poll);
			uv_close((uv_handle_t *)&ends[i]->poll, on_end_closed);
		}
	bridge_free(b);
}

static void close_part(struct services_part *part)
{
	bridge_close(container_of(part, struct bridge, part));
}

/* drain() - Write what waits; 0, or negative errno */
static int drain(struct flow *flow, int to)
{
	while (flow->piped > 0) {
		ssize_t n = splice(flow->pipe[0], NULL, to, NULL, flow->piped,
				   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n <= 0)
			return n == 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
		flow->piped -= (size_t)n;
		if (flow->piped == 0)
			give_pipe(flow);
	}
	while (flow->at < flow->length) {
		ssize_t n = send(to, flow->rest + flow->at, flow->length - flow->at, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		flow->at += (size_t)n;
	}
	free(TAKE_PTR(flow->rest));
	flow->at = flow->length = 0;
	if (flow->ended && !flow->shut) {
		/* #syscalls: shutdown sendto recvfrom */
		flow->shut = true;
		(void)shutdown(to, SHUT_WR);
	}
	return 0;
}

/* keep() - What the destination did not take */
static int keep(struct flow *flow, const uint8_t *bytes, size_t length)
{
	flow->rest = malloc(length);
	if (!flow->rest)
		return -ENOMEM;
	memcpy(flow->rest, bytes, length);
	flow->at = 0;
	flow->length = length;
	return 0;
}

/* move_piece() - One piece through a pipe; its length, 0 at the end, or negative errno */
static ssize_t move_piece(struct flow *flow, int from, int to)
{
	ssize_t n =
		splice(from, NULL, flow->pipe[1], NULL, PIECE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	int r = 0;

	if (n <= 0) {
		r = n < 0 ? -errno : 0;
		give_pipe(flow);
		return r;
	}
	flow->piped = (size_t)n;
	r = drain(flow, to);
	return r < 0 ? r : n;
}

/* move() - Read and write as much as goes; 0 or negative errno */
static int move(struct flow *flow, int from, int to)
{
	static uint8_t piece[PIECE];
	int r = drain(flow, to);

	for (int left = PIECES_A_TURN; r == 0 && left > 0 && !waits(flow) && !flow->ended; left--) {
		ssize_t n, sent;

		if (flow->full >= BULK && !flow->no_splice && take_pipe(flow)) {
			n = move_piece(flow, from, to);
			if (n == -EINVAL) { /* a kind of socket that can't */
				flow->no_splice = true;
				continue;
			}
			if (n < 0)
				return n == -EAGAIN || n == -EINTR ? 0 : (int)n;
			if (n == 0) {
				flow->ended = true;
				return drain(flow, to);
			}
			if ((size_t)n < SMALL)
				flow->full = 0;
			continue;
		}
		n = recv(from, piece, sizeof(piece), 0);
		flow->full = n == (ssize_t)sizeof(piece) ? flow->full + 1 : 0;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (n == 0) {
			flow->ended = true;
			return drain(flow, to);
		}
		sent = send(to, piece, (size_t)n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (sent < n)
			r = keep(flow, piece + (sent > 0 ? sent : 0),
				 (size_t)(n - (sent > 0 ? sent : 0)));
	}
	return r;
}

static void on_event(uv_poll_t *poll, int status, int events);

static int watch(struct end *end, const struct flow *from, const struct flow *to)
{
	int events =
		(!waits(from) && !from->ended ? UV_READABLE : 0) | (waits(to) ? UV_WRITABLE : 0);

	return events ? uv_poll_start(&end->poll, events, on_event) : uv_poll_stop(&end->poll);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct end *end = poll->data;
	struct bridge *b = end->bridge;
	int r = status;

	(void)events;
	if (b->closing)
		return;
	if (r == 0)
		r = move(&b->up, b->client.fd, b->app.fd);
	if (r == 0)
		r = move(&b->down, b->app.fd, b->client.fd);
	if (r < 0 || (b->up.shut && b->down.shut) || watch(&b->client, &b->up, &b->down) < 0 ||
	    watch(&b->app, &b->down, &b->up) < 0)
		bridge_close(b);
}

static int open_end(struct bridge *b, struct end *end, int fd)
{
	int r = uv_poll_init(b->part.services->loop, &end->poll, fd);

	end->bridge = b;
	end->fd = fd;
	end->poll.data = end;
	end->open = r == 0;
	return r;
}

static void on_app_ready(void *user, struct stream *stream, int fd, const struct error *err)
{
	struct bridge *b = user;

	(void)stream;
	(void)err;
	b->call = NULL;
	if (fd < 0 || open_end(b, &b->app, fd) < 0 ||
	    (b->line_length > 0 && keep(&b->up, b->line, b->line_length) < 0))
		bridge_close(b);
	else
		on_event(&b->app.poll, 0, 0);
}

void tcp_bridge_open(struct services *services, int fd, const struct serve_port *port,
		     const struct endpoint *peer, const struct endpoint *to)
{
	struct bridge *b = calloc(1, sizeof(*b));

	if (!b) {
		close(fd);
		return;
	}
	services_add(services, &b->part, close_part);
	services_set_peer(&b->part, &peer->address);
	b->serving = serving_hold(services->serving);
	b->app.fd = -1;
	b->line_length = proxy_line(port->proxy_line, peer, to, b->line);
	if (open_end(b, &b->client, fd) == 0)
		b->call = app_call_begin(services, b->serving, port->target, APP_RAW, on_app_ready,
					 b);
	if (!b->call)
		bridge_close(b);
}

/* --- TLS that ends here --- */

struct tls_bridge {
	struct services_part part;
	struct address peer;
	struct stream *stream;
	struct app_call *call;
	uint8_t line[PROXY_LINE_MAX];
	size_t line_length;
};

static void tls_bridge_free(struct tls_bridge *b)
{
	services_remove(&b->part);
	app_call_cancel(b->call);
	stream_close(b->stream);
	free(b);
}

static void close_tls_part(struct services_part *part)
{
	tls_bridge_free(container_of(part, struct tls_bridge, part));
}

static void on_tls_closed(void *user, const struct error *err)
{
	(void)err;
	tls_bridge_free(user);
}

static void on_tls_app_ready(void *user, struct stream *app, int fd, const struct error *err)
{
	struct tls_bridge *b = user;
	struct buffer from_client = BUFFER_INIT(0), from_app = BUFFER_INIT(0);

	(void)fd;
	(void)err;
	b->call = NULL;
	if (app && stream_write(app, b->line, b->line_length) == 0)
		stream_pair_open(b->part.services, &b->peer, TAKE_PTR(b->stream), &from_client, app,
				 &from_app);
	else
		stream_close(app);
	tls_bridge_free(b);
}

void tls_bridge_open(struct services *services, struct serving *serving, struct stream *stream,
		     const struct serve_port *port, const struct endpoint *peer,
		     const struct endpoint *to)
{
	static const struct stream_events events = {.closed = on_tls_closed};
	const char *name = port->protocol == SERVE_TLS_TCP ? tls_server_name(stream) : NULL;
	struct tls_bridge *b = calloc(1, sizeof(*b));

	stream_pause(stream);
	if (!b || (port->protocol == SERVE_TLS_TCP &&
		   (!name || strcasecmp(name, port->server_name) != 0))) {
		stream_close(stream);
		free(b);
		return;
	}
	services_add(services, &b->part, close_tls_part);
	services_set_peer(&b->part, &peer->address);
	b->peer = peer->address;
	b->stream = stream;
	b->line_length = proxy_line(port->proxy_line, peer, to, b->line);
	stream_set_events(stream, &events, b);
	b->call = app_call_begin(services, serving, port->target, APP_STREAM, on_tls_app_ready, b);
	if (!b->call)
		tls_bridge_free(b);
}
