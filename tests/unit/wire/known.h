/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/known.h - the official client's bytes by name */
#pragma once

#include "base/address.h"
#include "base/secret.h"
#include "unit/wire/vectors.h"
#include "wire/keys.h"

static inline struct vector_bytes known(const char *name)
{
	FILE *file = vector_open("tailscale_1.102.5.txt");
	struct vector_bytes found = {.length = 0};
	char *line = NULL, *words[VECTOR_WORDS];
	size_t size = 0;

	while (vector_next(file, &line, &size, words) > 0)
		if (strcmp(words[0], name) == 0)
			vector_hex(words[1], &found);
	free(line);
	fclose(file);
	assert_true(found.length > 0);
	return found;
}

static inline struct secret_key known_secret(const char *name)
{
	struct vector_bytes v = known(name);
	struct secret_key key;

	assert_int_equal(v.length, KEY_SIZE);
	memcpy(key.bytes, v.bytes, KEY_SIZE);
	return key;
}

static inline struct public_key known_public(const char *name)
{
	struct vector_bytes v = known(name);
	struct public_key key;

	assert_int_equal(v.length, KEY_SIZE);
	memcpy(key.bytes, v.bytes, KEY_SIZE);
	return key;
}

static inline struct endpoint endpoint_text(const char *text)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(text, strlen(text), &e), 0);
	return e;
}
