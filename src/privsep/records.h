/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/records.h - counted records, and the sealed memfd they travel in
 *
 * A record is u16 kind, u16 zero, u32 length, value (host order: both ends are one
 * machine). A reader knows its kinds and their limits; an unknown kind is an error,
 * since both ends come from one build.
 */
#pragma once

#include "base/buffer.h"
#include "base/cursor.h"

#include <stddef.h>
#include <stdint.h>

struct record {
	uint16_t kind;
	struct cursor value;
};

/** record_put() - Append one record; as buffer_append() */
int record_put(struct buffer *out, uint16_t kind, const void *value, size_t length);

/**
 * record_next() - Take the next record
 *
 * Return: 1 taken, 0 at the end, -EBADMSG
 */
int record_next(struct cursor *c, struct record *ret);

/**
 * memfd_seal() - A memfd that holds @length bytes and can never change again
 * @name: shown in /proc, for debugging
 *
 * Return: descriptor, or negative errno
 */
int memfd_seal(const char *name, const void *bytes, size_t length);

/**
 * memfd_read() - Read a sealed memfd of another process
 * @limit: most bytes it may hold
 * @ret:   its bytes appended; untouched on failure (buffer limits apply too)
 *
 * Return: 0; -EPERM if it is not sealed against changes; -EMSGSIZE past @limit
 */
int memfd_read(int fd, size_t limit, struct buffer *ret);

/**
 * file_read() - Read a whole regular file (a named file or a blob) from its start
 *
 * Return: 0, -EMSGSIZE past @limit, negative errno. @ret is untouched on failure
 */
int file_read(int fd, size_t limit, struct buffer *ret);
