/* SPDX-License-Identifier: BSD-3-Clause */
/* base/printable.c - texts of others, fit for a terminal, a log and JSON */
#include "base/printable.h"

#include "base/cleanup.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Characters that a terminal obeys, or that turn the order of what it shows. */
static const struct {
	uint32_t first, last;
} hidden[] = {
	{0x00, 0x1f},     /* C0 */
	{0x7f, 0x9f},     /* delete, C1 */
	{0x61c, 0x61c},   /* Arabic letter mark */
	{0x200e, 0x200f}, /* marks of direction */
	{0x2028, 0x202e}, /* separators of lines; embeddings and overrides of direction */
	{0x2066, 0x2069}, /* isolates */
	{0xfeff, 0xfeff}, /* byte order mark */
};

/* decode() - The character at @text; its length, or 0 */
static size_t decode(const char *text, size_t size, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *byte = (const unsigned char *)text;
	size_t length = byte[0] < 0x80         ? 1
			: (byte[0] >> 5) == 6  ? 2
			: (byte[0] >> 4) == 14 ? 3
			: (byte[0] >> 3) == 30 ? 4
					       : 0;
	uint32_t c = length == 1 ? byte[0] : byte[0] & (0x7fu >> length);

	if (length == 0 || length > size)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if (byte[i] >> 6 != 2)
			return 0;
		c = c << 6 | (byte[i] & 0x3f);
	}
	if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return length;
}

size_t utf8_length(const char *text, size_t length)
{
	uint32_t c;

	return length > 0 ? decode(text, length, &c) : 0;
}

size_t utf8_whole(const char *text, size_t length)
{
	/* Step back over the first bytes of a character that ends beyond @length. */
	for (size_t back = 1; back < UTF8_MAX && back <= length; back++) {
		unsigned char byte = (unsigned char)text[length - back];

		if (byte >> 6 == 2)
			continue;
		if (byte >= 0xc2 && byte < 0xf5 &&
		    back < (size_t)(byte < 0xe0   ? 2
				    : byte < 0xf0 ? 3
						  : 4))
			return length - back;
		break;
	}
	return length;
}

static bool is_hidden(uint32_t c)
{
	for (size_t i = 0; i < ARRAY_SIZE(hidden); i++)
		if (c >= hidden[i].first && c <= hidden[i].last)
			return true;
	return false;
}

size_t printable_next(const char *text, size_t length, char ret[static PRINTABLE_MAX])
{
	uint32_t c = (unsigned char)text[0];
	size_t taken = decode(text, length, &c);

	if (taken > 0 && !is_hidden(c)) {
		memcpy(ret, text, taken);
		ret[taken] = 0;
	} else if (c == '\n') {
		strcpy(ret, "\\n");
	} else {
		snprintf(ret, PRINTABLE_MAX, taken > 1 ? "\\u%04x" : "\\x%02x", c & 0xffffu);
	}
	return taken > 0 ? taken : 1;
}

size_t printable(char *out, size_t size, const char *text, size_t length)
{
	char form[PRINTABLE_MAX];
	size_t used = 0;

	while (length > 0) {
		size_t taken = printable_next(text, length, form), more = strlen(form);

		if (used + more >= size)
			break;
		memcpy(out + used, form, more);
		used += more;
		text += taken;
		length -= taken;
	}
	out[used] = 0;
	return used;
}

void printable_in_place(char *text, size_t length)
{
	char form[PRINTABLE_MAX];

	for (size_t at = 0, taken; at < length; at += taken) {
		taken = printable_next(text + at, length - at, form);
		if (memcmp(text + at, form, taken) != 0)
			memset(text + at, '?', taken);
	}
}

void printable_put(FILE *to, const char *text, int width)
{
	size_t left = strlen(text);
	char form[PRINTABLE_MAX];
	int columns = 0;

	while (left > 0) {
		size_t taken = printable_next(text, left, form);

		/* One that stands as it is takes a column; an escape takes as many as it has. */
		columns += memcmp(text, form, taken) == 0 ? 1 : (int)strlen(form);
		fputs(form, to);
		text += taken;
		left -= taken;
	}
	fprintf(to, "%*s", columns < width ? width - columns : 0, "");
}
