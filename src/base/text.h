/* SPDX-License-Identifier: BSD-3-Clause */
/* base/text.h - values written as text: digits, booleans, durations, forms */
#pragma once

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>

/** text_equal() - Whether two texts are the same; NULL counts as "" */
bool text_equal(const char *a, const char *b);

/** hex_digit() - The value of a hexadecimal digit of either case, or -1 */
int hex_digit(char c);

/** bool_parse() - Go's strconv.ParseBool: 1 t T TRUE true True, 0 f F FALSE false False; -EINVAL */
int bool_parse(const char *text, bool *ret);

/**
 * duration_parse() - Go's time.ParseDuration: "1m30s", "1.5h", "300ms", "-2us", "0"
 * @days: accept the unit "d" as well
 *
 * Return: 0 or -EINVAL
 */
int duration_parse(const char *text, size_t length, bool days, nanoseconds *ret);

/**
 * percent_decode() - Replace each "%41" by its byte
 * @plus: replace each "+" by a space as well, as forms and queries write it
 * @out:  of @size bytes; always terminated, "" after a failure
 *
 * Return: the length, or -EINVAL for a bad escape, a control byte (NUL too) or too little room
 */
int percent_decode(const char *text, size_t length, bool plus, char *out, size_t size);

/**
 * form_field() - The value of the first @name in "a=1&b=%2F+x", a query or a form
 * @out: as for percent_decode()
 *
 * Return: as percent_decode(); -ENOENT without such a field
 */
int form_field(const char *form, size_t length, const char *name, char *out, size_t size);
