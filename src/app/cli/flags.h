/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/flags.h - the one flag parser: command lines, TS_EXTRA_ARGS and the help of both
 *
 * Flags are written as Go programs take them: -name or --name, "--name value" or
 * "--name=value", a boolean alone or with "=true". Flags may stand after arguments;
 * "--" ends them. Tables of flags are groups, so that commands share them.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flag_kind {
	FLAG_BOOL,
	FLAG_STRING,
	FLAG_INTEGER,
	FLAG_DURATION,
	FLAG_PERIOD, /* a duration that may be in days */
};

enum flag_status {
	FLAG_OURS,       /* does what it says */
	FLAG_NOT_YET,    /* the official client has it, we don't yet */
	FLAG_NOT_NEEDED, /* the official client has it, and there is nothing to do for it here */
	FLAG_BINDING,    /* as FLAG_NOT_YET; without it the rest would mean something else */
	FLAG_SILENT,     /* taken and passed over: whoever gives it loses nothing */
};

struct flag {
	const char *name;
	const char *alias;    /* another name, or NULL */
	const char *argument; /* for the help: "URL"; NULL for booleans */
	const char *help;     /* one line; what to know instead for flags that aren't ours */
	enum flag_kind kind;
	enum flag_status status;
};

/* Rows of a table of flags: a switch, one with a value, one with another name besides */
#define FLAG_ON(flag_name, help_)                                   \
	{                                                           \
		.name = flag_name, .help = help_, .kind = FLAG_BOOL \
	}
#define FLAG_OF(flag_name, kind_, argument_, help_) \
	FLAG_ALIASED(flag_name, NULL, kind_, argument_, help_)
#define FLAG_ALIASED(flag_name, other, kind_, argument_, help_)                          \
	{                                                                                \
		.name = flag_name, .alias = other, .argument = argument_, .help = help_, \
		.kind = kind_                                                            \
	}
/* … and those of the official client: FLAG_NOT_YET, FLAG_NOT_NEEDED */
#define FLAG_LATER(flag_name, kind_, help_)                                             \
	{                                                                               \
		.name = flag_name, .help = help_, .kind = kind_, .status = FLAG_NOT_YET \
	}
#define FLAG_NEVER(flag_name, kind_, help_)                                                \
	{                                                                                  \
		.name = flag_name, .help = help_, .kind = kind_, .status = FLAG_NOT_NEEDED \
	}

#define FLAG_MEANT(flag_name, kind_, help_)                                             \
	{                                                                               \
		.name = flag_name, .help = help_, .kind = kind_, .status = FLAG_BINDING \
	}
#define FLAG_QUIET(flag_name, kind_)                                    \
	{                                                               \
		.name = flag_name, .kind = kind_, .status = FLAG_SILENT \
	}

struct flag_value {
	bool given;
	bool on;          /* FLAG_BOOL */
	int64_t number;   /* FLAG_INTEGER; FLAG_DURATION, FLAG_PERIOD in nanoseconds */
	const char *text; /* FLAG_STRING; points into argv */
};

struct flag_group {
	const char *title; /* over its flags in the help */
	const struct flag *flags;
	struct flag_value *values; /* @count of them, filled by flags_parse() */
	size_t count;
};

enum flag_source {
	FLAGS_COMMAND_LINE, /* flags that aren't ours are errors */
	FLAGS_VARIABLE,     /* official ones are warned of and passed over */
	FLAGS_OFFICIAL,     /* the same, on the command line of an official name */
};

struct flag_reader {
	const struct flag_group *groups;
	size_t count;
	enum flag_source source;
	const char *where; /* "pillion up" or "TS_EXTRA_ARGS", for messages */
	void (*warn)(const char *text);
};

/**
 * flags_parse() - Read @argc words
 * @ret_rest: room for @argc pointers: the words that are no flags; or NULL to refuse such
 *
 * A flag that is given twice has its last value.
 * Return: the number of words in @ret_rest; -ECANCELED when help was asked for; -EINVAL with @err
 * (which flag, the nearest name, where to read on)
 */
int flags_parse(const struct flag_reader *reader, int argc, char *const *argv,
		const char **ret_rest, struct error *err);

/** flags_print() - The help of a group, for flags that are ours; to stdout */
void flags_print(const struct flag_group *group);

/** flags_print_words() - "--name" or "--name=" of each flag that is ours, a line each, to stdout */
void flags_print_words(const struct flag *flags, size_t count);
