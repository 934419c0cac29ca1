/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/limiter.h - limit the rate of handshakes, which cost four X25519 each
 *
 * DOC: Theory of operation
 *
 * Anyone who knows our public key can make us compute. Each message with a valid mac1
 * passes two checks, in this order:
 *
 *	1. Without a cookie: each source has a token bucket, and all sources together
 *	   have one. A handshake that finds tokens in both passes. A single source empties
 *	   its own bucket long before the common one, so one attacker with one address
 *	   doesn't force cookies on others.
 *	2. Otherwise, a message without a valid mac2 gets a cookie reply. A valid mac2
 *	   proves the source address; the message passes at a rate for that source.
 *
 * Buckets refill with time, so the effect of a flood ends with it. A source is an IPv4
 * address, an IPv6 /64, or a relay's client. Peers behind one NAT share a source, so the
 * first bucket is generous. The table of sources has a small fixed size: in a flood from
 * many forged sources the oldest entry is replaced, and the common bucket limits.
 */
#pragma once

#include "base/limits.h"
#include "base/quota.h"
#include "tunnel/wireguard/wg.h"

#define WG_LIMITER_WAYS 4u
#define WG_LIMITER_SETS (LIMIT_WG_SOURCES / WG_LIMITER_WAYS)

struct wg_limited_source {
	uint64_t name;    /* keyed hash of the source */
	nanoseconds last; /* when the source last sent a handshake message; 0: a free entry */
	struct quota unproven, proven;
};

struct wg_limiter {
	uint8_t hash_key[16];
	struct quota unproven, proven; /* of all sources together */
	struct wg_limited_source sources[WG_LIMITER_SETS][WG_LIMITER_WAYS];
};

enum wg_admission {
	WG_ADMIT,
	WG_ASK_COOKIE,
	WG_REFUSE,
};

/** wg_limiter_init() - @random: the secret of the table's hash */
void wg_limiter_init(struct wg_limiter *limiter, const uint8_t random[static 16]);

/**
 * wg_limiter_admit() - Whether to process a handshake message
 * @proven: its mac2 is valid
 */
enum wg_admission wg_limiter_admit(struct wg_limiter *limiter, const struct wg_source *source,
				   bool proven, nanoseconds now);
