/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/transport/test_ts2021_stream.c - ts2021_connect() against a server in a thread
 *
 *	loop: ts2021_connect -> stream   <- loopback ->   thread: 101, Noise, early payload, echo
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/ts2021_stream.h"
#include "unit/transport/peer.h"

#include <openssl/evp.h>

enum server_kind {
	ECHOES,     /* the 101, the answer, the early payload and a record in one segment */
	SLOWLY,     /* the same, a byte at a time */
	REFUSES,    /* a Noise error message */
	WRONG_KEY,  /* the answer of another server */
	NOT_TS2021, /* 404 */
	FORGES,     /* a record that isn't authentic */
	ENDS,       /* closes after the handshake */
	SILENT,
};

struct server {
	enum server_kind kind;
	struct secret_key key;
	struct public_key public, machine;
	uint16_t version;
};

static const char early[] = "\xff\xff\xffTS\0\0\0\x1b{\"nodeKeyChallenge\":\"chal\"}hello";

/* open_initiation() - Of the request's header; false if it isn't there */
static bool open_initiation(const char *head, uint8_t out[static TS2021_INITIATION_SIZE + 2])
{
	const char *value = strcasestr(head, "X-Tailscale-Handshake: ");

	if (!value || strncmp(head, "POST /ts2021 HTTP/1.1\r\n", 23) != 0 ||
	    !strcasestr(head, "Upgrade: tailscale-control-protocol\r\n") ||
	    !strcasestr(head, "Connection: upgrade\r\n") ||
	    !strcasestr(head, "Content-Length: 0\r\n"))
		return false;
	value += strlen("X-Tailscale-Handshake: ");
	return EVP_DecodeBlock(out, (const uint8_t *)value, 136) == TS2021_INITIATION_SIZE + 1;
}

/* echo() - Give back every record's contents until "bye" */
static void echo(int fd, struct ts2021_session *s)
{
	uint8_t frame[TS2021_FRAME_MAX], plain[TS2021_PLAINTEXT_MAX];
	size_t used, length;

	while (read_full(fd, frame, TS2021_HEADER_SIZE)) {
		size_t size = (size_t)frame[1] << 8 | frame[2];
		struct buffer out = BUFFER_INIT(1 << 16);

		if (!read_full(fd, frame + 3, size) ||
		    ts2021_open_record(s, frame, size + 3, &used, plain, &length) < 0)
			return;
		if (length == 3 && memcmp(plain, "bye", 3) == 0)
			return;
		ts2021_seal(s, plain, length, &out);
		write_full(fd, buffer_head(&out), out.length);
		buffer_free(&out);
	}
}

static void serve(int fd, void *user)
{
	static const char nothing[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnothing";
	static const char switching[] =
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\n"
		"Connection: upgrade\r\n\r\n";
	uint8_t initiation[TS2021_INITIATION_SIZE + 2], response[TS2021_RESPONSE_SIZE];
	struct buffer out = BUFFER_INIT(1 << 16);
	struct server *server = user;
	struct ts2021_session s;
	char head[2048];

	if (!read_head(fd, head, sizeof(head)) || !open_initiation(head, initiation))
		return;
	if (server->kind == NOT_TS2021) {
		write_full(fd, nothing, strlen(nothing));
		return;
	}
	if (server->kind == SILENT) {
		(void)!read(fd, head, 1);
		return;
	}
	buffer_append(&out, switching, strlen(switching));
	if (ts2021_server_accept(&server->key, initiation, NULL, response, &server->machine,
				 &server->version, &s) < 0)
		server->kind = REFUSES;
	if (server->kind == WRONG_KEY)
		response[40] ^= 1;
	if (server->kind == REFUSES) {
		buffer_append(&out, "\x03\0\x07too old", 10);
	} else {
		buffer_append(&out, response, sizeof(response));
		ts2021_seal(&s, early, 5, &out);
		ts2021_seal(&s, early + 5, sizeof(early) - 6, &out);
	}
	if (server->kind == FORGES)
		buffer_append(&out,
			      "\x04\0\x10"
			      "0123456789abcdef",
			      19);
	if (server->kind == SLOWLY)
		for (size_t i = 0; i < out.length; i++) {
			write_full(fd, buffer_head(&out) + i, 1);
			usleep(200);
		}
	else
		write_full(fd, buffer_head(&out), out.length);
	if (server->kind == ECHOES || server->kind == SLOWLY)
		echo(fd, &s);
	if (server->kind == ENDS) /* unread bytes would make it a reset */
		(void)read_full(fd, head, TS2021_HEADER_SIZE + 10 + TS2021_TAG_SIZE);
	buffer_free(&out);
}

static uv_loop_t loop;
static struct dialer dialer;
static struct secret_key machine;

struct heard {
	unsigned int calls;
	struct stream *stream;
	struct error err;
	size_t received, wanted;
	char first[8];
	bool closed, in_order;
};

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct heard *h = user;

	for (size_t i = 0; i < length; i++, h->received++) {
		if (h->received < 5)
			h->first[h->received] = (char)bytes[i];
		else if (bytes[i] != (uint8_t)(h->received - 5))
			fail_msg("byte %zu is wrong", h->received - 5);
	}
	if (h->received == h->wanted + 5)
		assert_int_equal(stream_write(h->stream, "bye", 3), 0);
}

static void on_closed(void *user, const struct error *err)
{
	struct heard *h = user;

	h->closed = true;
	h->in_order = !err;
	if (err)
		h->err = *err;
	stream_close(TAKE_PTR(h->stream));
}

static const struct stream_events events = {.data = on_data, .closed = on_closed};

static void connected(void *user, struct stream *stream, const struct endpoint *to,
		      const struct error *err)
{
	struct heard *h = user;
	uint8_t *bytes;

	h->calls++;
	assert_int_equal(stream == NULL, err != NULL);
	if (err)
		h->err = *err;
	if (!stream)
		return;
	assert_true(address_is_loopback(&to->address));
	h->stream = stream;
	stream_set_events(stream, &events, h);
	bytes = malloc(h->wanted + 1);
	for (size_t i = 0; i < h->wanted; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(stream_write(stream, bytes, h->wanted), 0);
	assert_int_equal(stream_write(stream, bytes, LIMIT_STREAM_QUEUE), -ENOBUFS);
	free(bytes);
}

static int set_up(void **state)
{
	(void)state;
	uv_loop_init(&loop);
	dialer = (struct dialer){.loop = &loop, .sockets = socket_source_direct()};
	secret_key_generate(&machine);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(uv_loop_close(&loop), 0);
	return 0;
}

static int start(struct server *server, struct peer *p, struct heard *h, nanoseconds timeout,
		 struct ts2021_connect **ret)
{
	struct ts2021_target target = {
		.machine = &machine, .server = &server->public, .version = 138, .timeout = timeout};
	struct url base;
	char text[64];

	secret_key_generate(&server->key);
	secret_key_public(&server->key, &server->public);
	peer_start(p, serve, server);
	snprintf(text, sizeof(text), "http://127.0.0.1:%u", p->port);
	assert_int_equal(url_parse(text, &base, NULL), 0);
	target.base = &base;
	return ts2021_connect(&dialer, &target, connected, h, ret, NULL);
}

static void servers_by_table(void **state)
{
	static const struct {
		enum server_kind kind;
		bool connects;
		int code;
		const char *text;
	} rows[] = {
		/* 1 */ {ECHOES, true, 0, NULL},
		/* 2 */ {SLOWLY, true, 0, NULL},
		/* 3 */ {REFUSES, false, -EKEYREJECTED, "refused the handshake: too old"},
		/* 4 */ {WRONG_KEY, false, -EKEYREJECTED, "did not prove the key"},
		/* 5 */ {NOT_TS2021, false, -EPROTO, "404 Not Found: nothing"},
		/* 6 */ {FORGES, true, -EBADMSG, "isn't authentic"},
		/* 7 */ {ENDS, true, 0, NULL},
		/* 8 */ {SILENT, false, -ETIMEDOUT, "does not answer in time"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct server server = {.kind = rows[i].kind};
		struct ts2021_connect *c;
		struct public_key me;
		struct heard h = {
			.wanted = rows[i].kind == ECHOES || rows[i].kind == SLOWLY ? 300000 : 10};
		struct peer p;

		/* Only the last server is waited for in vain. */
		nanoseconds timeout = (rows[i].kind == SILENT ? 1 : 60) * NSEC_PER_SEC / 2;

		assert_int_equal(start(&server, &p, &h, timeout, &c), 0);
		uv_run(&loop, UV_RUN_DEFAULT);
		peer_stop(&p);
		assert_int_equal(h.calls, 1);
		if (h.err.code != rows[i].code ||
		    (rows[i].text && !strstr(h.err.text, rows[i].text)) ||
		    h.closed != rows[i].connects)
			fail_msg("row %zu: %d '%s'", i + 1, h.err.code, h.err.text);
		if (!rows[i].connects)
			continue;
		assert_memory_equal(h.first, "hello", 5);
		assert_int_equal(server.version, 138);
		secret_key_public(&machine, &me);
		assert_true(public_key_equal(&server.machine, &me));
		if (rows[i].kind == ECHOES || rows[i].kind == SLOWLY)
			assert_int_equal(h.received, 300005);
	}
}

static void a_cancelled_one_is_silent(void **state)
{
	(void)state;
	for (int rounds = 0; rounds < 6; rounds++) {
		struct server server = {.kind = SILENT};
		struct ts2021_connect *c;
		struct heard h = {0};
		struct peer p;

		assert_int_equal(start(&server, &p, &h, 0, &c), 0);
		for (int i = 0; i < rounds; i++)
			uv_run(&loop, UV_RUN_NOWAIT);
		ts2021_cancel(c);
		uv_run(&loop, UV_RUN_DEFAULT);
		peer_stop(&p);
		assert_int_equal(h.calls, 0);
	}
}

static struct {
	struct socket_source source;
	unsigned int opened;
} counting;

static int count_open(struct socket_source *self, enum socket_kind kind, enum address_family family)
{
	(void)self;
	counting.opened++;
	return socket_source_direct()->open(socket_source_direct(), kind, family);
}

/* A public host is also tried at 80 and 443; the reported failure is that of the URL's own port. */
static void ways_by_table(void **state)
{
	static const struct {
		const char *url;
		bool tls;
		unsigned int ways;
	} rows[] = {
		/* 1 */ {"http://control.example:1", true, 3},
		/* 2 */ {"https://control.example:1", true, 3},
		/* 3 */ {"http://control.example", true, 2},
		/* 4 */ {"https://control.example", true, 2},
		/* 5 */ {"http://control.example:1", false, 2},
		/* 6 */ {"http://127.0.0.77:1", true, 1},
		/* 7 */ {"http://localhost:1", true, 2}, /* two addresses, one way */
	};
	static const char hosts[] = "127.0.0.77 control.example\n";
	struct secret_key key;
	struct public_key public;
	struct dialer counted = dialer;
	struct tls_context *tls;

	(void)state;
	secret_key_generate(&key);
	secret_key_public(&key, &public);
	counting.source.open = count_open;
	counted.sockets = &counting.source;
	assert_int_equal(names_create(&loop, counted.sockets, &counted.names, NULL), 0);
	assert_int_equal(names_configure(counted.names, NULL, 0, hosts, strlen(hosts), NULL), 0);
	assert_int_equal(tls_context_create(&tls, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ts2021_target target = {
			.machine = &machine, .server = &public, .version = 138};
		nanoseconds before = clock_boottime();
		struct ts2021_connect *c;
		struct heard h = {0};
		struct url base;
		char text[URL_HOST_MAX + 32];

		assert_int_equal(url_parse(rows[i].url, &base, NULL), 0);
		target.base = &base;
		counted.tls = rows[i].tls ? tls : NULL;
		counting.opened = 0;
		assert_int_equal(ts2021_connect(&counted, &target, connected, &h, &c, NULL), 0);
		while (!h.calls)
			uv_run(&loop, UV_RUN_ONCE);
		snprintf(text, sizeof(text), "dial %s:%u:", base.host, base.port);
		if (counting.opened != rows[i].ways || h.err.code == 0 || !strstr(h.err.text, text))
			fail_msg("row %zu: %u ways, '%s'", i + 1, counting.opened, h.err.text);
		/* A refused way starts the next at once. */
		assert_true(clock_boottime() - before < 400 * NSEC_PER_MSEC);
	}
	tls_context_release(tls);
	names_free(counted.names);
	uv_run(&loop, UV_RUN_DEFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(servers_by_table),
		cmocka_unit_test(a_cancelled_one_is_silent),
		cmocka_unit_test(ways_by_table),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
