/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_help.c - help, completion and manual, generated from the table of commands */
#include "app/cli/command.h"
#include "app/entrypoint/variables.h"

#include <stdio.h>
#include <string.h>

/* pillion-server prints the words that may follow in its commands. */
#define SERVER_WORDS "pillion %s complete %s 2>/dev/null"

#define LINE_MAX_WIDTH 76

static struct command_line nothing; /* flags without values, to walk over */

/* The examples are lines "command" and "\tmeaning" in turn. */
static void print_examples(const char *examples)
{
	while (*examples) {
		size_t length = strcspn(examples, "\n");

		if (*examples == '\t')
			printf("      %.*s\n", (int)length - 1, examples + 1);
		else
			printf("  %.*s\n", (int)length, examples);
		examples += length + (examples[length] == '\n');
	}
}

/* print_wrapped() - Paragraphs, with lines of at most 76 characters */
static void print_wrapped(const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t length = strcspn(text, " \n");

		if (column > 0 && column + 1 + length > LINE_MAX_WIDTH)
			column = 0, putchar('\n');
		column += (size_t)printf("%s%.*s", column > 0 ? " " : "", (int)length, text);
		text += length;
		for (; *text == '\n'; text++, column = 0)
			putchar('\n');
		text += *text == ' ';
	}
}

static void print_variable(const char *name, const char *text)
{
	printf("  %-26s %s\n", name, text);
}

void command_help(const struct command *c)
{
	struct flag_group groups[FLAG_GROUPS_MAX];
	size_t count = command_groups(c, &nothing, groups);

	printf("%s\n\nUsage:\n  pillion %s%s%s%s\n\n", c->summary, c->name, count ? " [FLAGS]" : "",
	       c->arguments ? " " : "", c->arguments ? c->arguments : "");
	print_wrapped(c->description);
	printf("\n\nExamples:\n");
	print_examples(c->examples);
	for (size_t i = 0; i < count; i++)
		flags_print(&groups[i]);
	if (c->run == run_entrypoint) {
		printf("\nVariables:\n");
		variables_each(print_variable);
	}
}

void command_list(void)
{
	printf("pillion joins this machine or container to a tailnet.\n\n"
	       "Usage:\n  pillion [--socket=PATH] COMMAND [FLAGS]\n\nCommands:\n");
	for (size_t i = 0; i < command_count; i++)
		if (!commands[i].hidden)
			printf("  %-12s %s\n", commands[i].name, commands[i].summary);
	printf("\nExamples:\n"
	       "  sudo pillion connect --login-server=https://vpn.example.com\n"
	       "      join, and print the URL at which to log in\n"
	       "  pillion status\n"
	       "      see the node and its peers\n\n"
	       "'pillion COMMAND --help' explains one.\n");
}

/* each_flag() - Call @print for every flag of @c that is ours */
static void each_flag(const struct command *c,
		      void (*print)(const struct command *c, const struct flag *f))
{
	struct flag_group groups[FLAG_GROUPS_MAX];
	size_t count = command_groups(c, &nothing, groups);

	for (size_t g = 0; g < count; g++)
		for (size_t i = 0; i < groups[g].count; i++)
			if (groups[g].flags[i].status == FLAG_OURS)
				print(c, &groups[g].flags[i]);
}

static void bash_flag(const struct command *c, const struct flag *f)
{
	(void)c;
	printf(" --%s%s", f->name, f->argument ? "=" : "");
}

static void print_bash(void)
{
	printf("# bash completion of pillion\n"
	       "_pillion() {\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} command= i\n"
	       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "\t\tcase ${COMP_WORDS[i]} in -*) ;; *) command=${COMP_WORDS[i]} && break ;; esac\n"
	       "\tdone\n"
	       "\tcase $command in\n"
	       "\t'') COMPREPLY=($(compgen -W '");
	for (size_t i = 0; i < command_count; i++)
		if (!commands[i].hidden)
			printf("%s%s", i ? " " : "", commands[i].name);
	printf("' -- \"$word\")) ;;\n");
	for (size_t i = 0; i < command_count; i++) {
		if (commands[i].run == run_server) {
			printf("\t%s) COMPREPLY=($(compgen -W \"$(" SERVER_WORDS ")\" -- "
			       "\"$word\")) ;;\n",
			       commands[i].name, commands[i].name,
			       "\"${COMP_WORDS[@]:2:COMP_CWORD-2}\"");
			continue;
		}
		printf("\t%s) COMPREPLY=($(compgen -W '", commands[i].name);
		if (commands[i].run == run_completion)
			printf("bash zsh fish");
		each_flag(&commands[i], bash_flag);
		printf(" --help' -- \"$word\")) ;;\n");
	}
	printf("\tesac\n"
	       "\t[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace\n"
	       "}\n"
	       "complete -F _pillion pillion\n");
}

/* quoted() - For single quotes of zsh and fish */
static void quoted(const char *text, bool zsh)
{
	for (; *text; text++)
		if (*text == '\'')
			fputs(zsh ? "'\\''" : "\\'", stdout);
		else if (zsh && strchr("[]:", *text))
			printf("\\%c", *text);
		else
			putchar(*text);
}

static void zsh_flag(const struct command *c, const struct flag *f)
{
	(void)c;
	printf(" \\\n\t\t\t'--%s%s[", f->name, f->argument ? "=" : "");
	quoted(f->help, true);
	printf("]%s%s%s'", f->argument ? ":" : "", f->argument ? f->argument : "",
	       f->argument ? ":_files" : "");
}

static void print_zsh(void)
{
	printf("#compdef pillion\n"
	       "_pillion() {\n"
	       "\tlocal -a names=(\n");
	for (size_t i = 0; i < command_count; i++) {
		if (commands[i].hidden)
			continue;
		printf("\t\t'%s:", commands[i].name);
		quoted(commands[i].summary, true);
		printf("'\n");
	}
	printf("\t)\n"
	       "\tif ((CURRENT == 2)); then\n"
	       "\t\t_describe command names\n"
	       "\t\treturn\n"
	       "\tfi\n"
	       "\tshift words\n\t((CURRENT--))\n"
	       "\tcase $words[1] in\n");
	for (size_t i = 0; i < command_count; i++) {
		if (commands[i].run == run_server) {
			printf("\t%s) compadd -- ${(f)\"$(" SERVER_WORDS ")\"} ;;\n",
			       commands[i].name, commands[i].name, "${words[2,CURRENT-1]}");
			continue;
		}
		printf("\t%s)\n\t\t_arguments", commands[i].name);
		each_flag(&commands[i], zsh_flag);
		if (commands[i].run == run_completion)
			printf(" \\\n\t\t\t'1:shell:(bash zsh fish)'");
		printf(" \\\n\t\t\t'--help[show the help]' ;;\n");
	}
	printf("\tesac\n}\n_pillion \"$@\"\n");
}

static void fish_flag(const struct command *c, const struct flag *f)
{
	printf("complete -c pillion -n '__fish_seen_subcommand_from %s' -l %s%s -d '", c->name,
	       f->name, f->argument ? " -r" : "");
	quoted(f->help, false);
	printf("'\n");
}

static void print_fish(void)
{
	printf("# fish completion of pillion\ncomplete -c pillion -f\n");
	for (size_t i = 0; i < command_count; i++) {
		if (!commands[i].hidden) {
			printf("complete -c pillion -n __fish_use_subcommand -a %s -d '",
			       commands[i].name);
			quoted(commands[i].summary, false);
			printf("'\n");
		}
		if (commands[i].run == run_server)
			printf("complete -c pillion -n '__fish_seen_subcommand_from %s' -a "
			       "'(" SERVER_WORDS ")'\n",
			       commands[i].name, commands[i].name, "(commandline -opc)[3..-1]");
		each_flag(&commands[i], fish_flag);
	}
	printf("complete -c pillion -n '__fish_seen_subcommand_from completion' -a 'bash zsh "
	       "fish'\n");
}

int run_completion(struct command_line *line)
{
	const char *shell = line->rest_count == 1 ? line->rest[0] : "";

	if (strcmp(shell, "bash") == 0)
		print_bash();
	else if (strcmp(shell, "zsh") == 0)
		print_zsh();
	else if (strcmp(shell, "fish") == 0)
		print_fish();
	else
		return complain(EXIT_USAGE, "name a shell: bash, zsh or fish");
	return EXIT_OK;
}

/* roff() - Text for man(7): dashes, quotes and leading dots escaped */
static void roff(const char *text, size_t length)
{
	bool line_start = true;

	for (size_t i = 0; i < length; i++) {
		char c = text[i];

		if (line_start && (c == '.' || c == '\''))
			fputs("\\&", stdout);
		if (c == '-')
			fputs("\\-", stdout);
		else if (c == '\\')
			fputs("\\e", stdout);
		else
			putchar(c);
		line_start = c == '\n';
	}
}

static void roff_flag(const struct command *c, const struct flag *f)
{
	(void)c;
	printf(".TP\n.B \\-\\-");
	roff(f->name, strlen(f->name));
	if (f->argument)
		printf("=\\fI%s\\fR", f->argument);
	printf("\n");
	roff(f->help, strlen(f->help));
	printf("\n");
}

static void roff_variable(const char *name, const char *text)
{
	printf(".TP\n.B %s\n", name);
	roff(text, strlen(text));
	printf("\n");
}

static void roff_paragraphs(const char *text)
{
	while (*text) {
		const char *end = strstr(text, "\n\n");
		size_t length = end ? (size_t)(end - text) : strlen(text);

		roff(text, length);
		printf("\n%s", end ? ".PP\n" : "");
		text += length + (end ? 2 : 0);
	}
}

static void roff_examples(const char *text)
{
	while (*text) {
		size_t length = strcspn(text, "\n");

		if (*text == '\t') {
			roff(text + 1, length - 1);
			printf(".\n");
		} else {
			printf(".TP\n.B ");
			roff(text, length);
			printf("\n");
		}
		text += length + (text[length] == '\n');
	}
}

int run_manual(struct command_line *line)
{
	(void)line;
	printf(".TH PILLION 1 \"\" \"pillion " PILLION_VERSION "\"\n"
	       ".SH NAME\npillion \\- join a machine or container to a tailnet\n"
	       ".SH SYNOPSIS\n.B pillion\n[\\fB\\-\\-socket=\\fIPATH\\fR] \\fICOMMAND\\fR "
	       "[\\fIFLAGS\\fR]\n"
	       ".SH COMMANDS\n");
	for (size_t i = 0; i < command_count; i++) {
		const struct command *c = &commands[i];

		if (c->hidden)
			continue;
		printf(".SS pillion %s%s%s\n", c->name, c->arguments ? " " : "",
		       c->arguments ? c->arguments : "");
		roff(c->summary, strlen(c->summary));
		printf(".\n.PP\n");
		roff_paragraphs(c->description);
		each_flag(c, roff_flag);
		if (c->run == run_entrypoint)
			variables_each(roff_variable);
		printf(".PP\nExamples:\n");
		roff_examples(c->examples);
	}
	printf(".SH EXIT STATUS\n0 for success, 1 for failure, 2 for a mistake in the command "
	       "line or configuration.\n"
	       ".SH ENVIRONMENT\n.TP\n.B TS_SOCKET\nThe socket of the daemon.\n"
	       ".TP\n.B PILLION_AEAD\nThe library that encrypts packets: ipsec-mb, openssl or "
	       "libsodium "
	       "(default: the fastest that this machine has; status names it).\n"
	       ".TP\n.B NO_COLOR\nPrint no colours.\n");
	return EXIT_OK;
}

int run_help(struct command_line *line)
{
	const struct command *c;

	if (line->rest_count == 0)
		return command_list(), EXIT_OK;
	c = command_find(line->rest[0]);
	if (!c)
		return command_unknown(line->rest[0]);
	if (c->run == run_server) {
		/* The program that runs it explains it. */
		char *argv[] = {(char *)c->name, (char *)"--help", NULL};
		struct command_line theirs = {.argc = 2, .argv = argv};

		return run_server(&theirs);
	}
	command_help(c);
	return EXIT_OK;
}
