/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_asks.c - what control asks of us: pings of peers, and questions by HTTP (C2N) */
#include "base/limits.h"
#include "node/node_internal.h"

#include <stdlib.h>
#include <string.h>

/* A ping that control asked for. */
struct asked_ping {
	struct node *node;
	const char *type;
	struct address ip;
	char *url;
};

static void on_ping_done(void *context, json_t *result)
{
	struct asked_ping *ping = context;
	const json_t *latency = json_object_get(result, "LatencySeconds");
	const char *error = json_string_value(json_object_get(result, "Err"));
	const char *endpoint = json_string_value(json_object_get(result, "Endpoint"));
	struct control_ping_reply reply = {
		.type = ping->type,
		.ip = ping->ip,
		.node_ip = json_string_value(json_object_get(result, "NodeIP")),
		.node_name = json_string_value(json_object_get(result, "NodeName")),
		.error = error && error[0] ? error : NULL,
		.latency_seconds = json_number_value(latency),
		.derp_region_id =
			(uint16_t)json_integer_value(json_object_get(result, "DERPRegionID")),
		.derp_region_code = json_string_value(json_object_get(result, "DERPRegionCode")),
	};

	if (endpoint)
		(void)endpoint_parse(endpoint, strlen(endpoint), &reply.endpoint);
	ping->node->control_pings--;
	if (ping->node->control)
		control_client_ping_reply(ping->node->control, ping->url, &reply);
	json_decref(result);
	free(ping->url);
	free(ping);
}

void node_answer_ping(void *user, const struct control_ping *ping)
{
	static const char *const known[] = {"disco", "TSMP", "ICMP"};
	struct node *node = user;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		struct asked_ping *pending;

		if (!strstr(ping->types, known[i]) || node->control_pings >= LIMIT_CONTROL_PINGS)
			continue;
		pending = calloc(1, sizeof(*pending));
		if (!pending)
			return;
		pending->node = node;
		pending->type = known[i];
		pending->ip = ping->ip;
		pending->url = strdup(ping->url);
		if (pending->url &&
		    node_ping(node, &ping->ip, known[i], on_ping_done, pending) == 0) {
			node->control_pings++;
		} else {
			free(pending->url);
			free(pending);
		}
	}
}

void node_answer_c2n(void *user, const struct control_c2n_request *request,
		     struct control_c2n_reply *reply)
{
	struct node *node = user;
	json_t *json = NULL;
	char *text;

	if (strcmp(request->path, "/debug/health") == 0)
		json = node_health_json(node);
	else if (strcmp(request->path, "/debug/netmap") == 0)
		json = node_c2n_netmap_json(node, request);
	else if (strcmp(request->path, "/debug/prefs") == 0)
		json = node_prefs_json(node);
	if (!json)
		return;
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (text && buffer_append(&reply->body, text, strlen(text)) == 0) {
		reply->status = 200;
		reply->content_type = "application/json";
	}
	free(text);
}
