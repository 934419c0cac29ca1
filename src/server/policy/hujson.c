/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/hujson.c - JSON with comments and trailing commas, as people write it */
#include "server/policy/hujson.h"

#include <errno.h>
#include <string.h>

struct hujson_position hujson_position(const char *text, size_t offset)
{
	struct hujson_position p = {.line = 1, .column = 1};

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			p.line++;
			p.column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			p.column++;
		}
	}
	return p;
}

static int fail_at(const char *text, size_t offset, const char *what, struct error *err)
{
	struct hujson_position p = hujson_position(text, offset);

	return error_set(err, -EINVAL, "line %zu, column %zu: %s", p.line, p.column, what);
}

/* blank() - Overwrite, but keep the lines */
static void blank(char *text, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (text[i] != '\n' && text[i] != '\r')
			text[i] = ' ';
}

/* skip_string() - The offset behind the string whose quote is at @at, or behind its line: a
 * string can't contain a line end, so that the next line is parsed normally */
static size_t skip_string(const char *text, size_t length, size_t at)
{
	for (size_t i = at + 1; i < length; i++) {
		if (text[i] == '\\')
			i++;
		else if (text[i] == '"')
			return i + 1;
		else if (text[i] == '\n')
			return i;
	}
	return length;
}

/* comment_end() - The offset behind the comment at @at; 0: it doesn't end */
static size_t comment_end(const char *text, size_t length, size_t at)
{
	if (text[at + 1] == '/') {
		const char *end = memchr(text + at, '\n', length - at);

		return end ? (size_t)(end - text) : length;
	}
	for (size_t i = at + 2; i + 1 < length; i++)
		if (text[i] == '*' && text[i + 1] == '/')
			return i + 2;
	return 0;
}

int hujson_standardize(char *text, size_t length, struct error *err)
{
	static const char mark[] = {'\xef', '\xbb', '\xbf'};
	char previous = 0; /* last that is no blank, before the comma */
	size_t comma = length, i = 0;

	if (length >= sizeof(mark) && !memcmp(text, mark, sizeof(mark)))
		blank(text, 0, sizeof(mark));
	while (i < length) {
		char c = text[i];

		if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
			i++;
			continue;
		}
		if (c == '/' && i + 1 < length && (text[i + 1] == '/' || text[i + 1] == '*')) {
			size_t end = comment_end(text, length, i);

			if (end == 0)
				return fail_at(text, i, "this comment has no end: close it with */",
					       err);
			blank(text, i, end);
			i = end;
			continue;
		}
		if (c == ',' && previous && !strchr("[{,:", previous))
			comma = i;
		else if ((c == ']' || c == '}') && comma < length)
			text[comma] = ' ';
		if (c != ',')
			comma = length;
		previous = c;
		i = c == '"' ? skip_string(text, length, i) : i + 1;
	}
	return 0;
}

int hujson_parse(char *text, size_t length, struct json_range *ret, struct error *err)
{
	struct json_range value;
	json_error_t cause;
	json_t *tree;
	const char *zero;
	size_t first = 0;
	int r = hujson_standardize(text, length, err);

	if (r < 0)
		return r;
	zero = memchr(text, 0, length);
	if (zero) /* jansson reads over it */
		return fail_at(text, (size_t)(zero - text), "a zero byte", err);
	while (first < length && strchr(" \t\r\n", text[first]))
		first++;
	if (first == length) {
		*ret = (struct json_range){0};
		return 0;
	}
	/* jansson reports the error and its place; the walk over ranges below does not. */
	tree = json_loadb(text, length, JSON_REJECT_DUPLICATES, &cause);
	if (!tree) {
		if (json_error_code(&cause) == json_error_out_of_memory)
			return error_set_errno(err, -ENOMEM, "JSON");
		return fail_at(text,
			       cause.position > 0 && (size_t)cause.position <= length
				       ? (size_t)cause.position - 1
				       : 0,
			       cause.text, err);
	}
	json_decref(tree);
	r = json_scan_value(text, length, &value);
	if (r < 0)
		return error_set(err, -EINVAL, "not JSON");
	*ret = value;
	return 0;
}
