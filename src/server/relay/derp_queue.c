/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/derp_queue.c - what waits for a client to read it */
#include "server/relay/derp_server_internal.h"

#include "base/limits.h"
#include "wire/disco.h"

#include <errno.h>
#include <string.h>

#define SOURCE_BUCKETS 64 /* sources that share one are taken for one */

static bool queue_is_full(const struct packet_queue *q, size_t length)
{
	return q->count >= LIMIT_RELAY_QUEUE_PACKETS ||
	       (q->count > 0 && q->bytes + length > LIMIT_RELAY_QUEUE_BYTES);
}

/* queue_remove() - Take @p, a packet of @q, out and free it */
static void queue_remove(struct derp_server *s, struct packet_queue *q, struct packet *p)
{
	STAILQ_REMOVE(&q->packets, p, packet, next);
	q->count--;
	q->bytes -= p->length;
	s->statistics.queued_bytes -= p->length;
	free(p);
}

/* queue_drop() - Drop the oldest packet of the source that holds most bytes of @q */
static void queue_drop(struct derp_server *s, struct packet_queue *q)
{
	size_t bytes[SOURCE_BUCKETS] = {0}, most = 0;
	struct packet *p;

	STAILQ_FOREACH(p, &q->packets, next)
	bytes[p->source % SOURCE_BUCKETS] += p->length;
	for (size_t i = 1; i < SOURCE_BUCKETS; i++)
		if (bytes[i] > bytes[most])
			most = i;
	p = STAILQ_FIRST(&q->packets);
	while (p->source % SOURCE_BUCKETS != most)
		p = STAILQ_NEXT(p, next);
	queue_remove(s, q, p);
}

void queue_packet(struct derp_connection *to, const struct derp_connection *from,
		  const uint8_t *data, size_t length)
{
	struct derp_server *s = to->server;
	bool disco = disco_recognise(data, length);
	struct packet_queue *q = disco ? &to->disco : &to->data;
	uint32_t frame = (uint32_t)(DERP_FRAME_HEADER + KEY_SIZE + length);
	struct packet *p;

	while (queue_is_full(q, frame)) {
		(*(disco ? &s->statistics.dropped_disco : &s->statistics.dropped_queue))++;
		queue_drop(s, q);
	}
	p = s->statistics.queued_bytes + frame <= LIMIT_RELAY_QUEUED_BYTES
		    ? malloc(sizeof(*p) + frame)
		    : NULL;
	if (!p) {
		s->statistics.dropped_memory++;
		return;
	}
	p->source = from->number;
	p->length = frame;
	derp_frame_header(p->frame, DERP_RECV_PACKET, KEY_SIZE + length);
	memcpy(p->frame + DERP_FRAME_HEADER, from->key.bytes, KEY_SIZE);
	memcpy(p->frame + DERP_FRAME_HEADER + KEY_SIZE, data, length);
	STAILQ_INSERT_TAIL(&q->packets, p, next);
	q->count++;
	q->bytes += frame;
	s->statistics.queued_bytes += frame;
	connection_want(to, DERP_WANTS_WRITE);
}

void queues_clear(struct derp_connection *c)
{
	struct packet *p;

	while ((p = STAILQ_FIRST(&c->disco.packets)))
		queue_remove(c->server, &c->disco, p);
	while ((p = STAILQ_FIRST(&c->data.packets)))
		queue_remove(c->server, &c->data, p);
	buffer_consume(&c->control, c->control.length);
}

bool connection_tell(struct derp_connection *c, const struct derp_message *m)
{
	uint8_t frame[DERP_INFO_MAX];
	ssize_t length = derp_message_write(frame, sizeof(frame), m);

	if (length < 0 || buffer_append(&c->control, frame, (size_t)length) < 0)
		return false;
	connection_want(c, DERP_WANTS_WRITE);
	return true;
}

bool derp_connection_output(struct derp_connection *c, struct buffer *out, size_t most)
{
	struct derp_server *s = c->server;

	if (c->control.length > 0 &&
	    buffer_append(out, buffer_head(&c->control), c->control.length) == 0)
		buffer_free(&c->control);
	while (out->length < most && c->disco.count + c->data.count > 0) {
		bool data = c->data.count > 0 && (c->data_turn || c->disco.count == 0);
		struct packet_queue *q = data ? &c->data : &c->disco;
		struct packet *p = STAILQ_FIRST(&q->packets);

		if (buffer_append(out, p->frame, p->length) < 0)
			break;
		c->data_turn = !data;
		s->statistics.packets_out++;
		s->statistics.bytes_out += p->length - DERP_FRAME_HEADER - KEY_SIZE;
		queue_remove(s, q, p);
	}
	return c->control.length > 0 || c->disco.count + c->data.count > 0;
}
