/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/flows.c - the UDP and SCTP flows that this node began
 *
 * Theory of operation: entries live in one array. Each is in a hash chain and in the list by
 * age, both linked by index, so nothing is allocated after creation. Entry 0 is the head of the
 * list by age (its older neighbour is the most recent) and holds no flow.
 */
#include "filter/flows.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS (2 * FILTER_FLOWS_MAX)
#define NONE    0

static_assert((BUCKETS & (BUCKETS - 1)) == 0, "buckets are chosen by mask");

struct entry {
	struct filter_flow flow;
	uint16_t newer, older; /* by age */
	uint16_t chain;        /* next in the bucket, or NONE */
};

struct filter_flows {
	uint64_t seed;
	size_t count;
	uint16_t buckets[BUCKETS]; /* first of the chain, or NONE */
	struct entry entries[FILTER_FLOWS_MAX + 1];
};

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

static uint64_t mix_address(uint64_t hash, const struct address *a)
{
	uint64_t words[2];

	memcpy(words, a->bytes, sizeof(words));
	return mix(mix(hash, words[0]), words[1] ^ a->family);
}

static uint16_t *bucket_of(struct filter_flows *flows, const struct filter_flow *flow)
{
	uint64_t hash = mix(flows->seed, (uint64_t)flow->local_port << 32 |
						 (uint64_t)flow->remote_port << 8 | flow->protocol);

	hash = mix_address(mix_address(hash, &flow->local), &flow->remote);
	return &flows->buckets[hash >> 32 & (BUCKETS - 1)];
}

static bool flow_equal(const struct filter_flow *a, const struct filter_flow *b)
{
	return a->protocol == b->protocol && a->local_port == b->local_port &&
	       a->remote_port == b->remote_port && address_equal(&a->remote, &b->remote) &&
	       address_equal(&a->local, &b->local);
}

static void unlink_age(struct filter_flows *flows, uint16_t at)
{
	struct entry *e = &flows->entries[at];

	flows->entries[e->newer].older = e->older;
	flows->entries[e->older].newer = e->newer;
}

static void link_newest(struct filter_flows *flows, uint16_t at)
{
	struct entry *head = &flows->entries[NONE], *e = &flows->entries[at];

	e->newer = NONE;
	e->older = head->older;
	flows->entries[head->older].newer = at;
	head->older = at;
}

struct filter_flows *filter_flows_create(uint64_t seed)
{
	struct filter_flows *flows = calloc(1, sizeof(*flows));

	if (flows)
		flows->seed = seed;
	return flows;
}

void filter_flows_free(struct filter_flows *flows)
{
	free(flows);
}

bool filter_flows_find(struct filter_flows *flows, const struct filter_flow *flow)
{
	uint16_t at = *bucket_of(flows, flow);

	while (at != NONE && !flow_equal(&flows->entries[at].flow, flow))
		at = flows->entries[at].chain;
	if (at == NONE)
		return false;
	unlink_age(flows, at);
	link_newest(flows, at);
	return true;
}

/* take_oldest() - Evict the least recent flow; its entry is free */
static uint16_t take_oldest(struct filter_flows *flows)
{
	uint16_t at = flows->entries[NONE].newer;
	uint16_t *link = bucket_of(flows, &flows->entries[at].flow);

	while (*link != at)
		link = &flows->entries[*link].chain;
	*link = flows->entries[at].chain;
	unlink_age(flows, at);
	return at;
}

void filter_flows_note(struct filter_flows *flows, const struct filter_flow *flow)
{
	uint16_t *bucket, at;

	if (filter_flows_find(flows, flow))
		return;
	at = flows->count < FILTER_FLOWS_MAX ? (uint16_t)++flows->count : take_oldest(flows);
	bucket = bucket_of(flows, flow);
	flows->entries[at].flow = *flow;
	flows->entries[at].chain = *bucket;
	*bucket = at;
	link_newest(flows, at);
}
