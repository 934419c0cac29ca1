/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/services/test_heads.c - what the app gets of a request, and the client of an answer */
#include "unit/unit.h"

#include "services/http_heads.h"

static void test_paths(void **state)
{
	static const struct {
		const char *target, *path, *from; /* path NULL: refused */
	} rows[] = {
		{"/", "/", "/"},
		{"/a/b", "/a/b", "/a/b"},
		{"/a/b/", "/a/b/", "/a/b/"},
		{"/a//b", "/a/b", "/a//b"},
		{"/a/./b/../c", "/a/c", "/a/./b/../c"},
		{"/../../etc", "/etc", "/../../etc"},
		{"/a/..", "/", "/a/.."},
		{"/.", "/", "/."},
		{"//", "/", "//"},
		{"/a?b=/../c", "/a", "/a?b=/../c"},
		{"/?x", "/", "/?x"},
		{"/..a/b..", "/..a/b..", "/..a/b.."},
		{"/%61pp/%C3%BC", "/app/\xc3\xbc", "/%61pp/%C3%BC"},
		{"/app%2Fx%2f", "/app/x/", "/app%2Fx%2f"},
		{"/app/%2e%2E/x", "/x", "/app/%2e%2E/x"},
		{"/app%2F..%2F..%2Fx", "/x", "/app%2F..%2F..%2Fx"},
		{"/a%00b?%zz", "/a%00b", "/a%00b?%zz"},
		{"/a%3Fb", "/a?b", "/a%3Fb"},
		{"/%2561pp", "/%61pp", "/%2561pp"},
		{"/a/b/..", "/a", "/a/b/.."},
		{"/a/%zz", NULL, NULL},
		{"/a%2", NULL, NULL},
		{"/a%", NULL, NULL},
		{"http://app/x?y", "/x", "/x?y"},
		{"HTTPS://app:443/x", "/x", "/x"},
		{"http://app", NULL, NULL},
		{"http://app?x=/y", NULL, NULL},
		{"http://app#/y", NULL, NULL},
		{"*", NULL, NULL},
		{"app:443", NULL, NULL},
		{"", NULL, NULL},
		{"ftp://app/x", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[HTTP_PATH_MAX];
		const char *from = NULL;
		int r = http_path(rows[i].target, path, &from);

		if ((r == 0) != (rows[i].path != NULL))
			fail_msg("%s: %d", rows[i].target, r);
		if (r == 0 && (strcmp(path, rows[i].path) != 0 || strcmp(from, rows[i].from) != 0))
			fail_msg("%s: %s, %s", rows[i].target, path, from);
	}
}

/* parse() - A head, kept by @p */
static const struct http1_head *parse(struct http1_parser *p, bool answer, const char *text)
{
	size_t used;

	http1_parser_init(p, answer);
	assert_int_equal(http1_parse(p, (const uint8_t *)text, strlen(text), &used), HTTP1_HEAD);
	return &p->head;
}

static char mount_all[] = "/", no_base[] = "";

static void expect_request(const char *request, const struct serve_handler *handler,
			   const struct http_origin *origin, const char *wanted)
{
	struct buffer out = BUFFER_INIT(65536);
	struct http1_parser p;
	char path[HTTP_PATH_MAX];
	const char *from;
	const struct http1_head *head = parse(&p, false, request);

	assert_int_equal(http_path(head->target, path, &from), 0);
	assert_int_equal(http_request_head(head, from, handler, origin, &out), 0);
	assert_int_equal(buffer_append(&out, "", 1), 0);
	assert_string_equal((char *)buffer_head(&out), wanted);
	buffer_free(&out);
	http1_parser_free(&p);
}

static struct http_origin peer(const struct privsep_person *person)
{
	struct http_origin origin = {.tls = true, .person = person};

	assert_int_equal(address_parse("100.64.0.2", 10, &origin.peer), 0);
	return origin;
}

#define FORWARDED                          \
	"X-Forwarded-For: 100.64.0.2\r\n"  \
	"X-Forwarded-Host: app.ts.net\r\n" \
	"X-Forwarded-Proto: https\r\n"

static void test_what_a_client_claims_is_dropped(void **state)
{
	const struct serve_handler all = {.mount = mount_all, .base = no_base};
	const struct http_origin origin = peer(NULL);

	(void)state;
	expect_request("GET /x?y HTTP/1.1\r\nHost: app.ts.net\r\nAccept: */*\r\n"
		       "Tailscale-User-Login: root\r\ntailscale_user_name: root\r\n"
		       "TAILSCALE-App_Capabilities: {}\r\nX-Forwarded-For: 1.1.1.1\r\n"
		       "Tailscale.User.Login: root\r\ntailscale~user+name: root\r\n"
		       "X.Forwarded.For: 1.1.1.1\r\n"
		       "x_forwarded_proto: gopher\r\nForwarded: for=1.1.1.1\r\n"
		       "Connection: keep-alive, X-Private\r\nX-Private: 1\r\nTE: trailers\r\n"
		       "Keep-Alive: 5\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\n\r\n",
		       &all, &origin,
		       "GET /x?y HTTP/1.1\r\nHost: app.ts.net\r\nAccept: */*\r\n" FORWARDED
		       "TE: trailers\r\n\r\n");
}

static void expect_answer(const char *answer, bool bodyless, int minor, bool keep_alive,
			  enum http_framing framing, const char *wanted)
{
	struct buffer out = BUFFER_INIT(65536);
	enum http_framing got;
	struct http1_parser p;

	assert_int_equal(
		http_answer_head(parse(&p, true, answer), bodyless, minor, &keep_alive, &got, &out),
		0);
	assert_int_equal(buffer_append(&out, "", 1), 0);
	assert_string_equal((char *)buffer_head(&out), wanted);
	assert_int_equal(got, framing);
	buffer_free(&out);
	http1_parser_free(&p);
}

/* Without its framing, a body is the next request to the app, or answer to the client. */
static void test_framing_is_not_of_the_connection(void **state)
{
	const struct serve_handler all = {.mount = mount_all, .base = no_base};
	struct http_origin origin = peer(NULL);

	(void)state;
	expect_request("POST / HTTP/1.1\r\nHost: app.ts.net\r\nContent-Length: 3\r\n"
		       "Connection: content-length, HOST\r\n\r\n",
		       &all, &origin,
		       "POST / HTTP/1.1\r\nHost: app.ts.net\r\nContent-Length: 3\r\n" FORWARDED
		       "\r\n");
	expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: Content-Length\r\n\r\n",
		      false, 1, true, HTTP_LENGTH, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
	expect_answer("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", false, 1, true,
		      HTTP_NO_BODY, "HTTP/1.1 204 No Content\r\n\r\n");
	origin.host = "app.ts.net"; /* HTTP/1.0 has no Host header */
	expect_request("GET / HTTP/1.0\r\n\r\n", &all, &origin,
		       "GET / HTTP/1.1\r\nHost: app.ts.net\r\n" FORWARDED "\r\n");
}

static void test_the_owner_of_the_address(void **state)
{
	static char capability[] = "example.com/cap";
	char *accepted[] = {capability};
	const struct serve_handler all = {
		.mount = mount_all,
		.base = no_base,
		.capabilities = accepted,
		.capability_count = 1,
	};
	struct privsep_person person = {
		.known = 1,
		.login = "ann@example.com",
		.name = "Ann \xc3\x9c",
		.picture = "https://example.com/a.png",
		.capabilities = "{\"example.com/cap\":[1],\"example.com/other\":[2]}",
	};
	struct http_origin origin = peer(&person);

	(void)state;
	expect_request("GET / HTTP/1.1\r\nHost: app.ts.net\r\n\r\n", &all, &origin,
		       "GET / HTTP/1.1\r\nHost: app.ts.net\r\n" FORWARDED
		       "Tailscale-User-Login: ann@example.com\r\n"
		       "Tailscale-User-Name: =?utf-8?q?Ann_=C3=9C?=\r\n"
		       "Tailscale-User-Profile-Pic: https://example.com/a.png\r\n"
		       "Tailscale-Headers-Info: https://tailscale.com/s/serve-headers\r\n"
		       "Tailscale-App-Capabilities: {\"example.com/cap\":[1]}\r\n\r\n");
	person.tagged = 1; /* no user stands behind it, but the policy may grant it something */
	expect_request("GET / HTTP/1.1\r\nHost: app.ts.net\r\n\r\n", &all, &origin,
		       "GET / HTTP/1.1\r\nHost: app.ts.net\r\n" FORWARDED
		       "Tailscale-App-Capabilities: {\"example.com/cap\":[1]}\r\n\r\n");
	person.known = 0;
	expect_request("GET / HTTP/1.1\r\nHost: app.ts.net\r\n\r\n", &all, &origin,
		       "GET / HTTP/1.1\r\nHost: app.ts.net\r\n" FORWARDED "\r\n");
}

static void test_mounts_and_framing(void **state)
{
	static char mount[] = "/api", base[] = "/deep";
	const struct serve_handler api = {.mount = mount, .base = base};
	const struct http_origin origin = peer(NULL);
	struct buffer out = BUFFER_INIT(65536);
	struct http1_parser p;

	(void)state;
	expect_request("POST /api/x HTTP/1.1\r\nHost: app.ts.net\r\n"
		       "Transfer-Encoding: chunked\r\n\r\n",
		       &api, &origin,
		       "POST /deep/x HTTP/1.1\r\nHost: app.ts.net\r\n" FORWARDED
		       "Transfer-Encoding: chunked\r\n\r\n");
	expect_request("GET /api?q HTTP/1.1\r\nHost: app.ts.net\r\nConnection: Upgrade\r\n"
		       "Upgrade: websocket\r\n\r\n",
		       &api, &origin,
		       "GET /deep?q HTTP/1.1\r\nHost: app.ts.net\r\n" FORWARDED
		       "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	base[0] = 0;
	expect_request("GET /api HTTP/1.1\r\nHost: app.ts.net\r\n\r\n", &api, &origin,
		       "GET / HTTP/1.1\r\nHost: app.ts.net\r\n" FORWARDED "\r\n");
	/* The cleaned path is below the mount, the path as sent is not. */
	(void)parse(&p, false, "GET /x/../api HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(http_request_head(&p.head, "/x/../api", &api, &origin, &out), -ENOENT);
	assert_int_equal(http_request_head(&p.head, "/apis", &api, &origin, &out), -ENOENT);
	http1_parser_free(&p);
	buffer_free(&out);
}

static void test_answers(void **state)
{
	(void)state;
	expect_answer("HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nConnection: close\r\n"
		      "Keep-Alive: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
		      false, 1, true, HTTP_LENGTH,
		      "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nSet-Cookie: a\r\n"
		      "Set-Cookie: b\r\n\r\n");
	expect_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, 1, true,
		      HTTP_CHUNKED, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	expect_answer("HTTP/1.0 200 OK\r\n\r\n", false, 1, false, HTTP_CHUNKED,
		      "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
	expect_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, 0, true,
		      HTTP_UNTIL_CLOSE, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true, 1, true, HTTP_NO_BODY,
		      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
	expect_answer("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", false, 1, true, HTTP_NO_BODY,
		      "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n");
	expect_answer("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nA: b\r\n\r\n", false, 1,
		      true, HTTP_NO_BODY, "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n");
	expect_answer("HTTP/1.1 100 Continue\r\n\r\n", false, 1, false, HTTP_NO_BODY,
		      "HTTP/1.1 100 Continue\r\n\r\n");
	expect_answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
		      "Upgrade: websocket\r\n\r\n",
		      false, 1, true, HTTP_NO_BODY,
		      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
		      "Upgrade: websocket\r\n\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_what_a_client_claims_is_dropped),
		cmocka_unit_test(test_framing_is_not_of_the_connection),
		cmocka_unit_test(test_the_owner_of_the_address),
		cmocka_unit_test(test_mounts_and_framing),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
