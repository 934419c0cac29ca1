/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/serve_config.h - which ports a node serves, and what stands behind them (ipn.ServeConfig)
 *
 *	{
 *	  "TCP": {"443": {"HTTPS": true}, "5432": {"TCPForward": "127.0.0.1:5432"}},
 *	  "Web": {"app.tail1234.ts.net:443": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:8080"}}}},
 *	  "AllowFunnel": {"app.tail1234.ts.net:443": false}
 *	}
 *
 * "Foreground" has a configuration for each session of a command in the foreground, by the session's id.
 *
 * A text is taken whole or refused whole. What can't be served, but harms nothing else (an unknown
 * member, a site whose port serves no HTTP), is a warning. protocol.md 2.1 has the types.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVE_CONFIG_MAX   (256u * 1024) /* bytes of the JSON text */
#define SERVE_TARGETS_MAX  256u
#define SERVE_PATHS_MAX    64u /* different files and folders */
#define SERVE_PATH_MAX     1024u
#define SERVE_WARNINGS_MAX 512u

/* In files, it stands for the name that the certificate is for. */
#define SERVE_CERT_DOMAIN "${TS_CERT_DOMAIN}"

enum serve_security {
	SERVE_PLAIN,
	SERVE_TLS,          /* the certificate must be good for the host */
	SERVE_TLS_INSECURE, /* https+insecure:// */
	SERVE_H2C,          /* HTTP/2 with prior knowledge, without TLS */
};

/** struct serve_target - A server that requests or connections go to; equal ones occur once */
struct serve_target {
	char *text; /* as the file has it, for people */
	char *host; /* a name or an address without brackets; NULL: @path is a Unix socket */
	uint16_t port;
	char *path; /* of the Unix socket */
	enum serve_security security;
};

enum serve_action {
	SERVE_PROXY,
	SERVE_TEXT,
	SERVE_REDIRECT,
	SERVE_PATH,
};

struct serve_handler {
	char *mount; /* begins with '/'; without a '/' at its end, unless it is the whole */
	bool slash;  /* it was written with a '/' at its end */
	enum serve_action action;
	char *text;          /* SERVE_TEXT; of SERVE_REDIRECT the URL */
	int status;          /* SERVE_REDIRECT: 300-399 */
	unsigned int target; /* SERVE_PROXY: in targets */
	unsigned int path;   /* SERVE_PATH: in paths */
	char *base; /* SERVE_PROXY: path that precedes the request's; "" or "/…", as written */
	char **capabilities; /* AcceptAppCaps */
	size_t capability_count;
};

struct serve_site {
	char *host; /* lower case */
	uint16_t port;
	struct serve_handler *handlers; /* the longest mount first */
	size_t handler_count;
};

enum serve_protocol {
	SERVE_HTTP,
	SERVE_HTTPS,
	SERVE_TCP,
	SERVE_TLS_TCP, /* TLS ends here, and the bytes inside go on */
};

struct serve_port {
	uint16_t port;
	enum serve_protocol protocol;
	unsigned int target;     /* SERVE_TCP, SERVE_TLS_TCP */
	char *server_name;       /* SERVE_TLS_TCP: the only name that is served */
	unsigned int proxy_line; /* version of the PROXY protocol, 0: none */
};

/** struct serve_funnel - A name and port that the internet may reach (AllowFunnel) */
struct serve_funnel {
	char *host; /* lower case */
	uint16_t port;
};

struct serve_config {
	struct serve_port *ports; /* by number */
	size_t port_count;
	struct serve_site *sites;
	size_t site_count;
	struct serve_target *targets;
	size_t target_count;
	struct serve_funnel *funnels;
	size_t funnel_count;
	bool names_funnel; /* AllowFunnel has members, which may be false */
	char **paths; /* files and folders: absolute, without "..", double slashes or a '/' at the end */
	size_t path_count;
	char warnings[SERVE_WARNINGS_MAX]; /* one a line; "" for none */
};

/**
 * serve_config_parse() - Read the official JSON
 * @json:   @length bytes; may be NULL for none
 * @domain: replaces SERVE_CERT_DOMAIN; NULL: such a text is refused with -EAGAIN
 * @ret:    the caller's, for serve_config_free(); untouched on failure
 *
 * Return: 0; -EINVAL with line or member and the remedy in @err; -EAGAIN; -EMSGSIZE; -ENOMEM
 */
int serve_config_parse(const char *json, size_t length, const char *domain,
		       struct serve_config *ret, struct error *err);

/** serve_config_expand() - Append @json with @domain for each SERVE_CERT_DOMAIN; 0, -EAGAIN, -EMSGSIZE,
 * -ENOMEM */
int serve_config_expand(const char *json, size_t length, const char *domain, struct buffer *out);

/** serve_config_warn() - Add a line to the warnings */
void serve_config_warn(struct serve_config *config, const char *text);

/** serve_config_free() - What it holds; it is empty then */
void serve_config_free(struct serve_config *config);

/** serve_config_port() - The entry of a port, or NULL */
const struct serve_port *serve_config_port(const struct serve_config *config, uint16_t port);

/** serve_config_funnels() - Whether the internet may reach @port under the name @host, in any case */
bool serve_config_funnels(const struct serve_config *config, const char *host, uint16_t port);

/** serve_funnel_port() - Whether an ingress node takes connections at @port: 443, 8443 and 10000 */
bool serve_funnel_port(uint16_t port);

/** serve_protocol_name() - "https", "http", "tcp", "tls-terminated-tcp" */
const char *serve_protocol_name(enum serve_protocol protocol);

/** serve_config_uses_tls() - Whether some port needs a certificate */
bool serve_config_uses_tls(const struct serve_config *config);

/**
 * serve_config_site() - The site of a request
 * @host:   of SNI or of the Host header, without port, in any case
 * @suffix: the tailnet's MagicDNS suffix ("tail1234.ts.net"), which a short @host lacks; or NULL
 */
const struct serve_site *serve_config_site(const struct serve_config *config, const char *host,
					   uint16_t port, const char *suffix);

/**
 * serve_site_handler() - The handler with the longest mount that holds @path
 * @path:     of the request, decoded; begins with '/'
 * @ret_rest: the part behind the mount, begins with '/' or is ""
 *
 * Return: NULL if there is none
 */
const struct serve_handler *serve_site_handler(const struct serve_site *site, const char *path,
					       const char **ret_rest);
