/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/packet/tunnel_ping.c - our own pings, along the path and through WireGuard */
#include "tunnel/packet/tunnel_internal.h"
#include "wire/ip.h"
#include "wire/tsmp.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PING_TIMEOUT (5 * NSEC_PER_SEC)

/* finish() - Remove @ping from the list and call back */
static void finish(struct tunnel_ping *ping, struct tunnel_ping_result *result)
{
	struct tunnel_ping **link = &ping->tunnel->pings;

	while (*link != ping)
		link = &(*link)->next;
	*link = ping->next;
	ping->callback(ping->ctx, result);
	free(ping);
}

/* fill_way() - The current path to the peer */
static void fill_way(const struct tunnel_peer *peer, nanoseconds now,
		     struct tunnel_ping_result *result)
{
	struct path_peer_status status;

	path_peer_status(peer->path, now, &status);
	result->direct = status.direct;
	result->endpoint = status.endpoint;
	result->region = status.home_region;
}

void tunnel_ping_answered(struct tunnel *tunnel, const struct tunnel_peer *peer,
			  enum tunnel_ping_type type, const uint8_t data[static 8],
			  uint16_t peer_api_port)
{
	nanoseconds now = clock_boottime();

	for (struct tunnel_ping *p = tunnel->pings; p; p = p->next)
		if (p->type == type && public_key_equal(&p->peer, &peer->key) &&
		    memcmp(p->data, data, sizeof(p->data)) == 0) {
			struct tunnel_ping_result result = {.latency = now - p->sent,
							    .peer_api_port = peer_api_port};

			fill_way(peer, now, &result);
			finish(p, &result);
			return;
		}
}

static void on_disco_answer(void *ctx, const struct path_ping_result *answer)
{
	struct tunnel_ping_result result = {
		.error = answer->error,
		.latency = answer->latency,
		.direct = answer->direct,
		.endpoint = answer->endpoint,
		.region = answer->region,
	};

	finish(ctx, &result);
}

/* send_inside() - Send a TSMP or ICMP echo request through the tunnel */
static int send_inside(struct tunnel_peer *peer, const struct address *target,
		       const struct tunnel_ping *ping)
{
	struct tunnel *tunnel = peer->tunnel;
	const struct address *own =
		target->family == ADDRESS_V6 ? &tunnel->own_v6 : &tunnel->own_v4;
	uint8_t packet[IPV6_HEADER_SIZE + 64];
	ssize_t length;

	if (ping->type == TUNNEL_PING_TSMP) {
		struct tsmp_message message = {.type = TSMP_PING};

		memcpy(message.ping, ping->data, sizeof(message.ping));
		length = tsmp_build(packet, sizeof(packet), own, target, &message);
	} else {
		struct ip_echo echo = {
			.source = *own,
			.destination = *target,
			.identifier = (uint16_t)(ping->data[0] << 8 | ping->data[1]),
			.sequence = 1,
			.data = ping->data,
			.length = sizeof(ping->data),
		};

		length = ip_build_echo(packet, sizeof(packet), &echo);
	}
	return length < 0 ? (int)length : tunnel_send_own(peer, packet, (size_t)length);
}

int tunnel_ping(struct tunnel *tunnel, const struct public_key *node_key,
		const struct address *target, enum tunnel_ping_type type,
		tunnel_ping_callback callback, void *ctx)
{
	struct tunnel_peer *peer;
	struct tunnel_ping *ping;
	nanoseconds now = clock_boottime();
	int r;

	HASH_FIND(hh, tunnel->peers, node_key, sizeof(*node_key), peer);
	if (!peer)
		return -ENOENT;
	ping = calloc(1, sizeof(*ping));
	if (!ping)
		return -ENOMEM;
	*ping = (struct tunnel_ping){
		.next = tunnel->pings,
		.tunnel = tunnel,
		.peer = *node_key,
		.type = type,
		.sent = now,
		/* The path engine handles the timeouts of its own pings. */
		.deadline = type == TUNNEL_PING_DISCO ? DEADLINE_NEVER : now + PING_TIMEOUT,
		.callback = callback,
		.ctx = ctx,
	};
	randombytes_buf(ping->data, sizeof(ping->data));
	tunnel->pings = ping;
	r = type == TUNNEL_PING_DISCO ? path_ping(peer->path, now, on_disco_answer, ping)
				      : send_inside(peer, target, ping);
	if (r < 0) {
		tunnel->pings = ping->next;
		free(ping);
	}
	return r;
}

nanoseconds tunnel_pings_deadline(const struct tunnel *tunnel)
{
	nanoseconds deadline = DEADLINE_NEVER;

	for (const struct tunnel_ping *p = tunnel->pings; p; p = p->next)
		deadline = deadline_min(deadline, p->deadline);
	return deadline;
}

void tunnel_pings_timeout(struct tunnel *tunnel, nanoseconds now)
{
	for (struct tunnel_ping *p = tunnel->pings, *next; p; p = next) {
		struct tunnel_ping_result result = {.error = -ETIMEDOUT};

		next = p->next;
		if (p->deadline <= now)
			finish(p, &result);
	}
}

/* tunnel_pings_cancel() - The tunnel ends; disco pings are cancelled by the path engine */
void tunnel_pings_cancel(struct tunnel *tunnel)
{
	while (tunnel->pings) {
		struct tunnel_ping_result result = {.error = -ECANCELED};

		finish(tunnel->pings, &result);
	}
}
