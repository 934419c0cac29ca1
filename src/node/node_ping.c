/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_ping.c - pings of peers, for local programs and for control */
#include "base/limits.h"
#include "node/node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	enum tunnel_ping_type type;
} ping_types[] = {
	{"disco", TUNNEL_PING_DISCO},
	{"TSMP", TUNNEL_PING_TSMP},
	{"ICMP", TUNNEL_PING_ICMP},
};

#define PEERAPI "peerapi"

struct node_ping {
	struct node *node;
	struct public_key key;
	struct address target;
	node_ping_done *done;
	void *context;
};

static void on_answer(void *ctx, const struct tunnel_ping_result *answer)
{
	struct node_ping *ping = ctx;
	const struct netmap *map = node_netmap(ping->node);
	const struct netmap_peer *peer = map ? netmap_peer_by_key(map, &ping->key) : NULL;
	char name[64];
	struct tailcfg_ping_result result = {
		.target = ping->target,
		.name = peer ? tailcfg_node_display_name(&peer->node, name) : "",
		.error = answer->error == 0            ? ""
			 : answer->error == -ETIMEDOUT ? "no answer"
						       : strerror(-answer->error),
		.latency_seconds = (double)answer->latency / (double)NSEC_PER_SEC,
		.region_code = "",
		.peer_api_port = answer->peer_api_port,
	};

	if (answer->direct && answer->error == 0)
		result.endpoint = answer->endpoint;
	if (!answer->direct) {
		const char *code = ping->node->tunnel
					   ? relay_region_code(tunnel_relay(ping->node->tunnel),
							       answer->region)
					   : NULL;

		result.region = answer->region;
		result.region_code = code ? code : "";
	}
	ping->done(ping->context, &result);
	free(ping);
}

int node_ping(struct node *node, const struct address *target, const char *type,
	      node_ping_done *done, void *context)
{
	const struct netmap *map = node_netmap(node);
	const struct netmap_peer *peer = map ? netmap_peer_by_address(map, target) : NULL;
	struct node_ping *ping;
	bool by_peerapi = strcmp(type, PEERAPI) == 0;
	size_t i = 0;
	int r;

	while (!by_peerapi && i < ARRAY_SIZE(ping_types) && strcmp(type, ping_types[i].name) != 0)
		i++;
	if (i == ARRAY_SIZE(ping_types))
		return -EINVAL;
	if (!peer)
		peer = node_peer_by_route(node, target);
	if (!peer || !node->tunnel)
		return -ENOENT;
	if (by_peerapi)
		return node_peerapi_ping(node, &peer->node, target, done, context);
	ping = malloc(sizeof(*ping));
	if (!ping)
		return -ENOMEM;
	*ping = (struct node_ping){node, peer->node.key, *target, done, context};
	r = tunnel_ping(node->tunnel, &peer->node.key, target, ping_types[i].type, on_answer, ping);
	if (r < 0)
		free(ping);
	return r;
}

/* A ping that control asked for. */
struct control_ping_wait {
	struct node *node;
	const char *type;
	char *url;
};

static void on_control_ping_done(void *context, const struct tailcfg_ping_result *result)
{
	struct control_ping_wait *wait = context;

	wait->node->control_pings--;
	if (wait->node->control)
		control_client_ping_reply(wait->node->control, wait->url, wait->type, result);
	free(wait->url);
	free(wait);
}

static void ping_for_control(struct node *node, const struct control_ping *ping, const char *type)
{
	const struct tailcfg_ping_result none = {
		.target = ping->ip,
		.name = "",
		.error = "the peer offers no PeerAPI",
		.region_code = "",
	};
	struct control_ping_wait *wait;
	int r;

	if (!strstr(ping->types, type) || node->control_pings >= LIMIT_CONTROL_PINGS)
		return;
	wait = malloc(sizeof(*wait));
	if (!wait)
		return;
	*wait = (struct control_ping_wait){node, type, strdup(ping->url)};
	r = wait->url ? node_ping(node, &ping->ip, type, on_control_ping_done, wait) : -ENOMEM;
	if (r == 0) {
		node->control_pings++;
		return;
	}
	if (r == -EADDRNOTAVAIL && node->control)
		control_client_ping_reply(node->control, wait->url, type, &none);
	free(wait->url);
	free(wait);
}

void node_ping_for_control(void *user, const struct control_ping *ping)
{
	for (size_t i = 0; i < ARRAY_SIZE(ping_types); i++)
		ping_for_control(user, ping, ping_types[i].name);
	ping_for_control(user, ping, PEERAPI);
}
