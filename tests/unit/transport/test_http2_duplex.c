/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_http2_duplex.c - both sides of HTTP/2 for proxies, back to back */
#include "transport/http2_duplex.h"
#include "transport/http2_head.h"
#include "unit/unit.h"

#include "unit/transport/memory_stream.h"

#include <endian.h>
#include <string.h>

#define WINDOW ((size_t)64 * 1024)

/* One stream of one side, and what it heard. */
struct side {
	struct http2_flow *flow;
	struct http1_header trailers[4];
	size_t trailer_count;
	char method[16], target[64], host[64], text[256];
	int status;
	size_t received, drained;
	bool chunked, tunnel, last, ended, gone;
	uint32_t code;
};

struct fixture {
	struct memory_stream *client_end, *server_end;
	bool client_closed, server_closed;
	struct http2_duplex *client, *server;
	struct side ours[8]; /* the server's */
	size_t requests;
	bool keep_paused;
	const char *answer_at_once; /* a head, to each request; NULL: the test answers */
	int ended;
};

static void on_head(void *user, const struct http1_head *head, bool last)
{
	struct side *s = user;

	s->status = head->status;
	s->last = last;
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct side *s = user;
	size_t room = sizeof(s->text) - 1 - strlen(s->text);

	s->received += length;
	strncat(s->text, (const char *)bytes, length < room ? length : room);
}

static void on_end(void *user, const struct http1_header *trailers, size_t count)
{
	struct side *s = user;

	assert_false(s->ended);
	s->ended = true;
	s->trailer_count = count;
	for (size_t i = 0; i < count && i < 4; i++)
		s->trailers[i] =
			(struct http1_header){strdup(trailers[i].name), strdup(trailers[i].value)};
}

static void on_drained(void *user)
{
	((struct side *)user)->drained++;
}

static void on_gone(void *user, uint32_t code)
{
	struct side *s = user;

	s->gone = true;
	s->flow = NULL;
	s->code = code;
}

static const struct http2_flow_events flow_events = {
	.head = on_head,
	.data = on_data,
	.end = on_end,
	.drained = on_drained,
	.gone = on_gone,
};

/* head_of() - By the parser of HTTP/1.1, as an exchange makes it */
static struct http1_head *head_of(struct http1_parser *p, bool answer, const char *text)
{
	size_t used;

	http1_parser_init(p, answer);
	assert_int_equal(http1_parse(p, (const uint8_t *)text, strlen(text), &used), HTTP1_HEAD);
	return &p->head;
}

static void on_request(void *user, struct http2_flow *flow, const struct http1_head *head,
		       bool last, bool tunnel)
{
	struct fixture *f = user;
	struct side *s = &f->ours[f->requests++];

	assert_true(f->requests <= 8);
	snprintf(s->method, sizeof(s->method), "%s", head->method);
	snprintf(s->target, sizeof(s->target), "%s", head->target);
	snprintf(s->host, sizeof(s->host), "%s", http1_header(head, "Host") ?: "");
	s->chunked = head->chunked;
	s->last = last;
	s->tunnel = tunnel;
	s->flow = flow;
	http2_flow_set_events(flow, &flow_events, s);
	if (f->answer_at_once) {
		struct http1_parser p;

		assert_int_equal(
			http2_flow_answer(flow, head_of(&p, true, f->answer_at_once), true), 0);
		http1_parser_free(&p);
	}
	if (!f->keep_paused)
		http2_flow_resume(flow);
}

static void on_ended(void *user, const struct error *err)
{
	(void)err;
	((struct fixture *)user)->ended++;
}

static const struct http2_duplex_events duplex_events = {
	.request = on_request,
	.ended = on_ended,
};

static bool move(struct memory_stream *from, const bool *from_closed, struct memory_stream *to,
		 const bool *to_closed)
{
	struct buffer bytes;

	if (*from_closed || from->sent.length == 0)
		return false;
	bytes = from->sent;
	from->sent = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	if (!*to_closed)
		stream_emit_data(&to->stream, buffer_head(&bytes), bytes.length);
	buffer_free(&bytes);
	if (!*from_closed)
		stream_emit_drained(&from->stream);
	return true;
}

static void settle(struct fixture *f)
{
	while (move(f->client_end, &f->client_closed, f->server_end, &f->server_closed) |
	       move(f->server_end, &f->server_closed, f->client_end, &f->client_closed))
		;
}

static struct fixture *begin_in_pool(struct http2_pool *pool)
{
	const struct http2_duplex_options server = {true, pool, WINDOW, 4 * WINDOW, 4};
	const struct http2_duplex_options client = {false, NULL, WINDOW, 4 * WINDOW, 100};
	struct fixture *f = calloc(1, sizeof(*f));

	f->client_end = memory_stream_create(&f->client_closed);
	f->server_end = memory_stream_create(&f->server_closed);
	assert_int_equal(
		http2_duplex_open(&f->server_end->stream, &server, &duplex_events, f, &f->server),
		0);
	assert_int_equal(
		http2_duplex_open(&f->client_end->stream, &client, &duplex_events, f, &f->client),
		0);
	settle(f);
	return f;
}

static struct fixture *begin(void)
{
	return begin_in_pool(NULL);
}

static void finish(struct fixture *f)
{
	http2_duplex_close(f->client);
	http2_duplex_close(f->server);
	if (!f->client_closed) {
		buffer_free(&f->client_end->sent);
		stream_emit_drained(&f->client_end->stream);
	}
	if (!f->server_closed) {
		buffer_free(&f->server_end->sent);
		stream_emit_drained(&f->server_end->stream);
	}
	assert_true(f->client_closed && f->server_closed);
	for (size_t i = 0; i < f->requests; i++)
		for (size_t t = 0; t < f->ours[i].trailer_count; t++) {
			free((char *)(uintptr_t)f->ours[i].trailers[t].name);
			free((char *)(uintptr_t)f->ours[i].trailers[t].value);
		}
	free(f);
}

static void clear(struct side *s)
{
	for (size_t t = 0; t < s->trailer_count; t++) {
		free((char *)(uintptr_t)s->trailers[t].name);
		free((char *)(uintptr_t)s->trailers[t].value);
	}
}

static void send(struct fixture *f, struct side *s, const char *text, bool last)
{
	struct http1_parser p;

	assert_int_equal(http2_duplex_send(f->client, head_of(&p, false, text), "http", last,
					   &flow_events, s, &s->flow),
			 0);
	http1_parser_free(&p);
	settle(f);
}

static void answer(struct fixture *f, struct side *s, const char *text, bool last)
{
	struct http1_parser p;

	assert_int_equal(http2_flow_answer(s->flow, head_of(&p, true, text), last), 0);
	http1_parser_free(&p);
	settle(f);
}

static void test_bodies_and_trailers_both_ways(void **state)
{
	static const struct http1_header sum = {"X-Sum", "7"}, status = {"grpc-status", "0"};
	struct fixture *f = begin();
	struct side a = {0};

	(void)state;
	send(f, &a,
	     "POST /rpc HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\nTE: "
	     "trailers\r\n\r\n",
	     false);
	assert_int_equal(f->requests, 1);
	assert_string_equal(f->ours[0].target, "/rpc");
	assert_string_equal(f->ours[0].host, "app");
	assert_true(f->ours[0].chunked && !f->ours[0].last);
	assert_int_equal(http2_flow_write(a.flow, "ping", 4), 0);
	settle(f);
	assert_string_equal(f->ours[0].text, "ping");
	answer(f, &f->ours[0], "HTTP/1.1 100 Continue\r\n\r\n", false);
	assert_int_equal(a.status, 100);
	answer(f, &f->ours[0], "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false);
	assert_int_equal(a.status, 200);
	assert_int_equal(http2_flow_write(f->ours[0].flow, "pong", 4), 0);
	assert_int_equal(http2_flow_end(a.flow, &sum, 1), 0);
	settle(f);
	assert_string_equal(a.text, "pong");
	assert_true(f->ours[0].ended && !a.ended);
	assert_int_equal(f->ours[0].trailer_count, 1);
	assert_string_equal(f->ours[0].trailers[0].name, "x-sum");
	assert_int_equal(http2_flow_end(f->ours[0].flow, &status, 1), 0);
	settle(f);
	assert_true(a.ended && a.gone && f->ours[0].gone);
	assert_int_equal(a.code, 0);
	assert_string_equal(a.trailers[0].name, "grpc-status");
	assert_int_equal(http2_duplex_flows(f->client) + http2_duplex_flows(f->server), 0);
	clear(&a);
	finish(f);
}

static void test_an_answer_of_a_head_alone(void **state)
{
	struct fixture *f = begin();
	struct side a = {0};

	(void)state;
	send(f, &a, "GET / HTTP/1.1\r\nHost: app\r\n\r\n", true);
	assert_true(f->ours[0].last);
	answer(f, &f->ours[0], "HTTP/1.1 200 OK\r\ngrpc-status: 12\r\n\r\n", true);
	assert_true(a.last && a.ended && a.gone);
	finish(f);
}

/* The whole answer comes, though the client has not sent all of its request. */
static void test_answers_before_the_end_of_requests(void **state)
{
	static const struct http1_header status = {"grpc-status", "7"};
	static uint8_t piece[2 * WINDOW];
	struct fixture *f = begin();
	struct side a = {0}, b = {0};

	(void)state;
	send(f, &a, "POST /a HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	answer(f, &f->ours[0], "HTTP/1.1 200 OK\r\n\r\n", false);
	assert_int_equal(http2_flow_write(f->ours[0].flow, piece, sizeof(piece)), 0);
	assert_int_equal(http2_flow_end(f->ours[0].flow, &status, 1), 0);
	settle(f);
	assert_int_equal(a.received, sizeof(piece));
	assert_true(a.ended && a.gone && f->ours[0].gone);
	assert_int_equal(a.code, 0);
	assert_int_equal(a.trailer_count, 1);
	clear(&a);
	f->answer_at_once = "HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
	send(f, &b, "POST /b HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	assert_int_equal(b.status, 301);
	assert_true(b.last && b.gone && f->ours[1].gone);
	finish(f);
}

/* A paused flow holds its window's bytes, and no more; the others move on. */
static void test_a_paused_flow_stops_no_other(void **state)
{
	static uint8_t piece[16 * 1024];
	struct fixture *f = begin();
	struct side stuck = {0}, other = {0};

	(void)state;
	f->keep_paused = true;
	send(f, &stuck, "POST /a HTTP/1.1\r\nHost: app\r\nContent-Length: 999999\r\n\r\n", false);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(http2_flow_write(stuck.flow, piece, sizeof(piece)), 0);
		settle(f);
	}
	assert_int_equal(f->ours[0].received, 0);
	stuck.drained = 0;
	assert_int_equal(http2_flow_pending(stuck.flow), 20 * sizeof(piece) - WINDOW);
	f->keep_paused = false;
	send(f, &other, "POST /b HTTP/1.1\r\nHost: app\r\nContent-Length: 16384\r\n\r\n", false);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(http2_flow_write(other.flow, piece, sizeof(piece)), 0);
		settle(f);
		if (f->ours[1].gone)
			break;
	}
	assert_true(other.gone); /* longer than its length */
	assert_int_equal(f->ended, 0);
	assert_int_equal(stuck.drained, 0);
	http2_flow_resume(f->ours[0].flow);
	settle(f);
	assert_int_equal(f->ours[0].received, 20 * sizeof(piece));
	assert_int_equal(stuck.drained, 1);
	finish(f);
}

/* Two connections whose bodies nobody takes: the one that keeps more has to give way first. */
static void test_the_pool_of_all_connections(void **state)
{
	static uint8_t piece[16 * 1024];
	struct http2_pool pool = {.max = WINDOW + HTTP2_POOL_SMALL};
	struct fixture *large = begin_in_pool(&pool), *small = begin_in_pool(&pool);
	struct side a = {0}, b = {0}, c = {0};

	(void)state;
	large->keep_paused = small->keep_paused = true;
	send(large, &a, "POST /a HTTP/1.1\r\nHost: app\r\nContent-Length: 999999\r\n\r\n", false);
	for (size_t sent = 0; sent + sizeof(piece) <= pool.max / 2; sent += sizeof(piece)) {
		assert_int_equal(http2_flow_write(a.flow, piece, sizeof(piece)), 0);
		settle(large);
	}
	assert_false(a.gone);
	send(small, &b, "POST /b HTTP/1.1\r\nHost: app\r\nContent-Length: 16384\r\n\r\n", false);
	assert_int_equal(http2_flow_write(b.flow, piece, sizeof(piece)), 0);
	settle(small);
	assert_false(b.gone);
	send(large, &c, "POST /c HTTP/1.1\r\nHost: app\r\nContent-Length: 65536\r\n\r\n", false);
	assert_int_equal(http2_flow_write(c.flow, piece, sizeof(piece)), 0);
	settle(large);
	assert_int_equal(c.gone, 1);
	assert_false(a.gone);
	assert_true(pool.used <= pool.max);
	http2_flow_resume(large->ours[0].flow);
	settle(large);
	finish(large);
	assert_int_equal(pool.used, sizeof(piece));
	finish(small);
	assert_int_equal(pool.used, 0);
}

/* The server ends a stream that its client has not read to the end: the bytes still come. */
static void test_what_waits_outlives_the_stream(void **state)
{
	struct fixture *f = begin();
	struct side a = {0};

	(void)state;
	send(f, &a, "GET / HTTP/1.1\r\nHost: app\r\n\r\n", true);
	http2_flow_pause(a.flow);
	answer(f, &f->ours[0], "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false);
	assert_int_equal(http2_flow_write(f->ours[0].flow, "hello", 5), 0);
	assert_int_equal(http2_flow_end(f->ours[0].flow, NULL, 0), 0);
	settle(f);
	assert_true(f->ours[0].gone && !a.gone && !a.ended);
	assert_int_equal(a.received, 0);
	http2_flow_resume(a.flow);
	assert_string_equal(a.text, "hello");
	assert_true(a.ended && a.gone);
	finish(f);
}

static void test_resets_and_the_end(void **state)
{
	struct fixture *f = begin();
	struct side a = {0}, b = {0}, c = {0};

	(void)state;
	send(f, &a, "POST /a HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	send(f, &b, "POST /b HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	http2_flow_close(a.flow, HTTP2_CODE_CANCEL);
	settle(f);
	assert_true(f->ours[0].gone);
	assert_int_equal(f->ours[0].code, HTTP2_CODE_CANCEL);
	assert_false(a.gone); /* no event after the close */
	http2_flow_close(f->ours[1].flow, HTTP2_CODE_REFUSED);
	settle(f);
	assert_true(b.gone);
	assert_int_equal(b.code, HTTP2_CODE_REFUSED);
	send(f, &c, "GET /c HTTP/1.1\r\nHost: app\r\n\r\n", true);
	http2_duplex_retire(f->server);
	settle(f);
	assert_true(http2_duplex_is_going(f->client));
	answer(f, &f->ours[2], "HTTP/1.1 204 No Content\r\n\r\n", true);
	assert_int_equal(c.status, 204);
	assert_int_equal(http2_duplex_flows(f->server), 0);
	finish(f);
}

/* A client that acknowledges no settings, reads nothing, and is refused stream after stream. */
static void test_refusals_do_not_pile_up(void **state)
{
	static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
	static const uint8_t goaway[] = {0, 0, 8, 7, 0};
	const struct http2_duplex_options options = {true, NULL, WINDOW, WINDOW, 4};
	struct fixture f = {.keep_paused = true};
	struct memory_stream *end = memory_stream_create(&f.server_closed);
	const uint32_t requests = 50000;
	size_t sent = 0;
	bool calm = false;

	(void)state;
	assert_int_equal(http2_duplex_open(&end->stream, &options, &duplex_events, &f, &f.server),
			 0);
	stream_emit_data(&end->stream, preface, sizeof(preface));
	for (uint32_t i = 0; i < requests; i++) {
		uint32_t id = htobe32(2 * i + 1);
		uint8_t head[] = {0, 0, 6, 1, 5, 0, 0, 0, 0, 0x82, 0x86, 0x84, 0x41, 1, 'a'};

		memcpy(head + 5, &id, sizeof(id));
		stream_emit_data(&end->stream, head, sizeof(head));
	}
	while (end->sent.length > 0) {
		sent += end->sent.length;
		calm |= memmem(buffer_head(&end->sent), end->sent.length, goaway, sizeof(goaway)) !=
			NULL;
		buffer_free(&end->sent);
		end->sent = BUFFER_INIT(LIMIT_STREAM_QUEUE);
		stream_emit_drained(&end->stream);
	}
	assert_true(calm);
	assert_true(sent < (size_t)requests * 13 / 2);
	http2_duplex_close(f.server);
	assert_true(f.server_closed);
}

static const struct http1_head *translate(struct http2_head **h, enum http2_head_kind kind,
					  const char *const *pairs, bool last, int wanted)
{
	*h = http2_head_new(kind);
	for (; *pairs; pairs += 2)
		assert_int_equal(http2_head_field(*h, (const uint8_t *)pairs[0], strlen(pairs[0]),
						  (const uint8_t *)pairs[1], strlen(pairs[1])),
				 0);
	assert_int_equal(http2_head_end(*h, last), wanted);
	return &(*h)->parsed.head;
}

static void test_heads(void **state)
{
	const struct http1_head *head;
	struct http2_head *h;

#define REQUEST ":method", "GET", ":scheme", "https", ":path", "/x?y"
	(void)state;
	head = translate(&h, HTTP2_REQUEST,
			 (const char *[]){REQUEST, ":authority", "app:443", "cookie", "a=1", "x-a",
					  "1", "cookie", "b=2", "host", "APP:443", NULL},
			 true, 0);
	assert_string_equal(head->target, "/x?y");
	assert_string_equal(http1_header(head, "Host"), "app:443");
	assert_string_equal(http1_header(head, "Cookie"), "a=1; b=2");
	assert_int_equal(head->header_count, 3);
	assert_false(head->chunked);
	http2_head_free(h);

	head = translate(&h, HTTP2_REQUEST,
			 (const char *[]){":method", "CONNECT", ":protocol", "websocket", ":scheme",
					  "https", ":path", "/ws", ":authority", "app", NULL},
			 false, 0);
	assert_true(h->tunnel && head->upgrade && !head->chunked);
	assert_string_equal(head->method, "GET");
	assert_int_equal(strlen(http1_header(head, "Sec-WebSocket-Key")), 24);
	http2_head_free(h);

	static const struct {
		const char *pairs[16];
		bool last;
		int code;
	} refused[] = {
		{{REQUEST, ":authority", "a", "host", "b"}, true, -EBADMSG},
		{{REQUEST}, true, -EBADMSG}, /* no host */
		{{":method", "GET", ":authority", "a"}, true, -EBADMSG},
		{{":method", "CONNECT", ":authority", "a:1"}, false, -EBADMSG},
		{{":method", "CONNECT", ":protocol", "connect-udp", ":path", "/", ":authority",
		  "a"},
		 false,
		 -EOPNOTSUPP},
		{{":method", "G T", ":path", "/", ":authority", "a"}, true, -EBADMSG},
		{{":method", "GET", ":path", "/ HTTP/1.1\r\nX: y", ":authority", "a"},
		 true,
		 -EBADMSG},
		{{":method", "GET", ":path", "/", ":authority", "a\r\nX: y"}, true, -EBADMSG},
		{{REQUEST, ":authority", "a", "x-a", "1\r\nx-b: 2"}, true, -EBADMSG},
		{{REQUEST, ":authority", "a", "cookie", "1\r\nx-b: 2"}, true, -EBADMSG},
		{{REQUEST, ":authority", "a", "content-length", "5"}, true, -EBADMSG},
		{{REQUEST, ":authority", "a", "content-length", "1", "content-length", "1"},
		 false,
		 -EBADMSG},
		{{REQUEST, ":authority", "a", "transfer-encoding", "chunked"}, false, -EBADMSG},
		{{REQUEST, ":authority", "a", "connection", "x"}, false, -EBADMSG},
		{{REQUEST, ":authority", "a", "x", "1", ":path", "/y"}, true, -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		(void)translate(&h, HTTP2_REQUEST, refused[i].pairs, refused[i].last,
				refused[i].code);
		http2_head_free(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bodies_and_trailers_both_ways),
		cmocka_unit_test(test_an_answer_of_a_head_alone),
		cmocka_unit_test(test_answers_before_the_end_of_requests),
		cmocka_unit_test(test_a_paused_flow_stops_no_other),
		cmocka_unit_test(test_the_pool_of_all_connections),
		cmocka_unit_test(test_what_waits_outlives_the_stream),
		cmocka_unit_test(test_resets_and_the_end),
		cmocka_unit_test(test_refusals_do_not_pile_up),
		cmocka_unit_test(test_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
