/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/secrets.c - remove secrets from /proc/PID/cmdline and /proc/PID/environ
 *
 * Both files show the process's own memory, so the memory is overwritten in place; unsetenv()
 * would leave the bytes.
 */
#include "base/cleanup.h"
#include "supervisor/supervisor.h"

#include <stdbool.h>
#include <string.h>

/* Endings of the names of variables with secrets; `…_FILE` holds a path and stays. */
static const char *const secret_endings[] = {"KEY", "SECRET", "TOKEN", "PASSWORD", "HMAC"};

/* A proxy's URL may hold a user and a password. */
static const char *const proxy_endings[] = {"_PROXY", "_proxy"};

static const char *const secret_flags[] = {
	"--auth-key",      "--authkey",      "--client-secret", "--id-token",
	"--acme-eab-hmac", "--acme-dns-key", "-auth-key",       "-authkey",
	"-client-secret",  "-id-token",      "-acme-eab-hmac",  "-acme-dns-key",
};

/* Separators of flags in a variable; strchr() also finds the terminating zero. */
#define SPACE " \t\r\n\v\f"

static void overwrite(char *text)
{
	memset(text, 'x', strlen(text));
}

static bool ends_with(const char *name, size_t length, const char *ending)
{
	size_t tail = strlen(ending);

	return length >= tail && memcmp(name + length - tail, ending, tail) == 0;
}

static bool holds_secret(const char *name, size_t length, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(secret_endings); i++)
		if (ends_with(name, length, secret_endings[i]))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(proxy_endings); i++)
		if (ends_with(name, length, proxy_endings[i]))
			return strchr(value, '@') != NULL;
	return false;
}

/* after_flag() - What follows a secret flag at the start of @text: '=', 0, or NULL if it isn't one
 */
static char *after_flag(char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(secret_flags); i++) {
		size_t length = strlen(secret_flags[i]);

		if (strncmp(text, secret_flags[i], length) == 0 &&
		    (text[length] == '=' || strchr(SPACE, text[length])))
			return text + length;
	}
	return NULL;
}

/* hide_in_flags() - In variables like TS_EXTRA_ARGS: flags separated by white space, unquoted */
static void hide_in_flags(char *value)
{
	for (char *at = value; *at; at++) {
		char *end;

		if (*at != '-' || (at > value && !strchr(SPACE, at[-1])))
			continue;
		end = after_flag(at);
		if (!end || *end == 0)
			continue;
		at = end + 1;
		if (*end != '=')
			at += strspn(at, SPACE);
		for (; *at && !strchr(SPACE, *at); at++)
			*at = 'x';
		if (!*at)
			break;
	}
}

void supervisor_hide_secrets(int argc, char **argv, char **environment)
{
	for (int i = 0; i < argc; i++) {
		char *end = after_flag(argv[i]);

		if (end && *end == '=')
			overwrite(end + 1);
		else if (end && *end == 0 && i + 1 < argc)
			overwrite(argv[i + 1]);
	}
	for (; environment && *environment; environment++) {
		char *equals = strchr(*environment, '=');

		if (!equals)
			continue;
		if (holds_secret(*environment, (size_t)(equals - *environment), equals + 1))
			overwrite(equals + 1);
		else if (ends_with(*environment, (size_t)(equals - *environment), "_ARGS"))
			hide_in_flags(equals + 1);
	}
}
