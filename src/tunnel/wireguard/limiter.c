/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/limiter.c - limit the rate of handshakes, which cost four X25519 each */
#include "tunnel/wireguard/limiter.h"

#include "base/quota.h"

#include <sodium.h>

static_assert(crypto_shorthash_KEYBYTES == 16 && crypto_shorthash_BYTES == 8, "SipHash");
static_assert(LIMIT_WG_SOURCES % WG_LIMITER_WAYS == 0, "whole sets");

/* bucket() - A full bucket of @burst tokens, with @per_second new ones each second */
static struct quota bucket(unsigned int per_second, unsigned int burst)
{
	return (struct quota){.burst = burst, .interval = NSEC_PER_SEC / per_second};
}

/* take() - A token of both buckets, or of neither */
static bool take(struct quota *one, struct quota *all, nanoseconds now)
{
	return quota_left(one, 0, now) && quota_take(all, now) && quota_take(one, now);
}

static uint64_t name_of(const struct wg_limiter *limiter, const struct wg_source *source)
{
	uint8_t input[1 + 16 + KEY_SIZE] = {source->endpoint.address.family};
	uint8_t hash[crypto_shorthash_BYTES];
	uint64_t name;

	memcpy(input + 1, source->endpoint.address.bytes,
	       source->endpoint.address.family == ADDRESS_V6 ? 8 : 16);
	memcpy(input + 17, source->relay_key.bytes, KEY_SIZE);
	crypto_shorthash(hash, input, sizeof(input), limiter->hash_key);
	memcpy(&name, hash, sizeof(name));
	return name;
}

static struct wg_limited_source *find(struct wg_limiter *limiter, const struct wg_source *source,
				      nanoseconds now)
{
	uint64_t name = name_of(limiter, source);
	struct wg_limited_source *set = limiter->sources[name % WG_LIMITER_SETS];
	struct wg_limited_source *stalest = &set[0];

	for (size_t i = 0; i < WG_LIMITER_WAYS; i++) {
		if (set[i].last && set[i].name == name) {
			set[i].last = now;
			return &set[i];
		}
		if (set[i].last < stalest->last)
			stalest = &set[i];
	}
	*stalest = (struct wg_limited_source){
		.name = name,
		.last = now,
		.unproven = bucket(LIMIT_WG_SOURCE_UNPROVEN, LIMIT_WG_SOURCE_UNPROVEN),
		.proven = bucket(LIMIT_WG_SOURCE_PROVEN, LIMIT_WG_SOURCE_PROVEN_BURST),
	};
	return stalest;
}

void wg_limiter_init(struct wg_limiter *limiter, const uint8_t random[static 16])
{
	*limiter = (struct wg_limiter){
		.unproven = bucket(LIMIT_WG_ALL_UNPROVEN, LIMIT_WG_ALL_UNPROVEN),
		.proven = bucket(LIMIT_WG_ALL_PROVEN, LIMIT_WG_ALL_PROVEN),
	};
	memcpy(limiter->hash_key, random, sizeof(limiter->hash_key));
}

enum wg_admission wg_limiter_admit(struct wg_limiter *limiter, const struct wg_source *source,
				   bool proven, nanoseconds now)
{
	struct wg_limited_source *one = find(limiter, source, now);

	if (take(&one->unproven, &limiter->unproven, now))
		return WG_ADMIT;
	if (!proven)
		return WG_ASK_COOKIE;
	return take(&one->proven, &limiter->proven, now) ? WG_ADMIT : WG_REFUSE;
}
