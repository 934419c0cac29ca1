/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process/capped_log.h - the last lines of a log, in two files of bounded size
 *
 * PATH and PATH.1: when PATH has CAPPED_LOG_LINES lines it becomes PATH.1. So the two files always
 * hold the last CAPPED_LOG_LINES, and never more than twice as many. Lines are bounded, and so
 * are the files. Lines that can't be written (a full disk) are lost and counted.
 *
 * A file to which other code writes as well, by the same descriptor, is bounded in bytes by
 * capped_log_trim() instead.
 *
 * If no new PATH can be opened, PATH.1 goes on, up to twice its limit; then it is emptied.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define CAPPED_LOG_LINES 1000u

struct capped_log {
	char *path;
	int fd;
	unsigned int lines; /* of the file @fd */
	bool torn;          /* the last line has no end */
	unsigned long lost;
};

/**
 * capped_log_open() - Append to the file if it exists; mode 0600
 * @limit_lines: count the lines of a regular file, for capped_log_add(); otherwise nothing is read
 *
 * Return: 0 or negative errno with @err
 */
int capped_log_open(const char *path, bool limit_lines, struct capped_log *ret, struct error *err);
void capped_log_close(struct capped_log *log);

/** capped_log_add() - One line with its newline, at most LINES_MAX (base/lines.h) */
void capped_log_add(struct capped_log *log, const char *line, size_t length);

/** capped_log_trim() - Start the file anew if it is larger than @bytes; its descriptor stays */
void capped_log_trim(struct capped_log *log, size_t bytes);

/**
 * capped_log_show() - Write the last @count lines to @out
 * @follow: then write lines that are added, until the reader closes @out
 *
 * Return: 0; -ENOENT when there is no log; negative errno with @err set
 */
int capped_log_show(const char *path, unsigned int count, bool follow, int out, struct error *err);
