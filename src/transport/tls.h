/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/tls.h - TLS 1.2 and 1.3, as a client and as a server, over any stream
 *
 * Theory of operation
 *   A tls_context holds what all connections share: the trusted roots, as DER with
 *   an index by subject, parsed one at a time when a chain asks for them (of Debian's
 *   144 roots that saves 0.6 MB of 0.8, and 45 ms of 50). It reads no file: the bundle
 *   comes as PEM text. Connections hold a reference, so a context can be replaced while
 *   they live. No client certificate, and ALPN only where its owner asks for it (TS2021 and DERP
 *   want none).
 */
#pragma once

#include "transport/stream.h"

struct tls_context;

/* Protocols of ALPN in the order of preference, each with its length before it (RFC 7301). */
#define TLS_HTTP_PROTOCOLS "\x02h2\x08http/1.1"

/* How many files roots come from; each can be replaced alone. */
#define TLS_ROOT_SOURCES 3u

/* The identity that the other end must prove. */
struct tls_options {
	const char *host; /* verified, and the server name indication unless it is an IP literal */
	/*
	 * DERP's CertName, NULL or "" for none: another name that the chain is verified
	 * against, or "sha256-raw:" and the hex digest of the one certificate expected.
	 */
	const char *cert_name;
	/* No verification: the layer above proves the server (TS2021), or InsecureForTests. */
	bool insecure;
	const char *protocols; /* TLS_HTTP_PROTOCOLS, static; NULL: none are offered */
};

/**
 * tls_init() - Load what OpenSSL would otherwise load later; call once before the sandbox
 *
 * Return: 0 or negative errno with @err set
 */
int tls_init(struct error *err);

/** tls_context_create() - A context without roots; released by tls_context_release() */
int tls_context_create(struct tls_context **ret, struct error *err);
struct tls_context *tls_context_hold(struct tls_context *context);
void tls_context_release(struct tls_context *context);

/**
 * tls_context_set_roots() - Trust the certificates in @length bytes of PEM text
 * @source: below TLS_ROOT_SOURCES; replaces its roots, and no others
 * @pem:    NULL: the source has none now
 * @name:   of the text, for errors ("/etc/ssl/certs/ca-certificates.crt")
 *
 * A certificate that doesn't parse is ignored (bundles hold old oddities). A failure changes
 * nothing.
 * Return: how many there are, or negative errno: -EINVAL when the text holds none, with
 * @err set
 */
int tls_context_set_roots(struct tls_context *context, unsigned int source, const char *pem,
			  size_t length, const char *name, struct error *err);

/** tls_context_roots() - How many roots it trusts */
size_t tls_context_roots(const struct tls_context *context);

/**
 * tls_client() - A TLS client over @below
 * @options: copied
 * @below:   owned from here on, also on failure; need not have opened
 *
 * Events: opened when the handshake is done and the certificate good, or closed with
 * an error that names the fault of the certificate and the remedy.
 * A stream that ends without close_notify ends with -ECONNABORTED.
 * Return: 0 or negative errno with @err set (-EINVAL: unusable host or CertName)
 */
int tls_client(struct tls_context *context, const struct tls_options *options, struct stream *below,
	       struct stream **ret, struct error *err);

/* The server's side. */

/**
 * tls_server_context_set() - Prove new connections by a certificate
 * @context:     NULL there: one is made; else it had another certificate, which stays on failure
 * @certificate: PEM text: the leaf first, then the chain
 * @key:         PEM text of the leaf's private key, not encrypted
 *
 * Return: 0; -EINVAL with @err set when the texts hold no such things or don't match; -ENOMEM
 */
int tls_server_context_set(struct tls_context **context, const char *certificate,
			   size_t certificate_length, const char *key, size_t key_length,
			   struct error *err);

/**
 * tls_server_allow_tickets() - Let clients resume, by keys that are this context's alone
 *
 * They stay when the certificate is replaced, and change every hour.
 * Return: 0 or -ENOMEM
 */
int tls_server_allow_tickets(struct tls_context *context);

/**
 * tls_server() - The server's side over @below
 * @context: of tls_server_context_set(); held
 * @below:   open; owned from here on, also on failure
 *
 * Events as tls_client().
 */
int tls_server(struct tls_context *context, struct stream *below, struct stream **ret,
	       struct error *err);

#define TLS_CHALLENGE_PROTOCOL \
	"\x0a"                 \
	"acme-tls/1"

struct certificate;

/**
 * tls_server_set_challenge() - Show @proof to an ACME authority that looks for @name (TLS-ALPN-01)
 * @name: NULL: to nobody any more
 *
 * Return: 0 or -ENOMEM
 */
int tls_server_set_challenge(struct tls_context *context, const char *name,
			     const struct certificate *proof);

/** tls_server_only_challenge() - Refuse all clients that want something else */
void tls_server_only_challenge(struct tls_context *context);

/** tls_server_name() - The name that the client of an open tls_server() asked for, or NULL */
const char *tls_server_name(const struct stream *s);

/**
 * tls_server_offer() - Negotiate one of @protocols by ALPN; before the handshake begins
 * @protocols: static; as TLS_HTTP_PROTOCOLS
 *
 * A client that offers only others is refused; one that offers none is not.
 */
void tls_server_offer(struct stream *s, const char *protocols);

/** tls_protocol_is() - Whether ALPN selected @name on an open connection, of either side */
bool tls_protocol_is(const struct stream *s, const char *name);
