/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/relay.h - the pool of connections to relay regions
 *
 * One connection a region. The home region's is always kept: it is where peers
 * find us. Another is dialled when something is sent there and closed after 60 s
 * without writes. What is sent while a region connects waits in a bounded queue
 * (oldest dropped first, and counted) and goes out at once when it is ready, so a
 * first handshake initiation is never lost here.
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

	/** @is_peer: whether the way of @key is worth remembering; NULL: each is */
	bool (*is_peer)(void *ctx, const struct public_key *key);

	/**
	 * @connected: a region is ready, or no longer; @home if it is the home region
	 *
	 * When home connects, peers can reach us: the time to tell control, to retry a handshake.
	 */
	void (*connected)(void *ctx, uint16_t region, bool home, bool connected);

	/**
	 * @peer_gone: what was sent to @peer through @region got nowhere (DERP_GONE_NOT_HERE),
	 * or the peer left. The official relay says NOT_HERE only of disco packets: a lost
	 * handshake initiation is noticed by the path engine's probes
	 */
	void (*peer_gone)(void *ctx, uint16_t region, const struct public_key *peer,
			  enum derp_gone_reason reason);

	/** @peer_present: @peer is connected to @region (relays tell only meshed clients) */
	void (*peer_present)(void *ctx, uint16_t region, const struct public_key *peer);

	/** @health: @problem of a region in words, from outside and from our dialling; NULL: well
	 */
	void (*health)(void *ctx, uint16_t region, const char *problem);

	/**
	 * @stun_servers: where the home region's STUN servers listen (resolved anew at each
	 * change of home or map); hand them to path_set_stun_servers()
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
	const char *app_name;              /* told to relays; NULL for none */
	bool plain_http; /* a test server without TLS, port 3340 unless the map says */
	const struct relay_callbacks *callbacks;
	void *ctx;
};

/** relay_new() - A pool without map or home; 0 or -ENOMEM */
int relay_new(const struct relay_config *config, struct relay **ret);

/** relay_free() - Close all and release; NULL is fine */
void relay_free(struct relay *r);

/** relay_set_map() - The regions there are (copied). A region whose definition changed reconnects
 */
int relay_set_map(struct relay *r, const struct tailcfg_derp_map *map);

/** relay_set_home() - Connect to @region and keep it (0: none); tells all relays which is preferred
 */
void relay_set_home(struct relay *r, uint16_t region);

/** relay_set_node_key() - A new node key: all connections are made anew */
void relay_set_node_key(struct relay *r, const struct secret_key *node_key);

/**
 * relay_send() - Send @data to @to
 * @region: the peer's home region, or 0 if it isn't known
 *
 * An open connection to @region is used; else the open one through which @to was last heard; else
 * @region is dialled and the packet waits.
 *
 * Return: 0 sent or queued, -EHOSTUNREACH no way to the peer (unknown region, nothing heard),
 * -EMSGSIZE, -ENOMEM
 */
int relay_send(struct relay *r, uint16_t region, const struct public_key *to, const void *data,
	       size_t length);

/**
 * relay_link_changed() - The network moved
 *
 * What is connecting or waiting is dialled anew at once; what is connected must answer a ping
 * within 5 s.
 */
void relay_link_changed(struct relay *r);

/** relay_region_code() - "fra" for a region of the map, or NULL */
const char *relay_region_code(const struct relay *r, uint16_t region);
