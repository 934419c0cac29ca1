/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/wireguard.h - the four messages of WireGuard and their numbers
 *
 * Layouts are those of the WireGuard paper §5.4.2-5.4.7, integers little-endian:
 *
 *	1  initiation  type 4 · sender 4 · ephemeral 32 · static 32+16 · timestamp 12+16 ·
 *	               mac1 16 · mac2 16
 *	2  response    type 4 · sender 4 · receiver 4 · ephemeral 32 · nothing 0+16 ·
 *	               mac1 16 · mac2 16
 *	3  cookie      type 4 · receiver 4 · nonce 24 · cookie 16+16
 *	4  transport   type 4 · receiver 4 · counter 8 · packet n+16
 *
 * The type is one byte and three zeros; a decoder refuses anything else there, and
 * any length but the message's own, before it looks further.
 */
#pragma once

#include "base/clock.h"
#include "wire/keys.h"
#include "wire/noise.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WG_CONSTRUCTION "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
#define WG_IDENTIFIER   "WireGuard v1 zx2c4 Jason@zx2c4.com"
#define WG_LABEL_MAC1   "mac1----"
#define WG_LABEL_COOKIE "cookie--"

enum wg_message_type {
	WG_MESSAGE_INITIATION = 1,
	WG_MESSAGE_RESPONSE = 2,
	WG_MESSAGE_COOKIE = 3,
	WG_MESSAGE_TRANSPORT = 4,
};

#define WG_TYPE_SIZE      4u
#define WG_INDEX_SIZE     4u
#define WG_COUNTER_SIZE   8u
#define WG_TIMESTAMP_SIZE 12u /* TAI64N */
#define WG_MAC_SIZE       BLAKE2S_MAC_SIZE
#define WG_COOKIE_SIZE    BLAKE2S_MAC_SIZE
#define WG_PADDING        16u

#define WG_SEALED_STATIC_SIZE    (KEY_SIZE + AEAD_TAG_SIZE)
#define WG_SEALED_TIMESTAMP_SIZE (WG_TIMESTAMP_SIZE + AEAD_TAG_SIZE)
#define WG_SEALED_COOKIE_SIZE    (WG_COOKIE_SIZE + AEAD_TAG_SIZE)

#define WG_INITIATION_SIZE                                                 \
	(WG_TYPE_SIZE + WG_INDEX_SIZE + KEY_SIZE + WG_SEALED_STATIC_SIZE + \
	 WG_SEALED_TIMESTAMP_SIZE + 2 * WG_MAC_SIZE)
#define WG_RESPONSE_SIZE \
	(WG_TYPE_SIZE + 2 * WG_INDEX_SIZE + KEY_SIZE + AEAD_TAG_SIZE + 2 * WG_MAC_SIZE)
#define WG_COOKIE_REPLY_SIZE \
	(WG_TYPE_SIZE + WG_INDEX_SIZE + XAEAD_NONCE_SIZE + WG_SEALED_COOKIE_SIZE)
#define WG_TRANSPORT_HEADER_SIZE (WG_TYPE_SIZE + WG_INDEX_SIZE + WG_COUNTER_SIZE)
#define WG_TRANSPORT_SIZE_MIN    (WG_TRANSPORT_HEADER_SIZE + AEAD_TAG_SIZE)
#define WG_DATAGRAM_MAX          65535u

/* mac1 covers all before it, mac2 all before itself; both end the handshake messages. */
#define WG_MAC1_OFFSET(message_size) ((message_size)-2 * WG_MAC_SIZE)
#define WG_MAC2_OFFSET(message_size) ((message_size)-WG_MAC_SIZE)

static_assert(WG_INITIATION_SIZE == 148, "WireGuard §5.4.2");
static_assert(WG_RESPONSE_SIZE == 92, "WireGuard §5.4.3");
static_assert(WG_COOKIE_REPLY_SIZE == 64, "WireGuard §5.4.7");
static_assert(WG_TRANSPORT_HEADER_SIZE == 16, "WireGuard §5.4.6");
static_assert(WG_TRANSPORT_SIZE_MIN == 32, "a keepalive");
static_assert(WG_COOKIE_REPLY_SIZE < WG_RESPONSE_SIZE, "a cookie amplifies nothing");
static_assert(WG_RESPONSE_SIZE < WG_INITIATION_SIZE, "a response amplifies nothing");

/* Timers, WireGuard §6. */
#define WG_REKEY_AFTER_TIME      (120 * NSEC_PER_SEC)
#define WG_REJECT_AFTER_TIME     (180 * NSEC_PER_SEC)
#define WG_REKEY_TIMEOUT         (5 * NSEC_PER_SEC)
#define WG_REKEY_ATTEMPT_TIME    (90 * NSEC_PER_SEC)
#define WG_KEEPALIVE_TIMEOUT     (10 * NSEC_PER_SEC)
#define WG_COOKIE_REFRESH_TIME   (120 * NSEC_PER_SEC)
#define WG_COOKIE_LATENCY        (5 * NSEC_PER_SEC)
#define WG_REKEY_ON_RECEIVE_TIME (WG_REJECT_AFTER_TIME - WG_KEEPALIVE_TIMEOUT - WG_REKEY_TIMEOUT)
#define WG_NEW_HANDSHAKE_TIME    (WG_KEEPALIVE_TIMEOUT + WG_REKEY_TIMEOUT)
#define WG_ZERO_KEYS_TIME        (3 * WG_REJECT_AFTER_TIME)
#define WG_TIMEOUT_JITTER        (NSEC_PER_SEC / 3)
/* A stored cookie is used a little shorter than its maker accepts it. */
#define WG_COOKIE_USE_TIME       (WG_COOKIE_REFRESH_TIME - WG_COOKIE_LATENCY)

static_assert(WG_REKEY_ON_RECEIVE_TIME == 165 * NSEC_PER_SEC, "WireGuard §6.2");
static_assert(WG_ZERO_KEYS_TIME == 540 * NSEC_PER_SEC, "WireGuard §6.3");

/* Message counts, WireGuard §6.1, with the window that this implementation keeps. */
#define WG_REPLAY_WINDOW         8192u
#define WG_REKEY_AFTER_MESSAGES  (UINT64_C(1) << 60)
#define WG_REJECT_AFTER_MESSAGES (UINT64_MAX - WG_REPLAY_WINDOW)

/* At most so many initiations of one peer are looked at; timestamps are as coarse as that. */
#define WG_INITIATIONS_PER_SECOND 50
#define WG_INITIATION_INTERVAL    (NSEC_PER_SEC / WG_INITIATIONS_PER_SECOND)

struct wg_initiation {
	uint32_t sender;
	struct public_key ephemeral;
	uint8_t sealed_static[WG_SEALED_STATIC_SIZE];
	uint8_t sealed_timestamp[WG_SEALED_TIMESTAMP_SIZE];
};

struct wg_response {
	uint32_t sender;
	uint32_t receiver;
	struct public_key ephemeral;
	uint8_t sealed_nothing[AEAD_TAG_SIZE];
};

struct wg_cookie_reply {
	uint32_t receiver;
	uint8_t nonce[XAEAD_NONCE_SIZE];
	uint8_t sealed_cookie[WG_SEALED_COOKIE_SIZE];
};

struct wg_transport {
	uint32_t receiver;
	uint64_t counter;
};

/**
 * wg_message_type() - What a datagram is by its first four bytes and its length
 *
 * Return: enum wg_message_type, or 0 where it is none of ours: unknown type, reserved
 * bytes set, wrong length
 */
unsigned int wg_message_type(const uint8_t *datagram, size_t length);

/* wg_…_decode() - 0, or -EBADMSG unless wg_message_type() says that it is this message. */
int wg_initiation_decode(const uint8_t *datagram, size_t length, struct wg_initiation *ret);
int wg_response_decode(const uint8_t *datagram, size_t length, struct wg_response *ret);
int wg_cookie_reply_decode(const uint8_t *datagram, size_t length, struct wg_cookie_reply *ret);
int wg_transport_decode(const uint8_t *datagram, size_t length, struct wg_transport *ret);

/* wg_…_encode() - Write the message; the MACs of handshake messages are left zero. */
void wg_initiation_encode(const struct wg_initiation *message,
			  uint8_t ret[static WG_INITIATION_SIZE]);
void wg_response_encode(const struct wg_response *message, uint8_t ret[static WG_RESPONSE_SIZE]);
void wg_cookie_reply_encode(const struct wg_cookie_reply *message,
			    uint8_t ret[static WG_COOKIE_REPLY_SIZE]);
void wg_transport_encode(const struct wg_transport *message,
			 uint8_t ret[static WG_TRANSPORT_HEADER_SIZE]);

/* TAI64N, WireGuard §5.1: compared as a string of bytes. */
struct wg_timestamp {
	uint8_t bytes[WG_TIMESTAMP_SIZE];
};

/** wg_timestamp_at() - @realtime (ns since 1970) rounded down to 2^24 ns, so as not to tell our
 * clock */
struct wg_timestamp wg_timestamp_at(nanoseconds realtime);

/** wg_timestamp_next() - The smallest timestamp of that rounding that is later than @timestamp */
struct wg_timestamp wg_timestamp_next(const struct wg_timestamp *timestamp);

/** wg_timestamp_later() - Whether @a is later than @b */
static inline bool wg_timestamp_later(const struct wg_timestamp *a, const struct wg_timestamp *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) > 0;
}
