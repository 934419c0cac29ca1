/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_send.c - send packets: seal, or queue and start a handshake */
#include "tunnel/wireguard/wg_device.h"

#include <errno.h>
#include <stdlib.h>

#define PACKET_MAX (WG_DATAGRAM_MAX - WG_HEADROOM - WG_TAILROOM)

/* An authenticated datagram was sent, or is about to be sent. */
static void note_sent(struct wg_peer *peer, size_t length)
{
	peer->sent_bytes += length;
	wg_timers_event(peer, WG_EVENT_PACKET_SENT);
}

bool wg_send_initiation(struct wg_peer *peer, enum wg_attempt attempt)
{
	struct wg_device *device = peer->device;
	uint8_t message[WG_INITIATION_SIZE];
	nanoseconds again;

	if (!device->has_key || wg_peer_is_self(peer))
		return false;
	if (attempt == WG_ATTEMPT_FRESH) {
		peer->attempts_began = device->now;
		again = peer->last_sent_initiation + WG_REKEY_TIMEOUT;
		if (peer->last_sent_initiation && device->now < again) {
			/* Too early: but queued packets must not wait for the next regular attempt. */
			if (peer->staged && peer->timers[WG_TIMER_RETRANSMIT] == DEADLINE_NEVER)
				wg_timer_arm(peer, WG_TIMER_RETRANSMIT, again);
			return false;
		}
	}
	peer->early_retries = attempt == WG_ATTEMPT_EARLY ? peer->early_retries + 1 : 0;
	peer->early_retry_due = false;
	peer->last_sent_initiation = device->now;
	wg_timers_event(peer, WG_EVENT_INITIATION_SENT);
	if (wg_handshake_initiate(peer, message) < 0)
		return false; /* an invalid key: retry until given up */
	wg_jar_stamp(&peer->jar, &peer->public, message, sizeof(message), device->now);
	peer->initiate_on_send = false;
	note_sent(peer, sizeof(message));
	device->statistics.counters[WG_INITIATIONS_SENT]++;
	device->callbacks->send(device->context, peer, message, sizeof(message), WG_HANDSHAKE);
	return true;
}

void wg_send_response(struct wg_peer *peer, uint8_t response[static WG_RESPONSE_SIZE])
{
	struct wg_device *device = peer->device;

	wg_jar_stamp(&peer->jar, &peer->public, response, WG_RESPONSE_SIZE, device->now);
	note_sent(peer, WG_RESPONSE_SIZE);
	device->statistics.counters[WG_RESPONSES_SENT]++;
	device->callbacks->send(device->context, peer, response, WG_RESPONSE_SIZE, WG_HANDSHAKE);
}

/* Padding hides lengths, but must not exceed the MTU (WireGuard §5.4.6). */
static size_t padded_length(size_t length, size_t mtu)
{
	size_t last = length > mtu ? length % mtu : length;
	size_t padded = (last + WG_PADDING - 1) / WG_PADDING * WG_PADDING;

	return length - last + (padded > mtu ? mtu : padded);
}

size_t wg_sealed_length(const struct wg_device *device, size_t length)
{
	return WG_TRANSPORT_SIZE_MIN + padded_length(length, device->mtu);
}

static_assert(WG_BATCH_MAX <= WG_KEYPAIR_BATCH_MAX, "a batch is sealed in one call");

/* pad() - @packet, which has its headroom and tailroom, as it is to be sealed: its padding is zeros */
static struct iovec pad(const struct wg_device *device, uint8_t *packet, size_t length)
{
	size_t padded = padded_length(length, device->mtu);

	memset(packet + length, 0, padded - length);
	return (struct iovec){packet - WG_HEADROOM, padded};
}

/* is_stale() - Whether the session has to be replaced */
static bool is_stale(const struct wg_peer *peer)
{
	const struct wg_keypair *keypair = peer->current;

	return keypair->send_counter >= WG_REKEY_AFTER_MESSAGES ||
	       (keypair->renews && peer->device->now - keypair->created >= WG_REKEY_AFTER_TIME);
}

/* @packet has its headroom and tailroom; @length 0 is a keepalive. */
static void seal_and_send(struct wg_peer *peer, uint8_t *packet, size_t length)
{
	struct wg_device *device = peer->device;
	struct iovec datagram = pad(device, packet, length);
	bool stale;

	datagram.iov_len = wg_keypair_seal(peer->current, datagram.iov_base, datagram.iov_len);
	if (datagram.iov_len == 0)
		return;
	stale = is_stale(peer);
	note_sent(peer, datagram.iov_len);
	if (length)
		wg_timers_event(peer, WG_EVENT_DATA_SENT);
	device->callbacks->send(device->context, peer, datagram.iov_base, datagram.iov_len,
				length ? WG_DATA : WG_KEEPALIVE);
	if (stale || (peer->initiate_on_send && length))
		wg_send_initiation(peer, WG_ATTEMPT_FRESH);
}

void wg_send_keepalive(struct wg_peer *peer)
{
	uint8_t datagram[WG_TRANSPORT_SIZE_MIN];

	if (!peer->current || !wg_keypair_can_send(peer->current, peer->device->now))
		return;
	peer->device->statistics.counters[WG_KEEPALIVES_SENT]++;
	seal_and_send(peer, datagram + WG_HEADROOM, 0);
}

static struct wg_staged *unstage(struct wg_peer *peer)
{
	struct wg_staged *staged = peer->staged;

	peer->staged = staged->next;
	if (!peer->staged)
		peer->staged_end = &peer->staged;
	peer->staged_count--;
	peer->device->staged_bytes -= staged->length;
	return staged;
}

size_t wg_drop_staged(struct wg_peer *peer)
{
	size_t dropped = peer->staged_count;

	while (peer->staged)
		free(unstage(peer));
	return dropped;
}

void wg_send_staged(struct wg_peer *peer)
{
	while (peer->staged && peer->current &&
	       wg_keypair_can_send(peer->current, peer->device->now)) {
		_cleanup_free_ struct wg_staged *staged = unstage(peer);

		seal_and_send(peer, staged->bytes + WG_HEADROOM, staged->length);
	}
}

static int stage(struct wg_peer *peer, const uint8_t *packet, size_t length)
{
	struct wg_device *device = peer->device;
	struct wg_staged *staged = NULL;

	while (peer->staged && (peer->staged_count >= LIMIT_WG_STAGED ||
				device->staged_bytes + length > LIMIT_WG_STAGED_BYTES)) {
		free(unstage(peer));
		device->statistics.counters[WG_STAGED_DROPPED]++;
	}
	if (device->staged_bytes + length <= LIMIT_WG_STAGED_BYTES)
		staged = malloc(sizeof(*staged) + WG_HEADROOM + length + WG_TAILROOM);
	if (!staged) {
		device->statistics.counters[WG_STAGED_DROPPED]++;
		return -ENOBUFS;
	}
	staged->next = NULL;
	staged->length = length;
	memcpy(staged->bytes + WG_HEADROOM, packet, length);
	*peer->staged_end = staged;
	peer->staged_end = &staged->next;
	peer->staged_count++;
	device->staged_bytes += length;
	return 0;
}

int wg_send(struct wg_peer *peer, uint8_t *packet, size_t length, nanoseconds now)
{
	struct wg_device *device = peer->device;
	int r;

	now = wg_advance(device, now);
	if (length == 0 || length > PACKET_MAX)
		return -EMSGSIZE;
	if (!device->has_key || wg_peer_is_self(peer))
		return -ENOKEY;
	if (peer->current && wg_keypair_can_send(peer->current, now)) {
		seal_and_send(peer, packet, length);
		return 1;
	}
	r = stage(peer, packet, length);
	wg_send_initiation(peer, WG_ATTEMPT_FRESH);
	return r;
}

/*
 * batch_length() - How many of the packets can be sealed together
 *
 * Without a session, or near its last counter, each packet goes by itself.
 */
static size_t batch_length(const struct wg_peer *peer, const struct iovec *packets, size_t count)
{
	const struct wg_device *device = peer->device;
	uint64_t counters;
	size_t n = 0;

	if (!device->callbacks->send_all || !device->has_key || wg_peer_is_self(peer) ||
	    !peer->current || !wg_keypair_can_send(peer->current, device->now))
		return 0;
	counters = WG_REJECT_AFTER_MESSAGES - peer->current->send_counter;
	while (n < count && n < WG_BATCH_MAX && n < counters && packets[n].iov_len &&
	       packets[n].iov_len <= PACKET_MAX)
		n++;
	return n;
}

void wg_send_all(struct wg_peer *peer, const struct iovec *packets, size_t count, nanoseconds now)
{
	struct wg_device *device = peer->device;
	struct iovec datagrams[WG_BATCH_MAX];
	size_t taken, sealed, length = 0;

	now = wg_advance(device, now);
	taken = batch_length(peer, packets, count);
	for (size_t i = 0; i < taken; i++)
		datagrams[i] = pad(device, packets[i].iov_base, packets[i].iov_len);
	sealed = taken ? wg_keypair_seal_all(peer->current, datagrams, taken) : 0;
	for (size_t i = 0; i < sealed; i++)
		length += datagrams[i].iov_len;
	if (sealed) {
		bool stale = is_stale(peer);

		note_sent(peer, length);
		wg_timers_event(peer, WG_EVENT_DATA_SENT);
		device->callbacks->send_all(device->context, peer, datagrams, sealed);
		if (stale || peer->initiate_on_send)
			wg_send_initiation(peer, WG_ATTEMPT_FRESH);
	}
	for (size_t i = taken; i < count; i++)
		(void)wg_send(peer, packets[i].iov_base, packets[i].iov_len, now);
}
