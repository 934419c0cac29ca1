/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/tools/forbidden.h - try what a sandbox forbids, and say how that ended */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

static volatile sig_atomic_t trapped;

static void on_trap(int number)
{
	(void)number;
	trapped = 1;
}

/* watch_traps() - A forbidden call only counts from here on, and does not end the process */
static void watch_traps(void)
{
	(void)signal(SIGSYS, on_trap);
}

/* tried() - Say how a system call ended: "refused", or what it gave */
static void tried(const char *what, long result)
{
	bool refused = trapped || result < 0;

	trapped = 0;
	fprintf(stderr, "captured: try %s %s\n", what, refused ? "refused" : "done");
}
