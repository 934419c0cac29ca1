/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/limiter.h - how many handshakes are worth their four X25519
 *
 * DOC: Theory of operation
 *
 * Whoever knows our public key can make us compute. Two questions for each message
 * with a right mac1, in this order:
 *
 *	1. Is there room without a cookie? Each source has a bucket, and all together
 *	   have one: below both, a handshake costs its sender nothing extra. A single
 *	   source runs into its own bucket long before it empties the common one, so one
 *	   attacker with one address forces cookies on nobody else.
 *	2. If not, and the message has no valid mac2: ask for a cookie. If it has (the
 *	   source is where it says), it passes at a rate that is the source's own.
 *
 * Buckets fill with time, so nothing outlasts the flood. A source is an IPv4 address,
 * an IPv6 /64, or a relay's client; peers behind one NAT share it, which is why
 * the first bucket is generous. The table of sources is small and fixed: in a flood
 * from many forged sources the stalest gives way, and the common bucket holds.
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
 * wg_limiter_admit() - Whether to work on a handshake message
 * @proven: its mac2 is valid
 */
enum wg_admission wg_limiter_admit(struct wg_limiter *limiter, const struct wg_source *source,
				   bool proven, nanoseconds now);
