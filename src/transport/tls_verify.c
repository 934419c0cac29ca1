/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/tls_verify.c - verification of a server's certificate, and its errors */
#include "base/address.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "base/text.h"
#include "transport/tls_internal.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define PIN_PREFIX  "sha256-raw:"
#define META_PREFIX "derpkey" /* common name of the certificate by which derper tells its key */

static int verification_index = -1;

int tls_verify_init(void)
{
	if (verification_index < 0)
		verification_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return verification_index < 0 ? -ENOMEM : 0;
}

static bool is_pin(const char *cert_name)
{
	return strncmp(cert_name, PIN_PREFIX, strlen(PIN_PREFIX)) == 0;
}

static int parse_pin(const char *cert_name, uint8_t ret[static 32])
{
	const char *hex = cert_name + strlen(PIN_PREFIX);

	if (strlen(hex) != 64 || strspn(hex, "0123456789abcdefABCDEF") != 64)
		return -EINVAL;
	for (size_t i = 0; i < 32; i++)
		ret[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
	return 0;
}

static bool is_literal(const char *host)
{
	struct address a;

	return address_parse(host, strlen(host), &a) == 0;
}

int tls_verify_attach(SSL *ssl, struct tls_verification *v, struct error *err)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	const char *name = v->cert_name[0] ? v->cert_name : v->host;
	uint8_t pin[32];
	int ok;

	if (v->host[0] && !is_literal(v->host) && SSL_set_tlsext_host_name(ssl, v->host) != 1)
		return error_set(err, -EINVAL, "unusable host name '%s'", v->host);
	if (SSL_set_ex_data(ssl, verification_index, v) != 1)
		return error_set(err, -ENOMEM, "out of memory");
	SSL_set_verify(ssl, v->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	if (v->insecure)
		return 0;
	if (is_pin(v->cert_name)) {
		if (parse_pin(v->cert_name, pin) < 0)
			return error_set(err, -EINVAL, "unusable CertName '%s'", v->cert_name);
		return 0;
	}
	if (!name[0])
		return error_set(err, -EINVAL, "no name to verify the certificate against");
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	ok = is_literal(name) ? X509_VERIFY_PARAM_set1_ip_asc(param, name)
			      : X509_VERIFY_PARAM_set1_host(param, name, 0);
	return ok == 1 ? 0 : error_set(err, -EINVAL, "unusable host name '%s'", name);
}

static bool is_meta(X509 *certificate)
{
	char name[sizeof(META_PREFIX) + 80] = "";

	X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
				  sizeof(name));
	return strncmp(name, META_PREFIX, strlen(META_PREFIX)) == 0;
}

static bool certificate_matches(X509 *certificate, const char *host)
{
	return is_literal(host) ? X509_check_ip_asc(certificate, host, 0) == 1
				: X509_check_host(certificate, host, 0, 0, NULL) == 1;
}

/* verify_pinned() - The only certificate must be the one in CertName (DERP's sha256-raw) */
static const char *verify_pinned(STACK_OF(X509) * presented, const struct tls_verification *v)
{
	uint8_t wanted[32], digest[EVP_MAX_MD_SIZE];
	X509 *only = NULL;

	for (int i = 0; i < sk_X509_num(presented); i++) {
		X509 *certificate = sk_X509_value(presented, i);

		if (is_meta(certificate))
			continue;
		if (only)
			return "it presented more than one certificate, but one is pinned";
		only = certificate;
	}
	if (!only)
		return "it presented no certificate";
	if (parse_pin(v->cert_name, wanted) < 0 ||
	    X509_digest(only, EVP_sha256(), digest, NULL) != 1 ||
	    !secret_equal(wanted, digest, sizeof(wanted)))
		return "its certificate is not the pinned one";
	if (X509_cmp_current_time(X509_get0_notBefore(only)) >= 0)
		return "its pinned certificate is not valid yet (check this machine's clock)";
	if (X509_cmp_current_time(X509_get0_notAfter(only)) <= 0)
		return "its pinned certificate has expired";
	if (v->host[0] && !certificate_matches(only, v->host))
		return "its pinned certificate is for another name";
	return NULL;
}

static void format_ip(const ASN1_OCTET_STRING *bytes, char out[static ADDRESS_TEXT_MAX])
{
	struct address a;

	if (bytes->length == 4)
		a = address_v4(bytes->data);
	else if (bytes->length == 16)
		a = address_v6(bytes->data);
	else
		return;
	address_format(&a, out);
}

/* certificate_names() - "a.example, b.example"; at most a few */
static void certificate_names(X509 *certificate, char *out, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	size_t used = 0;

	out[0] = 0;
	for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && used + 64 < size; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char text[64] = "";

		if (name->type == GEN_DNS)
			snprintf(text, sizeof(text), "%.*s", name->d.dNSName->length,
				 (const char *)name->d.dNSName->data);
		else if (name->type == GEN_IPADD)
			format_ip(name->d.iPAddress, text);
		if (text[0])
			used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
						 text);
	}
	GENERAL_NAMES_free(names);
	if (!used)
		snprintf(out, size, "no name at all");
}

/* format_time() - "2026-01-31" */
static void format_time(const ASN1_TIME *when, char *out, size_t size)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(when, &tm) == 1)
		strftime(out, size, "%Y-%m-%d", &tm);
	else
		snprintf(out, size, "an unreadable date");
}

static void explain(X509_STORE_CTX *chain, struct tls_verification *v)
{
	static const char remedy[] =
		"if it has a CA of its own, give its certificate by --ca-file, TS_CA_FILE or "
		"SSL_CERT_FILE";
	int code = X509_STORE_CTX_get_error(chain);
	X509 *at = X509_STORE_CTX_get_current_cert(chain);
	const char *name = v->cert_name[0] ? v->cert_name : v->host;
	char text[192];

	if (!at)
		at = X509_STORE_CTX_get0_cert(chain);
	switch (code) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		format_time(X509_get0_notAfter(at), text, sizeof(text));
		error_set(&v->problem, -EKEYEXPIRED,
			  "a certificate of %s expired on %s: renew it on the server, or set this "
			  "machine's clock",
			  v->host, text);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		format_time(X509_get0_notBefore(at), text, sizeof(text));
		error_set(&v->problem, -EKEYREJECTED,
			  "a certificate of %s is valid from %s only: set this machine's clock",
			  v->host, text);
		return;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		certificate_names(X509_STORE_CTX_get0_cert(chain), text, sizeof(text));
		error_set(&v->problem, -EKEYREJECTED,
			  "the certificate of %s is for %s, not for %s: use a name that it holds",
			  v->host, text, name);
		return;
	default:
		error_set(&v->problem, -EKEYREJECTED,
			  "the certificate of %s is not trusted here (%s%s): %s", v->host,
			  X509_verify_cert_error_string(code),
			  tls_context_roots(v->context) ? "" : "; no CA certificates are loaded",
			  remedy);
	}
}

int tls_verify_chain(X509_STORE_CTX *chain, void *unused)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_verification *v = SSL_get_ex_data(ssl, verification_index);
	const char *problem;

	(void)unused;
	if (v->insecure)
		return 1;
	if (!is_pin(v->cert_name)) {
		int ok = X509_verify_cert(chain);

		if (ok != 1)
			explain(chain, v);
		return ok;
	}
	problem = verify_pinned(X509_STORE_CTX_get0_untrusted(chain), v);
	if (!problem)
		return 1;
	error_set(&v->problem, -EKEYREJECTED, "untrusted server %s: %s", v->host, problem);
	X509_STORE_CTX_set_error(chain, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}
