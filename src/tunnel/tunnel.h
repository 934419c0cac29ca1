/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/tunnel.h - peers, and the packets between them and this host
 *
 * Joins WireGuard, paths, relays, the packet filter and the TUN device on one loop. It
 * knows peers by struct tunnel_peer, and nothing about tailnets.
 */
#pragma once

#include "base/buffer.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/socket_source.h"
#include "filter/divert.h"
#include "filter/filter.h"
#include "filter/masquerade.h"
#include "tunnel/path/path.h"
#include "tunnel/relay/relay.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <uv.h>

struct tailcfg_derp_map;
struct tunnel;
struct wg_statistics;

struct tunnel_callbacks {
	/** @endpoints_changed: the endpoints of this node, and whether UDP works, for control */
	void (*endpoints_changed)(void *ctx, const struct path_endpoint *list, size_t count,
				  bool working_udp);
	/** @relay_connected: a relay region became ready, or stopped being ready */
	void (*relay_connected)(void *ctx, uint16_t region, bool home, bool connected);
	/** @relay_health: the problem of a region; NULL: it is over */
	void (*relay_health)(void *ctx, uint16_t region, const char *problem);
	/** @handover_changed: the result of tunnel_export() has changed */
	void (*handover_changed)(void *ctx);
};

/* What the kernel may do for many packets at once; all false: each packet by itself. */
struct tunnel_offloads {
	bool tun_headers; /* the TUN queues are IFF_VNET_HDR; the following two need it */
	bool tun_tcp;     /* the kernel splits what we merge */
	bool tun_udp;
	bool udp_segment; /* used if the kernel has it */
	bool udp_merge;   /* the same */
};

struct tunnel_config {
	uv_loop_t *loop;
	struct socket_source *sockets;
	struct names *names;
	struct tls_context *tls;
	const struct proxy *proxy; /* of the relays' connections; NULL: none */
	const int *tun;            /* queues; all are read. The caller keeps the descriptors */
	size_t tun_count;
	size_t mtu; /* of the TUN, the limit for padding; 0: the default */
	int udp_v4; /* bound sockets, or -1 */
	int udp_v6;
	struct tunnel_offloads offloads;
	const struct secret_key *node_key;
	const struct secret_key *disco_key;
	const char *app_name; /* sent to relays */
	const struct tunnel_callbacks *callbacks;
	void *ctx;
};

/* The members of a peer that matter for packets. Everything is copied. */
struct tunnel_peer_config {
	struct path_peer_config path; /* its keys, home region and endpoints */
	const struct prefix *allowed_ips;
	size_t allowed_ip_count;
	struct masquerade masquerade;
	struct address address_v4; /* its own first addresses, for pings; ADDRESS_NONE: none */
	struct address address_v6;
	bool jailed;
	const void *node; /* passed to the filter's capability test */
};

/** tunnel_new() - A tunnel without peers and filter, which passes no packet. 0 or negative errno */
int tunnel_new(const struct tunnel_config *config, struct tunnel **ret);

/** tunnel_free() - Release it with all peers. NULL is allowed */
void tunnel_free(struct tunnel *tunnel);

/** tunnel_set_node_key() - Our node key was rotated: all sessions end */
void tunnel_set_node_key(struct tunnel *tunnel, const struct secret_key *node_key);

/**
 * tunnel_peer_set() - Add a peer, or change the one with that node key
 *
 * Return: 0; or negative errno, and there is no peer with that key
 */
int tunnel_peer_set(struct tunnel *tunnel, const struct tunnel_peer_config *config);

/** tunnel_peer_remove() - Remove a peer, if it exists */
void tunnel_peer_remove(struct tunnel *tunnel, const struct public_key *node_key);

/** tunnel_greet() - Start a handshake with a peer now, even without data to send */
void tunnel_greet(struct tunnel *tunnel, const struct public_key *node_key);

/** tunnel_remove_all_peers() - Remove all peers */
void tunnel_remove_all_peers(struct tunnel *tunnel);

/** tunnel_set_filter() - Use @filter from now on; takes ownership. NULL admits no packet */
void tunnel_set_filter(struct tunnel *tunnel, struct filter *filter);

/** tunnel_set_diverts() - Ports that are served elsewhere from now on; copied */
void tunnel_set_diverts(struct tunnel *tunnel, const struct divert *diverts, size_t count);

/** tunnel_set_peerapi() - The port of our PeerAPI, for answers to pings; 0: none */
void tunnel_set_peerapi(struct tunnel *tunnel, uint16_t port);

/**
 * tunnel_peer_capabilities() - List the capabilities that grants give @source at @destination
 * @node_key: of the node with @source: a peer, or this node
 * @each:     as for filter_peer_capabilities()
 */
void tunnel_peer_capabilities(struct tunnel *tunnel, const struct public_key *node_key,
			      const struct address *source, const struct address *destination,
			      bool (*each)(void *data, const char *name, const char *values),
			      void *data);

/** tunnel_set_own_addresses() - Set our addresses, the source of pings */
void tunnel_set_own_addresses(struct tunnel *tunnel, const struct prefix *list, size_t count);

/** tunnel_set_relays() - Set the relay map and the home region (0: none) */
int tunnel_set_relays(struct tunnel *tunnel, const struct tailcfg_derp_map *map, uint16_t home);

/** tunnel_set_interfaces() - Set the machine's addresses; calls endpoints_changed() */
void tunnel_set_interfaces(struct tunnel *tunnel, const struct path_interface_address *list,
			   size_t count);

/** tunnel_link_changed() - The network changed: search all paths again */
void tunnel_link_changed(struct tunnel *tunnel);

enum tunnel_ping_type {
	TUNNEL_PING_DISCO, /* along the path, below WireGuard */
	TUNNEL_PING_TSMP,  /* through WireGuard, answered by the peer's engine */
	TUNNEL_PING_ICMP,  /* through WireGuard, answered by the peer's kernel */
};

struct tunnel_ping_result {
	int error; /* 0, -ETIMEDOUT, -EHOSTUNREACH, -ECANCELED */
	nanoseconds latency;
	bool direct;
	struct endpoint endpoint; /* if direct */
	uint16_t region;          /* if not */
	uint16_t peer_api_port;   /* TSMP */
};

typedef void (*tunnel_ping_callback)(void *ctx, const struct tunnel_ping_result *result);

/**
 * tunnel_ping() - Ping a peer
 * @callback: called once, later
 *
 * Return: 0; -ENOENT no such peer; -EHOSTUNREACH no path; -ENOMEM; without callback
 */
int tunnel_ping(struct tunnel *tunnel, const struct public_key *node_key,
		const struct address *target, enum tunnel_ping_type type,
		tunnel_ping_callback callback, void *ctx);

struct tunnel_peer_status {
	struct path_peer_status path;
	uint64_t rx_bytes;
	uint64_t tx_bytes;
	nanoseconds last_handshake; /* wall clock, nanoseconds since 1970; 0: none */
};

/** tunnel_peer_status() - 0, or -ENOENT */
int tunnel_peer_status(struct tunnel *tunnel, const struct public_key *node_key,
		       struct tunnel_peer_status *ret);

/** tunnel_relay() - The relays, for status */
const struct relay *tunnel_relay(const struct tunnel *tunnel);

/* Datagrams by path. */
enum tunnel_way {
	TUNNEL_WAY_DIRECT_V4,
	TUNNEL_WAY_DIRECT_V6,
	TUNNEL_WAY_RELAY,
	TUNNEL_WAY_COUNT,
};

struct tunnel_traffic {
	uint64_t packets, bytes;
};

struct tunnel_counters {
	struct tunnel_traffic in[TUNNEL_WAY_COUNT];
	struct tunnel_traffic out[TUNNEL_WAY_COUNT];
	uint64_t verdicts_in[FILTER_VERDICT_COUNT];
	uint64_t verdicts_out[FILTER_VERDICT_COUNT];
	uint64_t no_peer;    /* from the host to an address without a peer */
	uint64_t no_way;     /* to a peer without a path */
	uint64_t tun_failed; /* refused by the TUN device */
	uint64_t udp_full;   /* to a full socket, while as much as is allowed waits for it */
};

const struct tunnel_counters *tunnel_counters(const struct tunnel *tunnel);

/** tunnel_wireguard_statistics(), tunnel_path_statistics() - The counters of the parts below */
const struct wg_statistics *tunnel_wireguard_statistics(const struct tunnel *tunnel);
const struct path_statistics *tunnel_path_statistics(const struct tunnel *tunnel);

/**
 * tunnel_export() - The active peers, for the engine after this one
 * @out: appended to; hostile input for the importing engine
 */
int tunnel_export(struct tunnel *tunnel, struct buffer *out);

/**
 * tunnel_import() - Restore the export of an earlier engine
 *
 * Call it after the peers are set: each previously active peer gets a handshake initiation
 * at once, along its old path and by relay.
 *
 * Return: how many peers were active, or -EBADMSG
 */
int tunnel_import(struct tunnel *tunnel, const void *bytes, size_t length);
