/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/lines.h - what a child writes, cut into bounded lines that no terminal obeys
 *
 *	n = read(fd, lines_end(&lines), lines_room(&lines));
 *	lines_take(&lines, n, pass_on, user);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* With its newline; what is longer is cut into several. PIPE_BUF, so that each is one write. */
#define LINES_MAX 4096u

struct lines {
	char text[LINES_MAX];
	size_t used;
};

/* @text ends with a newline, which @length counts. */
typedef void lines_ready(void *user, const char *text, size_t length);

static inline char *lines_end(struct lines *lines)
{
	return lines->text + lines->used;
}

static inline size_t lines_room(const struct lines *lines)
{
	return sizeof(lines->text) - 1 - lines->used;
}

/** lines_take() - @length bytes stand at lines_end(): pass on each line that is whole */
void lines_take(struct lines *lines, size_t length, lines_ready *ready, void *user);

/** lines_finish() - No more will come: pass on what has no newline */
void lines_finish(struct lines *lines, lines_ready *ready, void *user);

/** lines_write() - Write one line without waiting for a slow reader; false: the line is lost */
bool lines_write(int fd, const char *text, size_t length);
