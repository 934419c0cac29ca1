/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_peer.c - add, change and remove peers */
#include "tunnel/wireguard/wg_device.h"

#include <errno.h>
#include <stdlib.h>

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

int wg_set_prefixes(struct wg_device *device, struct allowed_ips_owner *owner,
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

int wg_peer_set_allowed_ips(struct wg_peer *peer, const struct prefix *prefixes, size_t count)
{
	return wg_set_prefixes(peer->device, &peer->allowed, prefixes, count);
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
