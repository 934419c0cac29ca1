/* SPDX-License-Identifier: BSD-3-Clause */
/* base/small_file.c - small files, read whole and replaced whole */
#include "base/small_file.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int read_file(const char *path, int flags, char **ret, struct error *err)
{
	_cleanup_(secret_string_free_at) char *text = NULL;
	/* The open of a FIFO would wait for a writer. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags);
	size_t length = 0;
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return error_set_errno(err, -errno, "%s", path);
	if (!S_ISREG(status.st_mode) || status.st_size > (off_t)LIMIT_STATE_FILE)
		return error_set(err, -EINVAL, "%s is no file of a sensible size", path);
	text = calloc(1, (size_t)status.st_size + 1);
	if (!text)
		return error_set(err, -ENOMEM, "out of memory");
	while (length < (size_t)status.st_size) {
		ssize_t n = read(fd, text + length, (size_t)status.st_size - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, -errno, "%s", path);
		if (n == 0)
			break;
		length += (size_t)n;
	}
	*ret = TAKE_PTR(text);
	return 0;
}

int small_file_read(const char *path, char **ret, struct error *err)
{
	return read_file(path, 0, ret, err);
}

int small_file_read_nofollow(const char *path, char **ret, struct error *err)
{
	return read_file(path, O_NOFOLLOW, ret, err);
}

const char *file_problem(int error)
{
	switch (error) {
	case -EISDIR:
		return "it is a folder (a container engine makes one where the file of a bind "
		       "mount does not exist)";
	case -EINVAL:
		return "it is not a regular file";
	case -EMSGSIZE:
		return "it is too large";
	default:
		return strerror(-error);
	}
}

int write_all(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0) {
		ssize_t n = write(fd, at, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

/* sync_directory() - Make the rename of @path durable */
static int sync_directory(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd =
		copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int small_file_replace(const char *path, const void *bytes, size_t length, struct error *err)
{
	_cleanup_free_ char *beside = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (asprintf(&beside, "%s.new", path) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : write_all(fd, bytes, length);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && rename(beside, path) < 0)
		r = -errno;
	if (r == 0)
		r = sync_directory(path);
	if (r < 0) {
		(void)unlink(beside);
		return error_set_errno(err, r, "write %s", path);
	}
	return 0;
}
