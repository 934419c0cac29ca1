/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process/process.h - a program that is kept running
 *
 * DOC: Theory of operation
 *
 *	   ┌──────────── process_again(), a pause ───────────┐
 *	   ▼                                                 │
 *	start ──▶ runs ──exit──▶ output read to its end ──▶ ended()
 *	            │                                        ▲
 *	            │ process_stop()                         │
 *	            ▼                                        │
 *	          stopping ──exit, or SIGKILL after patience─┘
 *
 * The pause grows with each crash in a row (base/crashes.h). Standard output and standard error
 * go through a pipe to the owner, in bounded lines (base/lines.h). SIGKILL is repeated every
 * PROCESS_KILL_RETRY until the process is gone, since sending it can fail.
 *
 * The owner receives SIGCHLD, for example by a signalfd, and calls process_reap_all().
 */
#pragma once

#include "base/crashes.h"
#include "base/error.h"
#include "base/lines.h"
#include "process/event_loop.h"

#include <sys/types.h>

#define PROCESS_KILL_RETRY (100 * NSEC_PER_MSEC)

/** struct process_plan - How to start a program; its input is /dev/null, signals have defaults */
struct process_plan {
	const char *path; /* of the program; for messages only if `program` is set */
	int program;      /* O_PATH descriptor of the program, or -1 */
	char *const *arguments;
	char *const *environment;
	int channel;           /* becomes PROCESS_CHANNEL_FD; -1: none */
	bool output_may_block; /* false: a full pipe loses lines and does not stop the program */
	bool ends_with_us;     /* SIGTERM when this process ends, however it ends */
	bool ignores_sigpipe;

	/* In the child, before the exec: async-signal-safe calls only; 0 or negative errno */
	int (*reduce)(void *context);
	void *context;
};

#define PROCESS_CHANNEL_FD 3

/**
 * process_spawn() - Start a program in a session of its own, and wait until it runs
 * @ret_output: end of a pipe with the program's standard output and standard error; non-blocking
 *
 * Return: its number; negative errno with @err if it does not run
 */
pid_t process_spawn(const struct process_plan *plan, int *ret_output, struct error *err);

struct process;

/** struct process_kind - What tells one kind of process from another */
struct process_kind {
	bool has_group; /* it starts processes; those left at its end are killed */

	/** start() - By process_start(); called after each pause */
	void (*start)(struct process *process);
	/** ask_to_end() - Called once, by process_stop() */
	void (*ask_to_end)(struct process *process);
	/** kill() - Send SIGKILL. @overdue: it did not end in time, reported once */
	void (*kill)(struct process *process, bool overdue);
	/** line() - One line of its output, with the newline */
	void (*line)(struct process *process, const char *text, size_t length);
	/** ended() - It is reaped, and its output is read */
	void (*ended)(struct process *process, int status, nanoseconds lived);
};

struct process {
	const struct process_kind *kind;
	struct loop *loop;
	nanoseconds patience;
	struct process *next; /* in the owner's list */
	pid_t pid;            /* 0: none runs */
	nanoseconds started;
	bool stopping;
	bool killed; /* SIGKILL was sent, or tried */
	struct crashes crashes;
	struct loop_timer restart, overdue;
	struct loop_source output;
	struct lines lines;
};

/** process_init() - @patience: from the request to end until SIGKILL */
void process_init(struct process *process, const struct process_kind *kind, struct loop *loop,
		  nanoseconds patience);

/** process_start() - As process_spawn(), and watch it; 0 or negative errno with @err */
int process_start(struct process *process, const struct process_plan *plan, struct error *err);

/** process_again() - After a crash: start the next one after a pause, which is returned */
nanoseconds process_again(struct process *process, nanoseconds lived);

/** process_stop() - Ask it to end, kill it after its patience; false if none runs */
bool process_stop(struct process *process);

/** process_kill() - SIGKILL now, and again until it is gone; harmless if none runs */
void process_kill(struct process *process);

/** process_reap_all() - Reap all children that have ended, and end those of the list @first */
void process_reap_all(struct process *first);
