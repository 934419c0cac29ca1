/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_server.c - `pillion control` and `pillion derp`: the program beside this one */
#include "app/cli/command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "pillion-server"

int run_server(struct command_line *line)
{
	char path[PATH_MAX], *slash, **argv;
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof(PROGRAM));

	path[length > 0 ? length : 0] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return complain(EXIT_FAILS,
				"can't find our own folder by /proc/self/exe (is /proc mounted?)");
	strcpy(slash + 1, PROGRAM);
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
