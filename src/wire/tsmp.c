/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tsmp.c - the messages between nodes inside the tunnel (IP protocol 99) */
#include "wire/tsmp.h"

#include "base/cursor.h"
#include "wire/ip.h"

#include <errno.h>
#include <string.h>

#define REJECT_MAYBE_BROKEN 0x01

int tsmp_decode(const uint8_t *payload, size_t length, struct tsmp_message *ret)
{
	struct cursor c = cursor_of(payload, length);
	struct tsmp_message m = {.type = cursor_u8(&c)};

	switch (m.type) {
	case TSMP_REJECT:
		m.reject.protocol = cursor_u8(&c);
		m.reject.reason = cursor_u8(&c);
		m.reject.source_port = cursor_be16(&c);
		m.reject.destination_port = cursor_be16(&c);
		if (c.left)
			m.reject.maybe_broken = cursor_u8(&c) & REJECT_MAYBE_BROKEN;
		break;
	case TSMP_PING:
		cursor_copy(&c, m.ping, sizeof(m.ping));
		break;
	case TSMP_PONG:
		cursor_copy(&c, m.pong.data, sizeof(m.pong.data));
		if (c.left >= 2)
			m.pong.peerapi_port = cursor_be16(&c);
		break;
	case TSMP_DISCO_KEY:
		cursor_copy(&c, m.disco_key.bytes, sizeof(m.disco_key.bytes));
		break;
	default:
		return length ? -EPROTONOSUPPORT : -EBADMSG;
	}
	if (!cursor_ok(&c))
		return -EBADMSG;
	*ret = m;
	return 0;
}

size_t tsmp_encode(const struct tsmp_message *message, uint8_t out[static TSMP_MESSAGE_MAX])
{
	out[0] = message->type;
	switch (message->type) {
	case TSMP_REJECT:
		out[1] = message->reject.protocol;
		out[2] = message->reject.reason;
		put_be16(out + 3, message->reject.source_port);
		put_be16(out + 5, message->reject.destination_port);
		if (!message->reject.maybe_broken)
			return 7;
		out[7] = REJECT_MAYBE_BROKEN;
		return 8;
	case TSMP_PING:
		memcpy(out + 1, message->ping, TSMP_PING_DATA);
		return 1 + TSMP_PING_DATA;
	case TSMP_PONG:
		memcpy(out + 1, message->pong.data, TSMP_PING_DATA);
		put_be16(out + 1 + TSMP_PING_DATA, message->pong.peerapi_port);
		return 3 + TSMP_PING_DATA;
	case TSMP_DISCO_KEY:
		memcpy(out + 1, message->disco_key.bytes, KEY_SIZE);
		return 1 + KEY_SIZE;
	default:
		return 1;
	}
}

ssize_t tsmp_build(uint8_t *out, size_t size, const struct address *source,
		   const struct address *destination, const struct tsmp_message *message)
{
	uint8_t payload[TSMP_MESSAGE_MAX];
	size_t length = tsmp_encode(message, payload);
	ssize_t header;

	header = ip_build_header(out, size, source, destination, IP_PROTOCOL_TSMP, length);
	if (header < 0)
		return header;
	memcpy(out + header, payload, length);
	return header + (ssize_t)length;
}
