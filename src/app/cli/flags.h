/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/flags.h - the command lines of all programs: flags, their help, errors, the exit code
 *
 * Flags are written as Go programs take them: -name or --name, "--name value" or
 * "--name=value", a boolean alone or with "=true". Flags may stand after arguments;
 * "--" ends them. Tables of flags are groups, so that commands share them.
 */
#pragma once

#include "base/address.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_OK    0
#define EXIT_FAILS 1
#define EXIT_USAGE 2

enum flag_kind {
	FLAG_BOOL,
	FLAG_STRING,
	FLAG_INTEGER,
	FLAG_DURATION,
	FLAG_PERIOD,   /* a duration that may be in days */
	FLAG_CHOICE,   /* a word of @argument, "text|json"; its index becomes the number */
	FLAG_ENDPOINT, /* ADDRESS:PORT */
	FLAG_ADDRESS,
};

enum flag_status {
	FLAG_OURS,       /* pillion implements it */
	FLAG_NOT_YET,    /* the official client has it, we don't yet */
	FLAG_NOT_NEEDED, /* the official client has it, and there is nothing to do for it here */
	FLAG_BINDING,    /* as FLAG_NOT_YET; without it the rest would mean something else */
	FLAG_SILENT,     /* accepted and ignored: it would change nothing */
};

struct flag {
	const char *name;
	const char *alias;    /* another name, or NULL */
	const char *argument; /* for the help: "URL"; NULL for booleans */
	const char *help;     /* one line; what to know instead for flags that aren't ours */
	enum flag_kind kind;
	enum flag_status status;
	int64_t least, most; /* FLAG_INTEGER: its range; both 0: any number */
};

/* Rows of a table of flags: a switch, a value, a number with its range, two names for one flag */
#define FLAG_ON(flag_name, help_)                                   \
	{                                                           \
		.name = flag_name, .help = help_, .kind = FLAG_BOOL \
	}
#define FLAG_OF(flag_name, kind_, argument_, help_) \
	FLAG_ALIASED(flag_name, NULL, kind_, argument_, help_)
#define FLAG_NUMBER(flag_name, argument_, least_, most_, help_)                                \
	{                                                                                      \
		.name = flag_name, .argument = argument_, .help = help_, .kind = FLAG_INTEGER, \
		.least = least_, .most = most_                                                 \
	}
#define FLAG_ALIASED(flag_name, other, kind_, argument_, help_)                          \
	{                                                                                \
		.name = flag_name, .alias = other, .argument = argument_, .help = help_, \
		.kind = kind_                                                            \
	}
/*
 * A table of flags as one list, #define FLAGS(FLAG) FLAG(HOST, FLAG_OF(…)) …: its indices and its rows
 *
 *	enum { FLAGS(FLAG_ID) FLAG_COUNT };
 *	static const struct flag flags[FLAG_COUNT] = {FLAGS(FLAG_ROW)};
 */
#define FLAG_ID(id, ...)  id,
#define FLAG_ROW(id, ...) __VA_ARGS__,

/* The words of a FLAG_CHOICE for enum log_level, in its order */
#define LOG_LEVELS "error|warn|info|debug"

/* A flag of the official client that isn't ours */
#define FLAG_THEIRS(flag_name, kind_, status_, help_)                              \
	{                                                                          \
		.name = flag_name, .help = help_, .kind = kind_, .status = status_ \
	}

struct flag_value {
	bool given;
	bool on;                  /* FLAG_BOOL */
	int64_t number;           /* integers and choices; durations in nanoseconds */
	const char *text;         /* all but switches; points into argv */
	struct endpoint endpoint; /* FLAG_ENDPOINT; FLAG_ADDRESS: with port 0 */
};

struct flag_group {
	const char *title; /* over its flags in the help */
	const struct flag *flags;
	struct flag_value *values; /* @count of them, filled by flags_parse() */
	size_t count;
};

enum flag_source {
	FLAGS_COMMAND_LINE, /* flags that aren't ours are errors */
	FLAGS_VARIABLE,     /* the official ones that we lack cause a warning and are ignored */
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

/**
 * flag_read() - The value of one flag
 * @name: of the flag or variable, for the message
 *
 * Return: 0, or -EINVAL with @err, which names the required form
 */
int flag_read(const struct flag *flag, const char *name, const char *text, struct flag_value *ret,
	      struct error *err);

/**
 * flags_of_command() - Read the flags of a command that has one table and no arguments
 * @where:    "pillion derp", for messages
 * @help:     printed before the flags when --help is among them
 * @ret_code: the exit code, when the command ends here: help, or an error that was printed
 *
 * Return: whether the command goes on
 */
bool flags_of_command(const char *where, const char *help, const struct flag *flags,
		      struct flag_value *values, size_t count, int argc, char *const *argv,
		      int *ret_code);

/** complain_as() - The program or command ("pillion up") that complain() names from now on */
void complain_as(const char *program);

/** complain() - "PROGRAM: text" on stderr; returns @code */
int complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/**
 * finish() - Write out what a command printed
 *
 * Return: @code; 1 instead of 0 when standard output did not take all of it, with a line on stderr
 */
int finish(const char *program, int code);

/** value_parse_duration() - time.ParseDuration, not negative: "1m30s", "0"; with @days "90d" too */
int value_parse_duration(const char *text, bool days, int64_t *ret);

/**
 * value_nearest() - The name that a mistyped @text most likely meant
 * @names: @count names; NULLs are ignored
 *
 * Return: one of @names, or NULL when none is near
 */
const char *value_nearest(const char *text, const char *const *names, size_t count);
