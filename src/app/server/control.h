/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/control.h - what the files of `pillion control` share */
#pragma once

#include "app/cli/flags.h"
#include "base/error.h"
#include "server/control/tailnet.h"

#include <stdio.h>

#define EXIT_OK    0
#define EXIT_FAILS 1
#define EXIT_USAGE 2

/* Configuration: flags win over variables (PILLION_CONTROL_…), those over the file. */
struct control_config {
	char *state;  /* folder */
	char *socket; /* of the operator */
	char *url;    /* how nodes call the server; no slash at the end */
	struct endpoint listen;
	bool plain;        /* no TLS there, by the scheme of --listen, else of `url` */
	char *certificate; /* file; NULL: the private authority's */
	char *key;         /* file */
	char *base_domain;
	nanoseconds node_expiry;
	nanoseconds ephemeral_timeout;
	char *dns_hook; /* program; NULL: none */
	nanoseconds dns_hook_timeout;
	char *relay_listen; /* "ADDRESS:PORT"; NULL: no relay of our own */
	char *stun_listen;
	char *relay_http; /* "ADDRESS:PORT"; NULL: none */
	char *metrics;    /* "ADDRESS:PORT"; NULL: none */
	char *log_level;
	char *log_format;
	struct tailcfg_derp_map derp_map;
	struct tailcfg_dns_config dns;
	char *derp_map_file; /* NULL: none, or the map stands in the configuration */
	json_t *before;      /* settings when the folder was served before; NULL: it never was */
};

enum control_flag {
	CONTROL_CONFIG,
	CONTROL_STATE,
	CONTROL_SOCKET,
	CONTROL_URL,
	CONTROL_LISTEN,
	CONTROL_CERTIFICATE,
	CONTROL_KEY,
	CONTROL_BASE_DOMAIN,
	CONTROL_DERP_MAP,
	CONTROL_RELAY,
	CONTROL_RELAY_LISTEN,
	CONTROL_STUN_LISTEN,
	CONTROL_RELAY_HTTP,
	CONTROL_METRICS,
	CONTROL_NODE_EXPIRY,
	CONTROL_EPHEMERAL,
	CONTROL_DNS_HOOK,
	CONTROL_DNS_HOOK_TIMEOUT,
	CONTROL_LOG_LEVEL,
	CONTROL_LOG_FORMAT,
	CONTROL_FLAG_COUNT,
};

extern const struct flag control_flags[CONTROL_FLAG_COUNT];

/** control_config_load() - From what was given; 0 or negative errno with @err set */
int control_config_load(const struct flag_value *values, struct control_config *ret,
			struct error *err);
void control_config_clear(struct control_config *config);

/** control_memory_recall() - Read what the folder was served with before, and take URL and base
 *  domain from there where none is given */
int control_memory_recall(struct control_config *config, struct error *err);

/** control_memory_keep() - Say what is other than before, and remember what holds now */
void control_memory_keep(const struct control_config *config);

/** control_config_socket() - Where the operator's socket is, for clients; the caller frees it */
char *control_config_socket(const char *given);

/** control_complain() - "pillion control: text" on stderr; returns @code */
int control_complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** control_serve() - `pillion control serve`; exit code */
int control_serve(int argc, char **argv);

/** control_complete() - The words that may follow @argv, a line each, for completion; exit code */
int control_complete(int argc, char **argv);

/** control_help_lines() - What the help says of the commands that begin with @word */
void control_help_lines(FILE *to, const char *word);

/** control_order() - Any other command; exit code */
int control_order(int argc, char **argv);

/**
 * control_ask() - One request over the operator's socket
 * @ret_json: the answer, or NULL where it has none; also where the server refused
 *
 * Return: 0; -ENOENT, -ECONNREFUSED when no server answers; negative errno with the server's own
 * words in @err
 */
int control_ask(const char *socket, const char *method, const char *path, const void *body,
		size_t length, json_t **ret_json, struct error *err);
