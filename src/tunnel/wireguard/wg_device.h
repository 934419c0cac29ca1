/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg_device.h - what the files of this folder share; nobody else includes it
 */
#pragma once

#include "base/cleanup.h"
#include "base/limits.h"
#include "tunnel/wireguard/allowed_ips.h"
#include "tunnel/wireguard/limiter.h"
#include "tunnel/wireguard/wg.h"
#include "tunnel/wireguard/wg_cookie.h"
#include "tunnel/wireguard/wg_keypair.h"

#include <sodium.h>

enum wg_timer {
	WG_TIMER_RETRANSMIT,    /* the initiation got no answer */
	WG_TIMER_KEEPALIVE,     /* data came and nothing went back */
	WG_TIMER_NEW_HANDSHAKE, /* data went and nothing came back */
	WG_TIMER_ZERO_KEYS,     /* no new session for so long: forget the old */
	WG_TIMER_COUNT,
};

/* What moves the timers; wg_timers.c has the table. */
enum wg_event {
	WG_EVENT_DATA_SENT,
	WG_EVENT_DATA_RECEIVED,
	WG_EVENT_PACKET_SENT, /* any authentic one: data, keepalive, handshake */
	WG_EVENT_PACKET_RECEIVED,
	WG_EVENT_INITIATION_SENT,
	WG_EVENT_HANDSHAKE_COMPLETE,
	WG_EVENT_SESSION_MADE,
	WG_EVENT_COUNT,
};

/* The initiation that waits for its response. */
struct wg_handshake {
	struct wg_index index; /* in the device's table while pending */
	bool pending;
	struct noise_state noise;
	struct secret_key ephemeral;
};

/* One for what is on its way when a session is replaced, one for when two are made at once. */
#define WG_OLDER 2u

struct wg_staged {
	struct wg_staged *next;
	size_t length;
	uint8_t bytes[]; /* headroom, packet, tailroom */
};

struct wg_peer {
	struct wg_device *device;
	UT_hash_handle hh; /* of the device's peers, by public key */
	struct allowed_ips_owner allowed;
	void *user;

	/* Who it is. */
	struct public_key public;
	struct secret_key psk;
	struct secret_key static_static; /* X25519 of both static keys, once it was needed */
	bool has_static_static;

	/* Its handshakes. */
	struct wg_handshake handshake;
	struct wg_cookie_jar jar;
	struct wg_timestamp last_received_timestamp;
	struct wg_timestamp last_sent_timestamp;
	nanoseconds last_received_initiation; /* 0: never; so below */
	nanoseconds last_sent_initiation;
	nanoseconds attempts_began;
	unsigned int early_retries; /* since the last regular attempt */
	bool early_retry_due;       /* the retransmit timer was brought forward */
	bool initiate_on_send;
	bool last_minute; /* a rekey was begun because of what came, in this session */

	/* Its sessions: what we send in, what the other end has yet to use, what came before. */
	struct wg_keypair *current, *unconfirmed, *older[WG_OLDER];

	/* Packets that wait for one. */
	struct wg_staged *staged, **staged_end;
	size_t staged_count;

	/* Its timers: DEADLINE_NEVER is idle. */
	nanoseconds timers[WG_TIMER_COUNT];
	bool another_keepalive;
	nanoseconds wake; /* at or before the earliest of them: key in the device's heap */
	size_t heap_at;

	uint64_t received_bytes, sent_bytes;
	nanoseconds last_handshake, last_received;
	struct wg_source last_source;
};

struct wg_device {
	const struct wg_callbacks *callbacks;
	void *context;
	nanoseconds now; /* the latest given: time never runs backwards in here */
	size_t mtu;

	bool has_key;
	struct secret_key private;
	struct public_key public;
	struct wg_timestamp last_timestamp;

	struct wg_peer *peers;    /* hash by public key */
	struct wg_index *indices; /* hash by number */
	struct allowed_ips allowed;
	size_t staged_bytes;

	struct wg_peer **heap; /* all peers, by wake */
	size_t heap_capacity;

	struct wg_cookie_checker checker;
	struct wg_limiter limiter;
	struct wg_statistics statistics;
};

/** wg_advance() - Take over @now unless it lies behind; returns the time to use */
static inline nanoseconds wg_advance(struct wg_device *device, nanoseconds now)
{
	if (now > device->now)
		device->now = now;
	return device->now;
}

/** wg_random() - From the hook, or libsodium */
static inline void wg_random(const struct wg_device *device, void *out, size_t length)
{
	if (device->callbacks->random)
		device->callbacks->random(device->context, out, length);
	else
		randombytes_buf(out, length);
}

/** wg_peer_is_self() - Its key is our own: never spoken to */
static inline bool wg_peer_is_self(const struct wg_peer *peer)
{
	return public_key_equal(&peer->public, &peer->device->public);
}

/* wg_handshake.c */

/** wg_index_insert() - Give @index a random number that no other index has; 0 or -ENOMEM */
int wg_index_insert(struct wg_device *device, struct wg_index *index);

/** wg_index_move() - @to takes the place and number of @from; 0 or -ENOMEM (nothing changed) */
int wg_index_move(struct wg_device *device, struct wg_index *from, struct wg_index *to);

/** wg_peer_end_sessions() - Forget all sessions and the pending handshake, wiping their keys */
void wg_peer_end_sessions(struct wg_peer *peer);

/** wg_keypair_free() - Out of the table, wiped, released. NULL is fine */
void wg_keypair_free(struct wg_device *device, struct wg_keypair *keypair);

/** wg_handshake_initiate() - Make an initiation and begin to wait for its response; 0, -EBADMSG
 * (low-order key) */
int wg_handshake_initiate(struct wg_peer *peer, uint8_t ret[static WG_INITIATION_SIZE]);

/** wg_handshake_clear() - Forget the pending initiation */
void wg_handshake_clear(struct wg_peer *peer);

/**
 * wg_handshake_answer() - Check an initiation, make the response and the session
 * @ret_response: without MACs
 *
 * Nothing changes unless the verdict is WG_RECEIVED_INITIATION.
 */
enum wg_verdict wg_handshake_answer(struct wg_device *device, const struct wg_initiation *message,
				    struct wg_peer **ret_peer,
				    uint8_t ret_response[static WG_RESPONSE_SIZE]);

/** wg_handshake_finish() - Check the response to the pending initiation, make the session */
enum wg_verdict wg_handshake_finish(struct wg_peer *peer, const struct wg_response *message);

/** wg_handshake_confirm() - A message came in @keypair: if it was unconfirmed, it becomes the
 * current one; returns whether it did */
bool wg_handshake_confirm(struct wg_peer *peer, struct wg_keypair *keypair);

/* wg_timers.c */

void wg_timer_arm(struct wg_peer *peer, enum wg_timer timer, nanoseconds at);
void wg_timer_cancel(struct wg_peer *peer, enum wg_timer timer);
void wg_timers_event(struct wg_peer *peer, enum wg_event event);

/** wg_heap_add(), wg_heap_remove() - A peer's place among the deadlines; add: 0 or -ENOMEM */
int wg_heap_add(struct wg_device *device, struct wg_peer *peer);
void wg_heap_remove(struct wg_device *device, struct wg_peer *peer);

/** wg_heap_sift_down() - @peer, one of @count, wakes later than it did */
void wg_heap_sift_down(struct wg_device *device, struct wg_peer *peer, size_t count);

/* wg_send.c */

enum wg_attempt {
	WG_ATTEMPT_FRESH, /* someone wants a session: the 90 s begin */
	WG_ATTEMPT_RETRY, /* the last initiation is 5 s old */
	WG_ATTEMPT_EARLY, /* wg_peer_retry_now() */
};

/** wg_send_initiation() - Unless one left within 5 s (FRESH); whether one was sent */
bool wg_send_initiation(struct wg_peer *peer, enum wg_attempt attempt);

/** wg_send_response() - Send what wg_handshake_answer() made */
void wg_send_response(struct wg_peer *peer, uint8_t response[static WG_RESPONSE_SIZE]);

/** wg_send_keepalive() - An empty message, if there is a session for it */
void wg_send_keepalive(struct wg_peer *peer);

/** wg_send_staged() - Send what waited, now that there is a session */
void wg_send_staged(struct wg_peer *peer);

/** wg_drop_staged() - Forget what waits; returns how many packets */
size_t wg_drop_staged(struct wg_peer *peer);
