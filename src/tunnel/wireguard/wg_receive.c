/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_receive.c - datagrams in: exact length, MAC, cost, state, in that order */
#include "tunnel/wireguard/wg_device.h"

#include "base/cursor.h"

#include <errno.h>

/* An authentic datagram of @peer arrived from @source. */
static void note_received(struct wg_peer *peer, const struct wg_source *source, size_t length)
{
	peer->received_bytes += length;
	peer->last_received = peer->device->now;
	peer->last_source = *source;
	wg_timers_event(peer, WG_EVENT_PACKET_RECEIVED);
}

/* A session became usable: send the queued packets. */
static void session_usable(struct wg_peer *peer)
{
	struct wg_device *device = peer->device;

	wg_timers_event(peer, WG_EVENT_HANDSHAKE_COMPLETE);
	peer->last_handshake = device->now;
	peer->last_minute = false;
	if (device->callbacks->session)
		device->callbacks->session(device->context, peer);
	wg_send_staged(peer);
}

/* Whether to process a handshake message with this sender's index. */
static enum wg_verdict admit(struct wg_device *device, const struct wg_source *source,
			     const uint8_t *message, size_t length, uint32_t sender)
{
	uint8_t fresh[SECRET_KEY_SIZE + XAEAD_NONCE_SIZE], reply[WG_COOKIE_REPLY_SIZE];
	bool proven;

	proven = wg_checker_mac2(&device->checker, message, length, source, device->now);
	switch (wg_limiter_admit(&device->limiter, source, proven, device->now)) {
	case WG_ADMIT:
		return WG_RECEIVED_INITIATION;
	case WG_REFUSE:
		return WG_DROPPED_RATE;
	case WG_ASK_COOKIE:
		break;
	}
	if (!device->callbacks->send_to)
		return WG_DROPPED_RATE;
	wg_random(device, fresh, sizeof(fresh));
	wg_checker_reply(&device->checker, message, length, sender, source, device->now, fresh,
			 reply);
	explicit_bzero(fresh, sizeof(fresh));
	device->callbacks->send_to(device->context, source, reply, sizeof(reply));
	return WG_COOKIE_SENT;
}

static enum wg_verdict receive_initiation(struct wg_device *device, const struct wg_source *source,
					  const uint8_t *datagram, size_t length,
					  struct wg_peer **ret_peer)
{
	uint8_t response[WG_RESPONSE_SIZE];
	struct wg_initiation message;
	enum wg_verdict verdict;
	struct wg_peer *peer;

	if (wg_initiation_decode(datagram, length, &message) < 0)
		return WG_DROPPED_MALFORMED;
	if (!wg_checker_mac1(&device->checker, datagram, length))
		return WG_DROPPED_MAC1;
	verdict = admit(device, source, datagram, length, message.sender);
	if (verdict != WG_RECEIVED_INITIATION)
		return verdict;
	verdict = wg_handshake_answer(device, &message, &peer, response);
	if (verdict != WG_RECEIVED_INITIATION)
		return verdict;
	*ret_peer = peer;
	note_received(peer, source, length);
	wg_timers_event(peer, WG_EVENT_SESSION_MADE);
	wg_send_response(peer, response);
	return WG_RECEIVED_INITIATION;
}

/* What the sender of a message called itself when it was us; NULL if that is over. */
static struct wg_index *index_of(struct wg_device *device, uint32_t receiver)
{
	struct wg_index *index;

	HASH_FIND(hh, device->indices, &receiver, sizeof(receiver), index);
	return index;
}

static enum wg_verdict receive_response(struct wg_device *device, const struct wg_source *source,
					const uint8_t *datagram, size_t length,
					struct wg_peer **ret_peer)
{
	struct wg_response message;
	enum wg_verdict verdict;
	struct wg_index *index;
	struct wg_peer *peer;

	if (wg_response_decode(datagram, length, &message) < 0)
		return WG_DROPPED_MALFORMED;
	if (!wg_checker_mac1(&device->checker, datagram, length))
		return WG_DROPPED_MAC1;
	index = index_of(device, message.receiver);
	if (!index || index->keypair)
		return WG_DROPPED_LATE;
	verdict = admit(device, source, datagram, length, message.sender);
	if (verdict != WG_RECEIVED_INITIATION)
		return verdict;
	peer = index->peer;
	verdict = wg_handshake_finish(peer, &message);
	if (verdict != WG_RECEIVED_RESPONSE)
		return verdict;
	*ret_peer = peer;
	note_received(peer, source, length);
	wg_timers_event(peer, WG_EVENT_SESSION_MADE);
	session_usable(peer);
	/* The responder must not send before it has received a message. */
	if (peer->current->send_counter == 0)
		wg_send_keepalive(peer);
	return WG_RECEIVED_RESPONSE;
}

static enum wg_verdict receive_cookie(struct wg_device *device, const uint8_t *datagram,
				      size_t length)
{
	struct wg_cookie_reply message;
	struct wg_index *index;

	if (wg_cookie_reply_decode(datagram, length, &message) < 0)
		return WG_DROPPED_MALFORMED;
	index = index_of(device, message.receiver);
	if (!index || !index->peer->jar.sent)
		return WG_DROPPED_LATE;
	/* It may come from any address and does not prove the address of the peer. */
	if (wg_jar_open(&index->peer->jar, &index->peer->public, &message, device->now) < 0)
		return WG_DROPPED_FORGED;
	return WG_RECEIVED_COOKIE;
}

/* The length in the packet's header and its source; false if it is not an IP packet. */
static bool inner_header(const uint8_t *packet, size_t available, size_t *ret_length,
			 struct address *ret_source)
{
	struct cursor c = cursor_of(packet, available);
	uint8_t version = (uint8_t)(cursor_u8(&c) >> 4);
	const uint8_t *source;
	size_t length;

	if (version == 4) {
		cursor_take(&c, 1);
		length = cursor_be16(&c);
		cursor_take(&c, 8);
		source = cursor_take(&c, 4);
		cursor_take(&c, 4);
		if (!cursor_ok(&c) || length < 20)
			return false;
		*ret_source = address_v4(source);
	} else if (version == 6) {
		cursor_take(&c, 3);
		length = (size_t)cursor_be16(&c) + 40;
		cursor_take(&c, 2);
		source = cursor_take(&c, 16);
		cursor_take(&c, 16);
		if (!cursor_ok(&c))
			return false;
		*ret_source = address_v6(source);
	} else {
		return false;
	}
	*ret_length = length;
	return length <= available;
}

/* The renewing end starts early, so that packets don't wait at the end of the session. */
static void rekey_on_receive(struct wg_peer *peer)
{
	const struct wg_keypair *keypair = peer->current;

	if (peer->last_minute || !keypair || !keypair->renews ||
	    peer->device->now - keypair->created < WG_REKEY_ON_RECEIVE_TIME)
		return;
	peer->last_minute = true;
	wg_send_initiation(peer, WG_ATTEMPT_FRESH);
}

static enum wg_verdict receive_transport(struct wg_device *device, const struct wg_source *source,
					 uint8_t *datagram, size_t length,
					 struct wg_peer **ret_peer)
{
	uint8_t *packet = datagram + WG_TRANSPORT_HEADER_SIZE;
	struct wg_transport message;
	struct wg_index *index;
	struct address from;
	struct wg_peer *peer;
	size_t inner;
	int r;

	if (wg_transport_decode(datagram, length, &message) < 0)
		return WG_DROPPED_MALFORMED;
	index = index_of(device, message.receiver);
	if (!index || !index->keypair)
		return WG_DROPPED_UNKNOWN_INDEX;
	r = wg_keypair_open(index->keypair, message.counter, datagram, length, device->now);
	if (r < 0)
		return r == -ETIME      ? WG_DROPPED_EXPIRED
		       : r == -EALREADY ? WG_DROPPED_REPLAYED
					: WG_DROPPED_FORGED;

	peer = index->peer;
	*ret_peer = peer;
	note_received(peer, source, length);
	if (wg_handshake_confirm(peer, index->keypair))
		session_usable(peer);
	rekey_on_receive(peer);
	length -= WG_TRANSPORT_SIZE_MIN;
	if (length == 0)
		return WG_RECEIVED_KEEPALIVE;
	wg_timers_event(peer, WG_EVENT_DATA_RECEIVED);
	if (!inner_header(packet, length, &inner, &from))
		return WG_DROPPED_INNER;
	if (allowed_ips_lookup(&device->allowed, &from) != &peer->allowed)
		return WG_DROPPED_SOURCE;
	device->callbacks->deliver(device->context, peer, packet, inner);
	return WG_RECEIVED_PACKET;
}

enum wg_verdict wg_receive(struct wg_device *device, const struct wg_source *source,
			   uint8_t *datagram, size_t length, nanoseconds now,
			   struct wg_peer **ret_peer)
{
	enum wg_verdict verdict = WG_DROPPED_MALFORMED;
	struct wg_peer *peer = NULL;

	wg_advance(device, now);
	switch (device->has_key ? wg_message_type(datagram, length) : 0) {
	case WG_MESSAGE_INITIATION:
		verdict = receive_initiation(device, source, datagram, length, &peer);
		break;
	case WG_MESSAGE_RESPONSE:
		verdict = receive_response(device, source, datagram, length, &peer);
		break;
	case WG_MESSAGE_COOKIE:
		verdict = receive_cookie(device, datagram, length);
		break;
	case WG_MESSAGE_TRANSPORT:
		verdict = receive_transport(device, source, datagram, length, &peer);
		break;
	default:
		if (!device->has_key)
			verdict = WG_DROPPED_NO_KEY;
		break;
	}
	device->statistics.verdicts[verdict]++;
	if (ret_peer)
		*ret_peer = peer;
	return verdict;
}
