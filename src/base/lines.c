/* SPDX-License-Identifier: BSD-3-Clause */
/* base/lines.c - what a child writes, cut into bounded lines that no terminal obeys */
#include "base/lines.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

_Static_assert(LINES_MAX <= PIPE_BUF, "a line is one write");

/* tame() - A child escapes what it quotes; should it not, the reader's terminal is told nothing */
static void tame(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((text[i] >= 0 && text[i] < ' ' && text[i] != '\n') || text[i] == 0x7f)
			text[i] = '?';
}

void lines_take(struct lines *lines, size_t length, lines_ready *ready, void *user)
{
	char *newline;

	tame(lines_end(lines), length);
	lines->used += length;
	while ((newline = memchr(lines->text, '\n', lines->used))) {
		size_t whole = (size_t)(newline - lines->text) + 1;

		ready(user, lines->text, whole);
		lines->used -= whole;
		memmove(lines->text, newline + 1, lines->used);
	}
	if (lines_room(lines) == 0)
		lines_finish(lines, ready, user);
}

void lines_finish(struct lines *lines, lines_ready *ready, void *user)
{
	size_t length = lines->used;

	if (length == 0)
		return;
	lines->text[length++] = '\n';
	lines->used = 0;
	ready(user, lines->text, length);
}

bool lines_write(int fd, const char *text, size_t length)
{
	struct pollfd out = {.fd = fd, .events = POLLOUT};

	/* Room for PIPE_BUF bytes, which no line exceeds, or none at all. */
	/* #syscalls: poll ppoll write */
	if (poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0)
		return false;
	return write(fd, text, length) == (ssize_t)length;
}
