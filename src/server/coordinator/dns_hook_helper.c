/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/dns_hook_helper.c - the process that runs the DNS hook
 *
 * Theory of operation
 *   Four places, each a run of the program: its process group, the pipe with its output, its
 *   deadline. An order is taken from the socket when a place is free. What the
 *   server says is checked again here, since it is the server that strangers speak to.
 */
#include "server/coordinator/dns_hook.h"

#include "base/cleanup.h"
#include "base/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_AGAIN_MS 50 /* while something runs: it may close its output before it ends */

struct run {
	pid_t pid; /* 0: a free place */
	int output;
	nanoseconds deadline;
	bool late;
	uint32_t id;
	char text[DNS_HOOK_TEXT_SIZE / 2];
	size_t length;
};

struct helper {
	int fd;
	const char *program;
	nanoseconds timeout;
	struct run runs[DNS_HOOK_AT_ONCE];
};

/* become() - In the child: the program, with nothing of ours */
static void become(const struct helper *h, const struct dns_hook_order *order, int output)
{
	char *argv[] = {(char *)(uintptr_t)h->program, (char *)(uintptr_t) "present",
			(char *)(uintptr_t)order->name, (char *)(uintptr_t)order->value, NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setpgid(0, 0);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
	    dup2(output, STDERR_FILENO) < 0)
		_exit(127);
	execv(h->program, argv);
	dprintf(STDERR_FILENO, "%s: %s", h->program, strerror(errno));
	_exit(127);
}

static void send_report(const struct helper *h, uint32_t id, int result, const char *how,
			const char *text)
{
	struct dns_hook_report r = {.id = id, .result = result};

	snprintf(r.text, sizeof(r.text), "%s: %s%s%s", h->program, how, *text ? ": " : "", text);
	for (char *c = r.text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	(void)!send(h->fd, &r, sizeof(r), MSG_NOSIGNAL);
}

static void start(struct helper *h, struct run *run, const struct dns_hook_order *order)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0) {
		send_report(h, order->id, -errno, "no pipe", strerror(errno));
		return;
	}
	pid = fork();
	if (pid == 0)
		become(h, order, ends[1]);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		send_report(h, order->id, -EAGAIN, "no process", strerror(errno));
		return;
	}
	(void)setpgid(pid, pid);
	(void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
	*run = (struct run){
		.pid = pid,
		.output = ends[0],
		.deadline = clock_boottime() + h->timeout,
		.id = order->id,
	};
}

/* take_order() - false: the server is gone */
static bool take_order(struct helper *h)
{
	struct run *run = h->runs;
	struct dns_hook_order order;
	ssize_t n;

	while (run->pid)
		run++;
	n = recv(h->fd, &order, sizeof(order), 0);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0)
		return false;
	if (n != sizeof(order) || !memchr(order.name, 0, sizeof(order.name)) ||
	    !memchr(order.value, 0, sizeof(order.value)) || !dns_hook_name_is_valid(order.name) ||
	    !dns_hook_value_is_valid(order.value))
		send_report(h, n >= (ssize_t)sizeof(order.id) ? order.id : 0, -EINVAL,
			    "an order that can't be carried out", "");
	else
		start(h, run, &order);
	return true;
}

/* read_output() - Keep the beginning, drop the rest */
static void read_output(struct run *run)
{
	char bytes[4096];
	ssize_t n;

	while ((n = read(run->output, bytes, sizeof(bytes))) > 0) {
		size_t room = sizeof(run->text) - 1 - run->length;
		size_t taken = (size_t)n < room ? (size_t)n : room;

		memcpy(run->text + run->length, bytes, taken);
		run->length += taken;
	}
	if (n == 0) {
		close(run->output);
		run->output = -1;
	}
}

/* look() - Has it ended, or had its time? */
static void look(struct helper *h, struct run *run)
{
	char how[64];
	int status;
	pid_t pid;

	if (run->output >= 0)
		read_output(run);
	if (clock_boottime() >= run->deadline && !run->late) {
		run->late = true;
		(void)kill(-run->pid, SIGKILL);
	}
	pid = waitpid(run->pid, &status, WNOHANG);
	if (pid == 0)
		return;
	if (run->output >= 0)
		read_output(run);
	if (run->output >= 0)
		close(run->output);
	if (run->late)
		snprintf(how, sizeof(how), "killed after %lld s",
			 (long long)(h->timeout / NSEC_PER_SEC));
	else if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "ended by signal %d", WTERMSIG(status));
	else
		snprintf(how, sizeof(how), "status %d", WEXITSTATUS(status));
	send_report(h, run->id,
		    run->late                                   ? -ETIMEDOUT
		    : WIFEXITED(status) && !WEXITSTATUS(status) ? 0
								: -EIO,
		    how, run->text);
	run->pid = 0;
}

static void end(struct helper *h)
{
	for (size_t i = 0; i < DNS_HOOK_AT_ONCE; i++)
		if (h->runs[i].pid)
			(void)kill(-h->runs[i].pid, SIGTERM);
	_exit(0);
}

void dns_hook_help(int fd, const char *program, nanoseconds timeout)
{
	struct helper h = {.fd = fd, .program = program, .timeout = timeout};

	for (;;) {
		struct pollfd polled[1 + DNS_HOOK_AT_ONCE];
		size_t running = 0;

		for (size_t i = 0; i < DNS_HOOK_AT_ONCE; i++) {
			polled[1 + i] = (struct pollfd){.fd = h.runs[i].pid ? h.runs[i].output : -1,
							.events = POLLIN};
			running += h.runs[i].pid != 0;
		}
		/* Full, only the server's end is of interest. */
		polled[0] = (struct pollfd){.fd = fd,
					    .events = running < DNS_HOOK_AT_ONCE ? POLLIN : 0};
		if (poll(polled, ARRAY_SIZE(polled), running ? LOOK_AGAIN_MS : -1) < 0 &&
		    errno != EINTR)
			end(&h);
		for (size_t i = 0; i < DNS_HOOK_AT_ONCE; i++)
			if (h.runs[i].pid)
				look(&h, &h.runs[i]);
		if (polled[0].revents & POLLIN ? !take_order(&h) : polled[0].revents != 0)
			end(&h);
	}
}

/* leave() - In the helper: nothing of the server but its end of the socket */
static void leave(int fd)
{
	struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void)sigaction(number, &plain, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	/* A terminal's Ctrl-C is for the server, which ends us. */
	(void)setpgid(0, 0);
	(void)prctl(PR_SET_NAME, "pillion-dns");
	(void)close_range(STDERR_FILENO + 1, (unsigned int)fd - 1, 0);
	(void)close_range((unsigned int)fd + 1, ~0u, 0);
}

int dns_hook_spawn(const char *program, nanoseconds timeout, int *ret_fd, struct error *err)
{
	int ends[2];
	pid_t pid;

	if (!strchr(program, '/'))
		return error_set(err, -EINVAL, "dns-hook: '%s' is not the path of a program",
				 program);
	if (access(program, X_OK) < 0)
		return error_set_errno(err, -errno, "dns-hook: %s can't be run", program);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set_errno(err, -errno, "dns-hook: no socket pair");
	pid = fork();
	if (pid == 0) {
		leave(ends[1]);
		dns_hook_help(ends[1], program, timeout);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return error_set(err, -EAGAIN, "dns-hook: no process");
	}
	*ret_fd = ends[0];
	return 0;
}
