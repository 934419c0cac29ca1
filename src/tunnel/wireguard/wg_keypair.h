/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg_keypair.h - a session: two keys, a counter, a replay window
 *
 * All that a data packet needs. It knows nothing of handshakes, timers or queues,
 * so that packet threads can seal and open without them.
 */
#pragma once

#include "base/clock.h"
#include "base/secret.h"
#include "wire/wireguard.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct wg_peer;

/* An index by which a datagram finds its handshake or session; both kinds share one table. */
struct wg_index {
	uint32_t number;
	struct wg_peer *peer;
	struct wg_keypair *keypair; /* NULL: the peer's pending handshake */
	UT_hash_handle hh;
};

#define REPLAY_BLOCK_BITS 64u
#define REPLAY_BLOCKS     (WG_REPLAY_WINDOW / REPLAY_BLOCK_BITS + 1)

/*
 * Which counters were seen (RFC 6479): a ring of bits, one block longer than the window, so that
 * moving on clears whole blocks. Zeroed: no counter was seen.
 */
struct replay_window {
	uint64_t next; /* one more than the highest counter seen */
	uint64_t blocks[REPLAY_BLOCKS];
};

struct wg_keypair {
	struct wg_index index; /* ours: the receiver in what comes */
	uint32_t remote_index; /* theirs: the receiver in what we send */
	bool initiator;
	bool renews;     /* it is for us to make the next one in time */
	bool send_ended; /* our static key changed: no more sending */
	nanoseconds created;
	uint64_t send_counter;
	struct secret_key sending, receiving;
	struct replay_window window;
};

/** wg_keypair_can_send() - Neither too old nor used up (WireGuard §6.2) */
static inline bool wg_keypair_can_send(const struct wg_keypair *keypair, nanoseconds now)
{
	return !keypair->send_ended && now - keypair->created < WG_REJECT_AFTER_TIME &&
	       keypair->send_counter < WG_REJECT_AFTER_MESSAGES;
}

/**
 * wg_keypair_seal() - Make a transport message in place
 * @datagram: room for the header, then @length bytes to seal, then room for the tag
 *
 * Only while wg_keypair_can_send(). Return: the length of the datagram
 */
size_t wg_keypair_seal(struct wg_keypair *keypair, uint8_t *datagram, size_t length);

/**
 * wg_keypair_open() - Open a transport message in place
 * @length: of the whole datagram, at least WG_TRANSPORT_SIZE_MIN
 *
 * The plaintext is at datagram + WG_TRANSPORT_HEADER_SIZE, @length - WG_TRANSPORT_SIZE_MIN bytes.
 *
 * Return: 0, -ETIME past the session's age, -EBADMSG forged, -EALREADY replayed or past the
 * counter's limit (then, too, nothing of the plaintext is left)
 */
int wg_keypair_open(struct wg_keypair *keypair, uint64_t counter, uint8_t *datagram, size_t length,
		    nanoseconds now);

/**
 * replay_accept() - Note @counter; false where it was seen, is too old, or past the limit
 *
 * Only for authentic messages, or a forger could move the window.
 */
bool replay_accept(struct replay_window *window, uint64_t counter);
