/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/seccomp.c - the filter that allows only the listed system calls, and reports others
 *
 * A listed call is allowed with all arguments, except for the calls of the table below, of which
 * some forms are dangerous.
 *
 * Our own sources name their system calls beside the code. The calls of libraries are named here,
 * with the reason. No list names bind, listen, kill or execve.
 *
 * glibc: memory. malloc grows by brk and mmap; large blocks move by mremap;
 * the stack cache and free memory are given back by madvise.
 * #syscalls: brk mmap munmap mremap mprotect madvise
 *
 * glibc: threads. Started by clone; a new one sets its robust list and rseq;
 * sched_getaffinity counts CPUs for malloc's arenas.
 * #syscalls: clone futex set_robust_list rseq set_tid_address sched_yield
 * #syscalls: sched_getaffinity gettid getpid exit exit_group restart_syscall
 * #syscalls: rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack tgkill
 * #syscalls: prctl:PR_SET_NAME prctl:PR_GET_SECCOMP
 *
 * glibc: clocks where the vdso has none, sleeping, and stdio on open descriptors.
 * #syscalls: clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday
 * #syscalls: read readv write writev close lseek fstat newfstatat uname
 *
 * glibc: qsort() of more than 1 KiB asks how much memory there is before it takes some.
 * #syscalls: sysinfo
 *
 * glibc probes these and works without them.
 * #syscalls-enosys: clone3 faccessat2 openat2 statx futex_waitv membarrier
 * #syscalls-enosys: process_madvise pidfd_open
 *
 * libuv: the loop, its wake-up, signals through a pipe, and the checks of a descriptor in
 * uv_poll_init, uv_tcp_open, uv_udp_open and uv_pipe_open.
 * #syscalls: epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 pipe2
 * #syscalls: ioctl:FIONBIO ioctl:FIOCLEX ioctl:FIONREAD
 * #syscalls: fcntl:F_GETFL fcntl:F_SETFL fcntl:F_GETFD fcntl:F_SETFD fcntl:F_DUPFD_CLOEXEC
 * #syscalls: getsockopt setsockopt getsockname getpeername accept4 connect shutdown
 * #syscalls: sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
 * #syscalls-enosys: epoll_pwait2 io_uring_setup io_uring_enter io_uring_register
 *
 * libuv: ids of the process.
 * #syscalls: getuid geteuid getgid getegid getppid
 *
 * OpenSSL and libsodium: random bytes; keys in memory that is not swapped.
 * #syscalls: getrandom mlock munlock
 *
 * c-ares: query ids from /dev/urandom, the only file that Landlock allows. Opening any other file
 * fails with EACCES.
 * #syscalls: openat
 *
 * ASan, UBSan and the leak check at exit, in test builds only.
 * #syscalls-sanitizer: clone wait4 ptrace prctl:PR_SET_PTRACER prctl:PR_SET_DUMPABLE
 * #syscalls-sanitizer: prctl:PR_GET_DUMPABLE open readlink readlinkat getdents64 stat lstat
 * #syscalls-sanitizer: newfstatat openat prlimit64 getrlimit process_vm_readv dup dup2 dup3
 * #syscalls-sanitizer: poll prctl:PR_SET_PDEATHSIG getdents ioctl:TCGETS
 */
#include "base/cleanup.h"
#include "sandbox/sandbox_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The argument with the request that a comment names after the colon. */
static const struct {
	const char *name;
	unsigned int argument;
} selectors[] = {
	{"ioctl", 1},
	{"fcntl", 1},
	{"prctl", 0},
};

/* Calls that are allowed only where (argument & mask) == value. */
static const struct restricted {
	const char *name;
	unsigned int argument;
	uint64_t mask, value;
	bool files; /* does not apply to a profile with `files` */
} restricted[] = {
	/* A thread, never a process. */
	{"clone", 0, CLONE_THREAD, CLONE_THREAD, false},
	/* No new code. */
	{"mmap", 2, PROT_EXEC, 0, false},
	{"mprotect", 2, PROT_EXEC, 0, false},
	/* For reading only, also if Landlock is missing. */
	{"openat", 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY, true},
	/* fstat(), not stat(). */
	{"newfstatat", 3, AT_EMPTY_PATH, AT_EMPTY_PATH, true},
};

static const struct restricted *restriction(const struct sandbox_profile *profile, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(restricted); i++)
		if (strcmp(restricted[i].name, name) == 0 &&
		    !(restricted[i].files && profile->files))
			return &restricted[i];
	return NULL;
}

/* selector() - The argument's number; scripts/syscalls ensures that there is one */
static unsigned int selector(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
		if (strcmp(selectors[i].name, name) == 0)
			return selectors[i].argument;
	return 0;
}

static int add(scmp_filter_ctx filter, const struct sandbox_profile *profile,
	       const struct sandbox_syscall *call)
{
	int number = seccomp_syscall_resolve_name(call->name);
	uint32_t action = call->action == SANDBOX_ENOSYS ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_ALLOW;
	const struct restricted *only = restriction(profile, call->name);

	if (number == __NR_SCMP_ERROR)
		return -ENOENT;
	if (number < 0)
		return 0; /* of another architecture */
	if (call->has_value)
		/* The kernel reads only the low 32 bits. */
		return seccomp_rule_add(filter, action, number, 1,
					SCMP_CMP(selector(call->name), SCMP_CMP_MASKED_EQ,
						 UINT32_MAX, (uint32_t)call->value));
	if (strcmp(call->name, "tgkill") == 0)
		/* Signals to the own process: abort(), and the trap handler. */
		return seccomp_rule_add(
			filter, action, number, 1,
			SCMP_CMP(0, SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)getpid()));
#ifndef PILLION_SANITIZED
	if (only && call->action == SANDBOX_ALLOW)
		return seccomp_rule_add(
			filter, action, number, 1,
			SCMP_CMP(only->argument, SCMP_CMP_MASKED_EQ, only->mask, only->value));
#else
	(void)only;
#endif
	return seccomp_rule_add(filter, action, number, 0);
}

/*
 * The handler runs in a process that is broken or captured: it only calls write(), and the process
 * dies when it returns.
 */

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

/* install_trap() - Name the system call on stderr when the filter traps one */
static int install_trap(void)
{
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

	return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}

int seccomp_seal(const struct sandbox_profile *profile)
{
	scmp_filter_ctx filter;
	int r;

	r = install_trap();
	if (r < 0)
		return r;
	filter = seccomp_init(SCMP_ACT_TRAP);
	if (!filter)
		return -ENOMEM;
	r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; r == 0 && i < profile->syscall_count; i++) {
		r = add(filter, profile, &profile->syscalls[i]);
		if (r == -EEXIST)
			r = 0; /* allowed with all arguments already, in a sanitizer build */
	}
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r < 0)
		return r;
	return prctl(PR_GET_SECCOMP) == 2 ? 0 : -EIO;
}
