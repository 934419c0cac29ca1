/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/relay/packet_queue.c - packets that wait for a relay */
#include "tunnel/relay/packet_queue.h"

#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void packet_queue_init(struct packet_queue *q)
{
	*q = (struct packet_queue){.last = &q->first};
}

void packet_queue_take(struct packet_queue *q)
{
	struct queued_packet *p = q->first;

	q->first = p->next;
	if (!q->first)
		q->last = &q->first;
	q->bytes -= p->length;
	free(p);
}

void packet_queue_clear(struct packet_queue *q)
{
	while (q->first) {
		packet_queue_take(q);
		q->dropped++;
	}
}

int packet_queue_add(struct packet_queue *q, const struct public_key *to, const void *data,
		     size_t length)
{
	struct queued_packet *p = malloc(sizeof(*p) + length);

	if (!p)
		return -ENOMEM;
	p->next = NULL;
	p->to = *to;
	p->length = length;
	memcpy(p->data, data, length);
	while (q->first && q->bytes + length > LIMIT_DERP_QUEUE) {
		packet_queue_take(q);
		q->dropped++;
	}
	*q->last = p;
	q->last = &p->next;
	q->bytes += length;
	return 0;
}
