/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/named_files.h - the files that an engine may have, by name, and their changes
 *
 * DOC: Theory of operation
 *
 * A file is opened when an engine first asks, and watched from then on: its folder
 * (an editor, kubelet or dhclient renames a new one into place) and the file itself
 * (a single-file bind mount is written through its own inode and its folder tells
 * nothing). What inotify reports is only a hint to look: after FILES_DEBOUNCE each
 * file's identity (device, inode, size, times) is compared, and one that changed is
 * handed over again. Where inotify can't be had, we look every FILES_POLL.
 */
#pragma once

#include "base/error.h"
#include "privsep/privsep_messages.h"
#include "process/event_loop.h"
#include "supervisor/supervisor.h"

#define FILES_DEBOUNCE (200 * NSEC_PER_MSEC)
#define FILES_POLL     (5 * NSEC_PER_SEC)

/** files_changed - @fd: the new file, the callee's to close; or negative errno */
typedef void (*files_changed)(void *userdata, enum privsep_file_name name, int fd);

struct named_file {
	bool wanted;       /* an engine asked for it */
	uint64_t identity; /* as handed over last; 0: was not there */
};

struct files {
	const struct supervisor_options *options;
	const char *auth_key; /* or NULL */
	struct loop *loop;
	struct loop_source inotify;
	struct loop_timer look;
	bool blind; /* something can't be watched: look by the clock */
	files_changed changed;
	void *userdata;
	struct named_file file[PRIVSEP_FILE_COUNT];
};

/** files_open() - Nothing is opened or watched yet */
int files_open(struct files *files, struct loop *loop, const struct supervisor_options *options,
	       const char *auth_key, files_changed changed, void *userdata);

/** files_close() - Stop watching */
void files_close(struct files *files);

/** files_get() - Open @name for an engine and watch it; descriptor or negative errno */
int files_get(struct files *files, enum privsep_file_name name);

/** files_look_now() - As if all had changed (SIGHUP) */
void files_look_now(struct files *files);

/**
 * files_check() - Whether what options name can be read now; cause and remedy in @err
 * @have_state: there is a node, which may need none of it: then it's a warning
 */
int files_check(const struct supervisor_options *options, bool have_state, struct error *err);
