/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path.h - the path of datagrams to each peer
 *
 * Sans-I/O: time comes in as `now`, datagrams go out by callback. The relay is
 * always usable. A direct UDP endpoint is usable from the pong that proves it until
 * 6.5 s after the last pong. After that, datagrams take both paths. Only a pong to our
 * own ping changes the path; no other packet does.
 *
 * A peer is active for 45 s after the last datagram sent to it. While active, its
 * best endpoint is pinged every 3 s and, when that isn't good enough, all of its
 * endpoints; after that the engine is silent.
 *
 * STUN runs from the same UDP socket: give path_receive_udp() every datagram that
 * disco_recognise() or stun_recognise() knows.
 *
 * Callbacks may call path_send_failed() and functions that only read (…_status(), …_user() …),
 * no other function of this engine; the callback of path_ping() may also ping again.
 */
#pragma once

#include "base/address.h"
#include "base/clock.h"
#include "base/secret.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct path_engine;
struct path_peer;

/* The numbers of EndpointTypes in the control protocol. */
enum path_endpoint_type {
	PATH_ENDPOINT_LOCAL = 1,
	PATH_ENDPOINT_STUN = 2,
	PATH_ENDPOINT_PORTMAPPED = 3,
	PATH_ENDPOINT_STUN_LOCAL_PORT = 4,
	PATH_ENDPOINT_EXPLICIT = 5,
};

struct path_endpoint {
	struct endpoint endpoint;
	enum path_endpoint_type type;
};

/* How a peer proved that it is online and knows our keys. */
enum path_evidence {
	PATH_EVIDENCE_PING, /* it pinged us: our disco key is in its netmap */
	PATH_EVIDENCE_PONG, /* it answered us */
	PATH_EVIDENCE_CALL, /* CallMeMaybe */
};

struct path_callbacks {
	/** @send_udp: send a datagram; on failure call path_send_failed(), at once or later */
	void (*send_udp)(void *ctx, const struct endpoint *to, const uint8_t *data, size_t length);

	/** @send_relay: as relay_send() */
	void (*send_relay)(void *ctx, uint16_t region, const struct public_key *to,
			   const uint8_t *data, size_t length);

	/** @path_changed: path_peer_status() of @peer has changed */
	void (*path_changed)(void *ctx, struct path_peer *peer);

	/**
	 * @heard: an authentic disco message arrived from @peer
	 *
	 * The owner repeats an unanswered handshake initiation now: the peer is online and
	 * knows our keys, unlike perhaps when the first initiation was sent.
	 */
	void (*heard)(void *ctx, struct path_peer *peer, enum path_evidence evidence);

	/**
	 * @restarted: @peer uses another disco key, so its WireGuard session is probably lost:
	 * the owner sends an initiation with the next packet. May be NULL
	 */
	void (*restarted)(void *ctx, struct path_peer *peer);

	/**
	 * @endpoints_changed: our endpoints (local, explicit, STUN) for control, and whether
	 * UDP works. Called only after a change
	 */
	void (*endpoints_changed)(void *ctx, const struct path_endpoint *list, size_t count,
				  bool working_udp);
};

/**
 * path_engine_new() - An engine without peers
 * @disco:    our disco key; copied
 * @node:     our public node key, which our pings carry
 * @callbacks, @ctx: kept by reference
 *
 * Return: the engine, or NULL without memory
 */
struct path_engine *path_engine_new(const struct secret_key *disco, const struct public_key *node,
				    const struct path_callbacks *callbacks, void *ctx);

/** path_engine_free() - Release it with all peers; NULL is allowed */
void path_engine_free(struct path_engine *e);

/** path_set_node_key() - Our node key was rotated */
void path_set_node_key(struct path_engine *e, const struct public_key *node);

/* Peers */

/* A peer as the netmap describes it. Everything is copied. */
struct path_peer_config {
	struct public_key node_key;
	struct public_key disco_key; /* zero: the netmap names none */
	uint16_t home_region;        /* 0: not known */
	const struct endpoint *endpoints;
	size_t endpoint_count;
	bool wireguard_only; /* no disco, no relay: its endpoints are used unproved */
};

/**
 * path_peer_add() - Add a peer
 * @user: returned by path_peer_user()
 *
 * Return: 0, -EEXIST (its node key is known), -EINVAL (zero node key), -ENOMEM
 */
int path_peer_add(struct path_engine *e, const struct path_peer_config *config, void *user,
		  struct path_peer **ret);

/** path_peer_update() - The netmap changed; the node key must be the same. 0, -EINVAL, -ENOMEM */
int path_peer_update(struct path_peer *p, const struct path_peer_config *config, nanoseconds now);

/** path_peer_set_tunnel_disco_key() - The peer announced its disco key inside the tunnel (TSMP);
 * 0, -ENOMEM
 */
int path_peer_set_tunnel_disco_key(struct path_peer *p, const struct public_key *key,
				   nanoseconds now);

/** path_peer_remove() - Remove a peer; a pending path_ping() gets -ECANCELED. NULL is allowed */
void path_peer_remove(struct path_peer *p);

void *path_peer_user(const struct path_peer *p);

/** path_peer_find() - By node key, or NULL */
struct path_peer *path_peer_find(struct path_engine *e, const struct public_key *node_key);

/* Data */

/* One or both paths; neither: the peer is unreachable. */
struct path_choice {
	bool direct;
	bool relay;
	struct endpoint endpoint; /* if direct */
	uint16_t region;          /* if relay; 0: the region where the peer was last heard */
};

/**
 * path_route() - The paths of the next datagram to @p
 *
 * Counts as activity: arms heartbeats and, where there is no good direct path, discovery (pings
 * to all its endpoints, CallMeMaybe by relay). O(1) while the direct path is good.
 */
void path_route(struct path_peer *p, nanoseconds now, struct path_choice *ret);

/** path_for_source() - The peer that proved to use @source, or NULL (for data accounting only) */
struct path_peer *path_for_source(struct path_engine *e, const struct endpoint *source);

/**
 * path_note_received() - An authentic WireGuard packet of @p arrived
 * @source: its address; NULL: by relay
 *
 * Binds @source for path_for_source(). Only a WireGuard-only peer changes its path by this.
 */
void path_note_received(struct path_peer *p, const struct endpoint *source, nanoseconds now);

/** path_send_failed() - A datagram to @to failed with @error (negative errno): host or network
 * unreachable ends that path; other errors are ignored */
void path_send_failed(struct path_engine *e, const struct endpoint *to, int error);

/** path_call() - Start discovery now: ping all endpoints and call the peer, as for data
 */
void path_call(struct path_peer *p, nanoseconds now);

/* Received messages */

/** path_receive_udp() - Handle a disco or STUN datagram from the UDP socket */
void path_receive_udp(struct path_engine *e, const struct endpoint *source, const uint8_t *data,
		      size_t length, nanoseconds now);

/** path_receive_relay() - Handle a disco packet by relay, from the connection of node @source */
void path_receive_relay(struct path_engine *e, uint16_t region, const struct public_key *source,
			const uint8_t *data, size_t length, nanoseconds now);

/** path_deadline() - The time of the next path_timeout(); any call may make it earlier */
nanoseconds path_deadline(const struct path_engine *e);

/** path_timeout() - Run the actions that are due */
void path_timeout(struct path_engine *e, nanoseconds now);

/* Our own endpoints */

/**
 * path_set_local_endpoints() - Set the endpoints of our UDP socket that node knows: interface
 * addresses (path_filter_local()), explicit, port-mapped. The engine adds STUN results
 */
int path_set_local_endpoints(struct path_engine *e, const struct path_endpoint *list, size_t count,
			     nanoseconds now);

/** path_set_stun_servers() - Set the servers; a change starts a round at once. 0 or -ENOMEM */
int path_set_stun_servers(struct path_engine *e, const struct endpoint *servers, size_t count,
			  nanoseconds now);

/** path_link_changed() - Addresses or routes changed: distrust all paths, start STUN again */
void path_link_changed(struct path_engine *e, nanoseconds now);

/* An interface address from the supervisor. */
struct path_interface_address {
	struct address address;
	bool own_tunnel; /* on our TUN */
};

/**
 * path_filter_local() - Select the interface addresses to advertise, with the socket's ports
 * @port_v4, @port_v6: of the UDP sockets; 0 if there is none of that family
 *
 * Leaves out tailnet addresses, our TUN, IPv4 and IPv6 link-local, multicast and unspecified;
 * loopback is used only without any other address.
 *
 * Return: the number of filled entries of @out
 */
size_t path_filter_local(const struct path_interface_address *in, size_t count, uint16_t port_v4,
			 uint16_t port_v6, struct path_endpoint *out, size_t capacity);

/* Status and pings of users */

struct path_ping_result {
	int error; /* 0, -ETIMEDOUT (5 s), -EHOSTUNREACH no path, -ECANCELED */
	bool direct;
	struct endpoint endpoint; /* if direct */
	uint16_t region;          /* if not direct: the relay of the pong */
	nanoseconds latency;
};

typedef void (*path_ping_callback)(void *ctx, const struct path_ping_result *result);

/**
 * path_ping() - Ping over the trusted direct path, else over all endpoints and the relay
 * @callback: called once, with the first pong or an error; never from inside path_ping()
 *
 * Return: 0, -EHOSTUNREACH no endpoint (no callback), -ENOMEM
 */
int path_ping(struct path_peer *p, nanoseconds now, path_ping_callback callback, void *ctx);

struct path_peer_status {
	bool active;              /* sent to within 45 s */
	bool direct;              /* data goes to @endpoint alone */
	struct endpoint endpoint; /* the best, trusted or not; family 0: none */
	nanoseconds latency;      /* of it; 0 if not known */
	uint16_t home_region;
	nanoseconds last_sent;  /* 0: never */
	nanoseconds last_heard; /* disco or data */
};

void path_peer_status(const struct path_peer *p, nanoseconds now, struct path_peer_status *ret);

struct path_statistics {
	uint64_t unknown_sender;  /* unknown disco key */
	uint64_t not_authentic;   /* or malformed */
	uint64_t ignored_type;    /* peer relay messages, future types */
	uint64_t unexpected_pong; /* no matching ping */
	uint64_t refused_call;    /* CallMeMaybe by UDP, or from another node's relay connection */
	uint64_t pings_sent, pings_received, pongs_received, calls_sent, calls_received;
	uint64_t stun_sent, stun_received, stun_unexpected;
};

const struct path_statistics *path_statistics(const struct path_engine *e);

/* Hand-over to the next engine */

struct path_handover {
	struct public_key node_key;
	struct endpoint endpoint; /* family 0: by relay only */
};

/** path_export() - The active peers, at most @capacity; returns the count */
size_t path_export(const struct path_engine *e, nanoseconds now, struct path_handover *out,
		   size_t capacity);

/**
 * path_import() - Set the endpoint that an earlier engine used for @p
 *
 * It is used beside the relay and not trusted before a pong.
 */
void path_import(struct path_peer *p, const struct endpoint *endpoint, nanoseconds now);
