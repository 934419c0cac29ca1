/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/flags.c - the command lines of all programs */
#include "app/cli/flags.h"

#include "base/cleanup.h"
#include "base/printable.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MAX         128
#define HELP_COLUMN       34
#define NAME_MAX_COMPARED 64
#define BEGUN_MIN         3
#define COMPLAINT_MAX     2048
#define REQUIRED_MAX      128
#define NAMED_MAX         128

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

/* choice() - The index of @text among the words of "a|b|c", or -EINVAL */
static int choice(const char *words, const char *text)
{
	size_t length = strlen(text);

	for (int i = 0; *words; i++) {
		size_t word = strcspn(words, "|");

		if (word == length && strncmp(words, text, length) == 0)
			return i;
		words += word + (words[word] == '|');
	}
	return -EINVAL;
}

/* required() - What a value of @flag must be, into @ret */
static const char *required(const struct flag *flag, char *ret, size_t size)
{
	static const char *const kinds[] = {
		[FLAG_BOOL] = "true or false is required",
		[FLAG_STRING] = "text is required",
		[FLAG_INTEGER] = "a whole number is required",
		[FLAG_DURATION] = "a duration such as 30s or 1m30s is required",
		[FLAG_PERIOD] = "a duration such as 90d, 12h or 30m is required",
		[FLAG_CHOICE] = "use one of",
		[FLAG_ENDPOINT] = "ADDRESS:PORT is required, such as 127.0.0.1:9002 or [::]:9002",
		[FLAG_ADDRESS] = "an IP address is required",
	};

	if (flag->kind == FLAG_INTEGER && flag->most)
		snprintf(ret, size, "a number from %lld to %lld is required",
			 (long long)flag->least, (long long)flag->most);
	else
		snprintf(ret, size, "%s%s%s", kinds[flag->kind],
			 flag->kind == FLAG_CHOICE ? " " : "",
			 flag->kind == FLAG_CHOICE ? flag->argument : "");
	return ret;
}

/* parse_integer() - Decimal digits with an optional sign; -EINVAL, -ERANGE */
static int parse_integer(const char *text, int64_t *ret)
{
	char *end;
	long long value;

	if (!isdigit((unsigned char)text[0]) &&
	    !(strchr("+-", text[0]) && isdigit((unsigned char)text[1])))
		return -EINVAL;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno == ERANGE)
		return -ERANGE;
	*ret = value;
	return 0;
}

int flag_read(const struct flag *flag, const char *name, const char *text, struct flag_value *ret,
	      struct error *err)
{
	struct flag_value v = {.given = true, .on = true, .text = text};
	char why[REQUIRED_MAX];
	int r = 0;

	switch (flag->kind) {
	case FLAG_BOOL:
		r = text ? bool_parse(text, &v.on) : 0;
		break;
	case FLAG_STRING:
		break;
	case FLAG_INTEGER:
		r = parse_integer(text, &v.number);
		if (r == 0 && flag->most && (v.number < flag->least || v.number > flag->most))
			r = -ERANGE;
		break;
	case FLAG_DURATION:
	case FLAG_PERIOD:
		r = value_parse_duration(text, flag->kind == FLAG_PERIOD, &v.number);
		break;
	case FLAG_CHOICE:
		r = choice(flag->argument, text);
		v.number = r;
		break;
	case FLAG_ENDPOINT:
		r = endpoint_parse(text, strlen(text), &v.endpoint);
		break;
	case FLAG_ADDRESS:
		r = address_parse(text, strlen(text), &v.endpoint.address);
		break;
	}
	if (r < 0)
		return error_set(err, -EINVAL, "%s=%.64s: %s", name, text,
				 required(flag, why, sizeof(why)));
	*ret = v;
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
	char named[NAMED_MAX];
	int words = 1, r;

	if (!equals && (matches("help", name, length) || matches("h", name, length)))
		return -ECANCELED;
	flag = find(reader, name, length, &value);
	if (!flag)
		return refuse_unknown(reader, name, length, err);
	if (!text && flag->kind != FLAG_BOOL) {
		if (at + 1 >= argc)
			return error_set(err, -EINVAL, "%s: --%s requires a value: --%s=%s",
					 reader->where, flag->name, flag->name,
					 flag->argument ? flag->argument : "VALUE");
		text = argv[at + 1];
		words = 2;
	}
	if (flag->status != FLAG_OURS && flag->status != FLAG_SILENT) {
		r = pass_over(reader, flag, err);
	} else {
		snprintf(named, sizeof(named), "%s: --%s", reader->where, flag->name);
		r = flag_read(flag, named, text, value, err);
	}
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
		} else if (strstr(word, "-auth-")) {
			/* The log of a container may be read by more people than its settings. */
			return error_set(err, -EINVAL,
					 "%s takes no argument, but got an auth key: write "
					 "--auth-key=KEY; see '%s --help'",
					 reader->where, reader->where);
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

bool flags_of_command(const char *where, const char *help, const struct flag *flags,
		      struct flag_value *values, size_t count, int argc, char *const *argv,
		      int *ret_code)
{
	const struct flag_group group = {"Flags", flags, values, count};
	const struct flag_reader reader = {
		.groups = &group, .count = 1, .source = FLAGS_COMMAND_LINE, .where = where};
	struct error err = {0};
	int r = flags_parse(&reader, argc, argv, NULL, &err);

	complain_as(where);
	*ret_code = EXIT_OK;
	if (r == -ECANCELED) {
		fputs(help, stdout);
		flags_print(&group);
	} else if (r < 0) {
		fprintf(stderr, "%s\n", err.text);
		*ret_code = EXIT_USAGE;
	}
	return r >= 0;
}

/* Complaints, and the end */

static const char *complainer = "pillion";

void complain_as(const char *program)
{
	complainer = program;
}

int complain(int code, const char *format, ...)
{
	char text[COMPLAINT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "%s: ", complainer);
	/* The text often quotes the daemon or the server. */
	printable_put(stderr, text, 0);
	fputc('\n', stderr);
	return code;
}

int finish(const char *program, int code)
{
	int cause = fflush(stdout) == 0 ? 0 : errno;

	/* ferror() reports earlier writes too; the cause of those is lost by now. */
	if (cause == 0 && !ferror(stdout))
		return code;
	fprintf(stderr, "%s: the output could not be written%s%s\n", program, cause ? ": " : "",
		cause ? strerror(cause) : "");
	return code == 0 ? 1 : code;
}

/* Values, in the forms that Go programs take */

int value_parse_duration(const char *text, bool days, int64_t *ret)
{
	nanoseconds value;

	if (duration_parse(text, strlen(text), days, &value) < 0 || value < 0)
		return -EINVAL;
	*ret = value;
	return 0;
}

/* distance() - Insertions, deletions, replacements and swaps of neighbours between two names */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][NAME_MAX_COMPARED + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > NAME_MAX_COMPARED || m > NAME_MAX_COMPARED)
		return NAME_MAX_COMPARED;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3],
		       *two_above = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			bool same = tolower((unsigned char)a[i - 1]) ==
				    tolower((unsigned char)b[j - 1]);
			size_t best = above[j - 1] + !same;

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    two_above[j - 2] + 1 < best)
				best = two_above[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[n % 3][m];
}

const char *value_nearest(const char *text, const char *const *names, size_t count)
{
	/* A third of the letters may be wrong, and one always. */
	size_t best = strlen(text) / 3 + 1;
	const char *nearest = NULL, *begun = NULL;

	for (size_t i = 0; i < count; i++) {
		size_t d = names[i] ? distance(text, names[i]) : best + 1;

		if (d < best || (d == best && !nearest)) {
			best = d;
			nearest = names[i];
		}
		/* "stat" is "status" begun, rather than "set" mistyped; the shortest such. */
		if (names[i] && strlen(text) >= BEGUN_MIN &&
		    strncasecmp(names[i], text, strlen(text)) == 0 &&
		    (!begun || strlen(names[i]) < strlen(begun)))
			begun = names[i];
	}
	return begun && !(nearest && best <= 1) ? begun : nearest;
}
