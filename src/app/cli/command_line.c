/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_line.c - from a command line into a command of the table */
#include "app/cli/command.h"

#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SERVER "pillion-server"

static void warn_of_flag(const char *text)
{
	complain(0, "warning: %s", text);
}

/* run_command() - Read what stands after the name of a command, and run it */
static int run_command(const struct command *c, struct command_line *line, int argc, char **argv)
{
	_cleanup_free_ const char **rest = calloc((size_t)argc + 1, sizeof(*rest));
	struct flag_group groups[FLAG_GROUPS_MAX];
	struct error err = {0};
	static char where[64];
	struct flag_reader reader = {
		.groups = groups,
		.count = command_groups(c, line, groups),
		.source = line->official ? FLAGS_OFFICIAL : FLAGS_COMMAND_LINE,
		.where = where,
		.warn = warn_of_flag,
	};
	int r;

	snprintf(where, sizeof(where), "pillion %s", c->name);
	line->rest = rest;
	if (!rest)
		return complain(EXIT_FAILS, "out of memory");
	r = flags_parse(&reader, argc, argv, c->arguments ? rest : NULL, &err);
	if (r == -ECANCELED) {
		command_help(c);
		return EXIT_OK;
	}
	if (r < 0) {
		fprintf(stderr, "%s\n", err.text);
		return EXIT_USAGE;
	}
	line->rest_count = r;
	if (command_socket.given)
		line->socket = command_socket.text;
	if (line->socket && !line->daemon[DAEMON_SOCKET].given)
		line->daemon[DAEMON_SOCKET] =
			(struct flag_value){.given = true, .text = line->socket};
	complain_as(where);
	return c->run(line);
}

int command_main(int argc, char **argv)
{
	static struct command_line line;
	const struct command *c;
	int at = 1;

	line = (struct command_line){.argc = argc, .argv = argv};
	line.official = argc > 0 && strcmp(basename(argv[0]), "tailscaled") == 0;
	/* --socket may stand before the command, as for the official client. */
	for (; at < argc && argv[at][0] == '-'; at++) {
		const char *name = argv[at] + 1 + (argv[at][1] == '-');

		if (strncmp(name, "socket=", 7) == 0)
			line.socket = name + 7;
		else if (strcmp(name, "socket") == 0 && at + 1 < argc)
			line.socket = argv[++at];
		else if (strcmp(name, "help") == 0 || strcmp(name, "h") == 0)
			return command_list(), EXIT_OK;
		else if (strcmp(name, "version") == 0)
			return run_version(&line);
		else
			return complain(EXIT_USAGE,
					"unknown flag %.64s before the command; see 'pillion "
					"--help'",
					argv[at]);
	}
	if (at >= argc) {
		command_list();
		return EXIT_USAGE;
	}
	c = command_find(argv[at]);
	if (!c)
		return command_unknown(argv[at]);
	if (c->passes) {
		line.argc = argc - at;
		line.argv = argv + at;
		return c->run(&line);
	}
	return run_command(c, &line, argc - at - 1, argv + at + 1);
}

/* `pillion control` and `pillion derp`: the program beside this one */
int run_server(struct command_line *line)
{
	char path[PATH_MAX], *slash, **argv;
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof(SERVER));

	path[length > 0 ? length : 0] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return complain(EXIT_FAILS,
				"can't find our own folder by /proc/self/exe (is /proc mounted?)");
	strcpy(slash + 1, SERVER);
	argv = calloc((size_t)line->argc + 2, sizeof(*argv));
	if (!argv)
		return complain(EXIT_FAILS, "out of memory");
	argv[0] = path;
	for (int i = 0; i < line->argc; i++)
		argv[i + 1] = line->argv[i];
	execv(path, argv);
	free(argv);
	return complain(EXIT_FAILS, "%s: %s", path, strerror(errno));
}
