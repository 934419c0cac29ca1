/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/supervisor_tool.c - the supervisor by flags, for the system tests
 *
 * Like `pillion run` and `pillion daemon`, without what reads variables. The tests
 * copy it into a folder with a stub_engine beside it that is called pillion-engine. With
 * --stub-child it runs a child of a second kind, stub_child, beside the engine.
 */
#include "base/clock.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum flag {
	RUN = 256,
	MEMORY,
	STATE_DIR,
	SOCKET,
	LINK,
	HEALTH,
	UDP_PORT,
	AUTH_KEY,
	AUTH_KEY_FILE,
	CA_FILE,
	CERT_DIR,
	SAME_USER,
	BOOT_TIMEOUT,
	EXIT_ON_FAILURE,
	LOG_PATH,
	TUN,
	TABLE,
	EXIT_NODE,
	ALLOW_ROUTES,
	TAILNET_PREFIX,
	STUB_CHILD,
};

/* No row of the message table names this kind. */
static const struct child_kind stub_kind = {
	.name = "the stub",
	.program = "stub_child",
	.sender = (enum privsep_sender)(1u << 7),
	.quotas.said = {.burst = 64, .interval = NSEC_PER_SEC},
};

static const struct option flags[] = {
	{"run", no_argument, NULL, RUN},
	{"memory", no_argument, NULL, MEMORY},
	{"statedir", required_argument, NULL, STATE_DIR},
	{"socket", required_argument, NULL, SOCKET},
	{"link", required_argument, NULL, LINK},
	{"health", required_argument, NULL, HEALTH},
	{"udp-port", required_argument, NULL, UDP_PORT},
	{"auth-key", required_argument, NULL, AUTH_KEY},
	{"auth-key-file", required_argument, NULL, AUTH_KEY_FILE},
	{"ca-file", required_argument, NULL, CA_FILE},
	{"cert-dir", required_argument, NULL, CERT_DIR},
	{"same-user", no_argument, NULL, SAME_USER},
	{"boot-timeout", required_argument, NULL, BOOT_TIMEOUT},
	{"exit-on-failure", no_argument, NULL, EXIT_ON_FAILURE},
	{"log-path", required_argument, NULL, LOG_PATH},
	{"tun", required_argument, NULL, TUN},
	{"table", required_argument, NULL, TABLE},
	{"exit-node", no_argument, NULL, EXIT_NODE},
	{"allow-routes", required_argument, NULL, ALLOW_ROUTES},
	{"tailnet-prefix", required_argument, NULL, TAILNET_PREFIX},
	{"stub-child", no_argument, NULL, STUB_CHILD},
	{0},
};

static void apply(struct supervisor_options *options, int flag, char *value)
{
	struct privsep_start *start = &options->start;

	switch ((enum flag)flag) {
	case RUN:
		options->mode = SUPERVISOR_RUN;
		break;
	case MEMORY:
		start->state_mode = START_STATE_MEMORY;
		break;
	case STATE_DIR:
		options->state_dir = value;
		break;
	case SOCKET:
		options->socket_path = value;
		break;
	case LINK:
		options->socket_link = value;
		break;
	case HEALTH:
		options->health_address = value;
		start->health_check = true;
		break;
	case UDP_PORT:
		options->udp_port = (uint16_t)atoi(value);
		options->udp_port_named = options->udp_port != 0;
		break;
	case AUTH_KEY:
		options->auth_key = value;
		break;
	case AUTH_KEY_FILE:
		options->auth_key_file = value;
		break;
	case CA_FILE:
		options->ca_file = value;
		break;
	case CERT_DIR:
		options->ssl_cert_dir = value;
		break;
	case SAME_USER:
		options->same_user = true;
		break;
	case BOOT_TIMEOUT:
		options->boot_timeout = atoi(value) * NSEC_PER_MSEC;
		break;
	case EXIT_ON_FAILURE:
		options->exit_on_failure = true;
		break;
	case LOG_PATH:
		options->log_path = value;
		break;
	case TUN:
		start->tun_name = strdup(value);
		break;
	case TABLE:
		start->table = (uint32_t)atoi(value);
		break;
	case EXIT_NODE:
		start->allow_exit_node = true;
		break;
	case ALLOW_ROUTES:
		start->allow_routes = strdup(value);
		break;
	case TAILNET_PREFIX:
		start->tailnet_ranges = strdup(value);
		break;
	case STUB_CHILD:
		options->beside = &stub_kind;
		break;
	}
}

int main(int argc, char **argv)
{
	struct supervisor_options options;
	int flag, code;

	supervisor_options_init(&options);
	options.argc = argc;
	options.argv = argv;
	while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
		if (flag == '?')
			return SUPERVISOR_EXIT_CONFIGURATION;
		apply(&options, flag, optarg);
	}
	code = supervisor_run(&options);
	privsep_start_clear(&options.start);
	return code;
}
