/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/secret.h - bytes that must not outlive their use
 *
 * A type of its own, so that a secret can't be passed where a public key is
 * wanted and nothing ever formats one by accident.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SECRET_KEY_SIZE 32

struct secret_key {
	uint8_t bytes[SECRET_KEY_SIZE];
};

static inline void secret_key_wipe(struct secret_key *key)
{
	explicit_bzero(key, sizeof(*key));
}

/** secret_equal() - Compare in time that depends on @length alone */
bool secret_equal(const void *a, const void *b, size_t length);

/** secret_key_is_zero() - Whether @key is all zeros, which stands for "no key" */
bool secret_key_is_zero(const struct secret_key *key);

/** secret_string_free() - Zero and free a heap string. NULL is fine */
void secret_string_free(char *text);

/** secret_string_free_at() - The same for `_cleanup_(secret_string_free_at) char *key` */
static inline void secret_string_free_at(char **text)
{
	secret_string_free(*text);
}
