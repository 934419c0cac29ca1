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
#include "control/c2n.h"

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

void control_client_ping_reply(struct control_client *client, const char *url,
			       const struct control_ping_reply *reply)
{
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct json_writer w = json_writer_to(&body);
	char text[ENDPOINT_TEXT_MAX];

	json_begin_object(&w, NULL);
	json_put_string(&w, "Type", reply->type);
	if (reply->ip.family != ADDRESS_NONE)
		json_put_string(&w, "IP", address_format(&reply->ip, text));
	json_put_string_if(&w, "NodeIP", reply->node_ip);
	json_put_string_if(&w, "NodeName", reply->node_name);
	json_put_string_if(&w, "Err", reply->error);
	if (reply->latency_seconds > 0)
		json_put_number(&w, "LatencySeconds", reply->latency_seconds);
	if (reply->endpoint.address.family != ADDRESS_NONE)
		json_put_string(&w, "Endpoint", endpoint_format(&reply->endpoint, text));
	json_put_int_if(&w, "DERPRegionID", reply->derp_region_id);
	json_put_string_if(&w, "DERPRegionCode", reply->derp_region_code);
	json_put_int_if(&w, "PeerAPIPort", reply->peer_api_port);
	json_end_object(&w);
	if (json_writer_result(&w) == 0)
		send_answer(client, url, is_noise_url(client, url), "POST", &body, REPLY_TIMEOUT);
	buffer_free(&body);
}
