/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_files.h - small files, read whole and replaced whole */
#pragma once

#include "base/error.h"
#include "transport/names.h"

#include <stddef.h>

/** relay_file_read() - The text of a file of at most 1 MiB, ended by a zero; negative errno, @err
 */
int relay_file_read(const char *path, char **ret, struct error *err);

/** relay_file_write() - Replace @path, mode 0600, so that a crash leaves the old or the new */
int relay_file_write(const char *path, const void *bytes, size_t length, struct error *err);

/** relay_names_open() - Names as this machine's resolv.conf and hosts have them now */
int relay_names_open(uv_loop_t *loop, struct names **ret, struct error *err);
