/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/confine.h - what a server gives up once its listeners are open */
#pragma once

#include "base/error.h"
#include "sandbox/sandbox.h"

/** confine_make_folder() - @path, mode 0700, if it isn't there */
int confine_make_folder(const char *path, struct error *err);

struct confine {
	const struct sandbox_profile *profile;
	struct sandbox_identity identity; /* of sandbox_identity_of(folder) */
	const char *folder;               /* its own files */
	bool keeps;                       /* and it writes them while it serves */
	/*
	 * The operator's files, which are read again when they change. So are those beside them,
	 * and beside what a symbolic link leads to: a renewal replaces the link. NULL: none.
	 */
	const char *watched[4];
};

/**
 * confine() - All that isn't needed from here on, before the first byte of a stranger is read
 *
 * The only thread calls it. What the kernel lacks is said in the log.
 * Return: 0, or negative errno with @err set: the process must end
 */
int confine(const struct confine *c, struct error *err);
