/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/profile_control.c - what a coordination server needs of the kernel once it serves
 *
 * Its listeners are open before. Files it opens below its folder, where the database is, and
 * certificate files of the operator's, which it reads again when they change: Landlock sees to
 * that. What other libraries call is said in profile_engine.c. Never here: bind, listen, kill,
 * execve.
 *
 * SQLite: the database, its write-ahead log and its locks. It asks where the file really is,
 * and gives the log the mode and, as root, the owner of the database.
 * #syscalls: openat newfstatat access faccessat readlink readlinkat getcwd
 * #syscalls: pread64 pwrite64 ftruncate fsync fdatasync unlink unlinkat fchmod fchown
 * #syscalls: fcntl:F_GETLK fcntl:F_SETLK fcntl:F_SETLKW
 *
 * A certificate that is made anew: written beside, then renamed.
 * #syscalls: rename renameat renameat2
 *
 * Resolving names for clients whose DNS is broken (/bootstrap-dns).
 * #syscalls: socket
 */
#include "base/cleanup.h"
#include "sandbox/sandbox.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

static const struct sandbox_syscall syscalls[] = {
#include "sandbox/control_syscalls.inc"
};

const struct sandbox_profile sandbox_profile_control = {
	.name = "pillion-control",
	.syscalls = syscalls,
	.syscall_count = ARRAY_SIZE(syscalls),
	.files = true,
};
