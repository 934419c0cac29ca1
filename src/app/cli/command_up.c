/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_up.c - up, login, down, set, logout */
#include "app/cli/client.h"
#include "app/cli/command.h"
#include "app/cli/join.h"
#include "app/cli/output.h"
#include "app/cli/status_nodes.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "node/prefs.h"

#include <errno.h>
#include <string.h>

static void json_free(json_t **value)
{
	json_decref(*value);
}

static int join_by_flags(struct command_line *line, const char *name)
{
	_cleanup_(secret_string_free_at) char *key = NULL;
	_cleanup_(json_free) json_t *masked = NULL;
	struct error err = {0};
	struct join join = {
		.name = name,
		.socket = localapi_socket_path(line->socket),
		.force = line->prefs[PREFS_FORCE_REAUTH].on,
		.json = line->prefs[PREFS_JSON].on,
		.qr = line->prefs[PREFS_QR].on,
		.timeout = line->prefs[PREFS_TIMEOUT].number,
	};

	masked = prefs_flags_masked(line->prefs, &err);
	if (!masked || prefs_flags_auth_key(line->prefs, &key, &err) < 0)
		return complain(name, EXIT_USAGE, "%s", err.text);
	supervisor_hide_secrets(line->argc, line->argv, environ);
	join.masked = masked;
	join.auth_key = key;
	return join_tailnet(&join);
}

int run_up(struct command_line *line)
{
	return join_by_flags(line, "up");
}

int run_login(struct command_line *line)
{
	_cleanup_(json_free) json_t *status = NULL;
	char name[PEER_NAME_MAX];
	struct error err = {0};

	if (!line->prefs[PREFS_FORCE_REAUTH].on) {
		if (localapi_call(localapi_socket_path(line->socket), "GET",
				  "/localapi/v0/status?peers=false", NULL, &status, &err) < 0)
			return complain("login", EXIT_FAILS, "%s", err.text);
		if (strcmp(text_of(status, "BackendState"), "Running") == 0)
			return complain("login", EXIT_FAILS,
					"already logged in as %s. To log in anew: 'pillion login "
					"--force-reauth', or 'pillion logout' first",
					peer_name(json_object_get(status, "Self"), name));
	}
	return join_by_flags(line, "login");
}

static int patch(struct command_line *line, const char *name, const json_t *masked)
{
	struct error err = {0};

	if (localapi_call(localapi_socket_path(line->socket), "PATCH", "/localapi/v0/prefs", masked,
			  NULL, &err) < 0)
		return complain(name, EXIT_FAILS, "%s", err.text);
	return EXIT_OK;
}

int run_down(struct command_line *line)
{
	_cleanup_(json_free) json_t *masked = json_object();

	if (prefs_masked_set(masked, "WantRunning", json_false()) < 0)
		return complain("down", EXIT_FAILS, "out of memory");
	return patch(line, "down", masked);
}

int run_set(struct command_line *line)
{
	_cleanup_(json_free) json_t *masked = NULL;
	struct error err = {0};

	masked = prefs_flags_masked(line->prefs, &err);
	if (!masked)
		return complain("set", EXIT_USAGE, "%s", err.text);
	if (json_object_size(masked) == 0)
		return complain("set", EXIT_USAGE,
				"name a setting to change; 'pillion set --help' lists them");
	return patch(line, "set", masked);
}

int run_logout(struct command_line *line)
{
	struct error err = {0};

	if (localapi_call(localapi_socket_path(line->socket), "POST", "/localapi/v0/logout", NULL,
			  NULL, &err) < 0)
		return complain("logout", EXIT_FAILS, "%s", err.text);
	return EXIT_OK;
}
