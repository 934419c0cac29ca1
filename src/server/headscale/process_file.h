/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/headscale/process_file.h - a child that a later process can tell from any other
 *
 * A number alone proves nothing: it is another program's as soon as the child is gone. So the
 * file says beside it when the process started, in which boot, and by which program; and
 * whoever is to be signalled is held by a pidfd before that is compared.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

struct process_identity {
	pid_t pid;
	uint64_t started; /* ticks since boot: field 22 of /proc/PID/stat */
	char boot[40];    /* of /proc/sys/kernel/random/boot_id */
	char program[PATH_MAX];
};

/** process_identify() - What /proc says of @pid; 0 or negative errno */
int process_identify(pid_t pid, struct process_identity *ret);

/** process_file_write() - Durably, mode 0600, in place of the one before */
int process_file_write(const char *path, const struct process_identity *identity,
		       struct error *err);

/** process_file_read() - 0; -ENOENT; -EINVAL for what is no such file */
int process_file_read(const char *path, struct process_identity *ret);

/**
 * process_find() - A pidfd of this very process
 *
 * Return: the descriptor; -ESRCH when it is gone, whoever has its number now; negative errno
 */
int process_find(const struct process_identity *identity);

/**
 * process_end() - SIGTERM, and SIGKILL if it still lives after @patience; waits for its end
 *
 * Return: 0 it ended, 1 it was killed; negative errno
 */
int process_end(int pidfd, nanoseconds patience);
