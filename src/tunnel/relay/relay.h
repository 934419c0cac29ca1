/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/relay.h - the pool of connections to relay regions
 *
 * One connection for each region. The connection to the home region is always kept:
 * peers send to us there. Another region is dialled for a packet and closed after 60 s
 * without writes. Packets for a region that is connecting wait in a bounded queue
 * (oldest dropped first, and counted) and are sent when it is ready, so that a first
 * handshake initiation is never lost here.
 *
 * Runs on the loop's thread. Callbacks are called from the loop, never from inside
 * a relay_… call, except relay_free(), which calls none.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/secret.h"
#include "wire/derp.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uv.h>

struct names; /* transport/names.h */
struct proxy; /* transport/proxy.h */
struct relay;
struct socket_source;    /* base/socket_source.h */
struct tailcfg_derp_map; /* wire/tailcfg.h */
struct tls_context;      /* transport/tls.h */

struct relay_callbacks {
	/**
	 * @packet: @source sent @data (WireGuard or disco) through @region
	 */
	void (*packet)(void *ctx, uint16_t region, const struct public_key *source,
		       const uint8_t *data, size_t length);

	/** @drained: no further @packet of what was received together */
	void (*drained)(void *ctx);

	/** @is_peer: whether to store the region of @key; NULL: always */
	bool (*is_peer)(void *ctx, const struct public_key *key);

	/**
	 * @connected: a region became ready or stopped being ready; @home: the home region
	 *
	 * Once home is ready, peers can reach us: the owner informs control and retries handshakes.
	 */
	void (*connected)(void *ctx, uint16_t region, bool home, bool connected);

	/**
	 * @peer_gone: @peer is not connected to @region (DERP_GONE_NOT_HERE, for a packet to it),
	 * or disconnected. The official relay reports NOT_HERE only for disco packets: the path
	 * engine's probes notice a lost handshake initiation
	 */
	void (*peer_gone)(void *ctx, uint16_t region, const struct public_key *peer,
			  enum derp_gone_reason reason);

	/** @peer_present: @peer is connected to @region (relays report it to meshed clients only) */
	void (*peer_present)(void *ctx, uint16_t region, const struct public_key *peer);

	/** @health: the @problem of a region, from the relay or from our dial; NULL: none
	 */
	void (*health)(void *ctx, uint16_t region, const char *problem);

	/**
	 * @stun_servers: where the home region's STUN servers listen (resolved again at each
	 * change of home or map); pass them to path_set_stun_servers()
	 */
	void (*stun_servers)(void *ctx, const struct endpoint *servers, size_t count);
};

struct relay_config {
	uv_loop_t *loop;
	struct socket_source *sockets;
	struct names *names;
	struct tls_context *tls;
	const struct proxy *proxy;         /* NULL: none */
	const struct secret_key *node_key; /* copied */
	const char *app_name;              /* sent to relays; NULL for none */
	bool plain_http; /* a test server without TLS; port 3340 unless the map names one */
	const struct relay_callbacks *callbacks;
	void *ctx;
};

/** relay_new() - A pool without map or home; 0 or -ENOMEM */
int relay_new(const struct relay_config *config, struct relay **ret);

/** relay_free() - Close all and release; NULL is allowed */
void relay_free(struct relay *r);

/** relay_set_map() - Set the regions (copied). A region with a new definition reconnects
 */
int relay_set_map(struct relay *r, const struct tailcfg_derp_map *map);

/** relay_set_home() - Connect to @region and keep it (0: none); informs all relays
 */
void relay_set_home(struct relay *r, uint16_t region);

/** relay_set_node_key() - Change the node key; all connections are made again */
void relay_set_node_key(struct relay *r, const struct secret_key *node_key);

/**
 * relay_send() - Send @count packets to @to, with as few writes and TLS records as it takes
 * @region: the peer's home region; 0: unknown
 *
 * Uses an open connection to @region; else the open one through which @to was last heard; else
 * dials @region and queues the packets.
 *
 * Return: 0 sent or queued, -EHOSTUNREACH no path to the peer (unknown region, peer never heard),
 * -EMSGSIZE a packet is too long (the others are sent), -ENOMEM
 */
int relay_send(struct relay *r, uint16_t region, const struct public_key *to,
	       const struct iovec *packets, size_t count);

/**
 * relay_link_changed() - The network changed
 *
 * Regions that connect or wait are dialled again at once; connected ones must answer a ping
 * within 5 s.
 */
void relay_link_changed(struct relay *r);

/** relay_region_code() - "fra" for a region of the map, or NULL */
const char *relay_region_code(const struct relay *r, uint16_t region);
