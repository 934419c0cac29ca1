/* SPDX-License-Identifier: BSD-3-Clause */
/* server/web/certificate_maker.c - certificates that a server of this program makes for itself */
#include "server/web/certificate_maker.h"

#include "base/address.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/small_file.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define LONG_DAYS   3650
#define SERVER_DAYS 397 /* Apple's clients refuse more of a certificate that an authority signed */
#define RENEW_DAYS  30
#define DAY         86400L

/* A pair of files, and what they hold; NULL: missing or, where that is allowed, unusable. */
struct pair {
	char *certificate_path, *key_path;
	struct certificate_pair text;
	X509 *certificate;
	EVP_PKEY *key;
};

static void pair_clear(struct pair *p)
{
	free(p->certificate_path);
	free(p->key_path);
	certificate_pair_clear(&p->text);
	X509_free(p->certificate);
	EVP_PKEY_free(p->key);
	*p = (struct pair){0};
}

void certificate_pair_clear(struct certificate_pair *pair)
{
	free(pair->certificate);
	secret_string_free(pair->key);
	*pair = (struct certificate_pair){0};
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

/* is_whole() - Whether the certificate and the key are there, and belong together */
static bool is_whole(const struct pair *p)
{
	bool whole =
		p->certificate && p->key && X509_check_private_key(p->certificate, p->key) == 1;

	ERR_clear_error();
	return whole;
}

/*
 * load() - Read a pair
 * @remedy: for a pair that clients trust: what to do where it can't be used, which is an error.
 *          NULL: the pair can be made again at any time
 *
 * A key without a certificate is fine: that is what a crash leaves when they are made.
 */
static int load(struct pair *p, const char *folder, const char *certificate, const char *key,
		const char *remedy, struct error *err)
{
	struct error unread;
	int r;

	if (asprintf(&p->certificate_path, "%s/%s", folder, certificate) < 0 ||
	    asprintf(&p->key_path, "%s/%s", folder, key) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = small_file_read(p->certificate_path, &p->text.certificate, &unread);
	if (r == 0 || r == -ENOENT)
		r = small_file_read(p->key_path, &p->text.key, &unread);
	if (r < 0 && r != -ENOENT && remedy)
		return error_set(err, r, "%s", unread.text);
	p->certificate = p->text.certificate ? parse_certificate(p->text.certificate) : NULL;
	p->key = p->text.key ? parse_key(p->text.key) : NULL;
	if (!remedy || is_whole(p) || (!p->text.certificate && (p->key || !p->text.key)))
		return 0;
	return error_set(err, -EINVAL, "%s and %s can't be used together: %s", p->certificate_path,
			 key, remedy);
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

/* to_text() - The certificate, its issuer where that is another one, and the key, as PEM */
static bool to_text(struct pair *p, const struct pair *issuer)
{
	BIO *certificate = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_secmem());
	char *pem, *key_pem;
	bool good = certificate && key && PEM_write_bio_X509(certificate, p->certificate) == 1 &&
		    (issuer == p || PEM_write_bio_X509(certificate, issuer->certificate) == 1) &&
		    PEM_write_bio_PrivateKey(key, p->key, NULL, NULL, 0, NULL, NULL) == 1;

	certificate_pair_clear(&p->text);
	if (good) {
		long length = BIO_get_mem_data(certificate, &pem);
		long key_length = BIO_get_mem_data(key, &key_pem);

		p->text.certificate = strndup(pem, (size_t)length);
		p->text.key = strndup(key_pem, (size_t)key_length);
	}
	BIO_free(certificate);
	BIO_free(key);
	return p->text.certificate && p->text.key;
}

struct extension {
	int nid;
	const char *value;
};

/*
 * make() - A certificate for the key of @p, or a new key, signed by @issuer (@p: by itself)
 * @extensions: @count of them
 *
 * It is valid from yesterday on, since clocks differ.
 */
static int make(struct pair *p, struct pair *issuer, const char *common_name, long days,
		const struct extension *extensions, size_t count, struct error *err)
{
	X509 *x = X509_new();
	X509_NAME *subject = x ? X509_get_subject_name(x) : NULL;
	bool good;
	int r;

	X509_free(p->certificate);
	p->certificate = x;
	p->key = p->key ? p->key : EVP_EC_gen("P-256");
	good = x && p->key && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -DAY) &&
	       X509_gmtime_adj(X509_getm_notAfter(x), days * DAY) &&
	       X509_set_pubkey(x, p->key) == 1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					  (const uint8_t *)common_name, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(x, X509_get_subject_name(issuer->certificate)) == 1;
	for (size_t i = 0; i < count && good; i++)
		good = add_extension(x, issuer->certificate, extensions[i].nid,
				     extensions[i].value);
	good = good && X509_sign(x, issuer->key, EVP_sha256()) > 0 && to_text(p, issuer);
	ERR_clear_error();
	if (!good)
		return error_set(err, -EINVAL, "OpenSSL can't make a certificate for %s",
				 common_name);
	/* The key first: a certificate without its key would be an error at the next start. */
	r = small_file_replace(p->key_path, p->text.key, strlen(p->text.key), err);
	return r < 0 ? r
		     : small_file_replace(p->certificate_path, p->text.certificate,
					  strlen(p->text.certificate), err);
}

/* make_server() - A certificate for the names, of any server */
static int make_server(struct pair *p, struct pair *issuer, const char *common_name, long days,
		       const char *const *names, size_t count, struct error *err)
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

/* serves() - Whether the pair is good for all of the names, and for a while */
static bool serves(const struct pair *p, const char *const *names, size_t count)
{
	time_t renew = time(NULL) + RENEW_DAYS * DAY;
	bool good = is_whole(p) && X509_cmp_time(X509_get0_notAfter(p->certificate), &renew) > 0;

	for (size_t i = 0; i < count && good; i++)
		good = X509_check_host(p->certificate, names[i], 0, 0, NULL) == 1 ||
		       X509_check_ip_asc(p->certificate, names[i], 0) == 1;
	ERR_clear_error();
	return good;
}

int certificate_self_signed(const char *folder, const char *const *names, size_t count,
			    struct certificate_pair *ret, struct error *err)
{
	_cleanup_(pair_clear) struct pair relay = {0};
	int r = load(&relay, folder, "relay.crt", "relay.pem",
		     "restore them, or remove both for a new certificate, whose hash differs from "
		     "the one in maps of relays",
		     err);

	if (r == 0 && !serves(&relay, names, count))
		r = make_server(&relay, &relay, "pillion relay", LONG_DAYS, names, count, err);
	if (r == 0) {
		*ret = relay.text;
		relay.text = (struct certificate_pair){0};
	}
	return r;
}

/* make_authority() - Nodes that trust a lost certificate trust another of the same key and name */
static int make_authority(struct pair *ca, struct error *err)
{
	static const struct extension extensions[] = {
		{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
		{NID_key_usage, "critical,keyCertSign,cRLSign"},
		{NID_subject_key_identifier, "hash"},
	};

	return make(ca, ca, "pillion control, private authority", LONG_DAYS, extensions,
		    ARRAY_SIZE(extensions), err);
}

static time_t end_of(const X509 *certificate)
{
	struct tm at = {0};

	return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &at) == 1 ? timegm(&at) : 0;
}

int certificate_by_authority(const char *folder, const char *const *names, size_t count,
			     struct certificate_pair *ret, struct authority_made *made,
			     struct error *err)
{
	_cleanup_(pair_clear) struct pair ca = {0}, server = {0};
	int r = load(&ca, folder, "ca.pem", "ca.key",
		     "restore them, or move both away for a new authority", err);

	*made = (struct authority_made){.authority = !ca.certificate};
	if (r == 0 && made->authority)
		r = make_authority(&ca, err);
	if (r == 0)
		r = load(&server, folder, "server.pem", "server.key", NULL, err);
	if (r < 0)
		return r;
	made->ends = end_of(ca.certificate);
	made->server =
		!serves(&server, names, count) || X509_verify(server.certificate, ca.key) != 1;
	if (made->server) {
		EVP_PKEY_free(TAKE_PTR(server.key));
		r = make_server(&server, &ca, names[0], SERVER_DAYS, names, count, err);
	}
	ERR_clear_error();
	if (r == 0) {
		*ret = server.text;
		server.text = (struct certificate_pair){0};
	}
	return r;
}

int certificate_pin(const char *certificate, char out[static CERTIFICATE_PIN_MAX])
{
	X509 *x = parse_certificate(certificate);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;
	bool good = x && X509_digest(x, EVP_sha256(), digest, &length) == 1;
	size_t at = (size_t)snprintf(out, CERTIFICATE_PIN_MAX, "sha256-raw:");

	X509_free(x);
	for (unsigned int i = 0; good && i < length; i++)
		at += (size_t)snprintf(out + at, CERTIFICATE_PIN_MAX - at, "%02x", digest[i]);
	return good ? 0 : -EINVAL;
}
