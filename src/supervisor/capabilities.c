/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/capabilities.c - capabilities of the supervisor and of its children */
#include "supervisor/capabilities.h"

#include "sandbox/capability_sets.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIT(number) CAPABILITY_BIT(number)
#define USER_BITS   (BIT(CAP_SETUID) | BIT(CAP_SETGID))
#define DAC_BITS    (BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH))

/* sets_set() - With nothing inheritable */
static int sets_set(uint64_t effective, uint64_t permitted)
{
	return capability_sets_set(
		&(struct capability_sets){.effective = effective, .permitted = permitted});
}

bool capability_held(unsigned int number)
{
	struct capability_sets sets;

	return capability_sets_get(&sets) == 0 && (sets.effective & BIT(number)) != 0;
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
	struct capability_sets sets;
	pid_t pid;

	if (geteuid() != 0 || capability_sets_get(&sets) < 0 ||
	    (sets.permitted & USER_BITS) != USER_BITS)
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
	struct capability_sets sets;
	int r = capability_sets_get(&sets);

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
	struct capability_sets sets;
	bool closed;

	if (capability_sets_get(&sets) < 0 || (sets.effective & DAC_BITS) == 0 ||
	    sets_set(sets.effective & ~DAC_BITS, sets.permitted) < 0)
		return false;
	closed = faccessat(AT_FDCWD, path, mode, AT_EACCESS) < 0 && errno == EACCES;
	(void)sets_set(sets.effective, sets.permitted);
	return closed;
}

int capabilities_for_child(bool split)
{
	struct capability_sets sets;
	uint64_t keep;
	int r = capability_sets_get(&sets);

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
