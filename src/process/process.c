/* SPDX-License-Identifier: BSD-3-Clause */
/* process/process.c - a program that is kept running */
#include "process/process.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a process that has ended: another process can hold its pipe and go on writing. */
#define DRAIN_READS 64u

/* Above the numbers that the program's own descriptors get. */
#define FIRST_SAFE_FD 16

/* --- Starting a program --- */

/* The ends of two pipes: output, and the errno of a failed exec. */
struct ends {
	int output, failure;
};

#define NO_ENDS ((struct ends){-1, -1})

static void close_ends(struct ends *ends)
{
	cleanup_close_at(&ends->output);
	cleanup_close_at(&ends->failure);
	*ends = NO_ENDS;
}

static int make_pipe(int *ret_read, int *ret_write)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = ends[0];
	*ret_write = ends[1];
	return 0;
}

static int make_ends(const struct process_plan *plan, struct ends *ours, struct ends *theirs)
{
	int r = make_pipe(&ours->output, &theirs->output);

	if (r == 0)
		r = make_pipe(&ours->failure, &theirs->failure);
	if (r == 0 && (fcntl(ours->output, F_SETFL, O_NONBLOCK) < 0 ||
		       (!plan->output_may_block && fcntl(theirs->output, F_SETFL, O_NONBLOCK) < 0)))
		r = -errno;
	return r;
}

/* take_descriptors() - Give the program its standard streams and its channel, and nothing else */
static int take_descriptors(const struct process_plan *plan, int output)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* Another number than 0: dup2() onto itself would leave it close-on-exec. */
	null = fcntl(null, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	if (dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
	    dup2(output, STDERR_FILENO) < 0 ||
	    (plan->channel >= 0 && dup2(plan->channel, PROCESS_CHANNEL_FD) < 0))
		return -errno;
	/* All others are close-on-exec already; in case one is not: */
	(void)syscall(SYS_close_range, PROCESS_CHANNEL_FD + (plan->channel >= 0), UINT_MAX,
		      4u /* CLOSE_RANGE_CLOEXEC */);
	return 0;
}

/* become() - After fork, in the child: only async-signal-safe calls */
static _Noreturn void become(struct process_plan plan, pid_t parent, struct ends ends)
{
	struct sigaction defaults = {.sa_handler = SIG_DFL};
	sigset_t none;
	int why;

	if (plan.ends_with_us)
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	/* A parent that has died already sends no signal. */
	if (plan.ends_with_us && getppid() != parent)
		_exit(127);
	/* Out of the way of the numbers that the program's descriptors get. */
	ends.output = fcntl(ends.output, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	ends.failure = fcntl(ends.failure, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	if (plan.channel >= 0)
		plan.channel = fcntl(plan.channel, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	if (plan.program >= 0)
		plan.program = fcntl(plan.program, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	(void)setsid();
	for (int i = 1; i < NSIG; i++)
		if (i != SIGPIPE || !plan.ignores_sigpipe)
			(void)sigaction(i, &defaults, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	why = take_descriptors(&plan, ends.output);
	if (why == 0 && plan.reduce)
		why = plan.reduce(plan.context);
	if (why == 0 && plan.program >= 0)
		(void)syscall(SYS_execveat, plan.program, "", plan.arguments, plan.environment,
			      AT_EMPTY_PATH);
	else if (why == 0)
		(void)execve(plan.path, plan.arguments, plan.environment);
	why = why < 0 ? -why : errno;
	(void)!write(ends.failure, &why, sizeof(why));
	_exit(127);
}

/* await_exec() - Until the child is the program; 0 or negative errno if it can't be */
static int await_exec(const struct ends *ours)
{
	int why = 0;
	ssize_t n;

	do
		n = read(ours->failure, &why, sizeof(why));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(why) ? -why : n < 0 ? -errno : 0;
}

pid_t process_spawn(const struct process_plan *plan, int *ret_output, struct error *err)
{
	struct ends ours = NO_ENDS, theirs = NO_ENDS;
	pid_t parent = getpid(), pid = -1;
	int r = make_ends(plan, &ours, &theirs);

	if (r == 0) {
		pid = fork();
		if (pid == 0)
			become(*plan, parent, theirs);
		r = pid < 0 ? -errno : 0;
	}
	close_ends(&theirs);
	if (r == 0)
		r = await_exec(&ours);
	if (r == 0)
		*ret_output = TAKE_FD(ours.output);
	close_ends(&ours);
	if (r < 0 && pid > 0)
		(void)waitpid(pid, NULL, 0);
	return r < 0 ? error_set_errno(err, r, "run %s", plan->path) : pid;
}

/* --- Its output --- */

static void pass_on(void *user, const char *text, size_t length)
{
	struct process *process = user;

	process->kind->line(process, text, length);
}

/* take() - Read once; false at the end, or when there is nothing */
static bool take(struct process *process)
{
	struct lines *lines = &process->lines;
	ssize_t n = read(process->output.fd, lines_end(lines), lines_room(lines));

	if (n <= 0)
		return n < 0 && errno == EINTR;
	lines_take(lines, (size_t)n, pass_on, process);
	return true;
}

/* drain() - Read the rest, and close the pipe */
static void drain(struct process *process)
{
	int fd = process->output.fd;

	if (fd < 0)
		return;
	for (unsigned int i = 0; i < DRAIN_READS && take(process); i++)
		;
	lines_finish(&process->lines, pass_on, process);
	loop_remove(process->loop, &process->output);
	close(fd);
}

static void output_ready(struct loop_source *source, uint32_t events)
{
	struct process *process = container_of(source, struct process, output);

	if (!take(process) && (events & (EPOLLHUP | EPOLLERR)) != 0)
		drain(process);
}

/* --- Its life --- */

static void restart_fire(struct loop_timer *timer, nanoseconds now)
{
	struct process *process = container_of(timer, struct process, restart);

	(void)now;
	process->kind->start(process);
}

static void kill_now(struct process *process, bool overdue)
{
	if (process->pid == 0)
		return;
	process->kind->kill(process, overdue && !process->killed);
	process->killed = true;
	timer_arm(process->loop, &process->overdue, clock_boottime() + PROCESS_KILL_RETRY);
}

static void overdue_fire(struct loop_timer *timer, nanoseconds now)
{
	(void)now;
	kill_now(container_of(timer, struct process, overdue), true);
}

void process_init(struct process *process, const struct process_kind *kind, struct loop *loop,
		  nanoseconds patience)
{
	*process = (struct process){
		.kind = kind,
		.loop = loop,
		.patience = patience,
		.restart = LOOP_TIMER(restart_fire),
		.overdue = LOOP_TIMER(overdue_fire),
		.output = LOOP_SOURCE(output_ready),
	};
}

int process_start(struct process *process, const struct process_plan *plan, struct error *err)
{
	int output = -1;
	pid_t pid = process_spawn(plan, &output, err);
	int r;

	if (pid < 0)
		return (int)pid;
	process->pid = pid;
	process->started = clock_boottime();
	process->stopping = process->killed = false;
	r = loop_add(process->loop, &process->output, output, EPOLLIN);
	if (r < 0)
		close(output); /* the process runs on, unheard */
	return 0;
}

nanoseconds process_again(struct process *process, nanoseconds lived)
{
	nanoseconds pause = crashes_count(&process->crashes, lived);

	timer_arm(process->loop, &process->restart, clock_boottime() + pause);
	return pause;
}

bool process_stop(struct process *process)
{
	timer_cancel(process->loop, &process->restart);
	if (process->pid == 0)
		return false;
	if (!process->stopping) {
		process->stopping = true;
		process->kind->ask_to_end(process);
		timer_arm(process->loop, &process->overdue, clock_boottime() + process->patience);
	}
	return true;
}

void process_kill(struct process *process)
{
	kill_now(process, false);
}

static void reap(struct process *process, pid_t pid)
{
	nanoseconds lived = clock_boottime() - (process ? process->started : 0);
	int status = 0;

	/* Not reaped yet, so the group is still its own. */
	if (process && process->kind->has_group)
		(void)kill(-pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	if (!process)
		return;
	/* From here on the number may be that of another process. */
	process->pid = 0;
	timer_cancel(process->loop, &process->overdue);
	drain(process);
	process->kind->ended(process, status, lived);
}

void process_reap_all(struct process *first)
{
	/* Process 1 also has the children of parents that died before them. */
	for (;;) {
		struct process *process = first;
		siginfo_t info = {0};

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return;
		while (process && process->pid != info.si_pid)
			process = process->next;
		reap(process, info.si_pid);
	}
}
