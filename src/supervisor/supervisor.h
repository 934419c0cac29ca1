/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/supervisor.h - the privileged process
 *
 * Called by `pillion run` and `pillion daemon` once their flags and variables are
 * read; returns the exit code of the program.
 */
#pragma once

#include "privsep/start_config.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit codes of section "PID 1 never drops the namespace" in docs/architecture.md. */
#define SUPERVISOR_EXIT_OK            0
#define SUPERVISOR_EXIT_MACHINE       1 /* the machine lacks something, or a limit that was asked for */
#define SUPERVISOR_EXIT_CONFIGURATION 2

#define SUPERVISOR_ENGINE_UID 65532u
#define SUPERVISOR_ENGINE_GID 65532u

struct child_kind; /* supervisor/child.h */

enum supervisor_mode {
	SUPERVISOR_RUN,    /* entrypoint: waits for a locked state; announces "Startup complete" */
	SUPERVISOR_DAEMON, /* a locked state ends it with 1 */
};

/**
 * struct supervisor_options - What the supervisor is to do
 *
 * All strings stay the caller's and must live until supervisor_run() returns; NULL is
 * "not set". The auth key alone is copied at once, since what it lies in is wiped.
 */
struct supervisor_options {
	enum supervisor_mode mode;
	struct privsep_start start; /* the caller's part of it; see privsep/start_config.h */

	const char *state_dir;      /* needed unless start.state_mode is START_STATE_MEMORY */
	const char *socket_path;    /* of the LocalAPI */
	const char *socket_link;    /* symlink to it, or NULL; failing to make it only warns */
	const char *health_address; /* "[::]:9002"; used when start.health_check or start.metrics */
	uint16_t udp_port;          /* wanted: 0 for any; taken already: any, with a warning */
	bool udp_port_named;        /* by a person; else the one of the last run goes first */

	const char *auth_key;      /* the key itself, or NULL */
	const char *auth_key_file; /* or the file that holds it, read at each request */
	const char *ca_file;       /* --ca-file, TS_CA_FILE */
	const char *ssl_cert_file; /* SSL_CERT_FILE */
	const char *ssl_cert_dir;  /* SSL_CERT_DIR: folders joined by ':' */

	uint32_t engine_uid; /* split user; SUPERVISOR_ENGINE_UID unless named */
	uint32_t engine_gid;
	bool same_user; /* don't split, even where we could */

	int64_t boot_timeout; /* TS_BOOT_TIMEOUT in nanoseconds: not Running by then, exit 1; 0:
				 none */
	bool exit_on_failure; /* once Running, another state ends us with 1 */
	void (*show_login)(const char *url); /* beside its log line, as a QR code; or NULL */
	const char *log_path; /* background: capped file that log lines go to instead of stderr */

	/* A kind of child that runs beside the engine, from the start; NULL: none */
	const struct child_kind *beside;

	int argc;    /* of main, with argv and environ: secrets in them are wiped in place */
	char **argv; /* NULL: leave alone */
};

/** supervisor_options_init() - Defaults of every field, privsep_start_init() included */
void supervisor_options_init(struct supervisor_options *options);

/**
 * supervisor_run() - Be the supervisor until a signal, or one of the reasons to end
 *
 * Checks the machine first; what is wrong there is one paragraph in the log, with
 * cause and remedy. Changes the process: signal mask, capabilities, no_new_privs.
 * Return: exit code
 */
int supervisor_run(const struct supervisor_options *options);

/**
 * supervisor_clean_up() - Remove what a daemon that was killed left: rules, routes, nft, socket
 *
 * What belongs to a node that runs is left alone.
 * Return: exit code
 */
int supervisor_clean_up(const struct supervisor_options *options);

/**
 * supervisor_hide_secrets() - Overwrite secrets in argv and environ in place
 *
 * Values of variables whose name ends in KEY, SECRET, TOKEN or PASSWORD, of proxies with a
 * user, and of --auth-key and its like, also inside TS_EXTRA_ARGS. What a caller still needs
 * it must have copied. supervisor_run() does it itself.
 */
void supervisor_hide_secrets(int argc, char **argv, char **environment);
