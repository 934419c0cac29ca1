/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_http2.c - the HTTP/2 client against nghttp2's server side, in memory */
#include "transport/http2.h"
#include "unit/unit.h"

#include "unit/transport/memory_stream.h"

#include <nghttp2/nghttp2.h>

/*
 * The server answers by path:
 *	/big	200 and BIG bytes		/echo	200 and the request's body
 *	/wait	429 with Retry-After: 7		/hold	200, a first piece, and no end
 *	/reset	RST_STREAM			/heads	more header than is allowed
 *	/away	200, after GOAWAY		/hints	103, then 200
 *	/mute	nothing
 */
#define BIG   ((size_t)5 * 1024 * 1024)
#define PATHS 8

struct server_stream {
	int32_t id;
	char path[32];
	uint8_t body[200000];
	size_t length, at;
};

struct server {
	nghttp2_session *session;
	struct server_stream streams[PATHS];
	size_t count;
	unsigned int resets;
};

struct fixture {
	uv_loop_t loop;
	struct server server;
	struct memory_stream *below;
	struct http2_client *client;
	bool below_closed;
	unsigned int ended;
	bool ended_in_order;
	struct error err;
};

static struct server_stream *find(struct server *s, int32_t id)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->streams[i].id == id)
			return &s->streams[i];
	return NULL;
}

static int server_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct server *s = user;

	(void)session;
	assert_true(s->count < PATHS);
	s->streams[s->count++] = (struct server_stream){.id = frame->hd.stream_id};
	return 0;
}

static int server_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
			 size_t name_length, const uint8_t *value, size_t value_length,
			 uint8_t flags, void *user)
{
	struct server_stream *stream = find(user, frame->hd.stream_id);

	(void)session;
	(void)flags;
	if (name_length == 5 && memcmp(name, ":path", 5) == 0)
		snprintf(stream->path, sizeof(stream->path), "%.*s", (int)value_length, value);
	if (name_length == 10 && memcmp(name, ":authority", 10) == 0)
		assert_memory_equal(value, "control.example", 15);
	return 0;
}

static int server_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
		       size_t length, void *user)
{
	struct server_stream *stream = find(user, id);

	(void)session;
	(void)flags;
	assert_true(stream->length + length <= sizeof(stream->body));
	memcpy(stream->body + stream->length, bytes, length);
	stream->length += length;
	return 0;
}

static ssize_t produce(nghttp2_session *session, int32_t id, uint8_t *out, size_t size,
		       uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct server_stream *stream = source->ptr;
	size_t total = strcmp(stream->path, "/big") == 0    ? BIG
		       : strcmp(stream->path, "/hold") == 0 ? 5
							    : stream->length;

	bool pattern = strcmp(stream->path, "/big") == 0 || strcmp(stream->path, "/hold") == 0;

	(void)session;
	(void)id;
	(void)user;
	if (stream->at == total && strcmp(stream->path, "/hold") == 0)
		return NGHTTP2_ERR_DEFERRED;
	if (size > total - stream->at)
		size = total - stream->at;
	for (size_t i = 0; i < size; i++)
		out[i] = pattern ? (uint8_t)(stream->at + i) : stream->body[stream->at + i];
	stream->at += size;
	if (stream->at == total && strcmp(stream->path, "/hold") != 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)size;
}

#define NV(n, v)                                                        \
	{                                                               \
		(uint8_t *)(n), (uint8_t *)(v), strlen(n), strlen(v), 0 \
	}

static void answer(struct server *s, struct server_stream *stream)
{
	static char huge[12000];
	nghttp2_data_provider body = {.source.ptr = stream, .read_callback = produce};
	nghttp2_nv ok[] = {NV(":status", "200"), NV("x-a", "b")};
	nghttp2_nv hints[] = {NV(":status", "103")};
	nghttp2_nv wait[] = {NV(":status", "429"), NV("retry-after", "7")};

	memset(huge, 'x', sizeof(huge) - 1);
	if (strcmp(stream->path, "/mute") == 0)
		return;
	if (strcmp(stream->path, "/reset") == 0) {
		nghttp2_submit_rst_stream(s->session, 0, stream->id, NGHTTP2_INTERNAL_ERROR);
	} else if (strcmp(stream->path, "/wait") == 0) {
		nghttp2_submit_response(s->session, stream->id, wait, 2, NULL);
	} else if (strcmp(stream->path, "/heads") == 0) {
		nghttp2_nv many[] = {NV(":status", "200"), NV("a", huge), NV("b", huge),
				     NV("c", huge)};

		nghttp2_submit_response(s->session, stream->id, many, 4, NULL);
	} else {
		if (strcmp(stream->path, "/away") == 0)
			nghttp2_submit_goaway(s->session, 0, stream->id, NGHTTP2_NO_ERROR, NULL, 0);
		if (strcmp(stream->path, "/hints") == 0)
			nghttp2_submit_headers(s->session, 0, stream->id, NULL, hints, 1, NULL);
		nghttp2_submit_response(s->session, stream->id, ok, 2, &body);
	}
}

static int server_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct server *s = user;

	(void)session;
	if (frame->hd.type == NGHTTP2_RST_STREAM)
		s->resets++;
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		answer(s, find(s, frame->hd.stream_id));
	return 0;
}

static void on_ended(void *user, const struct error *err)
{
	struct fixture *f = user;

	f->ended++;
	f->ended_in_order = !err;
	if (err)
		f->err = *err;
}

static struct fixture *open_both(void)
{
	nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100}};
	struct fixture *f = calloc(1, sizeof(*f));
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;

	uv_loop_init(&f->loop);
	f->below = memory_stream_create(&f->below_closed);
	assert_int_equal(http2_open(&f->loop, &f->below->stream, "control.example", on_ended, f,
				    &f->client, NULL),
			 0);
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, server_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, server_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, server_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, server_frame);
	nghttp2_option_new(&option);
	nghttp2_session_server_new2(&f->server.session, callbacks, &f->server, option);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	nghttp2_submit_settings(f->server.session, 0, settings, 1);
	return f;
}

/* exchange() - Carry bytes both ways until neither side has any, @step at a time to the client */
static void exchange(struct fixture *f, size_t step)
{
	bool moved = true;

	while (moved && !f->below_closed) {
		const uint8_t *bytes;
		ssize_t length;

		moved = false;
		if (f->below->sent.length) {
			struct buffer taken = f->below->sent;

			f->below->sent = BUFFER_INIT(LIMIT_STREAM_QUEUE);
			assert_int_equal(nghttp2_session_mem_recv(f->server.session,
								  buffer_head(&taken),
								  taken.length),
					 taken.length);
			buffer_free(&taken);
			stream_emit_drained(&f->below->stream);
			moved = true;
		}
		while (!f->below_closed &&
		       (length = nghttp2_session_mem_send(f->server.session, &bytes)) > 0) {
			moved = true;
			stream_hold(&f->below->stream);
			for (ssize_t at = 0; at < length && !f->below_closed; at += (ssize_t)step)
				stream_emit_data(&f->below->stream, bytes + at,
						 (size_t)(length - at) < step
							 ? (size_t)(length - at)
							 : step);
			if (f->below_closed) { /* our hold keeps the memory for one more look */
				stream_release(&f->below->stream);
				break;
			}
			stream_release(&f->below->stream);
		}
	}
}

static void close_both(struct fixture *f)
{
	http2_close(f->client);
	assert_true(f->below_closed);
	nghttp2_session_del(f->server.session);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
}

struct result {
	int status, responses, ends;
	int64_t retry_after;
	size_t received;
	bool wrong;
	struct error err;
	const uint8_t *expected;
	struct http2_request *request;
	struct fixture *close_in_data, *send_in_end;
	bool cancel_in_data, cancel_in_response;
};

static const struct http2_events events;

static void on_response(void *user, int status, int64_t retry_after)
{
	struct result *r = user;

	r->responses++;
	r->status = status;
	r->retry_after = retry_after;
	if (r->cancel_in_response)
		http2_cancel(r->request);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct result *r = user;

	for (size_t i = 0; i < length; i++, r->received++)
		r->wrong |=
			bytes[i] != (r->expected ? r->expected[r->received] : (uint8_t)r->received);
	if (r->cancel_in_data)
		http2_cancel(r->request);
	if (r->close_in_data)
		http2_close(TAKE_PTR(r->close_in_data->client));
}

static void send_path(struct fixture *f, const char *path, const void *body, size_t length,
		      size_t limit, nanoseconds timeout, struct result *r)
{
	struct http1_header header = {"ts-lb", "nodekey:00"};
	struct http2_message m = {
		.method = "POST",
		.path = path,
		.headers = &header,
		.header_count = 1,
		.body = body,
		.body_length = length,
		.body_limit = limit,
		.timeout = timeout,
	};

	assert_int_equal(http2_send(f->client, &m, &events, r, &r->request, NULL), 0);
}

static void on_end(void *user)
{
	struct result *r = user;
	struct fixture *f = TAKE_PTR(r->send_in_end);

	r->ends++;
	if (f)
		send_path(f, "/echo", "again", 5, 0, 0,
			  (r->expected = (const uint8_t *)"again", r->received = 0, r));
}

static void on_failed(void *user, const struct error *err)
{
	struct result *r = user;

	assert_int_equal(r->err.code, 0);
	r->err = *err;
}

static const struct http2_events events = {
	.response = on_response, .data = on_data, .end = on_end, .failed = on_failed};

static void answers_by_table(void **state)
{
	static const struct {
		const char *path;
		size_t limit;
		int status, ends, code;
		int64_t retry_after;
		size_t received;
	} rows[] = {
		/* 1 */ {"/echo", 0, 200, 1, 0, -1, 7},
		/* 2 */ {"/wait", 0, 429, 1, 0, 7, 0},
		/* 3 */ {"/reset", 0, 0, 0, -ECONNRESET, -1, 0},
		/* 4 */ {"/heads", 0, 0, 0, -EMSGSIZE, -1, 0},
		/* 5 */ {"/hints", 0, 200, 1, 0, -1, 7},
		/* 6 */ {"/echo", 6, 200, 0, -EMSGSIZE, -1, SIZE_MAX},
		/* 7 */ {"/echo", 7, 200, 1, 0, -1, 7},
		/* 8 */ {"/big", 100000, 200, 0, -EMSGSIZE, -1, SIZE_MAX},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t step = 1; step <= 100000; step = step * 10 + 7) {
			struct fixture *f = open_both();
			struct result r = {.retry_after = -1};

			/* nghttp2 1.52 counts the pieces of a CONTINUATION's head as frames. */
			if (strcmp(rows[i].path, "/heads") == 0 && step < 9)
				step = 9;
			if (strcmp(rows[i].path, "/big") != 0)
				r.expected = (const uint8_t *)"request";
			send_path(f, rows[i].path, "request", 7, rows[i].limit, 0, &r);
			exchange(f, step);
			if (r.status != rows[i].status || r.ends != rows[i].ends ||
			    r.err.code != rows[i].code || r.retry_after != rows[i].retry_after ||
			    r.wrong)
				fail_msg("row %zu step %zu: %d %d %d '%s'", i + 1, step, r.status,
					 r.ends, r.err.code, r.err.text);
			if (rows[i].received != SIZE_MAX)
				assert_int_equal(r.received, rows[i].received);
			assert_true(http2_usable(
				f->client)); /* one bad answer is not the connection's end */
			close_both(f);
		}
}

static void many_at_once_and_one_without_end(void **state)
{
	struct result hold = {0}, big = {0}, echo = {0}, second = {0};
	struct fixture *f = open_both();
	uint8_t body[150000]; /* more than the server's window of 64 KiB */

	(void)state;
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 3);
	echo.expected = body;
	send_path(f, "/hold", NULL, 0, 0, 0, &hold);
	exchange(f, 4096);
	assert_int_equal(hold.received, 5);
	send_path(f, "/big", NULL, 0, 0, 0, &big);
	send_path(f, "/echo", body, sizeof(body), 0, 0, &echo);
	send_path(f, "/big", NULL, 0, 0, 0, &second);
	exchange(f, 4096);
	/* Far past both windows: they were opened again. */
	assert_int_equal(big.received, BIG);
	assert_int_equal(second.received, BIG);
	assert_int_equal(echo.received, sizeof(body));
	assert_int_equal(big.ends + second.ends + echo.ends, 3);
	assert_false(big.wrong || second.wrong || echo.wrong);
	assert_int_equal(hold.ends, 0);
	http2_cancel(hold.request);
	exchange(f, 4096);
	assert_int_equal(f->server.resets, 1);
	assert_int_equal(hold.err.code, 0);
	close_both(f);
}

static void owners_may_act_in_events(void **state)
{
	struct result closer = {0}, other = {0}, canceller = {.cancel_in_data = true},
		      early = {.cancel_in_response = true};
	struct result again = {0};
	struct fixture *f = open_both();

	(void)state;
	again.send_in_end = f;
	again.expected = (const uint8_t *)"first";
	send_path(f, "/echo", "first", 5, 0, 0, &again);
	send_path(f, "/big", NULL, 0, 0, 0, &canceller);
	send_path(f, "/big", NULL, 0, 0, 0, &early);
	exchange(f, 1000);
	assert_int_equal(again.ends, 2);
	assert_int_equal(again.received, 5);
	assert_false(again.wrong);
	assert_true(canceller.received > 0 && canceller.received < 20000);
	assert_int_equal(early.received, 0);
	assert_int_equal(canceller.ends + early.ends, 0);
	send_path(f, "/hold", NULL, 0, 0, 0, &other);
	closer.close_in_data = f;
	send_path(f, "/big", NULL, 0, 0, 0, &closer);
	exchange(f, 1000);
	assert_null(f->client);
	assert_int_equal(f->ended, 0);
	assert_int_equal(other.err.code, 0);
	close_both(f);
}

static void going_away_lets_the_rest_finish(void **state)
{
	struct result away = {0}, hold = {0};
	struct fixture *f = open_both();
	struct http2_message m = {.method = "POST", .path = "/echo"};

	(void)state;
	away.expected = (const uint8_t *)"last";
	send_path(f, "/hold", NULL, 0, 0, 0, &hold);
	send_path(f, "/away", "last", 4, 0, 0, &away);
	exchange(f, 1000);
	assert_int_equal(away.ends, 1);
	assert_false(http2_usable(f->client));
	assert_int_equal(http2_send(f->client, &m, &events, NULL, NULL, NULL), -EPIPE);
	assert_int_equal(f->ended, 0); /* the map stream goes on */
	http2_cancel(hold.request);
	assert_int_equal(f->ended, 1);
	assert_true(f->ended_in_order);
	close_both(f);
}

static void requests_die_with_the_connection(void **state)
{
	struct result hold = {0}, mute = {0};
	struct fixture *f = open_both();
	struct error err;

	(void)state;
	send_path(f, "/hold", NULL, 0, 0, 0, &hold);
	send_path(f, "/mute", NULL, 0, 0, 0, &mute);
	exchange(f, 1000);
	error_set(&err, -ECONNRESET, "reset by peer");
	stream_emit_closed(&f->below->stream, &err);
	assert_int_equal(hold.err.code, -ECONNRESET);
	assert_int_equal(mute.err.code, -ECONNRESET);
	assert_int_equal(f->ended, 1);
	assert_string_equal(f->err.text, "reset by peer");
	close_both(f);
}

static void garbage_ends_the_connection(void **state)
{
	static const char garbage[] =
		"HTTP/1.1 400 Bad Request\r\n\r\n and some more to make a frame of it";
	struct result mute = {0};
	struct fixture *f = open_both();

	(void)state;
	send_path(f, "/mute", NULL, 0, 0, 0, &mute);
	stream_emit_data(&f->below->stream, (const uint8_t *)garbage, sizeof(garbage));
	assert_int_equal(mute.err.code, -EPROTO);
	assert_int_equal(f->ended, 1);
	assert_int_equal(f->err.code, -EPROTO);
	close_both(f);
}

static void a_request_may_time_out(void **state)
{
	struct result mute = {0}, echo = {.expected = (const uint8_t *)"x"};
	struct fixture *f = open_both();

	(void)state;
	send_path(f, "/mute", NULL, 0, 0, 50 * NSEC_PER_MSEC, &mute);
	exchange(f, 1000);
	while (!mute.err.code)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(mute.err.code, -ETIMEDOUT);
	send_path(f, "/echo", "x", 1, 0, NSEC_PER_SEC, &echo);
	exchange(f, 1000);
	assert_int_equal(f->server.resets, 1);
	assert_int_equal(echo.ends, 1);
	close_both(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_by_table),
		cmocka_unit_test(many_at_once_and_one_without_end),
		cmocka_unit_test(owners_may_act_in_events),
		cmocka_unit_test(going_away_lets_the_rest_finish),
		cmocka_unit_test(requests_die_with_the_connection),
		cmocka_unit_test(garbage_ends_the_connection),
		cmocka_unit_test(a_request_may_time_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
