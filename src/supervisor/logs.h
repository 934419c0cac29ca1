/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/logs.h - log lines of a child passed on, and the capped file
 *
 * Lines go to stderr as they are, or in the background to a file that is kept below
 * LOGS_FILE_MAX by moving it to FILE.1. A reader of stderr who stands still must not
 * stop PID 1: a line that can't be written at once is lost and counted (base/log.h). So is
 * a line that a child says faster than a log can bear (policy.h): a captured child could
 * fill the disk else.
 */
#pragma once

#include "base/error.h"
#include "base/lines.h"
#include "process/event_loop.h"
#include "supervisor/policy.h"

#include <stdbool.h>
#include <stddef.h>

#define LOGS_FILE_MAX (1024u * 1024)

struct logs {
	const char *path; /* NULL: stderr */
	int out;
	struct flood flood; /* of the child */
	struct loop_timer say_dropped;
	struct loop *loop;
	struct loop_source pipe; /* a child's stderr */
	struct lines lines;
};

/** logs_open() - Where lines go from now on, our own too */
int logs_open(struct logs *logs, struct loop *loop, const char *path, struct error *err);

/** logs_follow() - Pass on what comes through @pipe, which becomes ours */
int logs_follow(struct logs *logs, int pipe);

/** logs_drain() - The child is gone: pass on what is still in its pipe, and close it */
void logs_drain(struct logs *logs);
