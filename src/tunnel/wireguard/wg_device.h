/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg_device.h - shared among the files of this folder only
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
	WG_TIMER_RETRANSMIT,    /* the initiation is unanswered */
	WG_TIMER_KEEPALIVE,     /* data received, none sent since */
	WG_TIMER_NEW_HANDSHAKE, /* data sent, none received since */
	WG_TIMER_ZERO_KEYS,     /* no new session: wipe the old ones */
	WG_TIMER_COUNT,
};

/* Events for the timers; wg_timers.c has the table. */
enum wg_event {
	WG_EVENT_DATA_SENT,
	WG_EVENT_DATA_RECEIVED,
	WG_EVENT_PACKET_SENT, /* any authentic datagram: data, keepalive, handshake */
	WG_EVENT_PACKET_RECEIVED,
	WG_EVENT_INITIATION_SENT,
	WG_EVENT_HANDSHAKE_COMPLETE,
	WG_EVENT_SESSION_MADE,
	WG_EVENT_COUNT,
};

/* The pending initiation. */
struct wg_handshake {
	struct wg_index index; /* in the device's table while pending */
	bool pending;
	struct noise_state noise;
	struct secret_key ephemeral;
};

/* One for packets in flight when a session is replaced, one for two sessions made at once. */
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

	/* Identity. */
	struct public_key public;
	struct secret_key psk;
	struct secret_key static_static; /* X25519 of both static keys, computed at the first use */
	bool has_static_static;

	/* Handshakes. */
	struct wg_handshake handshake;
	struct wg_cookie_jar jar;
	struct wg_timestamp last_received_timestamp;
	struct wg_timestamp last_sent_timestamp;
	nanoseconds last_received_initiation; /* 0: never, also below */
	nanoseconds last_sent_initiation;
	nanoseconds attempts_began;
	unsigned int early_retries; /* since the last regular attempt */
	bool early_retry_due;       /* the retransmit timer was brought forward */
	bool initiate_on_send;
	bool last_minute; /* a received packet started a rekey in this session */

	/* Sessions: for sending, not yet used by the other end, earlier ones. */
	struct wg_keypair *current, *unconfirmed, *older[WG_OLDER];

	/* Packets queued for a session. */
	struct wg_staged *staged, **staged_end;
	size_t staged_count;

	/* Timers; DEADLINE_NEVER: idle. */
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
	nanoseconds now; /* the latest value: time never runs backwards here */
	size_t mtu;

	bool has_key;
	struct secret_key private;
	struct public_key public;
	struct wg_timestamp last_timestamp;

	struct wg_peer *peers;    /* hash by public key */
	struct wg_index *indices; /* hash by number */
	struct allowed_ips allowed;
	struct allowed_ips_owner local;
	size_t staged_bytes;

	struct wg_peer **heap; /* all peers, by wake */
	size_t heap_capacity;

	struct aead_worker *aead;
	struct wg_cookie_checker checker;
	struct wg_limiter limiter;
	struct wg_statistics statistics;
};

/** wg_advance() - Store @now unless it is earlier; returns the time to use */
static inline nanoseconds wg_advance(struct wg_device *device, nanoseconds now)
{
	if (now > device->now)
		device->now = now;
	return device->now;
}

/** wg_random() - Random bytes by the callback, or libsodium */
static inline void wg_random(const struct wg_device *device, void *out, size_t length)
{
	if (device->callbacks->random)
		device->callbacks->random(device->context, out, length);
	else
		randombytes_buf(out, length);
}

/** wg_peer_is_self() - Whether the peer has our own key; it gets no messages */
static inline bool wg_peer_is_self(const struct wg_peer *peer)
{
	return public_key_equal(&peer->public, &peer->device->public);
}

/* wg_handshake.c */

/** wg_index_insert() - Give @index a random unused number; 0 or -ENOMEM */
int wg_index_insert(struct wg_device *device, struct wg_index *index);

/** wg_peer_end_sessions() - Remove all sessions and the pending handshake, and wipe their keys */
void wg_peer_end_sessions(struct wg_peer *peer);

/** wg_handshake_initiate() - Make an initiation, which becomes pending; 0, -EBADMSG
 * (low-order key) */
int wg_handshake_initiate(struct wg_peer *peer, uint8_t ret[static WG_INITIATION_SIZE]);

/** wg_handshake_clear() - Remove the pending initiation */
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

/** wg_handshake_confirm() - A message arrived in @keypair: if it was unconfirmed, it becomes the
 * current one; returns whether it did */
bool wg_handshake_confirm(struct wg_peer *peer, struct wg_keypair *keypair);

/* wg_timers.c */

void wg_timer_arm(struct wg_peer *peer, enum wg_timer timer, nanoseconds at);
void wg_timer_cancel(struct wg_peer *peer, enum wg_timer timer);
void wg_timers_event(struct wg_peer *peer, enum wg_event event);

/** wg_heap_add(), wg_heap_remove() - Add or remove a peer's deadline; add: 0 or -ENOMEM */
int wg_heap_add(struct wg_device *device, struct wg_peer *peer);
void wg_heap_remove(struct wg_device *device, struct wg_peer *peer);

/* wg_send.c */

enum wg_attempt {
	WG_ATTEMPT_FRESH, /* a session is needed: the 90 s begin */
	WG_ATTEMPT_RETRY, /* the last initiation is 5 s old */
	WG_ATTEMPT_EARLY, /* wg_peer_retry_now() */
};

/** wg_send_initiation() - Send, unless one was sent within 5 s (FRESH); whether it was sent */
bool wg_send_initiation(struct wg_peer *peer, enum wg_attempt attempt);

/** wg_send_response() - Send the result of wg_handshake_answer() */
void wg_send_response(struct wg_peer *peer, uint8_t response[static WG_RESPONSE_SIZE]);

/** wg_send_keepalive() - Send an empty message, if there is a session */
void wg_send_keepalive(struct wg_peer *peer);

/** wg_send_staged() - Send the queued packets in the new session */
void wg_send_staged(struct wg_peer *peer);

/** wg_drop_staged() - Drop the queued packets; returns their number */
size_t wg_drop_staged(struct wg_peer *peer);
