/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/source_log.h - log lines caused by strangers: one a minute for each source
 *
 * Lines over the limit are counted, and the count is logged when the minute is over.
 */
#pragma once

#include "base/address.h"
#include "base/clock.h"

#include <stdbool.h>

struct source_log;

/** source_log_new() - NULL without memory */
struct source_log *source_log_new(void);

/** source_log_free() - NULL is fine */
void source_log_free(struct source_log *log);

/**
 * source_log_may() - Whether a line about a request of @who may be logged now; else it is counted
 * @source: as of struct http1_exchange
 */
bool source_log_may(struct source_log *log, unsigned int source, const struct address *who,
		    nanoseconds now);

/** source_log_tick() - Log the counts of the minutes that are over; call once a second */
void source_log_tick(struct source_log *log, nanoseconds now);
