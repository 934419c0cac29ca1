/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/sandbox/test_sandbox.c - what a process can still do after it gave up the rest
 *
 * Each case runs in a child that enters and seals the sandbox with two threads, tries
 * one thing, and tells by its exit code or the signal it died of.
 */
#include "unit/unit.h"

#include "base/cleanup.h"
#include "sandbox/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANY_UID 65532

static struct sandbox_identity identity(void)
{
	/* Only root can become another; without it the test covers same user. */
	if (geteuid() == 0)
		return (struct sandbox_identity){.change = true, .uid = ANY_UID, .gid = ANY_UID};
	return (struct sandbox_identity){.change = false};
}

static void *other_thread(void *argument)
{
	char byte;

	prctl(PR_SET_NAME, "other", 0, 0, 0);
	while (read(*(int *)argument, &byte, 1) < 0)
		;
	return NULL;
}

struct outcome {
	int status;
	char output[1024];
	struct sandbox_report report;
};

/* sandboxed() - Run @attempt in a child, the sandbox around it */
static struct outcome sandboxed(int (*attempt)(void))
{
	struct outcome outcome = {0};
	int output[2], reports[2];
	size_t used = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(output), 0);
	assert_int_equal(pipe(reports), 0);
	pid = fork();
	if (pid == 0) {
		struct sandbox_identity who = identity();
		struct sandbox_report report;
		struct error err = {0};
		int never[2], r;
		pthread_t thread;

		dup2(output[1], STDERR_FILENO);
		close(output[1]);
		r = pipe(never);
		if (r < 0 ||
		    sandbox_enter(&sandbox_profile_engine, &who, NULL, 0, &report, &err) < 0)
			_exit(101);
		pthread_create(&thread, NULL, other_thread, &never[0]);
		if (sandbox_seal(&sandbox_profile_engine, &report, &err) < 0)
			_exit(102);
		if (write(reports[1], &report, sizeof(report)) < 0)
			_exit(103);
		_exit(attempt());
	}
	close(output[1]);
	close(reports[1]);
	while ((n = read(output[0], outcome.output + used, sizeof(outcome.output) - used - 1)) > 0)
		used += (size_t)n;
	if (read(reports[0], &outcome.report, sizeof(outcome.report)) < 0)
		outcome.report = (struct sandbox_report){0};
	close(output[0]);
	close(reports[0]);
	assert_int_equal(waitpid(pid, &outcome.status, 0), pid);
	return outcome;
}

static int attempt_nothing(void)
{
	return 0;
}

static int attempt_passwd(void)
{
	return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
}

static int attempt_urandom(void)
{
	char bytes[8];
	int fd = open("/dev/urandom", O_RDONLY);

	return fd >= 0 && read(fd, bytes, sizeof(bytes)) == sizeof(bytes) ? 0 : errno;
}

static int attempt_clone3(void)
{
	return syscall(__NR_clone3, NULL, 0) < 0 ? errno : 0;
}

static int attempt_thread(void)
{
	int channel[2] = {-1, -1};
	pthread_t thread;
	char byte = 0;

	if (pipe2(channel, 0) < 0 || write(channel[1], &byte, 1) < 0)
		return 1;
	return pthread_create(&thread, NULL, other_thread, &channel[0]) ||
	       pthread_join(thread, NULL);
}

static int attempt_privileges(void)
{
	return prctl(PR_GET_SECCOMP) == 2 ? 0 : 1;
}

static int attempt_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int attempt_kill(void)
{
	return kill(getppid(), 0) < 0 ? errno : 0;
}

static int attempt_tgkill(void)
{
	return (int)syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static int attempt_ioctl(void)
{
	return ioctl(0, TUNSETPERSIST, 1) < 0 ? errno : 0;
}

static int attempt_execve(void)
{
	char *arguments[] = {"true", NULL};

	return execve("/bin/true", arguments, arguments + 1);
}

static int attempt_abort(void)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

static int compare_numbers(const void *left, const void *right)
{
	const uint32_t *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

/* As a packet filter of many prefixes is sorted: from 1 KiB on, glibc asks the kernel something. */
static int attempt_sort(void)
{
	uint32_t numbers[4096];

	for (uint32_t i = 0; i < ARRAY_SIZE(numbers); i++)
		numbers[i] = i * UINT32_C(2654435761);
	qsort(numbers, ARRAY_SIZE(numbers), sizeof(numbers[0]), compare_numbers);
	for (size_t i = 1; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i - 1] > numbers[i])
			return 1;
	return 0;
}

#ifndef PILLION_SANITIZED
static int attempt_fork(void)
{
	return fork() < 0 ? errno : 0;
}

static int attempt_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? errno
		       : 0;
}

static int attempt_create(void)
{
	return open("/tmp/x", O_WRONLY | O_CREAT, 0600) < 0 ? errno : 0;
}

static int attempt_stat(void)
{
	struct stat st;

	return stat("/etc/passwd", &st) < 0 ? errno : 0;
}
#endif

static const struct {
	int (*attempt)(void);
	int expect;         /* exit code, or -signal */
	const char *output; /* that must be in its last words */
} rows[] = {
	/*  0 */ {attempt_nothing, 0, NULL},
	/*  1 */ {attempt_passwd, EACCES, NULL},
	/*  2 */ {attempt_urandom, 0, NULL},
	/*  3 */ {attempt_clone3, ENOSYS, NULL},
	/*  4 */ {attempt_thread, 0, NULL},
	/*  5 */ {attempt_privileges, 0, NULL},
	/*  6 */ {attempt_socket, -SIGSYS, "system call socket ("},
	/*  7 */ {attempt_kill, -SIGSYS, "system call kill ("},
	/*  8 */ {attempt_tgkill, -SIGSYS, "system call tgkill ("},
	/*  9 */ {attempt_ioctl, -SIGSYS, "system call ioctl ("},
	/* 10 */ {attempt_execve, -SIGSYS, "system call execve ("},
	/* 11 */ {attempt_abort, -SIGABRT, NULL},
	/* 12 */ {attempt_sort, 0, NULL},
#ifndef PILLION_SANITIZED /* what sanitizers need too */
	/* 13 */ {attempt_fork, -SIGSYS, "system call clone ("},
	/* 14 */ {attempt_code, -SIGSYS, "system call mmap ("},
	/* 15 */ {attempt_create, -SIGSYS, "system call openat ("},
	/* 16 */ {attempt_stat, -SIGSYS, "system call newfstatat ("},
#endif
};

static void test_attempts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct outcome outcome = sandboxed(rows[i].attempt);
		int got = WIFSIGNALED(outcome.status) ? -WTERMSIG(outcome.status)
						      : WEXITSTATUS(outcome.status);

		if (got != rows[i].expect)
			fail_msg("row %zu: %d instead of %d: %s", i, got, rows[i].expect,
				 outcome.output);
		if (rows[i].output && !strstr(outcome.output, rows[i].output))
			fail_msg("row %zu: \"%s\" is not in: %s", i, rows[i].output,
				 outcome.output);
	}
}

static void test_report(void **state)
{
	struct outcome outcome = sandboxed(attempt_nothing);
	long abi = syscall(__NR_landlock_create_ruleset, NULL, 0, 1 /* version */);

	(void)state;
	assert_int_equal(outcome.report.landlock_abi, abi < 0 ? 0 : abi);
	assert_true(outcome.report.seccomp);
	assert_true(outcome.report.no_dump);
	assert_int_equal(outcome.report.split_user, geteuid() == 0);
	if (abi > 0)
		assert_string_equal(outcome.report.missing, "");
}

/* line_of() - Whether /proc/@pid/task/@tid/status holds the line @wanted */
static bool has_line(pid_t pid, const char *tid, const char *wanted)
{
	char path[128], line[256];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, tid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		found |= strcmp(line, wanted) == 0;
	}
	fclose(file);
	return found;
}

/* As an outsider sees it, in every thread, both identities. */
static void check_threads(struct sandbox_identity who)
{
	static const char *const wanted[] = {
		"CapInh:\t0000000000000000",
		"CapPrm:\t0000000000000000",
		"CapEff:\t0000000000000000",
		"CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1",
		"Seccomp:\t2",
	};
	int ready[2], never[2], threads = 0, status;
	struct dirent *entry;
	char path[64], byte = 0;
	pid_t pid;
	DIR *tasks;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(never), 0);
	pid = fork();
	if (pid == 0) {
		struct sandbox_report report;
		struct error err = {0};
		pthread_t thread;

		close(ready[0]);
		close(never[1]);
		if (sandbox_enter(&sandbox_profile_engine, &who, NULL, 0, &report, &err) < 0)
			_exit(1);
		pthread_create(&thread, NULL, other_thread, &never[0]);
		if (sandbox_seal(&sandbox_profile_engine, &report, &err) < 0 ||
		    write(ready[1], &byte, 1) < 0 || read(never[0], &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	close(never[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	assert_non_null(tasks);
	while ((entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		threads++;
		for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
			if (!has_line(pid, entry->d_name, wanted[i]))
				fail_msg("thread %s: no \"%s\"", entry->d_name, wanted[i]);
		if (who.change)
			assert_true(
				has_line(pid, entry->d_name, "Uid:\t65532\t65532\t65532\t65532"));
	}
	closedir(tasks);
	assert_int_equal(threads, 2);
	close(never[1]);
	close(ready[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_threads_same_user(void **state)
{
	(void)state;
	check_threads((struct sandbox_identity){.change = false});
}

static void test_threads_split_user(void **state)
{
	(void)state;
	check_threads(identity());
}

/* A user that can't be taken ends the start; it is never silently skipped. */
static void test_identity_refused(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		struct sandbox_identity who = {.change = true, .uid = 1, .gid = 1};
		struct sandbox_report report;
		struct error err = {0};

		if (geteuid() == 0 && setresuid(ANY_UID, ANY_UID, ANY_UID) < 0)
			_exit(1);
		_exit(sandbox_enter(&sandbox_profile_engine, &who, NULL, 0, &report, &err) == -EPERM
			      ? 0
			      : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_identity_parse(void **state)
{
	static const char *const wrong[] = {
		"", "0:0", "65532", "65532:", "1:0", "0:1", "1:1x", "a:b", "--",
	};
	struct sandbox_identity got = {.change = true};

	(void)state;
	assert_int_equal(sandbox_identity_parse("-", &got), 0);
	assert_false(got.change);
	assert_int_equal(sandbox_identity_parse("65532:65533", &got), 0);
	assert_true(got.change && got.uid == 65532 && got.gid == 65533);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (sandbox_identity_parse(wrong[i], &got) != -EINVAL)
			fail_msg("row %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity_parse),
		cmocka_unit_test(test_attempts),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_threads_same_user),
		cmocka_unit_test(test_threads_split_user),
		cmocka_unit_test(test_identity_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
