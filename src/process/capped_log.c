/* SPDX-License-Identifier: BSD-3-Clause */
/* process/capped_log.c - the last lines of a log, in two files of bounded size */
#include "process/capped_log.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/lines.h"
#include "base/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

/* Of one file; one line more may be torn. */
#define FILE_BYTES_MAX ((CAPPED_LOG_LINES + 1) * (size_t)LINES_MAX)

static int open_log(const char *path, int access)
{
	return open(path, access | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* read_rest() - From the position of @fd to the end, or to the buffer's limit */
static int read_rest(int fd, struct buffer *out)
{
	ssize_t n = 1;

	while (n > 0 && out->length < out->limit) {
		size_t room = out->limit - out->length;

		room = room < 65536 ? room : 65536;
		if (buffer_reserve(out, room) < 0)
			return -ENOMEM;
		n = read(fd, buffer_end(out), room);
		if (n < 0 && errno != EINTR)
			return -errno;
		out->length += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* survey() - Count the lines that are there; the read of a FIFO or a terminal would wait */
static int survey(struct capped_log *log)
{
	char piece[4096];
	struct stat st;
	ssize_t n;

	if (fstat(log->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	while ((n = read(log->fd, piece, sizeof(piece))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			log->lines += piece[i] == '\n';
		log->torn = piece[n - 1] != '\n';
	}
	return n < 0 ? -errno : 0;
}

int capped_log_open(const char *path, bool limit_lines, struct capped_log *ret, struct error *err)
{
	struct capped_log log = {.fd = open_log(path, limit_lines ? O_RDWR : O_WRONLY)};
	int r = log.fd < 0 ? -errno : 0;

	log.path = strdup(path);
	if (r == 0)
		r = !log.path ? -ENOMEM : limit_lines ? survey(&log) : 0;
	if (r < 0) {
		cleanup_close_at(&log.fd);
		free(log.path);
		return error_set_errno(err, r, "open the log file %s", path);
	}
	*ret = log;
	return 0;
}

void capped_log_close(struct capped_log *log)
{
	if (!log->path)
		return;
	close(log->fd);
	free(log->path);
	*log = (struct capped_log){.fd = -1};
}

/* rotate() - @excess: empty the file if there is no new one */
static void rotate(struct capped_log *log, bool excess)
{
	_cleanup_free_ char *old = NULL;
	_cleanup_close_ int fd = -1;

	if (asprintf(&old, "%s.1", log->path) < 0)
		old = NULL;
	/* There is no file at the path if the last call moved it and could open no new one. */
	if (old && (rename(log->path, old) == 0 || errno == ENOENT))
		fd = open_log(log->path, O_WRONLY);
	else
		excess = true;
	/* The number stays: others may write there too. */
	if (fd >= 0 ? dup3(fd, log->fd, O_CLOEXEC) >= 0 : excess && ftruncate(log->fd, 0) == 0)
		log->lines = 0;
}

void capped_log_trim(struct capped_log *log, size_t bytes)
{
	struct stat st;

	if (fstat(log->fd, &st) == 0 && st.st_size > (off_t)bytes)
		rotate(log, st.st_size > 2 * (off_t)bytes);
}

static bool put(struct capped_log *log, const char *text, size_t length)
{
	ssize_t n = write(log->fd, text, length);

	if (n > 0)
		log->torn = text[n - 1] != '\n';
	if (n != (ssize_t)length)
		return false;
	log->lines++;
	return true;
}

void capped_log_add(struct capped_log *log, const char *line, size_t length)
{
	char said[80];
	int n;

	if (log->torn && !put(log, "\n", 1)) {
		log->lost++;
		return;
	}
	if (log->lost > 0) {
		n = snprintf(said, sizeof(said), "pillion: %lu lines are missing here\n",
			     log->lost);
		if (!put(log, said, (size_t)n)) {
			log->lost++;
			return;
		}
		log->lost = 0;
	}
	if (!put(log, line, length))
		log->lost++;
	if (log->lines >= CAPPED_LOG_LINES)
		rotate(log, log->lines >= 2 * CAPPED_LOG_LINES);
}

/* --- Reading --- */

/* show_rest() - Write the rest of @fd to @out */
static int show_rest(int fd, int out)
{
	struct buffer text = BUFFER_INIT(FILE_BYTES_MAX);
	int r = read_rest(fd, &text);

	if (r == 0)
		r = write_all(out, (char *)buffer_head(&text), text.length);
	buffer_free(&text);
	return r;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* last_lines() - The beginning of the last @count lines of a text */
static const char *last_lines(const char *text, size_t length, unsigned int count)
{
	const char *at = text + length;

	/* Skip the newline at the end of the last line. */
	if (at > text)
		at--;
	while (at > text) {
		if (at[-1] == '\n' && --count == 0)
			return at;
		at--;
	}
	return text;
}

/* show_last() - From both files; @ret_fd is the newer one, read to its end; -1: there is none */
static int show_last(const char *path, const char *older, unsigned int count, int out, int *ret_fd)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int old = open(older, O_RDONLY | O_CLOEXEC);
	struct buffer text = BUFFER_INIT(2 * FILE_BYTES_MAX);
	struct stat a, b;
	const char *from;
	int r = 0;

	if (fd < 0 && old < 0)
		return -ENOENT;
	/* After a rotation between the two calls both are the same file. */
	if (old >= 0 &&
	    (fd < 0 || (fstat(fd, &a) == 0 && fstat(old, &b) == 0 && !same_file(&a, &b))))
		r = read_rest(old, &text);
	if (r == 0 && fd >= 0)
		r = read_rest(fd, &text);
	if (r == 0 && text.length > 0 && count > 0) {
		from = last_lines((char *)buffer_head(&text), text.length, count);
		r = write_all(out, from, (size_t)((char *)buffer_end(&text) - from));
	}
	buffer_free(&text);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

/* next_file() - After a rotation: open the new file; 1 if there is one */
static int next_file(const char *path, const char *older, int *fd, int out)
{
	static const char missing[] = "pillion: lines are missing here\n";
	struct stat now, ours, aside;
	int next, r;

	if (stat(path, &now) < 0 || (*fd >= 0 && fstat(*fd, &ours) == 0 && same_file(&now, &ours)))
		return 0;
	next = open(path, O_RDONLY | O_CLOEXEC);
	if (next < 0)
		return 0;
	if (*fd >= 0) {
		/* Lines may have been added since the last read. */
		r = show_rest(*fd, out);
		if (r == 0 && (stat(older, &aside) < 0 || !same_file(&aside, &ours)))
			r = write_all(out, missing, sizeof(missing) - 1);
		close(*fd);
		if (r < 0) {
			*fd = next;
			return r;
		}
	}
	*fd = next;
	return 1;
}

/* follow_on() - Until the reader closes @out */
static int follow_on(const char *path, const char *older, int *fd, int out)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd events[] = {{.fd = changes, .events = POLLIN}, {.fd = out}};
	char seen[4096];
	int r;

	if (!copy || changes < 0 ||
	    inotify_add_watch(changes, dirname(copy), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return copy ? -errno : -ENOMEM;
	for (;;) {
		r = *fd >= 0 ? show_rest(*fd, out) : 0;
		if (r == 0)
			r = next_file(path, older, fd, out);
		if (r < 0)
			return r;
		if (r > 0)
			continue;
		if (poll(events, ARRAY_SIZE(events), -1) < 0 && errno != EINTR)
			return -errno;
		if (events[1].revents & (POLLERR | POLLHUP | POLLNVAL))
			return 0;
		while (read(changes, seen, sizeof(seen)) > 0)
			;
	}
}

int capped_log_show(const char *path, unsigned int count, bool follow, int out, struct error *err)
{
	_cleanup_free_ char *older = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (asprintf(&older, "%s.1", path) < 0) {
		older = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = show_last(path, older, count, out, &fd);
	if (r == 0 && follow)
		r = follow_on(path, older, &fd, out);
	return r < 0 && r != -EPIPE ? error_set_errno(err, r, "%s", path) : 0;
}
