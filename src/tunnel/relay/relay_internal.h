/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/relay_internal.h - what the files of the relay pool share
 *
 *	relay.c               the pool: map, home, the way of a packet, time
 *	relay_region.c        one region: its nodes' race, its connection, its queue
 *	relay_stun_servers.c  where the home region's STUN servers listen
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
#define RELAY_NODES          8u /* of one region; the rest is not tried */
/* Bytes that may wait in the stream; beyond, packets wait in our queue, where old ones fall out. */
#define RELAY_STREAM_PENDING (64u * 1024)
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
	RELAY_CONNECTING, /* dialling, or the greeting isn't done */
	RELAY_CONNECTED,
	RELAY_WAITING, /* failed; waits before it tries again */
};

/* A packet that waits for the connection to a relay. */
struct queued_packet {
	STAILQ_ENTRY(queued_packet) next;
	struct public_key to;
	size_t length;
	uint8_t data[];
};

/*
 * Bounded by bytes (LIMIT_DERP_QUEUE). A full queue drops its oldest packet: for a tunnel a late
 * packet is worth less than a new one.
 */
struct packet_queue {
	STAILQ_HEAD(, queued_packet) packets;
	size_t bytes;
	uint64_t dropped; /* because the queue was full, or the relay refused them */
};

/* One try of one node. */
struct relay_attempt {
	struct relay_region *region;
	size_t node;
	struct http_exchange *exchange; /* NULL: not under way */
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
	bool lost;      /* the stream ended; the loop tidies up */
	bool preferred; /* what the relay was told last */
	size_t node;    /* connected to, or tried last */

	/* CONNECTING: the nodes race in their order, 1.5 s apart. */
	struct relay_attempt attempts[RELAY_NODES];
	size_t next_node;
	nanoseconds stagger_at;

	struct stream *stream;
	struct derp_client *client;
	nanoseconds last_wanted; /* when a packet was last meant for it */
	nanoseconds ready_at;    /* since when it has been connected; 0: it isn't */
	nanoseconds retry_at;    /* WAITING */
	nanoseconds probe_until; /* a pong is due by then; 0: none */
	nanoseconds quiet_until; /* a loss is not told yet: it may be back before */
	nanoseconds restart_in;  /* as the relay announced; 0: it didn't */
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
	nanoseconds armed; /* what the timer is set to */

	struct relay_region *regions;
	uint16_t home;
	struct relay_route *routes;

	struct stun_lookup lookups[RELAY_NODES];
	struct endpoint stun[2 * RELAY_NODES];
	size_t stun_count;
	bool stun_wanted; /* look them up anew, from the loop */
	nanoseconds stun_retry_at;
	unsigned int stun_failures;
};

/* relay.c */

/** relay_wake() - Have the pool look after everything from the loop, at @at or before */
void relay_wake(struct relay *r, nanoseconds at);

struct relay_region *relay_find_region(const struct relay *r, uint16_t id);

/** routes_learn() - @peer was heard through @region; only peers are remembered */
void routes_learn(struct relay *r, const struct public_key *peer, struct relay_region *region);
void routes_forget(struct relay *r, const struct public_key *peer,
		   const struct relay_region *region);

/** routes_forget_region() - All through @region; NULL: all */
void routes_forget_region(struct relay *r, const struct relay_region *region);

/* relay_region.c */

/** region_new() - With an empty definition; NULL without memory */
struct relay_region *region_new(struct relay *r, uint16_t id);
void region_free(struct relay_region *g);

/** region_define() - Take @from as its definition; another one than before closes the connection */
void region_define(struct relay_region *g, const struct tailcfg_derp_region *from);

/** region_want() - Connect unless it is connected, connecting or waiting */
void region_want(struct relay_region *g, nanoseconds now);

/** region_disconnect() - End what there is; the queue stays if @keep_queue. It is IDLE then */
void region_disconnect(struct relay_region *g, bool keep_queue);

/** region_send() - Now if that is possible, else into the queue; 0 or -ENOMEM */
int region_send(struct relay_region *g, const struct public_key *to, const void *data,
		size_t length, nanoseconds now);

/** region_probe() - The network moved: the connection must show within 5 s that it still lives */
void region_probe(struct relay_region *g);

bool region_is_ready(const struct relay_region *g);
void region_note_home(struct relay_region *g);

/** region_tell() - Tell the owner what changed; only from the loop */
void region_tell(struct relay_region *g);
void region_timeout(struct relay_region *g, nanoseconds now);
nanoseconds region_deadline(const struct relay_region *g);

/* relay_stun_servers.c */

void stun_servers_look_up(struct relay *r, nanoseconds now);
void stun_servers_cancel(struct relay *r);
