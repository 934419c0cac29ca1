/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_command.c - `pillion headscale …`, and `logs` itself */
#include "app/cli/flags.h"
#include "app/server/command.h"
#include "base/cleanup.h"
#include "process/capped_log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"usage: pillion headscale COMMAND [FLAG…]\n"
	"\n"
	"Run Headscale on this machine, or make its keys for many accounts.\n"
	"\n"
	"  run          keep a Headscale running\n"
	"  logs         print the log of that Headscale\n"
	"  provision    make an account's user and a device's key if they are missing, and print "
	"them\n"
	"\n"
	"'pillion headscale COMMAND --help' explains a command.\n"
	"\n"
	"Examples:\n"
	"  pillion headscale run --url https://headscale.example.com:8443\n"
	"  pillion headscale logs --follow\n"
	"  pillion headscale provision --url https://headscale.example.com \\\n"
	"\t--api-key file:/run/secrets/headscale --account alice --device laptop\n";

enum { COUNT, FOLLOW, STATE, FLAG_COUNT };

static const struct flag flags[FLAG_COUNT] = {
	[COUNT] = FLAG_OF("n", FLAG_INTEGER, "COUNT",
			  "number of last lines (default 1000, the most that are kept)"),
	[FOLLOW] = FLAG_ALIASED("follow", "f", FLAG_BOOL, NULL, "continue with new lines"),
	[STATE] =
		FLAG_OF("state", FLAG_STRING, "FOLDER", "state folder of 'pillion headscale run'"),
};

static const char logs_help[] =
	"usage: pillion headscale logs [FLAG…]\n"
	"\n"
	"Prints the last lines of a Headscale that 'pillion headscale run' keeps or kept\n"
	"running.\n"
	"\n"
	"Examples:\n"
	"  pillion headscale logs -n 50\n"
	"  pillion headscale logs --follow\n"
	"\n";

static int run_logs(int argc, char **argv)
{
	struct flag_value values[FLAG_COUNT] = {0};
	_cleanup_free_ char *folder = NULL, *path = NULL;
	struct error err;
	int64_t count;
	int r;

	if (!flags_of_command("pillion headscale logs", logs_help, flags, values, FLAG_COUNT,
			      argc - 1, argv + 1, &r))
		return r;
	count = values[COUNT].given ? values[COUNT].number : CAPPED_LOG_LINES;
	if (count < 0)
		return complain(EXIT_USAGE, "-n needs a number of lines");
	if (count > CAPPED_LOG_LINES)
		count = CAPPED_LOG_LINES;
	folder = headscale_folder(values[STATE].text);
	if (!folder || asprintf(&path, "%s/" HEADSCALE_LOG, folder) < 0) {
		path = NULL;
		return complain(EXIT_FAILS,
				"no folder %s: name the folder of 'pillion headscale run' "
				"by --state",
				values[STATE].given ? values[STATE].text : "to read in");
	}
	/* A reader that closes the pipe causes -EPIPE, not a signal. */
	(void)signal(SIGPIPE, SIG_IGN);
	r = capped_log_show(path, (unsigned int)count, values[FOLLOW].on, STDOUT_FILENO, &err);
	if (r == -ENOENT)
		return complain(EXIT_FAILS,
				"%s does not exist yet; 'pillion headscale run' writes it", path);
	return r < 0 ? complain(EXIT_FAILS, "%s", err.text) : EXIT_OK;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", headscale_run},
	{"logs", run_logs},
	{"provision", headscale_run_provision},
};

int run_headscale(int argc, char **argv)
{
	complain_as("pillion headscale");
	if (argc < 2) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "-help") == 0 || strcmp(argv[1], "help") == 0) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "complete") == 0) {
		for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(commands); i++)
			puts(commands[i].name);
		return EXIT_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	return complain(EXIT_USAGE, "there is no '%s'; see 'pillion headscale --help'", argv[1]);
}
