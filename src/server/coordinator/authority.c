/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/authority.c - a private certificate authority, made at the first start */
#include "server/coordinator/authority.h"

#include "base/address.h"
#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AUTHORITY_DAYS 3650
#define SERVER_DAYS    397 /* more is refused by Apple's clients */
#define RENEW_DAYS     30
#define DAY            86400L

static void x509_free_at(X509 **certificate)
{
	X509_free(*certificate);
}

static void pkey_free_at(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

static FILE *open_path(const char *path, const char *mode, mode_t permissions)
{
	int fd = open(path, (*mode == 'r' ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC) | O_CLOEXEC,
		      permissions);

	return fd < 0 ? NULL : fdopen(fd, mode);
}

static FILE *open_in(const char *folder, const char *name)
{
	_cleanup_free_ char *path = NULL;

	return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : open_path(path, "r", 0);
}

static X509 *read_certificate(const char *folder, const char *name)
{
	FILE *file = open_in(folder, name);
	X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;

	if (file)
		fclose(file);
	return certificate;
}

static EVP_PKEY *read_key(const char *folder, const char *name)
{
	FILE *file = open_in(folder, name);
	EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;

	if (file)
		fclose(file);
	return key;
}

/* write_one() - A whole new file in the place of the old one, so that a crash leaves one of them */
static int write_one(const char *folder, const char *name, mode_t mode, const X509 *certificate,
		     const X509 *issuer, const EVP_PKEY *key, struct error *err)
{
	_cleanup_free_ char *path = NULL, *beside = NULL;
	FILE *file;
	bool good;
	int r;

	if (asprintf(&path, "%s/%s", folder, name) < 0 || asprintf(&beside, "%s.new", path) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	errno = 0;
	file = open_path(beside, "w", mode);
	good = file &&
	       (!key || PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1) &&
	       (!certificate || PEM_write_X509(file, certificate) == 1) &&
	       (!issuer || PEM_write_X509(file, issuer) == 1) && fflush(file) == 0 &&
	       fsync(fileno(file)) == 0;
	if (file)
		good = fclose(file) == 0 && good;
	if (good && rename(beside, path) == 0)
		return 0;
	r = error_set_errno(err, errno ? -errno : -EIO, "write %s", path);
	(void)unlink(beside);
	return r;
}

/* write_pair() - The key first: a certificate without its key is made anew at the next start */
static int write_pair(const char *folder, const char *stem, X509 *certificate, X509 *issuer,
		      EVP_PKEY *key, struct error *err)
{
	char name[64];
	int r;

	snprintf(name, sizeof(name), "%s.key", stem);
	r = write_one(folder, name, 0600, NULL, NULL, key, err);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s.pem", stem);
	return write_one(folder, name, 0644, certificate, issuer, NULL, err);
}

static bool add_extension(X509 *certificate, X509 *issuer, int which, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;
	bool good;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, which, value);
	good = extension && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return good;
}

/* blank() - A certificate of @key with a random serial number, valid from a while ago */
static X509 *blank(EVP_PKEY *key, const char *name, long days)
{
	X509 *certificate = X509_new();
	BIGNUM *serial = BN_new();
	X509_NAME *subject;

	if (!certificate || !serial ||
	    BN_rand(serial, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
	    !BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) ||
	    X509_set_version(certificate, 2) != 1 || X509_set_pubkey(certificate, key) != 1 ||
	    !X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY) ||
	    !X509_gmtime_adj(X509_getm_notAfter(certificate), days * DAY))
		goto refused;
	subject = X509_get_subject_name(certificate);
	if (X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1,
				       0) != 1)
		goto refused;
	BN_free(serial);
	return certificate;
refused:
	BN_free(serial);
	X509_free(certificate);
	return NULL;
}

/* make_authority() - @ret_key: an authority's that has lost its certificate, or NULL for another
 * one. Nodes that trust the certificate that was lost trust one of the same key and name. */
static int make_authority(const char *folder, X509 **ret, EVP_PKEY **ret_key, struct error *err)
{
	_cleanup_(pkey_free_at) EVP_PKEY *key = *ret_key ? TAKE_PTR(*ret_key) : EVP_EC_gen("P-256");
	_cleanup_(x509_free_at) X509 *ca =
		key ? blank(key, "pillion control, private authority", AUTHORITY_DAYS) : NULL;
	int r;

	if (!ca || X509_set_issuer_name(ca, X509_get_subject_name(ca)) != 1 ||
	    !add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
	    !add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") ||
	    !add_extension(ca, ca, NID_subject_key_identifier, "hash") ||
	    X509_sign(ca, key, EVP_sha256()) == 0)
		return error_set(err, -ENOMEM, "OpenSSL can't make a certificate authority");
	r = write_pair(folder, "ca", ca, NULL, key, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(ca);
	*ret_key = TAKE_PTR(key);
	return 0;
}

/* alternative_names() - "DNS:a,IP:1.2.3.4" */
static int alternative_names(const char *const *names, size_t count, struct buffer *out)
{
	struct address address;
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = buffer_printf(out, "%s%s:%s", i ? "," : "",
				  address_parse(names[i], strlen(names[i]), &address) == 0 ? "IP"
											   : "DNS",
				  names[i]);
	return r == 0 ? buffer_append(out, "", 1) : r;
}

static int make_server(const char *folder, X509 *ca, EVP_PKEY *ca_key, const char *const *names,
		       size_t count, struct error *err)
{
	_cleanup_(pkey_free_at) EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_(x509_free_at) X509 *leaf = key ? blank(key, names[0], SERVER_DAYS) : NULL;
	struct buffer text = BUFFER_INIT(LIMIT_HTTP_HEADER);
	bool good = leaf && alternative_names(names, count, &text) == 0 &&
		    X509_set_issuer_name(leaf, X509_get_subject_name(ca)) == 1 &&
		    add_extension(leaf, ca, NID_basic_constraints, "critical,CA:FALSE") &&
		    add_extension(leaf, ca, NID_key_usage, "critical,digitalSignature") &&
		    add_extension(leaf, ca, NID_ext_key_usage, "serverAuth") &&
		    add_extension(leaf, ca, NID_authority_key_identifier, "keyid") &&
		    add_extension(leaf, ca, NID_subject_alt_name, (char *)buffer_head(&text)) &&
		    X509_sign(leaf, ca_key, EVP_sha256()) != 0;

	buffer_free(&text);
	if (!good)
		return error_set(err, -EINVAL, "no certificate can be made for %s", names[0]);
	return write_pair(folder, "server", leaf, ca, key, err);
}

/* serves() - Whether the certificate is good for all of the names, and for a while */
static bool serves(X509 *leaf, X509 *ca, const char *const *names, size_t count)
{
	_cleanup_(pkey_free_at) EVP_PKEY *key = X509_get_pubkey(ca);
	time_t renew = time(NULL) + RENEW_DAYS * DAY;

	if (!leaf || X509_verify(leaf, key) != 1 ||
	    X509_cmp_time(X509_get0_notAfter(leaf), &renew) < 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (X509_check_host(leaf, names[i], 0, 0, NULL) != 1 &&
		    X509_check_ip_asc(leaf, names[i], 0) != 1)
			return false;
	return true;
}

static int slurp(const char *folder, const char *name, struct buffer *out, struct error *err)
{
	FILE *file = open_in(folder, name);
	int r = file ? 0 : -errno;

	*out = BUFFER_INIT(LIMIT_CA_BUNDLE);
	while (r == 0 && (r = buffer_reserve(out, 4096)) == 0) {
		size_t length = fread(buffer_end(out), 1, 4096, file);

		out->length += length;
		if (length == 0)
			break;
	}
	if (r == 0 && ferror(file))
		r = -EIO;
	if (file)
		fclose(file);
	return r == 0 ? 0 : error_set_errno(err, r, "read %s/%s", folder, name);
}

/* readable() - The authority's files are there and can be read, or are not there */
static int readable(const char *folder, struct error *err)
{
	static const char *const names[] = {"ca.pem", "ca.key"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		FILE *file = open_in(folder, names[i]);

		if (!file && errno != ENOENT)
			return error_set_errno(err, -errno, "read %s/%s", folder, names[i]);
		if (file)
			fclose(file);
	}
	return 0;
}

static time_t end_of(const X509 *certificate)
{
	struct tm at = {0};

	return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &at) == 1 ? timegm(&at) : 0;
}

/* not_there() - An authority that nodes may trust is never replaced because it can't be used */
static int not_there(const char *folder, bool has_key, struct error *err)
{
	/* A key without a certificate is what a first start leaves that was cut short. */
	const char *const names[] = {"ca.pem", has_key ? NULL : "ca.key"};

	for (size_t i = 0; i < ARRAY_SIZE(names) && names[i]; i++) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s", folder, names[i]) < 0)
			return error_set(err, -ENOMEM, "out of memory");
		if (access(path, F_OK) == 0)
			return error_set(
				err, -EINVAL,
				"%s is there, but ca.pem and ca.key can't be used together: "
				"bring them back, or move both away for a new authority",
				path);
	}
	return 0;
}

int authority_ensure(const char *folder, const char *const *names, size_t count,
		     struct buffer *ret_certificate, struct buffer *ret_key,
		     struct authority_made *ret, struct error *err)
{
	_cleanup_(x509_free_at) X509 *ca = read_certificate(folder, "ca.pem");
	_cleanup_(pkey_free_at) EVP_PKEY *ca_key = read_key(folder, "ca.key");
	_cleanup_(x509_free_at) X509 *leaf = read_certificate(folder, "server.pem");
	_cleanup_(pkey_free_at) EVP_PKEY *leaf_key = read_key(folder, "server.key");
	struct authority_made made = {.authority = !ca || !ca_key ||
						   X509_check_private_key(ca, ca_key) != 1};
	int r = readable(folder, err);

	if (r == 0 && made.authority)
		r = not_there(folder, ca_key != NULL, err);
	if (r == 0 && made.authority) {
		X509_free(TAKE_PTR(ca));
		r = make_authority(folder, &ca, &ca_key, err);
	}
	if (r == 0) {
		made.ends = end_of(ca);
		made.server = !leaf || !leaf_key || X509_check_private_key(leaf, leaf_key) != 1 ||
			      !serves(leaf, ca, names, count);
	}
	if (r == 0 && made.server)
		r = make_server(folder, ca, ca_key, names, count, err);
	ERR_clear_error();
	if (r == 0)
		r = slurp(folder, "server.pem", ret_certificate, err);
	if (r == 0)
		r = slurp(folder, "server.key", ret_key, err);
	if (r == 0)
		*ret = made;
	return r;
}
