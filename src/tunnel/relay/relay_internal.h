/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/relay_internal.h - shared among the files of the relay pool
 *
 *	relay.c         the pool: map, home, the path of a packet, time, STUN servers
 *	relay_region.c  one region: the race of its nodes, its connection, its queue
 */
#pragma once

#include "transport/http_client.h"
#include "transport/loop_timer.h"
#include "tunnel/relay/derp_client.h"
#include "tunnel/relay/relay.h"
#include "wire/tailcfg_derp.h"

#include <sys/queue.h>

/* Without memory a hash table refuses the new element: its hh.tbl is NULL then. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define RELAY_IDLE_CLOSE     (60 * NSEC_PER_SEC)
#define RELAY_NODE_BUDGET    (1500 * NSEC_PER_MSEC)
#define RELAY_DIAL_TIMEOUT   (10 * NSEC_PER_SEC)
#define RELAY_BACKOFF_MIN    (100 * NSEC_PER_MSEC)
#define RELAY_BACKOFF_MAX    (5 * NSEC_PER_SEC)
#define RELAY_STABLE         (10 * NSEC_PER_SEC)
#define RELAY_QUIET          (3 * NSEC_PER_SEC)
#define RELAY_PROBE_TIMEOUT  (5 * NSEC_PER_SEC)
#define RELAY_RESTART_MAX    (30 * NSEC_PER_SEC)
#define RELAY_PLAIN_PORT     3340
#define RELAY_NODES          8u /* nodes of one region that are tried */
/* Limit of unsent bytes in the stream; more packets wait in our queue, which drops old ones. */
#define RELAY_STREAM_PENDING (64u * 1024)
#define RELAY_WRITE          (16u * 1024) /* packets that are written together: a TLS record */
#define RELAY_PROBLEM_MAX    160

struct relay_node {
	char name[64];
	char host[256];
	char cert_name[256];
	struct address ipv4, ipv6; /* family 0: resolve */
	bool ipv4_disabled, ipv6_disabled, insecure;
	bool stun_only;
	uint16_t derp_port, stun_port;
	struct address stun_address;
};

enum relay_region_state {
	RELAY_IDLE,       /* not wanted */
	RELAY_CONNECTING, /* dialling, or waiting for the greeting */
	RELAY_CONNECTED,
	RELAY_WAITING, /* failed; waiting for the next attempt */
};

/* A packet for a relay that is connecting. */
struct queued_packet {
	STAILQ_ENTRY(queued_packet) next;
	struct public_key to;
	size_t length;
	uint8_t data[];
};

/*
 * Bounded by bytes (LIMIT_DERP_QUEUE). A full queue drops its oldest packet: in a tunnel a late
 * packet is worth less than a new one.
 */
struct packet_queue {
	STAILQ_HEAD(, queued_packet) packets;
	size_t bytes;
	uint64_t dropped; /* queue full, or refused by the relay */
};

/* One attempt at one node. */
struct relay_attempt {
	struct relay_region *region;
	size_t node;
	struct http_exchange *exchange; /* NULL: not running */
};

struct relay_region {
	struct relay *relay;
	uint16_t id;
	char code[32];
	struct relay_node nodes[RELAY_NODES];
	size_t node_count;
	bool in_map;

	enum relay_region_state state;
	bool told_connected;
	bool lost;      /* the stream ended; handled from the loop */
	bool preferred; /* last announced to the relay */
	size_t node;    /* connected to, or tried last */

	/* CONNECTING: the nodes race in their order, 1.5 s apart. */
	struct relay_attempt attempts[RELAY_NODES];
	size_t next_node;
	nanoseconds stagger_at;

	struct stream *stream;
	struct derp_client *client;
	nanoseconds last_wanted; /* time of the last packet for the region */
	nanoseconds ready_at;    /* start of the connection; 0: not connected */
	nanoseconds retry_at;    /* WAITING */
	nanoseconds probe_until; /* a pong is due by then; 0: none */
	nanoseconds quiet_until; /* a loss is reported then, unless reconnected */
	nanoseconds restart_in;  /* announced by the relay; 0: none */
	unsigned int failures;   /* in a row */

	struct packet_queue queue;
	char problem[RELAY_PROBLEM_MAX];
	char told_problem[RELAY_PROBLEM_MAX];
	struct relay_region *next;
};

struct relay_route {
	struct public_key key;
	struct relay_region *region;
	UT_hash_handle hh;
};

struct stun_lookup {
	struct relay *relay;
	struct names_query *query;
	uint16_t port;
};

struct relay {
	struct dialer dialer;
	struct secret_key node_key;
	char app_name[DERP_APP_NAME_MAX + 1];
	bool plain_http;
	const struct relay_callbacks *callbacks;
	void *ctx;
	struct loop_timer *timer;
	nanoseconds armed; /* time of the timer */

	struct relay_region *regions;
	uint16_t home;
	struct relay_route *routes;

	struct stun_lookup lookups[RELAY_NODES];
	struct endpoint stun[2 * RELAY_NODES];
	size_t stun_count;
	bool stun_wanted; /* resolve again, from the loop */
	nanoseconds stun_retry_at;
	unsigned int stun_failures;
};

/* relay.c */

/** relay_wake() - Run the timer at @at at the latest */
void relay_wake(struct relay *r, nanoseconds at);

struct relay_region *relay_find_region(const struct relay *r, uint16_t id);

/** routes_learn() - Store that @peer was heard through @region; only peers are stored */
void routes_learn(struct relay *r, const struct public_key *peer, struct relay_region *region);
void routes_forget(struct relay *r, const struct public_key *peer,
		   const struct relay_region *region);

/** routes_forget_region() - Remove the routes through @region; NULL: all */
void routes_forget_region(struct relay *r, const struct relay_region *region);

/* relay_region.c */

/** region_new() - A region without a definition; NULL without memory */
struct relay_region *region_new(struct relay *r, uint16_t id);
void region_free(struct relay_region *g);

/** region_define() - Set the definition; a changed one closes the connection */
void region_define(struct relay_region *g, const struct tailcfg_derp_region *from);

/** region_want() - Connect, unless connected, connecting or waiting */
void region_want(struct relay_region *g, nanoseconds now);

/** region_disconnect() - Close, and become IDLE; @keep_queue keeps the queue */
void region_disconnect(struct relay_region *g, bool keep_queue);

/** region_send() - Send at once, or queue; 0, -EMSGSIZE or -ENOMEM, as relay_send() */
int region_send(struct relay_region *g, const struct public_key *to, const struct iovec *packets,
		size_t count, nanoseconds now);

/** region_probe() - The network changed: ping; without an answer in 5 s the connection ends */
void region_probe(struct relay_region *g);

bool region_is_ready(const struct relay_region *g);
void region_note_home(struct relay_region *g);

/** region_tell() - Report changes to the owner; only from the loop */
void region_tell(struct relay_region *g);
void region_timeout(struct relay_region *g, nanoseconds now);
nanoseconds region_deadline(const struct relay_region *g);
