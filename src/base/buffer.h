/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/buffer.h - a growable run of bytes with a limit
 *
 * Bytes are appended at the end and consumed at the front. A buffer never grows
 * past the limit it was made with, so what a stranger sends can't eat the memory.
 * A zeroed buffer with a limit set is empty and valid.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buffer {
	uint8_t *data; /* first unconsumed byte is data[start] */
	size_t start;
	size_t length; /* unconsumed bytes */
	size_t capacity;
	size_t limit; /* most unconsumed bytes it may hold */
};

#define BUFFER_INIT(bytes) ((struct buffer){.limit = (bytes)})

/** buffer_append() - Copy @length bytes to the end; 0, -EMSGSIZE past the limit, -ENOMEM */
int buffer_append(struct buffer *b, const void *bytes, size_t length);

/** buffer_printf() - Append formatted text (no terminating zero is counted); as buffer_append() */
int buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/**
 * buffer_reserve() - Make room for @length more bytes at buffer_end()
 *
 * The caller writes there and adds what it wrote to @b->length.
 * Return: 0, -EMSGSIZE past the limit, -ENOMEM
 */
int buffer_reserve(struct buffer *b, size_t length);

/** buffer_consume() - Drop @length bytes from the front (at most all of them) */
void buffer_consume(struct buffer *b, size_t length);

/** buffer_free() - Release; the buffer is empty and usable again. NULL is fine */
void buffer_free(struct buffer *b);

/** buffer_free_secret() - As buffer_free(), zeroing the whole allocation first */
void buffer_free_secret(struct buffer *b);

/** buffer_equal() - Whether two buffers hold the same bytes */
bool buffer_equal(struct buffer *a, struct buffer *b);

/* NULL while nothing was ever put in: even NULL + 0 is not C. */
static inline uint8_t *buffer_head(struct buffer *b)
{
	return b->data ? b->data + b->start : NULL;
}

static inline uint8_t *buffer_end(struct buffer *b)
{
	return b->data ? b->data + b->start + b->length : NULL;
}
