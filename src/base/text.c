/* SPDX-License-Identifier: BSD-3-Clause */
/* base/text.c - values written as text: digits, booleans, durations, forms */
#include "base/text.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

bool text_equal(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int bool_parse(const char *text, bool *ret)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		bool on = strcmp(text, yes[i]) == 0;

		if (on || strcmp(text, no[i]) == 0) {
			*ret = on;
			return 0;
		}
	}
	return -EINVAL;
}

/* take_unit() - The unit at *@at, in nanoseconds; 0 if there is none */
static int64_t take_unit(const char **at, const char *end, bool days)
{
	static const struct {
		const char *name;
		int64_t unit;
	} units[] = {
		{"ns", 1},
		{"us", NSEC_PER_USEC},
		{"\302\265s", NSEC_PER_USEC}, /* micro sign */
		{"\316\274s", NSEC_PER_USEC}, /* Greek mu */
		{"ms", NSEC_PER_MSEC},        /* before "m", which begins it */
		{"s", NSEC_PER_SEC},
		{"m", 60 * NSEC_PER_SEC},
		{"h", 3600 * NSEC_PER_SEC},
		{"d", 24 * 3600 * NSEC_PER_SEC},
	};

	for (size_t i = 0; i < ARRAY_SIZE(units) - !days; i++) {
		size_t length = strlen(units[i].name);

		if ((size_t)(end - *at) >= length && memcmp(*at, units[i].name, length) == 0) {
			*at += length;
			return units[i].unit;
		}
	}
	return 0;
}

/* take_part() - A number and its unit, "1.5h", at *@at */
static int take_part(const char **at, const char *end, bool days, int64_t *ret)
{
	int64_t whole = 0, fraction = 0, scale = NSEC_PER_SEC, unit;
	bool digits = false;

	for (; *at < end && **at >= '0' && **at <= '9'; ++*at, digits = true)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, **at - '0', &whole))
			return -EINVAL;
	if (*at < end && **at == '.')
		for (++*at; *at < end && **at >= '0' && **at <= '9'; ++*at, digits = true)
			fraction += (**at - '0') * (scale /= 10);
	unit = digits ? take_unit(at, end, days) : 0;
	if (!unit || __builtin_mul_overflow(whole, unit, ret))
		return -EINVAL;
	fraction = (int64_t)((double)fraction * ((double)unit / (double)NSEC_PER_SEC));
	return __builtin_add_overflow(*ret, fraction, ret) ? -EINVAL : 0;
}

int duration_parse(const char *text, size_t length, bool days, nanoseconds *ret)
{
	const char *at = text, *end = text + length;
	bool negative = at < end && *at == '-';
	int64_t sum = 0, part;

	if (at < end && (*at == '-' || *at == '+'))
		at++;
	if (at == end)
		return -EINVAL;
	if (end - at == 1 && *at == '0')
		at++;
	while (at < end)
		if (take_part(&at, end, days, &part) < 0 || __builtin_add_overflow(sum, part, &sum))
			return -EINVAL;
	*ret = negative ? -sum : sum;
	return 0;
}

int percent_decode(const char *text, size_t length, bool plus, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < length; i++) {
		int c = (unsigned char)text[i];

		if (c == '+' && plus) {
			c = ' ';
		} else if (c == '%') {
			int high = length - i > 2 ? hex_digit(text[i + 1]) : -1;
			int low = length - i > 2 ? hex_digit(text[i + 2]) : -1;

			c = high < 0 || low < 0 ? -1 : 16 * high + low;
			i += 2;
		}
		if (c < ' ' || c == 0x7f || used + 1 >= size) {
			*out = '\0';
			return -EINVAL;
		}
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return (int)used;
}

int form_field(const char *form, size_t length, const char *name, char *out, size_t size)
{
	size_t name_length = strlen(name);
	const char *end = form + length;

	*out = '\0';
	while (form < end) {
		const char *next = memchr(form, '&', (size_t)(end - form));
		size_t pair = (size_t)((next ? next : end) - form);

		if (pair > name_length && memcmp(form, name, name_length) == 0 &&
		    form[name_length] == '=')
			return percent_decode(form + name_length + 1, pair - name_length - 1, true,
					      out, size);
		form += pair + 1;
	}
	return -ENOENT;
}
