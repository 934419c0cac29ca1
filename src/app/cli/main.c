/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/main.c - `pillion`, and the official names that it goes by as symlinks */
#include "app/cli/command.h"
#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* as_command() - argv with the name of a command put in, for a program that is one command */
static int as_command(const char *name, int argc, char **argv)
{
	char **with = calloc((size_t)argc + 2, sizeof(*with));
	int r;

	if (!with)
		return complain(EXIT_FAILS, "out of memory");
	with[0] = argv[0];
	with[1] = (char *)name;
	for (int i = 1; i < argc; i++)
		with[i + 1] = argv[i];
	r = command_main(argc + 1, with);
	free(with);
	return r;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *program, *command;
	} names[] = {{"tailscaled", "daemon"}, {"containerboot", "run"}};
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *program = slash ? slash + 1 : argc > 0 ? argv[0] : "";

	/* A reader of stderr gets whole lines, a login URL among them. */
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(program, names[i].program) == 0)
			return finish(program, as_command(names[i].command, argc, argv));
	return finish("pillion", command_main(argc, argv));
}
