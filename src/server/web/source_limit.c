/* SPDX-License-Identifier: BSD-3-Clause */
/* server/web/source_limit.c - a rate limit for each address or /64 */
#include "server/web/source_limit.h"

#include "base/cleanup.h"
#include "base/quota.h"

#include <sodium.h>
#include <stdlib.h>

#define V6_SOURCE 8 /* bytes of an IPv6 address that tell sources apart */

struct source_limit {
	uint8_t secret[crypto_shorthash_KEYBYTES];
	nanoseconds span, cost;
	nanoseconds full_at[SOURCE_SLOTS];
};

struct source_limit *source_limit_new(unsigned int rate, unsigned int burst)
{
	struct source_limit *limit = calloc(1, sizeof(*limit));

	if (!limit)
		return NULL;
	limit->cost = NSEC_PER_SEC / rate;
	limit->span = limit->cost * burst;
	randombytes_buf(limit->secret, sizeof(limit->secret));
	return limit;
}

void source_limit_free(struct source_limit *limit)
{
	free(limit);
}

unsigned int source_limit_slot(const struct source_limit *limit, const struct address *address)
{
	union {
		uint8_t bytes[crypto_shorthash_BYTES];
		uint64_t number;
	} hash;

	crypto_shorthash(hash.bytes, address->bytes, address->family == ADDRESS_V4 ? 4 : V6_SOURCE,
			 limit->secret);
	return (unsigned int)(hash.number % SOURCE_SLOTS);
}

bool source_limit_admit(struct source_limit *limit, unsigned int at, nanoseconds now)
{
	return quota_spend(&limit->full_at[at], limit->span, limit->cost, now);
}
