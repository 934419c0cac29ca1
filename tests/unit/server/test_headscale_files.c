/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/test_headscale_files.c - the log that keeps the last lines, and the file by
 * which a process is found again
 */
#include "unit/unit.h"

#include "base/lines.h"
#include "process/capped_log.h"
#include "server/headscale/process_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[96], older[96];

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/pillion-files-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/log", folder);
	snprintf(older, sizeof(older), "%s/log.1", folder);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* --- The log --- */

static void add(struct capped_log *log, unsigned int from, unsigned int to)
{
	char line[32];

	for (unsigned int i = from; i < to; i++)
		capped_log_add(log, line, (size_t)snprintf(line, sizeof(line), "line %u\n", i));
}

/* shown() - What is printed of the last @count lines. Owned */
static char *shown(unsigned int count)
{
	char name[] = "/tmp/pillion-shown-XXXXXX", *text;
	int fd = mkstemp(name);
	struct stat st;
	struct error err = {0};

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(capped_log_show(path, count, false, fd, &err), 0);
	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(pread(fd, text, (size_t)st.st_size, 0), st.st_size);
	close(fd);
	return text;
}

/* assert_shown() - Lines @from to @to - 1, and nothing else */
static void assert_shown(unsigned int count, unsigned int from, unsigned int to)
{
	char *text = shown(count), *at = text, line[32];

	for (unsigned int i = from; i < to; i++) {
		snprintf(line, sizeof(line), "line %u\n", i);
		assert_memory_equal(at, line, strlen(line));
		at += strlen(line);
	}
	assert_string_equal(at, "");
	free(text);
}

static void keeps_the_last_lines(void **state)
{
	struct capped_log log;
	struct error err = {0};
	struct stat st;

	(void)state;
	assert_int_equal(capped_log_show(path, 1, false, STDOUT_FILENO, &err), -ENOENT);
	assert_int_equal(capped_log_open(path, true, &log, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_shown(10, 0, 0);
	add(&log, 0, 7);
	assert_shown(0, 0, 0);
	assert_shown(1, 6, 7);
	assert_shown(7, 0, 7);
	assert_shown(CAPPED_LOG_LINES, 0, 7);
	/* At each distance from a change of files the last thousand are there. */
	for (unsigned int n = 7; n < 5 * CAPPED_LOG_LINES; n += 333) {
		add(&log, n, n + 333);
		assert_shown(CAPPED_LOG_LINES,
			     n + 333 > CAPPED_LOG_LINES ? n + 333 - CAPPED_LOG_LINES : 0, n + 333);
		assert_shown(400, n + 333 > 400 ? n + 333 - 400 : 0, n + 333);
	}
	capped_log_close(&log);
	/* Another process goes on where this one stopped. */
	assert_int_equal(capped_log_open(path, true, &log, &err), 0);
	assert_true(log.lines > 0 && log.lines < CAPPED_LOG_LINES);
	add(&log, 10000, 10000 + CAPPED_LOG_LINES);
	assert_shown(CAPPED_LOG_LINES, 10000, 10000 + CAPPED_LOG_LINES);
	capped_log_close(&log);
}

static void long_lines_are_bounded(void **state)
{
	struct capped_log log;
	struct error err = {0};
	static char line[LINES_MAX];
	struct stat st;

	(void)state;
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	assert_int_equal(capped_log_open(path, true, &log, &err), 0);
	for (unsigned int i = 0; i < 2 * CAPPED_LOG_LINES + 1; i++)
		capped_log_add(&log, line, sizeof(line));
	assert_int_equal(stat(older, &st), 0);
	assert_int_equal(st.st_size, CAPPED_LOG_LINES * LINES_MAX);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, LINES_MAX);
	capped_log_close(&log);
}

static void a_torn_line_gets_its_end(void **state)
{
	struct capped_log log;
	struct error err = {0};
	char *text;
	int fd;

	(void)state;
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "torn", 4), 4);
	close(fd);
	assert_int_equal(capped_log_open(path, true, &log, &err), 0);
	add(&log, 1, 2);
	text = shown(10);
	assert_string_equal(text, "torn\nline 1\n");
	free(text);
	capped_log_close(&log);
}

/* A full disk, as far as this process is concerned. */
static void what_can_not_be_written_is_counted(void **state)
{
	struct rlimit limit, none;
	struct capped_log log;
	struct error err = {0};
	char *text;

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(capped_log_open(path, true, &log, &err), 0);
	add(&log, 0, 2);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	none = limit;
	none.rlim_cur = 17; /* "line 0\nline 1\nlin" */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	add(&log, 2, 5);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	add(&log, 5, 6);
	text = shown(10);
	assert_string_equal(text,
			    "line 0\nline 1\nlin\npillion: 3 lines are missing here\nline 5\n");
	free(text);
	capped_log_close(&log);
}

/* A FIFO or a terminal is not read, which would block; a file need not be readable. */
static void only_a_file_is_read(void **state)
{
	struct capped_log log;
	struct error err = {0};
	int fd;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	for (int limit_lines = 0; limit_lines < 2; limit_lines++) {
		alarm(20);
		assert_int_equal(capped_log_open(path, limit_lines, &log, &err), 0);
		alarm(0);
		capped_log_close(&log);
	}
	close(fd);
	fd = open(older, O_WRONLY | O_CREAT | O_CLOEXEC, 0200);
	assert_int_equal(write(fd, "1\n", 2), 2);
	close(fd);
	assert_int_equal(capped_log_open(older, false, &log, &err), 0);
	assert_int_equal(fcntl(log.fd, F_GETFL) & O_ACCMODE, O_WRONLY);
	assert_int_equal(log.lines, 0);
	capped_log_close(&log);
}

static void allow_files(struct rlimit limit, bool allow)
{
	if (!allow)
		limit.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Without a descriptor for the new file, the old one goes on, up to twice its lines or bytes. */
static void a_change_of_files_that_fails_loses_nothing(void **state)
{
	const unsigned int most = CAPPED_LOG_LINES;
	struct rlimit limit;
	struct capped_log log;
	struct error err = {0};
	struct stat st;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(capped_log_open(path, true, &log, &err), 0);
	add(&log, 0, most - 1);
	allow_files(limit, false);
	add(&log, most - 1, most + 10);
	allow_files(limit, true);
	assert_shown(2 * most, 0, most + 10);
	add(&log, most + 10, most + 20);
	assert_shown(2 * most, 0, most + 20);
	assert_int_equal(stat(path, &st), 0);
	add(&log, most + 20, 2 * most + 10);
	allow_files(limit, false);
	add(&log, 2 * most + 10, 5 * most);
	assert_int_equal(fstat(log.fd, &st), 0);
	assert_true(st.st_size < 2 * (off_t)most * 10);
	allow_files(limit, true);
	capped_log_close(&log);

	unlink(path);
	unlink(older);
	assert_int_equal(capped_log_open(path, false, &log, &err), 0);
	add(&log, 0, 3);
	allow_files(limit, false);
	capped_log_trim(&log, 11); /* of 21 bytes */
	capped_log_trim(&log, 11);
	assert_int_equal(fstat(log.fd, &st), 0);
	assert_int_equal(st.st_size, 21);
	capped_log_trim(&log, 10);
	assert_int_equal(fstat(log.fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	allow_files(limit, true);
	capped_log_close(&log);
}

/* --- The process --- */

/* sleeper() - A process with the lock that waits to be killed; deaf to SIGTERM if asked */
static pid_t sleeper(int fd, bool deaf)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)signal(SIGTERM, deaf ? SIG_IGN : SIG_DFL);
		if (fd >= 0 && process_lock_take(fd) < 0)
			_exit(1);
		(void)!write(ready[1], "", 1);
		(void)execlp("sleep", "sleep", "1000", NULL);
		_exit(1);
	}
	assert_true(pid > 0);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static int open_lock(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void a_process_is_found_and_ended(void **state)
{
	int fd = open_lock(), status;
	pid_t pid, ended;

	(void)state;
	assert_int_equal(process_lock_holder(fd), 0);
	pid = sleeper(fd, false);
	assert_int_equal(process_lock_holder(fd), pid);
	/* Another descriptor of the same file sees the same; its end changes nothing. */
	close(fd);
	fd = open_lock();
	assert_int_equal(process_lock_holder(fd), pid);
	assert_int_equal(process_lock_end(fd, 10 * NSEC_PER_SEC, &ended), 0);
	assert_int_equal(ended, pid);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	assert_int_equal(process_lock_holder(fd), 0);
	/* Without a holder nothing is ended. */
	assert_int_equal(process_lock_end(fd, NSEC_PER_SEC, &ended), 0);
	assert_int_equal(ended, 0);
	close(fd);
}

static void a_deaf_one_is_killed(void **state)
{
	int fd = open_lock(), status;
	pid_t pid = sleeper(fd, true), ended;

	(void)state;
	assert_int_equal(process_lock_end(fd, 100 * NSEC_PER_MSEC, &ended), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(fd);
}

/* A process whose number stands in the file but that holds no lock is another's. */
static void a_stranger_is_left_alone(void **state)
{
	int fd = open_lock(), status;
	pid_t pid = sleeper(-1, false), ended;

	(void)state;
	assert_true(dprintf(fd, "%d\n", (int)pid) > 0);
	assert_int_equal(process_lock_end(fd, NSEC_PER_SEC, &ended), 0);
	assert_int_equal(ended, 0);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fd);
}

/* An older version wrote the start time and the boot into the file, and took no lock. */
static void an_older_record_is_understood(void **state)
{
	int fd = open_lock(), status;
	pid_t pid = sleeper(-1, false);
	unsigned long long started = 0;
	char name[64], boot[40] = "";
	FILE *file;

	(void)state;
	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	file = fopen(name, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file,
				"%*d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
				"%*s %*s %*s %*s %*s %llu",
				&started),
			 1);
	fclose(file);
	file = fopen("/proc/sys/kernel/random/boot_id", "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%39s", boot), 1);
	fclose(file);

	assert_int_equal(process_lock_older(fd), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_true(dprintf(fd, "%d\n%llu %s\n/bin/sleep\n", (int)pid, started + (i == 1),
				    i == 2 ? "0f-other" : boot) > 0);
		assert_int_equal(process_lock_older(fd), i == 0 ? pid : 0);
	}
	assert_int_equal(pwrite(fd, "1\n2 \n", 6, 0), 6);
	assert_int_equal(process_lock_older(fd), 0);

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_true(dprintf(fd, "%d\n%llu %s\n", (int)pid, started, boot) > 0);
	assert_int_equal(process_lock_older(fd), pid);
	/* One that waits to be reaped has ended. */
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	assert_int_equal(process_lock_older(fd), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(process_lock_older(fd), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(keeps_the_last_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(long_lines_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_torn_line_gets_its_end, setup, teardown),
		cmocka_unit_test_setup_teardown(what_can_not_be_written_is_counted, setup,
						teardown),
		cmocka_unit_test_setup_teardown(only_a_file_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(a_change_of_files_that_fails_loses_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_process_is_found_and_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(a_deaf_one_is_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stranger_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(an_older_record_is_understood, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
