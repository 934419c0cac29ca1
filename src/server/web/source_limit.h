/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/web/source_limit.h - a rate limit for each address or /64
 *
 * Theory of operation
 *   A table of fixed size, indexed by a keyed hash: a stranger can neither fill it nor choose
 *   which sources share its slot. Sources in one slot share its rate.
 */
#pragma once

#include "base/address.h"
#include "base/clock.h"

#include <stdbool.h>

#define SOURCE_SLOTS 4096u

/* The slot of sources that are not counted: local programs, and a proxy. */
#define WEB_SOURCE_LOCAL SOURCE_SLOTS

struct source_limit;

/**
 * source_limit_new() - NULL without memory
 * @rate:  a second
 * @burst: at once
 */
struct source_limit *source_limit_new(unsigned int rate, unsigned int burst);

/** source_limit_free() - NULL is fine */
void source_limit_free(struct source_limit *limit);

/** source_limit_slot() - Where @address belongs: below SOURCE_SLOTS */
unsigned int source_limit_slot(const struct source_limit *limit, const struct address *address);

/** source_limit_admit() - Whether @slot has a token left at @now; takes it */
bool source_limit_admit(struct source_limit *limit, unsigned int slot, nanoseconds now);
