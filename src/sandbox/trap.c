/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/trap.c - report the system call that the filter refused
 *
 * The handler runs in a process that is broken or captured: it only calls write(), and the process
 * dies when it returns.
 */
#include "base/cleanup.h"
#include "sandbox/sandbox_internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Read-only pages that are loaded only if the filter traps. */
static const struct {
	uint16_t number;
	char name[30];
} names[] = {
#include "sandbox/syscall_names.inc"
};

/* append() - Add @text at @out + @at, and return where it ends; no libc that could lock */
static size_t append(char *out, size_t size, size_t at, const char *text)
{
	while (*text && at + 1 < size)
		out[at++] = *text++;
	return at;
}

static size_t append_number(char *out, size_t size, size_t at, unsigned int number)
{
	char digits[11];
	size_t first = sizeof(digits) - 1;

	digits[first] = 0;
	do
		digits[--first] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	return append(out, size, at, digits + first);
}

/* #syscalls: write rt_sigaction rt_sigprocmask rt_sigreturn tgkill getpid gettid */
static void on_trap(int signal_number, siginfo_t *info, void *context)
{
	unsigned int number = (unsigned int)info->si_syscall;
	const char *name = "unknown";
	char line[256];
	size_t at = 0;

	(void)context;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].number == number)
			name = names[i].name;
	at = append(line, sizeof(line), at, "sandbox: system call ");
	at = append(line, sizeof(line), at, name);
	at = append(line, sizeof(line), at, " (");
	at = append_number(line, sizeof(line), at, number);
	at = append(line, sizeof(line), at,
		    ") is not allowed in this process, which ends; please report this line\n");
	if (write(STDERR_FILENO, line, at) < 0) {
		/* A full pipe: the supervisor still reports the signal. */
	}
	/* Pending until this handler returns; then the default action, death by SIGSYS. */
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

int trap_install(void)
{
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

	return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}
