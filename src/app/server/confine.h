/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/confine.h - enter the sandbox, when a server's listeners are open */
#pragma once

#include "base/error.h"
#include "sandbox/sandbox.h"

/** confine_make_folder() - @path, mode 0700, if it isn't there */
int confine_make_folder(const char *path, struct error *err);

struct confine {
	const struct sandbox_profile *profile;
	struct sandbox_identity identity; /* of sandbox_identity_of(folder) */
	const char *folder;               /* its own files */
	bool keeps;                       /* it writes them while it serves */
	/*
	 * Files of the operator that are read again when they change. Files beside them and beside
	 * the target of a symbolic link stay readable too: a renewal replaces the link. NULL: none.
	 */
	const char *watched[4];
};

/**
 * confine() - Give up all rights that are not needed from now on, before the first untrusted byte
 *
 * Called by the only thread. Mechanisms that the kernel lacks are logged.
 * Return: 0, or negative errno with @err set: the process must end
 */
int confine(const struct confine *c, struct error *err);
