/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/capabilities.c - what the supervisor keeps of root, and what a child gets */
#include "supervisor/capabilities.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIT(number) (UINT64_C(1) << (number))
#define USER_BITS   (BIT(CAP_SETUID) | BIT(CAP_SETGID))
#define DAC_BITS    (BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH))

struct sets {
	uint64_t effective, permitted;
};

static int sets_get(struct sets *ret)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	ret->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	ret->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return 0;
}

static int sets_set(uint64_t effective, uint64_t permitted)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)effective, .permitted = (uint32_t)permitted},
		{.effective = (uint32_t)(effective >> 32),
		 .permitted = (uint32_t)(permitted >> 32)},
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

bool capability_held(unsigned int number)
{
	struct sets sets = {0};

	return sets_get(&sets) == 0 && (sets.effective & BIT(number)) != 0;
}

bool capability_permitted(unsigned int number)
{
	struct sets sets = {0};

	return sets_get(&sets) == 0 && (sets.permitted & BIT(number)) != 0;
}

static int become(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

/* wait_for_child() - Its exit code, or negative errno */
static int wait_for_child(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

bool capabilities_can_split(uid_t uid, gid_t gid)
{
	struct sets sets = {0};
	pid_t pid;

	if (geteuid() != 0 || sets_get(&sets) < 0 || (sets.permitted & USER_BITS) != USER_BITS)
		return false;
	pid = fork();
	if (pid == 0)
		_exit(become(uid, gid) == 0 ? 0 : 1);
	return pid > 0 && wait_for_child(pid) == 0;
}

int capabilities_reduce(const struct capabilities_kept *kept, struct error *err)
{
	uint64_t keep = BIT(CAP_NET_ADMIN) | BIT(CAP_KILL) |
			(kept->files ? BIT(CAP_DAC_OVERRIDE) : 0) |
			(kept->low_ports ? BIT(CAP_NET_BIND_SERVICE) : 0);
	struct sets sets = {0};
	int r = sets_get(&sets);

	if (r == 0)
		r = sets_set(sets.permitted & keep,
			     sets.permitted & (keep | (kept->users ? USER_BITS : 0)));
	if (r < 0)
		return error_set_errno(err, r, "drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, -errno, "set no_new_privs");
	return 0;
}

bool capabilities_dac_needed(const char *path, int mode)
{
	struct sets sets = {0};
	bool closed;

	if (sets_get(&sets) < 0 || (sets.effective & DAC_BITS) == 0 ||
	    sets_set(sets.effective & ~DAC_BITS, sets.permitted) < 0)
		return false;
	closed = faccessat(AT_FDCWD, path, mode, AT_EACCESS) < 0 && errno == EACCES;
	(void)sets_set(sets.effective, sets.permitted);
	return closed;
}

int capabilities_for_child(bool split)
{
	struct sets sets = {0};
	uint64_t keep;
	int r = sets_get(&sets);

	if (r < 0)
		return r;
	keep = split ? sets.permitted & USER_BITS : 0;
	return sets_set(keep, keep);
}

int capabilities_kill(pid_t pid, int signal_number, bool split, uid_t uid, gid_t gid)
{
	pid_t child;
	int r;

	if (kill(pid, signal_number) == 0)
		return 0;
	if (errno != EPERM || !split)
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		if (capabilities_for_child(true) < 0 || become(uid, gid) < 0)
			_exit(EPERM);
		_exit(kill(pid, signal_number) == 0 ? 0 : errno & 0xff);
	}
	r = wait_for_child(child);
	return r > 0 ? -r : r;
}
