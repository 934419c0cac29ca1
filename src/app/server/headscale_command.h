/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_command.h - shared by the files of `pillion headscale` */
#pragma once

#include "app/cli/flags.h"

#define EXIT_OK    0
#define EXIT_FAILS 1
#define EXIT_USAGE 2

/** headscale_complain() - "pillion headscale: text" on stderr; returns @code */
int headscale_complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/**
 * headscale_parse() - Read the flags of a command; prints help and mistakes
 *
 * Return: HEADSCALE_GO_ON, or an exit code
 */
int headscale_parse(const struct flag_group *group, const char *name, const char *help, int argc,
		    char **argv);

#define HEADSCALE_GO_ON (-1)

/* The commands; @argv[0] is the command's name. Exit code. */
int headscale_run_provision(int argc, char **argv);
int headscale_run(int argc, char **argv);
int headscale_run_logs(int argc, char **argv);

/** headscale_folder() - The absolute folder of --state, else the default; NULL: none. Caller frees */
char *headscale_folder(const char *given);

#define HEADSCALE_LOG "headscale.log"
