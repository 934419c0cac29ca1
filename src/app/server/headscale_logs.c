/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_logs.c - `pillion headscale logs` */
#include "app/server/headscale_command.h"
#include "base/cleanup.h"
#include "process/capped_log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { COUNT, FOLLOW, STATE, FLAG_COUNT };

static const struct flag flags[FLAG_COUNT] = {
	[COUNT] = FLAG_OF("n", FLAG_INTEGER, "COUNT",
			  "so many of the last lines (default 1000, which is all there is)"),
	[FOLLOW] = FLAG_ALIASED("follow", "f", FLAG_BOOL, NULL, "go on with what is added"),
	[STATE] = FLAG_OF("state", FLAG_STRING, "FOLDER", "of 'pillion headscale run'"),
};

static const char help[] =
	"usage: pillion headscale logs [FLAG…]\n"
	"\n"
	"Prints what a Headscale said that 'pillion headscale run' keeps or kept "
	"running.\n"
	"\n"
	"Examples:\n"
	"  pillion headscale logs -n 50\n"
	"  pillion headscale logs --follow\n"
	"\n";

int headscale_run_logs(int argc, char **argv)
{
	struct flag_value values[FLAG_COUNT] = {0};
	const struct flag_group group = {"Flags", flags, values, FLAG_COUNT};
	_cleanup_free_ char *folder = NULL, *path = NULL;
	struct error err;
	int64_t count;
	int r = headscale_parse(&group, "pillion headscale logs", help, argc, argv);

	if (r != HEADSCALE_GO_ON)
		return r;
	count = values[COUNT].given ? values[COUNT].number : CAPPED_LOG_LINES;
	if (count < 0)
		return headscale_complain(EXIT_USAGE, "-n is a number of lines");
	if (count > CAPPED_LOG_LINES)
		count = CAPPED_LOG_LINES;
	folder = headscale_folder(values[STATE].text);
	if (!folder || asprintf(&path, "%s/" HEADSCALE_LOG, folder) < 0) {
		path = NULL;
		return headscale_complain(EXIT_FAILS,
					  "no folder %s: name that of 'pillion headscale run' by "
					  "--state",
					  values[STATE].given ? values[STATE].text : "to read in");
	}
	/* Who reads no more ends us with -EPIPE, not by a signal. */
	(void)signal(SIGPIPE, SIG_IGN);
	r = capped_log_show(path, (unsigned int)count, values[FOLLOW].on, STDOUT_FILENO, &err);
	if (r == -ENOENT)
		return headscale_complain(
			EXIT_FAILS, "%s: nothing was said yet; 'pillion headscale run' writes it",
			path);
	return r < 0 ? headscale_complain(EXIT_FAILS, "%s", err.text) : EXIT_OK;
}
