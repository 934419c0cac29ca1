/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_command.h - shared by the files of `pillion control` */
#pragma once

#include "app/cli/flags.h"
#include "base/error.h"
#include "base/log.h"
#include "server/coordinator/tailnet.h"

/* Configuration: flags win over variables (PILLION_CONTROL_…), those over the file. */
/* clang-format off */
#define CONTROL_FLAGS(FLAG) \
	FLAG(CONFIG, "config", STRING, "FILE", "JSON with any of what follows") \
	FLAG(STATE, "state", STRING, "FOLDER", \
	     "database, keys, socket (default " CONTROL_SYSTEM_STATE " if it exists, else ./" CONTROL_LOCAL_STATE ")") \
	FLAG(SOCKET, "socket", STRING, "PATH", "where the operator's commands go (default FOLDER/control.sock)") \
	FLAG(URL, "url", STRING, "URL", "how nodes call this server (default as before, or https://HOSTNAME:8443)") \
	FLAG(LISTEN, "listen", STRING, "[SCHEME://]ADDRESS:PORT", \
	     "(default all addresses, scheme and port of the URL); http://127.0.0.1:8080 " \
	     "behind a proxy that has the certificate") \
	FLAG(CERTIFICATE, "certificate", STRING, "FILE", "PEM chain (default: from a private authority, made once)") \
	FLAG(KEY, "key", STRING, "FILE", "PEM key of the certificate") \
	FLAG(BASE_DOMAIN, "base-domain", STRING, "NAME", \
	     "what follows a node's name (default as before, or tailnet.internal)") \
	FLAG(DERP_MAP, "derp-map", STRING, "FILE", \
	     "relays, as a DERPMap in JSON (default: the relay of this program)") \
	FLAG(RELAY, "relay", STRING, "on|off", "a relay in this program (default: on without --derp-map)") \
	FLAG(RELAY_LISTEN, "relay-listen", STRING, "ADDRESS:PORT", "its TLS port (default all addresses, port 8444)") \
	FLAG(STUN_LISTEN, "stun-listen", STRING, "ADDRESS:PORT", "its STUN port (default all addresses, port 3478)") \
	FLAG(RELAY_HTTP, "relay-http", STRING, "ADDRESS:PORT", \
	     "plain HTTP for captive-portal checks, usually [::]:80 (default off)") \
	FLAG(METRICS, "metrics", STRING, "ADDRESS:PORT", \
	     "serve /metrics and /healthz there, to everybody (default off)") \
	FLAG(NODE_EXPIRY, "node-expiry", PERIOD, "DURATION", "how long a login lasts; 0: it never expires (default 0)") \
	FLAG(EPHEMERAL_TIMEOUT, "ephemeral-timeout", PERIOD, "DURATION", \
	     "until a disconnected ephemeral node is deleted (default 10m)") \
	FLAG(DNS_HOOK, "dns-hook", STRING, "PROGRAM", \
	     "run as 'PROGRAM present NAME VALUE' to set a TXT record in public DNS, for the nodes' certificates") \
	FLAG(DNS_HOOK_TIMEOUT, "dns-hook-timeout", DURATION, "DURATION", "until the DNS hook is killed (default 60s)") \
	FLAG(LOG_LEVEL, "log-level", STRING, "LEVEL", "error, warn, info or debug (default info)") \
	FLAG(LOG_FORMAT, "log-format", STRING, "FORMAT", "text or json")
/* clang-format on */

#define CONTROL_SYSTEM_STATE "/var/lib/pillion-control"
#define CONTROL_LOCAL_STATE  "pillion-control"

enum control_flag {
#define ID(id, name, kind, argument, help) CONTROL_##id,
	CONTROL_FLAGS(ID)
#undef ID
		CONTROL_FLAG_COUNT
};

struct coordinator_config {
	/* By enum control_flag; NULL: not given, and without a default. STATE is absolute, URL has
	 * no slash at the end. */
	char *text[CONTROL_FLAG_COUNT];
	struct endpoint listen;
	bool plain; /* no TLS there, by the scheme of --listen, else of the URL */
	bool relay; /* one in this program */
	struct endpoint relay_listen, stun_listen, relay_http, metrics; /* of no family: none */
	enum log_level log_level;
	nanoseconds node_expiry, ephemeral_timeout, dns_hook_timeout;
	struct tailcfg_derp_map derp_map;
	struct tailcfg_dns_config dns;
	json_t *before; /* settings when the folder was served before; NULL: it never was */
};

extern const struct flag coordinator_flags[CONTROL_FLAG_COUNT];

/** coordinator_config_load() - From flags, variables and file; 0 or negative errno with @err set */
int coordinator_config_load(const struct flag_value *values, struct coordinator_config *ret,
			    struct error *err);
void coordinator_config_clear(struct coordinator_config *config);

/** coordinator_config_keep() - Log settings that changed since the last start, and store them */
void coordinator_config_keep(const struct coordinator_config *config);

/** coordinator_config_socket() - Where the operator's socket is, for clients; the caller frees it */
char *coordinator_config_socket(const char *given);

/** coordinator_serve() - `pillion control serve`; exit code */
int coordinator_serve(int argc, char **argv);
