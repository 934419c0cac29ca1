/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/wire/test_noise.c - Noise_IK and Noise_IKpsk2 against known answers
 *
 * Both patterns are spelled out here once, initiator and responder side by side,
 * and must give every byte of vectors/noise_ik.txt, transport messages included.
 */
#include "unit/wire/vectors.h"
#include "wire/noise.h"

struct handshake {
	char name[64];
	struct vector_bytes prologue, init_static, resp_static, init_ephemeral, resp_ephemeral, psk;
	struct vector_bytes payload[4], cipher[4];
};

static const struct secret_key *secret(const struct vector_bytes *v)
{
	return (const struct secret_key *)v->bytes;
}

static struct public_key public_of(const struct vector_bytes *v)
{
	struct public_key key;

	secret_key_public(secret(v), &key);
	return key;
}

static void transport_is(const struct secret_key *key, const struct vector_bytes *payload,
			 const struct vector_bytes *cipher)
{
	const uint8_t nonce[AEAD_NONCE_SIZE] = {0};
	uint8_t out[VECTOR_BYTES_MAX];

	aead_seal(key, nonce, NULL, 0, payload->bytes, payload->length, out);
	assert_int_equal(payload->length + AEAD_TAG_SIZE, cipher->length);
	assert_memory_equal(out, cipher->bytes, cipher->length);
}

static void run(const struct handshake *h)
{
	bool psk = strstr(h->name, "psk2") != NULL;
	struct public_key is = public_of(&h->init_static), rs = public_of(&h->resp_static);
	struct public_key ie = public_of(&h->init_ephemeral), re = public_of(&h->resp_ephemeral);
	uint8_t message[VECTOR_BYTES_MAX], seen[VECTOR_BYTES_MAX];
	struct noise_state i, r;
	struct secret_key keys[4];
	size_t length;

	noise_init(&i, h->name);
	noise_init(&r, h->name);
	noise_mix_hash(&i, h->prologue.bytes, h->prologue.length);
	noise_mix_hash(&r, h->prologue.bytes, h->prologue.length);
	noise_mix_hash(&i, rs.bytes, KEY_SIZE);
	noise_mix_hash(&r, rs.bytes, KEY_SIZE);

	/* -> e, es, s, ss */
	memcpy(message, ie.bytes, KEY_SIZE);
	noise_mix_hash(&i, ie.bytes, KEY_SIZE);
	if (psk)
		noise_mix_key(&i, ie.bytes, KEY_SIZE);
	assert_int_equal(noise_mix_dh(&i, secret(&h->init_ephemeral), &rs), 0);
	noise_encrypt_and_hash(&i, is.bytes, KEY_SIZE, message + 32);
	assert_int_equal(noise_mix_dh(&i, secret(&h->init_static), &rs), 0);
	noise_encrypt_and_hash(&i, h->payload[0].bytes, h->payload[0].length, message + 80);
	length = 96 + h->payload[0].length;
	assert_int_equal(length, h->cipher[0].length);
	assert_memory_equal(message, h->cipher[0].bytes, length);

	noise_mix_hash(&r, message, KEY_SIZE);
	if (psk)
		noise_mix_key(&r, message, KEY_SIZE);
	assert_int_equal(noise_mix_dh(&r, secret(&h->resp_static), &ie), 0);
	assert_int_equal(noise_decrypt_and_hash(&r, message + 32, 48, seen), 0);
	assert_memory_equal(seen, is.bytes, KEY_SIZE);
	assert_int_equal(noise_mix_dh(&r, secret(&h->resp_static), &is), 0);
	assert_int_equal(noise_decrypt_and_hash(&r, message + 80, length - 80, seen), 0);
	assert_memory_equal(seen, h->payload[0].bytes, h->payload[0].length);

	/* <- e, ee, se [, psk] */
	memcpy(message, re.bytes, KEY_SIZE);
	noise_mix_hash(&r, re.bytes, KEY_SIZE);
	if (psk)
		noise_mix_key(&r, re.bytes, KEY_SIZE);
	assert_int_equal(noise_mix_dh(&r, secret(&h->resp_ephemeral), &ie), 0);
	assert_int_equal(noise_mix_dh(&r, secret(&h->resp_ephemeral), &is), 0);
	if (psk)
		noise_mix_key_and_hash(&r, secret(&h->psk));
	noise_encrypt_and_hash(&r, h->payload[1].bytes, h->payload[1].length, message + 32);
	length = 48 + h->payload[1].length;
	assert_int_equal(length, h->cipher[1].length);
	assert_memory_equal(message, h->cipher[1].bytes, length);

	noise_mix_hash(&i, message, KEY_SIZE);
	if (psk)
		noise_mix_key(&i, message, KEY_SIZE);
	assert_int_equal(noise_mix_dh(&i, secret(&h->init_ephemeral), &re), 0);
	assert_int_equal(noise_mix_dh(&i, secret(&h->init_static), &re), 0);
	if (psk)
		noise_mix_key_and_hash(&i, secret(&h->psk));
	/* In place, and with no payload also without an output. */
	assert_int_equal(noise_decrypt_and_hash(&i, message + 32, length - 32,
						h->payload[1].length ? message + 32 : NULL),
			 0);
	assert_memory_equal(message + 32, h->payload[1].bytes, h->payload[1].length);
	assert_memory_equal(i.hash, r.hash, sizeof(i.hash));

	noise_split(&i, &keys[0], &keys[1]);
	noise_split(&r, &keys[2], &keys[3]);
	assert_memory_equal(keys, &keys[2], 2 * sizeof(keys[0]));
	assert_true(sodium_is_zero((const uint8_t *)&i, sizeof(i)));
	transport_is(&keys[0], &h->payload[2], &h->cipher[2]);
	transport_is(&keys[1], &h->payload[3], &h->cipher[3]);
}

static void noise_ik_and_ikpsk2_known_answers(void **state)
{
	static struct handshake h;
	static const struct {
		const char *name;
		size_t offset;
	} fields[] = {
		{"prologue", offsetof(struct handshake, prologue)},
		{"init_static", offsetof(struct handshake, init_static)},
		{"resp_static", offsetof(struct handshake, resp_static)},
		{"gen_init_ephemeral", offsetof(struct handshake, init_ephemeral)},
		{"gen_resp_ephemeral", offsetof(struct handshake, resp_ephemeral)},
		{"preshared_key", offsetof(struct handshake, psk)},
		{"msg_0_payload", offsetof(struct handshake, payload[0])},
		{"msg_1_payload", offsetof(struct handshake, payload[1])},
		{"msg_2_payload", offsetof(struct handshake, payload[2])},
		{"msg_3_payload", offsetof(struct handshake, payload[3])},
		{"msg_0_ciphertext", offsetof(struct handshake, cipher[0])},
		{"msg_1_ciphertext", offsetof(struct handshake, cipher[1])},
		{"msg_2_ciphertext", offsetof(struct handshake, cipher[2])},
		{"msg_3_ciphertext", offsetof(struct handshake, cipher[3])},
	};
	FILE *file = vector_open("noise_ik.txt");
	char *line = NULL, *words[VECTOR_WORDS];
	size_t size = 0, count = 0;

	(void)state;
	while (vector_next(file, &line, &size, words) == 1) {
		char *value = strchr(words[0], '=');

		assert_non_null(value);
		*value++ = 0;
		if (strcmp(words[0], "handshake") == 0) {
			memset(&h, 0, sizeof(h));
			snprintf(h.name, sizeof(h.name), "%s", value);
		}
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
			if (strcmp(words[0], fields[i].name) == 0)
				vector_hex(value,
					   (struct vector_bytes *)((char *)&h + fields[i].offset));
		if (strcmp(words[0], "msg_3_ciphertext") == 0) {
			run(&h);
			count++;
		}
	}
	fclose(file);
	free(line);
	assert_int_equal(count, 8);
}

static void noise_name_of_32_bytes_is_padded_not_hashed(void **state)
{
	struct noise_state n;

	(void)state;
	noise_init(&n, "Noise_XX_25519_AESGCM_SHA256");
	assert_memory_equal(n.hash, "Noise_XX_25519_AESGCM_SHA256\0\0\0\0", 32);
	assert_memory_equal(n.chaining_key.bytes, n.hash, 32);
}

static void noise_failure_leaves_hash_and_chaining_key(void **state)
{
	const struct public_key low_order = {{1}};
	const uint8_t forged[48] = {0};
	uint8_t out[32];
	struct noise_state n, before;
	struct secret_key key;

	(void)state;
	secret_key_generate(&key);
	noise_init(&n, "Noise_IK_25519_ChaChaPoly_BLAKE2s");
	before = n;
	assert_int_equal(noise_mix_dh(&n, &key, &low_order), -EBADMSG);
	assert_memory_equal(&n, &before, sizeof(n));
	noise_mix_key(&n, "x", 1);
	before = n;
	assert_int_equal(noise_decrypt_and_hash(&n, forged, sizeof(forged), out), -EBADMSG);
	assert_memory_equal(n.hash, before.hash, sizeof(n.hash));
	assert_memory_equal(&n.chaining_key, &before.chaining_key, sizeof(n.chaining_key));
	assert_false(n.has_key);
	assert_true(sodium_is_zero(n.key.bytes, sizeof(n.key.bytes)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(noise_ik_and_ikpsk2_known_answers),
		cmocka_unit_test(noise_name_of_32_bytes_is_padded_not_hashed),
		cmocka_unit_test(noise_failure_leaves_hash_and_chaining_key),
	};

	primitives_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
