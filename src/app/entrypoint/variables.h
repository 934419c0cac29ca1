/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/entrypoint/variables.h - the TS_* variables, by one table
 *
 * Each variable that we know is a row: its kind, who has it, and how it is handled.
 * Most stand for a flag of `up` or of the daemon, and become its value; so what a
 * variable, TS_EXTRA_ARGS and a command line say is the same thing, and the later
 * one wins.
 */
#pragma once

#include "app/cli/daemon_flags.h"
#include "app/cli/prefs_flags.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum variable_kind {
	VARIABLE_STRING,
	VARIABLE_BOOL,     /* Go's ParseBool; another value is warned of and passed over */
	VARIABLE_DURATION, /* another value is an error */
	VARIABLE_ADDRESS,  /* ADDRESS:PORT, checked when its feature is on */
	VARIABLE_WORDS,    /* flags, split at white space */
};

enum variable_since {
	SINCE_OFFICIAL, /* the official image has it */
	SINCE_PILLION,  /* ours */
};

enum variable_handling {
	HANDLED,
	NOT_YET,    /* warned of by name */
	NOT_NEEDED, /* nothing to do for it here */
};

enum variable_target {
	TARGET_NONE,
	TARGET_PREFS,    /* .flag is an enum prefs_flag */
	TARGET_DAEMON,   /* .flag is an enum daemon_flag */
	TARGET_SETTINGS, /* .flag is an offset in struct entry_settings */
};

struct variable {
	const char *name;
	enum variable_kind kind;
	enum variable_since since;
	enum variable_handling handling;
	enum variable_target target;
	size_t flag;
	const char *text; /* HANDLED: its help; NOT_YET: what to do instead, or NULL */
};

extern const struct variable variables[];
extern const size_t variable_count;

/** variables_each() - Call @print for every variable that we know, in the order of the help */
void variables_each(void (*print)(const char *name, const char *text));

/* What variables say. Strings point into the environment, or into words split from it. */
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
	struct flag_value extra_args;
	struct flag_value daemon_extra_args;
	char *words[2]; /* owned: copies of the two, cut into words */
};

/**
 * variables_read() - From an environment
 * @environment: NULL-terminated "NAME=value"
 * @warn: hears of unknown, unsupported and odd ones, a line each
 *
 * A variable that is set but empty is unset.
 * Return: 0; -EINVAL with @err for what contradicts or can't be read; -ENOMEM
 */
int variables_read(char *const *environment, void (*warn)(const char *text),
		   struct entry_settings *ret, struct error *err);

/** variables_clear() - Wipe and free the words */
void variables_clear(struct entry_settings *settings);
