/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/entrypoint/variables.h - the TS_* variables, by one table
 *
 * Each variable that we know is a row. Most stand for a flag of `up` or of the daemon,
 * and become its value: a variable, TS_EXTRA_ARGS and a command line set the same
 * thing, and the later one wins.
 */
#pragma once

#include "app/cli/daemon_flags.h"
#include "app/cli/prefs_flags.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/** variables_each() - Call @print for every variable that we know, in the order of the help */
void variables_each(void (*print)(const char *name, const char *text));

/* The values of variables. Strings point into the environment, or into words split from it. */
struct entry_settings {
	struct flag_value prefs[PREFS_FLAG_COUNT];
	struct flag_value daemon[DAEMON_FLAG_COUNT];
	struct flag_value auth_key_alias; /* TS_AUTH_KEY */
	struct flag_value auth_key_file;  /* TS_AUTHKEY_FILE */
	struct flag_value auth_key_alias_file;
	struct flag_value auth_once;
	struct flag_value userspace;
	struct flag_value health_check;
	struct flag_value metrics;
	struct flag_value local_address;
	struct flag_value local_hosts;
	struct flag_value old_health_address;
	struct flag_value boot_timeout;
	struct flag_value serve_config_json;
	struct flag_value extra_args;
	struct flag_value daemon_extra_args;
	char *words[2]; /* owned: copies of the two, cut into words */
};

/**
 * variables_read() - From an environment
 * @environment: NULL-terminated "NAME=value"
 * @warn: called with a line for each unknown, unsupported or odd one
 *
 * A variable that is set but empty is unset.
 * Return: 0; -EINVAL with @err for a contradiction or a value that can't be read; -ENOMEM
 */
int variables_read(char *const *environment, void (*warn)(const char *text),
		   struct entry_settings *ret, struct error *err);

/** variables_clear() - Wipe and free the words */
void variables_clear(struct entry_settings *settings);
