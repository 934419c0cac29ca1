/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/noise.h - the symmetric state of a Noise handshake (Noise rev 34, §5.2)
 *
 * What Noise_IKpsk2 (WireGuard) and Noise_IK (TS2021) have in common, with the
 * suite 25519_ChaChaPoly_BLAKE2s. The patterns themselves stand where they are
 * spoken: tunnel/wireguard/wg_handshake.c and transport/ts2021.c.
 *
 *	noise_init(&n, "Noise_IK_25519_ChaChaPoly_BLAKE2s");
 *	noise_mix_hash(&n, prologue, length);
 *	noise_mix_hash(&n, their_static, 32);	<- s
 *	noise_mix_hash(&n, ephemeral, 32);	-> e
 *	noise_mix_dh(&n, &my_ephemeral, &their_static);	es
 *	noise_encrypt_and_hash(&n, my_static, 32, out);	s
 *	…
 *	noise_split(&n, &sending, &receiving);
 *
 * In these patterns each derived key seals exactly one message, with nonce 0: the
 * state holds the key until it is used, then wipes it; a second use without a new
 * key is a mistake of the caller and aborts.
 */
#pragma once

#include "wire/keys.h"
#include "wire/primitives.h"

#include <stdbool.h>

struct noise_state {
	uint8_t hash[BLAKE2S_SIZE];
	struct secret_key chaining_key;
	struct secret_key key;
	bool has_key;
};

/** noise_init() - h = ck = the protocol's @name, hashed where longer than 32 bytes */
void noise_init(struct noise_state *state, const char *name);

/** noise_mix_hash() - h = H(h ‖ data) */
void noise_mix_hash(struct noise_state *state, const void *data, size_t length);

/** noise_mix_key() - (ck, k) = HKDF(ck, input); k waits for one encrypt or decrypt */
void noise_mix_key(struct noise_state *state, const void *input, size_t length);

/**
 * noise_mix_dh() - noise_mix_key() of X25519(@ours, @theirs)
 *
 * Return: 0, or -EBADMSG for a low-order point; then the state is unchanged
 */
int noise_mix_dh(struct noise_state *state, const struct secret_key *ours,
		 const struct public_key *theirs);

/** noise_mix_key_and_hash() - The psk token: (ck, t, k) = HKDF(ck, psk), then h = H(h ‖ t) */
void noise_mix_key_and_hash(struct noise_state *state, const struct secret_key *psk);

/** noise_encrypt_and_hash() - Writes @length + 16 bytes to @ret */
void noise_encrypt_and_hash(struct noise_state *state, const void *plain, size_t length,
			    uint8_t *ret);

/**
 * noise_decrypt_and_hash() - @length bytes with tag in, 16 fewer out
 * @ret: may be NULL if @length is that of a tag alone
 *
 * Return: 0, or -EBADMSG; the handshake is then over (its key is gone)
 */
int noise_decrypt_and_hash(struct noise_state *state, const uint8_t *cipher, size_t length,
			   void *ret);

/** noise_split() - The two transport keys, the initiator's sending key first; wipes the state */
void noise_split(struct noise_state *state, struct secret_key *ret_first,
		 struct secret_key *ret_second);

/** noise_wipe() - Forget everything */
static inline void noise_wipe(struct noise_state *state)
{
	explicit_bzero(state, sizeof(*state));
}
