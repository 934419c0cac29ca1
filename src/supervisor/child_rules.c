/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/child_rules.c - watchdog, rules of the end, log rate; pure */
#include "supervisor/child_rules.h"

bool crashes_want_fresh_sockets(const struct crashes *crashes)
{
	return crashes->in_row >= 2;
}

enum watchdog_verdict watchdog_turn(struct watchdog *watchdog)
{
	if (!watchdog->asked) {
		*watchdog = (struct watchdog){.asked = true};
		return WATCHDOG_ASK;
	}
	return ++watchdog->silent >= WATCHDOG_TURNS ? WATCHDOG_HANGS : WATCHDOG_WAIT;
}

void watchdog_answered(struct watchdog *watchdog)
{
	*watchdog = (struct watchdog){0};
}

enum life_verdict life_status(struct life *life, enum privsep_state state, bool exit_on_failure)
{
	bool first = !life->announced;

	if (state == PRIVSEP_STATE_RUNNING) {
		life->announced = true;
		life->was_running = true;
		return first ? LIFE_ANNOUNCE : LIFE_GOES_ON;
	}
	/* A new engine starts by not being Running yet; that is no failure of the node. */
	if (!exit_on_failure || !life->announced ||
	    (!life->was_running &&
	     (state == PRIVSEP_STATE_NONE || state == PRIVSEP_STATE_STARTING)))
		return LIFE_GOES_ON;
	return LIFE_ENDS;
}

void life_new_engine(struct life *life)
{
	life->was_running = false;
}

bool flood_pass(struct flood *flood, size_t length, nanoseconds now)
{
	flood->quota.burst = FLOOD_BURST;
	flood->quota.interval = NSEC_PER_SEC / FLOOD_SECOND;
	if (quota_take_many(&flood->quota, (unsigned int)(length / FLOOD_UNIT) + 1, now))
		return true;
	flood->dropped++;
	return false;
}
