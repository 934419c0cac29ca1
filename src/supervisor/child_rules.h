/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/child_rules.h - watchdog, exit rules and log rate; pure
 */
#pragma once

#include "base/clock.h"
#include "base/crashes.h"
#include "base/quota.h"
#include "privsep/privsep_messages.h"

#include <stdbool.h>

/** crashes_want_fresh_sockets() - Whether to replace sockets: from the second crash in a row */
bool crashes_want_fresh_sockets(const struct crashes *crashes);

/*
 * A child is pinged this often; after so many turns without an answer it hangs. So a child that
 * hangs is killed within 9 s, and a child that works for 7 s without a pause is not.
 */
#define WATCHDOG_INTERVAL (1500 * NSEC_PER_MSEC)
#define WATCHDOG_TURNS    5u

/**
 * struct watchdog - Whether a child still answers
 *
 * It counts turns of our own loop, not time: a stopped container or a suspended machine costs one
 * turn at most, however long it lasts.
 */
struct watchdog {
	bool asked; /* and not answered yet */
	unsigned int silent;
};

enum watchdog_verdict {
	WATCHDOG_WAIT,
	WATCHDOG_ASK,
	WATCHDOG_HANGS,
};

/** watchdog_turn() - After each WATCHDOG_INTERVAL: the next action */
enum watchdog_verdict watchdog_turn(struct watchdog *watchdog);

/** watchdog_answered() - The child answered a ping */
void watchdog_answered(struct watchdog *watchdog);

/* The node's states, as far as exit rules need them. */
struct life {
	bool announced;   /* some engine was Running */
	bool was_running; /* this engine was */
};

enum life_verdict {
	LIFE_GOES_ON,
	LIFE_ANNOUNCE, /* first Running: "Startup complete …" */
	LIFE_ENDS,     /* --exit-on-failure */
};

/** life_status() - The engine reports @state */
enum life_verdict life_status(struct life *life, enum privsep_state state, bool exit_on_failure);

/** life_new_engine() - A new engine starts; it has not been Running yet */
void life_new_engine(struct life *life);

/* A child's log: a burst of this size, and then this rate, in units of 256 bytes. */
#define FLOOD_UNIT   256u
#define FLOOD_BURST  4000u
#define FLOOD_SECOND 400u

/**
 * struct flood - The limit of a child's log lines
 *
 * A zeroed struct is ready. Dropped lines are counted, for a line that reports them.
 */
struct flood {
	struct quota quota;
	unsigned long dropped; /* lines, not reported yet */
};

/** flood_pass() - Whether to pass on a line of @length bytes at @now; a dropped one is counted */
bool flood_pass(struct flood *flood, size_t length, nanoseconds now);
