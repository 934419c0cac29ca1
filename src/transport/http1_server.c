/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http1_server.c - an HTTP/1.1 server on a listener
 *
 * Theory of operation
 *	accept -> IDLE --byte--> HEAD --admit--> BODY --serve--> HANDLING --reply--> IDLE or LAST
 *	                                                                 \--stream--> STREAMING
 *	                                                                 \--upgrade--> CLOSED
 *
 *   The stream below is read in IDLE (once the last answer is taken), HEAD and BODY; and in
 *   STREAMING, where bytes are dropped and only the end matters. Elsewhere it is paused, so a
 *   peer that has shut its side down still gets its answer.
 *   Answers wait in `out` and go to the stream by pieces, since a stream takes only so much.
 *   Only work() parses and serves, and only the loop calls it.
 *
 *   The list of connections begins with the one that has made no progress for the longest time.
 *   libuv only watches the listener: its own listeners would open /dev/null and call listen().
 */
#include "transport/http1_server.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "transport/loop_timer.h"
#include "transport/tcp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define ACCEPTS_A_WAKEUP  64
#define ACCEPT_PAUSE      (100 * NSEC_PER_MSEC)
#define EXTRA_HEADERS_MAX 4096
#define PIECE             (64u * 1024) /* of an answer */
#define CONNECTION_COST   4096u        /* beside the bytes of its request */
#define HANDSHAKE_COST    (44u * 1024) /* of TLS, until it has opened */
#define TLS_COST          (20u * 1024) /* from there on */

enum connection_state {
	STATE_IDLE,      /* between exchanges: the next byte begins a head */
	STATE_HEAD,      /* a head has begun */
	STATE_BODY,      /* admitted, collecting the body */
	STATE_HANDLING,  /* with the owner; nothing is read */
	STATE_STREAMING, /* an answer without end */
	STATE_LAST,      /* the last answer is queued; closes when it is out */
	STATE_CLOSED,    /* kept by holds */
};

struct connection {
	struct http1_server *server;
	TAILQ_ENTRY(connection) entry;
	struct stream *stream;    /* NULL once it is closed or handed over */
	struct loop_timer *timer; /* the deadline, or due at once for `failed` and `resume` */
	int fd;                   /* of the stream, for getsockname() */
	unsigned int holds;       /* the server's, those of http1_hold(), and of frames at work */
	enum connection_state state;
	bool opened; /* its TLS */
	bool keep_alive;
	bool failed;  /* closes as soon as the loop comes back */
	bool working; /* inside of work() */
	bool resume;  /* answered outside of work(), which runs when the loop comes back */
	bool stalled; /* the deadline is that of the piece under way */
	size_t charged;
	struct http1_parser parser;
	struct buffer in;                  /* read and not parsed yet */
	struct buffer out;                 /* not taken by the stream yet */
	struct buffer body;                /* of the request */
	struct buffer extra;               /* headers of the answer to come, ready to send */
	struct http1_exchange x, accepted; /* each request begins as a copy of @accepted */
};

/* What the open connections of one source, or of all, take. */
struct share {
	unsigned int count;
	size_t bytes;
};

struct http1_server {
	uv_loop_t *loop;
	int fd;
	struct tls_context *tls;
	struct http1_server_limits limits;
	const struct http1_server_hooks *hooks;
	void *user;
	uv_poll_t poll;
	struct loop_timer *pause;
	TAILQ_HEAD(, connection) connections; /* the oldest first */
	struct share all, *of_source;
	size_t bodies; /* bytes */
	struct http1_server_statistics statistics;
};

static void work(struct connection *c);

static struct connection *connection_of(struct http1_exchange *x)
{
	return container_of(x, struct connection, x);
}

/* Life of a connection */

/* touch() - The connection made progress: it becomes the newest */
static void touch(struct connection *c)
{
	TAILQ_REMOVE(&c->server->connections, c, entry);
	TAILQ_INSERT_TAIL(&c->server->connections, c, entry);
	c->stalled = false;
}

static void empty(struct buffer *b)
{
	size_t limit = b->limit;

	buffer_free_secret(b);
	b->limit = limit;
}

void http1_hold(struct http1_exchange *x)
{
	connection_of(x)->holds++;
}

void http1_release(struct http1_exchange *x)
{
	struct connection *c = connection_of(x);

	if (--c->holds > 0)
		return;
	http1_parser_free(&c->parser);
	buffer_free_secret(&c->in);
	buffer_free_secret(&c->out);
	buffer_free_secret(&c->body);
	buffer_free(&c->extra);
	free(x->path);
	free(c);
}

/* charge() - Set the bytes that an open connection is counted with */
static void charge(struct connection *c, size_t bytes)
{
	struct http1_server *s = c->server;

	s->all.bytes += bytes - c->charged;
	if (c->accepted.source < s->limits.sources)
		s->of_source[c->accepted.source].bytes += bytes - c->charged;
	c->charged = bytes;
}

static void charge_request(struct connection *c)
{
	size_t tls = !c->server->tls ? 0 : c->opened ? TLS_COST : HANDSHAKE_COST;

	charge(c, CONNECTION_COST + tls + c->in.length + c->parser.block.length + c->body.length);
}

static void connection_close(struct connection *c)
{
	enum connection_state was = c->state;
	struct http1_server *s = c->server;

	if (was == STATE_CLOSED)
		return;
	c->state = STATE_CLOSED;
	TAILQ_REMOVE(&s->connections, c, entry);
	s->statistics.open--;
	s->bodies -= c->body.length;
	charge(c, 0);
	if (c->accepted.source < s->limits.sources)
		s->of_source[c->accepted.source].count--;
	stream_close(TAKE_PTR(c->stream));
	loop_timer_free(TAKE_PTR(c->timer));
	if (was == STATE_STREAMING && c->x.closed)
		c->x.closed(&c->x);
	http1_release(&c->x);
}

static bool is_waiting(const struct connection *c)
{
	return c->state <= STATE_BODY || c->state == STATE_LAST;
}

/* close_largest() - Of one source (@sources or more: of all), the connection that takes most */
static bool close_largest(struct http1_server *s, uint32_t source)
{
	struct connection *most = NULL, *c;

	TAILQ_FOREACH(c, &s->connections, entry)
		if (is_waiting(c) &&
		    (source >= s->limits.sources || c->accepted.source == source) &&
		    (!most || c->charged > most->charged))
			most = c;
	if (most)
		connection_close(most);
	return most;
}

/* bound() - A connection of @source takes more: keep the limits; any connection may close */
static void bound(struct http1_server *s, uint32_t source)
{
	bool closed = true;

	while (closed && source < s->limits.sources && s->limits.held_of_source &&
	       s->of_source[source].bytes > s->limits.held_of_source) {
		closed = close_largest(s, source);
		s->statistics.limited += closed;
	}
	closed = true;
	while (closed && s->limits.held && s->all.bytes > s->limits.held) {
		closed = close_largest(s, s->limits.sources);
		s->statistics.refused += closed;
	}
}

static void on_timer(void *user)
{
	struct connection *c = user;

	if (c->resume && !c->failed) {
		work(c);
		return;
	}
	if (!c->failed)
		c->server->statistics.timed_out++;
	connection_close(c);
}

static bool is_open(const struct connection *c)
{
	return c->state != STATE_CLOSED && !c->failed;
}

/* deadline() - @seconds from now; 0: never */
static void deadline(struct connection *c, unsigned int seconds)
{
	if (is_open(c))
		loop_timer_at(c->timer,
			      seconds ? clock_boottime() + seconds * NSEC_PER_SEC : DEADLINE_NEVER);
}

/* fail() - Drop queued bytes, and close from the loop: the owner may be calling */
static void fail(struct connection *c)
{
	c->failed = true;
	empty(&c->out);
	loop_timer_soon(c->timer);
}

/* Writing */

static size_t unread(const struct connection *c)
{
	return c->out.length + (c->stream ? stream_pending(c->stream) : 0);
}

static void flush(struct connection *c)
{
	while (is_open(c) && c->out.length > 0 && stream_pending(c->stream) == 0) {
		size_t length = c->out.length < PIECE ? c->out.length : PIECE;

		if (stream_write(c->stream, buffer_head(&c->out), length) < 0) {
			fail(c);
			return;
		}
		buffer_consume(&c->out, length);
		touch(c);
	}
	if (c->out.length == 0)
		empty(&c->out);
}

/* shed() - Cut the slowest readers, except @newest, until the others are within the limit */
static void shed(const struct connection *newest)
{
	size_t limit = newest->server->limits.unread;

	while (limit) {
		struct connection *slowest = NULL, *c;
		size_t sum = 0;

		TAILQ_FOREACH(c, &newest->server->connections, entry) {
			if (c == newest || c->failed || unread(c) == 0)
				continue;
			sum += unread(c);
			slowest = slowest ?: c;
		}
		if (sum <= limit)
			return;
		fail(slowest);
	}
}

/* settle() - Start or stop reading, and set the deadline, by the state */
static void settle(struct connection *c)
{
	bool blocked = is_open(c) && unread(c) > 0;

	if (!is_open(c))
		return;
	if (c->state == STATE_LAST && !blocked) {
		connection_close(c);
		return;
	}
	if (blocked && !c->stalled)
		deadline(c, c->server->limits.write);
	else if (!blocked && c->state != STATE_HEAD && c->state != STATE_BODY)
		deadline(c, c->state == STATE_IDLE ? c->server->limits.idle : 0);
	c->stalled = blocked;
	if (c->state == STATE_HANDLING || c->state == STATE_LAST ||
	    (c->state == STATE_IDLE && blocked))
		stream_pause(c->stream);
	else
		stream_resume(c->stream); /* may deliver, and close */
}

/* answered() - Send the bytes of an answer in `out`; work() continues from the loop */
static void answered(struct connection *c)
{
	flush(c);
	shed(c);
	if (c->working || !is_open(c))
		return;
	if (c->state == STATE_STREAMING && !c->resume) {
		settle(c);
		return;
	}
	c->resume = true;
	loop_timer_soon(c->timer);
}

bool http1_has_body(const struct http1_exchange *x)
{
	return x->head->chunked || x->head->content_length > 0;
}

/* #syscalls: getsockname */
static int name_of(int fd, struct endpoint *ret)
{
	struct sockaddr_storage address = {0};
	socklen_t size = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	return endpoint_from_sockaddr((struct sockaddr *)&address, ret);
}

int http1_local_endpoint(struct http1_exchange *x, struct endpoint *ret)
{
	const struct connection *c = connection_of(x);

	return c->stream ? name_of(c->fd, ret) : -ENOTCONN;
}

void http1_reply_header(struct http1_exchange *x, const char *name, const char *value)
{
	(void)http1_write_header(&connection_of(x)->extra, name, value);
}

void http1_reply_close(struct http1_exchange *x)
{
	connection_of(x)->keep_alive = false;
}

/* write_head() - Write a head without its end; false without memory */
static bool write_head(struct connection *c, int status, const char *name, const char *value,
		       const char *connection)
{
	int r = http1_write_response(&c->out, status);

	if (r == 0)
		r = buffer_append(&c->out, buffer_head(&c->extra), c->extra.length);
	if (r == 0 && value)
		r = http1_write_header(&c->out, name, value);
	if (r == 0 && connection)
		r = http1_write_header(&c->out, "Connection", connection);
	empty(&c->extra);
	return r == 0;
}

static void end_exchange(struct connection *c)
{
	c->server->bodies -= c->body.length;
	empty(&c->body);
	free(TAKE_PTR(c->x.path));
	c->x.context = NULL;
	c->x.closed = NULL;
	c->state = c->keep_alive ? STATE_IDLE : STATE_LAST;
	touch(c);
}

void http1_reply(struct http1_exchange *x, int status, const char *type, const void *body,
		 size_t length)
{
	struct connection *c = connection_of(x);
	bool whole = c->state == STATE_HANDLING, good;

	if (!is_open(c))
		return;
	/* A request refused at its head leaves its body unread, which ends the connection. */
	c->keep_alive = c->keep_alive && whole;
	good = write_head(c, status, "Content-Type", type, c->keep_alive ? NULL : "close") &&
	       (status == 204 || http1_write_length(&c->out, length) == 0) &&
	       http1_write_head_end(&c->out) == 0;
	if (good && status != 204 && !(whole && strcmp(x->head->method, "HEAD") == 0))
		good = buffer_append(&c->out, body, length) == 0;
	if (!good) {
		fail(c);
		return;
	}
	end_exchange(c);
	answered(c);
}

void http1_reply_text(struct http1_exchange *x, int status, const char *format, ...)
{
	char text[ERROR_TEXT_MAX + 64];
	va_list args;
	size_t length;

	va_start(args, format);
	vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	length = strlen(text);
	text[length++] = '\n';
	http1_reply(x, status, "text/plain; charset=utf-8", text, length);
}

bool http1_is_open(struct http1_exchange *x)
{
	return is_open(connection_of(x));
}

int http1_stream_begin(struct http1_exchange *x, const char *type)
{
	struct connection *c = connection_of(x);

	if (c->state != STATE_HANDLING || c->failed)
		return -EPIPE;
	if (!write_head(c, 200, "Content-Type", type, "close") ||
	    http1_write_header(&c->out, "Transfer-Encoding", "chunked") < 0 ||
	    http1_write_head_end(&c->out) < 0) {
		fail(c);
		return -EPIPE;
	}
	c->state = STATE_STREAMING;
	answered(c);
	return is_open(c) ? 0 : -EPIPE;
}

int http1_stream_send(struct http1_exchange *x, const void *bytes, size_t length)
{
	struct connection *c = connection_of(x);
	size_t limit;

	if (c->state != STATE_STREAMING || c->failed)
		return -ENOBUFS;
	limit = c->server->limits.queue;
	/* One large piece may stand alone; behind it the limit holds. */
	if ((limit && unread(c) > 0 && unread(c) + length > limit) ||
	    http1_write_chunk(&c->out, bytes, length) < 0) {
		fail(c);
		return -ENOBUFS;
	}
	answered(c);
	return is_open(c) ? 0 : -ENOBUFS;
}

void http1_stream_end(struct http1_exchange *x)
{
	struct connection *c = connection_of(x);

	/* For a reader that has taken everything the answer ends whole, not cut short. */
	if (c->state == STATE_STREAMING && !c->failed && unread(c) == 0 &&
	    buffer_append(&c->out, "0\r\n\r\n", 5) == 0)
		flush(c);
	connection_close(c);
}

struct stream *http1_take(struct http1_exchange *x, struct buffer *ret_head)
{
	struct connection *c = connection_of(x);
	struct stream *stream = is_open(c) ? TAKE_PTR(c->stream) : NULL;

	*ret_head = c->in;
	c->in = BUFFER_INIT(0);
	if (stream) {
		stream_pause(stream);
		stream_set_events(stream, NULL, NULL);
	}
	connection_close(c);
	return stream;
}

struct stream *http1_upgrade(struct http1_exchange *x, const char *protocol,
			     struct buffer *ret_head)
{
	struct connection *c = connection_of(x);
	struct stream *stream = NULL;

	if (is_open(c) && write_head(c, 101, "Upgrade", protocol, "upgrade") &&
	    http1_write_head_end(&c->out) == 0 &&
	    stream_write(c->stream, buffer_head(&c->out), c->out.length) == 0)
		stream = http1_take(x, ret_head);
	else
		connection_close(c);
	return stream;
}

/* Requests */

/* begin() - Make the exchange from a complete head, and ask whether it is admitted */
static void begin(struct connection *c)
{
	const struct http1_head *head = &c->parser.head;
	const struct http1_server *s = c->server;
	struct http1_exchange *x = &c->x;
	size_t path = strcspn(head->target, "?");

	c->state = STATE_BODY;
	c->keep_alive = head->keep_alive;
	*x = c->accepted;
	x->head = head;
	x->path = strndup(head->target, path);
	x->query = head->target + path + (head->target[path] == '?');
	x->body = &c->body;
	if (s->limits.request)
		deadline(c, s->limits.request);
	if (!x->path)
		fail(c);
	else if (head->content_length > (int64_t)s->limits.body)
		http1_reply_text(x, 413, "the request body is too large");
	else if (s->hooks->admit && !s->hooks->admit(s->user, x))
		return;
	else if (http1_header_has(head, "Expect", "100-continue") &&
		 buffer_append(&c->out, "HTTP/1.1 100 Continue\r\n\r\n", 25) == 0)
		flush(c);
}

/* refuse() - Answer bytes that are no valid request, or too long a head, and close */
static void refuse(struct connection *c, int status, const char *why)
{
	c->server->statistics.malformed++;
	c->state = STATE_BODY;
	http1_reply_text(&c->x, status, "bad request: %s", why ? why : "malformed");
}

/* add_body() - Keep a piece of the body; -EMSGSIZE past a limit */
static int add_body(struct connection *c)
{
	struct http1_server *s = c->server;
	size_t length = c->parser.body_length;
	int r = s->limits.bodies && s->bodies + length > s->limits.bodies ? -EMSGSIZE : 0;

	if (r == 0)
		r = buffer_append(&c->body, c->parser.body, length);
	if (r == 0)
		s->bodies += length;
	return r;
}

static void found(struct connection *c, int r)
{
	if (r == HTTP1_HEAD) {
		begin(c);
	} else if (r == HTTP1_BODY) {
		if (add_body(c) < 0)
			http1_reply_text(&c->x, 413, "the request body is too large");
	} else if (r == HTTP1_END) {
		c->state = STATE_HANDLING;
		touch(c);
		c->server->hooks->serve(c->server->user, &c->x);
	} else {
		refuse(c, r == -EMSGSIZE ? 431 : 400, c->parser.error);
	}
}

/* work() - Parse and serve the requests that were read, one at a time */
static void work(struct connection *c)
{
	c->working = true;
	c->resume = false;
	http1_hold(&c->x);
	/* A reader that does not take its last answer gets no next one. */
	while (is_open(c) && c->state <= STATE_BODY && (c->state != STATE_IDLE || unread(c) == 0)) {
		size_t used = 0;
		int r;

		if (c->state == STATE_IDLE && c->in.length == 0)
			break;
		if (c->state == STATE_IDLE && c->server->limits.head)
			deadline(c, c->server->limits.head);
		if (c->state == STATE_IDLE)
			c->state = STATE_HEAD;
		r = http1_parse(&c->parser, buffer_head(&c->in), c->in.length, &used);
		buffer_consume(&c->in, used); /* a body still points to it */
		if (r == HTTP1_MORE)
			break;
		found(c, r);
	}
	c->working = false;
	if (c->in.length == 0)
		empty(&c->in);
	if (c->state != STATE_CLOSED)
		charge_request(c);
	settle(c);
	http1_release(&c->x);
}

static void on_opened(void *user)
{
	struct connection *c = user;

	c->opened = true;
	charge_request(c);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct connection *c = user;

	if (c->state == STATE_STREAMING)
		return;
	http1_hold(&c->x);
	if (buffer_append(&c->in, bytes, length) < 0) {
		connection_close(c);
	} else {
		charge_request(c);
		bound(c->server, c->accepted.source);
		if (!c->working)
			work(c);
	}
	http1_release(&c->x);
}

static void on_drained(void *user)
{
	struct connection *c = user;

	if (c->working || c->failed)
		return;
	flush(c);
	if (!c->resume)
		work(c);
}

static void on_closed(void *user, const struct error *err)
{
	(void)err;
	connection_close(user);
}

static const struct stream_events stream_events = {
	.opened = on_opened, .data = on_data, .drained = on_drained, .closed = on_closed};

/* Accepting */

/* make_room() - Whether @x may be accepted; closes the longest idle connection if need be */
static bool make_room(struct http1_server *s, const struct http1_exchange *x)
{
	unsigned int places = s->limits.connections - (x->privileged ? 0 : s->limits.reserved);
	bool share_taken = x->source < s->limits.sources &&
			   s->of_source[x->source].count >= s->limits.of_source;
	struct connection *c = TAILQ_FIRST(&s->connections);

	if (s->statistics.open < places && !share_taken)
		return true;
	while (c && (!is_waiting(c) || (share_taken && c->accepted.source != x->source) ||
		     (c->accepted.privileged && !x->privileged)))
		c = TAILQ_NEXT(c, entry);
	if (share_taken)
		s->statistics.limited++;
	else
		s->statistics.refused++;
	if (c)
		connection_close(c);
	return c;
}

/* adopt() - Make the connection of @fd, which is closed on failure */
static void adopt(struct http1_server *s, int fd, const struct http1_exchange *x)
{
	struct connection *c = calloc(1, sizeof(*c));
	int r = c ? loop_timer_create(s->loop, on_timer, c, &c->timer) : -ENOMEM;

	if (r < 0)
		close(fd);
	else
		r = tcp_open(s->loop, fd, &c->stream, NULL);
	if (r == 0 && s->tls)
		r = tls_server(s->tls, c->stream, &c->stream, NULL);
	if (r < 0) {
		if (c)
			loop_timer_free(c->timer);
		free(c);
		return;
	}
	c->server = s;
	c->fd = fd;
	c->accepted = *x;
	c->holds = 1;
	c->in = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	c->out = BUFFER_INIT(LIMIT_HTTP_RESPONSE);
	c->body = BUFFER_INIT(s->limits.body);
	c->extra = BUFFER_INIT(EXTRA_HEADERS_MAX);
	http1_parser_init(&c->parser, false);
	TAILQ_INSERT_TAIL(&s->connections, c, entry);
	s->statistics.open++;
	if (c->accepted.source < s->limits.sources)
		s->of_source[c->accepted.source].count++;
	stream_set_events(c->stream, &stream_events, c);
	deadline(c, s->limits.head ?: s->limits.idle);
	charge_request(c);
	bound(s, c->accepted.source);
}

static struct http1_exchange identify(int fd, const struct sockaddr *address)
{
	struct http1_exchange x = {.uid = HTTP1_UID_NONE, .source = UINT32_MAX};
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	/* #syscalls: getsockopt */
	if (endpoint_from_sockaddr(address, &x.peer) < 0 && address->sa_family == AF_UNIX &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0)
		x.uid = credentials.uid;
	return x;
}

/* on_connection() - Accept waiting connections, a few at a time; #syscalls: accept4 */
static void on_connection(uv_poll_t *poll, int status, int what)
{
	struct http1_server *s = poll->data;

	(void)what;
	for (int i = 0; status == 0 && i < ACCEPTS_A_WAKEUP; i++) {
		struct sockaddr_storage address = {0};
		socklen_t size = sizeof(address);
		struct http1_exchange x;
		int fd = accept4(s->fd, (struct sockaddr *)&address, &size,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0 &&
		    errno == EINVAL) { /* another process that has the listener shut it down */
			uv_poll_stop(&s->poll);
			return;
		}
		if (fd < 0) { /* no descriptors or memory: the listener stays readable */
			if (s->hooks->starved)
				s->hooks->starved(s->user, errno);
			uv_poll_stop(&s->poll);
			loop_timer_at(s->pause, clock_boottime() + ACCEPT_PAUSE);
			return;
		}
		s->statistics.accepted++;
		x = identify(fd, (struct sockaddr *)&address);
		if (s->hooks->accept && !s->hooks->accept(s->user, fd, &x)) {
			s->statistics.limited++;
			close(fd);
		} else if (!make_room(s, &x)) {
			close(fd);
		} else {
			adopt(s, fd, &x);
		}
	}
}

static void end_pause(void *user)
{
	struct http1_server *s = user;

	uv_poll_start(&s->poll, UV_READABLE, on_connection);
}

static void free_server(struct http1_server *s)
{
	close(s->fd);
	free(s->of_source);
	free(s);
}

static void poll_closed(uv_handle_t *handle)
{
	free_server(handle->data);
}

int http1_server_new(uv_loop_t *loop, int listen_fd, struct tls_context *tls,
		     const struct http1_server_limits *limits,
		     const struct http1_server_hooks *hooks, void *user, struct http1_server **ret,
		     struct error *err)
{
	struct http1_server *s = calloc(1, sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (r < 0) {
		close(listen_fd);
		return error_set(err, r, "out of memory");
	}
	s->loop = loop;
	TAILQ_INIT(&s->connections);
	s->fd = listen_fd;
	s->limits = *limits;
	s->hooks = hooks;
	s->user = user;
	s->of_source = calloc(limits->sources + 1, sizeof(*s->of_source));
	if (!s->of_source || loop_timer_create(loop, end_pause, s, &s->pause) < 0)
		r = -ENOMEM;
	else
		r = uv_poll_init(loop, &s->poll, listen_fd);
	if (r < 0) {
		loop_timer_free(s->pause);
		free_server(s);
		return error_set_errno(err, r, "watch the listener");
	}
	s->poll.data = s;
	s->tls = tls ? tls_context_hold(tls) : NULL;
	end_pause(s);
	*ret = s;
	return 0;
}

void http1_server_free(struct http1_server *s)
{
	if (!s)
		return;
	while (!TAILQ_EMPTY(&s->connections))
		connection_close(TAILQ_FIRST(&s->connections));
	loop_timer_free(s->pause);
	tls_context_release(s->tls);
	uv_close((uv_handle_t *)&s->poll, poll_closed);
}

const struct http1_server_statistics *http1_server_statistics(struct http1_server *s)
{
	const struct connection *c;

	s->statistics.waiting = 0;
	TAILQ_FOREACH(c, &s->connections, entry)
		s->statistics.waiting += is_waiting(c);
	return &s->statistics;
}

int http1_server_endpoint(const struct http1_server *s, struct endpoint *ret)
{
	return name_of(s->fd, ret);
}
