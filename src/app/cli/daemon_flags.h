/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/daemon_flags.h - the flags of tailscaled in TS_TAILSCALED_EXTRA_ARGS, daemon and connect
 */
#pragma once

#include "app/cli/flags.h"
#include "supervisor/supervisor.h"

#define DEFAULT_STATE_DIR     "/var/lib/tailscale"
#define DEFAULT_SOCKET_FOLDER "/var/run/tailscale"
#define DEFAULT_SOCKET_PATH   DEFAULT_SOCKET_FOLDER "/tailscaled.sock"
#define DEFAULT_TUN           "tailscale0"
#define STATE_FILE_NAME       "tailscaled.state"

enum daemon_flag {
	DAEMON_STATE_DIR,
	DAEMON_STATE,
	DAEMON_SOCKET,
	DAEMON_TUN,
	DAEMON_PORT,
	DAEMON_VERBOSE,
	DAEMON_TABLE,
	DAEMON_MTU,
	DAEMON_CA_FILE,
	DAEMON_SERVE_CONFIG,
	DAEMON_SERVE_ROOT,
	DAEMON_CERT,
	DAEMON_KEY,
	DAEMON_ACME_DIRECTORY,
	DAEMON_ACME_EMAIL,
	DAEMON_ACME_CHALLENGE,
	DAEMON_ACME_EAB_KID,
	DAEMON_ACME_EAB_HMAC,
	DAEMON_ACME_DNS_SERVER,
	DAEMON_ACME_DNS_ZONE,
	DAEMON_ACME_DNS_KEY,
	DAEMON_ACME_LISTEN,
	DAEMON_INGRESS_FROM,
	DAEMON_HEALTH,
	DAEMON_METRICS,
	DAEMON_ALLOW_EXIT_NODE,
	DAEMON_ALLOW_ROUTES,
	DAEMON_TAILNET_PREFIX,
	DAEMON_EXIT_ON_FAILURE,
	DAEMON_SAME_USER,
	DAEMON_ENGINE_UID,
	DAEMON_ENGINE_GID,
	DAEMON_LOG,
	DAEMON_LOG_LEVEL,
	DAEMON_LOG_FORMAT,
	DAEMON_OURS_END,

	DAEMON_FLAG_COUNT = DAEMON_OURS_END + 10,
};

extern const struct flag daemon_flags[DAEMON_FLAG_COUNT];

/**
 * daemon_flags_apply() - Put the given flags into the options of the supervisor
 * @strict: "userspace-networking" is an error (our command line); else a warning
 * @options: made by supervisor_options_init(); its strings come to point into argv or into heap
 *           strings that live as long as the process
 *
 * Return: 0, -EINVAL with @err, -ENOMEM
 */
int daemon_flags_apply(const struct flag_value values[static DAEMON_FLAG_COUNT], bool strict,
		       void (*warn)(const char *text), struct supervisor_options *options,
		       struct error *err);

/**
 * daemon_options_finish() - Defaults for what neither flags nor variables named
 *
 * State directory, socket, TUN and the CA variables of the environment.
 * Return: 0, -ENOMEM
 */
int daemon_options_finish(struct supervisor_options *options, struct error *err);

/** daemon_set() - Replace a heap string of privsep_start; 0, -ENOMEM */
int daemon_set(char **field, const char *text);
