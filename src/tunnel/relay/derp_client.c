/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/derp_client.c - one connection to a relay, without its socket
 *
 * Received bytes are collected in @inbox until a frame is complete. A message's data points
 * into @inbox, so a frame is consumed at the next call.
 */
#include "tunnel/relay/derp_client.h"

#include "base/limits.h"
#include "base/quota.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define HANDSHAKE_TIMEOUT (10 * NSEC_PER_SEC)
#define READ_TIMEOUT      (120 * NSEC_PER_SEC)

#define INBOX_LIMIT     (LIMIT_DERP_FRAME + 256u * 1024) /* a frame and the bytes read with it */
#define INBOX_KEEP      (32u * 1024)                     /* a larger empty inbox is freed */
#define CONTROL_RESERVE 1024u /* of the output, reserved for pongs and notes */

enum client_state {
	CLIENT_GREETING,
	CLIENT_INFO,
	CLIENT_READY,
	CLIENT_BROKEN,
};

struct derp_client {
	enum client_state state;
	int error; /* if broken */
	struct secret_key node;
	struct public_key node_public;
	struct key_box box;
	char app_name[DERP_APP_NAME_MAX + 1];

	struct buffer inbox, output;
	size_t taken;         /* bytes of inbox that the last message points into */
	nanoseconds deadline; /* of the handshake, then of silence */
	nanoseconds ping_at;  /* DEADLINE_NEVER: not ready */

	/* The relay's rate limit: bytes a second and burst (0: none), and the time when it is full again. */
	uint64_t rate, burst;
	nanoseconds full_at;
};

struct derp_client *derp_client_new(const struct secret_key *node, const char *app_name,
				    nanoseconds now)
{
	struct derp_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->node = *node;
	secret_key_public(node, &c->node_public);
	if (app_name)
		strncpy(c->app_name, app_name, DERP_APP_NAME_MAX);
	c->inbox = BUFFER_INIT(INBOX_LIMIT);
	c->output = BUFFER_INIT(LIMIT_DERP_QUEUE);
	c->deadline = now + HANDSHAKE_TIMEOUT;
	c->ping_at = DEADLINE_NEVER;
	return c;
}

void derp_client_free(struct derp_client *c)
{
	if (!c)
		return;
	secret_key_wipe(&c->node);
	key_box_wipe(&c->box);
	buffer_free(&c->inbox);
	buffer_free(&c->output);
	free(c);
}

static int broken(struct derp_client *c, int error)
{
	c->state = CLIENT_BROKEN;
	c->error = error;
	c->deadline = DEADLINE_NEVER;
	c->ping_at = DEADLINE_NEVER;
	return error;
}

static void consume_taken(struct derp_client *c)
{
	buffer_consume(&c->inbox, c->taken);
	c->taken = 0;
	if (c->inbox.length == 0 && c->inbox.capacity > INBOX_KEEP)
		buffer_free(&c->inbox);
}

static void note_heard(struct derp_client *c, nanoseconds now)
{
	c->deadline = now + READ_TIMEOUT;
	c->ping_at = now + DERP_CLIENT_KEEP_ALIVE;
}

int derp_client_receive(struct derp_client *c, const void *bytes, size_t length, nanoseconds now)
{
	int r;

	if (c->state == CLIENT_BROKEN)
		return c->error;
	consume_taken(c);
	r = buffer_append(&c->inbox, bytes, length);
	if (r < 0)
		return broken(c, r);
	if (c->state == CLIENT_READY)
		note_heard(c, now);
	return 0;
}

static int send_message(struct derp_client *c, const struct derp_message *m, size_t reserve)
{
	size_t most = DERP_FRAME_HEADER + 2 * KEY_SIZE + m->length;
	ssize_t length;
	int r = buffer_reserve(&c->output, most + reserve);

	if (r < 0)
		return r;
	length = derp_message_write(buffer_end(&c->output), most, m);
	if (length < 0)
		return (int)length;
	c->output.length += (size_t)length;
	return 0;
}

static int on_server_key(struct derp_client *c, const struct derp_message *m)
{
	struct derp_client_info info = {.version = DERP_PROTOCOL_VERSION, .can_ack_pings = true};
	uint8_t nonce[DERP_NONCE_SIZE];
	ssize_t length;
	int r;

	if (m->type != DERP_SERVER_KEY)
		return -EPROTO;
	r = key_box_init(&c->node, &m->key, &c->box);
	if (r < 0)
		return r;
	memcpy(info.app_name, c->app_name, sizeof(info.app_name));
	randombytes_buf(nonce, sizeof(nonce));
	r = buffer_reserve(&c->output, DERP_INFO_MAX + KEY_SIZE + DERP_FRAME_HEADER);
	if (r < 0)
		return r;
	length = derp_client_info_write(buffer_end(&c->output),
					DERP_INFO_MAX + KEY_SIZE + DERP_FRAME_HEADER,
					&c->node_public, &c->box, nonce, &info);
	if (length < 0)
		return (int)length;
	c->output.length += (size_t)length;
	c->state = CLIENT_INFO;
	return 0;
}

static int on_server_info(struct derp_client *c, const struct derp_message *m, nanoseconds now)
{
	struct derp_server_info info;
	int r = derp_server_info_open(m, &c->box, &info);

	if (r < 0)
		return r;
	c->rate = info.bytes_per_second;
	c->burst = info.bytes_burst ? info.bytes_burst : info.bytes_per_second;
	c->full_at = now;
	return 0;
}

/* on_message() - 1: it concerns the owner, 0: it does not; negative errno */
static int on_message(struct derp_client *c, const struct derp_message *m, nanoseconds now)
{
	struct derp_message answer = {.type = DERP_PONG, .data = m->data, .length = m->length};
	int r;

	switch (m->type) {
	case DERP_SERVER_INFO:
		r = on_server_info(c, m, now);
		if (r < 0 || c->state == CLIENT_READY)
			return r;
		c->state = CLIENT_READY;
		note_heard(c, now);
		return 1;
	case DERP_PING:
		/* Without space the relay gets no pong, as if the pong was lost. */
		r = send_message(c, &answer, 0);
		return r == -ENOMEM ? r : 0;
	case DERP_RECV_PACKET:
	case DERP_PEER_GONE:
	case DERP_PEER_PRESENT:
	case DERP_HEALTH:
	case DERP_RESTARTING:
	case DERP_PONG:
		return 1;
	default: /* a keep-alive, or a frame for relays only */
		return 0;
	}
}

static int on_frame(struct derp_client *c, const struct derp_frame *frame, nanoseconds now,
		    struct derp_message *ret)
{
	int r = derp_message_parse(frame, ret);

	if (c->state == CLIENT_GREETING)
		return r < 0 ? -EPROTO : on_server_key(c, ret);
	if (r == -EBADMSG || r == -EOPNOTSUPP)
		return 0; /* a frame that is too short, or of an unknown type */
	return on_message(c, ret, now);
}

int derp_client_next(struct derp_client *c, nanoseconds now, struct derp_message *ret)
{
	if (c->state == CLIENT_BROKEN)
		return c->error;
	for (;;) {
		size_t limit =
			c->state == CLIENT_GREETING ? DERP_FIRST_FRAME_LIMIT : LIMIT_DERP_FRAME;
		struct derp_frame frame;
		struct cursor at;
		int r;

		consume_taken(c);
		if (c->inbox.length == 0)
			return 0;
		at = cursor_of(buffer_head(&c->inbox), c->inbox.length);
		r = derp_frame_next(&at, limit, &frame);
		if (r <= 0)
			return r == 0 ? 0 : broken(c, r);
		c->taken = DERP_FRAME_HEADER + frame.length;
		r = on_frame(c, &frame, now, ret);
		if (r != 0)
			return r > 0 ? 1 : broken(c, r);
	}
}

struct buffer *derp_client_output(struct derp_client *c)
{
	return &c->output;
}

/* take_tokens() - Whether the relay's rate limit leaves room for @bytes */
static bool take_tokens(struct derp_client *c, uint64_t bytes, nanoseconds now)
{
	return c->rate == 0 ||
	       quota_spend(&c->full_at, (nanoseconds)(c->burst * NSEC_PER_SEC / c->rate),
			   (nanoseconds)(bytes * NSEC_PER_SEC / c->rate), now);
}

int derp_client_send(struct derp_client *c, const struct public_key *to, const void *data,
		     size_t length, nanoseconds now)
{
	struct derp_message m = {
		.type = DERP_SEND_PACKET, .key = *to, .data = data, .length = length};

	if (c->state != CLIENT_READY)
		return -ENOTCONN;
	if (length > DERP_PACKET_MAX)
		return -EMSGSIZE;
	if (!take_tokens(c, DERP_FRAME_HEADER + KEY_SIZE + length, now))
		return -EDQUOT;
	return send_message(c, &m, CONTROL_RESERVE);
}

int derp_client_note_preferred(struct derp_client *c, bool preferred)
{
	struct derp_message m = {.type = DERP_NOTE_PREFERRED, .preferred = preferred};

	return c->state == CLIENT_READY ? send_message(c, &m, 0) : -ENOTCONN;
}

int derp_client_ping(struct derp_client *c, const uint8_t data[static DERP_PING_SIZE])
{
	struct derp_message m = {.type = DERP_PING, .data = data, .length = DERP_PING_SIZE};

	return c->state == CLIENT_READY ? send_message(c, &m, 0) : -ENOTCONN;
}

nanoseconds derp_client_deadline(const struct derp_client *c)
{
	return deadline_min(c->deadline, c->ping_at);
}

int derp_client_timeout(struct derp_client *c, nanoseconds now)
{
	if (c->state == CLIENT_BROKEN)
		return c->error;
	if (now >= c->deadline)
		return broken(c, -ETIMEDOUT);
	if (now >= c->ping_at) {
		uint8_t data[DERP_PING_SIZE];

		randombytes_buf(data, sizeof(data));
		c->ping_at = now + DERP_CLIENT_KEEP_ALIVE;
		(void)derp_client_ping(c, data); /* without space other bytes are in flight */
	}
	return 0;
}
