/* SPDX-License-Identifier: BSD-3-Clause */
/* server/headscale/process_lock.c - find a child of a parent that was killed */
#include "server/headscale/process_lock.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long a process may take to be gone once it was killed. */
#define KILL_PATIENCE (5 * NSEC_PER_SEC)

int process_lock_take(int fd)
{
	struct flock lock = {.l_type = F_WRLCK};

	return fcntl(fd, F_SETFD, 0) < 0 || fcntl(fd, F_SETLK, &lock) < 0 ? -errno : 0;
}

pid_t process_lock_holder(int fd)
{
	struct flock lock = {.l_type = F_WRLCK};

	if (fcntl(fd, F_GETLK, &lock) < 0)
		return -errno;
	if (lock.l_type == F_UNLCK)
		return 0;
	/* The holder has no number here if it is in another process namespace. */
	return lock.l_pid > 0 ? lock.l_pid : -EXDEV;
}

/* read_text() - A small file of /proc, ended by a zero */
static bool read_text(const char *path, char *out, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	out[n > 0 ? n : 0] = 0;
	return n > 0;
}

pid_t process_lock_older(int fd)
{
	char text[128] = "", path[64], boot[40], now[40], fields[1024], state;
	unsigned long long started, start;
	const char *at;
	int pid;

	/* PID, START BOOT and the program, each a line */
	if (pread(fd, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%d %llu %39s", &pid, &started, boot) != 3)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (!read_text(path, fields, sizeof(fields)) ||
	    !read_text("/proc/sys/kernel/random/boot_id", now, sizeof(now)))
		return 0;
	now[strcspn(now, "\n")] = 0;
	/* Behind the name, which may hold blanks and parentheses: fields 3 and 22 */
	at = strrchr(fields, ')');
	if (!at || sscanf(at,
			  ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			  "%*s %*s %llu",
			  &state, &start) != 2)
		return 0;
	return state != 'Z' && start == started && strcmp(now, boot) == 0 ? pid : 0;
}

/* gone() - Wait until it is: 1, 0 not in time, negative errno */
static int gone(int pidfd, nanoseconds patience)
{
	nanoseconds until = clock_boottime() + patience;
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	int r;

	do {
		nanoseconds left = until - clock_boottime();

		r = poll(&end, 1, left > 0 ? (int)(left / NSEC_PER_MSEC) + 1 : 0);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static int send_signal(int pidfd, int number)
{
	return syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0) < 0 && errno != ESRCH ? -errno
											    : 0;
}

int process_lock_end(int fd, nanoseconds patience, pid_t *ret)
{
	pid_t pid = process_lock_holder(fd);
	_cleanup_close_ int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	int r;

	*ret = 0;
	if (pid <= 0)
		return pid;
	/* If the number changed hands before the pidfd, the holder is gone, and so is the lock. */
	if (pidfd < 0 || process_lock_holder(fd) != pid)
		return pidfd < 0 && errno != ESRCH ? -errno : 0;
	*ret = pid;
	r = send_signal(pidfd, SIGTERM);
	if (r == 0)
		r = gone(pidfd, patience);
	if (r != 0)
		return r < 0 ? r : 0;
	r = send_signal(pidfd, SIGKILL);
	if (r == 0)
		r = gone(pidfd, KILL_PATIENCE);
	if (r < 0)
		return r;
	return r > 0 ? 1 : -ETIMEDOUT;
}
