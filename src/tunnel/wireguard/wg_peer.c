/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_peer.c - peers come, change and go */
#include "tunnel/wireguard/wg_device.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

/* Every second at most, whatever a caller asks for. */
#define PERSISTENT_INTERVAL_MIN NSEC_PER_SEC

static uint32_t key_hash(const struct wg_device *device, const struct public_key *public)
{
	uint8_t bytes[crypto_shorthash_BYTES];
	uint32_t hash;

	crypto_shorthash(bytes, public->bytes, sizeof(public->bytes), device->by_key_secret);
	memcpy(&hash, bytes, sizeof(hash));
	return hash;
}

struct wg_peer *wg_peer_for_key(const struct wg_device *device, const struct public_key *public)
{
	struct hash_entry *entry = hash_table_find(&device->by_key, key_hash(device, public));

	for (; entry; entry = hash_table_next(entry)) {
		struct wg_peer *peer = container_of(entry, struct wg_peer, by_key);

		if (public_key_equal(&peer->public, public))
			return peer;
	}
	return NULL;
}

bool wg_peer_is_self(const struct wg_peer *peer)
{
	return public_key_equal(&peer->public, &peer->device->public);
}

int wg_peer_add(struct wg_device *device, const struct public_key *public,
		const struct secret_key *psk, void *user, struct wg_peer **ret)
{
	struct wg_peer *peer;

	if (public_key_is_zero(public) || public_key_equal(public, &device->public))
		return -EINVAL;
	if (wg_peer_for_key(device, public))
		return -EEXIST;
	if (device->peer_count >= LIMIT_PEERS)
		return -ENOSPC;
	peer = calloc(1, sizeof(*peer));
	if (!peer || wg_heap_add(device, peer) < 0)
		goto no_memory;
	peer->device = device;
	peer->public = *public;
	peer->user = user;
	peer->staged_end = &peer->staged;
	wg_peer_set_psk(peer, psk);

	peer->next = device->peers;
	peer->previous_next = &device->peers;
	if (peer->next)
		peer->next->previous_next = &peer->next;
	device->peers = peer;
	device->peer_count++;
	hash_table_insert(&device->by_key, &peer->by_key, key_hash(device, public));
	*ret = peer;
	return 0;

no_memory:
	free(peer);
	return -ENOMEM;
}

void wg_keypair_free(struct wg_device *device, struct wg_keypair *keypair)
{
	if (!keypair)
		return;
	hash_table_remove(&device->indices, &keypair->index.entry);
	explicit_bzero(keypair, sizeof(*keypair));
	free(keypair);
}

void wg_peer_end_sessions(struct wg_peer *peer)
{
	wg_handshake_clear(peer);
	wg_keypair_free(peer->device, TAKE_PTR(peer->current));
	wg_keypair_free(peer->device, TAKE_PTR(peer->unconfirmed));
	for (size_t i = 0; i < WG_OLDER; i++)
		wg_keypair_free(peer->device, TAKE_PTR(peer->older[i]));
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
	hash_table_remove(&device->by_key, &peer->by_key);
	*peer->previous_next = peer->next;
	if (peer->next)
		peer->next->previous_next = peer->previous_next;
	device->peer_count--;
	explicit_bzero(peer, sizeof(*peer));
	free(peer);
}

void *wg_peer_user(const struct wg_peer *peer)
{
	return peer->user;
}

const struct public_key *wg_peer_public_key(const struct wg_peer *peer)
{
	return &peer->public;
}

int wg_peer_set_allowed_ips(struct wg_peer *peer, const struct prefix *prefixes, size_t count)
{
	int r;

	for (size_t i = 0; i < count; i++)
		if (!address_length(&prefixes[i].address) ||
		    prefixes[i].bits > address_bits(&prefixes[i].address))
			return -EINVAL;
	allowed_ips_remove_owner(&peer->device->allowed, &peer->allowed);
	for (size_t i = 0; i < count; i++) {
		r = allowed_ips_insert(&peer->device->allowed, &prefixes[i], &peer->allowed);
		if (r < 0)
			return r;
	}
	return 0;
}

void wg_peer_set_psk(struct wg_peer *peer, const struct secret_key *psk)
{
	secret_key_wipe(&peer->psk);
	if (psk)
		peer->psk = *psk;
}

void wg_peer_set_persistent_keepalive(struct wg_peer *peer, nanoseconds interval, nanoseconds now)
{
	now = wg_advance(peer->device, now);
	if (interval > 0 && interval < PERSISTENT_INTERVAL_MIN)
		interval = PERSISTENT_INTERVAL_MIN;
	if (interval == peer->persistent_interval)
		return;
	peer->persistent_interval = interval;
	if (interval)
		wg_timer_arm(peer, WG_TIMER_PERSISTENT, now);
	else
		wg_timer_cancel(peer, WG_TIMER_PERSISTENT);
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
