/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/served_files.h - files and Unix sockets that the services process may have
 *
 * DOC: Theory of operation
 *
 * The engine names paths, the services process names files below them; both may be captured. So
 * what may be opened is decided by the start configuration alone: only what lies below its roots,
 * reached without leaving them (openat2 with RESOLVE_BENEATH), a regular file, a folder or a
 * socket; never the state directory, the node's secrets, our own LocalAPI, /proc, /sys or /dev.
 * Files are opened for reading. A folder is handed over as a list of names.
 *
 * A worker thread does it, since a file system may take seconds, and PID 1's loop must not block.
 */
#pragma once

#include "privsep/privsep_messages.h"
#include "process/event_loop.h"
#include "supervisor/named_files.h"
#include "supervisor/supervisor.h"

#include <pthread.h>
#include <sys/queue.h>

#define SERVED_JOBS_MAX 128u

/* The longest path: a served one, and a file's name below it. */
#define SERVED_PATH_MAX (SERVE_WISH_PATH_MAX + PRIVSEP_BELOW_MAX)

struct served_job;

/** served_done - @fd: the callee's to close, or negative errno; @text: PRIVSEP_OPENED_… or the error */
typedef void (*served_done)(void *userdata, unsigned int process, uint32_t id, int fd,
			    const char *text);

STAILQ_HEAD(served_jobs, served_job);

struct served_files {
	const struct files *named; /* the node's own, which are never served; and the options */
	struct loop *loop;
	struct loop_source ready;
	served_done done;
	void *userdata;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	pthread_t thread;
	bool thread_runs;
	struct served_jobs waiting, finished;
	unsigned int jobs; /* in both lists, and with the worker */
};

/** served_files_open() - Nothing is opened yet, and no thread runs before the first request */
int served_files_open(struct served_files *files, struct loop *loop, const struct files *named,
		      served_done done, void *userdata);

void served_files_close(struct served_files *files);

/**
 * served_files_ask() - Open a file or folder, or connect to a socket
 * @process, @id: for @done, which is called later
 * @path: of the engine's list
 * @name: below it, or NULL: @path is a socket to connect to
 *
 * Return: 0; -EAGAIN: too many wait; -ENOMEM
 */
int served_files_ask(struct served_files *files, unsigned int process, uint32_t id,
		     const char *path, const char *name);
