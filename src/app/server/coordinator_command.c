/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_command.c - `pillion control …`: serve, or a client of who serves */
#include "app/server/coordinator_command.h"
#include "app/server/command.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"usage: pillion control COMMAND\n"
	"\n"
	"A coordination server with everything on one machine, for pillion and tailscale.\n"
	"\n"
	"  serve                              run it, in the foreground\n"
	"  users [list]                       who owns nodes\n"
	"  users create|delete NAME\n"
	"  keys create [--user NAME] [--reusable] [--ephemeral] [--tags tag:A,tag:B]\n"
	"              [--expiry 24h]         a key for one node, or for many (default: 1h)\n"
	"  keys list\n"
	"  keys expire PREFIX\n"
	"  nodes [list]                       all nodes, and who waits to become one\n"
	"  nodes show NODE                    NODE is a name, an id or an address\n"
	"  nodes approve LOGIN [--user NAME] [--tags …]\n"
	"                                     let in who shows a login URL\n"
	"  nodes reject LOGIN                 turn it away\n"
	"  page-key create|delete             a secret by which the page of a login URL approves\n"
	"  ssh [list]                         sessions that a 'check' rule holds\n"
	"  ssh approve|reject SESSION\n"
	"  nodes expire|delete NODE\n"
	"  nodes rename NODE NAME\n"
	"  nodes tag NODE tag:A,tag:B         \"\" takes all tags away\n"
	"  nodes approve-routes NODE 10.0.0.0/8,…\n"
	"  policy get                         who may reach whom\n"
	"  policy set|check FILE              \"-\" reads the standard input\n"
	"  policy delete --yes                everybody may reach everybody\n"
	"  debug netmap NODE                  what the node is told, as JSON\n"
	"\n"
	"All but serve take --socket PATH (where the server said, default\n"
	"./pillion-control/control.sock or /var/lib/pillion-control/control.sock) and --json.\n"
	"\n"
	"Examples:\n"
	"  pillion control serve --url=https://vpn.example.com\n"
	"  pillion control keys create --reusable --expiry 90d\n";

int coordinator_complain(int code, const char *format, ...)
{
	va_list args;

	fputs("pillion control: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

void coordinator_help_lines(FILE *to, const char *word)
{
	size_t length = strlen(word);
	bool wanted = false;

	fprintf(to, "usage: pillion control COMMAND\n\n");
	for (const char *line = help, *end; (end = strchr(line, '\n')); line = end + 1) {
		/* A command stands after two spaces, what goes on from it after more. */
		bool command = strncmp(line, "  ", 2) == 0 && line[2] != ' ';

		if (command)
			wanted = strncmp(line + 2, word, length) == 0 && line[2 + length] == ' ';
		else
			wanted = wanted && *line == ' ';
		if (wanted)
			fprintf(to, "%.*s\n", (int)(end - line), line);
	}
}

int run_control(int argc, char **argv)
{
	if (argc < 2) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "serve") == 0)
		return coordinator_serve(argc - 1, argv + 1);
	if (strcmp(argv[1], "complete") == 0)
		return coordinator_complete(argc - 2, argv + 2);
	return coordinator_order(argc - 1, argv + 1);
}
