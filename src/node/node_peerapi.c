/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_peerapi.c - the PeerAPI: our port, what peers' ports are, and the ping by it
 *
 * The services process answers (services/peerapi.h). A port is announced once its listener is there.
 */
#include "node/node_internal.h"
#include "transport/http_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_PORT   0x8000u
#define PORT_TRIES   5u
#define ADDRESS_TAIL 3u /* bytes of the address that choose the port */
#define ANSWER_MAX   4096u

/* crc32_of() - CRC-32 of IEEE 802.3, of a few bytes */
static uint32_t crc32_of(const uint8_t *bytes, size_t length)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < length; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
	}
	return ~crc;
}

uint16_t node_peerapi_choose(const struct node *node, bool (*is_taken)(void *data, uint16_t port),
			     void *data)
{
	const struct netmap *map = node_netmap(node);
	struct node_addresses own = {.count = 0};
	uint8_t tail[ADDRESS_TAIL];
	uint16_t port = FIRST_PORT;

	if (map && map->self)
		own = node_own_addresses(node);
	if (own.count == 0)
		return 0;
	memcpy(tail,
	       own.list[0].address.bytes + address_length(&own.list[0].address) - ADDRESS_TAIL,
	       sizeof(tail));
	for (unsigned int i = 0; i < PORT_TRIES; i++, tail[0]++) {
		port = (uint16_t)(FIRST_PORT | (crc32_of(tail, sizeof(tail)) & UINT16_MAX));
		if (!is_taken(data, port))
			return port;
	}
	while (is_taken(data, port)) /* fewer are served than there are */
		port = (uint16_t)(FIRST_PORT | (port + 1));
	return port;
}

uint16_t node_peerapi_of(const struct tailcfg_node *peer, enum address_family family)
{
	const char *protocol = family == ADDRESS_V4 ? "peerapi4" : "peerapi6";
	const struct tailcfg_hostinfo *host = peer->hostinfo;

	for (uint32_t i = 0; host && i < host->service_count; i++)
		if (host->services[i].protocol && strcmp(host->services[i].protocol, protocol) == 0)
			return host->services[i].port;
	return 0;
}

/* first_of() - The first address of @family; false: none */
static bool first_of(const struct prefix *list, size_t count, enum address_family family,
		     struct address *ret)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].address.family == family) {
			*ret = list[i].address;
			return true;
		}
	return false;
}

bool node_peerapi_endpoint(const struct node *node, const struct tailcfg_node *peer,
			   struct endpoint *ret)
{
	static const enum address_family families[] = {ADDRESS_V4, ADDRESS_V6};
	const struct netmap *map = node_netmap(node);
	struct node_addresses own = {.count = 0};
	struct address ours;

	if (map && map->self)
		own = node_own_addresses(node);

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		ret->port = node_peerapi_of(peer, families[i]);
		if (ret->port && first_of(own.list, own.count, families[i], &ours) &&
		    first_of(peer->addresses.items, peer->addresses.count, families[i],
			     &ret->address))
			return true;
	}
	return false;
}

char *node_peerapi_url(const struct endpoint *at, char out[static NODE_PEERAPI_URL_MAX])
{
	char text[ENDPOINT_TEXT_MAX];

	snprintf(out, NODE_PEERAPI_URL_MAX, "http://%s", endpoint_format(at, text));
	return out;
}

/* --- Ping --- */

struct node_peerapi_ping {
	LIST_ENTRY(node_peerapi_ping) entry;
	struct node *node;
	struct http_exchange *exchange;
	struct address target;
	struct endpoint at;
	char name[256];
	nanoseconds began;
	node_ping_done *done;
	void *context;
};

static void answer(const struct node_peerapi_ping *ping, const char *error)
{
	char url[NODE_PEERAPI_URL_MAX];
	struct tailcfg_ping_result result = {
		.target = ping->target,
		.name = ping->name,
		.error = error,
		.latency_seconds = (double)(clock_boottime() - ping->began) / (double)NSEC_PER_SEC,
		.region_code = "",
		.peer_api_port = ping->at.port,
		.peer_api_url = node_peerapi_url(&ping->at, url),
	};

	ping->done(ping->context, &result);
}

static void on_response(void *user, const struct http_response *response, const struct error *err)
{
	struct node_peerapi_ping *ping = user;
	char status[64];

	LIST_REMOVE(ping, entry);
	if (response && response->head->status == 200) {
		answer(ping, "");
	} else if (response) {
		snprintf(status, sizeof(status), "HTTP status %d", response->head->status);
		answer(ping, status);
	} else {
		answer(ping, err->text);
	}
	free(ping);
}

int node_peerapi_ping(struct node *node, const struct tailcfg_node *peer,
		      const struct address *target, node_ping_done *done, void *context)
{
	struct node_peerapi_ping *ping = calloc(1, sizeof(*ping));
	struct dialer dialer = {
		.loop = node->loop,
		.sockets = node->sockets,
		.kind = SOCKET_PEER,
	};
	struct http_request request = {
		.method = "HEAD",
		.target = "/",
		.body_limit = ANSWER_MAX,
	};
	char host[ADDRESS_TEXT_MAX], name[64];
	struct error err = {0};
	int r;

	if (!ping)
		return -ENOMEM;
	if (!node_peerapi_endpoint(node, peer, &ping->at)) {
		free(ping);
		return -EADDRNOTAVAIL;
	}
	ping->node = node;
	ping->target = *target;
	ping->began = clock_boottime();
	ping->done = done;
	ping->context = context;
	snprintf(ping->name, sizeof(ping->name), "%s", tailcfg_node_display_name(peer, name));
	request.to.host = address_format(&ping->at.address, host);
	request.to.port = ping->at.port;
	r = http_start(&dialer, &request, on_response, ping, &ping->exchange, &err);
	if (r < 0)
		free(ping);
	else
		LIST_INSERT_HEAD(&node->peerapi_pings, ping, entry);
	return r;
}

void node_peerapi_close(struct node *node)
{
	struct node_peerapi_ping *ping;

	while ((ping = LIST_FIRST(&node->peerapi_pings))) {
		LIST_REMOVE(ping, entry);
		http_cancel(ping->exchange);
		answer(ping, "the node stops");
		free(ping);
	}
}
