/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/primitives.c - the symmetric primitives that WireGuard and TS2021 share */
#include "wire/primitives.h"

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>

static EVP_MD *digest;
static EVP_MAC *keyed;

static_assert(BLAKE2S_SIZE == SECRET_KEY_SIZE, "a digest is a key");
static_assert(AEAD_TAG_SIZE == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag");
static_assert(AEAD_NONCE_SIZE == crypto_aead_chacha20poly1305_ietf_NPUBBYTES, "nonce");
static_assert(XAEAD_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");

/* There is no way on without the hash: neither a lost packet nor a retry would help. */
static void require(int ok)
{
	if (ok == 1)
		return;
	fputs("pillion: OpenSSL has no BLAKE2s, or memory ran out\n", stderr);
	abort();
}

static void fetch(void)
{
	digest = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
	keyed = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	require(digest && keyed && sodium_init() >= 0);
}

void primitives_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fetch);
}

void blake2s(uint8_t ret[static BLAKE2S_SIZE], const void *first, size_t first_length,
	     const void *second, size_t second_length)
{
	EVP_MD_CTX *context;

	primitives_init();
	context = EVP_MD_CTX_new();
	require(context != NULL);
	require(EVP_DigestInit_ex2(context, digest, NULL));
	require(EVP_DigestUpdate(context, first, first_length));
	require(EVP_DigestUpdate(context, second, second_length));
	require(EVP_DigestFinal_ex(context, ret, NULL));
	EVP_MD_CTX_free(context);
}

void blake2s_mac(uint8_t ret[static BLAKE2S_MAC_SIZE], const uint8_t *key, size_t key_length,
		 const void *data, size_t length)
{
	size_t size = BLAKE2S_MAC_SIZE;
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
		OSSL_PARAM_END,
	};
	EVP_MAC_CTX *context;

	primitives_init();
	context = EVP_MAC_CTX_new(keyed);
	require(context != NULL);
	require(EVP_MAC_init(context, key, key_length, params));
	require(EVP_MAC_update(context, data, length));
	require(EVP_MAC_final(context, ret, &size, BLAKE2S_MAC_SIZE));
	EVP_MAC_CTX_free(context);
}

void blake2s_hmac(uint8_t ret[static BLAKE2S_SIZE], const uint8_t *key, size_t key_length,
		  const void *data, size_t length)
{
	uint8_t block[BLAKE2S_BLOCK_SIZE] = {0}, inner[BLAKE2S_SIZE];

	assert(key_length <= sizeof(block));
	memcpy(block, key, key_length);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36;
	blake2s(inner, block, sizeof(block), data, length);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36 ^ 0x5c;
	blake2s(ret, block, sizeof(block), inner, sizeof(inner));
	explicit_bzero(block, sizeof(block));
	explicit_bzero(inner, sizeof(inner));
}

void blake2s_hkdf(const struct secret_key *salt, const void *input, size_t length,
		  struct secret_key *const *outputs, size_t count)
{
	uint8_t extracted[BLAKE2S_SIZE], expand[BLAKE2S_SIZE + 1];
	size_t used = 0;

	assert(count >= 1 && count <= HKDF_OUTPUTS_MAX);
	blake2s_hmac(extracted, salt->bytes, sizeof(salt->bytes), input, length);
	for (size_t i = 0; i < count; i++) {
		expand[used] = (uint8_t)(i + 1);
		blake2s_hmac(expand, extracted, sizeof(extracted), expand, used + 1);
		used = BLAKE2S_SIZE;
		if (outputs[i])
			memcpy(outputs[i]->bytes, expand, BLAKE2S_SIZE);
	}
	explicit_bzero(extracted, sizeof(extracted));
	explicit_bzero(expand, sizeof(expand));
}

void aead_seal(const struct secret_key *key, const uint8_t nonce[static AEAD_NONCE_SIZE],
	       const void *ad, size_t ad_length, const uint8_t *plain, size_t length, uint8_t *ret)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(ret, NULL, plain, length, ad, ad_length, NULL,
						  nonce, key->bytes);
}

int aead_open(const struct secret_key *key, const uint8_t nonce[static AEAD_NONCE_SIZE],
	      const void *ad, size_t ad_length, const uint8_t *cipher, size_t length, uint8_t *ret)
{
	if (crypto_aead_chacha20poly1305_ietf_decrypt(ret, NULL, NULL, cipher, length, ad,
						      ad_length, nonce, key->bytes) != 0)
		return -EBADMSG;
	return 0;
}

void xaead_seal(const struct secret_key *key, const uint8_t nonce[static XAEAD_NONCE_SIZE],
		const void *ad, size_t ad_length, const uint8_t *plain, size_t length, uint8_t *ret)
{
	crypto_aead_xchacha20poly1305_ietf_encrypt(ret, NULL, plain, length, ad, ad_length, NULL,
						   nonce, key->bytes);
}

int xaead_open(const struct secret_key *key, const uint8_t nonce[static XAEAD_NONCE_SIZE],
	       const void *ad, size_t ad_length, const uint8_t *cipher, size_t length, uint8_t *ret)
{
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(ret, NULL, NULL, cipher, length, ad,
						       ad_length, nonce, key->bytes) != 0)
		return -EBADMSG;
	return 0;
}
