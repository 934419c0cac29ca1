/* SPDX-License-Identifier: BSD-3-Clause */
/* services/certs/proofs.c - what our listeners show to an authority: TLS-ALPN-01, HTTP-01 */
#include "base/cleanup.h"
#include "services/certs/keeper_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ACME_IDENTIFIER "1.3.6.1.5.5.7.1.31"
#define HTTP_PROOFS     "/.well-known/acme-challenge/"

void proofs_hide(struct keeper *k)
{
	struct tls_context *tls = k->services->server_tls;

	if (tls)
		(void)tls_server_set_challenge(tls, NULL, NULL);
	tls_context_release(TAKE_PTR(k->services->proof_tls));
	free(k->shown.text);
	k->shown = (struct shown){0};
}

/* add_digest() - The extension acmeIdentifier (RFC 8737 §3), and a new signature */
static bool add_digest(struct certificate *c, const uint8_t digest[static 32])
{
	ASN1_OBJECT *kind = OBJ_txt2obj(ACME_IDENTIFIER, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	uint8_t der[2 + 32] = {V_ASN1_OCTET_STRING, 32};
	X509_EXTENSION *extension = NULL;
	bool good;

	memcpy(der + 2, digest, 32);
	if (kind && value && ASN1_OCTET_STRING_set(value, der, sizeof(der)) == 1)
		extension = X509_EXTENSION_create_by_OBJ(NULL, kind, 1, value);
	good = extension && X509_add_ext(c->x509, extension, -1) == 1 &&
	       X509_sign(c->x509, c->key, EVP_sha256()) > 0;
	X509_EXTENSION_free(extension);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(kind);
	return good;
}

int proofs_can(const struct keeper *k, const char *domain, struct error *err)
{
	const struct serve_config *config = &k->services->serving->config;
	const struct serve_port *port = serve_config_port(config, 80);

	if (k->services->public_proofs)
		return 0;
	switch (k->services->serving->acme.challenge) {
	case SERVE_CHALLENGE_TLS_ALPN:
		if (k->services->server_tls && serve_config_uses_tls(config))
			return 0;
		return error_set(
			err, -EINVAL,
			"tls-alpn-01 needs port 443 to be served as HTTPS, or a public port: "
			"add the one to the serve configuration, or set TS_ACME_LISTEN");
	case SERVE_CHALLENGE_HTTP:
		if ((port && port->protocol == SERVE_HTTP) ||
		    serve_config_funnels(config, domain, 443))
			return 0;
		return error_set(
			err, -EINVAL,
			"http-01 needs port 80 to be served as HTTP, or Funnel at port 443, "
			"or a public port: add one of the first two to the serve "
			"configuration, or set TS_ACME_LISTEN");
	default:
		return 0;
	}
}

/* show_in_public() - In a context that shows nothing else: --acme-listen */
static int show_in_public(struct services *services, const char *name, const struct certificate *c,
			  struct error *err)
{
	struct tls_context **tls = &services->proof_tls;
	int r = tls_server_context_set(tls, c->text.certificate, strlen(c->text.certificate),
				       c->text.key, strlen(c->text.key), err);

	if (r < 0)
		return r;
	tls_server_only_challenge(*tls);
	return tls_server_set_challenge(*tls, name, c) < 0
		       ? error_set(err, -ENOMEM, "out of memory")
		       : 0;
}

static int show_by_tls(struct keeper *k, const struct acme_proof *proof, struct error *err)
{
	struct tls_context *tls = k->services->server_tls;
	struct certificate c = {0};
	int r;

	if (!tls && !k->services->public_proofs)
		return error_set(err, -EINVAL, "HTTPS is not served any more");
	r = certificate_make_server(&c, &c, proof->name, 1, &proof->name, 1, err);
	if (r == 0 && !add_digest(&c, proof->digest))
		r = error_set(err, -ENOMEM, "the certificate of the proof can't be made");
	if (r == 0 && tls && tls_server_set_challenge(tls, proof->name, &c) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r == 0 && k->services->public_proofs)
		r = show_in_public(k->services, proof->name, &c, err);
	certificate_clear(&c);
	return r;
}

int proofs_show(struct keeper *k, const struct acme_proof *proof, struct error *err)
{
	proofs_hide(k);
	snprintf(k->shown.name, sizeof(k->shown.name), "%s", proof->name);
	if (proof->challenge != ACME_HTTP_01)
		return show_by_tls(k, proof, err);
	snprintf(k->shown.token, sizeof(k->shown.token), "%s", proof->token);
	k->shown.text = strdup(proof->text);
	return k->shown.text ? 0 : error_set(err, -ENOMEM, "out of memory");
}

const char *keeper_http_proof(const struct keeper *k, const char *path)
{
	const size_t length = strlen(HTTP_PROOFS);

	return k->shown.text && strncmp(path, HTTP_PROOFS, length) == 0 &&
			       strcmp(path + length, k->shown.token) == 0
		       ? k->shown.text
		       : NULL;
}
