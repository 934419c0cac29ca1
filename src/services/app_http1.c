/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/app_http1.c - an exchange's HTTP/1.1 connection to the app
 *
 * One exchange at a time; a connection whose answer ended in order is kept for others. The exchange
 * may close the back in any event, so events stand between enter() and leave().
 */
#include "base/cleanup.h"
#include "services/exchange.h"

#include <stdlib.h>
#include <string.h>

struct app_http1 {
	struct exchange_back back;
	struct exchange *x; /* NULL: closed */
	struct stream *stream;
	struct http1_parser answer;
	unsigned int holds;
	bool chunked; /* the request's body */
	bool kept;    /* the connection had an exchange before */
	bool begun;   /* the final head came */
	bool interim, stays;
};

static struct app_http1 *app_of(struct exchange_back *back)
{
	return container_of(back, struct app_http1, back);
}

static void enter(struct app_http1 *a)
{
	a->holds++;
}

static void leave(struct app_http1 *a)
{
	if (--a->holds > 0 || a->x)
		return;
	stream_close(a->stream);
	http1_parser_free(&a->answer);
	free(a);
}

static void fail(struct app_http1 *a, const char *why)
{
	exchange_on_failure(a->x, a->kept && !a->begun ? EXCHANGE_IDLE : EXCHANGE_FAILED, why);
}

/* take_head() - false: the connection is not ours any more */
static bool take_head(struct app_http1 *a, const uint8_t *rest, size_t length)
{
	const struct http1_head *head = &a->answer.head;

	a->interim = head->status < 200 && head->status != 101;
	a->begun |= !a->interim;
	exchange_on_head(a->x, head, false);
	if (!a->x || head->status != 101)
		return a->x != NULL;
	stream_set_events(a->stream, NULL, NULL);
	exchange_on_upgrade(a->x, TAKE_PTR(a->stream), rest, length);
	return false;
}

static void take_end(struct app_http1 *a, bool nothing_behind)
{
	if (a->interim) { /* the final one follows */
		a->interim = false;
		return;
	}
	a->stays = nothing_behind && a->answer.head.keep_alive;
	exchange_on_end(a->x, a->answer.trailers, a->answer.trailer_count);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct app_http1 *a = user;
	size_t used;
	int r;

	enter(a);
	while (a->x) {
		r = http1_parse(&a->answer, bytes, length, &used);
		if (r == HTTP1_MORE)
			break;
		if (r < 0) {
			a->kept = false; /* it is an answer, and no better one would come */
			fail(a, "It sent an invalid answer");
			break;
		}
		bytes += used;
		length -= used;
		if (r == HTTP1_HEAD && !take_head(a, bytes, length))
			break;
		if (r == HTTP1_BODY)
			exchange_on_body(a->x, a->answer.body, a->answer.body_length);
		else if (r == HTTP1_END)
			take_end(a, length == 0);
	}
	leave(a);
}

static void on_drained(void *user)
{
	struct app_http1 *a = user;

	enter(a);
	exchange_on_drained(a->x);
	leave(a);
}

static void on_closed(void *user, const struct error *err)
{
	struct app_http1 *a = user;

	enter(a);
	if (a->begun && !err && http1_parse_end(&a->answer) == HTTP1_END)
		take_end(a, false);
	else
		fail(a, err ? err->text : "It closed the connection without an answer");
	leave(a);
}

static int send_body(struct exchange_back *back, const uint8_t *bytes, size_t length)
{
	struct app_http1 *a = app_of(back);
	_cleanup_(buffer_free) struct buffer chunk = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	int r;

	if (!a->chunked)
		return stream_write(a->stream, bytes, length);
	r = http1_write_chunk(&chunk, bytes, length);
	return r < 0 ? r : stream_write(a->stream, buffer_head(&chunk), chunk.length);
}

static int send_end(struct exchange_back *back, const struct http1_header *trailers, size_t count)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT((size_t)2 * LIMIT_HTTP_HEADER);
	struct app_http1 *a = app_of(back);
	int r = a->chunked ? http1_write_last_chunk(&out, trailers, count) : 0;

	return r < 0 ? r : stream_write(a->stream, buffer_head(&out), out.length);
}

static size_t pending(const struct exchange_back *back)
{
	return stream_pending(container_of(back, const struct app_http1, back)->stream);
}

static void pause_answer(struct exchange_back *back)
{
	stream_pause(app_of(back)->stream);
}

static void resume_answer(struct exchange_back *back)
{
	struct app_http1 *a = app_of(back);

	enter(a);
	stream_resume(a->stream);
	leave(a);
}

static void close_back(struct exchange_back *back, bool whole)
{
	struct app_http1 *a = app_of(back);
	struct stream *stream = TAKE_PTR(a->stream);

	enter(a);
	if (stream)
		stream_set_events(stream, NULL, NULL);
	if (whole && a->stays && stream)
		app_give(exchange_services(a->x), exchange_serving(a->x), exchange_target(a->x),
			 stream);
	else
		stream_close(stream);
	a->x = NULL;
	leave(a);
}

struct exchange_back *app_http1_open(struct exchange *x, struct stream *stream, bool kept)
{
	static const struct exchange_back_operations operations = {
		.body = send_body,
		.end = send_end,
		.pending = pending,
		.pause = pause_answer,
		.resume = resume_answer,
		.close = close_back,
	};
	static const struct stream_events events = {
		.data = on_data,
		.drained = on_drained,
		.closed = on_closed,
	};
	struct buffer *head = exchange_head_text(x);
	struct app_http1 *a = calloc(1, sizeof(*a));

	if (!a || stream_write(stream, buffer_head(head), head->length) < 0) {
		stream_close(stream);
		free(a);
		return NULL;
	}
	a->back.operations = &operations;
	a->x = x;
	a->stream = stream;
	a->kept = kept;
	a->chunked = exchange_request(x)->chunked;
	http1_parser_init(&a->answer, true);
	a->answer.keep_trailers = true;
	if (strcmp(exchange_request(x)->method, "HEAD") == 0)
		http1_parser_bodyless(&a->answer);
	stream_set_events(stream, &events, a);
	return &a->back;
}
