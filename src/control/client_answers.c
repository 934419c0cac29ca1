/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/client_answers.c - what control asks this node: pings and C2N
 *
 * A PingRequest is one of three: HEAD a URL (Headscale probes subnet routers so); an
 * HTTP request to us, whose answer is posted back (C2N); or a ping to a peer, which
 * the node does. Answers go by TS2021 or by a connection of their own; nobody waits
 * for what comes back, and at most CLIENT_ANSWERS_MAX are under way.
 *
 * Also here: where to ask for control's address when names can't be resolved.
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
	} else if (!noise) {
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
	struct buffer out = BUFFER_INIT(LIMIT_LOCALAPI_BODY + LIMIT_HTTP_HEADER);

	if (c2n_respond(ping->payload, ping->payload_length, client->handler->c2n, client->user,
			&out) == 0 &&
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

/* --- Bootstrap DNS --- */

static void on_bootstrap(void *user, const struct address *addresses, size_t count,
			 const struct error *err)
{
	struct control_client *client = user;

	(void)err;
	client->bootstrap = NULL;
	if (!count)
		return;
	/* They stand behind those that once worked, and are no better than the relay. */
	for (size_t i = 0; i < count && client->address_count < CLIENT_ADDRESSES_MAX; i++)
		client->addresses[client->address_count++] = addresses[i];
	control_client_retry_now(client);
}

/* The relay whose turn it is, of those that need no name to be reached. */
static const struct tailcfg_derp_node *bootstrap_relay(struct control_client *client)
{
	const struct tailcfg_derp_map *map = &client->core.netmap->derp_map;
	const struct tailcfg_derp_node *first = NULL;
	unsigned int turn = 0;

	for (uint32_t i = 0; i < map->region_count; i++) {
		for (uint32_t k = 0; k < map->regions[i].node_count; k++) {
			const struct tailcfg_derp_node *node = &map->regions[i].nodes[k];

			if (node->stun_only || !node->host_name ||
			    (node->ipv4.family == ADDRESS_NONE &&
			     node->ipv6.family == ADDRESS_NONE))
				continue;
			if (!first)
				first = node;
			if (turn++ == client->bootstrap_turn) {
				client->bootstrap_turn++;
				return node;
			}
		}
	}
	client->bootstrap_turn = 1;
	return first;
}

void client_bootstrap(struct control_client *client, const struct error *err)
{
	const struct tailcfg_derp_node *relay;
	struct dial_options to = {0};
	struct tls_options tls = {0};
	struct address addresses[2], literal;

	if (client->bootstrap || client->address_count == CLIENT_ADDRESSES_MAX ||
	    (err->code != -ENOENT && err->code != -EAGAIN && err->code != -ETIMEDOUT) ||
	    address_parse(client->url.host, strlen(client->url.host), &literal) == 0)
		return;
	relay = bootstrap_relay(client);
	if (!relay)
		return;
	tls = (struct tls_options){.host = relay->host_name,
				   .cert_name = relay->cert_name,
				   .insecure = relay->insecure_for_tests};
	if (relay->ipv4.family != ADDRESS_NONE)
		addresses[to.address_count++] = relay->ipv4;
	if (relay->ipv6.family != ADDRESS_NONE)
		addresses[to.address_count++] = relay->ipv6;
	to.host = relay->host_name;
	to.port = relay->derp_port;
	to.tls = &tls;
	to.addresses = addresses;
	(void)bootstrap_dns_start(&client->dialer, &to, client->url.host, on_bootstrap, client,
				  &client->bootstrap, NULL);
}
