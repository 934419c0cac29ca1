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

/* A transport message on its way. */
struct opening {
	struct wg_datagram *datagram;
	struct wg_keypair *keypair;
	uint32_t receiver;
	size_t length; /* of the packet; 0: a keepalive */
};

/* begin_open() - Find the session of a transport message; @o holds that of the last one */
static enum wg_verdict begin_open(struct wg_device *device, struct wg_datagram *datagram,
				  struct opening *o, struct aead_job *job)
{
	struct wg_transport message;

	if (wg_transport_decode(datagram->bytes, datagram->length, &message) < 0)
		return WG_DROPPED_MALFORMED;
	if (!o->keypair || o->receiver != message.receiver) {
		struct wg_index *index = index_of(device, message.receiver);

		o->receiver = message.receiver;
		o->keypair = index ? index->keypair : NULL;
	}
	if (!o->keypair)
		return WG_DROPPED_UNKNOWN_INDEX;
	if (device->now - o->keypair->created >= WG_REJECT_AFTER_TIME)
		return WG_DROPPED_EXPIRED;
	o->datagram = datagram;
	o->length = datagram->length - WG_TRANSPORT_SIZE_MIN;
	*job = wg_keypair_open_job(o->keypair, message.counter, datagram->bytes, datagram->length);
	return WG_RECEIVED_PACKET;
}

static enum wg_verdict accept_opened(struct wg_keypair *keypair, const struct aead_job *job)
{
	int r = wg_keypair_accept(keypair, job);

	if (r < 0)
		return r == -EALREADY ? WG_DROPPED_REPLAYED : WG_DROPPED_FORGED;
	return job->length ? WG_RECEIVED_PACKET : WG_RECEIVED_KEEPALIVE;
}

/* note_run() - What authentic messages of one session mean for the peer, once for all of them */
static void note_run(struct wg_device *device, const struct opening *run, size_t count)
{
	struct wg_peer *peer = run[0].datagram->peer;
	struct wg_index *index = index_of(device, run[0].receiver);
	size_t length = 0;
	bool data = false;

	for (size_t i = 0; i < count; i++) {
		length += run[i].length + WG_TRANSPORT_SIZE_MIN;
		data |= run[i].length != 0;
	}
	note_received(peer, run[count - 1].datagram->source, length);
	/* A message before may have begun a newer session, and so ended this one. */
	if (index && index->keypair == run[0].keypair && wg_handshake_confirm(peer, index->keypair))
		session_usable(peer);
	rekey_on_receive(peer);
	if (data)
		wg_timers_event(peer, WG_EVENT_DATA_RECEIVED);
}

/* deliver_run() - Hand over the packets of a peer that pass the last checks */
static void deliver_run(struct wg_device *device, const struct opening *run, size_t count)
{
	const struct wg_peer *peer = run[0].datagram->peer;
	struct address owned = {0}; /* the last one that was found to be the peer's */

	for (size_t i = 0; i < count; i++) {
		struct wg_datagram *d = run[i].datagram;
		uint8_t *packet = d->bytes + WG_TRANSPORT_HEADER_SIZE;
		struct address from;
		size_t inner;

		if (run[i].length == 0)
			continue;
		if (!inner_header(packet, run[i].length, &inner, &from)) {
			d->verdict = WG_DROPPED_INNER;
			continue;
		}
		if (!address_equal(&from, &owned) &&
		    allowed_ips_lookup(&device->allowed, &from) != &peer->allowed) {
			d->verdict = WG_DROPPED_SOURCE;
			continue;
		}
		owned = from;
		device->callbacks->deliver(device->context, d->peer, packet, inner);
	}
}

/*
 * receive_transport() - Handle the transport messages at the begin of @datagrams
 *
 * They are opened in one call, whatever their sessions. All windows are advanced before the first
 * packet is handed over, since that may end sessions.
 *
 * Return: their number
 */
static size_t receive_transport(struct wg_device *device, struct wg_datagram *datagrams,
				size_t count)
{
	struct opening openings[WG_BATCH_MAX], last = {0};
	struct aead_job jobs[WG_BATCH_MAX];
	size_t taken = 0, n = 0, good = 0, end;

	while (taken < count && taken < WG_BATCH_MAX &&
	       wg_message_type(datagrams[taken].bytes, datagrams[taken].length) ==
		       WG_MESSAGE_TRANSPORT) {
		struct wg_datagram *d = &datagrams[taken++];

		d->verdict = begin_open(device, d, &last, &jobs[n]);
		if (d->verdict == WG_RECEIVED_PACKET)
			openings[n++] = last;
	}
	if (n)
		aead_open_batch(device->aead, jobs, n);
	for (size_t i = 0; i < n; i++) {
		struct wg_datagram *d = openings[i].datagram;

		d->verdict = accept_opened(openings[i].keypair, &jobs[i]);
		if (d->verdict != WG_RECEIVED_PACKET && d->verdict != WG_RECEIVED_KEEPALIVE)
			continue;
		d->peer = openings[i].keypair->index.peer;
		openings[good++] = openings[i];
	}
	for (size_t i = 0; i < good; i = end) {
		for (end = i + 1; end < good && openings[end].keypair == openings[i].keypair;)
			end++;
		note_run(device, openings + i, end - i);
		deliver_run(device, openings + i, end - i);
	}
	return taken;
}

/* receive_other() - Handle a datagram that is no transport message */
static enum wg_verdict receive_other(struct wg_device *device, struct wg_datagram *d)
{
	switch (wg_message_type(d->bytes, d->length)) {
	case WG_MESSAGE_INITIATION:
		return receive_initiation(device, d->source, d->bytes, d->length, &d->peer);
	case WG_MESSAGE_RESPONSE:
		return receive_response(device, d->source, d->bytes, d->length, &d->peer);
	case WG_MESSAGE_COOKIE:
		return receive_cookie(device, d->bytes, d->length);
	default:
		return WG_DROPPED_MALFORMED;
	}
}

void wg_receive_all(struct wg_device *device, struct wg_datagram *datagrams, size_t count,
		    nanoseconds now)
{
	size_t at = 0;

	wg_advance(device, now);
	for (size_t i = 0; i < count; i++)
		datagrams[i].peer = NULL;
	while (at < count) {
		size_t taken = 0;

		if (device->has_key)
			taken = receive_transport(device, datagrams + at, count - at);
		if (taken == 0) {
			datagrams[at].verdict = device->has_key
							? receive_other(device, &datagrams[at])
							: WG_DROPPED_NO_KEY;
			taken = 1;
		}
		at += taken;
	}
	for (size_t i = 0; i < count; i++)
		device->statistics.verdicts[datagrams[i].verdict]++;
}
