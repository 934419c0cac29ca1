/* SPDX-License-Identifier: BSD-3-Clause */
/* localapi/query.h - the part of a request target after '?' */
#pragma once

#include <stddef.h>

/**
 * query_value() - The decoded value of the first @name in "a=1&b=%2F+x"
 * @out: always terminated; "" when there is none
 *
 * Return: length; -ENOENT when @name isn't there; -EINVAL for a bad escape, an encoded zero, or
 * more than @size - 1 bytes
 */
int query_value(const char *query, const char *name, char *out, size_t size);
