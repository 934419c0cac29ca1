/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/output.c - what commands print for a person */
#include "app/cli/output.h"

#include <qrencode.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QR_QUIET 2

static bool wants_colour(FILE *to)
{
	const char *term = getenv("TERM");

	return isatty(fileno(to)) && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

const char *style(FILE *to, enum style which)
{
	static const char *const sequences[] = {
		[STYLE_PLAIN] = "\x1b[0m",
		[STYLE_GOOD] = "\x1b[32m",
		[STYLE_BAD] = "\x1b[31m",
		[STYLE_FAINT] = "\x1b[2m",
	};

	return wants_colour(to) ? sequences[which] : "";
}

void print_json(const json_t *value)
{
	/* jansson keeps characters above ASCII, and a terminal obeys some of them. */
	json_dumpf(value, stdout, JSON_INDENT(2) | (isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0));
	putchar('\n');
}

static bool is_dark(const QRcode *code, int x, int y)
{
	return x >= 0 && y >= 0 && x < code->width && y < code->width &&
	       (code->data[y * code->width + x] & 1);
}

void print_qr(FILE *to, const char *text)
{
	QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);

	if (!code) {
		fprintf(to, "(too long for a QR code)\n");
		return;
	}
	/* Light on dark: the light modules are drawn, two rows a line. */
	for (int y = -QR_QUIET; y < code->width + QR_QUIET; y += 2) {
		for (int x = -QR_QUIET; x < code->width + QR_QUIET; x++) {
			bool top = !is_dark(code, x, y), bottom = !is_dark(code, x, y + 1);

			fputs(top ? bottom ? "\u2588" : "\u2580" : bottom ? "\u2584" : " ", to);
		}
		fputc('\n', to);
	}
	QRcode_free(code);
}

const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}
