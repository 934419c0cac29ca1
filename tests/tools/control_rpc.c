/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/tools/control_rpc.c - one request over TS2021, each on a connection of its own */
#include "tests/tools/control_rpc.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/http2.h"
#include "transport/http_client.h"
#include "transport/ts2021_stream.h"
#include "wire/json.h"
#include "wire/tailcfg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct rpc {
	struct control_rpc_options o;
	char *method, *path, *text;
	struct url url;
	struct public_key server;
	struct http_exchange *fetching;
	struct ts2021_connect *connecting;
	struct http2_client *http2;
	struct buffer body;
	int status;
	uv_timer_t closer; /* an HTTP/2 connection can't be closed from within its own event */
};

static void on_closed(uv_handle_t *handle)
{
	struct rpc *rpc = handle->data;

	http2_close(rpc->http2);
	buffer_free(&rpc->body);
	secret_key_wipe(&rpc->o.machine);
	free(rpc->method);
	free(rpc->path);
	free(rpc->text);
	free(rpc);
}

static void end(struct rpc *rpc, int status, const void *body, size_t length)
{
	if (uv_is_closing((uv_handle_t *)&rpc->closer))
		return;
	rpc->o.done(rpc->o.user, rpc->o.number, status, body, length);
	uv_close((uv_handle_t *)&rpc->closer, on_closed);
}

static void fail(struct rpc *rpc, const struct error *err)
{
	end(rpc, err->code < 0 ? err->code : -EIO, err->text, strlen(err->text));
}

static void on_response(void *user, int status, int64_t retry_after)
{
	struct rpc *rpc = user;

	(void)retry_after;
	rpc->status = status;
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct rpc *rpc = user;

	(void)buffer_append(&rpc->body, bytes, length);
}

static void on_end(void *user)
{
	struct rpc *rpc = user;

	end(rpc, rpc->status, buffer_head(&rpc->body), rpc->body.length);
}

static void on_failed(void *user, const struct error *err)
{
	fail(user, err);
}

static void on_over(void *user, const struct error *err)
{
	struct rpc *rpc = user;

	end(rpc, -EPIPE, err ? err->text : "ended", strlen(err ? err->text : "ended"));
}

static void on_connected(void *user, struct stream *stream, const struct endpoint *to,
			 const struct error *why)
{
	static const struct http2_events events = {on_response, on_data, on_end, on_failed};
	struct rpc *rpc = user;
	struct http2_message message = {
		.method = rpc->method,
		.path = rpc->path,
		.body = rpc->text,
		.body_length = strlen(rpc->text),
	};
	struct error err = {0};
	int r;

	(void)to;
	rpc->connecting = NULL;
	if (!stream) {
		fail(rpc, why);
		return;
	}
	r = http2_open(rpc->o.dialer.loop, stream, "unused", on_over, rpc, &rpc->http2, &err);
	if (r == 0)
		r = http2_send(rpc->http2, &message, &events, rpc, NULL, &err);
	if (r < 0)
		fail(rpc, &err);
}

static void on_key(void *user, const struct http_response *response, const struct error *why)
{
	struct rpc *rpc = user;
	struct ts2021_target target = {
		.base = &rpc->url,
		.machine = &rpc->o.machine,
		.server = &rpc->server,
		.version = TAILCFG_CAPABILITY_VERSION,
	};
	struct error err = {0};
	struct json_reader r;
	json_t *json;

	rpc->fetching = NULL;
	if (!response) {
		fail(rpc, why);
		return;
	}
	json = json_loadb((const char *)response->body, response->body_length, 0, NULL);
	r = json_reader_of(json);
	rpc->server = json_get_key(&r, "publicKey", KEY_MACHINE);
	json_decref(json);
	if (ts2021_connect(&rpc->o.dialer, &target, on_connected, rpc, &rpc->connecting, &err) < 0)
		fail(rpc, &err);
}

void control_rpc(const struct control_rpc_options *options)
{
	struct rpc *rpc = calloc(1, sizeof(*rpc));
	struct http_request request = {.target = "/key?v=138", .body_limit = LIMIT_KEY_BODY};
	struct tls_options tls = {0};
	struct error err = {0};

	rpc->o = *options;
	rpc->method = strdup(options->method);
	rpc->path = strdup(options->path);
	rpc->text = strdup(options->body ? options->body : "");
	rpc->body = BUFFER_INIT(LIMIT_RPC_BODY);
	uv_timer_init(options->dialer.loop, &rpc->closer);
	rpc->closer.data = rpc;
	if (url_parse(options->server_url, &rpc->url, &err) < 0) {
		fail(rpc, &err);
		return;
	}
	request.to = (struct dial_options){
		.host = rpc->url.host, .port = rpc->url.port, .tls = rpc->url.tls ? &tls : NULL};
	if (http_start(&rpc->o.dialer, &request, on_key, rpc, &rpc->fetching, &err) < 0)
		fail(rpc, &err);
}
