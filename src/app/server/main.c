/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/server/main.c - pillion-server: the servers that nodes join
 *
 *	pillion-server NAME ARGUMENT…	(by `pillion NAME ARGUMENT…`, which runs this program)
 */
#include "app/server/command.h"

#include "app/cli/flags.h"
#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name, *summary;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"control", "A coordination server, and its operator's commands", run_control},
	{"derp", "A relay", run_derp},
	{"ingress", "The public end of Funnel: TLS connections by server name to nodes",
	 run_ingress},
	{"headscale", "Headscale kept running, and accounts and devices at one", run_headscale},
	{"version", "Print the version", run_version},
};

static void usage(FILE *to)
{
	fprintf(to, "usage: pillion-server COMMAND [ARGUMENT…]\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
}

int run_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("pillion-server %s\n", PILLION_VERSION);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		usage(stdout);
		return finish("pillion-server", EXIT_SUCCESS);
	}
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return finish("pillion-server", commands[i].run(argc - 1, argv + 1));
	usage(stderr);
	return 2;
}
