/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/start_config.h - the start configuration of an engine
 *
 * The entrypoint fills it from variables and flags, the supervisor adds its own fields (marked
 * below), and every engine receives it with the first message. Strings are heap strings, or NULL
 * for "not set". It travels as counted records in a sealed memfd (privsep/records.h).
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define START_PREFS_MAX  (64u * 1024)
#define START_STRING_MAX 4096u
#define START_PROXY_MAX  (16u * 1024)

/* In place of the path of TS_SERVE_CONFIG, where the variable has the JSON itself. */
#define START_SERVE_CONFIG_JSON "TS_SERVE_CONFIG_JSON"

enum start_state_mode {
	START_STATE_DIR,    /* blobs are files in the state directory */
	START_STATE_MEMORY, /* `mem:`: blobs live in the supervisor; the node is ephemeral */
	START_STATE_MODE_COUNT,
};

/* What the kernel does for many packets of the TUN at once: as enum tun_offload of netlink/tun.h. */
enum start_tun_offload {
	START_TUN_HEADERS = 1,
	START_TUN_TCP = 2,
	START_TUN_UDP = 4,
};

struct privsep_start {
	/* From the entrypoint */
	char *tun_name; /* wanted, or NULL for "tailscale0"; engines receive the link's real name */
	uint32_t table; /* route table; 52 unless --table named another */
	uint32_t mtu;   /* of the TUN; 1280 unless set */
	uint32_t state_mode;  /* enum start_state_mode */
	char *prefs;          /* JSON object: MaskedPrefs in the official names, for node/prefs.h:
				* ControlURL, Hostname, CorpDNS, RouteAll, AdvertiseTags, ShieldsUp,
				* OperatorUser …; NULL: leave the stored prefs as they are. Sent
				* until an engine sends PRIVSEP_SETTLED */
	char *disable;        /* PILLION_DISABLE: comma-separated names of fallbacks to force */
	char *socket_path;    /* of the LocalAPI, for messages */
	char *serve_config;   /* path of TS_SERVE_CONFIG; NULL: the stored one is in force */
	char *serve_roots;    /* folders, absolute, separated by ':': files and sockets below them
				* may be served; or NULL */
	char *acme_directory; /* URL; NULL: Let's Encrypt */
	char *acme_email;     /* or NULL */
	uint32_t acme_challenge; /* enum serve_challenge */
	char *acme_key_id;       /* of an external account, or NULL */
	char *acme_dns_server;   /* HOST[:PORT] for RFC 2136, or NULL */
	char *acme_dns_zone;     /* NULL: the server is asked */
	uint32_t acme_port;      /* of --acme-listen; 0: none */
	char *ingress_from; /* comma-separated names, tags and addresses of ingress nodes; or NULL */
	char *https_proxy;  /* HTTPS_PROXY, perhaps with a password, or NULL */
	char *no_proxy;     /* NO_PROXY, or NULL */
	bool auth_key_present; /* ask for PRIVSEP_FILE_AUTH_KEY in NeedsLogin */
	bool up;               /* bring the node up (run), until settled as well; else as
				* stored */
	bool allow_exit_node;  /* a default route may lead into the tunnel */
	char *allow_routes;    /* comma-separated prefixes that may hold subnet routes; NULL: any */
	char *tailnet_ranges;  /* comma-separated, of a tailnet with other addresses; or NULL */
	bool health_check;     /* serve /healthz on the health listener */
	bool metrics;          /* serve /metrics on the health listener */
	char *health_names;    /* host names, comma-separated, accepted in requests; or NULL */
	uint32_t log_level;    /* enum log_level */
	uint32_t log_format;   /* enum log_format */

	/* From the supervisor */
	uint32_t tun_offloads; /* of the TUN queues, enum start_tun_offload */
	uint32_t udp_port;     /* the port that the handed-over UDP sockets are bound to */
	uint32_t crash_count;  /* engines that died since the supervisor began */
	char *last_crash;      /* "killed by SIGSEGV", or NULL */
	char *warnings;        /* missing features, one a line, for health */
};

/** privsep_start_init() - The defaults that are written above */
void privsep_start_init(struct privsep_start *start);

/** privsep_start_clear() - Wipe and free the strings, back to zeros */
void privsep_start_clear(struct privsep_start *start);

/** privsep_start_disables() - Whether PILLION_DISABLE has @name */
bool privsep_start_disables(const struct privsep_start *start, const char *name);

/** privsep_start_encode() - Append the records of @start to @out; 0, -EMSGSIZE, -ENOMEM */
int privsep_start_encode(const struct privsep_start *start, struct buffer *out);

/**
 * privsep_start_decode() - From @length bytes of records
 * @ret: caller clears it with privsep_start_clear(); untouched on failure
 *
 * Unknown records, wrong sizes, enums out of range and strings with a zero inside
 * are refused.
 * Return: 0, -EBADMSG, -ENOMEM
 */
int privsep_start_decode(const void *bytes, size_t length, struct privsep_start *ret);
