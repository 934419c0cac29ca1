/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/limits.h - what a stranger can make grow, and how far
 *
 * Hitting a limit is logged once and counted. Protocol constants (packet sizes,
 * timeouts) stand in their protocol's header; these are ours to choose.
 */
#pragma once

/* HTTP: a status line and headers; bodies that are read whole. */
#define LIMIT_HTTP_HEADER   (32u * 1024)
#define LIMIT_HTTP_HEADERS  100u
#define LIMIT_HTTP_TRAILERS 32u
#define LIMIT_KEY_BODY      (64u * 1024)
#define LIMIT_RPC_BODY      (1024u * 1024)
#define LIMIT_C2N_BODY      (4u * 1024 * 1024)
#define LIMIT_HTTP2_STREAMS 32u                 /* of one client at once */
#define LIMIT_HTTP_RESPONSE (65u * 1024 * 1024) /* of ours, with its head */

/*
 * What strangers may take of the memory of a coordination server: 64 MiB in all, 8 MiB from one
 * address (or /64). That is the sum of HTTP connections of the server and of its relay, guests, and
 * pending logins. Loopback, where a proxy may be, has no share of its own.
 */

/*
 * Servers: HTTP connections that are not upgraded, and the bytes of their TLS, heads and bodies; the
 * seconds in which a request has to be complete, or a client has to take a piece of an answer.
 */
#define LIMIT_SERVER_CONNECTIONS 2048u
#define LIMIT_SERVER_BYTES       (20u * 1024 * 1024)
#define LIMIT_SERVER_PATIENCE    10

/* Of one address: such connections and bytes, and new connections, a second and at once. */
#define LIMIT_SERVER_SOURCE       128u
#define LIMIT_SERVER_SOURCE_BYTES (2u * 1024 * 1024)
#define LIMIT_SERVER_SOURCE_RATE  200u
#define LIMIT_SERVER_SOURCE_BURST 1000u

/*
 * Guests, machines that proved a key which no node has: connections of one address; bytes of the
 * bodies of one connection; bytes of all that they hold, of one address and of all.
 */
#define LIMIT_CONTROL_GUEST_SOURCE       128u
#define LIMIT_CONTROL_GUEST_BODIES       (128u * 1024)
#define LIMIT_CONTROL_GUEST_SOURCE_BYTES (3u * 1024 * 1024)
#define LIMIT_CONTROL_GUEST_BYTES        (16u * 1024 * 1024)

/* Connections with one machine key. */
#define LIMIT_CONTROL_MACHINE 16u

/*
 * Relay server. Queued for one client, each of discovery and data: packets and bytes; bytes
 * queued for all. The greeting's frame; destinations remembered of one client; connections with
 * one key, and from one address (or /64); verdicts asked for at once.
 */
#define LIMIT_RELAY_QUEUE_PACKETS 64u
#define LIMIT_RELAY_QUEUE_BYTES   (256u * 1024)
#define LIMIT_RELAY_QUEUED_BYTES  (256u * 1024 * 1024)
#define LIMIT_RELAY_GREETING      4096u
#define LIMIT_RELAY_FLOWS         1024u
#define LIMIT_RELAY_SAME_KEY      8u
#define LIMIT_RELAY_SOURCE        4096u
#define LIMIT_RELAY_VERDICTS      256u

/* Names that one relay answers /bootstrap-dns with. */
#define LIMIT_BOOTSTRAP_NAMES 64u

/* STUN server: answers to one address (or /64), a second and at once. */
#define LIMIT_STUN_SOURCE_RATE  100u
#define LIMIT_STUN_SOURCE_BURST 200u

/*
 * LocalAPI and health listener, each: connections, those of them kept for users with write access, and
 * those of one user without it; bytes of bodies on all connections together; bytes queued for one
 * reader of the bus; bytes that all readers have not taken yet, besides the newest reply.
 */
#define LIMIT_LOCALAPI_CONNECTIONS 64u
#define LIMIT_LOCALAPI_RESERVED    16u
#define LIMIT_LOCALAPI_USER        24u
#define LIMIT_LOCALAPI_BODY        (1024u * 1024)
#define LIMIT_LOCALAPI_QUEUE       (1024u * 1024)
#define LIMIT_LOCALAPI_UNREAD      (8u * 1024 * 1024)

/* Byte streams: what is queued towards a peer that does not read. */
#define LIMIT_STREAM_QUEUE (1024u * 1024)

/* Control: one compressed map frame, and what it may inflate to; peers; pings that it may have
 * us send at once. */
#define LIMIT_MAP_FRAME     (16u * 1024 * 1024)
#define LIMIT_MAP_OBJECT    (64u * 1024 * 1024)
#define LIMIT_PEERS         65536u
#define LIMIT_CONTROL_PINGS 8u

/* Relay: one frame; bytes queued towards a relay that does not read. */
#define LIMIT_DERP_FRAME (1024u * 1024)
#define LIMIT_DERP_QUEUE (512u * 1024)

/* Peers for which the relay region that they were heard through is remembered. */
#define LIMIT_RELAY_ROUTES 4096u

/*
 * Paths: endpoints that one peer may be tried at; its pings that we wait for. Pings to endpoints
 * that are not proved: at once and a second, of one peer and of all; and how many of one peer's
 * are kept for endpoints that control or a CallMeMaybe named.
 */
#define LIMIT_PATH_CANDIDATES 100u
#define LIMIT_PATH_PINGS      256u
#define LIMIT_PATH_PEER_BURST 128u
#define LIMIT_PATH_PEER_RATE  20u
#define LIMIT_PATH_PEER_NAMED 64u
#define LIMIT_PATH_ALL_BURST  2048u
#define LIMIT_PATH_ALL_RATE   500u

/* Coordination server: one JSON text of a node's row; logins that wait for an operator; bytes of
 * full maps that have not left yet, past which others wait. */
#define LIMIT_JSON_COLUMN                  (256u * 1024)
#define LIMIT_HOSTINFO                     (64u * 1024) /* in its encoding; it has to fit into a column */
#define LIMIT_CONTROL_PENDING              1024u
#define LIMIT_CONTROL_PENDING_MACHINE      4u  /* of them: of one machine key, */
#define LIMIT_CONTROL_PENDING_SOURCE       32u /* of one address (or /64) */
#define LIMIT_CONTROL_PENDING_SOURCE_BYTES (1024u * 1024)
#define LIMIT_CONTROL_PENDING_BYTES        (8u * 1024 * 1024)
#define LIMIT_CONTROL_CHECKS               16u /* SSH sessions to one node that wait for a person */
#define LIMIT_CONTROL_CONFIRMED            4096u
#define LIMIT_CONTROL_HOOKS                32u /* changes of DNS that wait for the operator's program */
#define LIMIT_CONTROL_QUEUED               (64u * 1024 * 1024)
#define LIMIT_CONTROL_QUEUED_FIRST         (64u * 1024 * 1024) /* more, for the first map of a stream */

/* Stored files. */
#define LIMIT_STATE_FILE    (4u * 1024 * 1024)
#define LIMIT_RESOLVER_TEXT (256u * 1024)
#define LIMIT_CA_BUNDLE     (4u * 1024 * 1024)
#define LIMIT_PASSWD        (1024u * 1024)

/* A policy file, its rules, and the selectors they name in all. */
#define LIMIT_POLICY_TEXT      (1024u * 1024)
#define LIMIT_POLICY_RULES     65536u
#define LIMIT_POLICY_SELECTORS 65536u

/* Kernel network state: addresses of our link, routes into it, addresses of this namespace. */
#define LIMIT_NET_ADDRESSES  64u
#define LIMIT_NET_ROUTES     (2u * LIMIT_PEERS + 4096u)
#define LIMIT_NET_INTERFACES 1024u

/*
 * WireGuard. Handshakes a second, without a proof of address and with one, of one source (address,
 * /64, relay client) and of all; sources that are counted separately. 500 a second are 6 % of a core.
 */
#define LIMIT_WG_SOURCE_UNPROVEN     100u
#define LIMIT_WG_SOURCE_PROVEN       20u
#define LIMIT_WG_SOURCE_PROVEN_BURST 5u
#define LIMIT_WG_ALL_UNPROVEN        500u
#define LIMIT_WG_ALL_PROVEN          1000u
#define LIMIT_WG_SOURCES             512u

/* Packets that wait for a session: of one peer, and their bytes of all. */
#define LIMIT_WG_STAGED       128u
#define LIMIT_WG_STAGED_BYTES (1024u * 1024)
