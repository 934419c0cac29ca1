/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/world.h - WireGuard devices on a bad network, under virtual time
 *
 * Nodes 1, 2, 3 … have the UDP address 192.0.2.N:5000+N, and 10.0.0.N and fd00::N inside. What a
 * node sends is copied into the world's queue, delayed, and may be lost, doubled or spoilt on the
 * way. Time jumps from one event to the next. All chance comes from the seed.
 */
#pragma once

#include "tunnel/wireguard/wg_device.h"
#include "unit/unit.h"

#define SECONDS(n) ((nanoseconds)(n)*NSEC_PER_SEC)

#define WORLD_NODES        8
#define WORLD_PAYLOAD_SIZE 8 /* of a packet's payload: sender, receiver, number */

struct world;

struct node {
	struct world *world;
	unsigned int number; /* 1 … */
	struct secret_key private;
	struct public_key public;
	struct wg_device *device;
	struct wg_source source; /* as others see it */
	bool deaf;               /* nothing reaches it */

	/* What came out of its device. */
	unsigned int delivered;           /* packets */
	unsigned int sessions;            /* session() calls */
	unsigned int sent[3];             /* datagrams by enum wg_kind */
	unsigned int batches;             /* send_all() calls */
	unsigned int cookies;             /* send_to() calls */
	unsigned int identified;          /* identify() calls */
	uint32_t last_payload;            /* number of the last packet delivered */
	size_t last_length;               /* and its length */
	uint8_t *seen;                    /* a bit a packet number, to find doubles */
	nanoseconds last_sent_at;         /* any datagram */
	nanoseconds sent_at[3];           /* by kind, the last */
	uint8_t last_datagram[4096 + 64]; /* as sent */
	size_t last_datagram_length;
	enum wg_verdict last_verdict;
};

struct flight {
	nanoseconds at;
	uint64_t order;
	struct node *from, *to;
	struct wg_source source;
	uint8_t *bytes; /* exactly as long as the datagram, so that ASan sees each slip */
	size_t length;
};

struct world {
	nanoseconds now;
	nanoseconds realtime; /* what the wall clock is ahead of now */
	uint64_t random;
	struct node nodes[WORLD_NODES];
	unsigned int node_count;

	struct flight *queue;
	size_t queued, queue_capacity;
	uint64_t order;

	/* The network: per mille, and a delay drawn evenly between the two. */
	unsigned int loss, doubling, spoiling;
	nanoseconds delay_min, delay_max;

	/* May look at (and change) each datagram as it is sent; false drops it. NULL: all pass. */
	bool (*tap)(struct world *world, struct node *from, struct node *to, uint8_t *bytes,
		    size_t length);
	void *tap_data;
	/* What identify() does for an unknown key: add it as a peer, if set. */
	bool lazy;
	/* Each datagram on the wire is counted. */
	unsigned int datagrams;
};

/** world_new() - A world without nodes, lossless, 10 ms each way */
struct world *world_new(uint64_t seed);
void world_free(struct world *world);

/** world_random() - 64 bits of the world's chance */
uint64_t world_random(struct world *world);

/** world_node() - One more node, with a key of its own */
struct node *world_node(struct world *world);

/** world_link() - Both become peers of each other with their inner addresses */
void world_link(struct node *a, struct node *b);

/** node_peer() - What @other is in @node's device */
struct wg_peer *node_peer(struct node *node, struct node *other);

/** node_restart() - A new device with the same key and no memory */
void node_restart(struct node *node);

/** node_packet() - An IPv4 packet with rooms around it; valid until the next call */
uint8_t *node_packet(struct node *from, struct node *to, uint32_t number, size_t length);

/** node_send() - wg_send() of packet @number, 64 bytes long */
int node_send(struct node *from, struct node *to, uint32_t number);

/** node_receive() - wg_receive() of a copy of @bytes, from @source */
enum wg_verdict node_receive(struct node *node, const struct wg_source *source,
			     const uint8_t *bytes, size_t length);

/** node_capture_initiation() - What @from sends to @to first, kept from the network */
void node_capture_initiation(struct node *from, struct node *to,
			     uint8_t ret[static WG_INITIATION_SIZE]);

/** world_run() - Until @until, in absolute virtual time */
void world_run(struct world *world, nanoseconds until);

/** world_pass() - For @duration */
void world_pass(struct world *world, nanoseconds duration);

/** world_session() - Packets both ways, so that both ends have a confirmed session that @a began */
void world_session(struct node *a, struct node *b);

/** world_pair() - Two linked nodes: returns the world, nodes[0] and nodes[1] */
struct world *world_pair(uint64_t seed);
