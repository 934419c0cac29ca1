/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/command.h - the commands of pillion-server; each returns an exit code */
#pragma once

/* @argv[0] is the command's name. 0, 1 when it failed, 2 when it was asked wrongly. */
int run_derp(int argc, char **argv);
int run_ingress(int argc, char **argv);
int run_version(int argc, char **argv);
int run_control(int argc, char **argv);
int run_headscale(int argc, char **argv);
int headscale_run(int argc, char **argv);
int headscale_run_provision(int argc, char **argv);

/** headscale_folder() - The absolute folder of --state, else the default; NULL: none. Caller frees */
char *headscale_folder(const char *given);

#define HEADSCALE_LOG "headscale.log"
