/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/sandbox.h - give up the rights that the process does not need
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
 * Each step is read back. A failure of identity, capabilities or no_new_privs fails the call; a
 * mechanism that the kernel lacks (old kernel, gVisor) is one log line and a flag in the report,
 * which status and /healthz show.
 *
 * A server keeps files: its profile has `files`, and Landlock allows those folders only. Without
 * Landlock the limit is the process's user, so the process becomes the owner of the folder.
 *
 * A system call that is not in the profile's list traps: its name goes to stderr, and the process
 * dies by SIGSYS, in release builds too. A call that libraries only probe for fails with ENOSYS. The
 * lists are generated at build time from `#syscalls` comments beside the code (scripts/syscalls).
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
	bool files; /* opens files by path while it serves; Landlock limits the paths */
};

enum sandbox_access {
	SANDBOX_READ, /* files below it */
	SANDBOX_KEEP, /* make, read, write, rename, remove files below it */
};

struct sandbox_path {
	const char *path; /* a folder, or a file for reading */
	enum sandbox_access access;
};

/* Each is made where its executable is (cmake/sandbox.cmake): of the engine, of services, of a relay alone, and
 * of a coordination server with its relay. */
extern const struct sandbox_profile sandbox_profile_engine;
extern const struct sandbox_profile sandbox_profile_services;

extern const struct sandbox_profile sandbox_profile_relay;
extern const struct sandbox_profile sandbox_profile_control;
extern const struct sandbox_profile sandbox_profile_ingress;

struct sandbox_identity {
	bool change; /* true: take uid and gid; false: keep the current user */
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
 * sandbox_identity_of() - The owner of @folder, in which a server keeps its files
 *
 * No change of user if we are not root, may not change users, or root owns the folder.
 * Return: 0, or negative errno with @err if the folder can't be read
 */
int sandbox_identity_of(const char *folder, struct sandbox_identity *ret, struct error *err);

/**
 * sandbox_identity_for() - A user that owns nothing, for a server without files of its own
 * @folder: that it has to enter for a socket; no change of user if only root may
 *
 * Return: 0 or -EPERM with @err set
 */
int sandbox_identity_for(const char *folder, struct sandbox_identity *ret, struct error *err);

/**
 * sandbox_act_as() - Open and make files as @identity from now on, before sandbox_enter()
 *
 * Ports below 1024 may still be bound. Return: 0 or -EPERM with @err set
 */
int sandbox_act_as(const struct sandbox_identity *identity, struct error *err);

/**
 * sandbox_enter() - All but seccomp, for the calling thread, which must be the only one
 * @paths:  stay accessible; only for a profile with `files`
 * @ret:    the mechanisms in place; written on success
 *
 * Return: 0, or negative errno with @err: the process must end
 */
int sandbox_enter(const struct sandbox_profile *profile, const struct sandbox_identity *identity,
		  const struct sandbox_path *paths, size_t path_count, struct sandbox_report *ret,
		  struct error *err);

/**
 * sandbox_seal() - Seccomp for all threads of the process
 * @report: from sandbox_enter(), completed here
 */
int sandbox_seal(const struct sandbox_profile *profile, struct sandbox_report *report,
		 struct error *err);
