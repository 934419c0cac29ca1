/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/flags.c - the one flag parser */
#include "app/cli/flags.h"

#include "app/cli/flag_values.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MAX   128
#define HELP_COLUMN 34

static bool matches(const char *name, const char *text, size_t length)
{
	return name && strlen(name) == length && strncmp(name, text, length) == 0;
}

static const struct flag *find(const struct flag_reader *reader, const char *text, size_t length,
			       struct flag_value **ret_value)
{
	for (size_t g = 0; g < reader->count; g++) {
		const struct flag_group *group = &reader->groups[g];

		for (size_t i = 0; i < group->count; i++)
			if (matches(group->flags[i].name, text, length) ||
			    matches(group->flags[i].alias, text, length)) {
				*ret_value = &group->values[i];
				return &group->flags[i];
			}
	}
	return NULL;
}

static const char *nearest(const struct flag_reader *reader, const char *name)
{
	const char *names[NAMES_MAX];
	size_t count = 0;

	for (size_t g = 0; g < reader->count; g++)
		for (size_t i = 0; i < reader->groups[g].count && count < NAMES_MAX; i++)
			if (reader->groups[g].flags[i].status == FLAG_OURS)
				names[count++] = reader->groups[g].flags[i].name;
	return value_nearest(name, names, count);
}

/* refuse_unknown() - A flag that is in no table */
static int refuse_unknown(const struct flag_reader *reader, const char *text, size_t length,
			  struct error *err)
{
	char name[64];
	const char *near;

	snprintf(name, sizeof(name), "%.*s", (int)(length < 60 ? length : 60), text);
	near = nearest(reader, name);
	if (near)
		return error_set(err, -EINVAL, "%s: unknown flag --%s; did you mean --%s?",
				 reader->where, name, near);
	if (reader->source == FLAGS_VARIABLE)
		return error_set(err, -EINVAL,
				 "%s: unknown flag --%s; remove it ('pillion up --help' and "
				 "'pillion daemon --help' list those that exist)",
				 reader->where, name);
	return error_set(err, -EINVAL, "%s: unknown flag --%s; see '%s --help'", reader->where,
			 name, reader->where);
}

/* pass_over() - An official flag that isn't ours: an error or a warning, by where it stands */
static int pass_over(const struct flag_reader *reader, const struct flag *flag, struct error *err)
{
	bool nothing = flag->status == FLAG_NOT_NEEDED;
	char text[ERROR_TEXT_MAX];

	snprintf(text, sizeof(text), "%s: --%s %s%s%s", reader->where, flag->name,
		 nothing ? "has nothing to do here" : "is not supported yet",
		 flag->help ? ": " : "", flag->help ? flag->help : "");
	if (reader->source == FLAGS_COMMAND_LINE || flag->status == FLAG_BINDING)
		return error_set(err, -EINVAL, "%s; leave it out", text);
	if (reader->warn)
		reader->warn(text);
	return 0;
}

static int set_value(const struct flag_reader *reader, const struct flag *flag, const char *text,
		     struct flag_value *value, struct error *err)
{
	static const char *const wanted[] = {
		[FLAG_BOOL] = "true or false",
		[FLAG_STRING] = "text",
		[FLAG_INTEGER] = "a whole number",
		[FLAG_DURATION] = "a duration such as 30s or 1m30s",
		[FLAG_PERIOD] = "a duration such as 90d, 12h or 30m",
	};
	struct flag_value v = {.given = true};
	int r = 0;

	switch (flag->kind) {
	case FLAG_BOOL:
		v.on = true;
		r = text ? bool_parse(text, &v.on) : 0;
		break;
	case FLAG_STRING:
		v.text = text;
		break;
	case FLAG_INTEGER:
		r = value_parse_integer(text, &v.number);
		break;
	case FLAG_DURATION:
		r = value_parse_duration(text, &v.number);
		break;
	case FLAG_PERIOD:
		r = value_parse_period(text, &v.number);
		break;
	}
	if (r < 0)
		return error_set(err, -EINVAL, "%s: --%s=%s: %s is wanted", reader->where,
				 flag->name, text, wanted[flag->kind]);
	*value = v;
	return 0;
}

/* read_flag() - One flag at argv[@at]; returns how many words it took */
static int read_flag(const struct flag_reader *reader, int argc, char *const *argv, int at,
		     struct error *err)
{
	const char *name = argv[at] + (argv[at][1] == '-' ? 2 : 1);
	const char *equals = strchr(name, '=');
	size_t length = equals ? (size_t)(equals - name) : strlen(name);
	const char *text = equals ? equals + 1 : NULL;
	struct flag_value *value;
	const struct flag *flag;
	int words = 1, r;

	if (!equals && (matches("help", name, length) || matches("h", name, length)))
		return -ECANCELED;
	flag = find(reader, name, length, &value);
	if (!flag)
		return refuse_unknown(reader, name, length, err);
	if (!text && flag->kind != FLAG_BOOL) {
		if (at + 1 >= argc)
			return error_set(err, -EINVAL, "%s: --%s wants a value: --%s=%s",
					 reader->where, flag->name, flag->name,
					 flag->argument ? flag->argument : "VALUE");
		text = argv[at + 1];
		words = 2;
	}
	if (flag->status != FLAG_OURS && flag->status != FLAG_SILENT)
		r = pass_over(reader, flag, err);
	else
		r = set_value(reader, flag, text, value, err);
	return r < 0 ? r : words;
}

int flags_parse(const struct flag_reader *reader, int argc, char *const *argv,
		const char **ret_rest, struct error *err)
{
	bool ended = false;
	int rest = 0, words;

	for (int at = 0; at < argc; at += words) {
		const char *word = argv[at];

		words = 1;
		if (!ended && strcmp(word, "--") == 0) {
			ended = true;
		} else if (!ended && word[0] == '-' && word[1]) {
			words = read_flag(reader, argc, argv, at, err);
			if (words < 0)
				return words;
		} else if (ret_rest) {
			ret_rest[rest++] = word;
		} else {
			return error_set(err, -EINVAL,
					 "%s takes no argument, but got '%.64s'; see '%s --help'",
					 reader->where, word, reader->where);
		}
	}
	return rest;
}

void flags_print_words(const struct flag *flags, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (flags[i].status == FLAG_OURS)
			printf("--%s%s\n", flags[i].name, flags[i].argument ? "=" : "");
}

void flags_print(const struct flag_group *group)
{
	bool first = true;

	for (size_t i = 0; i < group->count; i++) {
		const struct flag *f = &group->flags[i];
		int used;

		if (f->status != FLAG_OURS)
			continue;
		if (first)
			printf("\n%s:\n", group->title);
		first = false;
		used = printf("  --%s%s%s", f->name, f->argument ? "=" : "",
			      f->argument ? f->argument : "");
		printf("%*s%s\n", used < HELP_COLUMN ? HELP_COLUMN - used : 1, "", f->help);
	}
}
