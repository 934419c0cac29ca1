/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_command.h - shared by the files of `pillion control` */
#pragma once

#include "app/cli/flags.h"
#include "base/error.h"
#include "server/coordinator/tailnet.h"

#include <stdio.h>

#define EXIT_OK    0
#define EXIT_FAILS 1
#define EXIT_USAGE 2

/* Configuration: flags win over variables (PILLION_CONTROL_…), those over the file. */
struct coordinator_config {
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

enum coordinator_flag {
	COORDINATOR_CONFIG,
	COORDINATOR_STATE,
	COORDINATOR_SOCKET,
	COORDINATOR_URL,
	COORDINATOR_LISTEN,
	COORDINATOR_CERTIFICATE,
	COORDINATOR_KEY,
	COORDINATOR_BASE_DOMAIN,
	COORDINATOR_DERP_MAP,
	COORDINATOR_RELAY,
	COORDINATOR_RELAY_LISTEN,
	COORDINATOR_STUN_LISTEN,
	COORDINATOR_RELAY_HTTP,
	COORDINATOR_METRICS,
	COORDINATOR_NODE_EXPIRY,
	COORDINATOR_EPHEMERAL,
	COORDINATOR_DNS_HOOK,
	COORDINATOR_DNS_HOOK_TIMEOUT,
	COORDINATOR_LOG_LEVEL,
	COORDINATOR_LOG_FORMAT,
	COORDINATOR_FLAG_COUNT,
};

extern const struct flag coordinator_flags[COORDINATOR_FLAG_COUNT];

/** coordinator_config_load() - From flags, variables and file; 0 or negative errno with @err set */
int coordinator_config_load(const struct flag_value *values, struct coordinator_config *ret,
			    struct error *err);
void coordinator_config_clear(struct coordinator_config *config);

/** coordinator_memory_recall() - Read the settings of the last start; URL and base domain hold unless
 *  others are given */
int coordinator_memory_recall(struct coordinator_config *config, struct error *err);

/** coordinator_memory_keep() - Log settings that changed, and store the present ones */
void coordinator_memory_keep(const struct coordinator_config *config);

/** coordinator_config_socket() - Where the operator's socket is, for clients; the caller frees it */
char *coordinator_config_socket(const char *given);

/** coordinator_complain() - "pillion control: text" on stderr; returns @code */
int coordinator_complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** coordinator_serve() - `pillion control serve`; exit code */
int coordinator_serve(int argc, char **argv);

/**
 * coordinator_ask() - One request over the operator's socket
 * @ret_json: the answer, or NULL where it has none; also where the server refused
 *
 * Return: 0; -ENOENT, -ECONNREFUSED when no server answers; negative errno with the server's own
 * words in @err
 */
int coordinator_ask(const char *socket, const char *method, const char *path, const void *body,
		    size_t length, json_t **ret_json, struct error *err);
