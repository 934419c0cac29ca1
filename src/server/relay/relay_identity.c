/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_identity.c - a relay's key and certificate, and where they are kept */
#include "server/relay/relay_identity.h"

#include "base/cleanup.h"
#include "base/small_file.h"
#include "wire/keys.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VALID_DAYS   3650L
#define RENEW_BEFORE (30L * 24 * 3600) /* seconds */
#define SECONDS_DAY  (24L * 3600)
#define SERIAL_BITS  127
#define NAMES_MAX    512

void relay_certificate_clear(struct relay_certificate *c)
{
	free(c->certificate);
	secret_string_free(c->key);
	*c = (struct relay_certificate){0};
}

int relay_key_load(const char *directory, struct secret_key *ret, struct error *err)
{
	_cleanup_(secret_string_free_at) char *text = NULL;
	_cleanup_free_ char *path = NULL;
	struct secret_key key;
	char made[KEY_TEXT_MAX];
	int r;

	if (asprintf(&path, "%s/relay.key", directory) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = small_file_read(path, &text, err);
	if (r == 0) {
		if (secret_key_parse(text, strcspn(text, "\n"), ret) < 0)
			return error_set(err, -EINVAL,
					 "%s holds no relay key: restore it, or remove it to have "
					 "a new one made",
					 path);
		return 0;
	}
	if (r != -ENOENT)
		return r;
	secret_key_generate(&key);
	secret_key_format(&key, made);
	r = small_file_replace(path, made, strlen(made), err);
	if (r == 0)
		*ret = key;
	explicit_bzero(made, sizeof(made));
	secret_key_wipe(&key);
	return r;
}

static X509 *parse_certificate(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return x;
}

int relay_certificate_pin(const struct relay_certificate *c, char out[static RELAY_PIN_TEXT_MAX])
{
	X509 *x = parse_certificate(c->certificate);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;
	size_t at;
	bool ok = x && X509_digest(x, EVP_sha256(), digest, &length) == 1;

	X509_free(x);
	if (!ok)
		return -EINVAL;
	at = (size_t)snprintf(out, RELAY_PIN_TEXT_MAX, "sha256-raw:");
	for (unsigned int i = 0; i < length; i++)
		at += (size_t)snprintf(out + at, RELAY_PIN_TEXT_MAX - at, "%02x", digest[i]);
	return 0;
}

/* still_good() - Whether a certificate lasts a month and proves what is asked of it */
static bool still_good(const char *pem, const char *host, const struct address *ipv4,
		       const struct address *ipv6)
{
	const struct address *addresses[] = {ipv4, ipv6};
	X509 *x = parse_certificate(pem);
	time_t soon = time(NULL) + RENEW_BEFORE;
	bool good = x && X509_cmp_time(X509_get0_notAfter(x), &soon) > 0;

	if (good && host)
		good = X509_check_host(x, host, 0, 0, NULL) == 1;
	for (int i = 0; i < 2; i++)
		if (good && addresses[i]->family != ADDRESS_NONE)
			good = X509_check_ip(x, addresses[i]->bytes, address_length(addresses[i]),
					     0) == 1;
	X509_free(x);
	ERR_clear_error();
	return good;
}

static EVP_PKEY *parse_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return key;
}

/* belongs() - Whether the certificate and the key can be read, and are a pair */
static bool belongs(const char *certificate, const char *key)
{
	EVP_PKEY *secret = parse_key(key);
	X509 *x = parse_certificate(certificate);
	bool good = x && secret && X509_check_private_key(x, secret) == 1;

	EVP_PKEY_free(secret);
	X509_free(x);
	ERR_clear_error();
	return good;
}

/* subject_names() - The text of a subjectAltName extension */
static int subject_names(const char *host, const struct address *ipv4, const struct address *ipv6,
			 char out[static NAMES_MAX])
{
	const struct address *addresses[] = {ipv4, ipv6};
	char text[ADDRESS_TEXT_MAX];
	int length = host ? snprintf(out, NAMES_MAX, "DNS:%s", host) : 0;

	for (int i = 0; i < 2; i++)
		if (addresses[i]->family != ADDRESS_NONE && length < NAMES_MAX)
			length += snprintf(out + length, (size_t)(NAMES_MAX - length), "%sIP:%s",
					   length ? "," : "", address_format(addresses[i], text));
	return length == 0 || length >= NAMES_MAX ? -EINVAL : 0;
}

static bool add_extension(X509 *x, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool ok;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, x, x, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	ok = extension && X509_add_ext(x, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return ok;
}

static bool set_serial(X509 *x)
{
	BIGNUM *number = BN_new();
	bool ok = number &&
		  BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != NULL;

	BN_free(number);
	return ok;
}

/* sign_self() - A certificate for @key, by @key */
static X509 *sign_self(EVP_PKEY *key, const char *common_name, const char *names)
{
	X509 *x = X509_new();
	X509_NAME *name = x ? X509_get_subject_name(x) : NULL;
	bool ok = x && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
		  X509_gmtime_adj(X509_getm_notBefore(x), -SECONDS_DAY) &&
		  X509_gmtime_adj(X509_getm_notAfter(x), VALID_DAYS * SECONDS_DAY) &&
		  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
					     (const unsigned char *)common_name, -1, -1, 0) == 1 &&
		  X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
		  add_extension(x, NID_subject_alt_name, names) &&
		  add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
		  add_extension(x, NID_key_usage, "critical,digitalSignature") &&
		  add_extension(x, NID_ext_key_usage, "serverAuth") &&
		  X509_sign(x, key, EVP_sha256()) > 0;

	if (ok)
		return x;
	X509_free(x);
	return NULL;
}

/* take_text() - What a memory BIO holds, as a string; frees the BIO */
static char *take_text(BIO *bio)
{
	char *data, *text = NULL;
	long length = bio ? BIO_get_mem_data(bio, &data) : 0;

	if (length > 0)
		text = strndup(data, (size_t)length);
	BIO_free(bio);
	return text;
}

/* make() - @kept: the key of the one before, so that a crash between two files leaves a pair */
static int make(const char *host, const struct address *ipv4, const struct address *ipv6,
		const char *kept, struct relay_certificate *ret, struct error *err)
{
	BIO *certificate = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_secmem());
	EVP_PKEY *key = kept ? parse_key(kept) : EVP_EC_gen("P-256");
	char names[NAMES_MAX];
	X509 *x = NULL;
	int r = 0;

	if (subject_names(host, ipv4, ipv6, names) < 0)
		r = error_set(err, -EINVAL, "the relay's certificate needs a name or an address");
	else if (key)
		x = sign_self(key, "pillion relay", names);
	if (r == 0 && (!x || !certificate || !secret || PEM_write_bio_X509(certificate, x) != 1 ||
		       PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) != 1))
		r = error_set(err, -EIO, "OpenSSL can't make a certificate for %s", names);
	X509_free(x);
	EVP_PKEY_free(key);
	ret->certificate = take_text(certificate);
	ret->key = take_text(secret);
	if (r == 0 && (!ret->certificate || !ret->key))
		r = error_set(err, -ENOMEM, "out of memory");
	ERR_clear_error();
	return r;
}

static int read_pair(const char *certificate_file, const char *key_file,
		     struct relay_certificate *ret, struct error *err)
{
	_cleanup_(relay_certificate_clear) struct relay_certificate c = {0};
	int r = small_file_read(certificate_file, &c.certificate, err);

	if (r == 0)
		r = small_file_read(key_file, &c.key, err);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct relay_certificate){0};
	return 0;
}

int relay_certificate_load(const char *directory, const char *host, const struct address *ipv4,
			   const struct address *ipv6, struct relay_certificate *ret,
			   struct error *err)
{
	_cleanup_(relay_certificate_clear) struct relay_certificate c = {0};
	_cleanup_free_ char *certificate_file = NULL, *key_file = NULL;
	struct error reason;
	int r;

	if (asprintf(&certificate_file, "%s/relay.crt", directory) < 0 ||
	    asprintf(&key_file, "%s/relay.pem", directory) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = read_pair(certificate_file, key_file, &c, &reason);
	if (r == -EACCES)
		return error_set(err, r, "%s", reason.text);
	/* Clients may have pinned it: only a certificate that can be read is ever replaced. */
	if (access(certificate_file, F_OK) == 0 && (r < 0 || !belongs(c.certificate, c.key)))
		return error_set(
			err, -EINVAL,
			"%s and %s can't be used together: restore them, or remove both for "
			"a new certificate, whose hash differs from the one in maps of relays",
			certificate_file, key_file);
	if (r < 0 || !still_good(c.certificate, host, ipv4, ipv6)) {
		_cleanup_(secret_string_free_at) char *kept = TAKE_PTR(c.key);

		relay_certificate_clear(&c);
		r = make(host, ipv4, ipv6, kept, &c, err);
		/* The key first: a certificate without its key would never be made anew. */
		if (r == 0)
			r = small_file_replace(key_file, c.key, strlen(c.key), err);
		if (r == 0)
			r = small_file_replace(certificate_file, c.certificate,
					       strlen(c.certificate), err);
	}
	if (r < 0)
		return r;
	*ret = c;
	c = (struct relay_certificate){0};
	return 0;
}

int relay_directory_make(const char *path, struct error *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set_errno(
			err, -errno,
			"make the folder %s (mount a volume at %s that can be written, or choose "
			"another)",
			path, path);
	return 0;
}
