/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/landlock.c - allow /dev/urandom and a server's folders, and no other file
 *
 * By system call, since the headers of libraries are older than current kernels; rights and scopes
 * are added with the kernel's ABI number. /dev/urandom stays allowed because c-ares 1.18 reads its
 * query ids there, and without it uses the same ids at every start.
 */
#include "base/cleanup.h"
#include "sandbox/sandbox_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* struct landlock_ruleset_attr as of ABI 6; older kernels read the first members. */
struct ruleset {
	uint64_t files;
	uint64_t net;    /* ABI 4 */
	uint64_t scoped; /* ABI 6 */
};

#define FILES_ABI_1    ((UINT64_C(1) << 13) - 1)
#define FILES_REFER    (UINT64_C(1) << 13) /* ABI 2 */
#define FILES_TRUNCATE (UINT64_C(1) << 14) /* ABI 3 */
#define FILES_IOCTL    (UINT64_C(1) << 15) /* ABI 5 */
#define READ_FILES     (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define KEEP_FILES                                                                  \
	(READ_FILES | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | FILES_TRUNCATE)
#define NET_BIND_TCP   (UINT64_C(1) << 0) /* ABI 4 */
#define SCOPE_ABSTRACT (UINT64_C(1) << 0) /* ABI 6 */
#define SCOPE_SIGNAL   (UINT64_C(1) << 1) /* ABI 6 */
#define SIZE_ABI_1     sizeof(uint64_t)
#define SIZE_ABI_4     (2 * sizeof(uint64_t))

static long create_ruleset(const struct ruleset *rules, size_t size, uint32_t flags)
{
	return syscall(__NR_landlock_create_ruleset, rules, size, flags);
}

static size_t rules_for(long abi, struct ruleset *rules)
{
	*rules = (struct ruleset){.files = FILES_ABI_1};
	if (abi >= 2)
		rules->files |= FILES_REFER;
	if (abi >= 3)
		rules->files |= FILES_TRUNCATE;
	if (abi >= 5)
		rules->files |= FILES_IOCTL;
	if (abi >= 4)
		rules->net = NET_BIND_TCP;
	if (abi >= 6)
		rules->scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
	return abi >= 6 ? sizeof(*rules) : abi >= 4 ? SIZE_ABI_4 : SIZE_ABI_1;
}

/* grant() - Allow @rights on @path and below; a missing path needs no rule */
static int grant(int ruleset, const char *path, uint64_t rights)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
	struct stat st;

	if (fd < 0)
		return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= ~(uint64_t)LANDLOCK_ACCESS_FS_READ_DIR;
	if (syscall(__NR_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

/* holds() - Read back: opening / must fail now */
static bool holds(void)
{
	_cleanup_close_ int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 && errno == EACCES;
}

int landlock_enter(const struct sandbox_path *paths, size_t count)
{
	long abi = create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	_cleanup_close_ int ruleset = -1;
	struct ruleset rules;
	size_t size;
	int r;

	if (abi < 0)
		return -errno;
	size = rules_for(abi, &rules);
	ruleset = (int)create_ruleset(&rules, size, 0);
	if (ruleset < 0)
		return -errno;
	r = grant(ruleset, "/dev/urandom", LANDLOCK_ACCESS_FS_READ_FILE);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = grant(ruleset, paths[i].path,
			  rules.files &
				  (paths[i].access == SANDBOX_KEEP ? KEEP_FILES : READ_FILES));
#ifdef PILLION_SANITIZED
	/* The leak check reads /proc/self/maps and lists /proc/self/task. */
	if (r == 0)
		r = grant(ruleset, "/proc",
			  LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR);
#endif
	if (r < 0)
		return r;
	if (syscall(__NR_landlock_restrict_self, ruleset, 0) < 0)
		return -errno;
	return holds() ? (int)abi : -EIO;
}
