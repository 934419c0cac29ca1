/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/certificate.h - certificates that a program makes for itself: in memory, without files
 */
#pragma once

#include "base/error.h"

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* PEM texts, ended by a zero. */
struct certificate_pair {
	char *certificate; /* and its issuer, if that is another one */
	char *key;         /* secret */
};

void certificate_pair_clear(struct certificate_pair *pair);

/** struct certificate - A certificate, its key, and both as text; NULL: missing, or unusable text */
struct certificate {
	struct certificate_pair text;
	X509 *x509;
	EVP_PKEY *key;
};

void certificate_clear(struct certificate *c);

/** certificate_parse() - Read the texts that @c has */
void certificate_parse(struct certificate *c);

/** certificate_is_whole() - Whether the certificate and the key are there, and belong together */
bool certificate_is_whole(const struct certificate *c);

/** certificate_serves() - Whether it is whole, good for all of @names, and for @days more */
bool certificate_serves(const struct certificate *c, const char *const *names, size_t count,
			long days);

/** certificate_is_named() - Whether it is that of @common_name */
bool certificate_is_named(const struct certificate *c, const char *common_name);

/** certificate_end() - When it ends; 0: unknown */
time_t certificate_end(const struct certificate *c);

/**
 * certificate_make_authority() - A private authority, for the key of @ca or a new one
 * @common_name: shown to people
 * @permitted:   the one domain that it may sign names of, and no address; NULL: anything
 *
 * Return: 0 or negative errno with @err set
 */
int certificate_make_authority(struct certificate *ca, const char *common_name, long days,
			       const char *permitted, struct error *err);

/**
 * certificate_make_server() - A certificate of a server, for the key of @c or a new one
 * @issuer: signs it; @c: it signs itself
 * @names:  host names and addresses to prove
 *
 * It is valid from yesterday on, since clocks differ.
 */
int certificate_make_server(struct certificate *c, struct certificate *issuer,
			    const char *common_name, long days, const char *const *names,
			    size_t count, struct error *err);

/**
 * certificate_sign_request() - A certificate of a server, for the key of a request
 * @csr:       PEM, untrusted: its signature has to be good, and a name in it has to be @name;
 *             nothing but the key is taken from it
 * @ret_chain: PEM: the certificate, and @issuer's; the caller frees it
 *
 * Return: 0 or negative errno with @err set
 */
int certificate_sign_request(struct certificate *issuer, const char *csr, const char *name,
			     long days, char **ret_chain, struct error *err);

/** certificate_text() - It alone, as PEM, the caller's; or NULL */
char *certificate_text(const struct certificate *c);

/** certificate_root() - The last certificate of the chain in @c's text, if it signs itself; or NULL */
const char *certificate_root(const struct certificate *c);

#define CERTIFICATE_DIGEST_MAX 65 /* 64 hexadecimal digits */

/** certificate_digest() - SHA-256 of the certificate; 0 or -EINVAL */
int certificate_digest(const struct certificate *c, char out[static CERTIFICATE_DIGEST_MAX]);
