/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/derp.c - the relay's frames (DERP version 2) */
#include "wire/derp.h"

#include <errno.h>
#include <string.h>

static const uint8_t magic[DERP_MAGIC_SIZE] = {'D', 'E', 'R', 'P', 0xf0, 0x9f, 0x94, 0x91};

#define ENDPOINT_SIZE 18 /* 16 address, 2 port */

int derp_frame_next(struct cursor *c, size_t limit, struct derp_frame *ret)
{
	struct cursor at = *c;
	struct derp_frame frame;

	frame.type = cursor_u8(&at);
	frame.length = cursor_be32(&at);
	if (!cursor_ok(&at))
		return 0;
	if (frame.length > limit)
		return -EMSGSIZE;
	frame.payload = cursor_take(&at, frame.length);
	if (!frame.payload)
		return 0;
	*c = at;
	*ret = frame;
	return 1;
}

static void take_rest(struct cursor *c, struct derp_message *m)
{
	m->length = c->left;
	m->data = cursor_take(c, c->left);
}

static void take_key(struct cursor *c, struct public_key *key)
{
	cursor_copy(c, key->bytes, KEY_SIZE);
}

static void parse_peer_present(struct cursor *c, struct derp_message *m)
{
	uint8_t bytes[16];

	take_key(c, &m->key);
	if (c->left >= ENDPOINT_SIZE) {
		cursor_copy(c, bytes, sizeof(bytes));
		m->endpoint.address = address_v6(bytes);
		m->endpoint.port = cursor_be16(c);
	}
	if (c->left > 0)
		m->flags = cursor_u8(c);
}

int derp_message_parse(const struct derp_frame *frame, struct derp_message *ret)
{
	struct cursor c = cursor_of(frame->payload, frame->length);
	struct derp_message m = {.type = (enum derp_frame_type)frame->type};
	const uint8_t *greeting;

	switch (m.type) {
	case DERP_SERVER_KEY:
		greeting = cursor_take(&c, sizeof(magic));
		if (!greeting || memcmp(greeting, magic, sizeof(magic)) != 0)
			return -EBADMSG;
		take_key(&c, &m.key);
		break;
	case DERP_CLIENT_INFO:
		take_key(&c, &m.key);
		take_rest(&c, &m);
		break;
	case DERP_SERVER_INFO:
	case DERP_HEALTH:
		take_rest(&c, &m);
		break;
	case DERP_SEND_PACKET:
	case DERP_RECV_PACKET:
		take_key(&c, &m.key);
		take_rest(&c, &m);
		break;
	case DERP_FORWARD_PACKET:
		take_key(&c, &m.source);
		take_key(&c, &m.key);
		take_rest(&c, &m);
		break;
	case DERP_KEEP_ALIVE:
	case DERP_WATCH_CONNS:
		break;
	case DERP_NOTE_PREFERRED:
		m.preferred = cursor_u8(&c) != 0;
		break;
	case DERP_PEER_GONE:
		take_key(&c, &m.key);
		if (c.left > 0)
			m.reason = cursor_u8(&c);
		break;
	case DERP_PEER_PRESENT:
		parse_peer_present(&c, &m);
		break;
	case DERP_CLOSE_PEER:
		take_key(&c, &m.key);
		break;
	case DERP_PING:
	case DERP_PONG:
		m.data = cursor_take(&c, DERP_PING_SIZE);
		m.length = DERP_PING_SIZE;
		break;
	case DERP_RESTARTING:
		m.reconnect_in_ms = cursor_be32(&c);
		m.try_for_ms = cursor_be32(&c);
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (!cursor_ok(&c))
		return -EBADMSG;
	*ret = m;
	return 0;
}

void derp_frame_header(uint8_t out[static DERP_FRAME_HEADER], enum derp_frame_type type,
		       size_t length)
{
	out[0] = (uint8_t)type;
	put_be32(out + 1, (uint32_t)length);
}

/* What a frame of @m has before its data. */
static size_t write_fixed(uint8_t *out, const struct derp_message *m)
{
	static const uint8_t mapped_v4[12] = {[10] = 0xff, [11] = 0xff};
	bool v4 = m->endpoint.address.family == ADDRESS_V4;
	size_t length = 0;

	switch (m->type) {
	case DERP_SERVER_KEY:
		memcpy(out, magic, sizeof(magic));
		memcpy(out + sizeof(magic), m->key.bytes, KEY_SIZE);
		return sizeof(magic) + KEY_SIZE;
	case DERP_FORWARD_PACKET:
		memcpy(out, m->source.bytes, KEY_SIZE);
		length = KEY_SIZE;
		break;
	case DERP_CLIENT_INFO:
	case DERP_SEND_PACKET:
	case DERP_RECV_PACKET:
	case DERP_CLOSE_PEER:
	case DERP_PEER_GONE:
	case DERP_PEER_PRESENT:
		break;
	case DERP_NOTE_PREFERRED:
		out[0] = m->preferred;
		return 1;
	case DERP_RESTARTING:
		put_be32(out, m->reconnect_in_ms);
		put_be32(out + 4, m->try_for_ms);
		return 8;
	case DERP_SERVER_INFO:
	case DERP_HEALTH:
	case DERP_KEEP_ALIVE:
	case DERP_WATCH_CONNS:
	case DERP_PING:
	case DERP_PONG:
		return 0;
	}
	memcpy(out + length, m->key.bytes, KEY_SIZE);
	length += KEY_SIZE;
	if (m->type == DERP_PEER_GONE)
		out[length++] = m->reason;
	if (m->type == DERP_PEER_PRESENT) {
		memcpy(out + length, v4 ? mapped_v4 : m->endpoint.address.bytes, v4 ? 12 : 16);
		if (v4)
			memcpy(out + length + 12, m->endpoint.address.bytes, 4);
		put_be16(out + length + 16, m->endpoint.port);
		length += ENDPOINT_SIZE;
		out[length++] = m->flags;
	}
	return length;
}

ssize_t derp_message_write(uint8_t *out, size_t capacity, const struct derp_message *m)
{
	uint8_t fixed[2 * KEY_SIZE];
	size_t fixed_length = write_fixed(fixed, m), length = m->data ? m->length : 0;

	if (length > DERP_PACKET_MAX || DERP_FRAME_HEADER + fixed_length + length > capacity)
		return -EMSGSIZE;
	derp_frame_header(out, m->type, fixed_length + length);
	memcpy(out + DERP_FRAME_HEADER, fixed, fixed_length);
	if (length > 0)
		memcpy(out + DERP_FRAME_HEADER + fixed_length, m->data, length);
	return (ssize_t)(DERP_FRAME_HEADER + fixed_length + length);
}
