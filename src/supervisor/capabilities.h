/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/capabilities.h - what the supervisor keeps of root, and what a child gets
 *
 * NET_ADMIN is effective for good, KILL too where we have it. SETUID and SETGID stay
 * permitted but are raised only in a child that is about to become another user.
 * DAC_OVERRIDE stays only where a file that we were pointed to can't be had without, and
 * NET_BIND_SERVICE only where the UDP port may have to be bound again below 1024.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

/** capability_held() - Whether CAP_@number is effective in this process now */
bool capability_held(unsigned int number);

/**
 * capabilities_can_split() - Whether we can start children as @uid
 *
 * Needs uid 0, SETUID, SETGID, and an id that the user namespace maps; found out by
 * a child that tries.
 */
bool capabilities_can_split(uid_t uid, gid_t gid);

/* What is kept beside NET_ADMIN and KILL. */
struct capabilities_kept {
	bool users;     /* SETUID and SETGID, permitted only */
	bool files;     /* DAC_OVERRIDE */
	bool low_ports; /* NET_BIND_SERVICE */
};

/** capabilities_reduce() - Drop to what is kept, and set no_new_privs */
int capabilities_reduce(const struct capabilities_kept *kept, struct error *err);

/**
 * capabilities_dac_needed() - Whether @path opens to us by DAC_OVERRIDE alone
 * @mode: R_OK and so on
 *
 * Found out by trying without: it depends on every folder on the way. A path that
 * isn't there needs nothing.
 */
bool capabilities_dac_needed(const char *path, int mode);

/** capabilities_for_child() - In a forked child: SETUID and SETGID if @split, else nothing */
int capabilities_for_child(bool split);

/**
 * capabilities_kill() - Signal a child that may run as another user
 * @pid: a child that was not reaped, so that it can't be another's by now
 *
 * Without KILL through a short-lived child that takes the user's id.
 */
int capabilities_kill(pid_t pid, int signal_number, bool split, uid_t uid, gid_t gid);
