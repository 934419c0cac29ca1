/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http_client.c - one HTTP/1.1 request on a connection of its own
 *
 * Theory of operation
 *	dial -> write the request -> parse heads and body -> report, once
 *
 *   Everything that could act is freed before the callback; only the response stays until it
 *   returns.
 */
#include "transport/http_client.h"
#include "base/cleanup.h"
#include "base/printable.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How much of a refusal's body is shown. */
#define REFUSAL_BODY 1024
#define SHOWN_MAX    127u /* of it */

struct http_exchange {
	struct buffer request;
	struct dial *dial;
	struct stream *stream;
	struct endpoint from;
	struct loop_timer *timer;
	struct http1_parser parser;
	struct buffer body;
	char host[URL_HOST_MAX];
	bool have_head;
	bool plain;       /* no TLS */
	char upgrade[64]; /* "" for none */
	http_done *done;
	void *user;
};

static void exchange_free(struct http_exchange *x)
{
	dial_cancel(x->dial);
	stream_close(x->stream);
	loop_timer_free(x->timer);
	http1_parser_free(&x->parser);
	buffer_free_secret(&x->request);
	buffer_free_secret(&x->body);
	free(x);
}

/* finish() - Report the outcome; @x is gone afterwards */
static void finish(struct http_exchange *x, struct stream *stream, const uint8_t *body,
		   size_t length, const struct error *err)
{
	struct http_response response = {
		.head = &x->parser.head,
		.stream = stream,
		.body = body,
		.body_length = length,
		.from = &x->from,
	};

	dial_cancel(TAKE_PTR(x->dial));
	stream_close(TAKE_PTR(x->stream));
	loop_timer_free(TAKE_PTR(x->timer));
	x->done(x->user, x->have_head && (!err || x->upgrade[0]) ? &response : NULL, err);
	exchange_free(x);
}

static void fail(struct http_exchange *x, const struct error *cause)
{
	struct error err = *cause;

	finish(x, NULL, NULL, 0, &err);
}

static void refused_upgrade(struct http_exchange *x)
{
	const char *text = x->body.length ? (const char *)buffer_head(&x->body) : "";
	size_t length = x->body.length < SHOWN_MAX ? x->body.length : SHOWN_MAX, used = 0;
	struct error err;

	while (used < length && text[used] != '\n' && text[used] != '\r')
		used++;
	used = utf8_whole(text, used);
	error_set(&err, -EPROTO, "%s refused the upgrade to %s: %d %s%s%.*s", x->host, x->upgrade,
		  x->parser.head.status, x->parser.head.reason, used ? ": " : "", (int)used, text);
	finish(x, NULL, buffer_head(&x->body), x->body.length, &err);
}

static void complete(struct http_exchange *x)
{
	if (x->upgrade[0])
		refused_upgrade(x);
	else
		finish(x, NULL, buffer_head(&x->body), x->body.length, NULL);
}

static int take_body(struct http_exchange *x, struct error *err)
{
	const struct http1_parser *p = &x->parser;
	size_t length = p->body_length;

	if (x->upgrade[0] && length > x->body.limit - x->body.length)
		length = x->body.limit - x->body.length; /* the start of a refusal is enough */
	if (buffer_append(&x->body, p->body, length) == 0)
		return 0;
	return error_set(err, -EMSGSIZE, "%s sent more than %zu bytes", x->host, x->body.limit);
}

static bool switched(const struct http_exchange *x)
{
	const struct http1_head *head = &x->parser.head;

	return head->status == 101 && head->upgrade &&
	       http1_header_has(head, "Upgrade", x->upgrade);
}

/* question() - A port that serves TLS answers a plain request with something that is no HTTP */
static const char *question(const struct http_exchange *x)
{
	return x->plain && !x->have_head ? " (does it speak https?)" : "";
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct http_exchange *x = user;
	struct error err;
	size_t used;
	int r;

	while ((r = http1_parse(&x->parser, bytes, length, &used)) > HTTP1_MORE) {
		bytes += used;
		length -= used;
		if (r == HTTP1_HEAD && x->upgrade[0] && switched(x)) {
			struct stream *stream = TAKE_PTR(x->stream);

			x->have_head = true;
			stream_set_events(stream, NULL, NULL);
			finish(x, stream, bytes, length, NULL);
			return;
		}
		if (r == HTTP1_HEAD && x->parser.head.status == 101)
			break;
		if (r == HTTP1_HEAD)
			x->have_head = x->parser.head.status >= 200; /* interim ones are skipped */
		if (r == HTTP1_BODY && take_body(x, &err) < 0) {
			fail(x, &err);
			return;
		}
		if (r == HTTP1_END && x->have_head) {
			complete(x);
			return;
		}
	}
	if (r == HTTP1_MORE)
		return;
	error_set(&err, r < 0 ? r : -EPROTO, "%s sent invalid HTTP/1.1: %s%s", x->host,
		  r < 0 ? x->parser.error : "101 to another protocol", r < 0 ? question(x) : "");
	x->have_head = false;
	fail(x, &err);
}

static void on_closed(void *user, const struct error *cause)
{
	struct http_exchange *x = user;
	struct error err;

	if (!cause && x->have_head && http1_parse_end(&x->parser) == HTTP1_END) {
		complete(x);
		return;
	}
	if (cause)
		error_set(&err, cause->code, "%s%s", cause->text, question(x));
	else
		error_set(&err, -EPIPE, "%s closed the connection %s%s", x->host,
			  x->have_head ? "in the middle of its answer" : "without an answer",
			  question(x));
	fail(x, &err);
}

static const struct stream_events exchange_events = {
	.data = on_data,
	.closed = on_closed,
};

static void on_dialed(void *user, struct stream *stream, const struct endpoint *to,
		      const struct error *cause)
{
	struct http_exchange *x = user;
	struct error err = {0};
	int r;

	x->dial = NULL;
	if (!stream) {
		fail(x, cause);
		return;
	}
	x->stream = stream;
	x->from = *to;
	stream_set_events(stream, &exchange_events, x);
	r = stream_write(stream, buffer_head(&x->request), x->request.length);
	buffer_free_secret(&x->request);
	if (r < 0) {
		error_set_errno(&err, r, "write to %s", x->host);
		fail(x, &err);
	}
}

static void on_timeout(void *user)
{
	struct http_exchange *x = user;
	struct error err;

	/* The dial times out at the same moment, with a better reason. */
	if (x->dial) {
		loop_timer_at(x->timer, clock_boottime() + DIAL_GRACE);
		return;
	}
	error_set(&err, -ETIMEDOUT, "%s does not answer in time", x->host);
	fail(x, &err);
}

static int write_request(struct http_exchange *x, const struct http_request *q)
{
	struct url url = {.tls = q->to.tls != NULL, .port = q->to.port};
	struct buffer *out = &x->request;
	char authority[URL_ORIGIN_MAX];
	const char *method = q->method ? q->method : "GET";
	int r;

	snprintf(url.host, sizeof(url.host), "%s", q->to.host);
	if ((r = http1_write_request(out, method, q->target)) < 0 ||
	    (r = http1_write_header(out, "Host", url_authority(&url, authority))) < 0 ||
	    (r = http1_write_header(out, "Connection", x->upgrade[0] ? "Upgrade" : "close")) < 0)
		return r;
	if (x->upgrade[0] && (r = http1_write_header(out, "Upgrade", x->upgrade)) < 0)
		return r;
	for (size_t i = 0; i < q->header_count; i++)
		if ((r = http1_write_header(out, q->headers[i].name, q->headers[i].value)) < 0)
			return r;
	if ((q->body_length || strcmp(method, "POST") == 0) &&
	    (r = http1_write_length(out, q->body_length)) < 0)
		return r;
	if ((r = http1_write_head_end(out)) < 0)
		return r;
	if (strcmp(method, "HEAD") == 0)
		http1_parser_bodyless(&x->parser);
	return buffer_append(out, q->body, q->body_length);
}

int http_start(const struct dialer *dialer, const struct http_request *request, http_done *done,
	       void *user, struct http_exchange **ret, struct error *err)
{
	nanoseconds timeout = request->to.timeout ? request->to.timeout : DIAL_TIMEOUT;
	struct http_exchange *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return error_set(err, -ENOMEM, "out of memory");
	x->done = done;
	x->user = user;
	x->plain = !request->to.tls;
	x->body = BUFFER_INIT(request->upgrade ? REFUSAL_BODY : request->body_limit);
	x->request = BUFFER_INIT(LIMIT_STREAM_QUEUE / 2);
	http1_parser_init(&x->parser, true);
	snprintf(x->upgrade, sizeof(x->upgrade), "%s", request->upgrade ? request->upgrade : "");
	snprintf(x->host, sizeof(x->host), "%s", request->to.host ? request->to.host : "");
	if (!host_is_valid(x->host)) {
		r = error_set(err, -EINVAL, "no usable host name to connect to");
		goto refused;
	}
	r = write_request(x, request);
	if (r < 0) {
		error_set_errno(err, r, "request to %s", x->host);
		goto refused;
	}
	r = loop_timer_create(dialer->loop, on_timeout, x, &x->timer);
	if (r < 0) {
		error_set(err, r, "out of memory");
		goto refused;
	}
	r = dial_start(dialer, &request->to, on_dialed, x, &x->dial, err);
	if (r < 0)
		goto refused;
	loop_timer_at(x->timer, clock_boottime() + timeout);
	*ret = x;
	return 0;
refused:
	exchange_free(x);
	return r;
}

int http_redirect(const struct url *from, const struct http1_head *head, struct url *ret,
		  struct error *err)
{
	const char *location = http1_header(head, "Location");
	char text[URL_ORIGIN_MAX + URL_PATH_MAX + 8], origin[URL_ORIGIN_MAX];

	if (head->status != 301 && head->status != 302 && head->status != 303 &&
	    head->status != 307 && head->status != 308)
		return 0;
	if (!location)
		return error_set(err, -EPROTO, "HTTP %d without a Location", head->status);
	/* "/path" is of the same origin, "//host/path" of the same scheme. */
	if (location[0] == '/')
		snprintf(text, sizeof(text), "%s%s%s%.*s",
			 from->tls ? "https:" : "http:", location[1] == '/' ? "" : "//",
			 location[1] == '/' ? "" : url_authority(from, origin), URL_PATH_MAX,
			 location);
	else
		snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1, location);
	if (url_parse(text, ret, err) < 0) {
		error_wrap(err, "HTTP %d to a URL that can't be used", head->status);
		return err->code = -EPROTO;
	}
	explicit_bzero(ret->user, sizeof(ret->user));
	if (strcmp(ret->host, from->host) == 0 && (ret->tls || !from->tls))
		return 1;
	return error_set(err, -EPROTO, "HTTP %d, a redirect to %s://%s, which is not followed",
			 head->status, ret->tls ? "https" : "http", url_authority(ret, origin));
}

void http_cancel(struct http_exchange *x)
{
	if (x)
		exchange_free(x);
}
