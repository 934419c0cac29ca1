/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/policy.h - when to start an engine again, and when to end; pure
 */
#pragma once

#include "base/clock.h"
#include "base/crashes.h"
#include "base/quota.h"
#include "privsep/privsep_messages.h"

#include <stdbool.h>

/** crashes_want_fresh_sockets() - From the second crash in a row: a socket may be broken */
bool crashes_want_fresh_sockets(const struct crashes *crashes);

/*
 * The engine is asked this often whether it lives; after so many turns without an answer it
 * hangs. So one that hangs is killed within 9 s, and one that works for 7 s without a pause is not.
 */
#define WATCHDOG_INTERVAL (1500 * NSEC_PER_MSEC)
#define WATCHDOG_TURNS    5u

/**
 * struct watchdog - Whether the engine still answers
 *
 * What counts is turns of our own loop, not time: a container that was stopped, or a machine
 * that slept, costs one turn at most, however long it took.
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

/** watchdog_turn() - WATCHDOG_INTERVAL is over once more: what to do about the engine */
enum watchdog_verdict watchdog_turn(struct watchdog *watchdog);

/** watchdog_answered() - It lives */
void watchdog_answered(struct watchdog *watchdog);

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

/* Of a child's log: this much at once, and then so much a second, in units of 256 bytes. */
#define FLOOD_UNIT   256u
#define FLOOD_BURST  4000u
#define FLOOD_SECOND 400u

/**
 * struct flood - A child's log lines, as many as a disk and a reader can bear
 *
 * A zeroed one is ready. What is dropped is counted, for the line that says so.
 */
struct flood {
	struct quota quota;
	unsigned long dropped; /* lines, not yet said */
};

/** flood_pass() - Whether a line of @length bytes may be passed on at @now; else it's counted */
bool flood_pass(struct flood *flood, size_t length, nanoseconds now);
