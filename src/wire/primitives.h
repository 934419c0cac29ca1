/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/primitives.h - the symmetric primitives that WireGuard and TS2021 share
 *
 * BLAKE2s is OpenSSL's (libsodium has none), the AEADs are libsodium's. A hash
 * has no error to return: should OpenSSL run out of memory for its 200 bytes, the
 * process aborts, and the supervisor replaces it.
 *
 * In every AEAD the output may be the input (in place); other overlaps may not.
 */
#pragma once

#include "base/secret.h"

#include <stddef.h>
#include <stdint.h>

#define BLAKE2S_SIZE       32u
#define BLAKE2S_BLOCK_SIZE 64u
#define BLAKE2S_MAC_SIZE   16u /* of the keyed MACs of WireGuard */

#define AEAD_TAG_SIZE    16u
#define AEAD_NONCE_SIZE  12u
#define XAEAD_NONCE_SIZE 24u
#define HKDF_OUTPUTS_MAX 3u

/**
 * primitives_init() - Fetch the algorithms, once
 *
 * Called by whoever needs it first; a process that gives up its files calls it
 * before it does, since OpenSSL reads its configuration here.
 */
void primitives_init(void);

/** blake2s() - BLAKE2s-256 of @first followed by @second (RFC 7693); either may be empty */
void blake2s(uint8_t ret[static BLAKE2S_SIZE], const void *first, size_t first_length,
	     const void *second, size_t second_length);

/**
 * blake2s_mac() - BLAKE2s keyed by its own parameter block, 16 bytes out (WireGuard §5.4.4)
 * @key:    1-32 bytes
 */
void blake2s_mac(uint8_t ret[static BLAKE2S_MAC_SIZE], const uint8_t *key, size_t key_length,
		 const void *data, size_t length);

/** blake2s_hmac() - HMAC (RFC 2104) with BLAKE2s-256; @key of at most 64 bytes */
void blake2s_hmac(uint8_t ret[static BLAKE2S_SIZE], const uint8_t *key, size_t key_length,
		  const void *data, size_t length);

/**
 * blake2s_hkdf() - Noise §4.3: HKDF (RFC 5869) without info, by HMAC-BLAKE2s
 * @salt:    the chaining key; may be one of the outputs
 * @outputs: 1-3 keys, filled in order; NULL where one is not wanted
 */
void blake2s_hkdf(const struct secret_key *salt, const void *input, size_t length,
		  struct secret_key *const *outputs, size_t count);

/** aead_seal() - ChaCha20-Poly1305 (RFC 8439); writes @length + 16 bytes to @ret */
void aead_seal(const struct secret_key *key, const uint8_t nonce[static AEAD_NONCE_SIZE],
	       const void *ad, size_t ad_length, const uint8_t *plain, size_t length, uint8_t *ret);

/**
 * aead_open() - ChaCha20-Poly1305
 * @length: of the ciphertext with its tag; @ret gets 16 fewer
 *
 * Return: 0, or -EBADMSG for a forgery or a ciphertext shorter than its tag; then
 * @ret holds nothing of the plaintext
 */
int aead_open(const struct secret_key *key, const uint8_t nonce[static AEAD_NONCE_SIZE],
	      const void *ad, size_t ad_length, const uint8_t *cipher, size_t length, uint8_t *ret);

/** xaead_seal() - XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), as aead_seal() */
void xaead_seal(const struct secret_key *key, const uint8_t nonce[static XAEAD_NONCE_SIZE],
		const void *ad, size_t ad_length, const uint8_t *plain, size_t length,
		uint8_t *ret);

/** xaead_open() - XChaCha20-Poly1305, as aead_open() */
int xaead_open(const struct secret_key *key, const uint8_t nonce[static XAEAD_NONCE_SIZE],
	       const void *ad, size_t ad_length, const uint8_t *cipher, size_t length,
	       uint8_t *ret);
