/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/headscale/log_file.h - the last lines of a log, in files that outlive who writes them
 *
 * PATH and PATH.1: when PATH has LOG_FILE_LINES lines it becomes PATH.1, so that the two always
 * hold the last LOG_FILE_LINES, and never more than twice as many. Lines are bounded, so the
 * files are. What can't be written (a full disk) is lost, and counted.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define LOG_FILE_LINES 1000u

struct log_file {
	char *path;
	int fd;
	unsigned int lines; /* of the file at @path */
	bool torn;          /* the last line has no end */
	unsigned long lost;
};

/** log_file_open() - Go on with what is there; mode 0600 */
int log_file_open(const char *path, struct log_file *ret, struct error *err);
void log_file_close(struct log_file *log);

/** log_file_add() - One line with its newline, at most LINES_MAX (base/lines.h) */
void log_file_add(struct log_file *log, const char *line, size_t length);

/**
 * log_file_show() - Write the last @count lines to @out
 * @follow: then what is added, until @out is closed at its other end
 *
 * Return: 0; -ENOENT when there is no log; negative errno with @err set
 */
int log_file_show(const char *path, unsigned int count, bool follow, int out, struct error *err);
