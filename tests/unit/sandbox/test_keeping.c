/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/sandbox/test_keeping.c - a server that keeps its folder, and nothing else
 *
 * Each case runs in a child that gave up the rest and tells by its exit code, or by the
 * signal it died of. The folder is another user's where we are root.
 */
#include "unit/unit.h"

#include "base/cleanup.h"
#include "sandbox/sandbox.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWNER 65532

static char root[64], folder[80], shown[80], outside[80];

static int make(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);

	/* Anybody's: it is not the mode that keeps others away. */
	return fd < 0 || fchmod(fd, 0666) < 0 ? errno : 0;
}

static int setup(void **state)
{
	char path[96];

	(void)state;
	snprintf(root, sizeof(root), "/tmp/pillion-keeping-XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_int_equal(chmod(root, 0755), 0);
	snprintf(folder, sizeof(folder), "%s/state", root);
	snprintf(shown, sizeof(shown), "%s/shown", root);
	snprintf(outside, sizeof(outside), "%s/outside", root);
	assert_int_equal(mkdir(folder, 0700) | mkdir(shown, 0755) | mkdir(outside, 0777), 0);
	assert_int_equal(chmod(outside, 0777), 0);
	snprintf(path, sizeof(path), "%s/file", shown);
	assert_int_equal(make(path), 0);
	snprintf(path, sizeof(path), "%s/file", outside);
	assert_int_equal(make(path), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(folder, OWNER, OWNER), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[160];

	(void)state;
	snprintf(command, sizeof(command), "rm -r '%s'", root);
	return system(command);
}

/* kept() - Run @attempt in a child that keeps `folder` and reads `shown`; its wait status */
static int kept(int (*attempt)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		const struct sandbox_path paths[] = {{folder, SANDBOX_KEEP}, {shown, SANDBOX_READ}};
		const struct sandbox_profile *profile = &sandbox_profile_control;
		struct sandbox_identity who;
		struct sandbox_report report;
		struct error err = {0};
		char path[96];

		snprintf(path, sizeof(path), "%s/before", folder);
		if (!freopen("/dev/null", "w", stderr) ||
		    sandbox_identity_of(folder, &who, &err) < 0 || sandbox_act_as(&who, &err) < 0 ||
		    make(path) != 0 ||
		    sandbox_enter(profile, &who, paths, ARRAY_SIZE(paths), &report, &err) < 0 ||
		    sandbox_seal(profile, &report, &err) < 0)
			_exit(101);
		_exit(attempt());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* What SQLite does to its files, and who renews a certificate. */
static int attempt_life(void)
{
	char path[96], other[96], byte = 1;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	struct stat st;
	int fd, directory;

	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	directory = open(folder, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || directory < 0 || pwrite(fd, &byte, 1, 10) != 1 ||
	    pread(fd, &byte, 1, 10) != 1)
		return 1;
	if (fcntl(fd, F_SETLK, &lock) < 0 || fsync(fd) < 0 || fdatasync(fd) < 0 ||
	    ftruncate(fd, 5) < 0 || fchmod(fd, 0600) < 0 || fsync(directory) < 0)
		return 2;
	if (stat(path, &st) < 0 || st.st_size != 5 || st.st_uid != (geteuid() ? geteuid() : 0) ||
	    access(path, R_OK) < 0)
		return 3;
	if (rename(path, other) < 0 || unlink(other) < 0 || access(other, F_OK) == 0)
		return 4;
	/* Made before the user was taken, and his all the same. */
	snprintf(path, sizeof(path), "%s/before", folder);
	return unlink(path) < 0 ? 5 : 0;
}

static int attempt_read_shown(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/file", shown);
	return open(path, O_RDONLY) < 0 ? errno : 0;
}

static int attempt_write_shown(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/file", shown);
	return open(path, O_RDWR) < 0 ? errno : 0;
}

static int attempt_outside(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/file", outside);
	return open(path, O_RDONLY) < 0 ? errno : 0;
}

static int attempt_out_and_in(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/../outside/new", folder);
	return make(path);
}

static int attempt_take_out(void)
{
	char path[96], other[96];

	snprintf(path, sizeof(path), "%s/before", folder);
	snprintf(other, sizeof(other), "%s/stolen", outside);
	return rename(path, other) < 0 ? errno : 0;
}

static int attempt_passwd(void)
{
	return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
}

static int attempt_connect(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? errno : connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ? 0 : 1;
}

static int attempt_bind(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ? errno : 0;
}

static int attempt_execve(void)
{
	char *arguments[] = {"true", NULL};

	return execve("/bin/true", arguments, arguments + 1);
}

static int attempt_mkdir(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/folder", folder);
	return mkdir(path, 0700) < 0 ? errno : 0;
}

static int attempt_root(void)
{
	return setresuid(0, 0, 0) < 0 ? errno : 0;
}

static const struct {
	int (*attempt)(void);
	int expect; /* exit code, or -signal */
	bool landlock;
} rows[] = {
	/*  0 */ {attempt_life, 0, false},
	/*  1 */ {attempt_read_shown, 0, false},
	/*  2 */ {attempt_write_shown, EACCES, true},
	/*  3 */ {attempt_outside, EACCES, true},
	/*  4 */ {attempt_out_and_in, EACCES, true},
	/*  5 */ {attempt_take_out, EACCES, true},
	/*  6 */ {attempt_passwd, EACCES, true},
	/*  7 */ {attempt_connect, 0, false},
	/*  8 */ {attempt_bind, -SIGSYS, false},
	/*  9 */ {attempt_execve, -SIGSYS, false},
	/* 10 */ {attempt_mkdir, -SIGSYS, false},
	/* 11 */ {attempt_root, -SIGSYS, false},
};

static void test_attempts(void **state)
{
	bool landlock = syscall(__NR_landlock_create_ruleset, NULL, 0, 1 /* version */) > 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int status, got;

		if (rows[i].landlock && !landlock)
			continue;
		status = kept(rows[i].attempt);
		got = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
		if (got != rows[i].expect)
			fail_msg("row %zu: %d instead of %d", i, got, rows[i].expect);
	}
}

static void test_identity_of(void **state)
{
	struct sandbox_identity who;
	struct error err;

	(void)state;
	assert_int_equal(sandbox_identity_of(folder, &who, &err), 0);
	assert_int_equal(who.change, geteuid() == 0);
	if (who.change)
		assert_true(who.uid == OWNER && who.gid == OWNER);
	/* What root owns it goes on as root with. */
	assert_int_equal(sandbox_identity_of("/", &who, &err), 0);
	assert_false(who.change);
	assert_int_equal(sandbox_identity_of("/nonsense", &who, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity_of),
		cmocka_unit_test(test_attempts),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
