/* SPDX-License-Identifier: BSD-3-Clause */
/* server/headscale/process_file.c - a child that a later process can tell from any other */
#include "server/headscale/process_file.h"

#include "base/cleanup.h"
#include "base/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* What the kernel puts behind the path of a program that was replaced or removed. */
#define REPLACED " (deleted)"

/* How long a process may take to be gone once it was killed. */
#define KILL_PATIENCE (5 * NSEC_PER_SEC)

/* read_text() - A small file of /proc, ended by a zero */
static int read_text(const char *path, char *out, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	if (n < 0)
		return -errno;
	out[n] = 0;
	return 0;
}

/* read_started() - Behind the name, which may hold blanks and parentheses, is field 3 */
static int read_started(pid_t pid, uint64_t *ret)
{
	char path[64], text[1024], *at;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = read_text(path, text, sizeof(text));
	if (r < 0)
		return r;
	at = strrchr(text, ')');
	for (int field = 3; at && field <= 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return -EINVAL;
	*ret = strtoull(at, NULL, 10);
	return 0;
}

static int read_program(pid_t pid, char out[static PATH_MAX])
{
	char path[64], *end;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, out, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	out[n] = 0;
	end = out + n - strlen(REPLACED);
	if (end > out && strcmp(end, REPLACED) == 0)
		*end = 0;
	return 0;
}

int process_identify(pid_t pid, struct process_identity *ret)
{
	struct process_identity identity = {.pid = pid};
	int r = read_text(BOOT_ID, identity.boot, sizeof(identity.boot));

	identity.boot[strcspn(identity.boot, "\n")] = 0;
	if (r == 0)
		r = read_started(pid, &identity.started);
	if (r == 0)
		r = read_program(pid, identity.program);
	if (r == 0)
		*ret = identity;
	return r == -ENOENT ? -ESRCH : r;
}

int process_file_write(const char *path, const struct process_identity *identity, struct error *err)
{
	char text[PATH_MAX + 128];
	int length =
		snprintf(text, sizeof(text), "%d\n%llu %s\n%s\n", (int)identity->pid,
			 (unsigned long long)identity->started, identity->boot, identity->program);

	return small_file_replace(path, text, (size_t)length, err);
}

int process_file_read(const char *path, struct process_identity *ret)
{
	char text[PATH_MAX + 128], *program;
	struct process_identity identity = {0};
	unsigned long long started;
	int r = read_text(path, text, sizeof(text)), end = 0;

	if (r < 0)
		return r;
	if (sscanf(text, "%d\n%llu %39s\n%n", &identity.pid, &started, identity.boot, &end) != 3 ||
	    end == 0 || identity.pid <= 1)
		return -EINVAL;
	program = text + end;
	program[strcspn(program, "\n")] = 0;
	if (*program != '/' || strlen(program) >= sizeof(identity.program))
		return -EINVAL;
	strcpy(identity.program, program);
	identity.started = started;
	*ret = identity;
	return 0;
}

static bool same(const struct process_identity *a, const struct process_identity *b)
{
	return a->pid == b->pid && a->started == b->started && strcmp(a->boot, b->boot) == 0 &&
	       strcmp(a->program, b->program) == 0;
}

int process_find(const struct process_identity *identity)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, identity->pid, 0);
	struct process_identity now = {0};
	int r;

	if (fd < 0)
		return errno == EINVAL ? -ESRCH : -errno;
	/* Held first, compared then: if the number changed hands in between, the process that is
	 * held is gone, and no signal reaches anybody. */
	r = process_identify(identity->pid, &now);
	if (r < 0)
		return r;
	return same(identity, &now) ? TAKE_FD(fd) : -ESRCH;
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

int process_end(int pidfd, nanoseconds patience)
{
	int r = send_signal(pidfd, SIGTERM);

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
