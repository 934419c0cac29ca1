/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/named_files.h - the files that an engine may request by name, and their changes
 *
 * DOC: Theory of operation
 *
 * A file is opened at an engine's first request and watched from then on. The watch covers its
 * folder (an editor, kubelet or dhclient renames a new file into place) and the file itself (a
 * bind mount of a single file is written through its own inode, without an event in the folder).
 * An inotify event is only a hint: after FILES_DEBOUNCE the identity of each file (device, inode,
 * size, times) is compared, and a changed file is sent again. Without inotify the comparison runs
 * every FILES_POLL.
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
	bool wanted;       /* an engine requested it */
	uint64_t identity; /* as sent last; 0: there was no file */
};

struct files {
	const struct supervisor_options *options;
	const char *auth_key; /* or NULL */
	/* The texts, or "file:PATH", or NULL; set after files_open() */
	const char *acme_eab_hmac, *acme_dns_key;
	struct loop *loop;
	struct loop_source inotify;
	struct loop_timer look;
	bool blind; /* a path can't be watched: compare every FILES_POLL */
	files_changed changed;
	void *userdata;
	struct named_file file[PRIVSEP_FILE_COUNT];
};

/** files_open() - Nothing is opened or watched yet */
int files_open(struct files *files, struct loop *loop, const struct supervisor_options *options,
	       const char *auth_key, files_changed changed, void *userdata);

/** files_secret_path() - The path in "file:PATH", or NULL */
const char *files_secret_path(const char *secret);

/** files_close() - Stop watching */
void files_close(struct files *files);

/** files_get() - Open @name for an engine and watch it; descriptor or negative errno */
int files_get(struct files *files, enum privsep_file_name name);

/** files_look_now() - Compare all files now (SIGHUP) */
void files_look_now(struct files *files);

/**
 * files_check() - Whether the files that options name are readable; cause and remedy in @err
 * @have_state: a node exists, which may need none of them: then an unreadable file is a warning
 */
int files_check(const struct supervisor_options *options, bool have_state, struct error *err);
