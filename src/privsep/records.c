/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/records.c - counted records, and the sealed memfd they travel in */
#include "privsep/records.h"

#include "base/cleanup.h"
#include "base/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u /* Linux 6.3 */
#endif

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct record_header {
	uint16_t kind;
	uint16_t zero;
	uint32_t length;
};
_Static_assert(sizeof(struct record_header) == 8, "no padding");

int record_put(struct buffer *out, uint16_t kind, const void *value, size_t length)
{
	struct record_header header = {.kind = kind, .length = (uint32_t)length};
	int r;

	if (length > UINT32_MAX)
		return -EMSGSIZE;
	r = buffer_reserve(out, sizeof(header) + length);
	if (r < 0)
		return r;
	(void)buffer_append(out, &header, sizeof(header));
	return length > 0 ? buffer_append(out, value, length) : 0;
}

int record_next(struct cursor *c, struct record *ret)
{
	struct record_header header;
	const uint8_t *value;

	if (c->left == 0 && !c->bad)
		return 0;
	if (!cursor_copy(c, &header, sizeof(header)) || header.zero != 0)
		return -EBADMSG;
	value = cursor_take(c, header.length);
	if (!value)
		return -EBADMSG;
	*ret = (struct record){.kind = header.kind, .value = cursor_of(value, header.length)};
	return 1;
}

/* #syscalls: memfd_create ftruncate write fcntl:F_ADD_SEALS */
int memfd_seal(const char *name, const void *bytes, size_t length)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes, length);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* #syscalls: newfstatat fstat pread64 */
int file_read(int fd, size_t limit, struct buffer *ret)
{
	struct stat st;
	size_t size, got = 0;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size < 0 || (uint64_t)st.st_size > limit)
		return -EMSGSIZE;
	size = (size_t)st.st_size;
	if (size == 0)
		return 0;
	r = buffer_reserve(ret, size);
	if (r < 0)
		return r;
	while (got < size) {
		ssize_t n = pread(fd, buffer_end(ret) + got, size - got, (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break; /* it was truncated meanwhile; a change event follows */
		got += (size_t)n;
	}
	ret->length += got;
	return 0;
}

/* #syscalls: fcntl:F_GET_SEALS */
int memfd_read(int fd, size_t limit, struct buffer *ret)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS) != SEALS)
		return -EPERM;
	return file_read(fd, limit, ret);
}
