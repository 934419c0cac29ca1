/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/finish.c - the end of a command */
#include "app/cli/finish.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int finish(const char *program, int code)
{
	int cause = fflush(stdout) == 0 ? 0 : errno;

	/* The flag stands also for a write in the middle, whose cause is gone by now. */
	if (cause == 0 && !ferror(stdout))
		return code;
	fprintf(stderr, "%s: the output could not be written%s%s\n", program, cause ? ": " : "",
		cause ? strerror(cause) : "");
	return code == 0 ? 1 : code;
}
