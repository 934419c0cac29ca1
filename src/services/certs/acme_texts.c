/* SPDX-License-Identifier: BSD-3-Clause */
/* services/certs/acme_texts.c - certificates, their requests, and times, as ACME writes them */
#include "services/certs/acme.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define CHAIN_MAX 16          /* certificates */
#define REST_MAX  (36 * 3600) /* authorities allow five of one name a week */

static X509 *first_certificate(BIO *bio)
{
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	ERR_clear_error();
	return certificate;
}

int acme_certificate_id(const char *pem, char out[static ACME_ID_MAX])
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(ACME_ID_MAX);
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = first_certificate(bio);
	const ASN1_OCTET_STRING *issuer =
		certificate ? X509_get0_authority_key_id(certificate) : NULL;
	unsigned char *der = NULL;
	int r = -EINVAL, length;

	/* The serial number's bytes are those of its DER, without tag and length. */
	length = certificate ? i2d_ASN1_INTEGER(X509_get_serialNumber(certificate), &der) : 0;
	if (issuer && length > 2 && der[1] == length - 2)
		r = base64url_append(&text, ASN1_STRING_get0_data(issuer),
				     (size_t)ASN1_STRING_length(issuer));
	if (r == 0)
		r = buffer_append(&text, ".", 1);
	if (r == 0)
		r = base64url_append(&text, der + 2, (size_t)length - 2);
	if (r == 0)
		r = buffer_append(&text, "", 1);
	if (r == 0)
		memcpy(out, buffer_head(&text), text.length);
	OPENSSL_free(der);
	X509_free(certificate);
	BIO_free(bio);
	ERR_clear_error();
	return r;
}

/* serves() - Whether the certificate is good for @domain, which may be "*.name" */
static bool serves(X509 *certificate, const char *domain)
{
	char name[ACME_NAME_MAX + 2];

	if (domain[0] == '*')
		snprintf(name, sizeof(name), "x%s", domain + 1);
	else
		snprintf(name, sizeof(name), "%s", domain);
	return X509_check_host(certificate, name, 0, 0, NULL) == 1;
}

char *acme_take_chain(const char *text, size_t length, EVP_PKEY *key, const char *domain,
		      struct error *err)
{
	BIO *in = BIO_new_mem_buf(text, (int)length), *out = BIO_new(BIO_s_mem());
	X509 *certificate;
	char *chain = NULL, *at;
	int count = 0;
	bool good = in && out;

	while (good && (certificate = first_certificate(in))) {
		if (count == 0 && X509_check_private_key(certificate, key) != 1)
			good = error_set(err, -EPROTO,
					 "the authority sent a certificate for another key") == 0;
		else if (count == 0 && !serves(certificate, domain))
			good = error_set(err, -EPROTO,
					 "the authority sent a certificate that is not for %s",
					 domain) == 0;
		else if (count == 0 && X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
			good = error_set(err, -EPROTO,
					 "the authority sent a certificate that has ended by this "
					 "machine's clock: correct the clock") == 0;
		else
			good = count++ < CHAIN_MAX && PEM_write_bio_X509(out, certificate) == 1;
		X509_free(certificate);
	}
	if (good && count > 0) {
		long made = BIO_get_mem_data(out, &at);

		chain = strndup(at, (size_t)made);
	}
	if (!chain && err->code == 0)
		error_set(err, -EPROTO, "the authority sent no certificate in PEM form");
	BIO_free(in);
	BIO_free(out);
	ERR_clear_error();
	return chain;
}

time_t acme_rest(time_t begin, time_t end)
{
	time_t third = (end - begin) / 3;

	return begin + (third < REST_MAX ? third : REST_MAX);
}

static X509_REQ *make_request(EVP_PKEY *key, const char *domain)
{
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	X509_EXTENSION *names = NULL;
	X509_REQ *request = X509_REQ_new();
	char value[ACME_NAME_MAX + 8];
	bool good;

	snprintf(value, sizeof(value), "DNS:%s", domain);
	names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, value);
	/* No common name: the authority makes one, if the name is short enough. */
	good = request && names && X509v3_add_ext(&extensions, names, -1) &&
	       X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
	       X509_REQ_set_pubkey(request, key) == 1 &&
	       X509_REQ_add_extensions(request, extensions) == 1 &&
	       X509_REQ_sign(request, key, EVP_sha256()) > 0;
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	X509_EXTENSION_free(names);
	if (!good) {
		X509_REQ_free(request);
		request = NULL;
	}
	ERR_clear_error();
	return request;
}

int acme_request_text(EVP_PKEY *key, const char *domain, struct buffer *out)
{
	X509_REQ *request = make_request(key, domain);
	unsigned char *der = NULL;
	int length = request ? i2d_X509_REQ(request, &der) : 0;
	int r = length > 0 ? base64url_append(out, der, (size_t)length) : -EINVAL;

	OPENSSL_free(der);
	X509_REQ_free(request);
	return r;
}

char *acme_request_pem(EVP_PKEY *key, const char *domain)
{
	X509_REQ *request = make_request(key, domain);
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL, *at;

	if (request && bio && PEM_write_bio_X509_REQ(bio, request) == 1) {
		long length = BIO_get_mem_data(bio, &at);

		text = strndup(at, (size_t)length);
	}
	BIO_free(bio);
	X509_REQ_free(request);
	return text;
}

/* --- Times --- */

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static bool is_sane(const struct tm *at)
{
	return at->tm_year >= 0 && at->tm_year < 1000 && at->tm_mon >= 0 && at->tm_mon < 12 &&
	       at->tm_mday >= 1 && at->tm_mday <= 31 && at->tm_hour >= 0 && at->tm_hour < 24 &&
	       at->tm_min >= 0 && at->tm_min < 60 && at->tm_sec >= 0 && at->tm_sec <= 60;
}

/* http_date() - "Tue, 01 Dec 2026 04:00:00 GMT"; 0: something else */
static time_t http_date(const char *text)
{
	struct tm at = {0};
	char month[4] = "";
	const char *found;

	if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT", &at.tm_mday, month,
		   &at.tm_year, &at.tm_hour, &at.tm_min, &at.tm_sec) != 6)
		return 0;
	found = strlen(month) == 3 ? strstr(months, month) : NULL;
	if (!found || (found - months) % 3 != 0)
		return 0;
	at.tm_mon = (int)(found - months) / 3;
	at.tm_year -= 1900;
	return is_sane(&at) ? timegm(&at) : 0;
}

nanoseconds acme_after(const char *text, time_t wall)
{
	const nanoseconds most = ACME_RETRY_MAX / NSEC_PER_SEC;
	nanoseconds seconds = 0;
	const char *at = text;

	if (!text)
		return 0;
	for (; isdigit((unsigned char)*at) && seconds <= most; at++)
		seconds = seconds * 10 + (*at - '0');
	if (at == text) {
		time_t when = http_date(text);

		seconds = when > wall ? when - wall : 0;
	} else if (*at && !isdigit((unsigned char)*at)) {
		return 0;
	}
	return (seconds > most ? most : seconds) * NSEC_PER_SEC;
}

time_t acme_time(const char *text)
{
	int hours = 0, minutes = 0, used = 0;
	struct tm at = {0};
	time_t seconds;

	if (sscanf(text, "%4d-%2d-%2d%*1[Tt]%2d:%2d:%2d%n", &at.tm_year, &at.tm_mon, &at.tm_mday,
		   &at.tm_hour, &at.tm_min, &at.tm_sec, &used) != 6 ||
	    used == 0)
		return 0;
	at.tm_year -= 1900;
	at.tm_mon -= 1;
	if (!is_sane(&at))
		return 0;
	seconds = timegm(&at);
	text += used;
	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	if (strcasecmp(text, "Z") == 0)
		return seconds;
	if ((*text != '+' && *text != '-') || sscanf(text + 1, "%2d:%2d", &hours, &minutes) != 2)
		return 0;
	return *text == '+' ? seconds - hours * 3600 - minutes * 60
			    : seconds + hours * 3600 + minutes * 60;
}
