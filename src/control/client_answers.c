/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/client_answers.c - what control asks this node: pings and C2N
 *
 * A PingRequest is one of three: HEAD a URL (Headscale probes subnet routers so); an
 * HTTP request to us, whose answer is posted back (C2N); or a ping to a peer, which
 * the node does. Answers go by TS2021, or by a connection of their own to the login server's
 * address and no other: else control could make us send requests to this machine or its
 * cloud's metadata service. Nothing waits for what comes back, and at most CLIENT_ANSWERS_MAX
 * are under way.
 */
#include "control/client_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/http1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_TIMEOUT  (15 * NSEC_PER_SEC)
#define REPLY_TIMEOUT (10 * NSEC_PER_SEC)

/* --- Sending --- */

static void on_exchange_done(void *user, const struct http_response *response,
			     const struct error *err)
{
	struct client_answer *answer = user;

	(void)response;
	(void)err;
	answer->exchange = NULL;
}

static void on_request_end(void *user)
{
	struct client_answer *answer = user;

	answer->request = NULL;
}

static void on_request_failed(void *user, const struct error *err)
{
	(void)err;
	on_request_end(user);
}

static const struct http2_events answer_events = {
	.end = on_request_end,
	.failed = on_request_failed,
};

void client_answers_cancel(struct control_client *client, bool all)
{
	for (size_t i = 0; i < ARRAY_SIZE(client->answers); i++) {
		struct client_answer *answer = &client->answers[i];

		http2_cancel(answer->request);
		answer->request = NULL;
		if (all) {
			http_cancel(answer->exchange);
			answer->exchange = NULL;
		}
	}
}

static struct client_answer *free_answer(struct control_client *client)
{
	for (size_t i = 0; i < ARRAY_SIZE(client->answers); i++)
		if (!client->answers[i].exchange && !client->answers[i].request)
			return &client->answers[i];
	return NULL;
}

/* Send @body to @text, over TS2021 or not. What goes wrong is control's to notice. */
static void send_answer(struct control_client *client, const char *text, bool noise,
			const char *method, struct buffer *body, nanoseconds timeout)
{
	struct client_answer *answer = free_answer(client);
	const void *bytes = body && body->length ? (const void *)buffer_head(body) : "";
	size_t length = body ? body->length : 0;
	struct url url;

	if (!answer || !text || url_parse(text, &url, NULL) < 0)
		return;
	if (noise && client->http2) {
		struct http2_message message = {
			.method = method,
			.path = url.path,
			.body = bytes,
			.body_length = length,
			.timeout = timeout,
			.body_limit = LIMIT_RPC_BODY,
		};

		http2_send(client->http2, &message, &answer_events, answer, &answer->request, NULL);
	} else if (!noise && url_same_origin(&client->url, &url)) {
		const struct tls_options tls = {.host = url.host};
		struct http_request request = {
			.to = {.host = url.host,
			       .port = url.port,
			       .tls = url.tls ? &tls : NULL,
			       .timeout = timeout},
			.method = method,
			.target = url.path,
			.body = bytes,
			.body_length = length,
			.body_limit = LIMIT_RPC_BODY,
		};

		http_start(&client->dialer, &request, on_exchange_done, answer, &answer->exchange,
			   NULL);
	}
}

/* --- C2N --- */

struct parsed {
	char *method;
	char *target;
	struct buffer body;
	bool ended;
};

static int keep_head(struct parsed *p, const struct http1_head *head)
{
	p->method = strdup(head->method);
	p->target = strdup(head->target);
	return p->method && p->target ? 0 : -ENOMEM;
}

static int parse(const uint8_t *bytes, size_t length, struct parsed *p)
{
	struct http1_parser parser;
	size_t used;
	int r;

	http1_parser_init(&parser, false);
	while (!p->ended && (r = http1_parse(&parser, bytes, length, &used)) > HTTP1_MORE) {
		bytes += used;
		length -= used;
		if (r == HTTP1_HEAD)
			r = keep_head(p, &parser.head);
		else if (r == HTTP1_BODY)
			r = buffer_append(&p->body, parser.body, parser.body_length);
		else
			p->ended = true;
		if (r < 0)
			break;
	}
	http1_parser_free(&parser);
	return p->ended && length == 0 ? 0 : -EBADMSG;
}

static void ask(struct parsed *p, c2n_handler *handler, void *user, struct control_c2n_reply *reply)
{
	char *query = strchr(p->target, '?');
	struct control_c2n_request request;

	if (query)
		*query++ = 0;
	request = (struct control_c2n_request){
		.method = p->method,
		.path = p->target,
		.query = query,
		.body = p->body.length ? buffer_head(&p->body) : NULL,
		.body_length = p->body.length,
	};
	if (strcmp(request.path, "/echo") == 0) {
		if (buffer_append(&reply->body, request.body, request.body_length) == 0)
			reply->status = 200;
	} else {
		handler(user, &request, reply);
	}
}

static int write_reply(const struct control_c2n_reply *reply, struct buffer *out)
{
	static const char *const plain = "text/plain";
	struct buffer body = reply->body;
	int r;

	r = http1_write_response(out, reply->status ? reply->status : 400);
	if (r == 0)
		r = http1_write_header(out, "Content-Type",
				       reply->content_type ? reply->content_type : plain);
	if (r == 0)
		r = http1_write_length(out, body.length);
	if (r == 0)
		r = http1_write_head_end(out);
	if (r == 0 && body.length)
		r = buffer_append(out, buffer_head(&body), body.length);
	return r;
}

int c2n_respond(const uint8_t *request, size_t length, c2n_handler *handler, void *user,
		struct buffer *out)
{
	struct parsed p = {.body = BUFFER_INIT(LIMIT_RPC_BODY)};
	struct control_c2n_reply reply = {.body = BUFFER_INIT(LIMIT_C2N_BODY)};
	int r;

	if (parse(request, length, &p) == 0)
		ask(&p, handler, user, &reply);
	r = write_reply(&reply, out);
	free(p.method);
	free(p.target);
	buffer_free(&p.body);
	buffer_free(&reply.body);
	return r;
}

/* --- Pings --- */

static void answer_c2n(struct control_client *client, const struct tailcfg_ping_request *ping)
{
	struct buffer out = BUFFER_INIT(LIMIT_C2N_BODY + LIMIT_HTTP_HEADER);

	if (c2n_respond(ping->payload.bytes, ping->payload.length, client->handler->c2n,
			client->user, &out) == 0 &&
	    !client->freed)
		send_answer(client, ping->url, true, "POST", &out, REPLY_TIMEOUT);
	buffer_free(&out);
}

/* A HEAD is done once for each URL. */
static void answer_head(struct control_client *client, const struct tailcfg_ping_request *ping)
{
	if (client->last_ping_url && strcmp(client->last_ping_url, ping->url) == 0)
		return;
	free(client->last_ping_url);
	client->last_ping_url = strdup(ping->url);
	send_answer(client, ping->url, ping->url_is_noise, "HEAD", NULL, HEAD_TIMEOUT);
}

static void ask_node(struct control_client *client, const struct tailcfg_ping_request *ping)
{
	const struct control_ping asked = {
		.types = ping->types, .ip = ping->ip, .url = ping->url, .log = ping->log};

	if (ping->url_is_noise) {
		char **place =
			&client->noise_urls[client->noise_turn++ % ARRAY_SIZE(client->noise_urls)];

		free(*place);
		*place = strdup(ping->url);
	}
	client->handler->ping(client->user, &asked);
}

void client_answer_ping(struct control_client *client, const struct tailcfg_ping_request *ping)
{
	if (!ping->url)
		return;
	if (!ping->types)
		answer_head(client, ping);
	else if (strcmp(ping->types, "c2n") == 0)
		answer_c2n(client, ping);
	else
		ask_node(client, ping);
}

static bool is_noise_url(const struct control_client *client, const char *url)
{
	for (size_t i = 0; i < ARRAY_SIZE(client->noise_urls); i++)
		if (client->noise_urls[i] && strcmp(client->noise_urls[i], url) == 0)
			return true;
	return false;
}

void control_client_ping_reply(struct control_client *client, const char *url, const char *type,
			       const struct tailcfg_ping_result *result)
{
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct json_writer w = json_writer_to(&body);
	char text[ENDPOINT_TEXT_MAX];

	json_begin_object(&w, NULL);
	json_put_string(&w, "Type", type);
	json_put_string(&w, "IP", address_format(&result->target, text));
	json_put_string(&w, "NodeIP", text);
	json_put_string_if(&w, "NodeName", result->name);
	json_put_string_if(&w, "Err", result->error);
	if (result->latency_seconds > 0)
		json_put_number(&w, "LatencySeconds", result->latency_seconds);
	if (result->endpoint.address.family != ADDRESS_NONE)
		json_put_string(&w, "Endpoint", endpoint_format(&result->endpoint, text));
	json_put_int_if(&w, "DERPRegionID", result->region);
	json_put_string_if(&w, "DERPRegionCode", result->region_code);
	json_put_int_if(&w, "PeerAPIPort", result->peer_api_port);
	json_end_object(&w);
	if (json_writer_result(&w) == 0)
		send_answer(client, url, is_noise_url(client, url), "POST", &body, REPLY_TIMEOUT);
	buffer_free(&body);
}
