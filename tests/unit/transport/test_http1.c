/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_http1.c - the HTTP/1.1 codec by tables, whole and byte by byte */
#include "transport/http1.h"
#include "transport/url.h"
#include "unit/unit.h"

#include <strings.h>

#define TEXT_MAX 4096

/* What a run of the parser over an input found, as text. */
struct found {
	char text[TEXT_MAX];
	size_t length;
	int result;  /* of the last call */
	size_t left; /* bytes that were not touched after the (first) end */
};

static void __attribute__((format(printf, 2, 3))) note(struct found *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	f->length +=
		(size_t)vsnprintf(f->text + f->length, sizeof(f->text) - f->length, format, args);
	va_end(args);
	assert_true(f->length < sizeof(f->text));
}

/* note_result() - One thing that the parser found; whether the message is over */
static bool note_result(struct found *f, const struct http1_parser *p, int r)
{
	if (r == HTTP1_HEAD && p->response)
		note(f, "%d|", p->head.status);
	else if (r == HTTP1_HEAD)
		note(f, "%s %s|", p->head.method, p->head.target);
	else if (r == HTTP1_BODY)
		note(f, "%.*s", (int)p->body_length, (const char *)p->body);
	else if (r == HTTP1_END)
		note(f, ".");
	return r == HTTP1_END || r < 0;
}

/* parse() - Run @input through a new parser in steps of @step bytes until the first end */
static void parse(const char *input, size_t size, size_t step, bool response, bool bodyless,
		  struct found *f)
{
	struct http1_parser p;
	size_t at = 0;
	bool over = false;

	memset(f, 0, sizeof(*f));
	http1_parser_init(&p, response);
	if (bodyless)
		http1_parser_bodyless(&p);
	while (!over && at < size) {
		size_t piece = size - at < step ? size - at : step, used;

		do {
			f->result = http1_parse(&p, (const uint8_t *)input + at, piece, &used);
			over = note_result(f, &p, f->result);
			if (f->result >= 0) {
				assert_true(used <= piece);
				at += used;
				piece -= used;
			}
		} while (!over && f->result != HTTP1_MORE);
		if (!over)
			assert_int_equal(piece, 0); /* HTTP1_MORE used everything */
	}
	if (!over) {
		f->result = http1_parse_end(&p);
		note_result(f, &p, f->result);
	}
	f->left = size - at;
	http1_parser_free(&p);
}

struct row {
	const char *input;
	const char *found; /* NULL: refused */
	size_t left;
};

#define GET "GET / HTTP/1.1\r\nHost: h\r\n"

static const struct row requests[] = {
	/* 1 */ {GET "\r\n", "GET /|.", 0},
	/* 2 */
	{"POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET", "POST /a?b=c|abc.",
	 3},
	/* 3 */
	{GET "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nX",
	 "GET /|abc0123456789.", 1},
	/* 4 */ {GET "Transfer-Encoding: Chunked\r\n\r\n0\r\nT: v\r\nU: w\r\n\r\n", "GET /|.", 0},
	/* 5 */ {"GET / HTTP/1.0\r\n\r\n", "GET /|.", 0},
	/* 6 */ {"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", "OPTIONS *|.", 0},
	/* 7 */ {GET "X:\t a b \t\r\n\r\n", "GET /|.", 0},
	/* Lines and blanks */
	/* 8 */ {"GET / HTTP/1.1\nHost: h\n\n", NULL, 0},
	/* 9 */ {GET "A: b\n\r\n", NULL, 0},
	/* 10 */ {GET "A: b\rc\r\n\r\n", NULL, 0},
	/* 11 */ {GET " folded\r\n\r\n", NULL, 0},
	/* 12 */ {GET "A : b\r\n\r\n", NULL, 0},
	/* 13 */ {GET ": b\r\n\r\n", NULL, 0},
	/* 14 */ {GET "A\r\n\r\n", NULL, 0},
	/* 15 */ {GET "A: \x01\r\n\r\n", NULL, 0},
	/* 16 */ {GET "A b: c\r\n\r\n", NULL, 0},
	/* 17 */ {"\r\n" GET "\r\n", NULL, 0},
	/* 18 */ {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", NULL, 0},
	/* 19 */ {"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", NULL, 0},
	/* 20 */ {"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", NULL, 0},
	/* 21 */ {"GET / HTTP/1.2\r\nHost: h\r\n\r\n", NULL, 0},
	/* 22 */ {"GET / http/1.1\r\nHost: h\r\n\r\n", NULL, 0},
	/* 23 */ {"GET /\r\nHost: h\r\n\r\n", NULL, 0},
	/* 24 */ {"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", NULL, 0},
	/* 25 */ {"GET /\x80 HTTP/1.1\r\nHost: h\r\n\r\n", NULL, 0},
	/* 26 */ {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NULL, 0},
	/* Smuggling shapes */
	/* 27 */ {GET "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL, 0},
	/* 28 */ {GET "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", NULL, 0},
	/* 29 */ {GET "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", NULL, 0},
	/* 30 */ {GET "Content-Length: 3, 3\r\n\r\nabc", NULL, 0},
	/* 31 */ {GET "Content-Length: +3\r\n\r\nabc", NULL, 0},
	/* 32 */ {GET "Content-Length: 0x3\r\n\r\nabc", NULL, 0},
	/* 33 */ {GET "Content-Length: -1\r\n\r\n", NULL, 0},
	/* 34 */ {GET "Content-Length:\r\n\r\n", NULL, 0},
	/* 35 */ {GET "Content-Length: 99999999999999999999\r\n\r\n", NULL, 0},
	/* 36 */ {GET "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", NULL, 0},
	/* 37 */ {GET "Transfer-Encoding: identity\r\n\r\n", NULL, 0},
	/* 38 */
	{GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL, 0},
	/* 39 */
	{GET "Transfer-Encoding: \x0b"
	     "chunked\r\n\r\n0\r\n\r\n",
	 NULL, 0},
	/* 40 */ {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL, 0},
	/* 41 */ {"GET / HTTP/1.1\r\n\r\n", NULL, 0},
	/* 42 */ {GET "Host: other\r\n\r\n", NULL, 0},
	/* Chunks */
	/* 43 */ {GET "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", NULL, 0},
	/* 44 */ {GET "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", NULL, 0},
	/* 45 */ {GET "Transfer-Encoding: chunked\r\n\r\n\r\n", NULL, 0},
	/* 46 */ {GET "Transfer-Encoding: chunked\r\n\r\n;x\r\n", NULL, 0},
	/* 47 */ {GET "Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n", NULL, 0},
	/* 48 */ {GET "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n", NULL, 0},
	/* 49 */ {GET "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n", NULL, 0},
	/* 50 */ {GET "Transfer-Encoding: chunked\r\n\r\n1000000000000000\r\n", NULL, 0},
	/* 51 */ {GET "Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n", NULL, 0},
	/* 52 */ {GET "Transfer-Encoding: chunked\r\n\r\n0\r\n folded\r\n\r\n", NULL, 0},
	/* 53 */ {GET "Transfer-Encoding: chunked\r\n\r\n0\r\nbad\r\n\r\n", NULL, 0},
	/* Cut short */
	/* 54 */ {"GET / HTTP/1.1\r\nHost: h\r\n", NULL, 0},
	/* 55 */ {GET "Content-Length: 3\r\n\r\nab", NULL, 0},
	/* 56 */ {GET "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", NULL, 0},
};

static const struct row responses[] = {
	/* 1 */ {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200|hi.", 0},
	/* 2 */ {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200|.", 0},
	/* 3 */ {"HTTP/1.1 204 No Content\r\n\r\nrest", "204|.", 4},
	/* 4 */ {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304|.", 0},
	/* 5 */
	{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\nframes",
	 "101|.", 6},
	/* 6 */ {"HTTP/1.0 200 OK\r\n\r\nuntil close", "200|until close.", 0},
	/* 7 */
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	 "200|hello.", 0},
	/* 8 */ {"HTTP/2 200 OK\r\n\r\n", NULL, 0},
	/* 9 */ {"HTTP/1.1 20 OK\r\n\r\n", NULL, 0},
	/* 10 */ {"HTTP/1.1 2000 OK\r\n\r\n", NULL, 0},
	/* 11 */ {"HTTP/1.1 099 OK\r\n\r\n", NULL, 0},
	/* 12 */ {"HTTP/1.1  200 OK\r\n\r\n", NULL, 0},
	/* 13 */ {"HTTP/1.1 200 O\x01K\r\n\r\n", NULL, 0},
	/* 14 */ {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", NULL, 0},
	/* 15 */ {"garbage", NULL, 0},
	/* 16 */ {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", NULL, 0},
};

static void check_rows(const struct row *rows, size_t count, bool response)
{
	for (size_t i = 0; i < count; i++) {
		size_t size = strlen(rows[i].input);
		struct found whole, single;

		parse(rows[i].input, size, size, response, false, &whole);
		parse(rows[i].input, size, 1, response, false, &single);
		if ((rows[i].found == NULL) != (whole.result < 0))
			fail_msg("row %zu: result %d, found '%s'", i + 1, whole.result, whole.text);
		assert_int_equal(whole.result, single.result);
		if (!rows[i].found)
			continue;
		if (strcmp(whole.text, rows[i].found) != 0 ||
		    strcmp(single.text, rows[i].found) != 0)
			fail_msg("row %zu: found '%s' and '%s'", i + 1, whole.text, single.text);
		assert_int_equal(whole.left, rows[i].left);
		assert_int_equal(single.left, rows[i].left);
	}
}

static void requests_by_table(void **state)
{
	(void)state;
	check_rows(requests, sizeof(requests) / sizeof(requests[0]), false);
}

static void responses_by_table(void **state)
{
	(void)state;
	check_rows(responses, sizeof(responses) / sizeof(responses[0]), true);
}

static void a_head_has_no_body(void **state)
{
	static const char input[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP";
	struct found f;

	(void)state;
	parse(input, strlen(input), 99, true, true, &f);
	assert_string_equal(f.text, "200|.");
	assert_int_equal(f.left, 4);
}

static void heads_have_limits(void **state)
{
	struct buffer b = BUFFER_INIT(1 << 20);
	struct found f;

	(void)state;
	buffer_printf(&b, "GET / HTTP/1.1\r\nHost: h\r\nA: ");
	for (unsigned int i = 0; i < LIMIT_HTTP_HEADER; i++)
		buffer_append(&b, "x", 1);
	parse((char *)buffer_head(&b), b.length, b.length, false, false, &f);
	assert_int_equal(f.result, -EMSGSIZE);
	buffer_consume(&b, b.length);
	buffer_printf(&b, "GET / HTTP/1.1\r\nHost: h\r\n");
	for (unsigned int i = 0; i < LIMIT_HTTP_HEADERS; i++)
		buffer_append(&b, "A: b\r\n", 6);
	buffer_append(&b, "\r\n", 2);
	parse((char *)buffer_head(&b), b.length, b.length, false, false, &f);
	assert_int_equal(f.result, -EMSGSIZE);
	buffer_free(&b);
}

static void heads_are_read(void **state)
{
	static const char input[] =
		"GET /derp HTTP/1.1\r\nHost: a\r\nconnection: keep-alive, UPGRADE\r\n"
		"Upgrade: DERP\r\nX-Empty:\r\n\r\n";
	struct http1_parser p;
	size_t used;

	(void)state;
	http1_parser_init(&p, false);
	assert_int_equal(http1_parse(&p, (const uint8_t *)input, strlen(input), &used), HTTP1_HEAD);
	assert_true(p.head.upgrade);
	assert_true(p.head.keep_alive);
	assert_string_equal(http1_header(&p.head, "HOST"), "a");
	assert_string_equal(http1_header(&p.head, "x-empty"), "");
	assert_null(http1_header(&p.head, "missing"));
	assert_true(http1_header_has(&p.head, "Upgrade", "derp"));
	assert_false(http1_header_has(&p.head, "Connection", "keep"));
	http1_parser_free(&p);
}

static void one_parser_reads_many(void **state)
{
	static const char input[] =
		GET "\r\n" GET "Connection: close\r\nContent-Length: 1\r\n\r\nx";
	const uint8_t *at = (const uint8_t *)input;
	size_t left = strlen(input), used;
	struct http1_parser p;
	char seen[16] = "";
	int r;

	(void)state;
	http1_parser_init(&p, false);
	while ((r = http1_parse(&p, at, left, &used)) > HTTP1_MORE) {
		strcat(seen, r == HTTP1_HEAD ? "h" : r == HTTP1_BODY ? "b" : "e");
		at += used;
		left -= used;
	}
	assert_string_equal(seen, "hehbe");
	assert_false(p.head.keep_alive);
	assert_int_equal(http1_parse_end(&p), HTTP1_MORE);
	http1_parser_free(&p);
}

static void the_writer_lets_nothing_through(void **state)
{
	static const struct {
		const char *name, *value;
		int result;
	} rows[] = {
		/* 1 */ {"Host", "a.example", 0},
		/* 2 */ {"Host", "a\r\nX: y", -EINVAL},
		/* 3 */ {"Ho st", "a", -EINVAL},
		/* 4 */ {"", "a", -EINVAL},
		/* 5 */ {"A", "b\n", -EINVAL},
		/* 6 */ {"A:", "b", -EINVAL},
	};
	struct buffer b = BUFFER_INIT(4096);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(http1_write_header(&b, rows[i].name, rows[i].value),
				 rows[i].result);
	assert_int_equal(http1_write_request(&b, "GET", "/a b"), -EINVAL);
	assert_int_equal(http1_write_request(&b, "GE T", "/"), -EINVAL);
	assert_int_equal(http1_write_request(&b, "GET", "/\r\nX: y"), -EINVAL);
	assert_int_equal(http1_write_response(&b, 42), -EINVAL);
	assert_string_equal(
		(assert_int_equal(buffer_append(&b, "", 1), 0), (char *)buffer_head(&b)),
		"Host: a.example\r\n");
	buffer_free(&b);
}

static void what_is_written_is_read(void **state)
{
	struct buffer b = BUFFER_INIT(4096);
	struct found f;

	(void)state;
	assert_int_equal(http1_write_response(&b, 200), 0);
	assert_int_equal(http1_write_header(&b, "Transfer-Encoding", "chunked"), 0);
	assert_int_equal(http1_write_head_end(&b), 0);
	assert_int_equal(http1_write_chunk(&b, "hello ", 6), 0);
	assert_int_equal(http1_write_chunk(&b, "", 0), 0);
	assert_int_equal(http1_write_chunk(&b, "world of chunks", 15), 0);
	assert_int_equal(buffer_append(&b, "0\r\n\r\n", 5), 0);
	parse((char *)buffer_head(&b), b.length, 7, true, false, &f);
	assert_string_equal(f.text, "200|hello world of chunks.");
	buffer_free(&b);
}

static void urls_by_table(void **state)
{
	static const struct {
		const char *text, *authority, *host, *path, *user; /* authority NULL: refused */
	} rows[] = {
		/* 1 */ {"https://Login.Example.com", "login.example.com", "login.example.com", "/",
			 ""},
		/* 2 */ {"http://h:8080/a/b?c#d", "h:8080", "h", "/a/b?c", ""},
		/* 3 */ {"https://[fd00::1]:8443", "[fd00::1]:8443", "fd00::1", "/", ""},
		/* 4 */ {"https://[::1]", "[::1]", "::1", "/", ""},
		/* 5 */ {"http://u:p%40ss@proxy:3128", "proxy:3128", "proxy", "/", "u:p@ss"},
		/* 6 */ {"https://h?q", "h", "h", "/?q", ""},
		/* 7 */ {"https://h:443", "h", "h", "/", ""},
		/* 8 */ {"ftp://h", NULL, NULL, NULL, NULL},
		/* 9 */ {"https://", NULL, NULL, NULL, NULL},
		/* 10 */ {"https://h:0", NULL, NULL, NULL, NULL},
		/* 11 */ {"https://h:65536", NULL, NULL, NULL, NULL},
		/* 12 */ {"https://h:", NULL, NULL, NULL, NULL},
		/* 13 */ {"https://a b", NULL, NULL, NULL, NULL},
		/* 14 */ {"https://h\r\nX:", NULL, NULL, NULL, NULL},
		/* 15 */ {"https://[::1", NULL, NULL, NULL, NULL},
		/* 16 */ {"https://-a", NULL, NULL, NULL, NULL},
		/* 17 */ {"https://1.2.3", NULL, NULL, NULL, NULL},
		/* 18 */ {"https://u%0a@h", NULL, NULL, NULL, NULL},
		/* 19 */ {"login.example.com", NULL, NULL, NULL, NULL},
		/* 20 */ {"https://[h]", NULL, NULL, NULL, NULL},
	};
	char authority[URL_ORIGIN_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error err = {0};
		struct url u;
		int r = url_parse(rows[i].text, &u, &err);

		if ((r < 0) != !rows[i].authority)
			fail_msg("row %zu: %d", i + 1, r);
		if (r < 0) {
			assert_int_equal(err.code, -EINVAL);
			continue;
		}
		assert_string_equal(url_authority(&u, authority), rows[i].authority);
		assert_string_equal(u.host, rows[i].host);
		assert_string_equal(u.path, rows[i].path);
		assert_string_equal(u.user, rows[i].user);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_by_table),
		cmocka_unit_test(responses_by_table),
		cmocka_unit_test(a_head_has_no_body),
		cmocka_unit_test(heads_have_limits),
		cmocka_unit_test(heads_are_read),
		cmocka_unit_test(one_parser_reads_many),
		cmocka_unit_test(the_writer_lets_nothing_through),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(urls_by_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
