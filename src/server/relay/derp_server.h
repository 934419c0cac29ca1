/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/derp_server.h - a relay's core: connections, and packets between them
 *
 * Sans-I/O. Bytes that follow the HTTP upgrade go in, bytes to send come out, time is
 * passed in; sockets are the owner's.
 *
 *	state      waits for                     ends by
 *	GREETING   ClientInfo                    10 s; a box that doesn't open
 *	VERIFYING  derp_connection_admit()       10 s; a refusal
 *	READY      frames                        a frame too long; 2 s without taking what was sent
 *	ENDING     the owner's _free()           DERP_WANTS_CLOSE asks for it
 *
 * Theory of operation
 *   Input on one connection makes output on others, so a list holds the connections
 *   that need their owner: after each call the owner empties derp_server_attention()
 *   and carries out the requests.
 *
 *   A node's key is a `peer`, with one connection or several (a copied state file, a
 *   reconnect whose old side is not known to be dead): packets go to the one that wrote
 *   last, and a Health frame notifies all of them.
 *
 *   Each connection has two bounded queues, discovery apart from data, served in turn.
 *   A full one drops the oldest packet of the source that holds most of it, so a flood
 *   pushes out its own packets and not a neighbour's. Output is taken only as fast as
 *   the client reads: a client that does not read fills its own queues, and after 2 s is cut.
 *
 *   A `flow` remembers sender and destination: it finds the destination without asking the
 *   table, and the senders that receive PeerGone when the destination leaves.
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/deadlines.h"
#include "base/quota.h"
#include "wire/derp.h"

#include <sys/queue.h>

#define DERP_SERVER_PATIENCE (10 * NSEC_PER_SEC) /* for ClientInfo, and for a verdict */
#define DERP_SERVER_KEEP_ALIVE \
	(40 * NSEC_PER_SEC) /* proxies cut idle connections after 50 or 60 s */
#define DERP_SERVER_JITTER        (5 * NSEC_PER_SEC)
#define DERP_SERVER_WRITE_TIMEOUT (2 * NSEC_PER_SEC)
#define DERP_SERVER_GONE_BURST    3 /* PeerGone for unknown destinations: a second, at once */

/* Requests to the owner; flags. */
enum derp_wants {
	DERP_WANTS_WRITE = 1,  /* it has output: derp_connection_output() */
	DERP_WANTS_VERIFY = 2, /* decide about its key: derp_connection_admit() */
	DERP_WANTS_CLOSE = 4,  /* write what there is, then derp_connection_free() */
};

struct derp_server_statistics {
	uint64_t accepted;   /* connections that reached GREETING */
	uint64_t admitted;   /* and READY */
	uint64_t refused;    /* by the verdict */
	uint64_t malformed;  /* greeting or frame that isn't one */
	uint64_t timed_out;  /* in GREETING or VERIFYING */
	uint64_t stalled;    /* cut because they did not read */
	uint64_t duplicates; /* connections that came while their key had another */
	uint64_t packets_in, bytes_in;
	uint64_t packets_out, bytes_out;
	uint64_t dropped_unknown; /* destination not here */
	uint64_t dropped_queue;   /* full queue of a destination, data */
	uint64_t dropped_disco;   /* full queue of a destination, discovery */
	uint64_t dropped_memory;  /* all queues together at their bound, or no memory */
	uint64_t unknown_frames;
	uint64_t peer_gone;
	size_t connections; /* in any state */
	size_t ready;
	size_t peers;
	size_t home; /* connections that called this relay their home */
	size_t queued_bytes;
};

/* The caller reads the public key, the deadlines and the statistics of a server, and the owner, the
 * key and read_after of a connection. It changes none of them. */

enum connection_state {
	GREETING,
	VERIFYING,
	READY,
	ENDING,
};

struct packet_queue {
	STAILQ_HEAD(, packet) packets;
	size_t count, bytes;
};

struct derp_connection {
	struct derp_server *server;
	void *owner;                             /* the caller's */
	LIST_ENTRY(derp_connection) connections; /* of the server */
	uint32_t number;
	enum connection_state state;
	struct public_key key;             /* VERIFYING and READY; before: zeros */
	struct peer *peer;                 /* READY */
	LIST_ENTRY(derp_connection) twins; /* of the peer */

	struct buffer input;   /* an incomplete frame */
	struct buffer control; /* frames that are not packets */
	struct packet_queue disco, data;
	bool data_turn;
	bool home;

	struct flow *flows, *last_flow;
	struct quota gone;
	nanoseconds paid_at;    /* when its rate has paid for all that it sent, and a second more */
	nanoseconds read_after; /* don't read from it before: its rate is used up. 0: read on */

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

/**
 * derp_server_new() - A relay without clients
 * @key:              copied, and wiped at the end
 * @bytes_per_second: the rate of one client, which receives it; 0: no limit
 *
 * Return: 0 or -ENOMEM
 */
int derp_server_new(const struct secret_key *key, uint64_t bytes_per_second,
		    struct derp_server **ret);

/** derp_server_free() - With all its connections; NULL is fine */
void derp_server_free(struct derp_server *server);

/**
 * derp_server_accept() - A connection whose upgrade is done; its greeting is output already
 * @owner: the connection's member of that name
 *
 * Return: NULL without memory
 */
struct derp_connection *derp_server_accept(struct derp_server *server, void *owner,
					   nanoseconds now);

/** derp_connection_free() - The connection has ended; its senders are notified */
void derp_connection_free(struct derp_connection *c);

/**
 * derp_connection_receive() - Take received bytes
 *
 * Return: 0, or negative errno (-EBADMSG, -EMSGSIZE, -ENOMEM, -EPIPE when it is ENDING): free it
 */
int derp_connection_receive(struct derp_connection *c, const void *bytes, size_t length,
			    nanoseconds now);

/**
 * derp_connection_output() - Take frames to send
 * @out:  appended to
 * @most: stop when @out holds as many bytes (the last frame may pass it)
 *
 * Return: whether there is more
 */
bool derp_connection_output(struct derp_connection *c, struct buffer *out, size_t most);

/** derp_connection_blocked() - Not all output has left; call it once for each such time */
void derp_connection_blocked(struct derp_connection *c, nanoseconds now);

/** derp_connection_unblocked() - It has */
void derp_connection_unblocked(struct derp_connection *c);

/** derp_connection_admit() - The verdict about a connection in VERIFYING */
void derp_connection_admit(struct derp_connection *c, bool allow, nanoseconds now);

/** derp_server_attention() - The next connection that wants something, or NULL; @ret_wants: flags
 */
struct derp_connection *derp_server_attention(struct derp_server *server, unsigned int *ret_wants);

/** derp_server_timeout() - Wants to be called at the first of the server's deadlines */
void derp_server_timeout(struct derp_server *server, nanoseconds now);

/** derp_server_expel() - End all connections of a key */
void derp_server_expel(struct derp_server *server, const struct public_key *key);

/** derp_server_restarting() - Tell every client when to come back */
void derp_server_restarting(struct derp_server *server, uint32_t in_ms, uint32_t try_for_ms);
