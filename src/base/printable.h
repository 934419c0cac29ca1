/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/printable.h - texts of others, fit for a terminal, a log and JSON
 *
 * A peer, a control server or a captured engine chooses names, addresses, versions and
 * messages. Whatever prints one passes it through here: the result is UTF-8 on one line,
 * without a character that a terminal obeys or that turns the order of what it shows.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#define UTF8_MAX      4
#define PRINTABLE_MAX 8 /* the longest form of one character with its zero: "\u202e" */

/** utf8_length() - Of the character at @text, which ends at a zero or after @length bytes; 0: none
 */
size_t utf8_length(const char *text, size_t length);

/** utf8_whole() - How many of the first @length bytes of @text to keep, so that no character is cut
 */
size_t utf8_whole(const char *text, size_t length);

/**
 * printable_next() - The first character of @text (@length bytes, at least one)
 * @ret: the character, or its escape: "\n", "\x1b", "\u202e"; zero-terminated
 *
 * Return: how many bytes of @text it took
 */
size_t printable_next(const char *text, size_t length, char ret[static PRINTABLE_MAX]);

/**
 * printable() - @length bytes of @text
 * @out: of @size bytes; zero-terminated, cut after a whole character
 *
 * Text that is printable stays as it is, so a second call changes nothing.
 * Return: bytes in @out
 */
size_t printable(char *out, size_t size, const char *text, size_t length);

/** printable_in_place() - The same without growing: '?' for each byte that can't stand */
void printable_in_place(char *text, size_t length);

/** printable_put() - @text to @to, followed by spaces up to @width columns */
void printable_put(FILE *to, const char *text, int width);
