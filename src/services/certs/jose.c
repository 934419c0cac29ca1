/* SPDX-License-Identifier: BSD-3-Clause */
/* services/certs/jose.c - signed JSON, as ACME wants it */
#include "services/certs/jose.h"

#include "base/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <string.h>

#define COORDINATE   32 /* of P-256 */
#define JSON_TEXT    ((size_t)64 * 1024)
#define SIGNATURE    ((size_t)2 * COORDINATE)
#define CURVE_NAME   "prime256v1"
#define DER_SIGN_MAX 80

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int base64url_append(struct buffer *out, const void *bytes, size_t length)
{
	const uint8_t *in = bytes;

	for (size_t i = 0; i < length; i += 3) {
		size_t left = length - i < 3 ? length - i : 3;
		uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
			     (left > 2 ? in[i + 2] : 0);
		char four[4] = {digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63],
				digits[v & 63]};
		int r = buffer_append(out, four, left + 1);

		if (r < 0)
			return r;
	}
	return 0;
}

int base64url_digest(const void *bytes, size_t length, char out[static JOSE_DIGEST_TEXT])
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(JOSE_DIGEST_TEXT);
	uint8_t digest[SHA256_DIGEST_LENGTH];
	int r;

	if (!SHA256(bytes, length, digest))
		return -ENOMEM;
	r = base64url_append(&text, digest, sizeof(digest));
	if (r == 0)
		r = buffer_append(&text, "", 1);
	if (r == 0)
		memcpy(out, buffer_head(&text), JOSE_DIGEST_TEXT);
	return r;
}

static int digit_value(char c)
{
	const char *at = c ? strchr(digits, c == '+' ? '-' : c == '/' ? '_' : c) : NULL;

	return at ? (int)(at - digits) : -1;
}

int base64_decode(const char *text, size_t length, struct buffer *out)
{
	uint32_t bits = 0;
	unsigned int have = 0;

	while (length > 0 && text[length - 1] == '=')
		length--;
	for (size_t i = 0; i < length; i++) {
		int v = digit_value(text[i]), r;

		if (v < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		r = buffer_append(out, &(uint8_t){(uint8_t)(bits >> have)}, 1);
		if (r < 0)
			return r;
	}
	return length % 4 == 1 ? -EINVAL : 0;
}

/* --- Keys --- */

char *jose_key_new(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	BIO *bio = BIO_new(BIO_s_secmem());
	char *text = NULL, *at;

	if (key && bio &&
	    PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL) == 1) {
		long length = BIO_get_mem_data(bio, &at);

		text = strndup(at, (size_t)length);
	}
	BIO_free(bio);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return text;
}

static int no_phrase(char *buffer, int size, int writing, void *user)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)user;
	return -1;
}

EVP_PKEY *jose_key_parse(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL) : NULL;
	char group[32] = "";

	BIO_free(bio);
	if (key && (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
		    EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
		    strcmp(group, CURVE_NAME) != 0)) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	ERR_clear_error();
	return key;
}

static int put_coordinate(EVP_PKEY *key, const char *name, json_t *jwk, const char *member)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(JOSE_DIGEST_TEXT);
	uint8_t bytes[COORDINATE];
	BIGNUM *number = NULL;
	int r = -EINVAL;

	if (EVP_PKEY_get_bn_param(key, name, &number) == 1 &&
	    BN_bn2binpad(number, bytes, COORDINATE) == COORDINATE)
		r = base64url_append(&text, bytes, COORDINATE);
	BN_free(number);
	ERR_clear_error();
	if (r == 0 &&
	    json_object_set_new(jwk, member,
				json_stringn((char *)buffer_head(&text), text.length)) < 0)
		r = -ENOMEM;
	return r;
}

/* public_key() - The members in the order that RFC 7638 hashes them in; or NULL */
static json_t *public_key(EVP_PKEY *key)
{
	json_t *jwk = json_pack("{s:s, s:s}", "crv", "P-256", "kty", "EC");

	if (jwk && put_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, jwk, "x") == 0 &&
	    put_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, jwk, "y") == 0)
		return jwk;
	json_decref(jwk);
	return NULL;
}

int jose_thumbprint(EVP_PKEY *key, char out[static JOSE_DIGEST_TEXT])
{
	_cleanup_free_ char *text = NULL;
	json_t *jwk = public_key(key);

	text = json_dumps(jwk, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(jwk);
	return text ? base64url_digest(text, strlen(text), out) : -ENOMEM;
}

/* --- Signatures --- */

/* sign() - R and S, each with leading zeros; 0 or negative errno */
static int sign(EVP_PKEY *key, const void *bytes, size_t length, uint8_t ret[static SIGNATURE])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t der[DER_SIGN_MAX];
	size_t der_length = sizeof(der);
	const uint8_t *at = der;
	ECDSA_SIG *pair = NULL;
	const BIGNUM *r, *s;
	int result = -EINVAL;

	if (context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
	    EVP_DigestSign(context, der, &der_length, bytes, length) == 1)
		pair = d2i_ECDSA_SIG(NULL, &at, (long)der_length);
	if (pair) {
		ECDSA_SIG_get0(pair, &r, &s);
		if (BN_bn2binpad(r, ret, COORDINATE) == COORDINATE &&
		    BN_bn2binpad(s, ret + COORDINATE, COORDINATE) == COORDINATE)
			result = 0;
	}
	ECDSA_SIG_free(pair);
	EVP_MD_CTX_free(context);
	ERR_clear_error();
	return result;
}

/* what signs: a key, or a secret */
struct signer {
	EVP_PKEY *key;
	const void *secret;
	size_t secret_length;
};

static int append_signature(const struct signer *by, const struct buffer *input, struct buffer *out)
{
	const uint8_t *bytes = input->data + input->start;
	uint8_t signature[SIGNATURE];
	unsigned int length = sizeof(signature);
	int r = 0;

	if (by->key)
		r = sign(by->key, bytes, input->length, signature);
	else if (!HMAC(EVP_sha256(), by->secret, (int)by->secret_length, bytes, input->length,
		       signature, &length))
		r = -ENOMEM;
	return r < 0 ? r : base64url_append(out, signature, length);
}

/* assemble() - {"protected":…,"payload":…,"signature":…} */
static int assemble(const struct signer *by, const char *head, const char *payload,
		    struct buffer *out)
{
	_cleanup_(buffer_free) struct buffer input = BUFFER_INIT(JSON_TEXT);
	size_t head_length;
	int r = base64url_append(&input, head, strlen(head));

	head_length = input.length;
	if (r == 0)
		r = buffer_append(&input, ".", 1);
	if (r == 0)
		r = base64url_append(&input, payload, strlen(payload));
	if (r == 0)
		r = buffer_printf(out,
				  "{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"",
				  (int)head_length, (char *)buffer_head(&input),
				  (int)(input.length - head_length - 1),
				  (char *)buffer_head(&input) + head_length + 1);
	if (r == 0)
		r = append_signature(by, &input, out);
	return r < 0 ? r : buffer_printf(out, "\"}");
}

int jose_sign(EVP_PKEY *key, const struct jose_head *head, const char *payload, struct buffer *out)
{
	json_t *object = json_pack("{s:s, s:s, s:s*, s:s*}", "alg", "ES256", "url", head->url,
				   "nonce", head->nonce, "kid", head->kid);
	const struct signer by = {.key = key};
	_cleanup_free_ char *text = NULL;

	if (object && !head->kid)
		(void)json_object_set_new(object, "jwk", public_key(key));
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text ? assemble(&by, text, payload, out) : -ENOMEM;
}

int jose_bind(EVP_PKEY *key, const char *kid, const void *secret, size_t length, const char *url,
	      struct buffer *out)
{
	const struct signer by = {.secret = secret, .secret_length = length};
	json_t *object = json_pack("{s:s, s:s, s:s}", "alg", "HS256", "kid", kid, "url", url);
	json_t *jwk = public_key(key);
	_cleanup_free_ char *text = json_dumps(object, JSON_COMPACT);
	_cleanup_free_ char *payload = json_dumps(jwk, JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(object);
	json_decref(jwk);
	return text && payload ? assemble(&by, text, payload, out) : -ENOMEM;
}
