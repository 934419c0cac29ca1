/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/cursor.h - the only way untrusted bytes are read
 *
 * A cursor walks a buffer it doesn't own. Every getter checks what is left first;
 * the first that fails marks the cursor bad, after which all getters fail and
 * return zeros, so a parser may read a whole header and check once at its end:
 *
 *	struct cursor c = cursor_of(packet, length);
 *	uint8_t type = cursor_u8(&c);
 *	uint32_t index = cursor_le32(&c);
 *	if (!cursor_ok(&c))
 *		goto too_short;
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static inline struct cursor cursor_of(const void *data, size_t length)
{
	return (struct cursor){.at = data, .left = length};
}

static inline bool cursor_ok(const struct cursor *c)
{
	return !c->bad;
}

/** cursor_take() - The next @length bytes, or NULL (and the cursor is bad) if fewer are left */
static inline const uint8_t *cursor_take(struct cursor *c, size_t length)
{
	const uint8_t *taken = c->at;

	if (c->bad || length > c->left) {
		c->bad = true;
		return NULL;
	}
	c->at += length;
	c->left -= length;
	return taken;
}

/** cursor_copy() - Copy the next @length bytes to @out; zeros if they are not there */
static inline bool cursor_copy(struct cursor *c, void *out, size_t length)
{
	const uint8_t *taken = cursor_take(c, length);

	if (taken)
		memcpy(out, taken, length);
	else
		memset(out, 0, length);
	return taken != NULL;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 1);

	return p ? p[0] : 0;
}

static inline uint16_t cursor_be16(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 2);

	return (uint16_t)(p ? p[0] << 8 | p[1] : 0);
}

static inline uint32_t cursor_be32(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline uint64_t cursor_be64(struct cursor *c)
{
	uint64_t high = cursor_be32(c);

	return high << 32 | cursor_be32(c);
}

static inline uint32_t cursor_le32(struct cursor *c)
{
	return __builtin_bswap32(cursor_be32(c));
}

static inline uint64_t cursor_le64(struct cursor *c)
{
	return __builtin_bswap64(cursor_be64(c));
}

/* Writing fixed-width integers; the caller has made the room. */

static inline void put_be16(uint8_t *out, uint16_t v)
{
	out[0] = (uint8_t)(v >> 8);
	out[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *out, uint32_t v)
{
	put_be16(out, (uint16_t)(v >> 16));
	put_be16(out + 2, (uint16_t)v);
}

static inline void put_be64(uint8_t *out, uint64_t v)
{
	put_be32(out, (uint32_t)(v >> 32));
	put_be32(out + 4, (uint32_t)v);
}

static inline void put_le32(uint8_t *out, uint32_t v)
{
	put_be32(out, __builtin_bswap32(v));
}

static inline void put_le64(uint8_t *out, uint64_t v)
{
	put_be64(out, __builtin_bswap64(v));
}
