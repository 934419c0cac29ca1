/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/capabilities.h - capabilities of the supervisor and of its children
 *
 * NET_ADMIN stays effective, and KILL if the supervisor has it. SETUID and SETGID stay permitted
 * and are raised only in a child that is about to become another user. DAC_OVERRIDE stays only if
 * a named file is not accessible without it, and NET_BIND_SERVICE only if the UDP port is below
 * 1024 and may have to be bound again.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

/** capability_held() - Whether CAP_@number is effective in this process */
bool capability_held(unsigned int number);

/**
 * capabilities_can_split() - Whether children can run as @uid
 *
 * It needs uid 0, SETUID, SETGID, and an id that the user namespace maps; a forked child tries.
 */
bool capabilities_can_split(uid_t uid, gid_t gid);

/* Capabilities kept beside NET_ADMIN and KILL. */
struct capabilities_kept {
	bool users;     /* SETUID and SETGID, permitted only */
	bool files;     /* DAC_OVERRIDE */
	bool low_ports; /* NET_BIND_SERVICE */
};

/** capabilities_reduce() - Drop all others, and set no_new_privs */
int capabilities_reduce(const struct capabilities_kept *kept, struct error *err);

/**
 * capabilities_dac_needed() - Whether @path is accessible by DAC_OVERRIDE alone
 * @mode: R_OK and so on
 *
 * It tries without, since every folder of the path counts. A missing path needs nothing.
 */
bool capabilities_dac_needed(const char *path, int mode);

/** capabilities_for_child() - In a forked child: SETUID and SETGID if @split, else nothing */
int capabilities_for_child(bool split);

/**
 * capabilities_kill() - Signal a child that may run as another user
 * @pid: a child that was not reaped yet, so the number is still its own
 *
 * Without KILL a short-lived child takes the user's id and sends the signal.
 */
int capabilities_kill(pid_t pid, int signal_number, bool split, uid_t uid, gid_t gid);
