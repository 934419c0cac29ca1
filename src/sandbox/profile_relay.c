/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/profile_relay.c - what a relay by itself needs of the kernel once it serves
 *
 * Its files are read and written, and its listeners opened, before. What libraries call is said
 * in profile_engine.c. Never here: bind, listen, kill, execve, anything that writes a file.
 *
 * Asking a URL about clients takes connections of our own, and names for them.
 * #syscalls: socket
 */
#include "base/cleanup.h"
#include "sandbox/sandbox.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

static const struct sandbox_syscall syscalls[] = {
#include "sandbox/relay_syscalls.inc"
};

const struct sandbox_profile sandbox_profile_relay = {
	.name = "pillion-relay",
	.syscalls = syscalls,
	.syscall_count = ARRAY_SIZE(syscalls),
};
