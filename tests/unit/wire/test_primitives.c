/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/wire/test_primitives.c - known answers of the primitives
 *
 * RFC 7693 (BLAKE2s), RFC 7748 (X25519), RFC 8439 (ChaCha20-Poly1305), the XChaCha
 * draft, and all of Wycheproof's vectors that fit the sizes we use.
 */
#include "unit/wire/vectors.h"
#include "wire/keys.h"
#include "wire/primitives.h"

static void hex_equal(const uint8_t *bytes, size_t length, const char *hex)
{
	struct vector_bytes expected;

	vector_hex(hex, &expected);
	assert_int_equal(length, expected.length);
	assert_memory_equal(bytes, expected.bytes, length);
}

static void blake2s_known_answers(void **state)
{
	uint8_t out[BLAKE2S_SIZE], input[1024];

	(void)state;
	/* RFC 7693 appendix B. */
	blake2s(out, "abc", 3, NULL, 0);
	hex_equal(out, sizeof(out),
		  "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	blake2s(out, "a", 1, "bc", 2);
	hex_equal(out, sizeof(out),
		  "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	/* The reference implementation's blake2-kat.h. */
	blake2s(out, NULL, 0, NULL, 0);
	hex_equal(out, sizeof(out),
		  "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9");
	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)i;
	blake2s(out, input, 255, NULL, 0);
	hex_equal(out, sizeof(out),
		  "f03f5789d3336b80d002d59fdf918bdb775b00956ed5528e86aa994acb38fe2d");
}

/* Keys and data are 0, 1, 2 …; the answers are CPython's hashlib and hmac modules'. */
static void blake2s_mac_known_answers(void **state)
{
	static const struct {
		uint8_t key_length;
		uint16_t length;
		const char *mac;
	} rows[] = {
		/* 1 */ {16, 0, "af4e5d3bb230e9ff9096ca6f7c501f76"},
		/* 2 */ {16, 64, "dd55c51c98f8ab96ed272882941f0b6a"},
		/* 3 */ {32, 0, "9536f9b267655743dee97b8a670f9f53"},
		/* 4 */ {32, 63, "ece382a8bd5018f1de5da44b72cea75b"},
		/* 5 */ {32, 64, "f1efa90d2547036841ecd3627fafbc36"},
		/* 6 */ {32, 65, "811ff8686d23a435ecbd0bdafcd27b1b"},
		/* 7 */ {32, 116, "072e94ffbfc684bd8ab2a1b9dade2fd5"},
		/* 8 */ {32, 1024, "df2d406b98b634d8f6e143858658aee7"},
	};
	uint8_t key[32], data[1024], mac[BLAKE2S_MAC_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	memcpy(key, data, sizeof(key));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("row %zu\n", i + 1);
		blake2s_mac(mac, key, rows[i].key_length, data, rows[i].length);
		hex_equal(mac, sizeof(mac), rows[i].mac);
	}
}

static void blake2s_hmac_known_answers(void **state)
{
	static const struct {
		uint8_t key_length;
		uint16_t length;
		const char *mac;
	} rows[] = {
		/* 1 */ {20, 8, "b73985f226b49ee4c78f92f0f8b86e48702206efadd3b732b3c136b5fbab193e"},
		/* 2 */ {32, 0, "e2641d24dfa8dd89e8cb77f1cdc77d8c006e5bebdfc4d6a3a3a6f8d5b7586fb0"},
		/* 3 */
		{32, 32, "8d2cc42fc1055ea43277dfd5d35d3863b228f9cc0c02007dc2afb20907bd7312"},
		/* 4 */
		{64, 100, "647576eb06d7546ce6db9b3c0c1509a64cc7fae9cb732ee3845e7b486ad26edc"},
	};
	uint8_t data[128], mac[BLAKE2S_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("row %zu\n", i + 1);
		blake2s_hmac(mac, data, rows[i].key_length, data, rows[i].length);
		hex_equal(mac, sizeof(mac), rows[i].mac);
	}
}

typedef void (*seal_function)(const struct secret_key *, const uint8_t *, const void *, size_t,
			      const uint8_t *, size_t, uint8_t *);
typedef int (*open_function)(const struct secret_key *, const uint8_t *, const void *, size_t,
			     const uint8_t *, size_t, uint8_t *);

/* Each line: id result key nonce ad plain cipher+tag; also in place, and with each tag byte wrong.
 */
static void aead_vectors(const char *name, seal_function seal, open_function open, size_t at_least)
{
	static struct vector_bytes key_bytes, nonce, ad, plain, cipher;
	static uint8_t out[VECTOR_BYTES_MAX];
	FILE *file = vector_open(name);
	char *line = NULL, *words[VECTOR_WORDS];
	size_t size = 0, count = 0, opened = 0;

	while (vector_next(file, &line, &size, words) == 7) {
		struct secret_key key;
		bool valid = strcmp(words[1], "valid") == 0;

		vector_hex(words[2], &key_bytes);
		vector_hex(words[3], &nonce);
		vector_hex(words[4], &ad);
		vector_hex(words[5], &plain);
		vector_hex(words[6], &cipher);
		memcpy(key.bytes, key_bytes.bytes, sizeof(key.bytes));
		if (valid) {
			seal(&key, nonce.bytes, ad.bytes, ad.length, plain.bytes, plain.length,
			     out);
			assert_memory_equal(out, cipher.bytes, cipher.length);
			assert_int_equal(open(&key, nonce.bytes, ad.bytes, ad.length, out,
					      cipher.length, out),
					 0);
			assert_memory_equal(out, plain.bytes, plain.length);
			memcpy(out, plain.bytes, plain.length);
			seal(&key, nonce.bytes, ad.bytes, ad.length, out, plain.length, out);
			assert_memory_equal(out, cipher.bytes, cipher.length);
			opened++;
			cipher.bytes[cipher.length - 1 - count % AEAD_TAG_SIZE] ^= 0x10;
		}
		assert_int_equal(open(&key, nonce.bytes, ad.bytes, ad.length, cipher.bytes,
				      cipher.length, out),
				 -EBADMSG);
		if (plain.length >= 8)
			assert_memory_not_equal(out, plain.bytes, plain.length);
		count++;
	}
	assert_true(feof(file));
	fclose(file);
	free(line);
	assert_true(count >= at_least && opened * 2 > count);
}

static void chacha20_poly1305_wycheproof(void **state)
{
	(void)state;
	aead_vectors("chacha20_poly1305.txt", aead_seal, aead_open, 290);
}

static void xchacha20_poly1305_wycheproof(void **state)
{
	(void)state;
	aead_vectors("xchacha20_poly1305.txt", xaead_seal, xaead_open, 280);
}

static void chacha20_poly1305_of_the_rfc(void **state)
{
	static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you "
				   "only one tip for the future, sunscreen would be it.";
	struct vector_bytes key, nonce, ad;
	uint8_t out[sizeof(text) - 1 + AEAD_TAG_SIZE];

	(void)state;
	/* RFC 8439 §2.8.2. */
	vector_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", &key);
	vector_hex("070000004041424344454647", &nonce);
	vector_hex("50515253c0c1c2c3c4c5c6c7", &ad);
	aead_seal((struct secret_key *)key.bytes, nonce.bytes, ad.bytes, ad.length,
		  (const uint8_t *)text, sizeof(text) - 1, out);
	hex_equal(out + sizeof(text) - 1, AEAD_TAG_SIZE, "1ae10b594f09e26a7e902ecbd0600691");
	hex_equal(out, 16, "d31a8d34648e60db7b86afbc53ef7ec2");
}

static void aead_open_refuses_less_than_a_tag(void **state)
{
	const struct secret_key key = {{1}};
	const uint8_t nonce[XAEAD_NONCE_SIZE] = {0}, short_one[AEAD_TAG_SIZE] = {0};
	uint8_t out[1];

	(void)state;
	for (size_t length = 0; length < AEAD_TAG_SIZE; length++) {
		assert_int_equal(aead_open(&key, nonce, NULL, 0, short_one, length, out), -EBADMSG);
		assert_int_equal(xaead_open(&key, nonce, NULL, 0, short_one, length, out),
				 -EBADMSG);
	}
}

/* A shared secret of zeros (low-order points, 31 of the rows) is refused; all others must match. */
static void x25519_wycheproof(void **state)
{
	static struct vector_bytes private, public, expected;
	FILE *file = vector_open("x25519.txt");
	char *line = NULL, *words[VECTOR_WORDS];
	size_t size = 0, count = 0, refused = 0;
	const uint8_t zeros[32] = {0};

	(void)state;
	while (vector_next(file, &line, &size, words) == 5) {
		struct secret_key shared;
		int r;

		vector_hex(words[2], &private);
		vector_hex(words[3], &public);
		vector_hex(words[4], &expected);
		r = secret_key_agree((struct secret_key *)private.bytes,
				     (struct public_key *)public.bytes, &shared);
		if (memcmp(expected.bytes, zeros, sizeof(zeros)) == 0) {
			assert_int_equal(r, -EBADMSG);
			refused++;
		} else {
			assert_int_equal(r, 0);
			assert_memory_equal(shared.bytes, expected.bytes, 32);
		}
		count++;
	}
	assert_true(feof(file));
	fclose(file);
	free(line);
	assert_true(count >= 500);
	assert_true(refused >= 30);
}

static void x25519_of_the_rfc(void **state)
{
	/* RFC 7748 §5.2, both vectors. */
	static const struct {
		const char *private, *public, *shared;
	} rows[] = {
		/* 1 */ {"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			 "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			 "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
		/* 2 */
		{"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
		 "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
		 "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vector_bytes private, public;
		struct secret_key shared;

		vector_hex(rows[i].private, &private);
		vector_hex(rows[i].public, &public);
		assert_int_equal(secret_key_agree((struct secret_key *)private.bytes,
						  (struct public_key *)public.bytes, &shared),
				 0);
		hex_equal(shared.bytes, 32, rows[i].shared);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blake2s_known_answers),
		cmocka_unit_test(blake2s_mac_known_answers),
		cmocka_unit_test(blake2s_hmac_known_answers),
		cmocka_unit_test(chacha20_poly1305_of_the_rfc),
		cmocka_unit_test(chacha20_poly1305_wycheproof),
		cmocka_unit_test(xchacha20_poly1305_wycheproof),
		cmocka_unit_test(aead_open_refuses_less_than_a_tag),
		cmocka_unit_test(x25519_of_the_rfc),
		cmocka_unit_test(x25519_wycheproof),
	};

	primitives_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
