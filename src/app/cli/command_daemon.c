/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_daemon.c - daemon: the supervisor in the foreground, configured by flags alone */
#include "app/cli/command.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_ROOM "daemon"
#include "base/log.h"

static void warn(const char *text)
{
	log_warn("%s", text);
}

int run_daemon(struct command_line *line)
{
	struct supervisor_options options;
	struct error err = {0};
	int r;

	if (line->own[DAEMON_OWN_VERSION].on) {
		print_version();
		return EXIT_OK;
	}
	log_setup(STDERR_FILENO, LOG_INFO, LOG_FORMAT_TEXT);
	supervisor_options_init(&options);
	r = daemon_flags_apply(line->daemon, !line->official, warn, &options, &err);
	if (r == 0)
		r = daemon_options_finish(&options, &err);
	if (r < 0) {
		privsep_start_clear(&options.start);
		return complain(r == -ENOMEM ? EXIT_FAILS : EXIT_USAGE, "%s", err.text);
	}
	if (line->own[DAEMON_OWN_CLEAN_UP].on) {
		r = supervisor_clean_up(&options);
		privsep_start_clear(&options.start);
		return r;
	}
	log_info(PROGRAM_STARTING);
	options.mode = SUPERVISOR_DAEMON;
	options.argc = line->argc;
	options.argv = line->argv;
	r = supervisor_run(&options);
	privsep_start_clear(&options.start);
	return r;
}
