/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/relay_server.h - a relay (DERP) with its STUN server, on libuv
 *
 * Theory of operation
 *   The relay answers on one TLS port: "/derp" by an upgrade, after which the
 *   connection is a client of the core (derp_server.h), and a few pages beside it
 *   (/derp/probe, /derp/latency-check, /generate_204, /bootstrap-dns, /healthz and,
 *   if asked for, /metrics). A second, plain port may answer the pages alone, for
 *   captive-portal checks on port 80. STUN answers on UDP.
 *
 *   A key and a certificate that are not given are made at the first start: the
 *   relay's key (relay.key), and a self-signed certificate (relay.crt, relay.pem:
 *   its key). Clients trust that one by its hash, which relay_server_add_to_map()
 *   puts into the DERPMap entry, so no CA file is needed.
 *
 *   Everything runs on the loop's thread.
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "wire/keys.h"
#include "wire/tailcfg_derp.h"

#include <uv.h>

struct relay_server;
struct tls_context;    /* transport/tls.h */
struct http1_exchange; /* server/web/web_server.h */

/* What /bootstrap-dns answers besides this relay's own name. */
struct relay_bootstrap_name {
	const char *name;
	struct address addresses[2]; /* ADDRESS_NONE both: resolved here, again and again */
};

/* All pointers need to be valid only during relay_server_new(), but @user and the loop. */
struct relay_server_config {
	/* Where to listen; port 0 is any free one. ADDRESS_NONE: all addresses, both families. */
	struct endpoint listen;
	struct endpoint stun; /* its port 0: any free one, for tests */
	bool no_stun;
	struct endpoint pages; /* plain HTTP for the pages alone, port 0: none */

	/*
	 * How clients reach it: the name (NULL: the address), and addresses, each of which
	 * may be ADDRESS_NONE. They stand in the certificate and in the DERPMap entry.
	 */
	const char *host_name;
	struct address ipv4, ipv6;
	uint16_t public_port;      /* 0: the one it listens on */
	uint16_t public_stun_port; /* 0: the one it listens on */

	const char *directory;   /* made if missing, mode 0700 */
	struct tls_context *tls; /* held; NULL: a self-signed certificate in `directory` */
	bool plain;              /* no TLS: a proxy before the relay has it, at `public_port` */

	/*
	 * Which nodes may connect. @verify decides at once; @verify_url is asked by POST with
	 * {"NodePublic":"nodekey:…","Source":"1.2.3.4"} and says {"Allow":true}. Neither:
	 * every node.
	 */
	bool (*verify)(void *user, const struct public_key *node, const struct address *source);
	void *user;
	const char *verify_url;     /* http or https */
	const char *verify_ca_file; /* PEM; NULL: the system's roots */
	bool verify_fail_open;      /* admit nodes while the URL can't be asked */

	uint64_t client_bytes_per_second; /* what one client may send; 0: no limit */
	unsigned int source_clients;      /* from one address or /64; 0: LIMIT_RELAY_SOURCE */
	bool metrics;                     /* serve /metrics */
	const struct relay_bootstrap_name *bootstrap;
	size_t bootstrap_count;
};

/**
 * relay_server_new() - Open everything and serve
 * @loop: the program ignores SIGPIPE and has called tls_init() and sodium_init()
 *
 * Return: 0, or negative errno with @err set, which says what to do about it
 */
int relay_server_new(uv_loop_t *loop, const struct relay_server_config *config,
		     struct relay_server **ret, struct error *err);

/** relay_server_free() - Cut every client and release; NULL is fine. Handles close in the loop */
void relay_server_free(struct relay_server *server);

/**
 * relay_server_add_to_map() - This relay as a region of a DERPMap, which has regions by id
 * @id:   of the region; its node is "IDa"
 * @code: a short name, beside the @name for people
 *
 * CertName is "sha256-raw:…" for a certificate of our own making; for one from a file, which clients
 * verify by name, it is empty. Return: 0 or -ENOMEM, after which the map is only good to be cleared
 */
int relay_server_add_to_map(const struct relay_server *server, uint16_t id, const char *code,
			    const char *name, struct tailcfg_derp_map *map);

/** relay_server_key() - The relay's public key */
const struct public_key *relay_server_key(const struct relay_server *server);

/** relay_server_endpoint(), …_stun() - Where it listens (the real port) */
const struct endpoint *relay_server_endpoint(const struct relay_server *server);
const struct endpoint *relay_server_stun(const struct relay_server *server);

/**
 * relay_server_serve() - Answer a request that came to another server of this program
 *
 * So that control and relay can share one port. Return: whether the path was one of ours; if so,
 * @x is answered or taken.
 */
bool relay_server_serve(struct relay_server *server, struct http1_exchange *x);

/** relay_server_expel() - Cut the connections of a node that may not connect any more */
void relay_server_expel(struct relay_server *server, const struct public_key *node);

/** relay_server_restarting() - Tell all clients: come back in @in, and try for @tries */
void relay_server_restarting(struct relay_server *server, nanoseconds in, nanoseconds tries);

/** relay_server_metrics() - Append the text of /metrics; 0, -ENOMEM, -EMSGSIZE */
int relay_server_metrics(const struct relay_server *server, struct buffer *out);
