/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/headscale/child.h - a program as our child, of which no trace is lost in a crash
 *
 * It waits before it becomes the program until its number is on the disk, so there is no moment
 * at which it runs and nobody could find it. It is told to end when we die, however we die
 * (but a program with file capabilities isn't, and one may not listen: process_file.h).
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid;  /* also of its process group and session; 0: none */
	int output; /* reads what it says, stdout and stderr; does not block */
};

/**
 * child_start() - Run @argv[0] with /dev/null as its input
 * @process_file: where it is written down, or NULL; if it can't be, it runs and @warning is set
 *
 * Return: 0; negative errno with @err set, and there is no child
 */
int child_start(char *const argv[], const char *process_file, struct child *ret,
		struct error *warning, struct error *err);

/** child_signal() - To it and what it started */
void child_signal(const struct child *child, int number);

/** child_ended() - Whether it can be reaped */
bool child_ended(const struct child *child);

/** child_reap() - Of one that has ended: kill what it left in its group; its wait status */
int child_reap(struct child *child);

/**
 * child_run() - Run it to its end, at most @seconds, and collect what it says
 * @out: ended by a zero; what doesn't fit is dropped, the first bytes first
 *
 * Return: 0 with its wait status; -ETIMEDOUT (it was killed); negative errno with @err set
 */
int child_run(char *const argv[], int seconds, char *out, size_t size, int *ret_status,
	      struct error *err);
