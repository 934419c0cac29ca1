/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_device.c - the device: its key, its names, its timers */
#include "tunnel/wireguard/wg_device.h"

#include "base/cursor.h"

#include <errno.h>
#include <stdlib.h>

#define MTU_AT_FIRST 1280u /* protocol.md 9: the IPv6 minimum */

static const char *const verdict_names[] = {
	[WG_RECEIVED_PACKET] = "received_packet",
	[WG_RECEIVED_KEEPALIVE] = "received_keepalive",
	[WG_RECEIVED_INITIATION] = "received_initiation",
	[WG_RECEIVED_RESPONSE] = "received_response",
	[WG_RECEIVED_COOKIE] = "received_cookie",
	[WG_COOKIE_SENT] = "cookie_sent",
	[WG_DROPPED_MALFORMED] = "dropped_malformed",
	[WG_DROPPED_NO_KEY] = "dropped_no_key",
	[WG_DROPPED_MAC1] = "dropped_mac1",
	[WG_DROPPED_RATE] = "dropped_rate",
	[WG_DROPPED_UNKNOWN_PEER] = "dropped_unknown_peer",
	[WG_DROPPED_UNKNOWN_INDEX] = "dropped_unknown_index",
	[WG_DROPPED_LATE] = "dropped_late",
	[WG_DROPPED_FORGED] = "dropped_forged",
	[WG_DROPPED_REPLAYED] = "dropped_replayed",
	[WG_DROPPED_EXPIRED] = "dropped_expired",
	[WG_DROPPED_INNER] = "dropped_inner",
	[WG_DROPPED_SOURCE] = "dropped_source",
	[WG_DROPPED_MEMORY] = "dropped_memory",
};
static_assert(ARRAY_SIZE(verdict_names) == WG_VERDICT_COUNT, "all verdicts");

static const char *const counter_names[] = {
	[WG_STAGED_DROPPED] = "staged_dropped",
	[WG_STAGED_ABANDONED] = "staged_abandoned",
	[WG_HANDSHAKE_ABANDONED] = "handshake_abandoned",
	[WG_INITIATIONS_SENT] = "initiations_sent",
	[WG_RESPONSES_SENT] = "responses_sent",
	[WG_KEEPALIVES_SENT] = "keepalives_sent",
};
static_assert(ARRAY_SIZE(counter_names) == WG_COUNTER_COUNT, "all counters");

const char *wg_verdict_name(enum wg_verdict verdict)
{
	return verdict_names[verdict];
}

const char *wg_counter_name(enum wg_counter counter)
{
	return counter_names[counter];
}

struct wg_device *wg_device_new(const struct secret_key *private,
				const struct wg_callbacks *callbacks, void *context)
{
	struct wg_device *device = calloc(1, sizeof(*device));
	uint8_t limiter_secret[16];

	primitives_init();
	if (!device)
		return NULL;
	device->callbacks = callbacks;
	device->context = context;
	device->now = 1; /* so that 0 can mean "never" */
	device->mtu = MTU_AT_FIRST;
	device->local.target = ALLOWED_IPS_LOCAL;
	wg_random(device, limiter_secret, sizeof(limiter_secret));
	wg_limiter_init(&device->limiter, limiter_secret);
	wg_device_set_private_key(device, private);
	return device;
}

void wg_device_free(struct wg_device *device)
{
	if (!device)
		return;
	while (device->peers)
		wg_peer_remove(device->peers);
	allowed_ips_remove_owner(&device->allowed, &device->local);
	free(device->heap);
	explicit_bzero(device, sizeof(*device));
	free(device);
}

void wg_device_set_private_key(struct wg_device *device, const struct secret_key *private)
{
	if (private && device->has_key && secret_equal(private, &device->private, sizeof(*private)))
		return;
	device->has_key = private != NULL;
	secret_key_wipe(&device->private);
	device->public = (struct public_key){0};
	if (private) {
		device->private = *private;
		secret_key_public(private, &device->public);
	}
	wg_checker_set_key(&device->checker, &device->public);
	for (struct wg_peer *peer = device->peers; peer; peer = peer->hh.next) {
		secret_key_wipe(&peer->static_static);
		peer->has_static_static = false;
		wg_handshake_clear(peer);
		wg_timer_cancel(peer, WG_TIMER_RETRANSMIT);
		peer->last_sent_initiation = 0;
		if (!private) {
			wg_peer_end_sessions(peer);
			wg_drop_staged(peer);
			continue;
		}
		if (peer->current)
			peer->current->send_ended = true;
		if (peer->unconfirmed)
			peer->unconfirmed->send_ended = true;
	}
}

const struct public_key *wg_device_public_key(const struct wg_device *device)
{
	return &device->public;
}

void wg_device_set_mtu(struct wg_device *device, size_t mtu)
{
	device->mtu = mtu;
}

int wg_device_raise_timestamp(struct wg_device *device, const struct wg_timestamp *floor)
{
	struct cursor c = cursor_of(floor->bytes, sizeof(floor->bytes));
	uint64_t seconds = cursor_be64(&c);

	if (cursor_be32(&c) >= NSEC_PER_SEC || seconds < UINT64_C(1) << 62 ||
	    seconds >= UINT64_C(1) << 63)
		return -ERANGE;
	if (wg_timestamp_later(floor, &device->last_timestamp))
		device->last_timestamp = *floor;
	return 0;
}

const struct wg_timestamp *wg_device_timestamp(const struct wg_device *device)
{
	return &device->last_timestamp;
}

int wg_device_set_local(struct wg_device *device, const struct prefix *prefixes, size_t count)
{
	return wg_set_prefixes(device, &device->local, prefixes, count);
}

struct wg_target wg_device_lookup(const struct wg_device *device, const struct address *destination)
{
	struct allowed_ips_owner *owner = allowed_ips_lookup(&device->allowed, destination);

	if (!owner)
		return (struct wg_target){.kind = WG_TARGET_NONE};
	if (owner->target == ALLOWED_IPS_LOCAL)
		return (struct wg_target){.kind = WG_TARGET_LOCAL};
	return (struct wg_target){WG_TARGET_PEER, container_of(owner, struct wg_peer, allowed)};
}

const struct wg_statistics *wg_device_statistics(const struct wg_device *device)
{
	return &device->statistics;
}

/* Time */

/* Give up: the peer doesn't answer. Its sessions can still receive. */
static void abandon(struct wg_peer *peer)
{
	struct wg_device *device = peer->device;

	wg_handshake_clear(peer);
	device->statistics.counters[WG_STAGED_ABANDONED] += wg_drop_staged(peer);
	device->statistics.counters[WG_HANDSHAKE_ABANDONED]++;
	wg_timer_cancel(peer, WG_TIMER_KEEPALIVE);
}

static void expire_retransmit(struct wg_peer *peer)
{
	if (peer->device->now - peer->attempts_began >= WG_REKEY_ATTEMPT_TIME)
		abandon(peer);
	else
		wg_send_initiation(peer,
				   peer->early_retry_due ? WG_ATTEMPT_EARLY : WG_ATTEMPT_RETRY);
}

static void expire_keepalive(struct wg_peer *peer)
{
	bool another = peer->another_keepalive;

	wg_send_keepalive(peer);
	if (another)
		wg_timers_event(peer, WG_EVENT_DATA_RECEIVED);
}

static void expire_new_handshake(struct wg_peer *peer)
{
	wg_send_initiation(peer, WG_ATTEMPT_FRESH);
}

static void expire_zero_keys(struct wg_peer *peer)
{
	wg_peer_end_sessions(peer);
	wg_timer_cancel(peer, WG_TIMER_RETRANSMIT);
}

static void (*const expire[])(struct wg_peer *peer) = {
	[WG_TIMER_RETRANSMIT] = expire_retransmit,
	[WG_TIMER_KEEPALIVE] = expire_keepalive,
	[WG_TIMER_NEW_HANDSHAKE] = expire_new_handshake,
	[WG_TIMER_ZERO_KEYS] = expire_zero_keys,
};
static_assert(ARRAY_SIZE(expire) == WG_TIMER_COUNT, "all timers");

nanoseconds wg_device_deadline(const struct wg_device *device)
{
	return device->peers ? device->heap[0]->wake : DEADLINE_NEVER;
}

void wg_device_timeout(struct wg_device *device, nanoseconds now)
{
	now = wg_advance(device, now);
	while (wg_device_deadline(device) <= now) {
		struct wg_peer *peer = device->heap[0];

		for (enum wg_timer timer = 0; timer < WG_TIMER_COUNT; timer++) {
			if (peer->timers[timer] > now)
				continue;
			peer->timers[timer] = DEADLINE_NEVER;
			expire[timer](peer);
		}
		peer->wake = DEADLINE_NEVER;
		for (enum wg_timer timer = 0; timer < WG_TIMER_COUNT; timer++)
			peer->wake = deadline_min(peer->wake, peer->timers[timer]);
		wg_heap_sift_down(device, peer, HASH_COUNT(device->peers));
	}
}
