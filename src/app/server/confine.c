/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/confine.c - enter the sandbox, when a server's listeners are open */
#define LOG_ROOM "server"
#include "app/server/confine.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCHED_MAX ARRAY_SIZE(((struct confine *)0)->watched)

/* folder_of() - The folder that @path is in; the caller frees it */
static char *folder_of(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	return copy ? strdup(dirname(copy)) : NULL;
}

int confine_make_folder(const char *path, struct error *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set_errno(
			err, -errno,
			"make the folder %s (mount a volume at %s that can be written, or choose "
			"another)",
			path, path);
	return 0;
}

static int enter(const struct confine *c, struct sandbox_report *report, struct error *err)
{
	struct sandbox_path paths[1 + 2 * WATCHED_MAX];
	size_t count = 0;
	int r = 0;

	paths[count++] = (struct sandbox_path){c->folder, c->keeps ? SANDBOX_KEEP : SANDBOX_READ};
	for (size_t i = 0; i < WATCHED_MAX; i++) {
		_cleanup_free_ char *real = c->watched[i] ? realpath(c->watched[i], NULL) : NULL;

		if (!c->watched[i])
			continue;
		paths[count++] = (struct sandbox_path){folder_of(c->watched[i]), SANDBOX_READ};
		paths[count++] =
			(struct sandbox_path){folder_of(real ? real : c->watched[i]), SANDBOX_READ};
	}
	for (size_t i = 0; i < count; i++)
		if (!paths[i].path)
			r = error_set(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = sandbox_enter(c->profile, &c->identity, paths, count, report, err);
	for (size_t i = 1; i < count; i++)
		free((char *)paths[i].path);
	return r;
}

int confine(const struct confine *c, struct error *err)
{
	struct sandbox_report report;
	int r = enter(c, &report, err);

	if (r < 0)
		return r;
	if (c->keeps && access(c->folder, R_OK | W_OK | X_OK) < 0)
		return error_set_errno(err, -errno,
				       "%s is not writable for user %u, the user of the server",
				       c->folder, geteuid());
	for (size_t i = 0; i < WATCHED_MAX; i++)
		if (c->watched[i] && access(c->watched[i], R_OK) < 0)
			log_warn("%s is not readable for user %u, the user of the server: "
				 "restart the server after a change of the file",
				 c->watched[i], geteuid());
	return sandbox_seal(c->profile, &report, err);
}
