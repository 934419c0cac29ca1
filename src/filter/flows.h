/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/flows.h - the UDP and SCTP flows that this node began
 *
 * A bounded cache of five-tuples, least recently used first out and no timeout. It outlives the
 * filters, so that a change of rules does not block an answer that a local program waits for.
 * A cache has no lock: threads that share one must lock it.
 */
#pragma once

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_FLOWS_MAX 512

struct filter_flows;

/* struct filter_flow - A flow as this node sees it */
struct filter_flow {
	struct address local;
	struct address remote;
	uint16_t local_port;
	uint16_t remote_port;
	uint8_t protocol;
};

/** filter_flows_create() - An empty cache; @seed makes its hash unpredictable. NULL without memory
 */
struct filter_flows *filter_flows_create(uint64_t seed);

/** filter_flows_free() - NULL is fine */
void filter_flows_free(struct filter_flows *flows);

/** filter_flows_note() - Make @flow the most recent; the oldest of %FILTER_FLOWS_MAX makes room */
void filter_flows_note(struct filter_flows *flows, const struct filter_flow *flow);

/** filter_flows_find() - Whether @flow is there; if so it becomes the most recent */
bool filter_flows_find(struct filter_flows *flows, const struct filter_flow *flow);
