/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/hujson.h - JSON with comments and trailing commas, as people write it
 *
 * Everything that JSON does not allow is overwritten by blanks, so that each remaining byte keeps its
 * place: a position in the result is a position in the file.
 */
#pragma once

#include "base/error.h"
#include "wire/json.h"

/**
 * hujson_standardize() - Make a text plain JSON of the same length
 * @text: `//` and block comments and a byte order mark become blanks, and so do commas before a
 *        closing bracket. Line ends stay
 *
 * Whether the result is JSON is for its parser to say.
 *
 * Return: 0; -EINVAL with @err set for a comment that doesn't end
 */
int hujson_standardize(char *text, size_t length, struct error *err);

/**
 * hujson_parse() - Check and standardize a text
 * @text:   changed in place, as above
 * @ret:    the one value, inside @text; absent (@at NULL) if there are only blanks and comments
 *
 * Members of an object must have different names.
 *
 * Return: 0; -EINVAL with position and cause in @err; -ENOMEM
 */
int hujson_parse(char *text, size_t length, struct json_range *ret, struct error *err);

/* A place for people: both count from 1, columns in characters. */
struct hujson_position {
	size_t line;
	size_t column;
};

/** hujson_position() - Where the byte at @offset stands */
struct hujson_position hujson_position(const char *text, size_t offset);
