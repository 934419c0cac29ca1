/* SPDX-License-Identifier: BSD-3-Clause */
/* localapi/http_server.c - HTTP/1.1 on a listener that the supervisor made */
#include "localapi/http_server.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define READ_SIZE         (4u * 1024)
#define ACCEPTS_A_WAKEUP  16
#define ACCEPT_PAUSE_MS   200
#define HEAD_TIMEOUT_MS   10000
#define BODY_TIMEOUT_MS   30000
#define WRITE_TIMEOUT_MS  30000
#define IDLE_TIMEOUT_MS   60000
#define EXTRA_HEADERS_MAX 2048

enum connection_state {
	STATE_IDLE,      /* between exchanges: the next byte begins a head */
	STATE_HEAD,      /* a head has begun */
	STATE_BODY,      /* admitted, collecting the body */
	STATE_HANDLING,  /* with the handler; nothing is read */
	STATE_STREAMING, /* a reply without end; only the end of the connection is watched */
	STATE_REFUSED,   /* last reply queued; closes when it is out */
	STATE_CLOSED,    /* handles are closing; kept by holds */
};

struct connection {
	struct http_server *server;      /* NULL once the server is gone */
	struct connection *next, **link; /* the newest first */
	int fd;
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned int holds; /* one for each open handle, and those of http1_hold() */
	enum connection_state state;
	bool peer_done; /* it sent its last byte */
	bool failed;    /* closes as soon as the loop comes back */
	bool working;   /* inside of work(): don't enter it again */
	bool resume;    /* replied outside of work(): goes on when the loop comes back */
	uint64_t since; /* when a byte came or went last, in the loop's milliseconds */
	struct http1_parser parser;
	struct buffer in;  /* read and not parsed yet */
	struct buffer out; /* not taken by the kernel yet */
	struct buffer body;
	struct buffer extra; /* headers of the reply to come, ready to send */
	struct http1_exchange x;
};

struct http_server {
	uv_loop_t *loop;
	const struct http_server_handler *handler;
	void *user;
	int fd;
	uv_poll_t poll;
	uv_timer_t pause;
	unsigned int open_handles;
	struct connection *connections;
	unsigned int count;
};

static void work(struct connection *c);
static void watch(struct connection *c);

static struct connection *connection_of(struct http1_exchange *x)
{
	return container_of(x, struct connection, x);
}

static void connection_unhold(struct connection *c)
{
	if (--c->holds > 0)
		return;
	http1_parser_free(&c->parser);
	buffer_free_secret(&c->in);
	buffer_free_secret(&c->out);
	buffer_free_secret(&c->body);
	buffer_free(&c->extra);
	free(c->x.path);
	free(c);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct connection *c = container_of((uv_poll_t *)handle, struct connection, poll);

	close(c->fd);
	connection_unhold(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
	connection_unhold(container_of((uv_timer_t *)handle, struct connection, timer));
}

static void connection_close(struct connection *c)
{
	enum connection_state was = c->state;

	if (was == STATE_CLOSED)
		return;
	c->state = STATE_CLOSED;
	if (c->server) {
		*c->link = c->next;
		if (c->next)
			c->next->link = c->link;
		c->server->count--;
	}
	c->server = NULL;
	uv_close((uv_handle_t *)&c->poll, on_poll_closed);
	uv_close((uv_handle_t *)&c->timer, on_timer_closed);
	if (was == STATE_STREAMING && c->x.closed)
		c->x.closed(&c->x);
}

static void on_timeout(uv_timer_t *timer)
{
	connection_close(container_of(timer, struct connection, timer));
}

static void deadline(struct connection *c, uint64_t milliseconds)
{
	if (c->state != STATE_CLOSED && !c->failed)
		uv_timer_start(&c->timer, on_timeout, milliseconds, 0);
}

static void no_deadline(struct connection *c)
{
	if (!c->failed)
		uv_timer_stop(&c->timer);
}

/* fail() - Give back what is queued now, and close in the loop: the caller may be the handler */
static void fail(struct connection *c)
{
	size_t limit = c->out.limit;

	deadline(c, 0);
	c->failed = true;
	buffer_free_secret(&c->out);
	c->out.limit = limit;
}

/* --- writing --- */

/* flush() - Give the kernel what it takes; #syscalls: sendto */
static void flush(struct connection *c)
{
	bool progress = false;

	while (c->out.length > 0) {
		ssize_t n = send(c->fd, buffer_head(&c->out), c->out.length,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			fail(c);
			return;
		}
		if (n < 0)
			break;
		buffer_consume(&c->out, (size_t)n);
		progress = true;
	}
	if (progress)
		c->since = uv_now(c->timer.loop);
	/* While a request is being read the timer is its own. */
	if (c->state == STATE_HEAD || c->state == STATE_BODY)
		return;
	if (c->out.length == 0)
		no_deadline(c);
	else if (progress || !uv_is_active((uv_handle_t *)&c->timer))
		deadline(c, WRITE_TIMEOUT_MS);
}

/* shed() - Cut the slowest readers but @newest until the others hold no more than they may */
static void shed(const struct connection *newest)
{
	for (;;) {
		struct connection *slowest = NULL;
		size_t unread = 0;

		for (struct connection *c = newest->server ? newest->server->connections : NULL; c;
		     c = c->next) {
			if (c == newest || c->out.length == 0)
				continue;
			unread += c->out.length;
			if (!slowest || c->since <= slowest->since)
				slowest = c;
		}
		if (unread <= LIMIT_LOCALAPI_UNREAD)
			return;
		fail(slowest);
	}
}

bool http1_has_body(const struct http1_exchange *x)
{
	return x->head->chunked || x->head->content_length > 0;
}

int http1_local_address(struct http1_exchange *x, struct address *ret)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	struct endpoint at;
	int r;

	/* #syscalls: getsockname */
	if (getsockname(connection_of(x)->fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	r = endpoint_from_sockaddr((struct sockaddr *)&address, &at);
	if (r == 0)
		*ret = at.address;
	return r;
}

void http1_reply_header(struct http1_exchange *x, const char *name, const char *value)
{
	(void)http1_write_header(&connection_of(x)->extra, name, value);
}

/* write_head() - The head of a reply; false when it can't be written (out of memory) */
static bool write_head(struct connection *c, int status, const char *type, bool close_after)
{
	int r = http1_write_response(&c->out, status);

	if (r == 0 && c->extra.length > 0)
		r = buffer_append(&c->out, buffer_head(&c->extra), c->extra.length);
	if (r == 0 && type)
		r = http1_write_header(&c->out, "Content-Type", type);
	if (r == 0 && close_after)
		r = http1_write_header(&c->out, "Connection", "close");
	buffer_free(&c->extra);
	c->extra.limit = EXTRA_HEADERS_MAX;
	return r == 0;
}

void http1_reply(struct http1_exchange *x, int status, const char *type, const void *body,
		 size_t length)
{
	struct connection *c = connection_of(x);
	bool whole = c->state == STATE_HANDLING;
	bool is_head = whole && strcmp(x->head->method, "HEAD") == 0;
	/* What was refused at its head leaves a body unread behind: that ends the connection. */
	bool close_after = !whole || !x->head->keep_alive || c->peer_done;
	bool good;

	if (c->state == STATE_CLOSED || c->failed)
		return;
	good = write_head(c, status, type, close_after);
	if (good && status != 204)
		good = http1_write_length(&c->out, length) == 0;
	good = good && http1_write_head_end(&c->out) == 0;
	if (good && !is_head && status != 204 && length > 0)
		good = buffer_append(&c->out, body, length) == 0;
	if (!good) {
		connection_close(c);
		return;
	}
	buffer_free_secret(&c->body);
	c->body.limit = LIMIT_LOCALAPI_BODY;
	free(x->path);
	x->path = NULL;
	x->context = NULL;
	x->closed = NULL;
	no_deadline(c);
	c->state = close_after ? STATE_REFUSED : STATE_IDLE;
	flush(c);
	shed(c);
	if (c->working)
		return;
	c->resume = true;
	watch(c);
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
	const struct connection *c = connection_of(x);

	return c->state != STATE_CLOSED && !c->failed;
}

int http1_stream_begin(struct http1_exchange *x, const char *type)
{
	struct connection *c = connection_of(x);

	if (c->state != STATE_HANDLING)
		return -EPIPE;
	if (!write_head(c, 200, type, true) ||
	    http1_write_header(&c->out, "Transfer-Encoding", "chunked") < 0 ||
	    http1_write_head_end(&c->out) < 0) {
		connection_close(c);
		return -EPIPE;
	}
	c->state = STATE_STREAMING;
	flush(c);
	watch(c);
	return http1_is_open(x) ? 0 : -EPIPE;
}

int http1_stream_send(struct http1_exchange *x, const void *bytes, size_t length)
{
	struct connection *c = connection_of(x);

	if (c->state != STATE_STREAMING || c->failed)
		return -ENOBUFS;
	/* One large piece may stand alone; behind it the bound holds. */
	if ((c->out.length > 0 && c->out.length + length > LIMIT_LOCALAPI_QUEUE) ||
	    http1_write_chunk(&c->out, bytes, length) < 0) {
		fail(c);
		return -ENOBUFS;
	}
	flush(c);
	shed(c);
	watch(c);
	return c->failed ? -ENOBUFS : 0;
}

void http1_stream_end(struct http1_exchange *x)
{
	connection_close(connection_of(x));
}

void http1_hold(struct http1_exchange *x)
{
	connection_of(x)->holds++;
}

void http1_release(struct http1_exchange *x)
{
	connection_unhold(connection_of(x));
}

/* --- reading --- */

/* begin() - The head is complete: make the exchange of it, and ask whether it is admitted */
static void begin(struct connection *c)
{
	const struct http1_head *head = &c->parser.head;
	const char *query = strchr(head->target, '?');
	struct http1_exchange *x = &c->x;

	c->state = STATE_BODY;
	deadline(c, BODY_TIMEOUT_MS);
	free(x->path);
	*x = (struct http1_exchange){.head = head, .body = &c->body, .uid = x->uid};
	x->query = query ? query + 1 : "";
	x->path = query ? strndup(head->target, (size_t)(query - head->target))
			: strdup(head->target);
	if (!x->path) {
		connection_close(c);
		return;
	}
	if (head->content_length > (int64_t)LIMIT_LOCALAPI_BODY) {
		http1_reply_text(x, 413, "request body is too large");
		return;
	}
	if (c->server->handler->admit && !c->server->handler->admit(c->server->user, x))
		return;
	if (http1_header_has(head, "Expect", "100-continue")) {
		if (http1_write_response(&c->out, 100) < 0 || http1_write_head_end(&c->out) < 0)
			connection_close(c);
		else
			flush(c);
	}
}

/* refuse() - Bytes that are no request, or too large a one: say so, then close */
static void refuse(struct connection *c, int why)
{
	if (c->state == STATE_IDLE || c->state == STATE_HEAD || c->state == STATE_BODY) {
		c->state = STATE_BODY;
		http1_reply_text(&c->x, why == -EMSGSIZE ? 431 : 400, "bad request: %s",
				 c->parser.error ? c->parser.error : "malformed");
	}
}

/* add_body() - A piece of the body, within the limit for all bodies together */
static int add_body(struct connection *c)
{
	size_t held = c->parser.body_length;

	for (const struct connection *other = c->server->connections; other; other = other->next)
		held += other->body.length;
	if (held > LIMIT_LOCALAPI_BODY)
		return -EMSGSIZE;
	return buffer_append(&c->body, c->parser.body, c->parser.body_length);
}

/* parse() - Act on what was read, up to the end of one request */
static void parse(struct connection *c)
{
	while (c->state <= STATE_BODY && !c->failed) {
		size_t used = 0;
		int r;

		/* A reader that does not take its last reply gets no next one. */
		if (c->state == STATE_IDLE && (c->in.length == 0 || c->out.length > 0))
			return;
		if (c->state == STATE_IDLE) {
			c->state = STATE_HEAD;
			deadline(c, HEAD_TIMEOUT_MS);
		}
		r = http1_parse(&c->parser, buffer_head(&c->in), c->in.length, &used);
		if (r == HTTP1_BODY && add_body(c) < 0) {
			http1_reply_text(&c->x, 413, "request body is too large");
			return;
		}
		buffer_consume(&c->in, used);
		if (r < 0) {
			refuse(c, r);
			return;
		}
		if (r == HTTP1_HEAD)
			begin(c);
		if (r == HTTP1_END) {
			c->state = STATE_HANDLING;
			no_deadline(c);
			c->server->handler->serve(c->server->user, &c->x);
		}
		if (r == HTTP1_MORE)
			return;
	}
}

/* receive() - One read; #syscalls: recvfrom */
static void receive(struct connection *c)
{
	ssize_t n;

	if (buffer_reserve(&c->in, READ_SIZE) < 0) {
		connection_close(c);
		return;
	}
	n = recv(c->fd, buffer_end(&c->in), READ_SIZE, MSG_DONTWAIT);
	c->since = uv_now(c->timer.loop);
	if (n > 0)
		c->in.length += (size_t)n;
	else if (n == 0)
		c->peer_done = true;
	else if (errno != EAGAIN && errno != EINTR)
		connection_close(c);
}

/* work() - Parse what there is, then watch for what the state waits for */
static void work(struct connection *c)
{
	c->working = true;
	c->resume = false;
	c->holds++;
	parse(c);
	c->working = false;
	if (c->in.length == 0) {
		size_t limit = c->in.limit;

		buffer_free_secret(&c->in);
		c->in.limit = limit;
	}
	if (c->state == STATE_REFUSED && c->out.length == 0)
		connection_close(c);
	/* Its last request was cut short, or there was none: nothing more will come. */
	if (c->peer_done && c->state <= STATE_BODY && c->out.length == 0)
		connection_close(c);
	if (c->state == STATE_IDLE && !uv_is_active((uv_handle_t *)&c->timer))
		deadline(c, IDLE_TIMEOUT_MS);
	watch(c);
	connection_unhold(c);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct connection *c = container_of(poll, struct connection, poll);

	if (status < 0) {
		connection_close(c);
		return;
	}
	c->holds++;
	if (events & UV_WRITABLE)
		flush(c);
	if (c->state == STATE_STREAMING && (events & UV_DISCONNECT))
		connection_close(c);
	else if (c->state <= STATE_BODY && (events & (UV_READABLE | UV_DISCONNECT)))
		receive(c);
	if (c->state != STATE_CLOSED && !c->failed)
		work(c);
	connection_unhold(c);
}

static void watch(struct connection *c)
{
	int events = 0;

	if (c->state == STATE_CLOSED)
		return;
	if (c->state <= STATE_BODY && !c->peer_done &&
	    (c->state != STATE_IDLE || c->out.length == 0))
		events |= UV_READABLE;
	if (c->state == STATE_STREAMING)
		events |= UV_DISCONNECT;
	if (c->out.length > 0 || c->resume)
		events |= UV_WRITABLE;
	if (events && !c->failed)
		uv_poll_start(&c->poll, events, on_ready);
	else
		uv_poll_stop(&c->poll);
}

/* --- accepting --- */

static uid_t peer_uid(int fd)
{
	struct ucred credentials;
	socklen_t length = sizeof(credentials);
	int domain = 0;
	socklen_t domain_length = sizeof(domain);

	/* #syscalls: getsockopt */
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_length) < 0 ||
	    domain != AF_UNIX || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return HTTP_UID_NONE;
	return credentials.uid;
}

static bool is_privileged(const struct http_server *s, uid_t uid)
{
	return s->handler->privileged && s->handler->privileged(s->user, uid);
}

/*
 * make_room() - Whether a connection of @uid may come; the longest idle one makes way for it
 *
 * The last places are for users who may write. One who may not has a share of the others, and
 * takes no place from one who may.
 */
static bool make_room(struct http_server *s, uid_t uid)
{
	bool privileged = is_privileged(s, uid), share_taken;
	unsigned int places =
		LIMIT_LOCALAPI_CONNECTIONS - (privileged ? 0 : LIMIT_LOCALAPI_RESERVED);
	unsigned int same = 0;
	struct connection *idle = NULL;

	for (const struct connection *c = s->connections; c; c = c->next)
		same += c->x.uid == uid;
	share_taken = !privileged && uid != HTTP_UID_NONE && same >= LIMIT_LOCALAPI_USER;
	if (s->count < places && !share_taken)
		return true;
	for (struct connection *c = s->connections; c; c = c->next) {
		bool waits = c->state <= STATE_BODY || c->state == STATE_REFUSED;

		if (waits && (!share_taken || c->x.uid == uid) &&
		    (privileged || !is_privileged(s, c->x.uid)) &&
		    (!idle || c->since <= idle->since))
			idle = c;
	}
	if (idle)
		connection_close(idle);
	return idle;
}

static void connection_new(struct http_server *s, int fd)
{
	uid_t uid = peer_uid(fd);
	struct connection *c;

	if (!make_room(s, uid) || !(c = calloc(1, sizeof(*c)))) {
		close(fd);
		return;
	}
	c->server = s;
	c->fd = fd;
	c->x.uid = uid;
	c->in.limit = 2 * READ_SIZE;
	c->out.limit = LIMIT_LOCALAPI_RESPONSE;
	c->body.limit = LIMIT_LOCALAPI_BODY;
	c->extra.limit = EXTRA_HEADERS_MAX;
	http1_parser_init(&c->parser, false);
	c->since = uv_now(s->loop);
	uv_timer_init(s->loop, &c->timer);
	if (uv_poll_init(s->loop, &c->poll, fd) < 0) {
		/* Only possible without memory in the loop's table: let go of what began. */
		c->holds = 1;
		close(fd);
		uv_close((uv_handle_t *)&c->timer, on_timer_closed);
		return;
	}
	c->holds = 2;
	c->next = s->connections;
	c->link = &s->connections;
	if (c->next)
		c->next->link = &c->next;
	s->connections = c;
	s->count++;
	deadline(c, HEAD_TIMEOUT_MS);
	watch(c);
}

static void on_pause_over(uv_timer_t *timer);

/* on_connection() - Take what waits, a few at a time; #syscalls: accept4 */
static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct http_server *s = container_of(poll, struct http_server, poll);

	(void)events;
	for (int i = 0; status == 0 && i < ACCEPTS_A_WAKEUP; i++) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			connection_new(s, fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* No descriptors or no memory: it would be ready again at once. */
		uv_poll_stop(&s->poll);
		uv_timer_start(&s->pause, on_pause_over, ACCEPT_PAUSE_MS, 0);
		return;
	}
}

static void on_pause_over(uv_timer_t *timer)
{
	struct http_server *s = container_of(timer, struct http_server, pause);

	uv_poll_start(&s->poll, UV_READABLE, on_connection);
}

static void server_handle_closed(struct http_server *s)
{
	if (--s->open_handles > 0)
		return;
	close(s->fd);
	free(s);
}

static void on_server_poll_closed(uv_handle_t *handle)
{
	server_handle_closed(container_of((uv_poll_t *)handle, struct http_server, poll));
}

static void on_server_pause_closed(uv_handle_t *handle)
{
	server_handle_closed(container_of((uv_timer_t *)handle, struct http_server, pause));
}

int http_server_new(uv_loop_t *loop, int listen_fd, const struct http_server_handler *handler,
		    void *user, struct http_server **ret, struct error *err)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(listen_fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	s->loop = loop;
	s->fd = listen_fd;
	s->handler = handler;
	s->user = user;
	r = uv_poll_init(loop, &s->poll, listen_fd);
	if (r < 0) {
		close(listen_fd);
		free(s);
		return error_set_errno(err, r, "watch the listener");
	}
	uv_timer_init(loop, &s->pause);
	s->open_handles = 2;
	uv_poll_start(&s->poll, UV_READABLE, on_connection);
	*ret = s;
	return 0;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	while (s->connections)
		connection_close(s->connections);
	uv_close((uv_handle_t *)&s->poll, on_server_poll_closed);
	uv_close((uv_handle_t *)&s->pause, on_server_pause_closed);
}
