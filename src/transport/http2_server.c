/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2_server.c - the server side of HTTP/2 over any stream
 *
 * Theory of operation
 *   http2_link.h describes how frames move. A body without queued bytes is deferred, so an idle
 *   exchange costs no buffer: pushed bytes and those of nghttp2 are freed once they are sent.
 */
#include "transport/http2_server.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/http2_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define HEADERS_MAX   8
#define PATH_MAX_KEPT 2048u
#define EXCHANGE_COST 4096u /* beside its body */

struct exchange {
	struct http2_exchange public;
	LIST_ENTRY(exchange) entry;
	int32_t id;
	nanoseconds began; /* the request; its answer, once that is whole */
	struct buffer out;
	size_t header_bytes;
	bool complete; /* the request is */
	bool answered;
	bool finished; /* nothing more is pushed */
	bool drained;  /* the event is due */
};

struct http2_server {
	struct http2_link link;
	const struct http2_server_events *events;
	void *user;
	LIST_HEAD(, exchange) exchanges;
	size_t count;
	size_t body_bytes; /* of all requests */
	size_t body_limit;
};

static struct exchange *exchange_of(struct http2_exchange *x)
{
	return container_of(x, struct exchange, public);
}

/* tell_held() - The owner may close the connection here: don't touch it afterwards */
static void tell_held(struct http2_server *c)
{
	if (!c->link.closed && c->events->held)
		c->events->held(c->user, c->body_bytes + c->count * EXCHANGE_COST +
						 stream_pending(c->link.below));
}

static void exchange_free(struct exchange *x)
{
	struct http2_server *c = x->public.connection;

	LIST_REMOVE(x, entry);
	c->count--;
	c->body_bytes -= x->public.body.length;
	nghttp2_session_set_stream_user_data(c->link.session, x->id, NULL);
	if (x->complete && c->events->gone)
		c->events->gone(c->user, &x->public);
	buffer_free_secret(&x->public.body);
	buffer_free(&x->out);
	free((char *)(uintptr_t)x->public.method);
	free((char *)(uintptr_t)x->public.path);
	free(x);
	tell_held(c);
}

static void server_free(struct http2_server *c)
{
	while (!LIST_EMPTY(&c->exchanges))
		exchange_free(LIST_FIRST(&c->exchanges));
	/* GOAWAY and the last answers are still sent, but not to a client that doesn't read. */
	if (stream_pending(c->link.below) < HTTP2_QUEUE_HIGH)
		stream_finish(c->link.below);
	else
		stream_close(c->link.below);
	nghttp2_session_del(c->link.session);
	free(c);
}

static void end_all(struct http2_server *c, const struct error *err)
{
	if (c->link.over)
		return;
	c->link.over = true;
	while (!LIST_EMPTY(&c->exchanges))
		exchange_free(LIST_FIRST(&c->exchanges));
	if (!c->link.closed && c->events->ended)
		c->events->ended(c->user, err);
}

static void tell_drained(struct http2_server *c)
{
	struct exchange *x = LIST_FIRST(&c->exchanges);

	while (x && !c->link.closed && !c->link.over) {
		bool drained = x->drained;

		x->drained = false;
		if (drained && c->events->drained)
			c->events->drained(c->user, &x->public);
		/* The list may have changed. */
		x = drained ? LIST_FIRST(&c->exchanges) : LIST_NEXT(x, entry);
	}
}

static struct http2_server *server_of(struct http2_link *link)
{
	return container_of(link, struct http2_server, link);
}

static void sent(struct http2_link *link)
{
	tell_drained(server_of(link));
	tell_held(server_of(link));
}

static void end(struct http2_link *link, const struct error *err)
{
	end_all(server_of(link), err);
}

static void free_link(struct http2_link *link)
{
	server_free(server_of(link));
}

/* Callbacks of nghttp2 */

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2_server *c = server_of(user);
	struct exchange *x;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (c->link.closed)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	x = calloc(1, sizeof(*x));
	if (!x)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	x->id = frame->hd.stream_id;
	x->began = clock_boottime();
	x->public.connection = c;
	x->public.body = BUFFER_INIT(LIMIT_RPC_BODY);
	x->out = BUFFER_INIT(SIZE_MAX);
	LIST_INSERT_HEAD(&c->exchanges, x, entry);
	c->count++;
	nghttp2_session_set_stream_user_data(session, x->id, x);
	tell_held(c);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
		     void *user)
{
	struct exchange *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	const char **kept = NULL;

	(void)flags;
	(void)user;
	if (!x)
		return 0;
	x->header_bytes += name_length + value_length + 32; /* RFC 9113 §6.5.2 */
	if (x->header_bytes > LIMIT_HTTP_HEADER)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
	if (name_length == 7 && memcmp(name, ":method", 7) == 0)
		kept = &x->public.method;
	else if (name_length == 5 && memcmp(name, ":path", 5) == 0)
		kept = &x->public.path;
	if (!kept || *kept)
		return 0;
	if (value_length > PATH_MAX_KEPT)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	*kept = strndup((const char *)value, value_length);
	return *kept ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
		   size_t length, void *user)
{
	struct exchange *x = nghttp2_session_get_stream_user_data(session, id);
	struct http2_server *c = server_of(user);

	(void)flags;
	if (!x || x->complete)
		return 0;
	/* One connection's requests share what one request may have. */
	if (c->body_bytes + length > c->body_limit ||
	    buffer_append(&x->public.body, bytes, length) < 0) {
		http2_link_reset(&c->link, id, NGHTTP2_ENHANCE_YOUR_CALM);
		exchange_free(x);
		return 0;
	}
	c->body_bytes += length;
	tell_held(c);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2_server *c = server_of(user);
	struct exchange *x;

	if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
	    !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!x || x->complete || c->link.closed)
		return 0;
	if (!x->public.method || !x->public.path) {
		http2_link_reset(&c->link, x->id, NGHTTP2_PROTOCOL_ERROR);
		exchange_free(x);
		return 0;
	}
	x->complete = true;
	c->events->request(c->user, &x->public);
	return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct exchange *x = nghttp2_session_get_stream_user_data(session, id);

	(void)code;
	(void)user;
	if (x)
		exchange_free(x);
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t size,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct exchange *x = nghttp2_session_get_stream_user_data(session, id);

	(void)source;
	(void)user;
	if (!x)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (x->out.length == 0 && !x->finished)
		return NGHTTP2_ERR_DEFERRED;
	if (size > x->out.length)
		size = x->out.length;
	if (size)
		memcpy(out, buffer_head(&x->out), size);
	buffer_consume(&x->out, size);
	if (x->out.length == 0) {
		buffer_free(&x->out);
		x->out = BUFFER_INIT(SIZE_MAX);
		if (x->finished)
			*flags |= NGHTTP2_DATA_FLAG_EOF;
		else
			x->drained = true;
	}
	return (ssize_t)size;
}

static const struct http2_link_ops link_ops = {
	.server = true,
	.on_begin = on_begin,
	.on_header = on_header,
	.on_data = on_data,
	.on_frame = on_frame,
	.on_stream_closed = on_stream_closed,
	.sent = sent,
	.end = end,
	.free = free_link,
};

int http2_serve(struct stream *below, const struct http2_server_events *events, void *user,
		struct http2_server **ret, struct error *err)
{
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_HTTP2_STREAMS},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HTTP_HEADER},
	};
	struct http2_server *c = calloc(1, sizeof(*c));

	if (!c) {
		stream_close(below);
		return error_set(err, -ENOMEM, "out of memory");
	}
	c->events = events;
	c->user = user;
	c->body_limit = LIMIT_RPC_BODY;
	if (http2_link_open(&c->link, below, &link_ops, settings, ARRAY_SIZE(settings)) < 0) {
		stream_close(below);
		nghttp2_session_del(c->link.session);
		free(c);
		return error_set(err, -ENOMEM, "out of memory");
	}
	http2_link_start(&c->link);
	*ret = c;
	return 0;
}

/* answer() - Submit the head; the body is in `out`, or will be */
static int answer(struct exchange *x, int status, const char *type)
{
	nghttp2_data_provider body = {.read_callback = read_body};
	struct http2_server *c = x->public.connection;
	nghttp2_nv nv[HEADERS_MAX + 3];
	size_t count = 0;
	char text[12], length[24];

	if (x->answered)
		return -EALREADY;
	x->answered = true;
	x->began = clock_boottime();
	c->body_bytes -= x->public.body.length;
	buffer_free_secret(&x->public.body);
	snprintf(text, sizeof(text), "%d", status);
	nv[count++] = http2_nv(":status", text);
	if (type)
		nv[count++] = http2_nv("content-type", type);
	if (x->finished) {
		snprintf(length, sizeof(length), "%zu", x->out.length);
		nv[count++] = http2_nv("content-length", length);
	}
	for (size_t i = 0; i < x->public.header_count && i < HEADERS_MAX; i++)
		nv[count++] = http2_nv(x->public.headers[i].name, x->public.headers[i].value);
	if (nghttp2_submit_response(c->link.session, x->id, nv, count,
				    x->finished && x->out.length == 0 ? NULL : &body) == 0)
		return 0;
	http2_link_reset(&c->link, x->id, NGHTTP2_INTERNAL_ERROR);
	return -ENOMEM;
}

int http2_reply(struct http2_exchange *public, int status, const char *type, const void *body,
		size_t length)
{
	struct exchange *x = exchange_of(public);
	struct http2_server *c = public->connection;
	int r;

	if (x->answered)
		return -EALREADY;
	http2_link_enter(&c->link);
	r = buffer_append(&x->out, body, length);
	x->finished = true;
	if (r == 0)
		r = answer(x, status, type);
	else
		http2_link_reset(&c->link, x->id, NGHTTP2_INTERNAL_ERROR);
	http2_link_leave(&c->link, 0);
	return r;
}

int http2_begin(struct http2_exchange *public, int status, const char *type)
{
	struct http2_server *c = public->connection;
	int r;

	http2_link_enter(&c->link);
	r = answer(exchange_of(public), status, type);
	http2_link_leave(&c->link, 0);
	return r;
}

int http2_push(struct http2_exchange *public, const void *bytes, size_t length)
{
	struct exchange *x = exchange_of(public);
	struct http2_server *c = public->connection;
	int r;

	if (x->finished || c->link.over || c->link.closed)
		return -EPIPE;
	http2_link_enter(&c->link);
	r = buffer_append(&x->out, bytes, length);
	if (r == 0)
		(void)nghttp2_session_resume_data(c->link.session,
						  x->id); /* unless it isn't deferred */
	http2_link_leave(&c->link, 0);
	return r;
}

size_t http2_pushed(const struct http2_exchange *public)
{
	return container_of(public, struct exchange, public)->out.length;
}

void http2_finish(struct http2_exchange *public)
{
	struct exchange *x = exchange_of(public);
	struct http2_server *c = public->connection;

	http2_link_enter(&c->link);
	x->finished = true;
	x->began = clock_boottime();
	(void)nghttp2_session_resume_data(c->link.session, x->id);
	http2_link_leave(&c->link, 0);
}

void http2_reset(struct http2_exchange *public)
{
	struct exchange *x = exchange_of(public);
	struct http2_server *c = public->connection;

	http2_link_enter(&c->link);
	http2_link_reset(&c->link, x->id, NGHTTP2_CANCEL);
	http2_link_leave(&c->link, 0);
}

nanoseconds http2_server_waiting_since(const struct http2_server *c)
{
	nanoseconds since = DEADLINE_NEVER;

	const struct exchange *x;

	LIST_FOREACH(x, &c->exchanges, entry)
		if (!x->complete || x->finished)
			since = deadline_min(since, x->began);
	return since;
}

void http2_server_limit_bodies(struct http2_server *c, size_t bytes)
{
	c->body_limit = bytes;
}

size_t http2_server_exchanges(const struct http2_server *c)
{
	return c->count;
}

void http2_server_close(struct http2_server *c)
{
	if (!c || c->link.closed)
		return;
	http2_link_enter(&c->link);
	c->link.closed = true;
	if (!c->link.over)
		nghttp2_session_terminate_session(c->link.session, NGHTTP2_NO_ERROR);
	while (!LIST_EMPTY(&c->exchanges))
		exchange_free(LIST_FIRST(&c->exchanges));
	if (!c->link.over && c->link.busy == 1)
		(void)http2_link_flush(&c->link);
	http2_link_leave(&c->link, 0);
}
