/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/logs.c - log lines of a child passed on, and the capped file */
#include "supervisor/logs.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

#define DRAIN_MAX (256u * 1024) /* of a dead child; a pipe holds less */

static int open_file(struct logs *logs)
{
	_cleanup_close_ int fd =
		open(logs->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (logs->out == STDERR_FILENO) {
		logs->out = TAKE_FD(fd);
		return 0;
	}
	/* Under the same number: base/log writes there too. */
	return dup3(fd, logs->out, O_CLOEXEC) < 0 ? -errno : 0;
}

static void pipe_ready(struct loop_source *source, uint32_t events);
static void say_dropped_fire(struct loop_timer *timer, nanoseconds now);

int logs_open(struct logs *logs, struct loop *loop, const char *path, struct error *err)
{
	int r;

	*logs = (struct logs){
		.path = path,
		.out = STDERR_FILENO,
		.loop = loop,
		.pipe = LOOP_SOURCE(pipe_ready),
		.say_dropped = LOOP_TIMER(say_dropped_fire),
	};
	if (!path)
		return 0;
	r = open_file(logs);
	return r < 0 ? error_set_errno(err, r, "open the log file %s", path) : 0;
}

/* rotate() - Start the file again, keeping one older */
static void rotate(struct logs *logs)
{
	char old[4096];

	/* Where that fails, lines go on into the old file, and the next line tries again. */
	if (snprintf(old, sizeof(old), "%s.1", logs->path) < (int)sizeof(old) &&
	    rename(logs->path, old) == 0)
		(void)open_file(logs);
}

/* hand_out() - One line to the log; the file begins anew where it has grown too large */
static void hand_out(struct logs *logs, const char *text, size_t length)
{
	struct stat st;

	log_pass_on(text, length);
	if (logs->path && fstat(logs->out, &st) == 0 && st.st_size > (off_t)LOGS_FILE_MAX)
		rotate(logs);
}

/* say_dropped_fire() - A second after the first one that was; a flood says it once a second */
static void say_dropped_fire(struct loop_timer *timer, nanoseconds now)
{
	struct logs *logs = container_of(timer, struct logs, say_dropped);

	(void)now;
	if (logs->flood.dropped > 0)
		log_warn("%lu log lines of the engine were dropped: it wrote too many in a short "
			 "time",
			 logs->flood.dropped);
	logs->flood.dropped = 0;
}

static void pass_on(void *user, const char *text, size_t length)
{
	struct logs *logs = user;
	nanoseconds now = clock_boottime();

	if (flood_pass(&logs->flood, length, now))
		hand_out(logs, text, length);
	else if (logs->flood.dropped == 1)
		timer_arm(logs->loop, &logs->say_dropped, now + NSEC_PER_SEC);
}

/* take() - Read once; false at the end, or when nothing is there */
static bool take(struct logs *logs)
{
	ssize_t n = read(logs->pipe.fd, lines_end(&logs->lines), lines_room(&logs->lines));

	if (n <= 0)
		return n < 0 && errno == EINTR;
	lines_take(&logs->lines, (size_t)n, pass_on, logs);
	return true;
}

static void pipe_ready(struct loop_source *source, uint32_t events)
{
	struct logs *logs = container_of(source, struct logs, pipe);

	if (!take(logs) && (events & (EPOLLHUP | EPOLLERR)) != 0)
		logs_drain(logs);
}

int logs_follow(struct logs *logs, int pipe)
{
	int r;

	logs_drain(logs);
	r = loop_add(logs->loop, &logs->pipe, pipe, EPOLLIN);
	if (r < 0)
		close(pipe);
	return r;
}

void logs_drain(struct logs *logs)
{
	int fd = logs->pipe.fd;

	if (fd < 0)
		return;
	/* Bounded: a child of the child could hold the other end and go on writing. */
	for (size_t reads = 0; reads < DRAIN_MAX / LINES_MAX && take(logs); reads++)
		;
	lines_finish(&logs->lines, pass_on, logs);
	loop_remove(logs->loop, &logs->pipe);
	close(fd);
}
