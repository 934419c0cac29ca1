/* SPDX-License-Identifier: BSD-3-Clause */
/* localapi/query.c - the part of a request target after '?' */
#include "localapi/query.h"

#include <errno.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int decode(const char *text, size_t length, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < length; i++) {
		int byte = (unsigned char)text[i];

		if (byte == '+')
			byte = ' ';
		if (byte == '%') {
			int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
			int low = i + 2 < length ? hex_digit(text[i + 2]) : -1;

			if (high < 0 || low < 0 || (high == 0 && low == 0))
				goto refused;
			byte = high << 4 | low;
			i += 2;
		}
		if (used + 1 >= size)
			goto refused;
		out[used++] = (char)byte;
	}
	out[used] = 0;
	return (int)used;

refused:
	out[0] = 0;
	return -EINVAL;
}

int query_value(const char *query, const char *name, char *out, size_t size)
{
	const size_t length = strlen(name);

	out[0] = 0;
	while (*query) {
		size_t pair = strcspn(query, "&");

		if (pair > length && query[length] == '=' && memcmp(query, name, length) == 0)
			return decode(query + length + 1, pair - length - 1, out, size);
		query += pair + (query[pair] == '&');
	}
	return -ENOENT;
}
