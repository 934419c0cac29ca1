/* SPDX-License-Identifier: BSD-3-Clause */
/* base/log.c - one line an event, escaped, in text or JSON */
#include "base/log.h"

#include "base/lines.h"
#include "base/printable.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

static struct {
	int fd;
	enum log_level level;
	enum log_format format;
	atomic_ulong lost; /* lines, since the last that said so */
} log_state = {.fd = STDERR_FILENO, .level = LOG_INFO};

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};
_Static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_LEVEL_COUNT, "a name a level");

void log_setup(int fd, enum log_level level, enum log_format format)
{
	log_state.fd = fd;
	log_state.level = level;
	log_state.format = format;
}

int log_level_parse(const char *text, enum log_level *ret)
{
	for (unsigned int i = 0; i < LOG_LEVEL_COUNT; i++)
		if (strcmp(text, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	return -EINVAL;
}

bool log_enabled(enum log_level level)
{
	return level <= log_state.level;
}

/* escape() - @text printable and, in JSON, inside its quotes; cut after a whole character */
static void escape(char *out, size_t size, const char *text, bool json)
{
	size_t left = strlen(text), used = 0;
	char form[PRINTABLE_MAX];

	left = utf8_whole(text, left);
	while (left > 0 && used + 2 * PRINTABLE_MAX < size) {
		size_t taken = printable_next(text, left, form);

		for (const char *c = form; *c; c++) {
			if (json && (*c == '"' || *c == '\\'))
				out[used++] = '\\';
			out[used++] = *c;
		}
		text += taken;
		left -= taken;
	}
	out[used] = 0;
}

/* compose() - The line for @message, newline included; its length */
static size_t compose(char line[static LOG_LINE_MAX], enum log_level level, const char *room,
		      const char *message)
{
	char escaped[LOG_LINE_MAX - 128], when[32];
	struct timespec now;
	struct tm tm;
	int length;

	escape(escaped, sizeof(escaped), message, log_state.format == LOG_FORMAT_JSON);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	if (log_state.format == LOG_FORMAT_JSON)
		length = snprintf(line, LOG_LINE_MAX,
				  "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"room\":\"%s\","
				  "\"msg\":\"%s\"}\n",
				  when, now.tv_nsec / 1000000, level_names[level], room, escaped);
	else
		length = snprintf(line, LOG_LINE_MAX, "%s.%03ldZ %-5s %s: %s\n", when,
				  now.tv_nsec / 1000000, level_names[level], room, escaped);
	if (length >= LOG_LINE_MAX) {
		length = LOG_LINE_MAX - 1;
		line[length - 1] = '\n';
	}
	return (size_t)length;
}

/* say_lost() - The line about the lines before it that were lost; false: it is lost as well */
static bool say_lost(void)
{
	unsigned long lost = atomic_exchange(&log_state.lost, 0);
	char message[96], line[LOG_LINE_MAX];

	if (lost == 0)
		return true;
	snprintf(message, sizeof(message), "%lu log lines were lost: nothing read this log", lost);
	if (lines_write(log_state.fd, line, compose(line, LOG_WARN, "log", message)))
		return true;
	atomic_fetch_add(&log_state.lost, lost);
	return false;
}

void log_pass_on(const char *line, size_t length)
{
	if (!say_lost() || !lines_write(log_state.fd, line, length))
		atomic_fetch_add(&log_state.lost, 1);
}

void log_line(enum log_level level, const char *room, const char *format, ...)
{
	char message[LOG_LINE_MAX / 2], line[LOG_LINE_MAX];
	va_list args;

	if (!log_enabled(level))
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	log_pass_on(line, compose(line, level, room, message));
}
