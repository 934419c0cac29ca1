/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/entrypoint/command_run.c - `pillion run`, also as containerboot: the sidecar of a container
 *
 * Reads the TS_* variables and becomes the supervisor in this same process. An error
 * that waiting can't heal (contradictory variables, an unknown flag, a missing key
 * file) is one paragraph and exit code 2, before anything is up.
 */
#include "app/cli/command.h"
#include "app/entrypoint/entry_options.h"
#include "base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ROOM "entrypoint"
#include "base/log.h"

/* Where the official entrypoint listens, and scripts that name its socket look. */
#define OFFICIAL_SOCKET_PATH "/tmp/tailscaled.sock"

static void warn(const char *text)
{
	log_warn("%s", text);
}

/* say_userspace() - By default the official image has no interface; pillion always has one */
static void say_userspace(const struct entry_settings *s)
{
	if (s->userspace.on)
		log_warn("TS_USERSPACE=true is ignored: pillion always uses a kernel interface, "
			 "which needs NET_ADMIN and /dev/net/tun");
	else if (!s->userspace.given)
		log_info("TS_USERSPACE is unset: pillion always uses a kernel interface, which "
			 "needs NET_ADMIN and /dev/net/tun");
}

/* choose_socket() - Where commands look; a read-only root file system may leave /tmp alone */
static const char *choose_socket(void)
{
	static const char folder[] = DEFAULT_SOCKET_FOLDER;

	if ((mkdir(folder, 0755) == 0 || errno == EEXIST) && access(folder, W_OK) == 0)
		return DEFAULT_SOCKET_PATH;
	log_warn("%s can't be written, so the LocalAPI socket is %s: set "
		 "TS_SOCKET to that path, so that commands in this container find it, or mount a "
		 "tmpfs at /run",
		 folder, OFFICIAL_SOCKET_PATH);
	return OFFICIAL_SOCKET_PATH;
}

/* run_defaults() - The defaults of the official entrypoint */
static void run_defaults(struct entry_settings *s)
{
	if (s->prefs[PREFS_ACCEPT_DNS].on)
		log_warn("TS_ACCEPT_DNS=true has no effect yet: names of the tailnet are not "
			 "resolved, and /etc/resolv.conf is left as it is");
	/* Not from the state: a volume that once accepted DNS must not keep accepting it. */
	s->prefs[PREFS_ACCEPT_DNS].given = true;
	if (s->prefs[PREFS_FORCE_REAUTH].on) {
		log_warn("--force-reauth in TS_EXTRA_ARGS is ignored: it would make a new node "
			 "at every start; 'pillion login --force-reauth' does it once");
		s->prefs[PREFS_FORCE_REAUTH] = (struct flag_value){0};
	}
	if (!s->daemon[DAEMON_STATE_DIR].given && !s->daemon[DAEMON_STATE].given)
		s->daemon[DAEMON_STATE] = (struct flag_value){.given = true, .text = "mem:"};
	if (!s->daemon[DAEMON_SOCKET].given)
		s->daemon[DAEMON_SOCKET] =
			(struct flag_value){.given = true, .text = choose_socket()};
	if (s->auth_once.on && !s->daemon[DAEMON_STATE_DIR].given &&
	    strcmp(s->daemon[DAEMON_STATE].text, "mem:") == 0)
		log_warn("TS_AUTH_ONCE=true without TS_STATE_DIR: nothing is kept, so every start "
			 "is a new login");
}

int run_entrypoint(struct command_line *line)
{
	struct entry_settings settings;
	struct entry_options options;
	struct error err = {0};
	int r;

	log_setup(STDERR_FILENO, LOG_INFO, LOG_FORMAT_TEXT);
	log_info(PROGRAM_STARTING);
	r = variables_read(environ, warn, &settings, &err);
	if (r < 0) {
		log_error("%s", err.text);
		return SUPERVISOR_EXIT_CONFIGURATION;
	}
	say_userspace(&settings);
	run_defaults(&settings);
	r = entry_options_make(&settings, false, warn, &options, &err);
	if (r < 0)
		goto refused;
	options.supervisor.mode = SUPERVISOR_RUN;
	options.supervisor.start.up = true;
	options.supervisor.argc = line->argc;
	options.supervisor.argv = line->argv;
	options.supervisor.socket_link =
		strcmp(options.supervisor.socket_path, DEFAULT_SOCKET_PATH) == 0
			? OFFICIAL_SOCKET_PATH
			: DEFAULT_SOCKET_PATH;
	r = daemon_options_finish(&options.supervisor, &err);
	if (r < 0) {
		entry_options_clear(&options);
		goto refused;
	}
	r = supervisor_run(&options.supervisor);
	entry_options_clear(&options);
	variables_clear(&settings);
	return r;

refused:
	log_error("%s", err.text);
	variables_clear(&settings);
	return r == -ENOMEM ? SUPERVISOR_EXIT_MACHINE : SUPERVISOR_EXIT_CONFIGURATION;
}
