/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/wireguard.c - the four messages of WireGuard: bytes to structs and back */
#include "wire/wireguard.h"

#include "base/cursor.h"

#include <endian.h>
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

/*
 * Every struct has the layout of its message behind the type, but for the MACs that end a handshake
 * message and the order of bytes of its integers.
 */
static_assert(sizeof(struct wg_initiation) == WG_INITIATION_SIZE - WG_TYPE_SIZE - 2 * WG_MAC_SIZE &&
		      sizeof(struct wg_response) ==
			      WG_RESPONSE_SIZE - WG_TYPE_SIZE - 2 * WG_MAC_SIZE &&
		      sizeof(struct wg_cookie_reply) == WG_COOKIE_REPLY_SIZE - WG_TYPE_SIZE,
	      "no padding");

/* decode() - @ret begins with an index, as every message does */
static int decode(const uint8_t *datagram, size_t length, enum wg_message_type type, void *ret,
		  size_t size)
{
	uint32_t *index = ret;

	if (wg_message_type(datagram, length) != type)
		return -EBADMSG;
	memcpy(ret, datagram + WG_TYPE_SIZE, size);
	*index = le32toh(*index);
	return 0;
}

int wg_initiation_decode(const uint8_t *datagram, size_t length, struct wg_initiation *ret)
{
	return decode(datagram, length, WG_MESSAGE_INITIATION, ret, sizeof(*ret));
}

int wg_response_decode(const uint8_t *datagram, size_t length, struct wg_response *ret)
{
	int r = decode(datagram, length, WG_MESSAGE_RESPONSE, ret, sizeof(*ret));

	if (r == 0)
		ret->receiver = le32toh(ret->receiver);
	return r;
}

int wg_cookie_reply_decode(const uint8_t *datagram, size_t length, struct wg_cookie_reply *ret)
{
	return decode(datagram, length, WG_MESSAGE_COOKIE, ret, sizeof(*ret));
}

int wg_transport_decode(const uint8_t *datagram, size_t length, struct wg_transport *ret)
{
	struct cursor c = cursor_of(datagram, length);

	if (wg_message_type(datagram, length) != WG_MESSAGE_TRANSPORT)
		return -EBADMSG;
	cursor_take(&c, WG_TYPE_SIZE);
	ret->receiver = cursor_le32(&c);
	ret->counter = cursor_le64(&c);
	return 0;
}

void wg_initiation_encode(const struct wg_initiation *message,
			  uint8_t ret[static WG_INITIATION_SIZE])
{
	put_le32(ret, WG_MESSAGE_INITIATION);
	memcpy(ret + WG_TYPE_SIZE, message, sizeof(*message));
	put_le32(ret + WG_TYPE_SIZE, message->sender);
	memset(ret + WG_MAC1_OFFSET(WG_INITIATION_SIZE), 0, 2 * WG_MAC_SIZE);
}

void wg_response_encode(const struct wg_response *message, uint8_t ret[static WG_RESPONSE_SIZE])
{
	put_le32(ret, WG_MESSAGE_RESPONSE);
	memcpy(ret + WG_TYPE_SIZE, message, sizeof(*message));
	put_le32(ret + WG_TYPE_SIZE, message->sender);
	put_le32(ret + WG_TYPE_SIZE + WG_INDEX_SIZE, message->receiver);
	memset(ret + WG_MAC1_OFFSET(WG_RESPONSE_SIZE), 0, 2 * WG_MAC_SIZE);
}

void wg_cookie_reply_encode(const struct wg_cookie_reply *message,
			    uint8_t ret[static WG_COOKIE_REPLY_SIZE])
{
	put_le32(ret, WG_MESSAGE_COOKIE);
	memcpy(ret + WG_TYPE_SIZE, message, sizeof(*message));
	put_le32(ret + WG_TYPE_SIZE, message->receiver);
}

void wg_transport_encode(const struct wg_transport *message,
			 uint8_t ret[static WG_TRANSPORT_HEADER_SIZE])
{
	put_le32(ret, WG_MESSAGE_TRANSPORT);
	put_le32(ret + WG_TYPE_SIZE, message->receiver);
	put_le64(ret + WG_TYPE_SIZE + WG_INDEX_SIZE, message->counter);
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
