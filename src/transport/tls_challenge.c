/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/tls_challenge.c - the certificate that an ACME authority looks at (RFC 8737)
 *
 * The authority offers the protocol "acme-tls/1" alone, and names the host. Such a connection gets
 * the proof instead of the certificate in use, or ends.
 */
#include "transport/tls_internal.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "transport/certificate.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <strings.h>

#define HOST_NAME 0 /* a kind of name in the server name indication */

int tls_server_set_challenge(struct tls_context *context, const char *name,
			     const struct certificate *proof)
{
	struct tls_challenge *challenge = name ? calloc(1, sizeof(*challenge)) : NULL;

	if (name && (!challenge || !proof->x509 || !proof->key)) {
		free(challenge);
		return -ENOMEM;
	}
	if (challenge) {
		challenge->name = strdup(name);
		X509_up_ref(proof->x509);
		EVP_PKEY_up_ref(proof->key);
		challenge->certificate = proof->x509;
		challenge->key = proof->key;
	}
	tls_challenge_free(context->challenge);
	context->challenge = challenge;
	return challenge && !challenge->name ? -ENOMEM : 0;
}

void tls_server_only_challenge(struct tls_context *context)
{
	context->only_challenge = true;
}

void tls_challenge_free(struct tls_challenge *challenge)
{
	if (!challenge)
		return;
	free(challenge->name);
	X509_free(challenge->certificate);
	EVP_PKEY_free(challenge->key);
	free(challenge);
}

/* extension() - One of the ClientHello; empty: it is not there */
static struct cursor extension(SSL *ssl, unsigned int type)
{
	const unsigned char *bytes = NULL;
	size_t length = 0;

	if (SSL_client_hello_get0_ext(ssl, type, &bytes, &length) != 1)
		length = 0;
	return cursor_of(bytes, length);
}

/* wants_proof() - Whether the client offers the one protocol of a challenge */
static bool wants_proof(SSL *ssl)
{
	struct cursor c = extension(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation);
	const size_t length = strlen(TLS_CHALLENGE_PROTOCOL);
	uint16_t list = cursor_be16(&c);

	return cursor_ok(&c) && list == c.left && list == length &&
	       memcmp(c.at, TLS_CHALLENGE_PROTOCOL, length) == 0;
}

static bool names(SSL *ssl, const char *name)
{
	struct cursor c = extension(ssl, TLSEXT_TYPE_server_name);
	uint16_t list = cursor_be16(&c), length;
	uint8_t kind = cursor_u8(&c);

	length = cursor_be16(&c);
	return cursor_ok(&c) && list == (size_t)length + 3 && kind == HOST_NAME &&
	       length == c.left && length == strlen(name) &&
	       strncasecmp((const char *)c.at, name, length) == 0;
}

int tls_challenge_take(const struct tls_context *context, SSL *ssl)
{
	const struct tls_challenge *challenge = context->challenge;

	if (!wants_proof(ssl))
		return context->only_challenge ? -ENOENT : 0;
	if (!challenge || !challenge->name || !names(ssl, challenge->name) ||
	    SSL_use_certificate(ssl, challenge->certificate) != 1 ||
	    SSL_use_PrivateKey(ssl, challenge->key) != 1) {
		ERR_clear_error();
		return -ENOENT;
	}
	return 1;
}
