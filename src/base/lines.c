/* SPDX-License-Identifier: BSD-3-Clause */
/* base/lines.c - what a child writes, cut into bounded lines that no terminal obeys */
#include "base/lines.h"

#include "base/printable.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

_Static_assert(LINES_MAX <= PIPE_BUF, "a line is one write");

/* pass() - The first @length bytes as a line; what stands after them stays */
static void pass(struct lines *lines, size_t length, lines_ready *ready, void *user)
{
	size_t rest = lines->used - length;
	char next[UTF8_MAX];

	/* A child escapes what it quotes. If it fails to, no control character passes here. */
	printable_in_place(lines->text, length);
	memcpy(next, lines->text + length, rest);
	lines->text[length] = '\n';
	ready(user, lines->text, length + 1);
	memcpy(lines->text, next, rest);
	lines->used = rest;
}

void lines_take(struct lines *lines, size_t length, lines_ready *ready, void *user)
{
	char *newline;

	lines->used += length;
	while ((newline = memchr(lines->text, '\n', lines->used))) {
		size_t whole = (size_t)(newline - lines->text) + 1;

		printable_in_place(lines->text, whole - 1);
		ready(user, lines->text, whole);
		lines->used -= whole;
		memmove(lines->text, newline + 1, lines->used);
	}
	if (lines_room(lines) == 0)
		pass(lines, utf8_whole(lines->text, lines->used), ready, user);
}

void lines_finish(struct lines *lines, lines_ready *ready, void *user)
{
	if (lines->used > 0)
		pass(lines, lines->used, ready, user);
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
