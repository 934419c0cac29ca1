/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg_timers.c - the timers of a peer (WireGuard §6)
 *
 * DOC: Theory of operation
 *
 * A peer has four timers. Events arm and cancel them by the first table; the functions
 * of `expire` handle their expiry. An idle peer has no armed timer except, for up to nine minutes,
 * the one that wipes its keys.
 *
 * The device keeps its peers in a heap by the time of their next visit. Packets arm and
 * cancel timers often, so arming only moves that time earlier; a peer whose timer was
 * cancelled gets one needless visit.
 */
#include "base/array.h"
#include "tunnel/wireguard/wg_device.h"

#include <errno.h>
#include <stdlib.h>

enum action {
	NOTHING,
	ARM,         /* arm from now */
	ARM_IF_IDLE, /* arm, unless armed */
	CANCEL,
};

/* clang-format off */
static const enum action actions[WG_EVENT_COUNT][WG_TIMER_COUNT] = {
	/*                               RETRANSMIT  KEEPALIVE    NEW_HANDSHAKE  ZERO_KEYS */
	[WG_EVENT_DATA_SENT] =          {NOTHING,    NOTHING,     ARM_IF_IDLE,   NOTHING},
	[WG_EVENT_DATA_RECEIVED] =      {NOTHING,    ARM_IF_IDLE, NOTHING,       NOTHING},
	[WG_EVENT_PACKET_SENT] =        {NOTHING,    CANCEL,      NOTHING,       NOTHING},
	[WG_EVENT_PACKET_RECEIVED] =    {NOTHING,    NOTHING,     CANCEL,        NOTHING},
	[WG_EVENT_INITIATION_SENT] =    {ARM,        NOTHING,     NOTHING,       NOTHING},
	[WG_EVENT_HANDSHAKE_COMPLETE] = {CANCEL,     NOTHING,     NOTHING,       NOTHING},
	[WG_EVENT_SESSION_MADE] =       {NOTHING,    NOTHING,     NOTHING,       ARM},
};
/* clang-format on */

static const struct {
	nanoseconds delay;
	bool jitter; /* jitter, so that two ends don't act at the same time */
} timers[] = {
	[WG_TIMER_RETRANSMIT] = {WG_REKEY_TIMEOUT, true},
	[WG_TIMER_KEEPALIVE] = {WG_KEEPALIVE_TIMEOUT, false},
	[WG_TIMER_NEW_HANDSHAKE] = {WG_NEW_HANDSHAKE_TIME, true},
	[WG_TIMER_ZERO_KEYS] = {WG_ZERO_KEYS_TIME, false},
};
static_assert(ARRAY_SIZE(timers) == WG_TIMER_COUNT, "all timers");

static void put_at(struct wg_device *device, struct wg_peer *peer, size_t at)
{
	device->heap[at] = peer;
	peer->heap_at = at;
}

static void sift_up(struct wg_device *device, struct wg_peer *peer)
{
	size_t at = peer->heap_at;

	while (at > 0) {
		struct wg_peer *parent = device->heap[(at - 1) / 2];

		if (parent->wake <= peer->wake)
			break;
		put_at(device, parent, at);
		at = (at - 1) / 2;
	}
	put_at(device, peer, at);
}

/* sift_down() - The deadline of @peer, one of @count, has become later */
static void sift_down(struct wg_device *device, struct wg_peer *peer, size_t count)
{
	size_t at = peer->heap_at, child;

	while ((child = 2 * at + 1) < count) {
		if (child + 1 < count && device->heap[child + 1]->wake < device->heap[child]->wake)
			child++;
		if (peer->wake <= device->heap[child]->wake)
			break;
		put_at(device, device->heap[child], at);
		at = child;
	}
	put_at(device, peer, at);
}

int wg_heap_add(struct wg_device *device, struct wg_peer *peer)
{
	if (ARRAY_GROW(device->heap, HASH_COUNT(device->peers), device->heap_capacity) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < WG_TIMER_COUNT; i++)
		peer->timers[i] = DEADLINE_NEVER;
	peer->wake = DEADLINE_NEVER;
	put_at(device, peer, HASH_COUNT(device->peers));
	return 0;
}

void wg_heap_remove(struct wg_device *device, struct wg_peer *peer)
{
	size_t last = HASH_COUNT(device->peers) - 1;
	struct wg_peer *moved = device->heap[last];

	if (moved == peer)
		return;
	put_at(device, moved, peer->heap_at);
	sift_up(device, moved);
	sift_down(device, moved, last);
}

void wg_timer_arm(struct wg_peer *peer, enum wg_timer timer, nanoseconds at)
{
	peer->timers[timer] = at;
	if (at < peer->wake) {
		peer->wake = at;
		sift_up(peer->device, peer);
	}
}

void wg_timer_cancel(struct wg_peer *peer, enum wg_timer timer)
{
	peer->timers[timer] = DEADLINE_NEVER;
	if (timer == WG_TIMER_KEEPALIVE)
		peer->another_keepalive = false;
}

static void arm_by_table(struct wg_peer *peer, enum wg_timer timer)
{
	uint32_t random = 0;

	if (timers[timer].jitter)
		wg_random(peer->device, &random, sizeof(random));
	wg_timer_arm(peer, timer,
		     peer->device->now + timers[timer].delay +
			     (nanoseconds)random % WG_TIMEOUT_JITTER);
}

void wg_timers_event(struct wg_peer *peer, enum wg_event event)
{
	for (enum wg_timer timer = 0; timer < WG_TIMER_COUNT; timer++) {
		bool idle = peer->timers[timer] == DEADLINE_NEVER;

		switch (actions[event][timer]) {
		case NOTHING:
			break;
		case ARM_IF_IDLE:
			if (idle)
				arm_by_table(peer, timer);
			else if (timer == WG_TIMER_KEEPALIVE)
				peer->another_keepalive = true;
			break;
		case ARM:
			arm_by_table(peer, timer);
			break;
		case CANCEL:
			wg_timer_cancel(peer, timer);
			break;
		}
	}
}

/* Expiry */

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
		sift_down(device, peer, HASH_COUNT(device->peers));
	}
}
