/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/json_scan.h - find members and elements of a JSON text as byte ranges
 *
 * A map of ten thousand peers as one jansson tree costs ten times its size. So the
 * outer levels are walked here, over the received bytes and without allocating,
 * and jansson sees one element at a time.
 *
 * The grammar is RFC 8259, strict: no trailing commas, no comments, no leading
 * zeros, no control characters in strings. Any depth is walked over, since a member
 * that we don't know may hold anything. Bytes inside strings
 * are not checked to be UTF-8, nor escaped surrogates to pair up: jansson does both
 * for each element that is decoded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Bytes of a text that is not owned: one JSON value, without the blanks around it. */
struct json_range {
	const char *at; /* NULL: absent */
	size_t length;
};

struct json_scan {
	const char *at;
	const char *end;
	bool first;
};

/**
 * json_scan_value() - Check that a text is exactly one JSON value
 * @text:   @length bytes; blanks around the value are fine
 * @ret:    the value's range inside @text
 *
 * Return: 0, -EBADMSG (not JSON), -ENOMEM
 */
int json_scan_value(const char *text, size_t length, struct json_range *ret);

/**
 * json_scan_open() - Begin to walk the members of an object, or the elements of an array
 * @value: a range that json_scan_value() or a walk gave
 * @open:  '{' or '['
 *
 * Return: 0, or -EINVAL if the value is of another type
 */
int json_scan_open(struct json_range value, char open, struct json_scan *ret);

/**
 * json_scan_member() - The next member of an object
 * @ret_key:   what stands between the quotes, escapes untouched
 * @ret_value: its value
 *
 * Return: 1, 0 at the end, negative errno as json_scan_value()
 */
int json_scan_member(struct json_scan *scan, struct json_range *ret_key,
		     struct json_range *ret_value);

/** json_scan_element() - The next element of an array; as json_scan_member() */
int json_scan_element(struct json_scan *scan, struct json_range *ret_value);

/** json_range_is() - Whether the bytes are exactly @text */
bool json_range_is(struct json_range range, const char *text);

/** json_range_is_null() - Whether the value is absent or `null` */
bool json_range_is_null(struct json_range range);
