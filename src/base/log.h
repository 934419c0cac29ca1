/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/log.h - one line an event: what happened, and what to do about it
 *
 * "2026-11-24T21:40:00.123Z info  control: registered node=3 user=alice".
 * Rooms below the top return errors; only the code that handles an event logs it.
 * Bytes from outside are escaped here, so a hostile name can't forge a line.
 *
 * Writing a line never waits. A line for which the pipe has no room, because its reader has
 * stopped, is lost; the next line that finds room is preceded by one that says how many were.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
	LOG_LEVEL_COUNT,
};

enum log_format {
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON,
};

/**
 * log_setup() - Choose where lines go; call before the first thread
 * @fd:     written with one write() a line
 * @level:  least urgent level that is still written
 * @format: text or JSON
 */
void log_setup(int fd, enum log_level level, enum log_format format);

/** log_level_parse() - "error", "warn", "info", "debug"; -EINVAL otherwise */
int log_level_parse(const char *text, enum log_level *ret);

/** log_enabled() - Whether a line of this level would be written */
bool log_enabled(enum log_level level);

/** log_line() - Write one line; @room names the room ("control") */
void log_line(enum log_level level, const char *room, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * log_pass_on() - Write a line of another process among our own, as it is
 * @line: whole, at most LINES_MAX bytes with its newline (base/lines.h)
 */
void log_pass_on(const char *line, size_t length);

/* Each .c file that logs defines LOG_ROOM before including this header. */
#define log_error(...) log_line(LOG_ERROR, LOG_ROOM, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, LOG_ROOM, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, LOG_ROOM, __VA_ARGS__)
#define log_debug(...)                                              \
	do {                                                        \
		if (log_enabled(LOG_DEBUG))                         \
			log_line(LOG_DEBUG, LOG_ROOM, __VA_ARGS__); \
	} while (0)
