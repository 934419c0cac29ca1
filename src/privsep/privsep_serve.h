/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/privsep_serve.h - the ports that a node serves, between engine, supervisor and services
 *
 * The engine sends struct privsep_serve. The supervisor opens a listener for each port and each
 * own address, and passes the same bytes on to the services process, which may then connect to
 * the listed targets and to no others. The engine gets the listeners' ports, to which it diverts
 * packets, as struct privsep_divert. All travel as counted records (privsep/records.h).
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/clock.h"

/* How long the services process finishes requests once it is asked to end. */
#define PRIVSEP_SERVE_END (4 * NSEC_PER_SEC)

#define SERVE_PORTS_MAX            64u
#define SERVE_WISH_TARGETS_MAX     264u
#define SERVE_TARGET_ADDRESSES_MAX 4u
#define SERVE_WISH_PATHS_MAX       64u
#define SERVE_WISH_PATH_MAX        1024u /* bytes, with the zero */
#define SERVE_TEXT_MAX             (300u * 1024)
#define SERVE_DIVERTS_MAX          (SERVE_PORTS_MAX * 4)

/** struct privsep_serve_target - Where one target of the configuration is reached */
struct privsep_serve_target {
	struct endpoint addresses[SERVE_TARGET_ADDRESSES_MAX];
	size_t count; /* 0: its name has no address now */
	char *socket; /* path of a Unix socket, which has no address; or NULL */
};

/* How a name is proven to an ACME authority; SERVE_CHALLENGES has the same order, and lacks NONE. */
enum serve_challenge {
	SERVE_CHALLENGE_AUTO, /* in the start configuration only */
	SERVE_CHALLENGE_SET_DNS,
	SERVE_CHALLENGE_DNS,
	SERVE_CHALLENGE_TLS_ALPN,
	SERVE_CHALLENGE_HTTP,
	SERVE_CHALLENGE_OFF, /* no ACME */
	SERVE_CHALLENGE_COUNT,
};
#define SERVE_CHALLENGES "auto|set-dns|dns-01|tls-alpn-01|http-01|off"

/*
 * struct privsep_acme - Where certificates come from; all texts NULL where they are not set
 *
 * Its targets follow those of the configuration: the directory's host, then, for
 * SERVE_CHALLENGE_DNS, the DNS server. With @proxy the first one is the proxy.
 */
struct privsep_acme {
	uint32_t challenge; /* not SERVE_CHALLENGE_AUTO; SERVE_CHALLENGE_OFF: the rest is unused */
	char *directory, *email, *key_id, *zone, *dns_server;
	char *proxy; /* HTTPS_PROXY, perhaps with a password, if the authority is behind it */
};

/** struct privsep_serve - The wanted services; no port: none */
struct privsep_serve {
	uint16_t peerapi; /* port of the PeerAPI, none of @ports; 0: none */
	uint16_t ports[SERVE_PORTS_MAX];
	size_t port_count;
	struct privsep_serve_target *targets; /* in the order of struct serve_config */
	size_t target_count;
	char **paths; /* files and folders, in the order of struct serve_config */
	size_t path_count;
	char *config;       /* JSON: ipn.ServeConfig, or NULL */
	char *domain;       /* replaces ${TS_CERT_DOMAIN}, and is the certificate's name; or NULL */
	char *suffix;       /* MagicDNS suffix of the tailnet, or NULL */
	char *cert_domains; /* names whose ACME challenge control publishes, by space; or NULL */
	bool signs;         /* control is an authority for @domain (PRIVSEP_SIGN) */
	struct privsep_acme acme;
	bool keep;       /* run services even with no port: a certificate is wanted */
	uint32_t number; /* the id of PRIVSEP_SERVING; it is not encoded */
};

/** privsep_serve_encode(), privsep_serve_decode() - 0, -EMSGSIZE past a cap, -EBADMSG, -ENOMEM */
int privsep_serve_encode(const struct privsep_serve *serve, struct buffer *out);
int privsep_serve_decode(const void *bytes, size_t length, struct privsep_serve *ret);

/** privsep_acme_clear() - Free its texts; it means "no ACME" then */
void privsep_acme_clear(struct privsep_acme *acme);

/** privsep_serve_clear() - Free what a decoded one holds */
void privsep_serve_clear(struct privsep_serve *serve);

/**
 * serve_root() - The longest of @roots that holds @path
 * @roots: absolute paths separated by ':', or NULL
 * @path:  absolute; both without "." and ".." and double slashes
 * @ret_length: of the root; the rest of @path begins behind it
 *
 * Return: where it is in @roots; NULL: none holds it
 */
const char *serve_root(const char *roots, const char *path, size_t *ret_length);

/* A port that is not served any more keeps its listener for the answers to its connections so long. */
#define PRIVSEP_SERVE_RETIRED (60 * NSEC_PER_SEC)

/** struct privsep_divert - TCP to @to, an own address and a served port, goes to port @high */
struct privsep_divert {
	struct endpoint to;
	uint16_t high;
	uint8_t retired; /* 0 or 1: only what began when it was served */
};

/** privsep_diverts_encode(), privsep_diverts_decode() - @ret has room for SERVE_DIVERTS_MAX */
int privsep_diverts_encode(const struct privsep_divert *diverts, size_t count, struct buffer *out);
int privsep_diverts_decode(const void *bytes, size_t length, struct privsep_divert *ret,
			   size_t *ret_count);

/** struct privsep_person - The owner of a peer's address; texts are "" where there is none */
struct privsep_person {
	uint8_t known;         /* 0 or 1: a peer has the address; else the rest is empty */
	uint8_t tagged;        /* 0 or 1: a node with tags, which has no user */
	uint8_t ingress;       /* 0 or 1: it may bring connections of the internet to us (Funnel) */
	struct address own[2]; /* our addresses as this peer knows them; ADDRESS_NONE: none */
	char node[256];        /* its name, without the tailnet's */
	char login[256];
	char name[256];
	char picture[512];
	char capabilities[4096]; /* JSON object: capability to list of values */
};
