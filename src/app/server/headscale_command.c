/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_command.c - `pillion headscale …` */
#include "app/server/headscale_command.h"

#include "app/server/command.h"
#include "base/cleanup.h"

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

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", headscale_run},
	{"logs", headscale_run_logs},
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
