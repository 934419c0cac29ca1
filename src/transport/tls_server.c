/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/tls_server.c - what a TLS server proves itself by */
#include "base/cleanup.h"
#include "transport/tls_internal.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>

/* No pass phrase: an encrypted key is refused rather than asked for on the terminal. */
static int no_phrase(char *buffer, int size, int writing, void *user)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)user;
	return -1;
}

static int load_chain(SSL_CTX *ctx, const char *pem, size_t length, struct error *err)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)length);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_phrase, NULL) : NULL;
	int r = 0;

	if (!certificate || SSL_CTX_use_certificate(ctx, certificate) != 1)
		r = error_set(err, -EINVAL, "no certificate in PEM form");
	X509_free(certificate);
	while (r == 0) {
		certificate = PEM_read_bio_X509(bio, NULL, no_phrase, NULL);
		if (!certificate)
			break;
		if (SSL_CTX_add0_chain_cert(ctx, certificate) != 1) {
			X509_free(certificate);
			r = error_set(err, -ENOMEM, "out of memory");
		}
	}
	ERR_clear_error(); /* the end of the text is one */
	BIO_free(bio);
	return r;
}

static int load_key(SSL_CTX *ctx, const char *pem, size_t length, struct error *err)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)length);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL) : NULL;
	int r = 0;

	if (!key)
		r = error_set(err, -EINVAL,
			      "no private key in PEM form (an encrypted one won't do)");
	else if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		r = error_set(err, -EINVAL, "the private key is not the certificate's");
	EVP_PKEY_free(key);
	BIO_free(bio);
	ERR_clear_error();
	return r;
}

static int make_context(const char *certificate, size_t certificate_length, const char *key,
			size_t key_length, SSL_CTX **ret, struct error *err)
{
	SSL_CTX *ctx;
	int r = tls_init(err);

	if (r < 0)
		return r;
	if (certificate_length > INT_MAX || key_length > INT_MAX)
		return error_set(err, -EINVAL, "certificate or key too long");
	ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx)
		return error_set(err, -ENOMEM, "OpenSSL can't make a context");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	r = load_chain(ctx, certificate, certificate_length, err);
	if (r == 0)
		r = load_key(ctx, key, key_length, err);
	if (r < 0)
		SSL_CTX_free(ctx);
	else
		*ret = ctx;
	return r;
}

int tls_server_context_create(const char *certificate, size_t certificate_length, const char *key,
			      size_t key_length, struct tls_context **ret, struct error *err)
{
	struct tls_context *context = calloc(1, sizeof(*context));
	int r;

	if (!context)
		return error_set(err, -ENOMEM, "out of memory");
	context->holds = 1;
	r = make_context(certificate, certificate_length, key, key_length, &context->ctx, err);
	if (r < 0)
		tls_context_release(context);
	else
		*ret = context;
	return r;
}

int tls_server_context_renew(struct tls_context *context, const char *certificate,
			     size_t certificate_length, const char *key, size_t key_length,
			     struct error *err)
{
	SSL_CTX *ctx = NULL;
	int r = make_context(certificate, certificate_length, key, key_length, &ctx, err);

	if (r < 0)
		return r;
	/* Streams that stand hold the old one. */
	SSL_CTX_free(context->ctx);
	context->ctx = ctx;
	return 0;
}
