/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_http2_server.c - both sides of HTTP/2 back to back, in memory */
#include "base/limits.h"
#include "transport/http2.h"
#include "transport/http2_server.h"
#include "unit/unit.h"

#include "unit/transport/memory_stream.h"

/*
 * By path:
 *	/echo	200, the request's body		/late	200, once the test says so
 *	/hold	200, pieces that the test pushes	/none	204
 */
struct fixture {
	uv_loop_t loop;
	struct memory_stream *client_end, *server_end;
	bool client_closed, server_closed;
	struct http2_client *client;
	struct http2_server *server;
	struct http2_exchange *late, *hold;
	unsigned int requests, gone, drained, ended;
	size_t held, held_max; /* more: the owner closes the connection */
};

struct heard {
	int status;
	size_t length;
	uint64_t sum;
	bool ended, failed;
	int code;
};

static void serve(void *user, struct http2_exchange *x)
{
	struct fixture *f = user;

	f->requests++;
	if (strcmp(x->path, "/echo") == 0) {
		assert_string_equal(x->method, "POST");
		assert_int_equal(
			http2_reply(x, 200, "text/plain", buffer_head(&x->body), x->body.length),
			0);
		assert_int_equal(http2_reply(x, 200, NULL, NULL, 0), -EALREADY);
	} else if (strcmp(x->path, "/late") == 0) {
		f->late = x;
	} else if (strcmp(x->path, "/hold") == 0) {
		f->hold = x;
		assert_int_equal(http2_begin(x, 200, NULL), 0);
	} else {
		assert_int_equal(http2_reply(x, 204, NULL, NULL, 0), 0);
	}
}

static void on_drained(void *user, struct http2_exchange *x)
{
	struct fixture *f = user;

	assert_int_equal(http2_pushed(x), 0);
	f->drained++;
}

static void on_gone(void *user, struct http2_exchange *x)
{
	struct fixture *f = user;

	if (f->hold == x)
		f->hold = NULL;
	if (f->late == x)
		f->late = NULL;
	f->gone++;
}

static void on_ended(void *user, const struct error *err)
{
	(void)err;
	((struct fixture *)user)->ended++;
}

static void on_held(void *user, size_t bytes)
{
	struct fixture *f = user;

	f->held = bytes;
	if (f->held_max && bytes > f->held_max)
		http2_server_close(TAKE_PTR(f->server));
}

static const struct http2_server_events server_events = {.request = serve,
							 .held = on_held,
							 .drained = on_drained,
							 .gone = on_gone,
							 .ended = on_ended};

static void response(void *user, int status, int64_t retry_after)
{
	(void)retry_after;
	((struct heard *)user)->status = status;
}

static void data(void *user, const uint8_t *bytes, size_t length)
{
	struct heard *h = user;

	for (size_t i = 0; i < length; i++)
		h->sum += bytes[i] * (uint64_t)++h->length;
}

static void end(void *user)
{
	((struct heard *)user)->ended = true;
}

static void failed(void *user, const struct error *err)
{
	((struct heard *)user)->failed = true;
	((struct heard *)user)->code = err->code;
}

static const struct http2_events heard_events = {
	.response = response, .data = data, .end = end, .failed = failed};

/* carry() - Move sent bytes to the other end until both are silent */
static void carry(struct fixture *f)
{
	bool again = true;

	while (again) {
		again = false;
		struct {
			struct memory_stream *from, *to;
			bool *from_closed, *to_closed;
		} ways[2] = {{f->client_end, f->server_end, &f->client_closed, &f->server_closed},
			     {f->server_end, f->client_end, &f->server_closed, &f->client_closed}};

		for (size_t i = 0; i < 2; i++) {
			struct buffer sent;

			if (*ways[i].from_closed || !ways[i].from->sent.length)
				continue;
			again = true;
			sent = ways[i].from->sent;
			ways[i].from->sent = BUFFER_INIT(LIMIT_STREAM_QUEUE);
			stream_emit_drained(&ways[i].from->stream);
			if (!*ways[i].to_closed)
				stream_emit_data(&ways[i].to->stream, buffer_head(&sent),
						 sent.length);
			buffer_free(&sent);
		}
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err;

	uv_loop_init(&f->loop);
	f->client_end = memory_stream_create(&f->client_closed);
	f->server_end = memory_stream_create(&f->server_closed);
	assert_int_equal(http2_serve(&f->server_end->stream, &server_events, f, &f->server, &err),
			 0);
	assert_int_equal(http2_open(&f->loop, &f->client_end->stream, "control.example", NULL, NULL,
				    &f->client, &err),
			 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	http2_close(f->client);
	http2_server_close(f->server);
	assert_null(f->hold);
	/* Its farewell goes out before it lets go of the stream. */
	if (!f->server_closed) {
		buffer_free(&f->server_end->sent);
		stream_emit_drained(&f->server_end->stream);
	}
	assert_true(f->server_closed);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

static void ask(struct fixture *f, const char *path, const void *body, size_t length,
		struct heard *h, struct http2_request **ret)
{
	struct http2_message m = {
		.method = "POST", .path = path, .body = body, .body_length = length};
	struct error err;

	assert_int_equal(http2_send(f->client, &m, &heard_events, h, ret, &err), 0);
}

static void test_replies(void **state)
{
	struct fixture *f = *state;
	static uint8_t body[300000];
	struct heard echo = {0}, none = {0}, late = {0};
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(body); i++)
		sum += (body[i] = (uint8_t)(i * 7)) * (uint64_t)(i + 1);
	ask(f, "/late", NULL, 0, &late, NULL);
	ask(f, "/echo", body, sizeof(body), &echo, NULL);
	ask(f, "/none", NULL, 0, &none, NULL);
	carry(f);
	assert_int_equal(echo.status, 200);
	assert_true(echo.ended && echo.length == sizeof(body) && echo.sum == sum);
	assert_int_equal(none.status, 204);
	assert_true(none.ended && !late.ended);
	assert_int_equal(http2_server_exchanges(f->server), 1);
	f->late->headers = &(struct http1_header){"retry-after", "3"};
	f->late->header_count = 1;
	assert_int_equal(http2_reply(f->late, 429, NULL, "slow", 4), 0);
	carry(f);
	assert_true(late.status == 429 && late.ended && late.length == 4);
	assert_int_equal(f->gone, 3);
	assert_int_equal(http2_server_exchanges(f->server), 0);
	assert_true(http2_server_waiting_since(f->server) == DEADLINE_NEVER);
}

static void test_a_body_without_end(void **state)
{
	struct fixture *f = *state;
	static uint8_t piece[200000];
	struct http2_request *q;
	struct heard h = {0};

	ask(f, "/hold", NULL, 0, &h, &q);
	carry(f);
	assert_true(h.status == 200 && h.length == 0);
	assert_int_equal(http2_push(f->hold, "abc", 3), 0);
	carry(f);
	assert_int_equal(h.length, 3);
	assert_int_equal(f->drained, 1);
	/* More than a window, so that it waits for the reader. */
	assert_int_equal(http2_push(f->hold, piece, sizeof(piece)), 0);
	assert_true(http2_pushed(f->hold) > 0);
	assert_int_equal(f->drained, 1);
	carry(f);
	assert_int_equal(h.length, sizeof(piece) + 3);
	assert_int_equal(f->drained, 2);
	http2_finish(f->hold);
	carry(f);
	assert_true(h.ended && !f->hold);
}

/* What a client doesn't read counts as what it holds, until it has read it. */
static void test_unread_answers_are_held(void **state)
{
	static uint8_t piece[40000];
	struct fixture *f = *state;
	struct heard h = {0};
	size_t idle;

	ask(f, "/hold", NULL, 0, &h, NULL);
	carry(f);
	idle = f->held;
	assert_int_equal(http2_push(f->hold, piece, sizeof(piece)), 0);
	assert_in_range(f->held, idle + sizeof(piece), idle + sizeof(piece) + 1000);
	carry(f);
	assert_int_equal(h.length, sizeof(piece));
	assert_int_equal(f->held, idle);
}

/* What the stream below has queued by itself, an update of TLS keys, is first counted with an answer. */
static void test_an_answer_too_much(void **state)
{
	struct fixture *f = *state;
	static uint8_t keys[10000];
	struct heard h = {0};

	ask(f, "/late", "x", 1, &h, NULL);
	carry(f);
	f->held_max = f->held;
	assert_int_equal(stream_write(&f->server_end->stream, keys, sizeof(keys)), 0);
	assert_int_equal(http2_reply(f->late, 200, NULL, "yes", 3), 0);
	assert_null(f->server);
	assert_int_equal(f->gone, 1);
}

static void test_the_client_resets(void **state)
{
	struct fixture *f = *state;
	struct http2_request *q;
	struct heard h = {0};

	ask(f, "/hold", NULL, 0, &h, &q);
	carry(f);
	http2_cancel(q);
	carry(f);
	assert_null(f->hold);
	assert_int_equal(f->gone, 1);
}

static void test_the_connection_ends(void **state)
{
	struct fixture *f = *state;
	struct heard h = {0};

	ask(f, "/hold", NULL, 0, &h, NULL);
	carry(f);
	stream_emit_closed(&f->server_end->stream, NULL);
	assert_null(f->hold);
	assert_int_equal(f->ended, 1);
}

static void test_too_large(void **state)
{
	struct fixture *f = *state;
	size_t length = LIMIT_RPC_BODY + 1;
	uint8_t *body = calloc(1, length);
	struct heard h = {0}, other = {0};

	ask(f, "/echo", body, length, &h, NULL);
	carry(f);
	assert_true(h.failed);
	assert_int_equal(f->requests, 0);
	/* The connection lives. */
	ask(f, "/echo", "x", 1, &other, NULL);
	carry(f);
	assert_true(other.ended);
	free(body);
}

static void test_unfinished(void **state)
{
	struct fixture *f = *state;
	uint8_t *body = calloc(1, 200000);
	struct heard h = {0};
	struct buffer sent;

	/* The half of a request, as a slow client would send it. */
	carry(f);
	ask(f, "/echo", body, 200000, &h, NULL);
	sent = f->client_end->sent;
	f->client_end->sent = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	stream_emit_data(&f->server_end->stream, buffer_head(&sent), sent.length / 2);
	assert_true(http2_server_waiting_since(f->server) <= clock_boottime());
	buffer_free(&sent);
	free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_body_without_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unread_answers_are_held, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_answer_too_much, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_client_resets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_connection_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unfinished, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
