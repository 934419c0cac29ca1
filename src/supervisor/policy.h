/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/policy.h - when to start an engine again, and when to end; pure
 */
#pragma once

#include "base/clock.h"
#include "base/crashes.h"
#include "privsep/messages.h"

#include <stdbool.h>

/** crashes_want_fresh_sockets() - From the second crash in a row: a socket may be broken */
bool crashes_want_fresh_sockets(const struct crashes *crashes);

/* What the node's states mean for the supervisor. */
struct life {
	bool announced;   /* some engine was Running */
	bool was_running; /* this engine was */
};

enum life_verdict {
	LIFE_GOES_ON,
	LIFE_ANNOUNCE, /* first Running: "Startup complete …" */
	LIFE_ENDS,     /* --exit-on-failure */
};

/** life_status() - The engine says @state */
enum life_verdict life_status(struct life *life, enum privsep_state state, bool exit_on_failure);

/** life_new_engine() - Another engine begins; it has not been Running yet */
void life_new_engine(struct life *life);

/** struct quota - A token bucket: how often a child may ask */
struct quota {
	unsigned int burst;
	nanoseconds interval; /* a new token each */
	nanoseconds full_at;
};

/** quota_take() - Whether one more request is allowed at @now */
bool quota_take(struct quota *quota, nanoseconds now);
