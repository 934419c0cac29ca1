/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_up.c - up, login, down, set, logout */
#include "app/cli/client.h"
#include "app/cli/command.h"
#include "app/cli/join.h"
#include "app/cli/output.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "node/prefs.h"

#include <errno.h>
#include <string.h>

int run_up(struct command_line *line)
{
	_cleanup_(secret_string_free_at) char *key = NULL;
	_cleanup_json_ json_t *masked = NULL;
	struct error err = {0};
	struct join join = {
		.socket = localapi_socket_path(line->socket),
		.force = line->prefs[PREFS_FORCE_REAUTH].on,
		.json = line->prefs[PREFS_JSON].on,
		.qr = line->prefs[PREFS_QR].on,
		.timeout = line->prefs[PREFS_TIMEOUT].number,
	};

	masked = prefs_flags_masked(line->prefs, &err);
	if (!masked || prefs_flags_auth_key(line->prefs, &key, &err) < 0)
		return complain(EXIT_USAGE, "%s", err.text);
	supervisor_hide_secrets(line->argc, line->argv, environ);
	join.masked = masked;
	join.auth_key = key;
	return join_tailnet(&join);
}

int run_login(struct command_line *line)
{
	_cleanup_json_ json_t *status = NULL;
	char name[PEER_NAME_MAX];
	struct error err = {0};

	if (!line->prefs[PREFS_FORCE_REAUTH].on) {
		if (localapi_status(localapi_socket_path(line->socket), false, &status, &err) < 0)
			return complain(EXIT_FAILS, "%s", err.text);
		if (strcmp(text_of(status, "BackendState"), "Running") == 0)
			return complain(EXIT_FAILS,
					"already logged in as %s. To log in anew: 'pillion login "
					"--force-reauth', or 'pillion logout' first",
					peer_name(json_object_get(status, "Self"), name));
	}
	return run_up(line);
}

static int patch(struct command_line *line, const json_t *masked)
{
	struct error err = {0};

	if (daemon_ask(line, "PATCH", "/localapi/v0/prefs", masked, NULL, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	return EXIT_OK;
}

int run_down(struct command_line *line)
{
	_cleanup_json_ json_t *masked = json_object();

	if (prefs_masked_set(masked, "WantRunning", json_false()) < 0)
		return complain(EXIT_FAILS, "out of memory");
	return patch(line, masked);
}

int run_set(struct command_line *line)
{
	_cleanup_json_ json_t *masked = NULL;
	struct error err = {0};

	masked = prefs_flags_masked(line->prefs, &err);
	if (!masked)
		return complain(EXIT_USAGE, "%s", err.text);
	if (json_object_size(masked) == 0)
		return complain(EXIT_USAGE,
				"name a setting to change; 'pillion set --help' lists them");
	return patch(line, masked);
}

int run_logout(struct command_line *line)
{
	struct error err = {0};

	if (daemon_ask(line, "POST", "/localapi/v0/logout", NULL, NULL, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	return EXIT_OK;
}
