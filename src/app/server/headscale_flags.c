/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_flags.c - shared by the commands of `pillion headscale` */
#include "app/server/headscale_command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SYSTEM_STATE "/var/lib/pillion-headscale"
#define LOCAL_STATE  "pillion-headscale"

int headscale_complain(int code, const char *format, ...)
{
	va_list args;

	fputs("pillion headscale: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

char *headscale_folder(const char *given)
{
	struct stat info;

	if (!given && stat(LOCAL_STATE, &info) != 0 && stat(SYSTEM_STATE, &info) == 0)
		given = SYSTEM_STATE;
	return realpath(given ? given : LOCAL_STATE, NULL);
}

int headscale_parse(const struct flag_group *group, const char *name, const char *help, int argc,
		    char **argv)
{
	const struct flag_reader reader = {group, 1, FLAGS_COMMAND_LINE, name, NULL};
	struct error err;
	int r = flags_parse(&reader, argc - 1, argv + 1, NULL, &err);

	if (r == -ECANCELED) {
		fputs(help, stdout);
		flags_print(group);
		return EXIT_OK;
	}
	if (r == 0)
		return HEADSCALE_GO_ON;
	fprintf(stderr, "%s\n", err.text);
	return EXIT_USAGE;
}
