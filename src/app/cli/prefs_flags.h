/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/prefs_flags.h - the flags of `up` in TS_EXTRA_ARGS, up, login, set and connect
 *
 * One table for all of them. The settings among them become an ipn.MaskedPrefs; the
 * others control the login.
 */
#pragma once

#include "app/cli/flags.h"

#include <jansson.h>

enum prefs_flag {
	PREFS_ACCEPT_DNS,
	PREFS_ACCEPT_ROUTES,
	PREFS_ADVERTISE_TAGS,
	PREFS_HOSTNAME,
	PREFS_LOGIN_SERVER,
	PREFS_NICKNAME,
	PREFS_OPERATOR,
	PREFS_SHIELDS_UP,
	PREFS_SETTINGS_END, /* what follows are no settings */

	PREFS_AUTH_KEY = PREFS_SETTINGS_END,
	PREFS_FORCE_REAUTH,
	PREFS_JSON,
	PREFS_QR,
	PREFS_RESET,
	PREFS_TIMEOUT,
	PREFS_OURS_END, /* what follows isn't ours */

	PREFS_FLAG_COUNT = PREFS_OURS_END + 24,
};

extern const struct flag prefs_flags[PREFS_FLAG_COUNT];

/** prefs_flags_masked() - The ipn.MaskedPrefs of the settings given in @values; NULL and @err */
json_t *prefs_flags_masked(const struct flag_value values[static PREFS_FLAG_COUNT],
			   struct error *err);

/**
 * prefs_flags_auth_key() - The auth key that was given, with "file:" resolved
 *
 * Return: 0 with *ret a heap string (secret_string_free()), or NULL when none was given; -errno
 * with @err for a file that can't be read, -EINVAL for an empty one
 */
int prefs_flags_auth_key(const struct flag_value values[static PREFS_FLAG_COUNT], char **ret,
			 struct error *err);

/** read_secret_file() - The trimmed contents of a small file; as prefs_flags_auth_key() */
int read_secret_file(const char *path, char **ret, struct error *err);
