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

/* @packet has its headroom and tailroom; @length 0 is a keepalive. */
static void seal_and_send(struct wg_peer *peer, uint8_t *packet, size_t length)
{
	struct wg_device *device = peer->device;
	struct wg_keypair *keypair = peer->current;
	size_t padded = padded_length(length, device->mtu);
	bool stale;

	memset(packet + length, 0, padded - length);
	padded = wg_keypair_seal(keypair, packet - WG_HEADROOM, padded);
	if (padded == 0)
		return;
	stale = keypair->send_counter >= WG_REKEY_AFTER_MESSAGES ||
		(keypair->renews && device->now - keypair->created >= WG_REKEY_AFTER_TIME);
	note_sent(peer, padded);
	if (length)
		wg_timers_event(peer, WG_EVENT_DATA_SENT);
	device->callbacks->send(device->context, peer, packet - WG_HEADROOM, padded,
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
