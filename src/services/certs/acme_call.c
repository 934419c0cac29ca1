/* SPDX-License-Identifier: BSD-3-Clause */
/* services/certs/acme_call.c - one request to an ACME authority, on a connection of its own */
#include "services/certs/certs.h"

#include "base/cleanup.h"
#include "transport/http1.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>

#define CALL_TIME   (60 * NSEC_PER_SEC)
#define REQUEST_MAX ((size_t)128 * 1024)

struct acme_call {
	struct services *services;
	struct acme_way *connecting;
	struct stream *stream;
	struct loop_timer *timer;
	struct http1_parser parser;
	struct buffer request, body;
	char host[URL_HOST_MAX];
	bool have_head;
	acme_call_done *done;
	void *user;
};

static void call_free(struct acme_call *c)
{
	acme_way_cancel(c->connecting);
	stream_close(c->stream);
	loop_timer_free(c->timer);
	http1_parser_free(&c->parser);
	buffer_free(&c->request);
	buffer_free(&c->body);
	free(c);
}

static void finish(struct acme_call *c, const struct error *err)
{
	const struct http1_head *head = &c->parser.head;
	struct acme_answer answer = {.status = head->status};

	acme_way_cancel(TAKE_PTR(c->connecting));
	stream_close(TAKE_PTR(c->stream));
	if (!err) {
		answer.nonce = http1_header(head, "Replay-Nonce");
		answer.location = http1_header(head, "Location");
		answer.retry_after = http1_header(head, "Retry-After");
		answer.body = (const char *)buffer_head(&c->body);
		answer.length = c->body.length;
	}
	c->done(c->user, err ? NULL : &answer, err);
	call_free(c);
}

static void fail(struct acme_call *c, int code, const char *what)
{
	struct error err = {0};

	error_set(&err, code, "the authority %s %s", c->host, what);
	finish(c, &err);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct acme_call *c = user;
	size_t used;
	int r;

	while ((r = http1_parse(&c->parser, bytes, length, &used)) > HTTP1_MORE) {
		bytes += used;
		length -= used;
		if (r == HTTP1_HEAD && c->parser.head.status == 101)
			break;
		if (r == HTTP1_HEAD)
			c->have_head = c->parser.head.status >= 200; /* interim ones are skipped */
		if (r == HTTP1_BODY &&
		    buffer_append(&c->body, c->parser.body, c->parser.body_length) < 0) {
			fail(c, -EMSGSIZE, "sent too many bytes");
			return;
		}
		if (r == HTTP1_END && c->have_head) {
			finish(c, NULL);
			return;
		}
	}
	if (r != HTTP1_MORE)
		fail(c, -EPROTO, "sent invalid HTTP/1.1");
}

static void on_closed(void *user, const struct error *err)
{
	struct acme_call *c = user;

	if (!err && c->have_head && http1_parse_end(&c->parser) == HTTP1_END)
		finish(c, NULL);
	else if (err)
		finish(c, err);
	else
		fail(c, -EPIPE, "closed the connection without a whole answer");
}

static void on_ready(void *user, struct stream *stream, const struct error *err)
{
	static const struct stream_events events = {
		.data = on_data,
		.closed = on_closed,
	};
	struct acme_call *c = user;
	int r;

	c->connecting = NULL;
	if (!stream) {
		finish(c, err);
		return;
	}
	c->stream = stream;
	stream_set_events(stream, &events, c);
	r = stream_write(stream, buffer_head(&c->request), c->request.length);
	if (r < 0)
		fail(c, r, "can't be written to");
	else
		stream_resume(stream);
}

static void on_late(void *user)
{
	fail(user, -ETIMEDOUT, "does not answer in time");
}

static int write_request(struct acme_call *c, const struct url *origin,
			 const struct acme_request *q)
{
	struct buffer *out = &c->request;
	char authority[URL_ORIGIN_MAX];
	int r;

	if ((r = http1_write_request(out, q->method, q->target)) < 0 ||
	    (r = http1_write_header(out, "Host", url_authority(origin, authority))) < 0 ||
	    (r = http1_write_header(out, "User-Agent", "pillion/" PILLION_VERSION)) < 0 ||
	    (r = http1_write_header(out, "Connection", "close")) < 0)
		return r;
	if (q->accept && (r = http1_write_header(out, "Accept", q->accept)) < 0)
		return r;
	if (q->length > 0 &&
	    ((r = http1_write_header(out, "Content-Type", "application/jose+json")) < 0 ||
	     (r = http1_write_length(out, q->length)) < 0))
		return r;
	r = http1_write_head_end(out);
	return r < 0 ? r : buffer_append(out, q->body, q->length);
}

struct acme_call *acme_call_begin(struct services *services, struct serving *serving,
				  const struct url *origin, const struct acme_request *request,
				  acme_call_done *done, void *user)
{
	struct acme_call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->services = services;
	c->done = done;
	c->user = user;
	c->request = BUFFER_INIT(REQUEST_MAX);
	c->body = BUFFER_INIT(ACME_ANSWER_MAX);
	snprintf(c->host, sizeof(c->host), "%s", origin->host);
	http1_parser_init(&c->parser, true);
	if (strcmp(request->method, "HEAD") == 0)
		http1_parser_bodyless(&c->parser);
	if (write_request(c, origin, request) == 0 &&
	    loop_timer_create(services->loop, on_late, c, &c->timer) == 0)
		c->connecting = acme_way_begin(services, serving, origin, on_ready, c);
	if (!c->connecting) {
		call_free(c);
		return NULL;
	}
	loop_timer_at(c->timer, clock_boottime() + CALL_TIME);
	return c;
}

void acme_call_cancel(struct acme_call *call)
{
	if (call)
		call_free(call);
}
