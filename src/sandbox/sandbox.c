/* SPDX-License-Identifier: BSD-3-Clause */
/* sandbox/sandbox.c - identity, capabilities, no_new_privs; then Landlock and seccomp */
#include "sandbox/sandbox.h"

#include "base/cleanup.h"
#include "sandbox/capability_sets.h"
#include "sandbox/sandbox_internal.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ROOM "sandbox"
#include "base/log.h"

/* Of a server that has no files: no other process of ours has it. */
#define STRANGER_ID 65530

int sandbox_identity_parse(const char *text, struct sandbox_identity *ret)
{
	unsigned int uid, gid;
	char end;

	if (strcmp(text, "-") == 0) {
		*ret = (struct sandbox_identity){.change = false};
		return 0;
	}
	if (sscanf(text, "%u:%u%c", &uid, &gid, &end) != 2 || uid == 0 || gid == 0)
		return -EINVAL;
	*ret = (struct sandbox_identity){.change = true, .uid = uid, .gid = gid};
	return 0;
}

/* may_change_users() - Whether the kernel allows this process to drop groups, group and user */
static bool may_change_users(void)
{
	const uint64_t needed = CAPABILITY_BIT(CAP_SETUID) | CAPABILITY_BIT(CAP_SETGID);
	struct capability_sets sets;

	return geteuid() == 0 && capability_sets_get(&sets) == 0 &&
	       (sets.effective & needed) == needed;
}

int sandbox_identity_of(const char *folder, struct sandbox_identity *ret, struct error *err)
{
	struct stat st;

	if (stat(folder, &st) < 0)
		return error_set_errno(err, -errno, "%s", folder);
	*ret = (struct sandbox_identity){
		.change = st.st_uid != 0 && may_change_users(),
		.uid = st.st_uid,
		.gid = st.st_gid,
	};
	return 0;
}

int sandbox_act_as(const struct sandbox_identity *identity, struct error *err)
{
	if (!identity->change)
		return 0;
	/* Both return the previous id, on failure too. */
	(void)setfsgid(identity->gid);
	(void)setfsuid(identity->uid);
	if (setfsgid(identity->gid) != (int)identity->gid ||
	    setfsuid(identity->uid) != (int)identity->uid)
		return error_set(err, -EPERM, "the kernel does not allow opening files as user %u",
				 identity->uid);
	return 0;
}

int sandbox_identity_for(const char *folder, struct sandbox_identity *ret, struct error *err)
{
	const struct sandbox_identity root = {.change = true};
	char path[PATH_MAX];
	struct stat st;
	int r;

	*ret = (struct sandbox_identity){
		.change = may_change_users(), .uid = STRANGER_ID, .gid = STRANGER_ID};
	if (!ret->change)
		return 0;
	snprintf(path, sizeof(path), "%s/.", folder);
	r = sandbox_act_as(ret, err);
	if (r == 0 && stat(path, &st) < 0 && errno == EACCES)
		ret->change = false;
	return r < 0 ? r : sandbox_act_as(&root, err);
}

static int take_identity(const struct sandbox_identity *identity, struct error *err)
{
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	if (setgroups(0, NULL) < 0)
		return error_set_errno(err, -errno, "drop supplementary groups");
	if (setresgid(identity->gid, identity->gid, identity->gid) < 0)
		return error_set_errno(err, -errno, "become group %u", identity->gid);
	if (setresuid(identity->uid, identity->uid, identity->uid) < 0)
		return error_set_errno(err, -errno, "become user %u", identity->uid);
	if (getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0 ||
	    ruid != identity->uid || euid != identity->uid || suid != identity->uid ||
	    rgid != identity->gid || egid != identity->gid || sgid != identity->gid ||
	    getgroups(0, NULL) != 0)
		return error_set(err, -EPERM,
				 "the kernel did not change the process to user %u, group %u",
				 identity->uid, identity->gid);
	return 0;
}

static int drop_capabilities(struct error *err)
{
	static const struct capability_sets none;
	struct capability_sets left;
	int r = capability_sets_set(&none);

	if (r < 0)
		return error_set_errno(err, r, "drop all capabilities");
	if (capability_sets_get(&left) < 0 || (left.effective | left.permitted | left.inheritable))
		return error_set(err, -EPERM, "capabilities are left after dropping them");
	return 0;
}

static int forbid_privileges(struct error *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, -errno, "set no_new_privs");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return error_set(err, -EPERM, "no_new_privs does not hold");
	return 0;
}

/* no_dump() - Forbid reading our memory by other processes and in core files */
static bool no_dump(void)
{
	struct rlimit none = {0, 0}, got = {1, 1};

	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && setrlimit(RLIMIT_CORE, &none) == 0 &&
	       prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && getrlimit(RLIMIT_CORE, &got) == 0 &&
	       got.rlim_cur == 0 && got.rlim_max == 0;
}

/* miss() - Log that @what is not available, and add it to the report */
static void miss(struct sandbox_report *report, const char *what, int code, const char *meaning)
{
	size_t used = strlen(report->missing);

	snprintf(report->missing + used, sizeof(report->missing) - used, "%s%s", used ? ", " : "",
		 what);
	log_warn("%s is not available (%s): %s", what, strerror(-code), meaning);
}

#ifdef PILLION_SANITIZED
/* The leak check at exit attaches to us, which takes a dumpable process. */
static void let_leak_check_in(void)
{
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
#endif

int sandbox_enter(const struct sandbox_profile *profile, const struct sandbox_identity *identity,
		  const struct sandbox_path *paths, size_t path_count, struct sandbox_report *ret,
		  struct error *err)
{
	struct sandbox_report report = {.split_user = identity->change};
	int r = 0;

	(void)prctl(PR_SET_NAME, profile->name, 0, 0, 0);
	if (identity->change)
		r = take_identity(identity, err);
	if (r == 0)
		r = drop_capabilities(err);
	if (r == 0)
		r = forbid_privileges(err);
	if (r < 0)
		return r;
	report.no_dump = no_dump();
	if (!report.no_dump)
		miss(&report, "no-dump", -errno, "a core file could hold keys");
#ifdef PILLION_SANITIZED
	(void)atexit(let_leak_check_in);
#endif
	r = landlock_enter(paths, path_count);
	if (r < 0)
		miss(&report, "landlock", r,
		     profile->files ? "a captured process could reach all files of its user"
				    : "a captured process could read world-readable files");
	else
		report.landlock_abi = r;
	*ret = report;
	return 0;
}

int sandbox_seal(const struct sandbox_profile *profile, struct sandbox_report *report,
		 struct error *err)
{
	int r = seccomp_seal(profile);

	if (r == -ENOENT)
		return error_set(err, r, "the list of system calls names one that there isn't");
	if (r < 0)
		miss(report, "seccomp", r, "a captured process could make every system call");
	else
		report->seccomp = true;
	return 0;
}
