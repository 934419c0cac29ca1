/* SPDX-License-Identifier: BSD-3-Clause */
/* base/small_file.h - small files, read whole and replaced whole */
#pragma once

#include "base/error.h"

#include <stddef.h>

/**
 * small_file_read() - The text of a file of at most LIMIT_STATE_FILE bytes, ended by a zero
 * @ret: free by secret_string_free()
 */
int small_file_read(const char *path, char **ret, struct error *err);

/** small_file_read_nofollow() - The same; -ELOOP where @path is a symbolic link. For root, in a
 * folder of another user */
int small_file_read_nofollow(const char *path, char **ret, struct error *err);

/** small_file_replace() - Replace @path, mode 0600, so that a crash leaves the old or the new */
int small_file_replace(const char *path, const void *bytes, size_t length, struct error *err);

/**
 * file_problem() - Why a file can't be read, for a person
 * @error: negative errno; -EINVAL of a file that is neither regular nor a folder, -EMSGSIZE of one
 * that is larger than its reader takes
 */
const char *file_problem(int error);

/** write_all() - @length bytes to @fd, in as many calls as it takes; 0 or negative errno */
int write_all(int fd, const void *bytes, size_t length);
