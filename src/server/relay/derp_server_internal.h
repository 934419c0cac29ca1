/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/derp_server_internal.h - what the files of the relay's core share */
#pragma once

#include "server/relay/derp_server.h"

#include <sodium.h>

/* Keys are chosen by strangers, so the tables' hash is keyed. */
uint32_t derp_hash(const void *key, size_t length);
#define HASH_FUNCTION(key, length, hash) ((hash) = derp_hash((key), (length)))
#define HASH_NONFATAL_OOM                1
#include <uthash.h>

#define DERP_RECEIVE_PIECE ((size_t)16 * 1024) /* looked at at once: a TLS record */

/* A packet in a queue: the frame as it will be sent. */
struct packet {
	STAILQ_ENTRY(packet) next;
	uint32_t source; /* number of the connection it came from */
	uint32_t length;
	uint8_t frame[];
};

/* @from has sent to @to. */
struct flow {
	struct derp_connection *from;
	struct peer *to;
	LIST_ENTRY(flow) senders; /* of @to */
	UT_hash_handle hh;        /* in from->flows, by to->key */
};

/* A node's key with its connections. */
struct peer {
	struct public_key key;
	LIST_HEAD(, derp_connection) connections; /* the newest first */
	struct derp_connection *active;
	unsigned int count;
	LIST_HEAD(, flow) senders;
	UT_hash_handle hh; /* in server->peers */
};

/** connection_want() - Ask the owner for something */
void connection_want(struct derp_connection *c, enum derp_wants what);

/** connection_end() - Nothing more is taken from it; the owner is to free it */
void connection_end(struct derp_connection *c);

/** connection_schedule() - Be looked at when the earlier of alive_at and blocked_at has come */
void connection_schedule(struct derp_connection *c);

/** connection_tell() - Queue a frame that is not a packet; false when there is no room */
bool connection_tell(struct derp_connection *c, const struct derp_message *m);

/** queues_clear() - Free all that is queued for @c */
void queues_clear(struct derp_connection *c);

/** peer_join() - @c is READY now; 0 or -ENOMEM */
int peer_join(struct derp_connection *c);

/** flow_to() - The peer with @key, remembered as a destination of @c; NULL: it is not here */
struct peer *flow_to(struct derp_connection *c, const struct public_key *key);
