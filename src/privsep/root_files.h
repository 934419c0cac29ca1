/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/root_files.h - the named files with trusted roots, which each child reads by itself */
#pragma once

#include "base/error.h"
#include "privsep/privsep_messages.h"

/** struct privsep_root_file - A file with trusted roots */
struct privsep_root_file {
	enum privsep_file_name file;
	const char *name; /* for people */
};

/* All of them; the index is the source of struct tls_context. */
#define PRIVSEP_ROOT_FILES 3u
extern const struct privsep_root_file privsep_root_files[PRIVSEP_ROOT_FILES];

/** privsep_root_source() - The index of a named file among them, or -1 */
int privsep_root_source(enum privsep_file_name name);

/**
 * privsep_read_roots() - The PEM text of a file with roots
 * @fd:  of the file, closed here; or negative errno
 * @ret: appended; stays as it is if there is no such file
 *
 * Return: 0, or negative errno with @err
 */
int privsep_read_roots(unsigned int source, int fd, struct buffer *ret, struct error *err);
