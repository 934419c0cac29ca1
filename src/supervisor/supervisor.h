/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/supervisor.h - the privileged process
 *
 * `pillion run` and `pillion daemon` call it when their flags and variables are read.
 */
#pragma once

#include "privsep/start_config.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit codes of section "PID 1 never drops the namespace" in docs/architecture.md. */
#define SUPERVISOR_EXIT_OK            0
#define SUPERVISOR_EXIT_MACHINE       1 /* the machine lacks something, or a requested limit */
#define SUPERVISOR_EXIT_CONFIGURATION 2

#define SUPERVISOR_ENGINE_UID 65532u
#define SUPERVISOR_ENGINE_GID 65532u

/* The services process has the next ids: one more than those of the engine. */

struct child_kind; /* supervisor/child.h */

enum supervisor_mode {
	SUPERVISOR_RUN,    /* entrypoint: waits for a locked state; announces "Startup complete" */
	SUPERVISOR_DAEMON, /* a locked state ends it with 1 */
};

/* Before the path of a file, in place of a secret itself. */
#define SUPERVISOR_FILE_PREFIX "file:"

/**
 * struct supervisor_options - Options of the supervisor
 *
 * All strings belong to the caller and must live until supervisor_run() returns; NULL is
 * "not set". Only secrets are copied at once, since their memory is wiped.
 */
struct supervisor_options {
	enum supervisor_mode mode;
	struct privsep_start start; /* the caller's part of it; see privsep/start_config.h */

	const char *state_dir;      /* needed unless start.state_mode is START_STATE_MEMORY */
	const char *socket_path;    /* of the LocalAPI */
	const char *socket_link;    /* symlink to it, or NULL; a failure to make it is a warning */
	const char *health_address; /* "[::]:9002"; used when start.health_check or start.metrics */
	uint16_t udp_port;   /* preferred port; 0: any. If it is taken: any, with a warning */
	bool udp_port_named; /* by a person; otherwise the port of the last run has priority */

	const char *auth_key;      /* the key itself, or NULL */
	const char *auth_key_file; /* or its file, read at each request */
	const char *ca_file;       /* --ca-file, TS_CA_FILE */
	const char *ssl_cert_file; /* SSL_CERT_FILE */
	const char *aead;          /* PILLION_AEAD, or NULL: the engine takes the best */
	const char *ssl_cert_dir;  /* SSL_CERT_DIR: folders joined by ':' */

	const char *serve_config;      /* TS_SERVE_CONFIG: JSON file, or NULL */
	const char *serve_config_text; /* TS_SERVE_CONFIG_JSON: the JSON itself, or NULL */
	const char *certificate;       /* --cert: PEM file for HTTPS, or NULL */
	const char *certificate_key;   /* --key: PEM file of its private key, or NULL */
	const char *acme_eab_hmac;     /* the text, or "file:PATH"; NULL: none */
	const char *acme_dns_key;      /* the same */
	const char *acme_listen;       /* ADDRESS:PORT for proofs of ACME alone, or NULL */

	uint32_t engine_uid; /* split user; SUPERVISOR_ENGINE_UID unless named */
	uint32_t engine_gid;
	bool same_user; /* run the engine as our own user in any case */

	int64_t boot_timeout; /* TS_BOOT_TIMEOUT in nanoseconds: not Running by then, exit 1; 0:
				 none */
	bool exit_on_failure; /* after the first Running, another state ends it with 1 */
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
 * supervisor_run() - Run until a signal, or one of the other reasons to end
 *
 * Checks the machine first; a problem there is one paragraph in the log, with cause and remedy.
 * Changes the process: signal mask, capabilities, no_new_privs.
 * Return: exit code
 */
int supervisor_run(const struct supervisor_options *options);

/**
 * supervisor_clean_up() - Remove rules, routes, nft table and socket of a daemon that was killed
 *
 * Those of a running node stay.
 * Return: exit code
 */
int supervisor_clean_up(const struct supervisor_options *options);

/**
 * supervisor_hide_secrets() - Overwrite secrets in argv and environ in place
 *
 * Values of variables whose name ends in KEY, SECRET, TOKEN or PASSWORD, of proxies with a
 * user, and of flags like --auth-key, also inside TS_EXTRA_ARGS. The caller copies them before.
 * supervisor_run() calls it.
 */
void supervisor_hide_secrets(int argc, char **argv, char **environment);
