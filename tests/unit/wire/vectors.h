/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/vectors.h - read known answers kept as words of hex in a file */
#pragma once

#include "unit/unit.h"

#include <sodium.h>

#define VECTOR_WORDS     8
#define VECTOR_BYTES_MAX 4096

struct vector_bytes {
	uint8_t bytes[VECTOR_BYTES_MAX];
	size_t length;
};

/* "-" is the empty string. */
static inline void vector_hex(const char *text, struct vector_bytes *ret)
{
	size_t length = strcmp(text, "-") == 0 ? 0 : strlen(text);

	memset(ret, 0, sizeof(*ret));
	assert_int_equal(sodium_hex2bin(ret->bytes, sizeof(ret->bytes), text, length, NULL,
					&ret->length, NULL),
			 0);
	assert_int_equal(ret->length * 2, length);
}

/* Opens tests/unit/wire/vectors/@name; unit tests run in tests/. */
static inline FILE *vector_open(const char *name)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "unit/wire/vectors/%s", name);
	file = fopen(path, "r");
	if (!file)
		fail_msg("no %s below tests/", path);
	return file;
}

/* The words of the next line that is neither empty nor a comment; 0 at the end. @line is cut up. */
static inline size_t vector_next(FILE *file, char **line, size_t *size, char *words[VECTOR_WORDS])
{
	while (getline(line, size, file) > 0) {
		char *rest = *line;
		size_t count = 0;

		if ((*line)[0] == '#')
			continue;
		while (count < VECTOR_WORDS && (words[count] = strsep(&rest, " \n")) &&
		       words[count][0])
			count++;
		if (count)
			return count;
	}
	return 0;
}
