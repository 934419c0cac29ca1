/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/sandbox.h - giving up what the process will not need
 *
 * DOC: Theory of operation
 *
 * Two steps, because Landlock binds only the thread that calls it and seccomp can
 * bind all of them:
 *
 *	sandbox_enter()  before the first thread: groups, gid, uid; no capability;
 *	                 no_new_privs; not dumpable, no core; Landlock
 *	…start threads, seed OpenSSL and jansson…
 *	sandbox_seal()   seccomp for every thread, before the first network byte
 *
 * Each step is read back. What must hold (identity, capabilities, no_new_privs)
 * fails the call; a mechanism that the kernel lacks (old kernel, gVisor) is one log
 * line and a flag in the report, which status and /healthz show.
 *
 * A system call that is not in the profile's list traps: its name goes to stderr
 * and the process dies by SIGSYS, in release builds too. What libraries only probe
 * for gets ENOSYS. The lists are generated at build time from `#syscalls` comments
 * beside the code that needs each call (scripts/syscalls).
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum sandbox_action {
	SANDBOX_ALLOW,
	SANDBOX_ENOSYS,
};

/* One allowed call; with has_value only where its selector argument (ioctl, fcntl: the
 * request, prctl: the option, …) is that value. */
struct sandbox_syscall {
	const char *name;
	unsigned long value;
	bool has_value;
	enum sandbox_action action;
};

struct sandbox_profile {
	const char *name; /* of the process, for PR_SET_NAME: at most 15 characters */
	const struct sandbox_syscall *syscalls;
	size_t syscall_count;
};

/* The engine's list: from the sources of every room that it links. */
extern const struct sandbox_profile sandbox_profile_engine;

/* A relay by itself, once its files and listeners are open. */
extern const struct sandbox_profile sandbox_profile_relay;

struct sandbox_identity {
	bool change; /* split user: take uid and gid; same user: stay who we are */
	uid_t uid;
	gid_t gid;
};

struct sandbox_report {
	bool split_user;   /* the process runs as a user of its own */
	int landlock_abi;  /* 0: the kernel has none */
	bool seccomp;      /* false: the kernel has none */
	bool no_dump;      /* DUMPABLE 0 and RLIMIT_CORE 0 hold */
	char missing[128]; /* "landlock, seccomp"; empty when all is in place */
};

/**
 * sandbox_identity_parse() - From the arguments that the supervisor gives a child
 *
 * "UID:GID", or "-" for same user. 0 or -EINVAL
 */
int sandbox_identity_parse(const char *text, struct sandbox_identity *ret);

/**
 * sandbox_enter() - All but seccomp, for the calling thread, which must be the only one
 * @profile:  names the process
 * @identity: whom to become
 * @ret:      what is in place so far
 *
 * Return: 0, or negative errno with @err: the process must end
 */
int sandbox_enter(const struct sandbox_profile *profile, const struct sandbox_identity *identity,
		  struct sandbox_report *ret, struct error *err);

/**
 * sandbox_seal() - Seccomp for all threads of the process
 * @report: from sandbox_enter(), completed here
 */
int sandbox_seal(const struct sandbox_profile *profile, struct sandbox_report *report,
		 struct error *err);
