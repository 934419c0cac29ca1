/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/command.h - the table of commands, from which help, completion and manual come
 */
#pragma once

#include "app/cli/client.h"
#include "app/cli/daemon_flags.h"
#include "app/cli/flags.h"
#include "app/cli/prefs_flags.h"
#include "wire/tailcfg.h"

#include <stdbool.h>

/* The first line of a daemon's log; scripts look for its first words. */
#define PROGRAM_STARTING "Program starting: v" TAILCFG_IPN_VERSION "-pillion" PILLION_VERSION

#define OWN_FLAGS_MAX   16
#define FLAG_GROUPS_MAX 6

/* A command line that was read; one command runs in a process. */
struct command_line {
	struct flag_value own[OWN_FLAGS_MAX];
	struct flag_value prefs[PREFS_FLAG_COUNT];
	struct flag_value daemon[DAEMON_FLAG_COUNT];
	const char *socket; /* --socket before or after the command, or NULL */
	const char **rest;  /* arguments that are no flags */
	int rest_count;
	bool official; /* called as tailscaled: its other flags are ignored */
	int argc;      /* of main */
	char **argv;
};

/* Which of the shared tables a command takes beside its own flags. */
enum command_tables {
	TAKES_SETTINGS = 1 << 0, /* prefs_flags up to PREFS_SETTINGS_END */
	TAKES_LOGIN = 1 << 1,    /* prefs_flags up to PREFS_OURS_END */
	TAKES_DAEMON = 1 << 2,   /* daemon_flags */
	TAKES_SOCKET = 1 << 3,   /* --socket, for clients */
};

struct command {
	const char *name;
	const char *summary;     /* one line, no full stop */
	const char *arguments;   /* "HOST", or NULL: takes none */
	const char *description; /* paragraphs */
	const char *examples;    /* "command\n\twhat it does\n" … */
	const struct flag *flags;
	size_t flag_count;
	unsigned int tables;                   /* bits of enum command_tables */
	bool hidden;                           /* not in the list of commands */
	bool passes;                           /* reads its words itself, --help too */
	int (*run)(struct command_line *line); /* exit code */
};

extern const struct command commands[];
extern const size_t command_count;

/* --socket, where a command takes it */
extern struct flag_value command_socket;

/** command_find() - By name, or NULL */
const struct command *command_find(const char *name);

/** command_groups() - The flags of @command as groups over @line; returns how many */
size_t command_groups(const struct command *command, struct command_line *line,
		      struct flag_group ret[static FLAG_GROUPS_MAX]);

/** command_unknown() - Complain about @name, and suggest a command; exit code */
int command_unknown(const char *name);

/** daemon_ask() - localapi_call() of the daemon that @line names */
static inline int daemon_ask(const struct command_line *line, const char *method,
			     const char *target, const json_t *body, json_t **ret,
			     struct error *err)
{
	return localapi_call(localapi_socket_path(line->socket), method, target, body, ret, err);
}

/** command_help() - `pillion COMMAND --help`, to stdout */
void command_help(const struct command *command);

/** command_list() - `pillion --help`, to stdout */
void command_list(void);

/** command_main() - Read a command line without its program and run it; exit code */
int command_main(int argc, char **argv);

/** print_version() - The version of this program, and the one that the network sees */
void print_version(void);

/* Each in its file. */
int run_up(struct command_line *line);
int run_login(struct command_line *line);
int run_down(struct command_line *line);
int run_set(struct command_line *line);
int run_logout(struct command_line *line);
int run_status(struct command_line *line);
int run_ip(struct command_line *line);
int run_ping(struct command_line *line);
int run_whois(struct command_line *line);
int run_version(struct command_line *line);
int run_daemon(struct command_line *line);
int run_connect(struct command_line *line);
int run_disconnect(struct command_line *line);
int run_entrypoint(struct command_line *line);
int run_completion(struct command_line *line);
int run_manual(struct command_line *line);
int run_help(struct command_line *line);
int run_server(struct command_line *line);
int run_serve(struct command_line *line);
int run_funnel(struct command_line *line);
int run_cert(struct command_line *line);

/* The own flags of each, in the order of its table. */
enum status_flag {
	STATUS_JSON,
	STATUS_PEERS,
	STATUS_ACTIVE,
	STATUS_SELF,
	STATUS_HEADER,
	STATUS_WEB
};
enum ip_flag { IP_FIRST, IP_V4, IP_V6, IP_ASSERT };
enum ping_flag {
	PING_COUNT,
	PING_TSMP,
	PING_ICMP,
	PING_PEERAPI,
	PING_SIZE,
	PING_TIMEOUT,
	PING_UNTIL_DIRECT
};
enum whois_flag { WHOIS_JSON, WHOIS_PROTO };
enum serve_flag {
	SERVE_FLAG_BG,
	SERVE_FLAG_HTTPS,
	SERVE_FLAG_HTTP,
	SERVE_FLAG_TCP,
	SERVE_FLAG_TLS_TCP,
	SERVE_FLAG_SET_PATH,
	SERVE_FLAG_PROXY_PROTOCOL,
	SERVE_FLAG_YES,
	SERVE_FLAG_JSON,
	SERVE_FLAG_APP_CAPS,
};
enum cert_flag { CERT_FLAG_FILE, CERT_FLAG_KEY, CERT_FLAG_VALIDITY, CERT_FLAG_CA };
enum version_flag { VERSION_JSON, VERSION_DAEMON, VERSION_UPSTREAM };
enum daemon_own_flag { DAEMON_OWN_CLEAN_UP, DAEMON_OWN_VERSION };
enum connect_flag { CONNECT_FOREGROUND, CONNECT_IF_CONFIGURED };
enum disconnect_flag { DISCONNECT_TIMEOUT };
