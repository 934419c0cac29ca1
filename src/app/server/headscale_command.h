/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_command.h - shared by the files of `pillion headscale` */
#pragma once

#include "app/cli/flags.h"

/* The commands; @argv[0] is the command's name. Exit code. */
int headscale_run_provision(int argc, char **argv);
int headscale_run(int argc, char **argv);
int headscale_run_logs(int argc, char **argv);

/** headscale_folder() - The absolute folder of --state, else the default; NULL: none. Caller frees */
char *headscale_folder(const char *given);

#define HEADSCALE_LOG "headscale.log"
