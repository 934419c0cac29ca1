/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/derp_server_internal.h - what the files of the relay's core share */
#pragma once

#include "base/deadlines.h"
#include "base/quota.h"
#include "server/relay/derp_server.h"

#include <sodium.h>
#include <sys/queue.h>

/* Keys are chosen by strangers, so the tables' hash is keyed. */
uint32_t derp_hash(const void *key, size_t length);
#define HASH_FUNCTION(key, length, hash) ((hash) = derp_hash((key), (length)))
#define HASH_NONFATAL_OOM                1
#include <uthash.h>

#define DERP_RECEIVE_PIECE ((size_t)16 * 1024) /* looked at at once: a TLS record */

enum connection_state {
	GREETING,
	VERIFYING,
	READY,
	ENDING,
};

/* A packet in a queue: the frame as it will be sent. */
struct packet {
	STAILQ_ENTRY(packet) next;
	uint32_t source; /* number of the connection it came from */
	uint32_t length;
	uint8_t frame[];
};

struct packet_queue {
	STAILQ_HEAD(, packet) packets;
	size_t count, bytes;
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

struct derp_connection {
	struct derp_server *server;
	void *owner;
	LIST_ENTRY(derp_connection) connections; /* of the server */
	uint32_t number;
	enum connection_state state;
	struct public_key key;
	struct peer *peer;                 /* READY */
	LIST_ENTRY(derp_connection) twins; /* of the peer */

	struct buffer input;   /* an incomplete frame */
	struct buffer control; /* frames that are not packets */
	struct packet_queue disco, data;
	bool data_turn;
	bool home;

	struct flow *flows, *last_flow;
	struct quota gone;
	nanoseconds paid_at; /* when its rate has paid for all that it sent, and a second more */
	nanoseconds read_after;

	nanoseconds alive_at;   /* next keep-alive, or the end of patience */
	nanoseconds blocked_at; /* cut if nothing left by then; DEADLINE_NEVER */
	struct deadline due;    /* the earlier of both */

	unsigned int wants; /* enum derp_wants */
	bool listed;        /* in the list of attention */
	TAILQ_ENTRY(derp_connection) attention;
};

struct derp_server {
	struct secret_key key;
	struct public_key public;
	uint64_t rate;
	uint32_t last_number;
	struct peer *peers;
	LIST_HEAD(, derp_connection) connections;
	TAILQ_HEAD(, derp_connection) attention;
	struct deadlines deadlines;
	struct derp_server_statistics statistics;
};

/** connection_want() - Ask the owner for something */
void connection_want(struct derp_connection *c, enum derp_wants what);

/** connection_end() - Nothing more is taken from it; the owner is to free it */
void connection_end(struct derp_connection *c);

/** connection_schedule() - Be looked at when the earlier of alive_at and blocked_at has come */
void connection_schedule(struct derp_connection *c);

/** connection_tell() - Queue a frame that is not a packet; false when there is no room */
bool connection_tell(struct derp_connection *c, const struct derp_message *m);

/** queue_packet() - Queue a packet of @from for @to, dropping where it must */
void queue_packet(struct derp_connection *to, const struct derp_connection *from,
		  const uint8_t *data, size_t length);

/** queues_clear() - Free all that is queued for @c */
void queues_clear(struct derp_connection *c);

/** peer_join() - @c is READY now; 0 or -ENOMEM */
int peer_join(struct derp_connection *c);

/** peer_leave() - And not any more; the last one ends the peer */
void peer_leave(struct derp_connection *c);

/** peer_active() - @c wrote: packets for its key go to it */
static inline void peer_active(struct derp_connection *c)
{
	c->peer->active = c;
}

/** flow_to() - The peer with @key, remembered as a destination of @c; NULL: it is not here */
struct peer *flow_to(struct derp_connection *c, const struct public_key *key);

/** flows_clear() - Forget the destinations of @c */
void flows_clear(struct derp_connection *c);
