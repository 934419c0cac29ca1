/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/packet_queue.h - packets that wait for a relay
 *
 * Bounded by bytes (LIMIT_DERP_QUEUE). When it is full the oldest falls out: for a
 * tunnel a late packet is worth less than a new one.
 */
#pragma once

#include "wire/keys.h"

#include <stddef.h>
#include <stdint.h>

struct queued_packet {
	struct queued_packet *next;
	struct public_key to;
	size_t length;
	uint8_t data[];
};

struct packet_queue {
	struct queued_packet *first, **last;
	size_t bytes;
	uint64_t dropped; /* by the queue, and by its owner */
};

void packet_queue_init(struct packet_queue *q);

/** packet_queue_add() - Copy a packet to the end; 0 or -ENOMEM */
int packet_queue_add(struct packet_queue *q, const struct public_key *to, const void *data,
		     size_t length);

/** packet_queue_take() - Forget the first, which was sent. There must be one */
void packet_queue_take(struct packet_queue *q);

/** packet_queue_clear() - Drop and count all */
void packet_queue_clear(struct packet_queue *q);
