/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/web/web_server.c - HTTP/1.1 on a listener of our own
 *
 * Theory of operation
 *	accept -> READING --request--> SERVING --reply--> READING (keep-alive) or CLOSED
 *	                                       \--long reply--> WRITING --taken--> READING or CLOSED
 *	                                       \--upgrade--> the stream goes, the connection ends
 *
 *   Connections in READING and WRITING stand in a list, who moved least lately first, so
 *   that the one timer of the server looks at its head only. Input that comes while a request is
 *served waits in `in`, and the stream is paused.
 */
#define LOG_ROOM "web"
#include "server/web/web_server.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "transport/loop_timer.h"
#include "transport/tcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG              4096
#define ACCEPTS_A_WAKEUP     64
#define ACCEPT_PAUSE         (100 * NSEC_PER_MSEC)
#define ACCEPT_WARNING_EVERY (60 * NSEC_PER_SEC)
#define DEAD_AFTER_MS        60000 /* sent, and not acknowledged */
#define EXTRA_HEADERS_MAX    4096

/* No more requests of a connection are served while this much of its answers waits. */
#define QUEUE_HIGH (64u * 1024)

/* A longer answer waits here and leaves by pieces of this size; a stream takes only so much. */
#define PIECE (64u * 1024)

enum connection_state {
	READING,
	SERVING,
	WRITING,
	CLOSED,
};

struct connection {
	struct web_server *server;
	struct connection *next, **link;    /* all */
	struct connection *younger, *older; /* in READING and WRITING */
	nanoseconds since;
	struct stream *stream;
	enum connection_state state;
	bool working, dead;
	bool keep_alive;
	struct http1_parser parser;
	struct buffer in, body, extra;
	struct buffer rest; /* WRITING: of the answer */
	char *target;
	struct endpoint peer; /* of the connection; that of a request may come by a proxy */
	unsigned int source;
	struct http1_exchange x;
};

struct web_server {
	struct web_server_options options;
	uv_poll_t poll;
	struct loop_timer *sweep, *pause;
	struct connection *connections;
	struct connection *oldest, *youngest; /* in READING and WRITING */
	struct web_statistics statistics;
	struct source_limit *limit;
	int64_t warned;                      /* when, that accept() fails; or 0 */
	uint16_t young_of[SOURCE_SLOTS + 1]; /* of these, of each source */
};

/* The list of those that we wait for */

static void wait_begin(struct connection *c)
{
	struct web_server *s = c->server;

	c->since = clock_boottime();
	c->older = s->youngest;
	c->younger = NULL;
	if (s->youngest)
		s->youngest->younger = c;
	else
		s->oldest = c;
	s->youngest = c;
	s->statistics.young++;
	s->young_of[c->source]++;
}

static void wait_end(struct connection *c)
{
	struct web_server *s = c->server;

	*(c->older ? &c->older->younger : &s->oldest) = c->younger;
	*(c->younger ? &c->younger->older : &s->youngest) = c->older;
	c->older = c->younger = NULL;
	s->statistics.young--;
	s->young_of[c->source]--;
}

static void connection_free(struct connection *c)
{
	http1_parser_free(&c->parser);
	buffer_free_secret(&c->in);
	buffer_free_secret(&c->body);
	buffer_free(&c->extra);
	buffer_free_secret(&c->rest);
	free(c->target);
	free(c);
}

/* drop() - End the connection; queued bytes still leave. Freed by work() where that runs */
static void drop(struct connection *c)
{
	if (c->state == CLOSED)
		return;
	if (c->state == READING || c->state == WRITING)
		wait_end(c);
	c->state = CLOSED;
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->server->statistics.open--;
	if (c->stream)
		stream_finish(TAKE_PTR(c->stream));
	if (c->working)
		c->dead = true;
	else
		connection_free(c);
}

/* cut() - End the connection without waiting for who takes no bytes: a local peer need never */
static void cut(struct connection *c)
{
	stream_close(TAKE_PTR(c->stream));
	drop(c);
}

/* Answers */

static struct connection *connection_of(struct http1_exchange *x)
{
	return container_of(x, struct connection, x);
}

void http1_reply_header(struct http1_exchange *x, const char *name, const char *value)
{
	(void)http1_write_header(&connection_of(x)->extra, name, value);
}

void http1_reply_close(struct http1_exchange *x)
{
	connection_of(x)->keep_alive = false;
}

/* next_request() - The exchange is over; the connection ends, or work() goes on with it */
static void next_request(struct connection *c, bool keep)
{
	buffer_free_secret(&c->body);
	c->body = BUFFER_INIT(c->server->options.body_limit);
	buffer_free(&c->extra);
	c->extra = BUFFER_INIT(EXTRA_HEADERS_MAX);
	free(TAKE_PTR(c->target));
	c->x = (struct http1_exchange){.peer = c->peer, .source = c->source};
	if (!keep) {
		c->state = CLOSED;
		*c->link = c->next;
		if (c->next)
			c->next->link = c->link;
		c->server->statistics.open--;
		if (c->stream)
			stream_finish(TAKE_PTR(c->stream));
		if (c->working)
			c->dead = true;
		else
			connection_free(c);
		return;
	}
	c->state = READING;
	wait_begin(c);
}

/* write_rest() - As much of a long answer as the stream takes now; `drained` comes back */
static void write_rest(struct connection *c)
{
	while (c->rest.length > 0) {
		size_t length = c->rest.length < PIECE ? c->rest.length : PIECE;

		if (stream_pending(c->stream) > 0)
			return;
		if (stream_write(c->stream, buffer_head(&c->rest), length) < 0) {
			drop(c);
			return;
		}
		buffer_consume(&c->rest, length);
		wait_end(c);
		wait_begin(c);
	}
	buffer_free_secret(&c->rest);
	wait_end(c);
	next_request(c, c->keep_alive);
}

void http1_reply(struct http1_exchange *x, int status, const char *type, const void *body,
		 size_t length)
{
	struct connection *c = connection_of(x);
	bool head_only = c->x.head && strcmp(c->x.head->method, "HEAD") == 0;
	struct buffer out = BUFFER_INIT(LIMIT_HTTP_HEADER + length);
	bool keep = c->keep_alive;
	int r = http1_write_response(&out, status);

	if (r == 0 && type)
		r = http1_write_header(&out, "Content-Type", type);
	if (r == 0)
		r = buffer_append(&out, buffer_head(&c->extra), c->extra.length);
	if (r == 0 && !keep)
		r = http1_write_header(&out, "Connection", "close");
	if (r == 0 && status >= 200 && status != 204)
		r = http1_write_length(&out, length);
	if (r == 0)
		r = http1_write_head_end(&out);
	if (r == 0 && !head_only)
		r = buffer_append(&out, body, length);
	if (r == 0 && out.length > PIECE) {
		c->rest = out;
		c->state = WRITING;
		wait_begin(c);
		write_rest(c);
		return;
	}
	if (r == 0)
		r = stream_write(c->stream, buffer_head(&out), out.length);
	buffer_free(&out);
	next_request(c, r == 0 && keep);
}

void http1_reply_text(struct http1_exchange *x, int status, const char *format, ...)
{
	char text[1024];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	if (length < 0)
		length = 0;
	if ((size_t)length > sizeof(text) - 2)
		length = sizeof(text) - 2;
	text[length++] = '\n';
	http1_reply(x, status, "text/plain; charset=utf-8", text, (size_t)length);
}

struct stream *http1_take(struct http1_exchange *x, struct buffer *ret_head)
{
	struct connection *c = connection_of(x);
	struct stream *stream = TAKE_PTR(c->stream);

	*ret_head = c->in;
	c->in = BUFFER_INIT(0);
	stream_pause(stream);
	stream_set_events(stream, NULL, NULL);
	next_request(c, false);
	return stream;
}

struct stream *http1_upgrade(struct http1_exchange *x, const char *protocol,
			     struct buffer *ret_head)
{
	struct connection *c = connection_of(x);
	struct buffer out = BUFFER_INIT(LIMIT_HTTP_HEADER);
	struct stream *stream = NULL;
	int r = http1_write_response(&out, 101);

	if (r == 0)
		r = http1_write_header(&out, "Upgrade", protocol);
	if (r == 0)
		r = http1_write_header(&out, "Connection", "upgrade");
	if (r == 0)
		r = buffer_append(&out, buffer_head(&c->extra), c->extra.length);
	if (r == 0)
		r = http1_write_head_end(&out);
	if (r == 0)
		r = stream_write(c->stream, buffer_head(&out), out.length);
	buffer_free(&out);
	if (r == 0)
		stream = http1_take(x, ret_head);
	else
		next_request(c, false);
	return stream;
}

/* Sources */

/* source_of() - The slot that a peer is counted in; local ones and the proxy are not strangers */
static unsigned int source_of(const struct web_server *s, const struct address *peer)
{
	if (peer->family == ADDRESS_NONE || address_is_loopback(peer) ||
	    (s->options.behind_proxy && address_is_private(peer)))
		return WEB_SOURCE_LOCAL;
	return source_limit_slot(s->limit, peer);
}

/* forwarded() - The request is of whom the proxy says, if it says so */
static void forwarded(struct connection *c)
{
	const struct http1_head *head = c->x.head;
	const char *list = NULL, *last;
	struct address address;

	for (size_t i = 0; i < head->header_count; i++)
		if (strcasecmp(head->headers[i].name, "X-Forwarded-For") == 0)
			list = head->headers[i].value;
	if (!list)
		return;
	/* What stands before the last comma came from the client, or from a proxy further away. */
	last = strrchr(list, ',');
	last = last ? last + 1 : list;
	last += strspn(last, " \t");
	if (address_parse(last, strcspn(last, " \t"), &address) < 0)
		return;
	c->x.peer = (struct endpoint){.address = address};
	c->x.source = source_of(c->server, &address);
}

/* Requests */

static void refuse(struct connection *c, int status, const char *text)
{
	c->server->statistics.malformed++;
	c->keep_alive = false;
	wait_end(c);
	c->state = SERVING;
	http1_reply_text(&c->x, status, "%s", text);
}

static void begin_serving(struct connection *c)
{
	char *mark;

	c->x.head = &c->parser.head;
	c->target = strdup(c->parser.head.target);
	if (!c->target) {
		drop(c);
		return;
	}
	mark = strchr(c->target, '?');
	c->x.path = c->target;
	c->x.query = "";
	if (mark) {
		*mark = '\0';
		c->x.query = mark + 1;
	}
	c->x.body = &c->body;
	if (c->server->options.behind_proxy && c->source == WEB_SOURCE_LOCAL)
		forwarded(c);
	c->keep_alive = c->parser.head.keep_alive;
	wait_end(c);
	c->state = SERVING;
	stream_pause(c->stream);
	c->server->options.serve(c->server->options.user, &c->x);
}

/* found() - Act on what the parser found */
static void found(struct connection *c, int r)
{
	size_t limit = c->server->options.body_limit;

	switch (r) {
	case HTTP1_HEAD:
		if (c->parser.head.content_length > (int64_t)limit)
			refuse(c, 413, "the request is too large");
		else if (http1_header_has(&c->parser.head, "Expect", "100-continue"))
			(void)stream_write(c->stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
		break;
	case HTTP1_BODY:
		if (buffer_append(&c->body, c->parser.body, c->parser.body_length) < 0)
			refuse(c, 413, "the request is too large");
		break;
	case HTTP1_END:
		begin_serving(c);
		break;
	default:
		refuse(c, r == -EMSGSIZE ? 431 : 400,
		       c->parser.error ? c->parser.error : "not HTTP");
		break;
	}
}

/* work() - Send what waits, parse what is in until more is needed or an answer is under way */
static void work(struct connection *c)
{
	c->working = true;
	if (c->state == WRITING)
		write_rest(c);
	while (c->state == READING && stream_pending(c->stream) <= QUEUE_HIGH) {
		size_t used = 0;
		int r = http1_parse(&c->parser, buffer_head(&c->in), c->in.length, &used);

		buffer_consume(&c->in, used);
		if (r == HTTP1_MORE)
			break;
		found(c, r);
	}
	c->working = false;
	if (c->dead)
		connection_free(c);
	else if (c->state == READING && stream_pending(c->stream) <= QUEUE_HIGH)
		stream_resume(c->stream);
	else if (c->state == READING)
		stream_pause(c->stream); /* who doesn't read is not read from */
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct connection *c = user;

	if (buffer_append(&c->in, bytes, length) < 0)
		drop(c);
	else if (!c->working)
		work(c);
}

static void on_drained(void *user)
{
	struct connection *c = user;

	if (!c->working)
		work(c);
}

static void on_closed(void *user, const struct error *err)
{
	(void)err;
	drop(user);
}

static const struct stream_events events = {
	.data = on_data, .drained = on_drained, .closed = on_closed};

/* Accepting */

/* sweep() - Cut those whose time is over; look again when the next one's is */
static void sweep(void *user)
{
	struct web_server *s = user;
	nanoseconds patience = LIMIT_SERVER_PATIENCE * NSEC_PER_SEC, now = clock_boottime();

	while (s->oldest && s->oldest->since + patience <= now) {
		bool local = s->oldest->peer.address.family == ADDRESS_NONE;

		s->statistics.timed_out++;
		if (local || s->oldest->state == WRITING)
			cut(s->oldest);
		else
			drop(s->oldest);
	}
	loop_timer_at(s->sweep, s->oldest ? s->oldest->since + patience : now + patience);
}

/* make_room() - The oldest goes: of the newcomer's source where that has its share, or of all */
static void make_room(struct web_server *s, unsigned int source)
{
	struct connection *oldest = s->oldest;

	if (source != WEB_SOURCE_LOCAL && s->young_of[source] > LIMIT_SERVER_SOURCE) {
		while (oldest->source != source)
			oldest = oldest->younger;
		s->statistics.limited++;
		drop(oldest);
	} else if (s->statistics.young > LIMIT_SERVER_YOUNG) {
		s->statistics.refused++;
		drop(oldest);
	}
}

static void adopt(struct web_server *s, int fd, const struct sockaddr *address)
{
	unsigned int dead_after = DEAD_AFTER_MS;
	int on = 1, idle = 60, count = 3, every = 20;
	struct connection *c = calloc(1, sizeof(*c));
	struct stream *stream = NULL;
	int r;

	if (!c) {
		close(fd);
		return;
	}
	c->server = s;
	c->source = WEB_SOURCE_LOCAL;
	if (endpoint_from_sockaddr(address, &c->peer) == 0) {
		c->source = source_of(s, &c->peer.address);
		/* Refused only where it would not matter. */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_after,
				 sizeof(dead_after));
		(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	}
	r = tcp_open(s->options.loop, fd, &stream, NULL);
	if (r == 0 && s->options.tls)
		r = tls_server(s->options.tls, stream, &stream, NULL);
	if (r < 0) {
		free(c);
		return;
	}
	c->x = (struct http1_exchange){.peer = c->peer, .source = c->source};
	c->stream = stream;
	http1_parser_init(&c->parser, false);
	c->in = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	c->body = BUFFER_INIT(s->options.body_limit);
	c->extra = BUFFER_INIT(EXTRA_HEADERS_MAX);
	c->next = s->connections;
	c->link = &s->connections;
	if (c->next)
		c->next->link = &c->next;
	s->connections = c;
	s->statistics.open++;
	wait_begin(c);
	stream_set_events(stream, &events, c);
	make_room(s, c->source);
}

/* may_connect() - Whether this source was not here too often in the last seconds */
static bool may_connect(struct web_server *s, const struct sockaddr *address)
{
	struct endpoint peer = {0};
	unsigned int source;

	if (endpoint_from_sockaddr(address, &peer) < 0)
		return true;
	source = source_of(s, &peer.address);
	return source == WEB_SOURCE_LOCAL || source_limit_admit(s->limit, source, clock_boottime());
}

/* warn_accept() - Nobody new can be taken: once a minute, since it is tried ten times a second */
static void warn_accept(struct web_server *s, int error)
{
	int64_t now = clock_boottime();

	if (s->warned && now < s->warned + ACCEPT_WARNING_EVERY)
		return;
	s->warned = now;
	if (error == EMFILE || error == ENFILE)
		log_warn("no new connection can be taken, %zu are open: %s; raise the limit of "
			 "open files (ulimit -n, LimitNOFILE=, docker run --ulimit nofile=)",
			 s->statistics.open, strerror(error));
	else
		log_warn("no new connection can be taken: %s", strerror(error));
}

static void on_readable(uv_poll_t *poll, int status, int what)
{
	struct web_server *s = poll->data;
	struct sockaddr_storage address;

	(void)what;
	if (status < 0)
		return;
	for (int i = 0; i < ACCEPTS_A_WAKEUP; i++) {
		socklen_t size = sizeof(address);
		int fd;

		memset(&address, 0, sizeof(address));
		fd = accept4(s->options.listen_fd, (struct sockaddr *)&address, &size,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0) { /* no descriptors or memory: the backlog waits */
			warn_accept(s, errno);
			uv_poll_stop(&s->poll);
			loop_timer_at(s->pause, clock_boottime() + ACCEPT_PAUSE);
			return;
		}
		s->statistics.accepted++;
		if (s->statistics.open >= LIMIT_SERVER_CONNECTIONS) {
			s->statistics.refused++;
			close(fd);
			continue;
		}
		if (!may_connect(s, (struct sockaddr *)&address)) {
			s->statistics.limited++;
			close(fd);
			continue;
		}
		adopt(s, fd, (struct sockaddr *)&address);
	}
}

static void end_pause(void *user)
{
	struct web_server *s = user;

	uv_poll_start(&s->poll, UV_READABLE, on_readable);
}

static void poll_closed(uv_handle_t *handle)
{
	struct web_server *s = handle->data;

	close(s->options.listen_fd);
	source_limit_free(s->limit);
	free(s);
}

int web_server_new(const struct web_server_options *options, struct web_server **ret,
		   struct error *err)
{
	struct web_server *s = calloc(1, sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (r < 0) {
		close(options->listen_fd);
		return error_set(err, r, "out of memory");
	}
	s->options = *options;
	s->limit = source_limit_new(LIMIT_SERVER_SOURCE_RATE, LIMIT_SERVER_SOURCE_BURST);
	if (!s->limit) {
		r = error_set(err, -ENOMEM, "out of memory");
		goto refused;
	}
	if (loop_timer_create(options->loop, sweep, s, &s->sweep) < 0 ||
	    loop_timer_create(options->loop, end_pause, s, &s->pause) < 0) {
		r = error_set(err, -ENOMEM, "out of memory");
		goto refused;
	}
	r = uv_poll_init(options->loop, &s->poll, options->listen_fd);
	if (r < 0) {
		error_set_errno(err, r, "watch the listener");
		goto refused;
	}
	s->poll.data = s;
	if (options->tls)
		tls_context_hold(options->tls);
	uv_poll_start(&s->poll, UV_READABLE, on_readable);
	sweep(s);
	*ret = s;
	return 0;
refused:
	source_limit_free(s->limit);
	loop_timer_free(s->sweep);
	loop_timer_free(s->pause);
	close(options->listen_fd);
	free(s);
	return r;
}

void web_server_free(struct web_server *s)
{
	if (!s)
		return;
	while (s->connections)
		cut(s->connections);
	loop_timer_free(s->sweep);
	loop_timer_free(s->pause);
	tls_context_release(s->options.tls);
	uv_close((uv_handle_t *)&s->poll, poll_closed);
}

const struct web_statistics *web_server_statistics(const struct web_server *s)
{
	return &s->statistics;
}

int web_server_endpoint(const struct web_server *s, struct endpoint *ret)
{
	struct sockaddr_storage address = {0};
	socklen_t size = sizeof(address);

	if (getsockname(s->options.listen_fd, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	return endpoint_from_sockaddr((struct sockaddr *)&address, ret);
}

int web_listen(const struct endpoint *at, int *ret_fd, struct error *err)
{
	struct sockaddr_storage address;
	socklen_t size = endpoint_to_sockaddr(at, &address);
	char text[ENDPOINT_TEXT_MAX];
	_cleanup_close_ int fd = -1;
	int on = 1;

	endpoint_format(at, text);
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, -errno, "listen on %s", text);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* [::] means both families. */
	if (address.ss_family == AF_INET6) {
		int off = 0;

		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	}
	if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, BACKLOG) < 0)
		return error_set_errno(err, -errno, "listen on %s", text);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int web_listen_unix(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	int probe;
	bool alive;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -ENAMETOOLONG,
				 "socket path %s is too long (%zu bytes at most)", path,
				 sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return error_set_errno(err, -errno, "socket");
	alive = connect(probe, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(probe);
	if (alive)
		return error_set(err, -EADDRINUSE, "another server answers at %s", path);
	(void)unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, -errno, "socket");
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0 || listen(fd, 64) < 0)
		return error_set_errno(err, r < 0 ? r : -errno, "listen on %s", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}
