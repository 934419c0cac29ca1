/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/http2_translate.c - requests of HTTP/2 as an app of HTTP/1.1 gets them, and answers back
 *
 * The first byte says which side the input is (a client's or an app's bytes), and how it is cut.
 * What comes out for the other version is one whole head for our own strict parser, with nothing
 * behind it, and with no header that only we may set.
 */
#include "services/http_heads.h"
#include "transport/http2_duplex.h"
#include "unit/transport/memory_stream.h"

#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct http2_flow *flows[64];
	size_t count;
	bool answer, ended;
};

static char mount_all[] = "/", no_base[] = "";

static void expect(bool truth)
{
	if (!truth)
		abort();
}

/* check() - @text is one head; no name in it is forged */
static void check(struct buffer *text, bool answer, bool bodyless)
{
	struct http1_parser p;
	size_t used, forwarded = 0;

	http1_parser_init(&p, answer);
	p.block.limit = text->limit;
	if (bodyless)
		http1_parser_bodyless(&p);
	expect(http1_parse(&p, buffer_head(text), text->length, &used) == HTTP1_HEAD);
	expect(used == text->length);
	for (size_t i = 0; i < p.head.header_count && !answer; i++) {
		const char *name = p.head.headers[i].name;

		forwarded += strcasecmp(name, "X-Forwarded-For") == 0;
		expect(strncasecmp(name, "tailscale", 9) != 0 ||
		       (name[9] != '-' && name[9] != '_'));
	}
	expect(answer || forwarded == 1);
	http1_parser_free(&p);
}

static void on_gone(void *user, uint32_t code)
{
	(void)code;
	*(struct http2_flow **)user = NULL;
}

static void on_end(void *user, const struct http1_header *trailers, size_t count)
{
	struct http1_header *passing = http_trailers(trailers, count, &count);
	struct buffer out = BUFFER_INIT((size_t)4 * LIMIT_HTTP_HEADER);

	(void)user;
	expect(http1_write_last_chunk(&out, passing, count) == 0);
	buffer_free(&out);
	free(passing);
}

static void on_head(void *user, const struct http1_head *head, bool last)
{
	struct buffer out = BUFFER_INIT((size_t)4 * LIMIT_HTTP_HEADER);
	enum http_framing framing;
	bool keep_alive = true;

	(void)user;
	expect(head->status != 101 && (head->status >= 200 || !last));
	if (http_answer_head(head, false, 1, &keep_alive, &framing, &out) == 0)
		check(&out, true, false);
	buffer_free(&out);
}

static const struct http2_flow_events flow_events = {
	.head = on_head,
	.end = on_end,
	.gone = on_gone,
};

static void on_request(void *user, struct http2_flow *flow, const struct http1_head *head,
		       bool last, bool tunnel)
{
	static const struct serve_handler all = {.mount = mount_all, .base = no_base};
	const struct http_origin origin = {.tls = true, .host = "app"};
	const struct http1_head empty = {.status = 204, .reason = "", .content_length = -1};
	struct buffer out = BUFFER_INIT((size_t)4 * LIMIT_HTTP_HEADER);
	struct world *w = user;
	char path[HTTP_PATH_MAX];
	const char *from;

	expect(!last || !head->chunked);
	expect(!tunnel || head->upgrade);
	if (http_path(head->target, path, &from) == 0 &&
	    http_request_head(head, from, &all, &origin, &out) == 0)
		check(&out, false, false);
	buffer_free(&out);
	if (w->count < ARRAY_SIZE(w->flows)) {
		w->flows[w->count] = flow;
		http2_flow_set_events(flow, &flow_events, &w->flows[w->count++]);
		if (w->count % 2)
			http2_flow_resume(flow);
		else
			(void)http2_flow_answer(flow, &empty, true);
	} else {
		http2_flow_close(flow, HTTP2_CODE_REFUSED);
	}
}

static void on_ended(void *user, const struct error *err)
{
	struct world *w = user;

	(void)err;
	expect(!w->ended);
	w->ended = true;
}

/* ask() - Requests for an app to answer */
static void ask(struct world *w, struct http2_duplex *duplex)
{
	static const char text[] = "POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\n";
	struct http1_parser p;
	size_t used;

	http1_parser_init(&p, false);
	expect(http1_parse(&p, (const uint8_t *)text, sizeof(text) - 1, &used) == HTTP1_HEAD);
	for (; w->count < 4; w->count++)
		if (http2_duplex_send(duplex, &p.head, "http", w->count % 2, &flow_events,
				      &w->flows[w->count], &w->flows[w->count]) < 0)
			w->flows[w->count] = NULL;
	http1_parser_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct http2_duplex_events events = {
		.request = on_request,
		.ended = on_ended,
	};
	struct http2_duplex_options options = {.window = 65536, .kept = 65536, .flows = 50};
	struct http2_duplex *duplex = NULL;
	struct memory_stream *below;
	struct world w = {0};
	bool closed = false;

	if (size < 2)
		return 0;
	options.server = data[0] & 128;
	below = memory_stream_create(&closed);
	expect(http2_duplex_open(&below->stream, &options, &events, &w, &duplex) == 0);
	if (!options.server)
		ask(&w, duplex);
	for (size_t at = 1, step = 1 + data[0] % 64; at < size && !w.ended; at += step) {
		stream_emit_data(&below->stream, data + at, size - at < step ? size - at : step);
		buffer_consume(&below->sent, below->sent.length);
		stream_emit_drained(&below->stream);
	}
	for (size_t i = 0; i < w.count; i++)
		if (w.flows[i])
			http2_flow_close(w.flows[i], HTTP2_CODE_CANCEL);
	http2_duplex_close(duplex);
	if (!closed) {
		buffer_consume(&below->sent, below->sent.length);
		stream_emit_drained(&below->stream);
	}
	expect(closed);
	return 0;
}
