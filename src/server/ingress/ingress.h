/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/ingress/ingress.h - the public end of Funnel: connections from the internet to nodes
 *
 * Theory of operation
 *   An ingress shares the network namespace of a node. It reads the server name of a TLS
 *   connection (the ClientHello, and no more), looks up the node that funnels this name, connects
 *   to that node's PeerAPI through the tailnet, asks for the connection by POST /v0/ingress, and
 *   passes bytes on in both directions. It holds no TLS key: the node ends TLS. Plain HTTP (port 80)
 *   is passed on for /.well-known/acme-challenge/ alone; other requests are redirected to https.
 *
 *   Which node funnels a name is the LocalAPI's answer (ingress_names.c): the control server gives
 *   each node the Hostinfo of its peers, and IngressEnabled in it says that a peer funnels its own
 *   MagicDNS name. Other names are mapped to nodes by the configuration.
 *
 *   Everything runs on the loop's thread.
 */
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "base/prefixes.h"

#include <uv.h>

#define INGRESS_LISTENERS_MAX 16u
#define INGRESS_MAPS_MAX      256u
#define INGRESS_PROXIES_MAX   16u

struct ingress;

struct ingress_listener {
	struct endpoint at;
	uint16_t port; /* the public one, which the node is told; 0: that of @at, as it is bound */
	bool plain;    /* HTTP */
};

struct ingress_map {
	const char *name; /* that clients ask for */
	const char *node; /* MagicDNS name, or its first label */
};

/* All pointers need to live as long as the ingress. */
struct ingress_config {
	struct ingress_listener listeners[INGRESS_LISTENERS_MAX];
	size_t listener_count;
	const char *socket; /* of the LocalAPI */
	struct ingress_map maps[INGRESS_MAPS_MAX];
	size_t map_count;
	/* Load balancers: their connections begin with a head of the PROXY protocol. */
	struct prefix proxies[INGRESS_PROXIES_MAX];
	size_t proxy_count;
	bool no_redirect;        /* plain HTTP: other requests get 404 */
	struct endpoint metrics; /* port 0 with ADDRESS_NONE: none */
	unsigned int connections, source_connections, source_rate; /* 0: the defaults */
};

/**
 * ingress_new() - Open the listeners and serve
 * @loop: the program ignores SIGPIPE and has called sodium_init()
 *
 * Return: 0, or negative errno with @err set
 */
int ingress_new(uv_loop_t *loop, const struct ingress_config *config, struct ingress **ret,
		struct error *err);

/** ingress_drain() - Close the listeners; connections go on. @done is called once there is none */
void ingress_drain(struct ingress *ingress, void (*done)(void *user), void *user);

/** ingress_free() - Close everything; handles close in the loop. NULL is fine */
void ingress_free(struct ingress *ingress);

/** ingress_endpoint() - Where listener @i listens: the real port */
const struct endpoint *ingress_endpoint(const struct ingress *ingress, size_t i);
