/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg.h - the WireGuard device: peers, handshakes, sessions
 *
 * DOC: Theory of operation
 *
 * Sans-I/O. Datagrams and packets go in with `now` and come out through callbacks;
 * wg_device_deadline() is the time of the next wg_device_timeout().
 *
 *	 packet ──wg_send()──► session? ──yes──► seal ──► send(peer, datagram, WG_DATA)
 *	                          │no
 *	                          ▼
 *	                    staged queue, initiation ──► send(peer, datagram, WG_HANDSHAKE)
 *
 *	 datagram ──wg_receive_all()──► type, length
 *	     handshake: mac1 ► limiter, mac2 ► Noise ► session()
 *	     transport: index ► AEAD ► replay window ► length ► source is the peer's ► deliver()
 *
 * The path of a datagram is not decided here: send() names the peer, and the path layer
 * chooses the path, for handshakes and data. Only a cookie reply goes back to the source
 * of its message, since no peer is known yet: send_to().
 *
 * Files: wg_keypair.h is all that a data packet needs in an established session (packet
 * threads will share it), wg_handshake.c makes sessions, wg_timers.c schedules, wg_cookie.c
 * and limiter.c protect against floods, allowed_ips.h maps addresses to peers.
 *
 * A device is used from one thread. Callbacks may call wg_send(), wg_peer_initiate(),
 * wg_peer_stats() and the like; they must not remove peers or free the device. Only
 * identify() may add a peer.
 */
#pragma once

#include "base/address.h"
#include "base/clock.h"
#include "base/secret.h"
#include "wire/wireguard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct wg_device;
struct wg_peer;

/*
 * Writable space around a packet for wg_send(): the header before it, padding and tag behind.
 * deliver() gets the same space around its packet, with the tag's 16 bytes at the end.
 */
#define WG_HEADROOM WG_TRANSPORT_HEADER_SIZE
#define WG_TAILROOM (WG_PADDING - 1 + AEAD_TAG_SIZE)

/* The source of a datagram. By UDP an endpoint; by relay a region and the sender that it names.
 */
struct wg_source {
	struct endpoint endpoint;
	uint32_t region;             /* 0: by UDP */
	struct public_key relay_key; /* zero where region is 0 */
};

enum wg_kind {
	WG_HANDSHAKE, /* initiation or response */
	WG_DATA,      /* transport message of a packet */
	WG_KEEPALIVE, /* empty transport message */
};

struct wg_callbacks {
	/**
	 * @send: send a datagram to @peer by a path that the owner chooses
	 * @datagram: writable during the call only
	 */
	void (*send)(void *context, struct wg_peer *peer, uint8_t *datagram, size_t length,
		     enum wg_kind kind);

	/**
	 * @send_all: send @count datagrams of data to @peer in their order, as by @send; NULL: @send
	 * is called for each
	 */
	void (*send_all)(void *context, struct wg_peer *peer, const struct iovec *datagrams,
			 size_t count);

	/** @send_to: send a cookie reply to the source of its message; may be NULL */
	void (*send_to)(void *context, const struct wg_source *to, const uint8_t *datagram,
			size_t length);

	/**
	 * @deliver: a packet of @peer: authentic, not replayed, trimmed to the length of its IP
	 * header, with a source address of the peer
	 * @packet: inside the datagram given to wg_receive_all(); WG_HEADROOM bytes before it and
	 *          AEAD_TAG_SIZE behind it are writable too
	 */
	void (*deliver)(void *context, struct wg_peer *peer, uint8_t *packet, size_t length);

	/** @session: @peer has a new session, usable for sending (also at each rekey); may be NULL
	 */
	void (*session)(void *context, struct wg_peer *peer);

	/**
	 * @identify: an authentic initiation with an unknown key arrived; may be NULL
	 * Return: the peer that wg_peer_add() just made for @key, or NULL to ignore the initiation
	 */
	struct wg_peer *(*identify)(void *context, const struct public_key *key);

	/** @realtime: nanoseconds since 1970, for the timestamps of initiations */
	nanoseconds (*realtime)(void *context);

	/** @random: fill with random bytes; NULL: use libsodium. Tests set their own */
	void (*random)(void *context, void *out, size_t length);
};

/* The result for a datagram. RECEIVED ones are authentic; INNER and SOURCE are authentic but dropped. */
enum wg_verdict {
	WG_RECEIVED_PACKET,      /* delivered */
	WG_RECEIVED_KEEPALIVE,   /* empty transport message */
	WG_RECEIVED_INITIATION,  /* answered */
	WG_RECEIVED_RESPONSE,    /* session made */
	WG_RECEIVED_COOKIE,      /* kept for the next initiation */
	WG_COOKIE_SENT,          /* under load: a cookie reply was sent */
	WG_DROPPED_MALFORMED,    /* invalid type or length */
	WG_DROPPED_NO_KEY,       /* the device has no private key */
	WG_DROPPED_MAC1,         /* mac1 of another public key */
	WG_DROPPED_RATE,         /* limiter, or more than 50 initiations a second of one peer */
	WG_DROPPED_UNKNOWN_PEER, /* authentic initiation with an unknown key */
	WG_DROPPED_UNKNOWN_INDEX, /* transport with an unknown index: the sender's session is stale */
	WG_DROPPED_LATE,          /* a response or cookie to an initiation no longer pending */
	WG_DROPPED_FORGED,        /* authentication failed */
	WG_DROPPED_REPLAYED,      /* counter or timestamp seen before */
	WG_DROPPED_EXPIRED,       /* session older than 180 s, or counter past its limit */
	WG_DROPPED_INNER,         /* authentic, but not an IP packet, or longer than its message */
	WG_DROPPED_SOURCE,        /* authentic, but with a source address of another peer */
	WG_DROPPED_MEMORY,        /* no memory for a session */
	WG_VERDICT_COUNT,
};

/* Counters beside those of the verdicts. */
enum wg_counter {
	WG_STAGED_DROPPED,      /* queued packets displaced by newer ones */
	WG_STAGED_ABANDONED,    /* queued packets dropped when the peer was given up */
	WG_HANDSHAKE_ABANDONED, /* 90 s without an answer */
	WG_INITIATIONS_SENT,
	WG_RESPONSES_SENT,
	WG_KEEPALIVES_SENT,
	WG_COUNTER_COUNT,
};

struct wg_statistics {
	uint64_t verdicts[WG_VERDICT_COUNT];
	uint64_t counters[WG_COUNTER_COUNT];
};

/** wg_verdict_name(), wg_counter_name() - "dropped_unknown_index", "staged_dropped": for metrics */
const char *wg_verdict_name(enum wg_verdict verdict);
const char *wg_counter_name(enum wg_counter counter);

/* ---- the device ---- */

/**
 * wg_device_new() - A device without peers
 * @private:   our node key, or NULL to set it later; copied
 * @callbacks: kept by reference
 * @context:   given to the callbacks
 *
 * Return: the device, or NULL without memory
 */
struct wg_device *wg_device_new(const struct secret_key *private,
				const struct wg_callbacks *callbacks, void *context);

/** wg_device_free() - Release the device with all peers and wipe every key. NULL is allowed */
void wg_device_free(struct wg_device *device);

/**
 * wg_device_set_private_key() - Change the node key; NULL: none (logged out)
 *
 * Old sessions only receive; the next packet starts a handshake with the new key. A peer with
 * our own public key gets no message.
 */
void wg_device_set_private_key(struct wg_device *device, const struct secret_key *private);

/** wg_device_public_key() - Our public key; zero: none */
const struct public_key *wg_device_public_key(const struct wg_device *device);

/** wg_device_set_mtu() - Set the MTU of the TUN, the limit for padding; initially 1280 */
void wg_device_set_mtu(struct wg_device *device, size_t mtu);

/**
 * wg_device_raise_timestamp() - Send only initiations with timestamps later than @floor
 *
 * Peers ignore an initiation that isn't later than all earlier ones. So the latest timestamp of
 * the previous process (hand-over record, state) is the floor of this one, whatever the wall clock.
 *
 * Return: 0, or -ERANGE for an invalid TAI64N timestamp (nothing changes)
 */
int wg_device_raise_timestamp(struct wg_device *device, const struct wg_timestamp *floor);

/** wg_device_timestamp() - The latest timestamp sent or given as floor */
const struct wg_timestamp *wg_device_timestamp(const struct wg_device *device);

/**
 * wg_device_set_local() - Exactly these prefixes lead to this node itself
 *
 * No packet to them goes to a peer, and no peer may send from them, even with wider allowed IPs.
 * A prefix of a peer becomes ours.
 *
 * Return: 0, -EINVAL, or -ENOMEM (some of them lead here)
 */
int wg_device_set_local(struct wg_device *device, const struct prefix *prefixes, size_t count);

enum wg_target_kind {
	WG_TARGET_NONE, /* no prefix holds the address */
	WG_TARGET_PEER,
	WG_TARGET_LOCAL,
};

struct wg_target {
	enum wg_target_kind kind;
	struct wg_peer *peer; /* WG_TARGET_PEER */
};

/** wg_device_lookup() - Where a packet to @destination goes, by longest prefix */
struct wg_target wg_device_lookup(const struct wg_device *device,
				  const struct address *destination);

/** wg_device_deadline() - The time of the next wg_device_timeout(); DEADLINE_NEVER: idle */
nanoseconds wg_device_deadline(const struct wg_device *device);

/** wg_device_timeout() - Run the actions due at @now; early or repeated calls are harmless */
void wg_device_timeout(struct wg_device *device, nanoseconds now);

const struct wg_statistics *wg_device_statistics(const struct wg_device *device);

/* ---- peers ---- */

/**
 * wg_peer_add() - Add a peer; sends nothing
 * @psk:  preshared key, or NULL for none
 * @user: returned by wg_peer_user()
 *
 * Return: 0, -EEXIST (its key is known), -EINVAL (zero, or our own key), -ENOSPC past
 * LIMIT_PEERS, -ENOMEM
 */
int wg_peer_add(struct wg_device *device, const struct public_key *public,
		const struct secret_key *psk, void *user, struct wg_peer **ret);

/** wg_peer_remove() - Remove a peer with its sessions, queue and allowed IPs. NULL is allowed */
void wg_peer_remove(struct wg_peer *peer);

/** wg_peer_for_key() - By public key, or NULL */
struct wg_peer *wg_peer_for_key(const struct wg_device *device, const struct public_key *public);

void *wg_peer_user(const struct wg_peer *peer);

/**
 * wg_peer_set_allowed_ips() - Set the prefixes that lead to @peer, and from which it may send
 *
 * Host bits are ignored. A prefix of another peer moves to this peer.
 *
 * Return: 0, -EINVAL (a prefix without family or too long; nothing changed), -ENOMEM (the peer has
 * some of the prefixes)
 */
int wg_peer_set_allowed_ips(struct wg_peer *peer, const struct prefix *prefixes, size_t count);

/** wg_peer_set_psk() - Change the preshared key (NULL: none) for the next handshakes */
void wg_peer_set_psk(struct wg_peer *peer, const struct secret_key *psk);

/**
 * wg_peer_initiate() - Start a handshake now, even if there is a session
 *
 * Does nothing within 5 s of the last initiation, so the caller may call it for each sign of a
 * stale session (a restart, WG_DROPPED_UNKNOWN_INDEX from this peer's address).
 *
 * Return: whether an initiation was sent
 */
bool wg_peer_initiate(struct wg_peer *peer, nanoseconds now);

/** wg_peer_initiate_on_send() - The same, after the next packet to the peer (new disco key)
 */
void wg_peer_initiate_on_send(struct wg_peer *peer);

/**
 * wg_peer_retry_now() - The peer became reachable: repeat an unanswered initiation early
 *
 * The path layer calls it at an event: relay connected, peer present, pong or ping received.
 * Does nothing without a pending initiation. An initiation is repeated at the earliest
 * WG_EARLY_RETRY_INTERVAL after it was sent, and at most WG_EARLY_RETRIES times between two
 * regular attempts.
 */
void wg_peer_retry_now(struct wg_peer *peer, nanoseconds now);

#define WG_EARLY_RETRY_INTERVAL (250 * NSEC_PER_MSEC)
#define WG_EARLY_RETRIES        4

struct wg_peer_stats {
	uint64_t received_bytes; /* of authentic datagrams, with headers */
	uint64_t sent_bytes;
	nanoseconds last_handshake;         /* when the last session became usable; 0: never */
	nanoseconds last_received;          /* last authentic datagram; 0: never */
	struct wg_timestamp last_timestamp; /* of the last initiation sent; zeros: none */
	struct wg_source last_source;       /* of the last authentic datagram that was no cookie */
	bool handshaking;                   /* an initiation is unanswered */
	bool has_session;                   /* a packet would be sealed, not staged */
	size_t staged;                      /* packets queued for a session */
};

void wg_peer_stats(const struct wg_peer *peer, nanoseconds now, struct wg_peer_stats *ret);

/* ---- packets ---- */

/**
 * wg_send() - Send an IP packet to @peer
 * @packet: with WG_HEADROOM bytes before it and WG_TAILROOM behind; overwritten (sealed in place)
 * @length: 1 to WG_DATAGRAM_MAX - WG_HEADROOM - WG_TAILROOM
 *
 * Without a session the packet is copied to the peer's queue and a handshake begins; a full queue
 * drops its oldest packet. The caller chooses the peer by wg_device_lookup().
 *
 * Return: 1 sent, 0 queued, -EMSGSIZE, -ENOKEY (no private key, or the peer has our own key),
 * -ENOBUFS (all queues together are full, or no memory; counted)
 */
int wg_send(struct wg_peer *peer, uint8_t *packet, size_t length, nanoseconds now);

#define WG_BATCH_MAX 64u

/**
 * wg_send_all() - Send IP packets to @peer in their order
 * @packets: @count, at most WG_BATCH_MAX; each has the space around it as for wg_send(), and is
 *           overwritten
 */
void wg_send_all(struct wg_peer *peer, const struct iovec *packets, size_t count, nanoseconds now);

/** wg_sealed_length() - The bytes of the datagram that a packet of @length becomes */
size_t wg_sealed_length(const struct wg_device *device, size_t length);

/* A datagram that is neither disco nor STUN, and what became of it. */
struct wg_datagram {
	const struct wg_source *source;
	uint8_t *bytes; /* overwritten (opened in place) */
	size_t length;
	enum wg_verdict verdict;
	struct wg_peer *peer; /* that sealed it; NULL if it isn't authentic */
};

/**
 * wg_receive_all() - Handle datagrams in their order
 * @datagrams: @count, any number; transport messages that follow each other are opened together,
 *             up to WG_BATCH_MAX, and count as one event for the timers of their peer
 */
void wg_receive_all(struct wg_device *device, struct wg_datagram *datagrams, size_t count,
		    nanoseconds now);
