/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/localapi/test_localapi.c - the official paths over a socket, with a fake node
 *
 * Client and server run in this one thread: bytes are sent, and the loop runs until the
 * expected answer is there.
 */
#include "fake_node.h"
#include "localapi/localapi.h"
#include "unit/unit.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HOST      "Host: local-tailscaled.sock\r\n"
#define TURNS_MAX 100000

struct fixture {
	uv_loop_t loop;
	struct node node;
	struct localapi_server *server;
	struct localapi_server *health;
	struct sockaddr_un address, health_address;
	socklen_t length, health_length;
};

/* listener() - On an address of the abstract kind that the kernel picks */
static int listener(struct sockaddr_un *ret, socklen_t *ret_length)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_un any = {.sun_family = AF_UNIX};

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any.sun_family)), 0);
	assert_int_equal(listen(fd, 128), 0);
	*ret_length = sizeof(*ret);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, ret_length), 0);
	return fd;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err = {0};

	uv_loop_init(&f->loop);
	f->node.writable = true;
	assert_int_equal(localapi_server_new(&f->loop, listener(&f->address, &f->length), &f->node,
					     &f->server, &err),
			 0);
	assert_int_equal(health_server_new(&f->loop,
					   listener(&f->health_address, &f->health_length),
					   HEALTH_SERVE_HEALTHZ, "demo-app,probe.example", &f->node,
					   &f->health, &err),
			 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	localapi_server_free(f->server);
	localapi_server_free(f->health);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(f->node.watches, 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	fake_node_clear(&f->node);
	free(f);
	return 0;
}

static int dial(const struct sockaddr_un *address, socklen_t length)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)address, length), 0);
	return fd;
}

/* wait_for() - Turn the loop until @text is in what came (true) or the server closed (false) */
static bool wait_for(struct fixture *f, int fd, char *got, size_t size, const char *text)
{
	size_t used = strlen(got);

	for (int i = 0; i < TURNS_MAX; i++) {
		ssize_t n;

		uv_run(&f->loop, UV_RUN_NOWAIT);
		n = recv(fd, got + used, size - used - 1, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return text && strstr(got, text);
		if (n > 0)
			got[used += (size_t)n] = 0;
		if (text && strstr(got, text))
			return true;
	}
	fail_msg("nothing came; so far: %s", got);
	return false;
}

/* ask() - One request on a connection of its own; the whole reply in @got */
static void ask(struct fixture *f, const char *request, char *got, size_t size)
{
	int fd = dial(&f->address, f->length);

	got[0] = 0;
	assert_int_equal(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
	shutdown(fd, SHUT_WR);
	wait_for(f, fd, got, size, NULL);
	close(fd);
}

static void paths_answer_as_the_official_ones(void **state)
{
	static const struct {
		const char *request; /* method and target */
		const char *body;    /* NULL: none */
		bool writable;
		int fail;
		const char *status;
		const char *says; /* in the body */
	} rows[] = {
		/* 1 */ {"GET /", NULL, false, 0, "200 OK", "tailscaled\n"},
		/* 2 */ {"GET /localapi/v0/status", NULL, false, 0, "200 OK", "\"Running\""},
		/* 3 */ {"GET /localapi/v0/prefs", NULL, false, 0, "200 OK", "\"fake\""},
		/* 4 */
		{"PATCH /localapi/v0/prefs", "{\"WantRunningSet\":true}", true, 0, "200 OK",
		 "\"fake\""},
		/* 5 */
		{"PATCH /localapi/v0/prefs", "{\"WantRunningSet\":true}", false, 0, "403 Forbidden",
		 "operator"},
		/* 6 */
		{"PATCH /localapi/v0/prefs", "{}", true, -EINVAL, "400 Bad Request",
		 "{\"Error\":\"edit refused\"}"},
		/* 7 */ {"PATCH /localapi/v0/prefs", "[1]", true, 0, "400 Bad Request", "JSON"},
		/* 8 */ {"PATCH /localapi/v0/prefs", "", true, 0, "400 Bad Request", "JSON"},
		/* 9 */ {"DELETE /localapi/v0/prefs", NULL, true, 0, "405 Method Not Allowed", ""},
		/* 10 */
		{"POST /localapi/v0/check-prefs", "{\"Hostname\":\"a\"}", true, 0, "200 OK", "{}"},
		/* 11 */
		{"POST /localapi/v0/check-prefs", "{\"Hostname\":\"a b\"}", true, 0, "200 OK",
		 "{\"Error\":\"hostname"},
		/* 12 */
		{"POST /localapi/v0/start", "{\"AuthKey\":\"k\"}", true, 0, "204 No Content", ""},
		/* 13 */
		{"POST /localapi/v0/start", "{}", true, -EIO, "500 Internal Server Error",
		 "start refused"},
		/* 14 */ {"POST /localapi/v0/start", "{}", false, 0, "403 Forbidden", ""},
		/* 15 */
		{"POST /localapi/v0/login-interactive", NULL, true, 0, "204 No Content", ""},
		/* 16 */
		{"POST /localapi/v0/login-interactive", NULL, false, 0, "403 Forbidden", ""},
		/* 17 */ {"POST /localapi/v0/logout", NULL, true, 0, "204 No Content", ""},
		/* 18 */
		{"POST /localapi/v0/logout", NULL, true, -EIO, "500 Internal Server Error",
		 "logout: the state is broken"},
		/* 19 */
		{"POST /localapi/v0/ping?ip=100.64.0.2&type=disco&size=100", NULL, false, 0,
		 "501 Not Implemented", "leave it out"},
		/* 20 */
		{"POST /localapi/v0/ping?ip=100.64.0.2&type=TSMP&size=1", NULL, true, 0,
		 "400 Bad Request", "size"},
		/* 21 */
		{"POST /localapi/v0/ping?ip=100.64.0.2&type=odd", NULL, true, 0,
		 "500 Internal Server Error", "{\"error\":\"ping: unknown type\"}"},
		/* 22 */
		{"POST /localapi/v0/ping?ip=host&type=disco", NULL, true, 0, "400 Bad Request",
		 "invalid IP"},
		/* 23 */
		{"POST /localapi/v0/ping?ip=100.64.0.2&type=disco&size=-1", NULL, true, 0,
		 "400 Bad Request", "size"},
		/* 24 */
		{"GET /localapi/v0/whois?addr=100.64.0.2:80&proto=tcp", NULL, false, 0, "200 OK",
		 "\"100.64.0.2\""},
		/* 25 */
		{"GET /localapi/v0/whois?addr=%5Bfd7a%3A%3A1%5D%3A80", NULL, false, 0, "200 OK",
		 "\"fd7a::1\""},
		/* 26 */
		{"GET /localapi/v0/whois?addr=100.64.0.9", NULL, false, 0, "404 Not Found",
		 "no match"},
		/* 27 */ {"GET /localapi/v0/whois?addr=x", NULL, false, 0, "400 Bad Request", ""},
		/* 28 */ {"GET /localapi/v0/whois", NULL, false, 0, "400 Bad Request", "missing"},
		/* 29 */
		{"GET /localapi/v0/watch-ipn-bus?mask=8", NULL, false, 0, "400 Bad Request",
		 "bad mask"},
		/* 30 */
		{"GET /localapi/v0/watch-ipn-bus?mask=256", NULL, false, 0, "400 Bad Request",
		 "bad mask"},
		/* 31 */
		{"GET /localapi/v0/watch-ipn-bus?mask=-1", NULL, false, 0, "400 Bad Request",
		 "bad mask"},
		/* 32 */
		{"GET /localapi/v0/watch-ipn-bus?mask=99999999999999999999", NULL, false, 0,
		 "400 Bad Request", "bad mask"},
		/* 33 */
		{"GET /localapi/v0/usermetrics", NULL, false, 0, "200 OK", "fake_metric 1"},
		/* 34 */
		{"GET /localapi/v0/serve-config", NULL, false, 0, "200 OK", "{\"TCP\":{}}"},
		{"POST /localapi/v0/serve-config", "{}", false, 0, "403 Forbidden", "operator"},
		{"POST /localapi/v0/serve-config", "{}", true, 0, "200 OK", ""},
		{"POST /localapi/v0/serve-config", "null", true, 0, "200 OK", ""},
		{"POST /localapi/v0/serve-config", "[]", true, 0, "400 Bad Request", "JSON"},
		{"POST /localapi/v0/serve-config", "{}", true, -EINVAL, "400 Bad Request",
		 "{\"error\":\"serving refused\"}"},
		{"POST /localapi/v0/serve-config", "{}", true, -EEXIST, "409 Conflict", "refused"},
		{"POST /localapi/v0/serve-config", "{}", true, -ESTALE, "412 ", "refused"},
		{"POST /localapi/v0/serve-config", "{}", true, -EMSGSIZE, "413 ", "refused"},
		{"POST /localapi/v0/serve-config", "{}", true, -EOPNOTSUPP, "501 ", "refused"},
		{"POST /localapi/v0/serve-config", "{}", true, -EBUSY, "503 ", "refused"},
		{"POST /localapi/v0/query-feature?feature=serve", NULL, false, 0, "200 OK",
		 "{\"Complete\":true}"},
		{"POST /localapi/v0/query-feature?feature=funnel", NULL, false, 0, "501 ",
		 "not known"},
		{"POST /localapi/v0/query-feature", NULL, false, 0, "400 ", "feature"},
		/* 35 */
		{"GET /localapi/v0/netmap", NULL, true, 0, "503 Service Unavailable", "no netmap"},
		/* 36 */ {"GET /localapi/v0/netmap", NULL, false, 0, "403 Forbidden", ""},
		/* 37 */
		{"GET /localapi/v0/tka/status", NULL, true, 0, "404 Not Found",
		 "pillion has no /localapi/v0/tka/status"},
		{"PUT /localapi/v0/profiles/", NULL, true, 0, "409 Conflict",
		 "pillion keeps one login"},
		{"PUT /localapi/v0/profiles/", NULL, false, 0, "403 Forbidden", ""},
		/* 38 */ {"GET /localapi/v0/", NULL, true, 0, "404 Not Found", ""},
		{"GET /localapi/v0/derpmap", NULL, false, 0, "200 OK", "{\n \"Regions\": {}\n}"},
		{"GET /localapi/v0/derpmap", NULL, false, -EIO, "503 Service Unavailable",
		 "netmap"},
		/* 39 */ {"GET /localapi/v1/status", NULL, true, 0, "404 Not Found", ""},
		/* 40 */
		{"GET /localapi/v0/check-ip-forwarding", NULL, false, 0, "200 OK",
		 "{\"Warning\":\"\"}"},
		/* 41 */
		{"POST /localapi/v0/debug?action=control-knobs", NULL, true, 0, "200 OK",
		 "{\"SilentDisco\":true}"},
		{"POST /localapi/v0/debug", "x=1&action=rebind", true, 0, "200 OK", "done\n"},
		{"POST /localapi/v0/debug?action=odd", NULL, true, 0, "400 Bad Request",
		 "unknown action \"odd\""},
		{"POST /localapi/v0/debug", NULL, true, 0, "400 Bad Request", "unknown action"},
		{"POST /localapi/v0/debug?action=rebind", NULL, false, 0, "403 Forbidden", ""},
		/* 46 */ {"POST /localapi/v0/dial", NULL, false, 0, "400 Bad Request", "Dial-Host"},
	};
	struct fixture *f = *state;
	char request[1024], got[8192];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *body;
		int used =
			snprintf(request, sizeof(request), "%s HTTP/1.1\r\n" HOST, rows[i].request);

		f->node.writable = rows[i].writable;
		f->node.fail = rows[i].fail;
		if (rows[i].body)
			used += snprintf(request + used, sizeof(request) - (size_t)used,
					 "Content-Length: %zu\r\n", strlen(rows[i].body));
		snprintf(request + used, sizeof(request) - (size_t)used,
			 "Connection: close\r\n\r\n%s", rows[i].body ? rows[i].body : "");
		ask(f, request, got, sizeof(got));
		body = strstr(got, "\r\n\r\n");
		if (strncmp(got, "HTTP/1.1 ", 9) != 0 || !body ||
		    strncmp(got + 9, rows[i].status, strlen(rows[i].status)) != 0 ||
		    !strstr(body, rows[i].says))
			fail_msg("row %zu: %s", i + 1, got);
		if (!strstr(got, "Tailscale-Cap: 138\r\n"))
			fail_msg("row %zu: no Tailscale-Cap: %s", i + 1, got);
	}
	assert_int_equal(f->node.logins, 1);
}

/* Two commands at a time: the second learns that what it read is no longer in force. */
static void a_serve_configuration_has_an_etag(void **state)
{
	struct fixture *f = *state;
	char got[4096];

	ask(f, "GET /localapi/v0/serve-config HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", got,
	    sizeof(got));
	assert_non_null(strstr(got, "Etag: 0a1b\r\n"));
	f->node.writable = true;
	ask(f,
	    "POST /localapi/v0/serve-config HTTP/1.1\r\n" HOST "If-Match: 0a1b\r\n"
	    "Content-Length: 2\r\nConnection: close\r\n\r\n{}",
	    got, sizeof(got));
	assert_string_equal(f->node.if_match, "0a1b");
}

/* The caller gets the address and connects by itself, as the official command line does. */
static void dialling_is_left_to_the_caller(void **state)
{
	static const struct {
		const char *host, *port, *wanted;
	} rows[] = {
		{"100.64.0.7", "80", "Dial-Addr: 100.64.0.7:80\r\n"},
		{"fd7a:115c:a1e0::9", "22", "Dial-Addr: [fd7a:115c:a1e0::9]:22\r\n"},
		{"app", "443", "Dial-Addr: [fd7a:115c:a1e0::2]:443\r\n"},
		{"example.com", "443", "Dial-Addr: example.com:443\r\n"},
		{"app", "65536", " 400 "},
		{"app", "-1", " 400 "},
		{"app", "80x", " 400 "},
	};
	struct fixture *f = *state;
	char request[512], got[4096];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(request, sizeof(request),
			 "POST /localapi/v0/dial HTTP/1.1\r\n" HOST "Upgrade: ts-dial\r\n"
			 "Connection: upgrade\r\nDial-Host: %s\r\nDial-Port: %s\r\n"
			 "Content-Length: 0\r\n\r\n",
			 rows[i].host, rows[i].port);
		ask(f, request, got, sizeof(got));
		if (!strstr(got, rows[i].wanted) ||
		    !strstr(got, "Dial-Self: true\r\n") != !strstr(got, "Dial-Addr"))
			fail_msg("row %zu: %s", i + 1, got);
	}
}

static void status_says_peers_only_when_asked(void **state)
{
	static const struct {
		const char *query;
		bool peers;
	} rows[] = {
		/* 1 */ {"", true},
		/* 2 */ {"?peers=false", false},
		/* 3 */ {"?peers=0", false},
		/* 4 */ {"?peers=true", true},
		/* 5 */ {"?peers=odd", true},
		/* 6 */ {"?xpeers=false", true},
		/* 7 */ {"?a=1&peers=F", false},
	};
	struct fixture *f = *state;
	char request[256], got[4096];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(request, sizeof(request),
			 "GET /localapi/v0/status%s HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
			 rows[i].query);
		ask(f, request, got, sizeof(got));
		assert_int_equal(f->node.peers_asked, rows[i].peers);
	}
}

static void browsers_and_garbage_are_refused(void **state)
{
	static const struct {
		const char *request;
		const char *status;
	} rows[] = {
		/* 1 */ {"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"},
		/* 2 */ {"GET / HTTP/1.1\r\n" HOST "Origin: http://x\r\n\r\n", "403"},
		/* 3 */ {"GET / HTTP/1.1\r\n" HOST "Referer: http://x\r\n\r\n", "403"},
		/* 4 */ {"GET / HTTP/1.1\r\n\r\n", "400"},
		/* 5 */ {"GET / HTTP/1.1\nHost: local-tailscaled.sock\n\n", "400"},
		/* 6 */ {"\x16\x03\x01\x02\x01\x01\xfc\x03\x03\r\n\r\n", "400"},
		/* 7 */
		{"POST /localapi/v0/start HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\n\r\n",
		 "413"},
		/* 8 */
		{"POST /localapi/v0/start HTTP/1.1\r\n" HOST
		 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		 "400"},
		/* 9: all may read, and so nothing is kept for them */
		{"GET / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n", "413"},
		/* 10 */
		{"POST /localapi/v0/ping?ip=100.64.0.2&type=disco HTTP/1.1\r\n" HOST
		 "Transfer-Encoding: chunked\r\n\r\n",
		 "413"},
	};
	struct fixture *f = *state;
	char got[4096];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ask(f, rows[i].request, got, sizeof(got));
		if (strncmp(got, "HTTP/1.1 ", 9) != 0 || strncmp(got + 9, rows[i].status, 3) != 0)
			fail_msg("row %zu: %s", i + 1, got);
	}
	assert_null(f->node.last_start);
}

static void one_connection_takes_many_requests(void **state)
{
	struct fixture *f = *state;
	int fd = dial(&f->address, f->length);
	static const char request[] = "GET / HTTP/1.1\r\n" HOST "\r\n";
	char got[65536] = "";
	size_t count = 0;

	/* Pipelined, in odd pieces. */
	for (int i = 0; i < 10; i++)
		for (size_t at = 0; at < sizeof(request) - 1; at += 7) {
			size_t piece = sizeof(request) - 1 - at < 7 ? sizeof(request) - 1 - at : 7;

			assert_int_equal(send(fd, request + at, piece, 0), (ssize_t)piece);
			uv_run(&f->loop, UV_RUN_NOWAIT);
		}
	shutdown(fd, SHUT_WR);
	wait_for(f, fd, got, sizeof(got), NULL);
	for (char *p = got; (p = strstr(p, "tailscaled\n")); p++)
		count++;
	assert_int_equal(count, 10);
	close(fd);
}

static void a_body_comes_in_pieces_and_its_key_arrives(void **state)
{
	struct fixture *f = *state;
	int fd = dial(&f->address, f->length);
	char got[4096] = "";
	static const char *const pieces[] = {
		("POST /localapi/v0/start HTTP/1.1\r\n" HOST),
		"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
		"5\r\n{\"Aut\r\n",
		"c\r\nhKey\":\"key1\"\r\n",
		"1\r\n}\r\n",
		"0\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		assert_int_equal(send(fd, pieces[i], strlen(pieces[i]), 0),
				 (ssize_t)strlen(pieces[i]));
		uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	wait_for(f, fd, got, sizeof(got), NULL);
	assert_non_null(strstr(got, "204 No Content"));
	assert_string_equal(json_string_value(json_object_get(f->node.last_start, "AuthKey")),
			    "key1");
	close(fd);
}

static void the_bus_streams_until_the_reader_leaves(void **state)
{
	struct fixture *f = *state;
	int fd = dial(&f->address, f->length);
	static const char request[] =
		"GET /localapi/v0/watch-ipn-bus?mask=2 HTTP/1.1\r\n" HOST "\r\n";
	char got[4096] = "";

	assert_true(send(fd, request, strlen(request), 0) > 0);
	assert_true(wait_for(f, fd, got, sizeof(got), "{\"State\":6}\n"));
	assert_int_equal(f->node.watches, 1);
	assert_int_equal(f->node.last_mask, 2);
	fake_node_notify(&f->node, json_pack("{s:s}", "BrowseToURL", "https://x/1"));
	assert_true(wait_for(f, fd, got, sizeof(got), "{\"BrowseToURL\":\"https://x/1\"}\n"));
	close(fd);
	for (int i = 0; i < TURNS_MAX && f->node.watches > 0; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(f->node.watches, 0);
}

static void a_slow_reader_is_cut_off(void **state)
{
	struct fixture *f = *state;
	int fd = dial(&f->address, f->length);
	static const char request[] = "GET /localapi/v0/watch-ipn-bus HTTP/1.1\r\n" HOST "\r\n";
	char got[4096] = "", *large = malloc(65537);
	size_t sent = 0;

	memset(large, 'x', 65536);
	large[65536] = 0;
	assert_true(send(fd, request, strlen(request), 0) > 0);
	wait_for(f, fd, got, sizeof(got), "\r\n\r\n");
	while (f->node.watches > 0 && sent < 64 * LIMIT_LOCALAPI_QUEUE) {
		fake_node_notify(&f->node, json_pack("{s:s}", "ErrMessage", large));
		sent += 65536;
		uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(f->node.watches, 0);
	/* Held: the queue, and the buffer of a Unix socket. */
	assert_true(sent < 4 * LIMIT_LOCALAPI_QUEUE);
	free(large);
	close(fd);
}

static void an_answer_may_come_after_the_asker_left(void **state)
{
	struct fixture *f = *state;
	static const char request[] =
		"POST /localapi/v0/ping?ip=100.64.0.2&type=disco HTTP/1.1\r\n" HOST "\r\n";
	char got[4096] = "";
	int fd;

	f->node.answer_later = true;
	for (int gone = 0; gone < 2; gone++) {
		fd = dial(&f->address, f->length);
		assert_true(send(fd, request, strlen(request), 0) > 0);
		for (int i = 0; i < TURNS_MAX && !f->node.ping_done; i++)
			uv_run(&f->loop, UV_RUN_NOWAIT);
		assert_non_null(f->node.ping_done);
		if (gone)
			close(fd);
		uv_run(&f->loop, UV_RUN_NOWAIT);
		fake_node_answer(&f->node);
		if (!gone) {
			wait_for(f, fd, got, sizeof(got), "{\"IP\":");
			close(fd);
		}
		uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	/* And when the server itself is gone. */
	fd = dial(&f->address, f->length);
	assert_true(send(fd, request, strlen(request), 0) > 0);
	for (int i = 0; i < TURNS_MAX && !f->node.ping_done; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	localapi_server_free(f->server);
	f->server = NULL;
	uv_run(&f->loop, UV_RUN_NOWAIT);
	fake_node_answer(&f->node);
	close(fd);
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 40; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* is_closed() - Whether the server ended a connection of which it owes nothing */
static bool is_closed(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN;
}

/* A crash right after a command loses none of its changes. */
static void a_change_is_answered_when_it_is_stored(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *request, *answer;
	} changes[] = {
		{"PATCH /localapi/v0/prefs HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}",
		 "{\n \"Hostname\""},
		{"POST /localapi/v0/start HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}",
		 "204 No Content"},
		{"POST /localapi/v0/logout HTTP/1.1\r\n" HOST "\r\n", "204 No Content"},
	};

	f->node.store_slowly = true;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		char got[4096] = "";
		int fd = dial(&f->address, f->length);

		assert_true(send(fd, changes[i].request, strlen(changes[i].request), 0) > 0);
		for (int turns = 0; turns < TURNS_MAX && !f->node.stored_done; turns++)
			uv_run(&f->loop, UV_RUN_NOWAIT);
		assert_non_null(f->node.stored_done);
		assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
		fake_node_answer(&f->node);
		wait_for(f, fd, got, sizeof(got), changes[i].answer);
		close(fd);
	}
}

/* The code that answers may be about to free an object that the next request frees too. */
static void no_request_begins_inside_of_an_answer(void **state)
{
	struct fixture *f = *state;
	int fd = dial(&f->address, f->length);
	static const char requests[] =
		"POST /localapi/v0/ping?ip=100.64.0.2&type=disco HTTP/1.1\r\n" HOST "\r\n"
		"PATCH /localapi/v0/prefs HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}";
	char got[4096] = "";

	f->node.answer_later = true;
	assert_true(send(fd, requests, strlen(requests), 0) > 0);
	for (int i = 0; i < TURNS_MAX && !f->node.ping_done; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	fake_node_answer(&f->node);
	assert_null(f->node.last_edit);
	for (int i = 0; i < TURNS_MAX && !f->node.last_edit; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_non_null(f->node.last_edit);
	wait_for(f, fd, got, sizeof(got), "{\"IP\":");
	close(fd);
}

/* A user who may not write has a share; the longest idle connection makes way for the next. */
static void an_idle_connection_makes_way(void **state)
{
	struct fixture *f = *state;
	int fds[LIMIT_LOCALAPI_USER + 1];
	char got[4096] = "";

	f->node.writable = false;
	for (unsigned int i = 0; i <= LIMIT_LOCALAPI_USER; i++) {
		fds[i] = dial(&f->address, f->length);
		turn(f);
	}
	assert_true(is_closed(fds[0]));
	for (unsigned int i = 1; i <= LIMIT_LOCALAPI_USER; i++)
		assert_false(is_closed(fds[i]));
	ask(f, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", got, sizeof(got));
	assert_non_null(strstr(got, "200 OK"));
	for (unsigned int i = 0; i <= LIMIT_LOCALAPI_USER; i++)
		close(fds[i]);
}

static void a_probe_is_answered_while_others_are_idle(void **state)
{
	struct fixture *f = *state;
	int fds[3 * LIMIT_LOCALAPI_CONNECTIONS], fd;
	static const char half[] = "GET /healthz HTTP/1.1\r\nHost: loc";
	static const char probe[] =
		"GET /healthz HTTP/1.1\r\nHost: localhost:9002\r\nConnection: close\r\n\r\n";
	char got[4096] = "";

	f->node.healthy = true;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		fds[i] = dial(&f->health_address, f->health_length);
		assert_true(send(fds[i], half, strlen(half), MSG_NOSIGNAL) > 0);
		turn(f);
	}
	fd = dial(&f->health_address, f->health_length);
	assert_true(send(fd, probe, strlen(probe), 0) > 0);
	assert_true(wait_for(f, fd, got, sizeof(got), "\r\n\r\nok"));
	close(fd);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		close(fds[i]);
}

/* All bodies together, and not so much for each. */
static void bodies_share_one_limit(void **state)
{
	struct fixture *f = *state;
	int fds[8];
	char head[256], *half = malloc(LIMIT_LOCALAPI_BODY / 2);
	unsigned int refused = 0;

	memset(half, ' ', LIMIT_LOCALAPI_BODY / 2);
	snprintf(head, sizeof(head),
		 "POST /localapi/v0/start HTTP/1.1\r\n" HOST "Content-Length: %u\r\n\r\n",
		 LIMIT_LOCALAPI_BODY);
	for (size_t i = 0; i < 8; i++) {
		char got[4096] = "";
		size_t sent = 0;

		fds[i] = dial(&f->address, f->length);
		assert_true(send(fds[i], head, strlen(head), 0) > 0);
		for (int turns = 0; turns < TURNS_MAX && sent < LIMIT_LOCALAPI_BODY / 2; turns++) {
			ssize_t n = send(fds[i], half + sent, LIMIT_LOCALAPI_BODY / 2 - sent,
					 MSG_DONTWAIT | MSG_NOSIGNAL);

			if (n < 0 && errno != EAGAIN)
				break;
			sent += n > 0 ? (size_t)n : 0;
			uv_run(&f->loop, UV_RUN_NOWAIT);
		}
		for (int turns = 0; turns < 10; turns++)
			turn(f);
		/* Refused: an answer, or the end that follows it, since the rest is not read. */
		if (recv(fds[i], got, sizeof(got) - 1, MSG_DONTWAIT) > 0)
			assert_non_null(strstr(got, " 413 "));
		refused += got[0] || is_closed(fds[i]);
	}
	assert_int_equal(refused, 6);
	for (size_t i = 0; i < 8; i++)
		close(fds[i]);
	free(half);
}

/* Readers that take nothing of large answers: the slowest is cut, the newest is served. */
static void unread_answers_share_one_limit(void **state)
{
	struct fixture *f = *state;
	static const char request[] = "GET /localapi/v0/status HTTP/1.1\r\n" HOST "\r\n";
	char *large = malloc(3 * 1024 * 1024 + 1);
	int fds[6];
	unsigned int cut = 0;

	memset(large, 'x', 3 * 1024 * 1024);
	large[3 * 1024 * 1024] = 0;
	f->node.status = json_pack("{s:s}", "Version", large);
	for (size_t i = 0; i < 6; i++) {
		fds[i] = dial(&f->address, f->length);
		assert_true(send(fds[i], request, strlen(request), 0) > 0);
		turn(f);
	}
	for (size_t i = 0; i < 6; i++) {
		size_t got = 0;
		ssize_t n = 1;

		for (int turns = 0; turns < TURNS_MAX && got < 3 * 1024 * 1024 && n != 0; turns++) {
			n = recv(fds[i], large, 65536, MSG_DONTWAIT);
			got += n > 0 ? (size_t)n : 0;
			uv_run(&f->loop, UV_RUN_NOWAIT);
		}
		cut += got < 3 * 1024 * 1024;
		/* Two may wait, and the newest besides. */
		assert_int_equal(got < 3 * 1024 * 1024, i < 3);
		close(fds[i]);
	}
	assert_int_equal(cut, 3);
	json_decref(f->node.status);
	f->node.status = NULL;
	free(large);
}

static void probes_see_health(void **state)
{
	static const struct {
		const char *request;
		bool healthy;
		const char *status, *body;
	} rows[] = {
		/* 1 */ {"GET /healthz", true, "200", "\r\n\r\nok"},
		/* 2 */ {"HEAD /healthz", true, "200", "Content-Length: 2\r\n"},
		/* 3 */ {"GET /healthz", false, "503", "no tailnet address yet"},
		/* 4 */ {"GET /healthz?x=1", true, "200", "ok"},
		/* 5: it was not switched on */ {"GET /metrics", true, "404", ""},
		/* 6 */ {"POST /healthz", true, "405", ""},
		/* 7 */ {"GET /localapi/v0/status", true, "404", ""},
	};
	static const char *const hosts[] = {"localhost:9002", "LocalHost", "Demo-App:9002",
					    "probe.example"};
	struct fixture *f = *state;
	char request[256], got[4096];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int fd = dial(&f->health_address, f->health_length);

		f->node.healthy = rows[i].healthy;
		got[0] = 0;
		snprintf(request, sizeof(request),
			 "%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", rows[i].request,
			 hosts[i % 4]);
		assert_true(send(fd, request, strlen(request), 0) > 0);
		wait_for(f, fd, got, sizeof(got), NULL);
		if (strncmp(got + 9, rows[i].status, 3) != 0 || !strstr(got, rows[i].body))
			fail_msg("row %zu: %s", i + 1, got);
		close(fd);
	}
}

/* A browser that was led here under a stranger's name, and a body that no probe has. */
static void foreign_hosts_and_bodies_are_no_probe(void **state)
{
	static const struct {
		const char *headers, *status;
	} rows[] = {
		/* 1 */ {"Host: 127.0.0.1:9002\r\n", "200"},
		/* 2 */ {"Host: 127.0.0.1\r\n", "200"},
		/* 3 */ {"Host: evil.example:9002\r\n", "403"},
		/* 4 */ {"Host: 192.0.2.1:9002\r\n", "403"},
		/* 5 */ {"Host: localhost.evil.example\r\n", "403"},
		/* 6 */ {"Host: demo-app.evil.example\r\n", "403"},
		/* 7 */ {"Host: [2001:db8::1]:9002\r\n", "403"},
		/* 8 */ {"Host: []\r\n", "403"},
		/* 9 */ {"Host: localhost\r\nContent-Length: 5\r\n", "413"},
		/* 10 */ {"Host: localhost\r\nTransfer-Encoding: chunked\r\n", "413"},
		/* 11 */ {"Host: demo\r\n", "403"},
		/* 12: by a port of the container's host */ {"Host: 127.0.0.2:9002\r\n", "200"},
		/* 13 */ {"Host: [::1]:9002\r\n", "200"},
		/* 14 */ {"Host: 127.0.0.1.evil.example\r\n", "403"},
	};
	struct fixture *f = *state;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	struct localapi_server *server;
	struct error err = {0};
	char request[256], got[4096];

	f->node.healthy = true;
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
	assert_int_equal(health_server_new(&f->loop, fd, HEALTH_SERVE_HEALTHZ, "demo-app,",
					   &f->node, &server, &err),
			 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int client = socket(AF_INET, SOCK_STREAM, 0);

		assert_int_equal(connect(client, (struct sockaddr *)&at, length), 0);
		got[0] = 0;
		snprintf(request, sizeof(request),
			 "GET /healthz HTTP/1.1\r\n%sConnection: close\r\n\r\n", rows[i].headers);
		assert_true(send(client, request, strlen(request), 0) > 0);
		wait_for(f, client, got, sizeof(got), NULL);
		if (strncmp(got + 9, rows[i].status, 3) != 0)
			fail_msg("row %zu: %s", i + 1, got);
		close(client);
	}
	localapi_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(paths_answer_as_the_official_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(a_serve_configuration_has_an_etag, setup, teardown),
		cmocka_unit_test_setup_teardown(dialling_is_left_to_the_caller, setup, teardown),
		cmocka_unit_test_setup_teardown(status_says_peers_only_when_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(browsers_and_garbage_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(one_connection_takes_many_requests, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_body_comes_in_pieces_and_its_key_arrives, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_bus_streams_until_the_reader_leaves, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_slow_reader_is_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_may_come_after_the_asker_left, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_change_is_answered_when_it_is_stored, setup,
						teardown),
		cmocka_unit_test_setup_teardown(no_request_begins_inside_of_an_answer, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_idle_connection_makes_way, setup, teardown),
		cmocka_unit_test_setup_teardown(a_probe_is_answered_while_others_are_idle, setup,
						teardown),
		cmocka_unit_test_setup_teardown(bodies_share_one_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(unread_answers_share_one_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(foreign_hosts_and_bodies_are_no_probe, setup,
						teardown),
		cmocka_unit_test_setup_teardown(probes_see_health, setup, teardown),
	};

	signal(SIGPIPE, SIG_IGN); /* as every program on libuv must */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
