/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/child.h - a child process of the supervisor, of any kind
 *
 * DOC: Theory of operation
 *
 * A kind holds the differences: program, allowed messages, quotas, first message. Everything else
 * is the same for each kind, and each child has its own: channel and queue, watchdog, crashes and
 * their backoff, limit of log lines. process/process.h describes start and end.
 *
 * A child that hangs (an endless loop, SIGSTOP) does not end by itself. The supervisor sends
 * PRIVSEP_PING every WATCHDOG_INTERVAL, and kills the child after WATCHDOG_TURNS without an answer.
 *
 * The program is opened once, O_PATH, beside /proc/self/exe, and run by execveat: no PATH, no
 * variable, and the same version even if the file is replaced meanwhile. The child gets /dev/null,
 * its log pipe as stdout and stderr, the channel as PRIVSEP_CHANNEL_FD, SIGPIPE ignored, no environment, and no
 * capability but those it needs to become another user.
 */
#pragma once

#include "base/quota.h"
#include "privsep/privsep_messages.h"
#include "process/process.h"
#include "supervisor/child_rules.h"

#include <sys/queue.h>

struct child;
struct supervisor;

/* Limits of a child's requests, and of the log lines of ours that it causes (`said`). */
struct child_quotas {
	struct quota sockets, files, loads, networks, said;
};

/** struct child_kind - One kind of child; hooks may be NULL */
struct child_kind {
	const char *name;    /* in the log: "the engine" */
	const char *program; /* its file beside ours */
	enum privsep_sender sender;
	nanoseconds finishes; /* it is asked to end before the others, and finishes work so long */
	unsigned int files, blobs; /* the names that it may request: bits by enum */
	struct child_quotas quotas;
	/** prepare() - Before each start; false: it can't start now, and is started later */
	bool (*prepare)(struct child *child);
	/** greet() - Send the first message to a new one; 0 or negative errno */
	int (*greet)(struct child *child);
	/** receive() - Handle a message; takes descriptors out of @fds. 0 or negative errno */
	int (*receive)(struct child *child, const union privsep_message *message,
		       struct privsep_fds *fds);
	/** gone() - It has ended, and its last messages were received */
	void (*gone)(struct child *child);
};

struct outgoing;

struct child {
	struct process process;
	struct supervisor *supervisor;
	const struct child_kind *kind;
	uint32_t uid, gid;          /* its user, if the supervisor can change users */
	int program;                /* O_PATH */
	unsigned int number;        /* of the process: 1 for the first */
	struct loop_source channel; /* our end of the channel; -1: closed */
	STAILQ_HEAD(, outgoing) queue;
	size_t queue_length;
	struct loop_timer watch, say_dropped;
	struct watchdog watchdog;
	bool hung; /* killed by the watchdog */
	bool idle; /* by child_stop() */
	struct child_quotas quotas;
	struct flood flood;
	char *last_crash;
};

/** child_open() - Find its program, add it to the supervisor; 0 or negative errno with @err */
int child_open(struct child *child, struct supervisor *s, const struct child_kind *kind,
	       uint32_t uid, uint32_t gid, struct error *err);

void child_close(struct child *child);

/** child_stop() - It is not needed any more: it ends, and no other starts before child_start() */
void child_stop(struct child *child);

/** child_start() - A new process, now; harmless if one runs or the supervisor is ending */
void child_start(struct child *child);

/** child_kill() - Replace a process that misbehaves, or whose descriptors are of no use */
void child_kill(struct child *child, const char *why);

/** child_send() - Queue a message; copies descriptors. Dropped while no process runs */
void child_send(struct child *child, const union privsep_message *message, const int *fds,
		size_t fd_count);

/** child_reply() - The answer to request @id. @fd: or -1; stays the caller's */
void child_reply(struct child *child, uint32_t id, int result, const char *text, int fd);

/** children_reap() - Call it at SIGCHLD */
void children_reap(struct supervisor *s);
