/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/wireguard.c - the four messages of WireGuard: bytes to structs and back */
#include "wire/wireguard.h"

#include "base/cursor.h"

#include <errno.h>

unsigned int wg_message_type(const uint8_t *datagram, size_t length)
{
	struct cursor c = cursor_of(datagram, length);
	uint32_t type = cursor_le32(&c);
	bool fits = false;

	if (!cursor_ok(&c))
		return 0;
	if (type == WG_MESSAGE_INITIATION)
		fits = length == WG_INITIATION_SIZE;
	else if (type == WG_MESSAGE_RESPONSE)
		fits = length == WG_RESPONSE_SIZE;
	else if (type == WG_MESSAGE_COOKIE)
		fits = length == WG_COOKIE_REPLY_SIZE;
	else if (type == WG_MESSAGE_TRANSPORT)
		fits = length >= WG_TRANSPORT_SIZE_MIN && length <= WG_DATAGRAM_MAX;
	return fits ? type : 0;
}

/* Past the type, for a message of which wg_message_type() says that it is @type. */
static bool open_message(struct cursor *c, const uint8_t *datagram, size_t length,
			 enum wg_message_type type)
{
	*c = cursor_of(datagram, length);
	cursor_take(c, WG_TYPE_SIZE);
	return wg_message_type(datagram, length) == type;
}

int wg_initiation_decode(const uint8_t *datagram, size_t length, struct wg_initiation *ret)
{
	struct cursor c;

	if (!open_message(&c, datagram, length, WG_MESSAGE_INITIATION))
		return -EBADMSG;
	ret->sender = cursor_le32(&c);
	cursor_copy(&c, ret->ephemeral.bytes, sizeof(ret->ephemeral.bytes));
	cursor_copy(&c, ret->sealed_static, sizeof(ret->sealed_static));
	cursor_copy(&c, ret->sealed_timestamp, sizeof(ret->sealed_timestamp));
	return cursor_ok(&c) ? 0 : -EBADMSG;
}

int wg_response_decode(const uint8_t *datagram, size_t length, struct wg_response *ret)
{
	struct cursor c;

	if (!open_message(&c, datagram, length, WG_MESSAGE_RESPONSE))
		return -EBADMSG;
	ret->sender = cursor_le32(&c);
	ret->receiver = cursor_le32(&c);
	cursor_copy(&c, ret->ephemeral.bytes, sizeof(ret->ephemeral.bytes));
	cursor_copy(&c, ret->sealed_nothing, sizeof(ret->sealed_nothing));
	return cursor_ok(&c) ? 0 : -EBADMSG;
}

int wg_cookie_reply_decode(const uint8_t *datagram, size_t length, struct wg_cookie_reply *ret)
{
	struct cursor c;

	if (!open_message(&c, datagram, length, WG_MESSAGE_COOKIE))
		return -EBADMSG;
	ret->receiver = cursor_le32(&c);
	cursor_copy(&c, ret->nonce, sizeof(ret->nonce));
	cursor_copy(&c, ret->sealed_cookie, sizeof(ret->sealed_cookie));
	return cursor_ok(&c) ? 0 : -EBADMSG;
}

int wg_transport_decode(const uint8_t *datagram, size_t length, struct wg_transport *ret)
{
	struct cursor c;

	if (!open_message(&c, datagram, length, WG_MESSAGE_TRANSPORT))
		return -EBADMSG;
	ret->receiver = cursor_le32(&c);
	ret->counter = cursor_le64(&c);
	return cursor_ok(&c) ? 0 : -EBADMSG;
}

static uint8_t *put_bytes(uint8_t *out, const void *bytes, size_t length)
{
	memcpy(out, bytes, length);
	return out + length;
}

static uint8_t *put_index(uint8_t *out, uint32_t value)
{
	put_le32(out, value);
	return out + WG_INDEX_SIZE;
}

void wg_initiation_encode(const struct wg_initiation *message,
			  uint8_t ret[static WG_INITIATION_SIZE])
{
	uint8_t *out = put_index(ret, WG_MESSAGE_INITIATION);

	out = put_index(out, message->sender);
	out = put_bytes(out, message->ephemeral.bytes, sizeof(message->ephemeral.bytes));
	out = put_bytes(out, message->sealed_static, sizeof(message->sealed_static));
	out = put_bytes(out, message->sealed_timestamp, sizeof(message->sealed_timestamp));
	memset(out, 0, 2 * WG_MAC_SIZE);
}

void wg_response_encode(const struct wg_response *message, uint8_t ret[static WG_RESPONSE_SIZE])
{
	uint8_t *out = put_index(ret, WG_MESSAGE_RESPONSE);

	out = put_index(out, message->sender);
	out = put_index(out, message->receiver);
	out = put_bytes(out, message->ephemeral.bytes, sizeof(message->ephemeral.bytes));
	out = put_bytes(out, message->sealed_nothing, sizeof(message->sealed_nothing));
	memset(out, 0, 2 * WG_MAC_SIZE);
}

void wg_cookie_reply_encode(const struct wg_cookie_reply *message,
			    uint8_t ret[static WG_COOKIE_REPLY_SIZE])
{
	uint8_t *out = put_index(ret, WG_MESSAGE_COOKIE);

	out = put_index(out, message->receiver);
	out = put_bytes(out, message->nonce, sizeof(message->nonce));
	put_bytes(out, message->sealed_cookie, sizeof(message->sealed_cookie));
}

void wg_transport_encode(const struct wg_transport *message,
			 uint8_t ret[static WG_TRANSPORT_HEADER_SIZE])
{
	uint8_t *out = put_index(ret, WG_MESSAGE_TRANSPORT);

	out = put_index(out, message->receiver);
	put_le64(out, message->counter);
}

/* TAI64 label of 1970: 2^62, and the 10 s by which TAI led UTC when it was defined. */
#define TAI64_EPOCH ((UINT64_C(1) << 62) + 10)

/* The largest power of two of nanoseconds that still lets a peer send its initiations. */
#define WHITENING (INT64_C(1) << 24)

static_assert(WHITENING <= WG_INITIATION_INTERVAL && 2 * WHITENING > WG_INITIATION_INTERVAL,
	      "whitened as far as the permitted rate allows");

struct wg_timestamp wg_timestamp_at(nanoseconds realtime)
{
	struct wg_timestamp timestamp;
	nanoseconds seconds = realtime / NSEC_PER_SEC, rest = realtime % NSEC_PER_SEC;

	if (rest < 0) {
		seconds--;
		rest += NSEC_PER_SEC;
	}
	put_be64(timestamp.bytes, TAI64_EPOCH + (uint64_t)seconds);
	put_be32(timestamp.bytes + 8, (uint32_t)(rest & ~(WHITENING - 1)));
	return timestamp;
}

struct wg_timestamp wg_timestamp_next(const struct wg_timestamp *timestamp)
{
	struct cursor c = cursor_of(timestamp->bytes, sizeof(timestamp->bytes));
	uint64_t seconds = cursor_be64(&c);
	uint64_t rest = (cursor_be32(&c) & ~(uint64_t)(WHITENING - 1)) + WHITENING;
	struct wg_timestamp next;

	if (rest >= NSEC_PER_SEC) {
		seconds++;
		rest = 0;
	}
	put_be64(next.bytes, seconds);
	put_be32(next.bytes + 8, (uint32_t)rest);
	return next;
}
