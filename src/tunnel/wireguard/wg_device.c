/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_device.c - the device and its peers: keys, names, timers */
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
	if (device)
		device->aead = aead_worker_new();
	if (!device || !device->aead) {
		free(device);
		return NULL;
	}
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
	aead_worker_free(device->aead);
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

/* set_prefixes() - Exactly these prefixes lead to @owner; 0, -EINVAL (unchanged), -ENOMEM */
static int set_prefixes(struct wg_device *device, struct allowed_ips_owner *owner,
			const struct prefix *prefixes, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count; i++)
		if (!address_length(&prefixes[i].address) ||
		    prefixes[i].bits > address_bits(&prefixes[i].address))
			return -EINVAL;
	allowed_ips_remove_owner(&device->allowed, owner);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = allowed_ips_insert(&device->allowed, &prefixes[i], owner);
	return r;
}

int wg_device_set_local(struct wg_device *device, const struct prefix *prefixes, size_t count)
{
	return set_prefixes(device, &device->local, prefixes, count);
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

/* Peers */

int wg_peer_add(struct wg_device *device, const struct public_key *public,
		const struct secret_key *psk, void *user, struct wg_peer **ret)
{
	struct wg_peer *peer;

	if (public_key_is_zero(public) || public_key_equal(public, &device->public))
		return -EINVAL;
	if (wg_peer_for_key(device, public))
		return -EEXIST;
	if (HASH_COUNT(device->peers) >= LIMIT_PEERS)
		return -ENOSPC;
	peer = calloc(1, sizeof(*peer));
	if (!peer || wg_heap_add(device, peer) < 0)
		goto no_memory;
	peer->device = device;
	peer->public = *public;
	peer->user = user;
	peer->staged_end = &peer->staged;
	wg_peer_set_psk(peer, psk);
	HASH_ADD(hh, device->peers, public, sizeof(peer->public), peer);
	if (!peer->hh.tbl)
		goto no_memory;
	*ret = peer;
	return 0;

no_memory:
	free(peer);
	return -ENOMEM;
}

void wg_peer_remove(struct wg_peer *peer)
{
	struct wg_device *device;

	if (!peer)
		return;
	device = peer->device;
	wg_peer_end_sessions(peer);
	wg_drop_staged(peer);
	allowed_ips_remove_owner(&device->allowed, &peer->allowed);
	wg_heap_remove(device, peer);
	HASH_DEL(device->peers, peer);
	explicit_bzero(peer, sizeof(*peer));
	free(peer);
}

void *wg_peer_user(const struct wg_peer *peer)
{
	return peer->user;
}

int wg_peer_set_allowed_ips(struct wg_peer *peer, const struct prefix *prefixes, size_t count)
{
	return set_prefixes(peer->device, &peer->allowed, prefixes, count);
}

void wg_peer_set_psk(struct wg_peer *peer, const struct secret_key *psk)
{
	secret_key_wipe(&peer->psk);
	if (psk)
		peer->psk = *psk;
}

bool wg_peer_initiate(struct wg_peer *peer, nanoseconds now)
{
	wg_advance(peer->device, now);
	return wg_send_initiation(peer, WG_ATTEMPT_FRESH);
}

void wg_peer_initiate_on_send(struct wg_peer *peer)
{
	peer->initiate_on_send = true;
}

void wg_peer_retry_now(struct wg_peer *peer, nanoseconds now)
{
	nanoseconds due = peer->last_sent_initiation + WG_EARLY_RETRY_INTERVAL;

	now = wg_advance(peer->device, now);
	if (!peer->handshake.pending || peer->early_retries >= WG_EARLY_RETRIES)
		return;
	if (now >= due) {
		wg_send_initiation(peer, WG_ATTEMPT_EARLY);
	} else if (due < peer->timers[WG_TIMER_RETRANSMIT]) {
		wg_timer_arm(peer, WG_TIMER_RETRANSMIT, due);
		peer->early_retry_due = true;
	}
}

void wg_peer_stats(const struct wg_peer *peer, nanoseconds now, struct wg_peer_stats *ret)
{
	*ret = (struct wg_peer_stats){
		.received_bytes = peer->received_bytes,
		.sent_bytes = peer->sent_bytes,
		.last_handshake = peer->last_handshake,
		.last_received = peer->last_received,
		.last_timestamp = peer->last_sent_timestamp,
		.last_source = peer->last_source,
		.handshaking = peer->handshake.pending,
		.has_session = peer->current && wg_keypair_can_send(peer->current, now),
		.staged = peer->staged_count,
	};
}
