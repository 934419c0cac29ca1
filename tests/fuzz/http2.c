/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/http2.c - what a server sends to the HTTP/2 client
 *
 * Three requests are under way, of which one is cancelled by its first data. The first
 * byte says how the rest is cut.
 */
#include "transport/http2.h"
#include "unit/transport/memory_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct request {
	struct http2_request *request;
	int over;
	bool cancels;
};

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct request *r = user;

	if (r->over || !length || !bytes)
		abort();
	if (r->cancels) {
		r->over = 1;
		http2_cancel(r->request);
	}
}

static void on_end(void *user)
{
	struct request *r = user;

	if (r->over++)
		abort();
}

static void on_failed(void *user, const struct error *err)
{
	if (!err->code)
		abort();
	on_end(user);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct http2_events events = {
		.data = on_data, .end = on_end, .failed = on_failed};
	static uv_loop_t loop;
	static bool ready;
	struct http2_message m = {
		.method = "POST", .path = "/machine/map", .body = "{}", .body_length = 2};
	struct request requests[3] = {{.cancels = true}};
	struct http2_client *client;
	struct memory_stream *below;
	bool closed = false;
	struct error err;

	if (size < 2)
		return 0;
	if (!ready)
		uv_loop_init(&loop);
	ready = true;
	below = memory_stream_create(&closed);
	if (http2_open(&loop, &below->stream, "control.example", NULL, NULL, &client, &err) < 0)
		abort();
	for (int i = 0; i < 3; i++)
		if (http2_send(client, &m, &events, &requests[i], &requests[i].request, &err) < 0)
			abort();
	for (size_t at = 1, step = 1 + data[0] % 64; at < size; at += step) {
		stream_emit_data(&below->stream, data + at, size - at < step ? size - at : step);
		buffer_consume(&below->sent, below->sent.length);
	}
	stream_emit_closed(&below->stream, NULL);
	for (int i = 0; i < 3; i++)
		if (requests[i].over != 1)
			abort();
	http2_close(client);
	if (!closed)
		abort();
	return 0;
}
