/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg_keypair.h - a session: two keys, a counter, a replay window
 *
 * Everything that a data packet needs. It is independent of handshakes, timers and queues,
 * so that packet threads can seal and open without them.
 */
#pragma once

#include "base/clock.h"
#include "tunnel/aead/aead.h"
#include "wire/wireguard.h"

#include <sys/uio.h>

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
 * The received counters (RFC 6479): a ring of bits, one block longer than the window, so that
 * an advance clears whole blocks. Zero: no counter was received.
 */
struct replay_window {
	uint64_t next; /* the highest received counter, plus one */
	uint64_t blocks[REPLAY_BLOCKS];
};

struct wg_keypair {
	struct wg_index index; /* our index: the receiver of incoming messages */
	uint32_t remote_index; /* the peer's index: the receiver of our messages */
	bool initiator;
	bool renews;     /* we initiate the next session */
	bool send_ended; /* our static key changed: receive only */
	nanoseconds created;
	uint64_t send_counter;
	struct aead_worker *worker; /* the device's */
	struct aead_key sending, receiving;
	struct replay_window window;
};

/** wg_keypair_can_send() - Whether the session is young enough and has counters left (WireGuard §6.2) */
static inline bool wg_keypair_can_send(const struct wg_keypair *keypair, nanoseconds now)
{
	return !keypair->send_ended && now - keypair->created < WG_REJECT_AFTER_TIME &&
	       keypair->send_counter < WG_REJECT_AFTER_MESSAGES;
}

/**
 * wg_keypair_seal() - Make a transport message in place
 * @datagram: room for the header, then @length bytes to seal, then room for the tag
 *
 * Only while wg_keypair_can_send(). Return: the length of the datagram; 0 if it could not be sealed
 */
size_t wg_keypair_seal(struct wg_keypair *keypair, uint8_t *datagram, size_t length);

/* Messages sealed in one call. */
#define WG_KEYPAIR_BATCH_MAX 64u

/**
 * wg_keypair_seal_all() - Make transport messages in place, all in one call of the AEAD's engine
 * @datagrams: @count, at most WG_KEYPAIR_BATCH_MAX; before: the length to seal behind the room for the
 *             header, as for wg_keypair_seal(); after: the datagrams that could be sealed, in their order
 *
 * Only while wg_keypair_can_send(), and there are @count counters left. Return: the number of datagrams
 */
size_t wg_keypair_seal_all(struct wg_keypair *keypair, struct iovec *datagrams, size_t count);

/**
 * wg_keypair_open_job() - What opens a transport message in place
 * @length: of the whole datagram, at least WG_TRANSPORT_SIZE_MIN
 *
 * The plaintext is at datagram + WG_TRANSPORT_HEADER_SIZE, @length - WG_TRANSPORT_SIZE_MIN bytes.
 */
struct aead_job wg_keypair_open_job(const struct wg_keypair *keypair, uint64_t counter,
				    uint8_t *datagram, size_t length);

/**
 * wg_keypair_accept() - Judge a message after its job was run
 *
 * Return: 0, -EBADMSG forged, -EALREADY replayed or past the counter's limit (the plaintext is wiped)
 */
int wg_keypair_accept(struct wg_keypair *keypair, const struct aead_job *opened);

/**
 * replay_accept() - Store @counter; false if it was received before, is too old, or past the limit
 *
 * Only for authentic messages: otherwise a forger could move the window.
 */
bool replay_accept(struct replay_window *window, uint64_t counter);
