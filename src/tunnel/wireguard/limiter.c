/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/limiter.c - how many handshakes are worth their four X25519 */
#include "tunnel/wireguard/limiter.h"

#include "base/quota.h"

#include <sodium.h>

static_assert(crypto_shorthash_KEYBYTES == 16 && crypto_shorthash_BYTES == 8, "SipHash");
static_assert(LIMIT_WG_SOURCES % WG_LIMITER_WAYS == 0, "whole sets");

struct rate {
	unsigned int per_second;
	unsigned int burst;
};

static const struct rate source_unproven = {LIMIT_WG_SOURCE_UNPROVEN, LIMIT_WG_SOURCE_UNPROVEN};
static const struct rate source_proven = {LIMIT_WG_SOURCE_PROVEN, LIMIT_WG_SOURCE_PROVEN_BURST};
static const struct rate all_unproven = {LIMIT_WG_ALL_UNPROVEN, LIMIT_WG_ALL_UNPROVEN};
static const struct rate all_proven = {LIMIT_WG_ALL_PROVEN, LIMIT_WG_ALL_PROVEN};

static nanoseconds cost(const struct rate *rate)
{
	return NSEC_PER_SEC / rate->per_second;
}

static nanoseconds full(const struct rate *rate)
{
	return cost(rate) * rate->burst;
}

/* take() - From both or from neither */
static bool take(nanoseconds *one, const struct rate *one_rate, nanoseconds *all,
		 const struct rate *all_rate, nanoseconds now)
{
	if (!quota_spend(one, full(one_rate), cost(one_rate), now))
		return false;
	if (quota_spend(all, full(all_rate), cost(all_rate), now))
		return true;
	*one -= cost(one_rate);
	return false;
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
	*stalest = (struct wg_limited_source){.name = name, .last = now};
	return stalest;
}

void wg_limiter_init(struct wg_limiter *limiter, const uint8_t random[static 16])
{
	*limiter = (struct wg_limiter){0};
	memcpy(limiter->hash_key, random, sizeof(limiter->hash_key));
}

enum wg_admission wg_limiter_admit(struct wg_limiter *limiter, const struct wg_source *source,
				   bool proven, nanoseconds now)
{
	struct wg_limited_source *one = find(limiter, source, now);

	if (take(&one->unproven, &source_unproven, &limiter->unproven, &all_unproven, now))
		return WG_ADMIT;
	if (!proven)
		return WG_ASK_COOKIE;
	return take(&one->proven, &source_proven, &limiter->proven, &all_proven, now) ? WG_ADMIT
										      : WG_REFUSE;
}
