/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2.c - an HTTP/2 client over any stream
 *
 * Theory of operation
 *   http2_link.h describes how frames move. The user data of an HTTP/2 stream is its request, or
 *   NULL once the owner has got its last event.
 */
#include "transport/http2.h"
#include "base/cleanup.h"
#include "transport/http2_link.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Bytes that the server may send ahead. All are consumed on arrival. */
#define STREAM_WINDOW     (1024 * 1024)
#define CONNECTION_WINDOW (4 * 1024 * 1024)

#define HEADERS_MAX 16

struct http2_request {
	struct http2_client *client;
	LIST_ENTRY(http2_request) entry;
	int32_t id;
	const struct http2_events *events;
	void *user;
	struct buffer body;
	struct loop_timer *timer;
	int status;
	int64_t retry_after;
	bool has_head; /* of the response, and the owner knows */
	size_t header_bytes;
	size_t received, limit;
};

struct http2_client {
	uv_loop_t *loop;
	struct http2_link link;
	struct loop_timer *keep_alive;
	char *authority;
	http2_ended *ended;
	void *user;
	LIST_HEAD(, http2_request) requests;
	bool going; /* GOAWAY came */
};

/* Life of a request */

static void request_free(struct http2_request *q)
{
	LIST_REMOVE(q, entry);
	nghttp2_session_set_stream_user_data(q->client->link.session, q->id, NULL);
	loop_timer_free(q->timer);
	buffer_free_secret(&q->body);
	free(q);
}

/* finish() - Report its end; @q is gone afterwards */
static void finish(struct http2_request *q, const struct error *err)
{
	const struct http2_events *events = q->events;
	void *user = q->user;

	request_free(q);
	if (err && events->failed)
		events->failed(user, err);
	else if (!err && events->end)
		events->end(user);
}

/* Life of the client */

static void client_free(struct http2_client *c)
{
	while (!LIST_EMPTY(&c->requests))
		request_free(LIST_FIRST(&c->requests));
	loop_timer_free(c->keep_alive);
	stream_close(c->link.below);
	nghttp2_session_del(c->link.session);
	free(c->authority);
	free(c);
}

/* end_all() - The connection has ended: all requests fail, then the owner is notified */
static void end_all(struct http2_client *c, const struct error *err)
{
	struct error gone;

	if (c->link.over)
		return;
	c->link.over = true;
	if (err)
		gone = *err;
	else
		error_set(&gone, -EPIPE, "the HTTP/2 connection was closed");
	while (!LIST_EMPTY(&c->requests) && !c->link.closed)
		finish(LIST_FIRST(&c->requests), &gone);
	if (!c->link.closed && c->ended)
		c->ended(c->user, err);
}

static struct http2_client *client_of(struct http2_link *link)
{
	return container_of(link, struct http2_client, link);
}

/* sent() - After GOAWAY, the last answer ends the connection */
static void sent(struct http2_link *link)
{
	struct http2_client *c = client_of(link);

	if (!link->closed && c->going && LIST_EMPTY(&c->requests))
		end_all(c, NULL);
}

static void end(struct http2_link *link, const struct error *err)
{
	end_all(client_of(link), err);
}

static void free_link(struct http2_link *link)
{
	client_free(client_of(link));
}

/* Callbacks of nghttp2 */

static struct http2_request *request_of(nghttp2_session *session, int32_t id)
{
	return nghttp2_session_get_stream_user_data(session, id);
}

/* on_header() - Only :status and Retry-After matter; all count towards the limit */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
		     void *user)
{
	struct http2_request *q = request_of(session, frame->hd.stream_id);
	char number[12] = "";

	(void)flags;
	(void)user;
	if (!q)
		return 0;
	q->header_bytes += name_length + value_length + 32; /* RFC 9113 §6.5.2 */
	if (q->header_bytes > LIMIT_HTTP_HEADER)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
	if (value_length < sizeof(number))
		memcpy(number, value, value_length);
	if (name_length == 7 && memcmp(name, ":status", 7) == 0)
		q->status = (int)strtol(number, NULL, 10);
	else if (name_length == 11 && memcmp(name, "retry-after", 11) == 0 && number[0] &&
		 strspn(number, "0123456789") == strlen(number))
		q->retry_after = strtol(number, NULL, 10);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
		   size_t length, void *user)
{
	struct http2_request *q = request_of(session, id);
	struct error err;

	(void)flags;
	(void)user;
	if (!q)
		return 0;
	q->received += length;
	if (q->limit && q->received > q->limit) {
		error_set(&err, -EMSGSIZE, "the response is longer than %zu bytes", q->limit);
		http2_link_reset(user, id, NGHTTP2_CANCEL);
		finish(q, &err);
		return 0;
	}
	if (q->events->data)
		q->events->data(q->user, bytes, length);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2_client *c = client_of(user);
	struct http2_request *q;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		c->going = true;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	q = request_of(session, frame->hd.stream_id);
	if (q && frame->hd.type == NGHTTP2_HEADERS && !q->has_head && q->status >= 200) {
		q->has_head = true;
		if (q->events->response)
			q->events->response(q->user, q->status, q->retry_after);
		q = request_of(session, frame->hd.stream_id); /* it may have been cancelled */
	}
	if (q && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
		/* The server has answered without the rest of our body: don't send it. */
		if (q->body.length)
			http2_link_reset(user, q->id, NGHTTP2_NO_ERROR);
		finish(q, NULL);
	}
	return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	const struct http2_client *c = client_of(user);
	struct http2_request *q = request_of(session, id);
	struct error err;

	if (!q)
		return 0;
	if (q->header_bytes > LIMIT_HTTP_HEADER)
		error_set(&err, -EMSGSIZE, "the response's head is too long");
	else if (c->going && code == NGHTTP2_REFUSED_STREAM)
		error_set(&err, -EPIPE, "the server is going away");
	else
		error_set(&err, -ECONNRESET, "the server reset the request (%s)",
			  nghttp2_http2_strerror(code));
	finish(q, &err);
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t size,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct http2_request *q = request_of(session, id);

	(void)source;
	(void)user;
	if (!q)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (size > q->body.length)
		size = q->body.length;
	memcpy(out, buffer_head(&q->body), size);
	buffer_consume(&q->body, size);
	if (q->body.length == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)size;
}

static const struct http2_link_ops link_ops = {
	.on_header = on_header,
	.on_data = on_data,
	.on_frame = on_frame,
	.on_stream_closed = on_stream_closed,
	.sent = sent,
	.end = end,
	.free = free_link,
};

static void on_keep_alive(void *user)
{
	struct http2_client *c = user;
	int r;

	if (c->link.over)
		return;
	loop_timer_at(c->keep_alive, clock_boottime() + HTTP2_KEEP_ALIVE);
	http2_link_enter(&c->link);
	r = nghttp2_submit_ping(c->link.session, NGHTTP2_FLAG_NONE, NULL);
	http2_link_leave(&c->link, r);
}

int http2_open(uv_loop_t *loop, struct stream *below, const char *authority, http2_ended *ended,
	       void *user, struct http2_client **ret, struct error *err)
{
	/* No pushes, and no unreasonable amounts. */
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HTTP_HEADER},
	};
	struct http2_client *c = calloc(1, sizeof(*c));

	if (!c) {
		stream_close(below);
		return error_set(err, -ENOMEM, "out of memory");
	}
	c->loop = loop;
	c->ended = ended;
	c->user = user;
	c->authority = strdup(authority);
	if (http2_link_open(&c->link, below, &link_ops, settings, ARRAY_SIZE(settings)) < 0 ||
	    nghttp2_session_set_local_window_size(c->link.session, NGHTTP2_FLAG_NONE, 0,
						  CONNECTION_WINDOW) != 0 ||
	    !c->authority || loop_timer_create(loop, on_keep_alive, c, &c->keep_alive) < 0) {
		client_free(c);
		return error_set(err, -ENOMEM, "out of memory");
	}
	loop_timer_at(c->keep_alive, clock_boottime() + HTTP2_KEEP_ALIVE);
	http2_link_start(&c->link); /* preface and settings */
	*ret = c;
	return 0;
}

static void on_timeout(void *user)
{
	struct http2_request *q = user;
	struct http2_client *c = q->client;
	struct error err;

	http2_link_enter(&c->link);
	error_set(&err, -ETIMEDOUT, "no answer in time");
	http2_link_reset(&c->link, q->id, NGHTTP2_CANCEL);
	finish(q, &err);
	http2_link_leave(&c->link, 0);
}

/* submit() - Hand the request to nghttp2; its id or negative errno */
static int32_t submit(struct http2_client *c, const struct http2_message *m,
		      struct http2_request *q)
{
	nghttp2_data_provider body = {.read_callback = read_body};
	nghttp2_nv nv[HEADERS_MAX + 5] = {
		http2_nv(":method", m->method),
		http2_nv(":scheme", "https"),
		http2_nv(":authority", c->authority),
		http2_nv(":path", m->path),
	};
	size_t count = 4;
	char length[24];
	int32_t id;

	if (m->header_count > HEADERS_MAX)
		return -EMSGSIZE;
	for (size_t i = 0; i < m->header_count; i++)
		nv[count++] = http2_nv(m->headers[i].name, m->headers[i].value);
	if (m->body_length) {
		snprintf(length, sizeof(length), "%zu", m->body_length);
		nv[count++] = http2_nv("content-length", length);
	}
	id = nghttp2_submit_request(c->link.session, NULL, nv, count, m->body_length ? &body : NULL,
				    q);
	if (id >= 0)
		return id;
	return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
}

int http2_send(struct http2_client *c, const struct http2_message *m,
	       const struct http2_events *events, void *user, struct http2_request **ret,
	       struct error *err)
{
	struct http2_request *q;
	int32_t id;

	if (!http2_usable(c))
		return error_set(err, -EPIPE, "the HTTP/2 connection takes no more requests");
	q = calloc(1, sizeof(*q));
	if (!q)
		return error_set(err, -ENOMEM, "out of memory");
	q->client = c;
	q->events = events;
	q->user = user;
	q->retry_after = -1;
	q->limit = m->body_limit;
	q->body = BUFFER_INIT(m->body_length);
	if (buffer_append(&q->body, m->body, m->body_length) < 0 ||
	    (m->timeout && loop_timer_create(c->loop, on_timeout, q, &q->timer) < 0)) {
		id = -ENOMEM;
		goto refused;
	}
	id = submit(c, m, q);
	if (id < 0)
		goto refused;
	q->id = id;
	LIST_INSERT_HEAD(&c->requests, q, entry);
	if (q->timer)
		loop_timer_at(q->timer, clock_boottime() + m->timeout);
	if (ret)
		*ret = q;
	http2_link_enter(&c->link);
	http2_link_leave(&c->link, 0);
	return 0;
refused:
	loop_timer_free(q->timer);
	buffer_free_secret(&q->body);
	free(q);
	return error_set_errno(err, id, "%s %s", m->method, m->path);
}

void http2_cancel(struct http2_request *q)
{
	struct http2_client *c;

	if (!q)
		return;
	c = q->client;
	http2_link_enter(&c->link);
	if (!c->link.over)
		http2_link_reset(&c->link, q->id, NGHTTP2_CANCEL);
	request_free(q);
	http2_link_leave(&c->link, 0);
}

bool http2_usable(const struct http2_client *c)
{
	return !c->link.over && !c->link.closed && !c->going &&
	       nghttp2_session_check_request_allowed(c->link.session);
}

void http2_close(struct http2_client *c)
{
	if (!c || c->link.closed)
		return;
	http2_link_enter(&c->link);
	while (!LIST_EMPTY(&c->requests))
		request_free(LIST_FIRST(&c->requests));
	if (!c->link.over)
		nghttp2_session_terminate_session(c->link.session, NGHTTP2_NO_ERROR);
	c->link.closed = true;
	http2_link_leave(&c->link, 0);
}
