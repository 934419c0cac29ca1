/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/flag_values.c - values of flags and variables, in the forms that Go programs take */
#include "app/cli/flag_values.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define NAME_MAX_COMPARED 64
#define BEGUN_MIN         3

int value_parse_integer(const char *text, int64_t *ret)
{
	char *end;
	long long value;

	if (!isdigit((unsigned char)text[0]) &&
	    !(strchr("+-", text[0]) && isdigit((unsigned char)text[1])))
		return -EINVAL;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno == ERANGE)
		return -ERANGE;
	*ret = value;
	return 0;
}

static int parse_duration(const char *text, bool days, int64_t *ret)
{
	nanoseconds value;

	if (duration_parse(text, strlen(text), days, &value) < 0 || value < 0)
		return -EINVAL;
	*ret = value;
	return 0;
}

int value_parse_duration(const char *text, int64_t *ret)
{
	return parse_duration(text, false, ret);
}

int value_parse_period(const char *text, int64_t *ret)
{
	return parse_duration(text, true, ret);
}

/* distance() - Insertions, deletions, replacements and swaps of neighbours between two names */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][NAME_MAX_COMPARED + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > NAME_MAX_COMPARED || m > NAME_MAX_COMPARED)
		return NAME_MAX_COMPARED;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3],
		       *two_above = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			bool same = tolower((unsigned char)a[i - 1]) ==
				    tolower((unsigned char)b[j - 1]);
			size_t best = above[j - 1] + !same;

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    two_above[j - 2] + 1 < best)
				best = two_above[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[n % 3][m];
}

const char *value_nearest(const char *text, const char *const *names, size_t count)
{
	/* A third of the letters may be wrong, and one always. */
	size_t best = strlen(text) / 3 + 1;
	const char *nearest = NULL, *begun = NULL;

	for (size_t i = 0; i < count; i++) {
		size_t d = names[i] ? distance(text, names[i]) : best + 1;

		if (d < best || (d == best && !nearest)) {
			best = d;
			nearest = names[i];
		}
		/* "stat" is "status" begun, rather than "set" mistyped; the shortest such. */
		if (names[i] && strlen(text) >= BEGUN_MIN &&
		    strncasecmp(names[i], text, strlen(text)) == 0 &&
		    (!begun || strlen(names[i]) < strlen(begun)))
			begun = names[i];
	}
	return begun && !(nearest && best <= 1) ? begun : nearest;
}
