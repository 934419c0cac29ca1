/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/tls_internal.h - what tls.c, tls_roots.c, tls_tickets.c and tls_verify.c share */
#pragma once

#include "base/buffer.h"
#include "transport/tls.h"

#include <openssl/ssl.h>

/* One trusted root, not yet parsed. */
struct tls_root {
	uint32_t subject_hash;
	uint32_t offset, length; /* in tls_roots.der */
	bool parsed;             /* the store has it */
};

/* The roots of one source. */
struct tls_roots {
	struct buffer der;
	struct tls_root *list;
	size_t count;
};

/* Of an ACME authority; see tls_server_set_challenge(). */
struct tls_challenge {
	char *name;
	X509 *certificate;
	EVP_PKEY *key;
};

struct tls_context {
	SSL_CTX *ctx;
	struct tls_challenge *challenge; /* NULL: none */
	struct tls_roots roots[TLS_ROOT_SOURCES];
	struct tls_tickets *tickets; /* of a server whose clients may resume, or NULL */
	unsigned int holds;
	bool only_challenge; /* other clients are refused */
};

/* How one connection is verified; the SSL has a pointer to it. */
struct tls_verification {
	char host[256];
	char cert_name[256]; /* "" for none */
	bool insecure;
	struct error problem; /* the fault of the certificate, and the remedy */
	const struct tls_context *context;
};

/** tls_roots_attach() - Give @context an empty store that finds roots when a chain asks for them */
int tls_roots_attach(struct tls_context *context);

/** tls_roots_free() - Forget the roots of one source */
void tls_roots_free(struct tls_roots *roots);

void tls_challenge_free(struct tls_challenge *challenge);

/**
 * tls_challenge_take() - In the callback of a ClientHello
 *
 * Return: 1: @ssl shows the proof and speaks TLS_CHALLENGE_PROTOCOL; 0: it is about something else;
 * -ENOENT: the client wants a proof that we don't have, or is not wanted here
 */
int tls_challenge_take(const struct tls_context *context, SSL *ssl);

/** tls_verify_init() - Take the index by which an SSL finds its tls_verification; -ENOMEM */
int tls_verify_init(void);

/** tls_verify_attach() - Verify @ssl by @v, which must outlive it; -EINVAL for unusable names */
int tls_verify_attach(SSL *ssl, struct tls_verification *v, struct error *err);

/** tls_verify_chain() - SSL_CTX_set_cert_verify_callback() */
int tls_verify_chain(X509_STORE_CTX *chain, void *unused);

/** tls_tickets_attach() - Have @ctx give and take tickets by the context's keys; 0 or -ENOMEM */
int tls_tickets_attach(struct tls_context *context, SSL_CTX *ctx);
void tls_tickets_free(struct tls_tickets *tickets);
