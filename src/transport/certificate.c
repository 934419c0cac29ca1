/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/certificate.c - certificates that a program makes for itself: in memory */
#include "transport/certificate.h"

#include "base/address.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/secret.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DAY 86400L

void certificate_pair_clear(struct certificate_pair *pair)
{
	free(pair->certificate);
	secret_string_free(pair->key);
	*pair = (struct certificate_pair){0};
}

void certificate_clear(struct certificate *c)
{
	certificate_pair_clear(&c->text);
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	*c = (struct certificate){0};
}

static X509 *parse_certificate(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return certificate;
}

static EVP_PKEY *parse_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return key;
}

void certificate_parse(struct certificate *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	c->x509 = c->text.certificate ? parse_certificate(c->text.certificate) : NULL;
	c->key = c->text.key ? parse_key(c->text.key) : NULL;
}

bool certificate_is_whole(const struct certificate *c)
{
	bool whole = c->x509 && c->key && X509_check_private_key(c->x509, c->key) == 1;

	ERR_clear_error();
	return whole;
}

bool certificate_serves(const struct certificate *c, const char *const *names, size_t count,
			long days)
{
	time_t renew = time(NULL) + days * DAY;
	bool good =
		certificate_is_whole(c) && X509_cmp_time(X509_get0_notAfter(c->x509), &renew) > 0;

	for (size_t i = 0; i < count && good; i++)
		good = X509_check_host(c->x509, names[i], 0, 0, NULL) == 1 ||
		       X509_check_ip_asc(c->x509, names[i], 0) == 1;
	ERR_clear_error();
	return good;
}

bool certificate_is_named(const struct certificate *c, const char *common_name)
{
	char name[128];

	return c->x509 &&
	       X509_NAME_get_text_by_NID(X509_get_subject_name(c->x509), NID_commonName, name,
					 sizeof(name)) > 0 &&
	       strcmp(name, common_name) == 0;
}

time_t certificate_end(const struct certificate *c)
{
	struct tm at = {0};

	return c->x509 && ASN1_TIME_to_tm(X509_get0_notAfter(c->x509), &at) == 1 ? timegm(&at) : 0;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;
	bool good;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	good = extension && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return good;
}

static bool set_serial(X509 *certificate)
{
	BIGNUM *serial = BN_new();
	bool good = serial && BN_rand(serial, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate));

	BN_free(serial);
	return good;
}

/* chain_text() - The certificate, and its issuer where that is another one, as PEM; NULL: without memory */
static char *chain_text(const struct certificate *p, const struct certificate *issuer)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem, *text = NULL;

	if (bio && PEM_write_bio_X509(bio, p->x509) == 1 &&
	    (issuer == p || PEM_write_bio_X509(bio, issuer->x509) == 1)) {
		long length = BIO_get_mem_data(bio, &pem);

		text = strndup(pem, (size_t)length);
	}
	BIO_free(bio);
	return text;
}

/* to_text() - The chain and the key */
static bool to_text(struct certificate *p, const struct certificate *issuer)
{
	BIO *key = BIO_new(BIO_s_secmem());
	char *pem;

	certificate_pair_clear(&p->text);
	if (key && PEM_write_bio_PrivateKey(key, p->key, NULL, NULL, 0, NULL, NULL) == 1) {
		long length = BIO_get_mem_data(key, &pem);

		p->text.key = strndup(pem, (size_t)length);
	}
	BIO_free(key);
	p->text.certificate = chain_text(p, issuer);
	return p->text.certificate && p->text.key;
}

struct extension {
	int nid;
	const char *value;
};

/* fitting() - A long name stands in the alternative names alone, which are what clients look at */
static const char *fitting(const char *common_name)
{
	return strlen(common_name) <= ub_common_name ? common_name : "pillion";
}

/* sign() - A certificate for @key, signed by @issuer (@p: by itself) */
static int sign(struct certificate *p, EVP_PKEY *key, struct certificate *issuer,
		const char *common_name, long days, const struct extension *extensions,
		size_t count, struct error *err)
{
	X509 *x = X509_new();
	X509_NAME *subject = x ? X509_get_subject_name(x) : NULL;
	bool good;

	X509_free(p->x509);
	p->x509 = x;
	good = x && key && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -DAY) &&
	       X509_gmtime_adj(X509_getm_notAfter(x), days * DAY) && X509_set_pubkey(x, key) == 1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					  (const uint8_t *)fitting(common_name), -1, -1, 0) == 1 &&
	       X509_set_issuer_name(x, X509_get_subject_name(issuer->x509)) == 1;
	for (size_t i = 0; i < count && good; i++)
		good = add_extension(x, issuer->x509, extensions[i].nid, extensions[i].value);
	good = good && X509_sign(x, issuer->key, EVP_sha256()) > 0;
	ERR_clear_error();
	if (!good)
		return error_set(err, -EINVAL, "OpenSSL can't make a certificate for %s",
				 common_name);
	return 0;
}

/* make() - A certificate for the key of @p, or a new key, and the texts of both */
static int make(struct certificate *p, struct certificate *issuer, const char *common_name,
		long days, const struct extension *extensions, size_t count, struct error *err)
{
	int r;

	p->key = p->key ? p->key : EVP_EC_gen("P-256");
	r = sign(p, p->key, issuer, common_name, days, extensions, count, err);
	return r == 0 && !to_text(p, issuer) ? error_set(err, -ENOMEM, "out of memory") : r;
}

int certificate_make_server(struct certificate *p, struct certificate *issuer,
			    const char *common_name, long days, const char *const *names,
			    size_t count, struct error *err)
{
	struct buffer text = BUFFER_INIT(LIMIT_HTTP_HEADER);
	struct extension extensions[] = {
		{NID_basic_constraints, "critical,CA:FALSE"},
		{NID_key_usage, "critical,digitalSignature"},
		{NID_ext_key_usage, "serverAuth"},
		{NID_subject_alt_name, NULL},
		{NID_authority_key_identifier, "keyid"},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		struct address address;
		bool is_address = address_parse(names[i], strlen(names[i]), &address) == 0;

		r = buffer_printf(&text, "%s%s:%s", i ? "," : "", is_address ? "IP" : "DNS",
				  names[i]);
	}
	if (r == 0)
		r = buffer_append(&text, "", 1);
	extensions[3].value = (char *)buffer_head(&text);
	if (r < 0)
		error_set_errno(err, r, "a certificate for %s", names[0]);
	else
		r = make(p, issuer, common_name, days, extensions,
			 ARRAY_SIZE(extensions) - (issuer == p), err);
	buffer_free(&text);
	return r;
}

int certificate_make_authority(struct certificate *ca, const char *common_name, long days,
			       const char *permitted, struct error *err)
{
	_cleanup_free_ char *constraint = NULL;
	struct extension extensions[] = {
		{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
		{NID_key_usage, "critical,keyCertSign,cRLSign"},
		{NID_subject_key_identifier, "hash"},
		{NID_name_constraints, NULL},
	};

	/* A kind of names that the extension does not mention may be signed at will. */
	if (permitted && asprintf(&constraint,
				  "critical,permitted;DNS:%s,excluded;IP:0.0.0.0/0.0.0.0,"
				  "excluded;IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0",
				  permitted) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	extensions[3].value = constraint;
	return make(ca, ca, common_name, days, extensions, ARRAY_SIZE(extensions) - !permitted,
		    err);
}

/* names_fit() - Whether a request asks for @name alone, or leaves the name open */
static bool names_fit(X509_REQ *request, const char *name)
{
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
	GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
	bool fit = true;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *item = sk_GENERAL_NAME_value(names, i);

		fit &= item->type == GEN_DNS &&
		       ASN1_STRING_length(item->d.dNSName) == (int)strlen(name) &&
		       strncasecmp((const char *)ASN1_STRING_get0_data(item->d.dNSName), name,
				   strlen(name)) == 0;
	}
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	return fit;
}

/* key_fits() - A key that clients accept, and whose signature costs little to check */
static bool key_fits(const EVP_PKEY *key)
{
	return key && (EVP_PKEY_is_a(key, "EC") ? EVP_PKEY_get_bits(key) >= 256
		       : EVP_PKEY_is_a(key, "RSA")
			       ? EVP_PKEY_get_bits(key) >= 2048 && EVP_PKEY_get_bits(key) <= 4096
			       : false);
}

static X509_REQ *parse_request(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return request;
}

int certificate_sign_request(struct certificate *issuer, const char *csr, const char *name,
			     long days, char **ret_chain, struct error *err)
{
	_cleanup_free_ char *names = NULL;
	struct extension extensions[] = {
		{NID_basic_constraints, "critical,CA:FALSE"},
		{NID_key_usage, "critical,digitalSignature"},
		{NID_ext_key_usage, "serverAuth"},
		{NID_subject_alt_name, NULL},
		{NID_authority_key_identifier, "keyid"},
	};
	X509_REQ *request = parse_request(csr);
	EVP_PKEY *key = request ? X509_REQ_get0_pubkey(request) : NULL;
	struct certificate made = {0};
	int r = 0;

	if (!key_fits(key))
		r = error_set(err, -EINVAL,
			      "not a certificate request in PEM with a key of P-256 or more, or of "
			      "RSA with 2048 to 4096 bits");
	else if (X509_REQ_verify(request, key) != 1)
		r = error_set(err, -EINVAL, "the signature of the request is wrong");
	else if (!names_fit(request, name))
		r = error_set(err, -EPERM, "only a certificate for %s may be requested", name);
	else if (asprintf(&names, "DNS:%s", name) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	extensions[3].value = names;
	if (r == 0)
		r = sign(&made, key, issuer, name, days, extensions, ARRAY_SIZE(extensions), err);
	if (r == 0) {
		*ret_chain = chain_text(&made, issuer);
		r = *ret_chain ? 0 : error_set(err, -ENOMEM, "out of memory");
	}
	X509_REQ_free(request);
	X509_free(made.x509);
	ERR_clear_error();
	return r;
}

char *certificate_text(const struct certificate *c)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL, *at;

	if (bio && c->x509 && PEM_write_bio_X509(bio, c->x509) == 1) {
		long length = BIO_get_mem_data(bio, &at);

		text = strndup(at, (size_t)length);
	}
	BIO_free(bio);
	ERR_clear_error();
	return text;
}

const char *certificate_root(const struct certificate *c)
{
	static const char begins[] = "-----BEGIN CERTIFICATE-----";
	const char *last = NULL, *next = c->text.certificate;
	X509 *x509;
	bool signs_itself;

	while (next && (next = strstr(next, begins)))
		last = next++;
	x509 = last ? parse_certificate(last) : NULL;
	signs_itself = x509 && X509_check_issued(x509, x509) == X509_V_OK;
	X509_free(x509);
	ERR_clear_error();
	return signs_itself ? last : NULL;
}

int certificate_digest(const struct certificate *c, char out[static CERTIFICATE_DIGEST_MAX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;

	if (!c->x509 || X509_digest(c->x509, EVP_sha256(), digest, &length) != 1 ||
	    length * 2 >= CERTIFICATE_DIGEST_MAX)
		return -EINVAL;
	for (unsigned int i = 0; i < length; i++)
		sprintf(out + i * 2, "%02x", digest[i]);
	return 0;
}
