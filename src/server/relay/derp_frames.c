/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/derp_frames.c - what clients send, and what waits for them to read it */
#include "server/relay/derp_server_internal.h"

#include "base/limits.h"
#include "wire/disco.h"

#include <errno.h>
#include <string.h>

#define SOURCE_BUCKETS 64 /* sources that share one are taken for one */

/* --- Queues --- */

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

/* queue_packet() - Queue a packet of @from for @to, dropping where it must */
static void queue_packet(struct derp_connection *to, const struct derp_connection *from,
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

/* --- What clients send --- */

/* greet() - ClientInfo: the client's identity */
static int greet(struct derp_connection *c, const struct derp_message *m, nanoseconds now)
{
	struct derp_client_info info;
	struct key_box box;
	int r;

	if (m->type != DERP_CLIENT_INFO || public_key_is_zero(&m->key))
		return -EBADMSG;
	r = key_box_init(&c->server->key, &m->key, &box);
	if (r == 0)
		r = derp_client_info_open(m, &box, &info);
	key_box_wipe(&box);
	if (r == 0 && info.version < 1)
		r = -EBADMSG;
	if (r < 0)
		return r;
	c->key = m->key;
	c->state = VERIFYING;
	c->alive_at = now + DERP_SERVER_PATIENCE;
	connection_schedule(c);
	connection_want(c, DERP_WANTS_VERIFY);
	return 0;
}

/* server_info() - The answer that makes a client READY */
static int server_info(struct derp_connection *c)
{
	uint64_t rate = c->server->rate;
	struct derp_server_info info = {.version = DERP_PROTOCOL_VERSION};
	uint8_t frame[DERP_INFO_MAX], nonce[DERP_NONCE_SIZE];
	struct key_box box;
	ssize_t length;
	int r = key_box_init(&c->server->key, &c->key, &box);

	if (r < 0)
		return r;
	info.bytes_per_second = rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate;
	info.bytes_burst = info.bytes_per_second;
	randombytes_buf(nonce, sizeof(nonce));
	length = derp_server_info_write(frame, sizeof(frame), &box, nonce, &info);
	key_box_wipe(&box);
	if (length < 0)
		return (int)length;
	return buffer_append(&c->control, frame, (size_t)length);
}

/* send_packet() - SendPacket: pass it on, or answer that the destination is not here */
static void send_packet(struct derp_connection *c, const struct derp_message *m, nanoseconds now)
{
	struct derp_server_statistics *statistics = &c->server->statistics;
	struct peer *peer = flow_to(c, &m->key);

	statistics->packets_in++;
	statistics->bytes_in += m->length;
	if (peer) {
		queue_packet(peer->active, c, m->data, m->length);
		return;
	}
	statistics->dropped_unknown++;
	if (quota_take(&c->gone, now) &&
	    connection_tell(c, &(struct derp_message){.type = DERP_PEER_GONE,
						      .key = m->key,
						      .reason = DERP_GONE_NOT_HERE}))
		statistics->peer_gone++;
}

static void handle(struct derp_connection *c, const struct derp_message *m, nanoseconds now)
{
	struct derp_message pong;

	c->peer->active = c; /* it wrote: packets for its key go to it */
	switch (m->type) {
	case DERP_SEND_PACKET:
		send_packet(c, m, now);
		break;
	case DERP_NOTE_PREFERRED:
		c->server->statistics.home += m->preferred;
		c->server->statistics.home -= c->home;
		c->home = m->preferred;
		break;
	case DERP_PING:
		pong = *m;
		pong.type = DERP_PONG;
		connection_tell(c, &pong);
		break;
	case DERP_PONG:
		break;
	default: /* what only meshed relays may say, or what only we say */
		c->server->statistics.unknown_frames++;
		break;
	}
}

/* limit() - The longest frame that is taken now */
static size_t limit(const struct derp_connection *c)
{
	return c->state == READY ? KEY_SIZE + DERP_PACKET_MAX : LIMIT_RELAY_GREETING;
}

/* consume() - Act on the whole frames of @in, which is moved past them */
static int consume(struct derp_connection *c, struct cursor *in, nanoseconds now)
{
	struct derp_frame frame;
	struct derp_message m;
	int r;

	while ((c->state == GREETING || c->state == READY) &&
	       (r = derp_frame_next(in, limit(c), &frame)) != 0) {
		if (r < 0)
			return r;
		r = derp_message_parse(&frame, &m);
		if (c->state == GREETING) {
			if (r == 0)
				r = greet(c, &m, now);
			if (r < 0)
				return -EBADMSG;
		} else if (r == 0) {
			handle(c, &m, now);
		} else {
			c->server->statistics.unknown_frames++;
		}
	}
	return c->state == ENDING ? -EPIPE : 0;
}

/* charge() - Take the received bytes from its rate; it must pause when there is too little */
static void charge(struct derp_connection *c, size_t length, nanoseconds now)
{
	uint64_t rate = c->server->rate;

	c->read_after = 0;
	if (rate == 0)
		return;
	/* It may exceed one second: the bytes were received already, and the next second pays. */
	if (c->paid_at < now)
		c->paid_at = now;
	c->paid_at += (nanoseconds)((double)length / (double)rate * (double)NSEC_PER_SEC);
	if (c->paid_at > now + NSEC_PER_SEC)
		c->read_after = c->paid_at - NSEC_PER_SEC;
}

/* receive() - At most DERP_RECEIVE_PIECE bytes, behind what is left of earlier ones */
static int receive(struct derp_connection *c, const uint8_t *bytes, size_t length, nanoseconds now)
{
	struct cursor in = cursor_of(bytes, length);
	size_t held = c->input.length;
	int r;

	if (c->state == ENDING)
		return -EPIPE;
	if (held > 0) {
		r = buffer_append(&c->input, bytes, length);
		if (r < 0)
			return r;
		held += length;
		in = cursor_of(buffer_head(&c->input), held);
	}
	r = consume(c, &in, now);
	if (r < 0)
		return r;
	if (held > 0)
		buffer_consume(&c->input, held - in.left);
	else
		r = buffer_append(&c->input, in.at, in.left);
	if (c->input.length == 0)
		buffer_free(&c->input); /* an idle client holds none */
	return r;
}

int derp_connection_receive(struct derp_connection *c, const void *bytes, size_t length,
			    nanoseconds now)
{
	const uint8_t *at = bytes;
	int r;

	charge(c, length, now);
	do {
		size_t piece = length < DERP_RECEIVE_PIECE ? length : DERP_RECEIVE_PIECE;

		r = receive(c, at, piece, now);
		at += piece;
		length -= piece;
	} while (r == 0 && length > 0);
	if (r == -EBADMSG || r == -EMSGSIZE)
		c->server->statistics.malformed++;
	return r;
}

void derp_connection_admit(struct derp_connection *c, bool allow, nanoseconds now)
{
	if (c->state != VERIFYING)
		return;
	if (!allow) {
		c->server->statistics.refused++;
		connection_end(c);
		return;
	}
	if (server_info(c) < 0 || peer_join(c) < 0) {
		connection_end(c);
		return;
	}
	c->state = READY;
	c->server->statistics.ready++;
	c->server->statistics.admitted++;
	c->alive_at = now + DERP_SERVER_KEEP_ALIVE;
	connection_schedule(c);
	connection_want(c, DERP_WANTS_WRITE);
	/* Frames that arrived meanwhile. */
	if (c->input.length > 0 && receive(c, NULL, 0, now) < 0)
		connection_end(c);
}
