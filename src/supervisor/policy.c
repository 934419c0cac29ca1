/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/policy.c - when to start an engine again, and when to end; pure */
#include "supervisor/policy.h"

bool crashes_want_fresh_sockets(const struct crashes *crashes)
{
	return crashes->in_row >= 2;
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

bool quota_take(struct quota *quota, nanoseconds now)
{
	nanoseconds span = (nanoseconds)quota->burst * quota->interval;

	if (quota->full_at < now)
		quota->full_at = now;
	if (quota->full_at + quota->interval > now + span)
		return false;
	quota->full_at += quota->interval;
	return true;
}
