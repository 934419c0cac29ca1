/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/handover_record.c - two checksummed slots in a memfd of fixed size */
#include "privsep/handover_record.h"

#include "base/cleanup.h"
#include "base/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define HANDOVER_MAGIC UINT32_C(0x706c6831) /* "plh1" */
#define SLOT_COUNT     2u

struct slot_header {
	uint32_t magic;
	uint32_t length;
	uint64_t generation;
	uint64_t checksum; /* of generation, length and payload */
	uint64_t zero;
};
_Static_assert(sizeof(struct slot_header) == HANDOVER_HEADER_SIZE, "the slot's first bytes");

/* FNV-1a, 64 bit: it finds torn writes, and needs no table. */
static uint64_t fnv1a(uint64_t hash, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t checksum(uint64_t generation, uint32_t length, const void *payload)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	hash = fnv1a(hash, &generation, sizeof(generation));
	hash = fnv1a(hash, &length, sizeof(length));
	return fnv1a(hash, payload, length);
}

int handover_create(void)
{
	_cleanup_close_ int fd = -1;

	fd = memfd_create("pillion-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)(SLOT_COUNT * HANDOVER_SLOT_SIZE)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* #syscalls: pread64 pwrite64 */
static int read_at(int fd, void *out, size_t length, size_t offset)
{
	for (size_t got = 0; got < length;) {
		ssize_t n = pread(fd, (char *)out + got, length - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		got += (size_t)n;
	}
	return 0;
}

static int write_at(int fd, const void *bytes, size_t length, size_t offset)
{
	for (size_t put = 0; put < length;) {
		ssize_t n =
			pwrite(fd, (const char *)bytes + put, length - put, (off_t)(offset + put));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		put += (size_t)n;
	}
	return 0;
}

/* header_of() - Read a slot's header; generation 0 if it can't be that of a record */
static int header_of(int fd, size_t slot, struct slot_header *ret)
{
	int r = read_at(fd, ret, sizeof(*ret), slot * HANDOVER_SLOT_SIZE);

	if (r == 0 &&
	    (ret->magic != HANDOVER_MAGIC || ret->length > HANDOVER_PAYLOAD_MAX || ret->zero != 0))
		ret->generation = 0;
	return r;
}

int handover_write(int fd, const void *payload, size_t length)
{
	struct slot_header header = {.magic = HANDOVER_MAGIC, .length = (uint32_t)length};
	static const struct slot_header none;
	uint64_t newest = 0;
	size_t target = 0;
	int r;

	if (length > HANDOVER_PAYLOAD_MAX)
		return -EMSGSIZE;
	for (size_t slot = 0; slot < SLOT_COUNT; slot++) {
		struct slot_header old;

		r = header_of(fd, slot, &old);
		if (r < 0)
			return r;
		/* A generation that can't be incremented was not written by an engine in order. */
		if (old.generation < UINT64_MAX && old.generation > newest) {
			newest = old.generation;
			target = 1 - slot;
		}
	}
	header.generation = newest + 1;
	header.checksum = checksum(header.generation, header.length, payload);
	r = write_at(fd, &none, sizeof(none), target * HANDOVER_SLOT_SIZE);
	if (r == 0)
		r = write_at(fd, payload, length,
			     target * HANDOVER_SLOT_SIZE + HANDOVER_HEADER_SIZE);
	if (r == 0)
		r = write_at(fd, &header, sizeof(header), target * HANDOVER_SLOT_SIZE);
	return r;
}

/* slot_read() - Append a slot's payload if it is whole; -ENOENT if it isn't */
static int slot_read(int fd, size_t slot, const struct slot_header *header, struct buffer *ret)
{
	int r;

	if (header->length == 0)
		return checksum(header->generation, 0, "") == header->checksum ? 0 : -ENOENT;
	r = buffer_reserve(ret, header->length);
	if (r < 0)
		return r;
	r = read_at(fd, buffer_end(ret), header->length,
		    slot * HANDOVER_SLOT_SIZE + HANDOVER_HEADER_SIZE);
	if (r < 0)
		return r;
	if (checksum(header->generation, header->length, buffer_end(ret)) != header->checksum)
		return -ENOENT;
	ret->length += header->length;
	return 0;
}

int handover_read(int fd, struct buffer *ret)
{
	struct slot_header headers[SLOT_COUNT];
	size_t first;
	int r;

	for (size_t slot = 0; slot < SLOT_COUNT; slot++) {
		r = header_of(fd, slot, &headers[slot]);
		if (r < 0)
			return r;
	}
	first = headers[1].generation > headers[0].generation;
	for (size_t i = 0; i < SLOT_COUNT; i++) {
		size_t slot = i == 0 ? first : 1 - first;

		if (headers[slot].generation == 0)
			continue;
		r = slot_read(fd, slot, &headers[slot], ret);
		if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}
