/* SPDX-License-Identifier: BSD-3-Clause */
/* services/certs/jose.h - signed JSON, as ACME wants it (RFC 7515, RFC 7638, RFC 8555 §6.2) */
#pragma once

#include "base/buffer.h"
#include "base/error.h"

#include <openssl/evp.h>

#define JOSE_DIGEST_TEXT 44 /* a SHA-256 in base64url, with its zero */

/** base64url_append() - Without padding; as buffer_append() */
int base64url_append(struct buffer *out, const void *bytes, size_t length);

/** base64url_digest() - The SHA-256 of @bytes as text; 0 or -ENOMEM */
int base64url_digest(const void *bytes, size_t length, char out[static JOSE_DIGEST_TEXT]);

/** base64_decode() - Append the bytes of a base64 or base64url text, padded or not; 0, -EINVAL, … */
int base64_decode(const char *text, size_t length, struct buffer *out);

/** jose_key_new() - A key on the curve P-256, as PEM in the official form ("EC PRIVATE KEY"); secret
 */
char *jose_key_new(void);

/** jose_key_parse() - The key of a PEM text, if it is on P-256; or NULL */
EVP_PKEY *jose_key_parse(const char *pem);

/** jose_thumbprint() - RFC 7638; 0 or negative errno */
int jose_thumbprint(EVP_PKEY *key, char out[static JOSE_DIGEST_TEXT]);

/** struct jose_head - What is signed besides the payload */
struct jose_head {
	const char *url;
	const char *nonce; /* NULL: none */
	const char *kid;   /* NULL: the public key itself */
};

/**
 * jose_sign() - Append a flattened JWS by ES256
 * @payload: JSON; "" is an empty payload (POST-as-GET)
 */
int jose_sign(EVP_PKEY *key, const struct jose_head *head, const char *payload, struct buffer *out);

/**
 * jose_bind() - Append the JWS by HS256 that binds an account to an external one (RFC 8555 §7.3.4)
 * @key:    of the account
 * @secret: @length bytes that the authority gave its customer
 */
int jose_bind(EVP_PKEY *key, const char *kid, const void *secret, size_t length, const char *url,
	      struct buffer *out);
