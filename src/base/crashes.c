/* SPDX-License-Identifier: BSD-3-Clause */
/* base/crashes.c - how long to wait before a child that died is started again; pure */
#include "base/crashes.h"

#include "base/cleanup.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static const nanoseconds delays[] = {
	0, 200 * NSEC_PER_MSEC, 1 * NSEC_PER_SEC, 5 * NSEC_PER_SEC, 15 * NSEC_PER_SEC,
};

nanoseconds crashes_count(struct crashes *crashes, nanoseconds lived)
{
	size_t step;

	crashes->total++;
	crashes->in_row = lived >= CRASHES_STEADY ? 1 : crashes->in_row + 1;
	step = crashes->in_row - 1;
	return delays[step < ARRAY_SIZE(delays) ? step : ARRAY_SIZE(delays) - 1];
}

void crashes_words(int status, char out[static CRASHES_WORDS_MAX])
{
	if (WIFSIGNALED(status))
		snprintf(out, CRASHES_WORDS_MAX, "killed by SIG%s%s",
			 sigabbrev_np(WTERMSIG(status)) ?: "?",
			 WTERMSIG(status) == SIGSYS ? " (a system call outside its list)" : "");
	else
		snprintf(out, CRASHES_WORDS_MAX, "ended with code %d", WEXITSTATUS(status));
}
