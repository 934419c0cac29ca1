/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/headscale/process_lock.h - find a child of a parent that was killed
 *
 * A number alone proves nothing: the kernel gives it to another process later. So the child holds
 * a POSIX record lock on a file, which an exec keeps and which ends with the process. The kernel
 * names the holder; a pidfd holds on to it while the kernel is asked again.
 */
#pragma once

#include "base/clock.h"

#include <sys/types.h>

/**
 * process_lock_take() - In the forked child, after which it closes no descriptor of the file
 * @fd: stays open in the program that the child becomes
 *
 * Async-signal-safe. Return: 0 or negative errno
 */
int process_lock_take(int fd);

/** process_lock_holder() - The number of the process with the lock; 0: none; negative errno,
 * -EXDEV if it is in another process namespace */
pid_t process_lock_holder(int fd);

/**
 * process_lock_older() - The process that an older version, which took no lock, wrote into the file
 *
 * Return: its number if it still runs; otherwise 0
 */
pid_t process_lock_older(int fd);

/**
 * process_lock_end() - End the holder: SIGTERM, and SIGKILL after @patience; waits for its end
 * @ret: its number; 0 if there was none
 *
 * Return: 0 it ended, 1 it was killed; negative errno
 */
int process_lock_end(int fd, nanoseconds patience, pid_t *ret);
