/* SPDX-License-Identifier: BSD-3-Clause */
/* base/buffer.c - a growable run of bytes with a limit */
#include "base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_MIN 256

int buffer_reserve(struct buffer *b, size_t length)
{
	size_t capacity;
	uint8_t *data;

	if (length > b->limit || b->length > b->limit - length)
		return -EMSGSIZE;
	if (b->capacity - b->start - b->length >= length)
		return 0;
	if (b->capacity - b->length >= length && b->start >= b->capacity / 2) {
		memmove(b->data, b->data + b->start, b->length);
		b->start = 0;
		return 0;
	}
	capacity = b->capacity < BUFFER_MIN ? BUFFER_MIN : b->capacity;
	while (capacity < b->length + length)
		capacity *= 2;
	data = malloc(capacity);
	if (!data)
		return -ENOMEM;
	if (b->length)
		memcpy(data, b->data + b->start, b->length);
	/* The old copy may hold secrets; a zeroed free costs little off the packet path. */
	if (b->data)
		explicit_bzero(b->data, b->capacity);
	free(b->data);
	b->data = data;
	b->start = 0;
	b->capacity = capacity;
	return 0;
}

int buffer_append(struct buffer *b, const void *bytes, size_t length)
{
	int r;

	if (!length)
		return 0;
	r = buffer_reserve(b, length);
	if (r < 0)
		return r;
	memcpy(buffer_end(b), bytes, length);
	b->length += length;
	return 0;
}

int buffer_printf(struct buffer *b, const char *format, ...)
{
	size_t room = b->capacity - b->start - b->length;
	va_list args;
	int length, r;

	va_start(args, format);
	length = vsnprintf((char *)buffer_end(b), room, format, args);
	va_end(args);
	if (length < 0)
		return -EINVAL;
	if ((size_t)length < room && b->length + (size_t)length < b->limit) {
		b->length += (size_t)length;
		return 0;
	}
	r = buffer_reserve(b, (size_t)length + 1);
	if (r < 0)
		return r;
	va_start(args, format);
	vsnprintf((char *)buffer_end(b), (size_t)length + 1, format, args);
	va_end(args);
	b->length += (size_t)length;
	return 0;
}

void buffer_consume(struct buffer *b, size_t length)
{
	if (length >= b->length) {
		b->start = 0;
		b->length = 0;
		return;
	}
	b->start += length;
	b->length -= length;
}

void buffer_free(struct buffer *b)
{
	if (!b)
		return;
	free(b->data);
	*b = BUFFER_INIT(b->limit);
}

void buffer_free_secret(struct buffer *b)
{
	if (!b)
		return;
	if (b->data)
		explicit_bzero(b->data, b->capacity);
	buffer_free(b);
}

bool buffer_equal(struct buffer *a, struct buffer *b)
{
	return a->length == b->length &&
	       (!a->length || memcmp(buffer_head(a), buffer_head(b), a->length) == 0);
}
