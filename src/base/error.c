/* SPDX-License-Identifier: BSD-3-Clause */
/* base/error.c - an errno with the causal chain that a person will read */
#include "base/error.h"

#include "base/printable.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* keep() - What names and messages of others a text quotes is printable from here on */
static void keep(struct error *err, const char *text)
{
	printable(err->text, sizeof(err->text), text, utf8_whole(text, strlen(text)));
}

static void set(struct error *err, int code, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
static void set(struct error *err, int code, const char *format, va_list args)
{
	char text[ERROR_TEXT_MAX];

	vsnprintf(text, sizeof(text), format, args);
	err->code = code;
	keep(err, text);
}

int error_set(struct error *err, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (err)
		set(err, code, format, args);
	va_end(args);
	return code;
}

int error_set_errno(struct error *err, int code, const char *format, ...)
{
	va_list args;
	size_t used;

	if (!err)
		return code;
	va_start(args, format);
	set(err, code, format, args);
	va_end(args);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(-code));
	return code;
}

int error_wrap(struct error *err, const char *format, ...)
{
	char text[2 * ERROR_TEXT_MAX];
	va_list args;
	size_t used;

	if (!err)
		return 0;
	va_start(args, format);
	vsnprintf(text, ERROR_TEXT_MAX, format, args);
	va_end(args);
	used = strlen(text);
	snprintf(text + used, sizeof(text) - used, ": %s", err->text);
	keep(err, text);
	return err->code;
}
