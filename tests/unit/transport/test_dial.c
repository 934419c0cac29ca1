/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_dial.c - dialing: races, failures, the proxy; and requests over it */
#include "base/cleanup.h"
#include "transport/bootstrap_dns.h"
#include "unit/transport/peer.h"

/* What a dial or a request ended with. */
struct outcome {
	unsigned int calls;
	struct error err;
	struct endpoint to;
	int status;
	char body[256];
	bool got_stream;
	nanoseconds at;
};

static uv_loop_t loop;
static struct dialer dialer;
static struct names *names;

static int set_up(void **state)
{
	/* A name server that refuses: what isn't in hosts can't be resolved. */
	static const char resolv[] = "nameserver [127.0.0.1]:1\noptions timeout:1 attempts:1";
	static const char hosts[] =
		"127.0.0.1 one.example\n127.0.0.2 race.example\n127.0.0.3 race.example\n"
		"127.0.0.1 both.example\n::1 both.example\n";

	(void)state;
	uv_loop_init(&loop);
	assert_int_equal(names_create(&loop, socket_source_direct(), &names, NULL), 0);
	assert_int_equal(names_configure(names, resolv, strlen(resolv), hosts, strlen(hosts), NULL),
			 0);
	dialer = (struct dialer){.loop = &loop, .sockets = socket_source_direct(), .names = names};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	names_free(names);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return 0;
}

static void dialed(void *user, struct stream *stream, const struct endpoint *to,
		   const struct error *err)
{
	struct outcome *o = user;

	o->calls++;
	o->at = clock_boottime();
	if (to)
		o->to = *to;
	if (err)
		o->err = *err;
	o->got_stream = stream != NULL;
	assert_int_equal(stream == NULL, err != NULL);
	stream_close(stream);
}

static void run_dial(const struct dial_options *options, struct outcome *o)
{
	struct error err = {0};
	struct dial *d;

	memset(o, 0, sizeof(*o));
	assert_int_equal(dial_start(&dialer, options, dialed, o, &d, &err), 0);
	assert_int_equal(o->calls, 0);
	while (!o->calls)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(o->calls, 1);
}

/* dead_listener() - Let @address:@port stop answering: its queue is full */
static uint16_t dead_listener(const char *address, uint16_t port, int fds[static 4])
{
	struct sockaddr_in in = {.sin_family = AF_INET};

	port = peer_listen(address, port, 0, &fds[0]);
	in.sin_port = htons(port);
	inet_pton(AF_INET, address, &in.sin_addr);
	for (int i = 1; i < 4; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fds[i], (struct sockaddr *)&in, sizeof(in));
	}
	return port;
}

static void close_all(int fds[static 4])
{
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

static void a_dead_address_costs_a_quarter_second(void **state)
{
	struct dial_options options = {.host = "race.example"};
	nanoseconds before;
	char text[ENDPOINT_TEXT_MAX];
	struct outcome o;
	int dead[4], good;

	(void)state;
	options.port = peer_listen("127.0.0.3", 0, 8, &good);
	dead_listener("127.0.0.2", options.port, dead);
	before = clock_boottime();
	run_dial(&options, &o);
	assert_true(o.got_stream);
	assert_memory_equal(endpoint_format(&o.to, text), "127.0.0.3:", 10);
	assert_true(o.at - before >= 250 * NSEC_PER_MSEC);
	assert_true(o.at - before < 2 * NSEC_PER_SEC);
	close_all(dead);
	close(good);
}

static void a_refused_address_costs_nothing(void **state)
{
	struct dial_options options = {.host = "race.example"};
	nanoseconds before = clock_boottime();
	struct outcome o;
	int good;

	(void)state;
	options.port = peer_listen("127.0.0.3", 0, 8, &good);
	run_dial(&options, &o);
	assert_true(o.got_stream);
	assert_true(o.at - before < 250 * NSEC_PER_MSEC);
	close(good);
}

static void failures_by_table(void **state)
{
	struct address loopback = {.family = ADDRESS_V4, .bytes = {127, 0, 0, 9}};
	struct tls_options tls = {0};
	const struct {
		struct dial_options options;
		int started, code;
		const char *text;
	} rows[] = {
		/* 1 */ {{.host = "127.0.0.1", .port = 1},
			 0,
			 -ECONNREFUSED,
			 "dial 127.0.0.1:1: connect 127.0.0.1:1: Connection refused"},
		/* 2 */
		{{.host = "one.example", .port = 1},
		 0,
		 -ECONNREFUSED,
		 "dial one.example:1: connect 127.0.0.1:1"},
		/* 3 */
		{{.host = "none.example", .port = 1},
		 0,
		 DIAL_UNRESOLVED,
		 "resolve none.example: can't reach the name server"},
		/* 4 */
		{{.host = "none.example", .port = 1, .fallback = &loopback, .fallback_count = 1},
		 0,
		 DIAL_UNRESOLVED,
		 "resolv.conf); where it was before: connect 127.0.0.9:1"},
		/* 5 */
		{{.host = "none.example", .port = 1, .addresses = &loopback, .address_count = 1},
		 0,
		 -ECONNREFUSED,
		 "connect 127.0.0.9:1"},
		/* 6 */
		{{.host = "127.0.0.1", .port = 1, .only = ADDRESS_V6},
		 0,
		 -EADDRNOTAVAIL,
		 "no usable address"},
		/* 6b: both families say why */
		{{.host = "both.example", .port = 1},
		 0,
		 -ECONNREFUSED,
		 "connect 127.0.0.1:1: Connection refused; connect [::1]:1: "},
		/* 7 */ {{.host = "a b", .port = 1}, -EINVAL, 0, NULL},
		/* 8 */ {{.host = NULL, .port = 1}, -EINVAL, 0, NULL},
		/* 9: no CA */ {{.host = "one.example", .port = 1, .tls = &tls}, -EINVAL, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct error err = {0};
		struct outcome o;
		struct dial *d;

		if (rows[i].started < 0) {
			assert_int_equal(
				dial_start(&dialer, &rows[i].options, dialed, NULL, &d, &err),
				rows[i].started);
			assert_int_equal(err.code, rows[i].started);
			continue;
		}
		run_dial(&rows[i].options, &o);
		if (o.err.code != rows[i].code || !strstr(o.err.text, rows[i].text))
			fail_msg("row %zu: %d '%s'", i + 1, o.err.code, o.err.text);
	}
}

/* What a guess says instead of TLS. */
static void serve_no_tls(int fd, void *user)
{
	char bytes[1024];

	if (user)
		write_full(fd, user, strlen(user));
	while (!user && read(fd, bytes, sizeof(bytes)) > 0)
		;
}

/* The first guess is another server by now, or a silent one: the next is tried. */
static void guesses_have_their_turn(void **state)
{
	struct address guesses[] = {
		{.family = ADDRESS_V4, .bytes = {127, 0, 0, 2}},
		{.family = ADDRESS_V4, .bytes = {127, 0, 0, 3}},
		{.family = ADDRESS_V4, .bytes = {127, 0, 0, 4}},
	};
	struct tls_options tls = {0};
	struct dial_options options = {
		.host = "none.example", .tls = &tls, .fallback = guesses, .fallback_count = 3};
	char *answers[] = {"SSH-2.0-x\r\n", NULL};

	(void)state;
	assert_int_equal(tls_context_create(&dialer.tls, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct peer first, second;
		nanoseconds began = clock_boottime();
		struct outcome o;

		peer_start_at(&first, "127.0.0.2", 0, serve_no_tls, answers[i]);
		peer_start_at(&second, "127.0.0.3", first.port, serve_no_tls, answers[0]);
		options.port = first.port;
		run_dial(&options, &o);
		assert_int_equal(o.err.code, DIAL_UNRESOLVED);
		assert_non_null(strstr(o.err.text, "resolve none.example"));
		assert_int_equal(first.connections, 1);
		assert_int_equal(second.connections, 1);
		/* The third is refused at once; only silence costs time, and not all of it. */
		assert_true(o.at - began < DIAL_TIMEOUT);
		uv_run(&loop, UV_RUN_DEFAULT);
		peer_stop(&first);
		peer_stop(&second);
	}
	tls_context_release(TAKE_PTR(dialer.tls));
}

static void time_runs_out(void **state)
{
	struct dial_options options = {.host = "127.0.0.2", .timeout = 300 * NSEC_PER_MSEC};
	struct outcome o;
	int dead[4];

	(void)state;
	options.port = dead_listener("127.0.0.2", 0, dead);
	run_dial(&options, &o);
	assert_int_equal(o.err.code, -ETIMEDOUT);
	assert_non_null(strstr(o.err.text, "timed out while connecting"));
	close_all(dead);
}

static void a_cancelled_dial_is_silent(void **state)
{
	struct dial_options options = {.host = "race.example", .port = 1};
	struct outcome o = {0};
	struct dial *d;

	(void)state;
	for (int rounds = 0; rounds < 4; rounds++) {
		assert_int_equal(dial_start(&dialer, &options, dialed, &o, &d, NULL), 0);
		for (int i = 0; i < rounds / 2; i++)
			uv_run(&loop, UV_RUN_NOWAIT);
		if (o.calls)
			break;
		dial_cancel(d);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	options.host = "none.example";
	assert_int_equal(dial_start(&dialer, &options, dialed, &o, &d, NULL), 0);
	uv_run(&loop, UV_RUN_NOWAIT);
	dial_cancel(d);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(o.calls <= 1);
}

/* The proxy */

static void proxies_by_table(void **state)
{
	static const struct {
		const char *no_proxy, *host;
		uint16_t port;
		bool used;
	} rows[] = {
		/* 1 */ {NULL, "a.example", 443, true},
		/* 2 */ {"a.example", "a.example", 443, false},
		/* 3 */ {"a.example", "x.a.example", 443, false},
		/* 4 */ {"a.example", "xa.example", 443, true},
		/* 5 */ {".a.example", "a.example", 443, true},
		/* 6 */ {".a.example, b", "x.A.example", 443, false},
		/* 7 */ {"*.a.example", "x.a.example", 443, false},
		/* 8 */ {"*", "anything", 443, false},
		/* 9 */ {"10.0.0.0/8", "10.2.3.4", 443, false},
		/* 10 */ {"10.0.0.0/8", "11.2.3.4", 443, true},
		/* 11 */ {"a.example:8443", "a.example", 443, true},
		/* 12 */ {"a.example:443", "a.example", 443, false},
		/* 13 */ {"1.2.3.4:443", "1.2.3.4", 443, false},
		/* 14 */ {"", "localhost", 443, false},
		/* 15 */ {"", "127.8.8.8", 443, false},
		/* 16 */ {"", "::1", 443, false},
		/* 17 */ {"fd00::/8", "fd12::1", 443, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct proxy *p;

		assert_int_equal(proxy_create("http://proxy:3128", rows[i].no_proxy, &p, NULL), 0);
		if ((proxy_for(p, rows[i].host, rows[i].port) != NULL) != rows[i].used)
			fail_msg("row %zu", i + 1);
		proxy_free(p);
	}
}

static void proxy_values_are_checked(void **state)
{
	struct buffer out = BUFFER_INIT(4096);
	struct error err = {0};
	struct proxy *p;

	(void)state;
	assert_int_equal(proxy_create("", NULL, &p, NULL), 0);
	assert_null(p);
	assert_int_equal(proxy_create("http://user:secret@pro xy", NULL, &p, &err), -EINVAL);
	assert_non_null(strstr(err.text, "HTTPS_PROXY"));
	assert_null(strstr(err.text, "secret"));
	assert_int_equal(proxy_create("socks5://proxy", NULL, &p, &err), -EINVAL);
	assert_int_equal(proxy_create("user:pa%20ss@proxy:3128", NULL, &p, &err), 0);
	assert_int_equal(proxy_write_connect(proxy_for(p, "h", 1), "a.example\r\nX: y", 443, &out),
			 -EINVAL);
	assert_int_equal(out.length, 0);
	assert_int_equal(proxy_write_connect(proxy_for(p, "h", 1), "fd00::1", 443, &out), 0);
	buffer_append(&out, "", 1);
	assert_string_equal((char *)buffer_head(&out),
			    "CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\n"
			    "Proxy-Authorization: Basic dXNlcjpwYSBzcw==\r\n\r\n");
	buffer_free(&out);
	proxy_free(p);
}

/* serve_proxy() - Refuse CONNECT as the user text says, or open and speak no TLS */
static void serve_proxy(int fd, void *user)
{
	char head[1024];

	if (!read_head(fd, head, sizeof(head)) ||
	    strncmp(head, "CONNECT far.example:443 HTTP/1.1\r\n", 34) != 0)
		return;
	write_full(fd, user, strlen(user));
	while (read(fd, head, sizeof(head)) > 0)
		;
}

static void the_proxy_answers(void **state)
{
	static const struct {
		char *answer;
		int code;
		const char *text;
	} rows[] = {
		/* 1 */ {"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", DIAL_PROXY_FAILED,
			 "it refuses the user and password"},
		/* 2 */
		{"HTTP/1.1 403 Forbidden\r\n\r\n", DIAL_PROXY_FAILED,
		 "refused to connect: 403 Forbidden"},
		/* 3 */ {"SSH-2.0-x\r\n", DIAL_PROXY_FAILED, "does not answer as a proxy"},
		/* 4: bytes before TLS began */
		{"HTTP/1.1 200 OK\r\n\r\nsurprise", DIAL_PROXY_FAILED, "refused to connect: 200"},
		/* 5 */ {"", DIAL_PROXY_FAILED, "timed out while it connects"},
		/* 6: the tunnel stands; TLS through it doesn't come */
		{"HTTP/1.1 200 OK\r\n\r\n", -ETIMEDOUT, "timed out while the TLS handshake"},
		/* 7: an old one; 8: another success */
		{"HTTP/1.0 200 Connection established\r\n\r\n", -ETIMEDOUT, "the TLS handshake"},
		{"HTTP/1.1 202 Accepted\r\n\r\n", -ETIMEDOUT, "the TLS handshake"},
		/* 9 */ {NULL, DIAL_PROXY_FAILED, "HTTPS_PROXY one.example:1: connect"},
	};
	struct tls_options tls = {0};
	struct dial_options options = {
		.host = "far.example", .port = 443, .tls = &tls, .timeout = 400 * NSEC_PER_MSEC};

	(void)state;
	assert_int_equal(tls_context_create(&dialer.tls, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct proxy *proxy;
		struct outcome o;
		struct peer p;
		char url[64];

		p.port = 1;
		if (rows[i].answer)
			peer_start(&p, serve_proxy, rows[i].answer);
		snprintf(url, sizeof(url), "http://one.example:%u", p.port);
		assert_int_equal(proxy_create(url, NULL, &proxy, NULL), 0);
		dialer.proxy = proxy;
		run_dial(&options, &o);
		if (o.err.code != rows[i].code || !strstr(o.err.text, rows[i].text))
			fail_msg("row %zu: %d '%s'", i + 1, o.err.code, o.err.text);
		uv_run(&loop, UV_RUN_DEFAULT); /* its sockets close, so the peer returns */
		if (rows[i].answer)
			peer_stop(&p);
		assert_non_null(strstr(o.err.text, rows[i].code == DIAL_PROXY_FAILED
							   ? "HTTPS_PROXY one.example:"
							   : "dial far.example:443: "));
		proxy_free(proxy);
	}
	dialer.proxy = NULL;
	tls_context_release(TAKE_PTR(dialer.tls));
}

/* Redirects */

static void redirects_by_table(void **state)
{
	static const struct {
		const char *from, *answer, *to; /* NULL: refused; "": none */
	} rows[] = {
		/* 1 */ {"http://a.example/key", "301 x\r\nLocation: https://a.example/key?v=1",
			 "https a.example 443 /key?v=1"},
		/* 2 */
		{"http://a.example", "308 x\r\nLocation: https://A.example:8443/",
		 "https a.example 8443 /"},
		/* 3 */
		{"https://a.example:8443", "302 x\r\nLocation: /other",
		 "https a.example 8443 /other"},
		/* 4 */
		{"https://a.example", "307 x\r\nLocation: //a.example/x", "https a.example 443 /x"},
		/* 5: elsewhere */
		{"http://a.example", "301 x\r\nLocation: https://b.example/", NULL},
		/* 6: down */ {"https://a.example", "301 x\r\nLocation: http://a.example/", NULL},
		/* 7 */ {"https://a.example", "301 x\r\nLocation: ftp://a.example/", NULL},
		/* 8 */ {"https://a.example", "301 x\r\nX: y", NULL},
		/* 9 */ {"https://a.example", "200 OK\r\nLocation: /x", ""},
		/* 10 */ {"https://a.example", "304 x\r\nLocation: /x", ""},
		/* 11: no host of another's */
		{"https://a.example", "301 x\r\nLocation: //b.example/x", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[512], got[512] = "";
		struct http1_parser p;
		struct error err = {0};
		struct url from, to;
		size_t used;
		int r;

		snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n",
			 rows[i].answer);
		http1_parser_init(&p, true);
		assert_int_equal(http1_parse(&p, (uint8_t *)text, strlen(text), &used), HTTP1_HEAD);
		assert_int_equal(url_parse(rows[i].from, &from, NULL), 0);
		r = http_redirect(&from, &p.head, &to, &err);
		if (r == 1)
			snprintf(got, sizeof(got), "%s %s %u %s", to.tls ? "https" : "http",
				 to.host, to.port, to.path);
		if (rows[i].to ? r < 0 || strcmp(got, rows[i].to) != 0 : r != -EPROTO)
			fail_msg("row %zu: %d '%s' %s", i + 1, r, got, err.text);
		http1_parser_free(&p);
	}
}

/* Requests */

static void serve_text(int fd, void *user)
{
	char head[1024];

	if (read_head(fd, head, sizeof(head)))
		write_full(fd, user, strlen(user));
}

static void requested(void *user, const struct http_response *response, const struct error *err)
{
	struct outcome *o = user;

	o->calls++;
	assert_int_equal(response == NULL, err != NULL);
	if (err)
		o->err = *err;
	if (response) {
		o->status = response->head->status;
		memcpy(o->body, response->body ? response->body : (const uint8_t *)"",
		       response->body_length);
	}
}

static void requests_by_table(void **state)
{
	static const struct {
		char *answer;
		const char *method;
		int status, code;
		const char *body; /* or what the error holds */
	} rows[] = {
		/* 1 */ {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "GET", 200, 0, "hi"},
		/* 2 */
		{"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: "
		 "chunked\r\n\r\n4\r\ngone\r\n0\r\n\r\n",
		 "GET", 404, 0, "gone"},
		/* 3 */ {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "GET", 200, 0, "until the end"},
		/* 4 */ {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "HEAD", 200, 0, ""},
		/* 5 */
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 "
		 "200 OK\r\nContent-Length: 1\r\n\r\ny",
		 "POST", 200, 0, "y"},
		/* 6 */
		{"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n"
		 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeaaaaaaaaaabbbbbbbbbbccccccccccd"
		 "dddddddddeeeeeeeeeex",
		 "GET", 0, -EMSGSIZE, "more than 100 bytes"},
		/* 7 */
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "GET", 0, -EPIPE,
		 "in the middle"},
		/* 8 */ {"", "GET", 0, -EPIPE, "without an answer (does it speak https?)"},
		/* 9 */
		{"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nhi", "GET", 0, -EBADMSG, "line feed"},
		/* 10 */
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		 "GET", 0, -EPROTO, "101 to another protocol"},
		/* 11: how an alert begins, which TLS says to a plain request */
		{"\x15\x03\x03", "GET", 0, -EPIPE, "(does it speak https?)"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_request q = {.to = {.host = "one.example"},
					 .method = rows[i].method,
					 .target = "/x",
					 .body_limit = 100};
		struct http_exchange *x;
		struct outcome o = {0};
		struct peer p;

		peer_start(&p, serve_text, rows[i].answer);
		q.to.port = p.port;
		assert_int_equal(http_start(&dialer, &q, requested, &o, &x, NULL), 0);
		uv_run(&loop, UV_RUN_DEFAULT);
		peer_stop(&p);
		assert_int_equal(o.calls, 1);
		if (o.status != rows[i].status || o.err.code != rows[i].code ||
		    (o.status ? strcmp(o.body, rows[i].body) != 0
			      : !strstr(o.err.text, rows[i].body)))
			fail_msg("row %zu: %d '%s' %d '%s'", i + 1, o.status, o.body, o.err.code,
				 o.err.text);
	}
}

static void serve_silence(int fd, void *user)
{
	char head[1024];

	(void)user;
	while (read(fd, head, sizeof(head)) > 0)
		;
}

static void requests_time_out_and_are_cancelled(void **state)
{
	struct http_request q = {.to = {.host = "one.example", .timeout = 200 * NSEC_PER_MSEC},
				 .target = "/",
				 .body_limit = 1};
	struct outcome o = {0};
	struct http_exchange *x;
	struct peer p;

	(void)state;
	peer_start(&p, serve_silence, NULL);
	q.to.port = p.port;
	assert_int_equal(http_start(&dialer, &q, requested, &o, &x, NULL), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(o.err.code, -ETIMEDOUT);
	o.calls = 0;
	assert_int_equal(http_start(&dialer, &q, requested, &o, &x, NULL), 0);
	uv_run(&loop, UV_RUN_NOWAIT);
	http_cancel(x);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(o.calls, 0);
	q.target = "/a b";
	assert_int_equal(http_start(&dialer, &q, requested, &o, &x, NULL), -EINVAL);
	peer_stop(&p);
}

/* Upgrades: the first bytes of the other protocol come in the segment of the 101. */

struct upgrade {
	struct outcome outcome;
	struct stream *stream;
	char first[64];
	bool closed;
};

static void upgrade_data(void *user, const uint8_t *bytes, size_t length)
{
	strncat(((struct upgrade *)user)->first, (const char *)bytes, length);
}

static void upgrade_closed(void *user, const struct error *err)
{
	struct upgrade *u = user;

	(void)err;
	u->closed = true;
	stream_close(TAKE_PTR(u->stream));
}

static const struct stream_events upgrade_events = {.data = upgrade_data, .closed = upgrade_closed};

static void upgraded(void *user, const struct http_response *response, const struct error *err)
{
	struct upgrade *u = user;

	u->outcome.calls++;
	if (err)
		u->outcome.err = *err;
	if (response)
		u->outcome.status = response->head->status;
	if (!response || !response->stream)
		return;
	memcpy(u->first, response->body, response->body_length);
	u->stream = response->stream;
	stream_set_events(u->stream, &upgrade_events, u);
}

static void upgrades_by_table(void **state)
{
	static const struct {
		char *answer;
		int status, code;
		const char *text;
	} rows[] = {
		/* 1 */ {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: "
			 "Upgrade\r\n\r\nframes",
			 101, 0, "frames"},
		/* 2 */
		{"HTTP/1.1 101 Switching Protocols\r\nupgrade: derp\r\nconnection: x, "
		 "upgrade\r\n\r\n",
		 101, 0, ""},
		/* 3 */
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
		 "Upgrade\r\n\r\n",
		 0, -EPROTO, "another protocol"},
		/* 4 */
		{"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 8\r\n\r\nDERP\x01\nno", 426,
		 -EPROTO, "426 Upgrade Required: DERP\\x01"},
		/* 5 */
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, -EPROTO,
		 "refused the upgrade to DERP: 200 OK"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_request q = {
			.to = {.host = "one.example"}, .target = "/derp", .upgrade = "DERP"};
		struct http_exchange *x;
		struct upgrade u = {0};
		struct peer p;

		peer_start(&p, serve_text, rows[i].answer);
		q.to.port = p.port;
		assert_int_equal(http_start(&dialer, &q, upgraded, &u, &x, NULL), 0);
		uv_run(&loop, UV_RUN_DEFAULT);
		peer_stop(&p);
		assert_int_equal(u.outcome.calls, 1);
		if (u.outcome.status != rows[i].status || u.outcome.err.code != rows[i].code ||
		    (rows[i].code ? !strstr(u.outcome.err.text, rows[i].text)
				  : strcmp(u.first, rows[i].text) != 0))
			fail_msg("row %zu: %d '%s' %d '%s'", i + 1, u.outcome.status, u.first,
				 u.outcome.err.code, u.outcome.err.text);
		assert_int_equal(u.closed, rows[i].code == 0);
	}
}

static void resolved(void *user, const struct address *addresses, size_t count,
		     const struct error *err)
{
	struct outcome *o = user;

	o->calls++;
	o->status = (int)count;
	if (count)
		o->to.address = addresses[0];
	if (err)
		o->err = *err;
}

static void relays_know_addresses(void **state)
{
	static const struct {
		char *answer;
		int count, code;
		const char *text;
	} rows[] = {
		/* 1 */ {"HTTP/1.1 200 OK\r\nContent-Length: "
			 "26\r\n\r\n{\"c.example\":[\"10.9.8.7\"]}",
			 1, 0, ""},
		/* 2 */
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 0, -ENOENT,
		 "it knows no address of c.example"},
		/* 3 */
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0, -EPROTO,
		 "bootstrap DNS: it answered with status 404"},
		/* 4 */ {"", 0, -EPIPE, "bootstrap DNS: 127.0.0.1 closed"},
	};
	struct bootstrap_dns *b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct dial_options relay = {.host = "127.0.0.1"};
		struct outcome o = {0};
		struct peer p;

		peer_start(&p, serve_text, rows[i].answer);
		relay.port = p.port;
		assert_int_equal(
			bootstrap_dns_start(&dialer, &relay, "c.example", resolved, &o, &b, NULL),
			0);
		uv_run(&loop, UV_RUN_DEFAULT);
		if (o.calls != 1 || o.status != rows[i].count || o.err.code != rows[i].code ||
		    !strstr(o.err.text, rows[i].text))
			fail_msg("row %zu: %d %d '%s'", i + 1, o.status, o.err.code, o.err.text);
		o.calls = 0;
		assert_int_equal(
			bootstrap_dns_start(&dialer, &relay, "c.example", resolved, &o, &b, NULL),
			0);
		bootstrap_dns_cancel(b);
		uv_run(&loop, UV_RUN_DEFAULT);
		assert_int_equal(o.calls, 0);
		assert_int_equal(
			bootstrap_dns_start(&dialer, &relay, "c d", resolved, &o, &b, NULL),
			-EINVAL);
		peer_stop(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dead_address_costs_a_quarter_second),
		cmocka_unit_test(a_refused_address_costs_nothing),
		cmocka_unit_test(failures_by_table),
		cmocka_unit_test(time_runs_out),
		cmocka_unit_test(guesses_have_their_turn),
		cmocka_unit_test(a_cancelled_dial_is_silent),
		cmocka_unit_test(proxies_by_table),
		cmocka_unit_test(proxy_values_are_checked),
		cmocka_unit_test(the_proxy_answers),
		cmocka_unit_test(redirects_by_table),
		cmocka_unit_test(requests_by_table),
		cmocka_unit_test(requests_time_out_and_are_cancelled),
		cmocka_unit_test(upgrades_by_table),
		cmocka_unit_test(relays_know_addresses),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
