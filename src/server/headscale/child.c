/* SPDX-License-Identifier: BSD-3-Clause */
/* server/headscale/child.c - a program as our child, of which no trace is lost in a crash */
#include "server/headscale/child.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "server/headscale/process_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* The ends of the child: what it says, "go", and why it could not become the program. */
struct ends {
	int output, go, failure;
};

static void close_ends(struct ends *ends)
{
	cleanup_close_at(&ends->output);
	cleanup_close_at(&ends->go);
	cleanup_close_at(&ends->failure);
	*ends = (struct ends){-1, -1, -1};
}

/* become() - After fork: only async-signal-safe calls */
static _Noreturn void become(char *const argv[], pid_t parent, const struct ends *ends)
{
	struct sigaction defaults = {.sa_handler = SIG_DFL};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), why;
	sigset_t none;
	char go;

	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	/* A parent that was gone before is not heard of any more; nor is one that never says go. */
	if (getppid() != parent || read(ends->go, &go, 1) != 1)
		_exit(127);
	(void)setsid();
	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, &defaults, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(null, STDIN_FILENO) >= 0 && dup2(ends->output, STDOUT_FILENO) >= 0 &&
	    dup2(ends->output, STDERR_FILENO) >= 0)
		(void)execv(argv[0], argv);
	why = errno;
	(void)!write(ends->failure, &why, sizeof(why));
	_exit(127);
}

/* make_ends() - Three pipes; @ours reads output and failure, and writes go */
static int make_ends(struct ends *ours, struct ends *theirs)
{
	int output[2], go[2], failure[2];

	*ours = *theirs = (struct ends){-1, -1, -1};
	if (pipe2(output, O_CLOEXEC) < 0)
		return -errno;
	ours->output = output[0];
	theirs->output = output[1];
	if (pipe2(go, O_CLOEXEC) < 0)
		return -errno;
	ours->go = go[1];
	theirs->go = go[0];
	if (pipe2(failure, O_CLOEXEC) < 0)
		return -errno;
	ours->failure = failure[0];
	theirs->failure = failure[1];
	/* Only our end: the program must not lose lines to a full pipe. */
	return fcntl(ours->output, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* write_down() - As the program that it is about to be; a later process would look for that */
static int write_down(pid_t pid, const char *program, const char *path, struct error *warning)
{
	struct process_identity identity;
	int r = process_identify(pid, &identity);

	if (r < 0)
		return error_set_errno(warning, r, "/proc/%d", (int)pid);
	if (program && !realpath(program, identity.program))
		return error_set_errno(warning, -errno, "%s", program);
	return process_file_write(path, &identity, warning);
}

/* let_go() - Until it is the program; the errno if it can't be */
static int let_go(struct ends *ours)
{
	int why = 0;
	ssize_t n = write(ours->go, "", 1);

	if (n == 1)
		do
			n = read(ours->failure, &why, sizeof(why));
		while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(why) ? -why : n < 0 ? -errno : 0;
}

int child_start(char *const argv[], const char *process_file, struct child *ret,
		struct error *warning, struct error *err)
{
	struct ends ours, theirs;
	pid_t parent = getpid(), pid = -1;
	int r = make_ends(&ours, &theirs);

	if (r == 0) {
		pid = fork();
		if (pid == 0) {
			/* Else it would wait for itself. */
			close(ours.go);
			become(argv, parent, &theirs);
		}
		r = pid < 0 ? -errno : 0;
	}
	close_ends(&theirs);
	if (r == 0 && process_file)
		(void)write_down(pid, argv[0], process_file, warning);
	if (r == 0)
		r = let_go(&ours);
	if (r == 0 && process_file)
		/* A script is run by another program than it is. */
		(void)write_down(pid, NULL, process_file, warning);
	if (r == 0)
		*ret = (struct child){.pid = pid, .output = TAKE_FD(ours.output)};
	close_ends(&ours);
	if (r < 0 && pid > 0)
		(void)waitpid(pid, NULL, 0);
	return r < 0 ? error_set_errno(err, r, "run %s", argv[0]) : 0;
}

void child_signal(const struct child *child, int number)
{
	/* Not reaped yet, so the number is its own. */
	if (child->pid > 0 && kill(-child->pid, number) < 0)
		(void)kill(child->pid, number);
}

bool child_ended(const struct child *child)
{
	siginfo_t info = {0};

	return child->pid > 0 &&
	       waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0;
}

int child_reap(struct child *child)
{
	int status = 0;

	/* Not reaped yet, so the group is still its own. */
	(void)kill(-child->pid, SIGKILL);
	(void)waitpid(child->pid, &status, 0);
	child->pid = 0;
	return status;
}

/* collect() - The last @size - 1 bytes of what it says; 0 at its end, -ETIMEDOUT */
static int collect(int fd, nanoseconds until, char *out, size_t size)
{
	struct pollfd in = {.fd = fd, .events = POLLIN};
	char piece[1024];
	size_t used = 0;
	ssize_t n = 1;

	out[0] = 0;
	while (n != 0) {
		nanoseconds left = until - clock_boottime();

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&in, 1, (int)(left / NSEC_PER_MSEC) + 1) != 1)
			continue;
		n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		for (ssize_t i = 0; i < n; i++) {
			if (used == size - 1)
				memmove(out, out + 1, --used);
			out[used++] = piece[i];
		}
		out[used] = 0;
	}
	return 0;
}

int child_run(char *const argv[], int seconds, char *out, size_t size, int *ret_status,
	      struct error *err)
{
	nanoseconds until = clock_boottime() + seconds * NSEC_PER_SEC;
	struct child child = {.output = -1};
	int r = child_start(argv, NULL, &child, NULL, err);

	if (r < 0)
		return r;
	r = collect(child.output, until, out, size);
	if (r < 0)
		child_signal(&child, SIGKILL);
	close(child.output);
	/* It said its last word, or was killed. */
	if (waitpid(child.pid, ret_status, 0) < 0 && r == 0)
		r = -errno;
	return r < 0 ? error_set_errno(err, r, "%s", argv[0]) : 0;
}
