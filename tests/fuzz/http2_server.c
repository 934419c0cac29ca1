/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/http2_server.c - what a client sends to the HTTP/2 server
 *
 * Requests are answered at once, later, by a body without end, or never, by the first byte of
 * their body. The first byte of the input says how the rest is cut.
 */
#include "transport/http2_server.h"
#include "unit/transport/memory_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct http2_exchange *held[64];
	size_t count;
	int ended;
};

static void serve(void *user, struct http2_exchange *x)
{
	struct world *w = user;
	unsigned int how = x->body.length ? buffer_head(&x->body)[0] % 4 : 0;

	if (!x->method || !x->path || w->ended)
		abort();
	switch (how) {
	case 0:
		http2_reply(x, 200, "text/plain", buffer_head(&x->body), x->body.length);
		break;
	case 1:
		http2_begin(x, 200, NULL);
		http2_push(x, "piece", 5);
		break;
	case 2:
		http2_reset(x);
		break;
	default:
		if (w->count < ARRAY_SIZE(w->held))
			w->held[w->count++] = x;
	}
}

static void gone(void *user, struct http2_exchange *x)
{
	struct world *w = user;

	for (size_t i = 0; i < w->count; i++)
		if (w->held[i] == x)
			w->held[i] = NULL;
}

static void ended(void *user, const struct error *err)
{
	struct world *w = user;

	(void)err;
	if (w->ended++)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct http2_server_events events = {
		.request = serve, .gone = gone, .ended = ended};
	struct world world = {0};
	struct http2_server *server;
	struct memory_stream *below;
	bool closed = false;
	struct error err;

	if (size < 2)
		return 0;
	below = memory_stream_create(&closed);
	if (http2_serve(&below->stream, &events, &world, &server, &err) < 0)
		abort();
	for (size_t at = 1, step = 1 + data[0] % 64; at < size && !world.ended; at += step) {
		stream_emit_data(&below->stream, data + at, size - at < step ? size - at : step);
		buffer_consume(&below->sent, below->sent.length);
		stream_emit_drained(&below->stream);
	}
	for (size_t i = 0; i < world.count; i++)
		if (world.held[i])
			http2_reply(world.held[i], 204, NULL, NULL, 0);
	buffer_consume(&below->sent, below->sent.length);
	if (data[0] & 64)
		stream_emit_closed(&below->stream, NULL);
	http2_server_close(server);
	if (!closed) {
		buffer_consume(&below->sent, below->sent.length);
		stream_emit_drained(&below->stream);
	}
	if (!closed)
		abort();
	return 0;
}
