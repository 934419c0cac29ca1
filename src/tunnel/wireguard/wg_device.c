/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_device.c - the device: its key, its indices, its clock, its names */
#include "tunnel/wireguard/wg_device.h"

#include "base/cursor.h"

#include <errno.h>
#include <sodium.h>
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

nanoseconds wg_advance(struct wg_device *device, nanoseconds now)
{
	if (now > device->now)
		device->now = now;
	return device->now;
}

void wg_random(const struct wg_device *device, void *out, size_t length)
{
	if (device->callbacks->random)
		device->callbacks->random(device->context, out, length);
	else
		randombytes_buf(out, length);
}

void wg_index_insert(struct wg_device *device, struct wg_index *index)
{
	uint32_t number;

	do {
		wg_random(device, &number, sizeof(number));
	} while (hash_table_find(&device->indices, number));
	hash_table_insert(&device->indices, &index->entry, number);
}

void wg_index_move(struct wg_device *device, struct wg_index *from, struct wg_index *to)
{
	uint32_t number = from->entry.hash;

	hash_table_remove(&device->indices, &from->entry);
	hash_table_insert(&device->indices, &to->entry, number);
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
	if (hash_table_init(&device->by_key) < 0 || hash_table_init(&device->indices) < 0)
		goto no_memory;
	wg_random(device, device->by_key_secret, sizeof(device->by_key_secret));
	wg_random(device, limiter_secret, sizeof(limiter_secret));
	wg_limiter_init(&device->limiter, limiter_secret);
	wg_device_set_private_key(device, private);
	return device;

no_memory:
	hash_table_free(&device->by_key);
	hash_table_free(&device->indices);
	free(device);
	return NULL;
}

void wg_device_free(struct wg_device *device)
{
	if (!device)
		return;
	while (device->peers)
		wg_peer_remove(device->peers);
	hash_table_free(&device->by_key);
	hash_table_free(&device->indices);
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
	for (struct wg_peer *peer = device->peers; peer; peer = peer->next) {
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

struct wg_peer *wg_device_lookup(const struct wg_device *device, const struct address *destination)
{
	struct allowed_ips_owner *owner = allowed_ips_lookup(&device->allowed, destination);

	return owner ? container_of(owner, struct wg_peer, allowed) : NULL;
}

const struct wg_statistics *wg_device_statistics(const struct wg_device *device)
{
	return &device->statistics;
}
