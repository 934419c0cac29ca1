/* SPDX-License-Identifier: BSD-3-Clause */
/* server/headscale/process_lock.c - find a child of a parent that was killed */
#include "server/headscale/process_lock.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
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
