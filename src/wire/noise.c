/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/noise.c - the symmetric state of a Noise handshake */
#include "wire/noise.h"

#include <errno.h>
#include <stdlib.h>

/* Every key is used once, so every nonce is the first. */
static const uint8_t nonce_zero[AEAD_NONCE_SIZE];

void noise_init(struct noise_state *state, const char *name)
{
	size_t length = strlen(name);

	*state = (struct noise_state){0};
	if (length > sizeof(state->hash))
		blake2s(state->hash, name, length, NULL, 0);
	else
		memcpy(state->hash, name, length);
	memcpy(state->chaining_key.bytes, state->hash, sizeof(state->hash));
}

void noise_mix_hash(struct noise_state *state, const void *data, size_t length)
{
	blake2s(state->hash, state->hash, sizeof(state->hash), data, length);
}

void noise_mix_key(struct noise_state *state, const void *input, size_t length)
{
	struct secret_key *outputs[] = {&state->chaining_key, &state->key};

	blake2s_hkdf(&state->chaining_key, input, length, outputs, 2);
	state->has_key = true;
}

int noise_mix_dh(struct noise_state *state, const struct secret_key *ours,
		 const struct public_key *theirs)
{
	struct secret_key shared;

	if (secret_key_agree(ours, theirs, &shared) < 0)
		return -EBADMSG;
	noise_mix_key(state, shared.bytes, sizeof(shared.bytes));
	secret_key_wipe(&shared);
	return 0;
}

void noise_mix_key_and_hash(struct noise_state *state, const struct secret_key *psk)
{
	struct secret_key mixed;
	struct secret_key *outputs[] = {&state->chaining_key, &mixed, &state->key};

	blake2s_hkdf(&state->chaining_key, psk->bytes, sizeof(psk->bytes), outputs, 3);
	state->has_key = true;
	noise_mix_hash(state, mixed.bytes, sizeof(mixed.bytes));
	secret_key_wipe(&mixed);
}

static void use_key(struct noise_state *state)
{
	if (!state->has_key)
		abort();
	state->has_key = false;
}

void noise_encrypt_and_hash(struct noise_state *state, const void *plain, size_t length,
			    uint8_t *ret)
{
	use_key(state);
	aead_seal(&state->key, nonce_zero, state->hash, sizeof(state->hash), plain, length, ret);
	secret_key_wipe(&state->key);
	noise_mix_hash(state, ret, length + AEAD_TAG_SIZE);
}

int noise_decrypt_and_hash(struct noise_state *state, const uint8_t *cipher, size_t length,
			   void *ret)
{
	uint8_t hash[BLAKE2S_SIZE];
	int r;

	use_key(state);
	/* Before @ret is written, since it may be @cipher. */
	blake2s(hash, state->hash, sizeof(state->hash), cipher, length);
	r = aead_open(&state->key, nonce_zero, state->hash, sizeof(state->hash), cipher, length,
		      ret);
	secret_key_wipe(&state->key);
	if (r < 0)
		return r;
	memcpy(state->hash, hash, sizeof(hash));
	return 0;
}

void noise_split(struct noise_state *state, struct secret_key *ret_first,
		 struct secret_key *ret_second)
{
	struct secret_key *outputs[] = {ret_first, ret_second};

	blake2s_hkdf(&state->chaining_key, NULL, 0, outputs, 2);
	noise_wipe(state);
}
