/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_command.h - what the files of `pillion headscale` share */
#pragma once

#define EXIT_OK    0
#define EXIT_FAILS 1
#define EXIT_USAGE 2

/** headscale_complain() - "pillion headscale: text" on stderr; returns @code */
int headscale_complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Each in its file, with @argv[0] its name; exit code. */
int headscale_run_provision(int argc, char **argv);
int headscale_run(int argc, char **argv);
int headscale_run_logs(int argc, char **argv);

/** headscale_folder() - Of --state, else the usual one, absolute; NULL without one. Owned */
char *headscale_folder(const char *given);

#define HEADSCALE_LOG "headscale.log"
