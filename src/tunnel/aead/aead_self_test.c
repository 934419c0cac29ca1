/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/aead/aead_self_test.c - whether an engine computes ChaCha20-Poly1305
 *
 * Known answers for every length up to 2048 bytes, in batches, in place, at every alignment: the
 * tags, which depend on all that was computed, are hashed, and the hash is compared with that of
 * an implementation of RFC 8439 in Python integers (tests/tools/aead_answers.py). Then every packet is
 * opened again, some of them tampered with. It takes a few milliseconds.
 */
#include "base/cleanup.h"
#include "tunnel/aead/aead.h"

#include <errno.h>
#include <stdlib.h>

#define LENGTH_MAX 2048u
#define BATCH      32u
#define ROOM       (LENGTH_MAX + 32u) /* with space for an alignment */

/* RFC 8439 §2.4.2: the AEAD's keystream begins at block 1 too. */
#define RFC_COUNTER UINT64_C(0x4a000000)
static const char rfc_plain[] =
	"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
	"future, sunscreen would be it.";
static const uint8_t rfc_cipher[] = {
	0x6e, 0x2e, 0x35, 0x9a, 0x25, 0x68, 0xf9, 0x80, 0x41, 0xba, 0x07, 0x28, 0xdd, 0x0d, 0x69,
	0x81, 0xe9, 0x7e, 0x7a, 0xec, 0x1d, 0x43, 0x60, 0xc2, 0x0a, 0x27, 0xaf, 0xcc, 0xfd, 0x9f,
	0xae, 0x0b, 0xf9, 0x1b, 0x65, 0xc5, 0x52, 0x47, 0x33, 0xab, 0x8f, 0x59, 0x3d, 0xab, 0xcd,
	0x62, 0xb3, 0x57, 0x16, 0x39, 0xd6, 0x24, 0xe6, 0x51, 0x52, 0xab, 0x8f, 0x53, 0x0c, 0x35,
	0x9f, 0x08, 0x61, 0xd8, 0x07, 0xca, 0x0d, 0xbf, 0x50, 0x0d, 0x6a, 0x61, 0x56, 0xa3, 0x8e,
	0x08, 0x8a, 0x22, 0xb6, 0x5e, 0x52, 0xbc, 0x51, 0x4d, 0x16, 0xcc, 0xf8, 0x06, 0x81, 0x8c,
	0xe9, 0x1a, 0xb7, 0x79, 0x37, 0x36, 0x5a, 0xf9, 0x0b, 0xbf, 0x74, 0xa3, 0x5b, 0xe6, 0xb4,
	0x0b, 0x8e, 0xed, 0xf2, 0x78, 0x5e, 0x42, 0x87, 0x4d,
};
static const uint8_t rfc_tag[AEAD_TAG_SIZE] = {0x81, 0xdb, 0x63, 0xfc, 0xb1, 0x89, 0xa0, 0x31,
					       0x21, 0xae, 0x0a, 0xc7, 0x2a, 0x3f, 0x1f, 0x36};
static const uint8_t tags_digest[BLAKE2S_SIZE] = {0x2e, 0xbc, 0x51, 0x5a, 0x8d, 0x51, 0x85, 0x57,
						  0xd6, 0x2f, 0xd8, 0x14, 0xca, 0x23, 0x52, 0x60,
						  0x16, 0xfc, 0xd8, 0x01, 0x0b, 0x4d, 0x7e, 0x67,
						  0x7f, 0x31, 0x28, 0xea, 0x6d, 0x83, 0xd1, 0x19};

struct bench {
	struct aead_worker *worker;
	struct aead_key keys[BATCH];
	struct aead_job jobs[BATCH];
	uint8_t rooms[BATCH][ROOM];
	uint8_t tags[LENGTH_MAX + BATCH][AEAD_TAG_SIZE];
};

static void end_keys(struct bench *bench)
{
	for (size_t i = 0; i < BATCH; i++)
		aead_key_end(bench->worker, &bench->keys[i]);
}

static bool rfc_answers(struct bench *bench)
{
	struct aead_job *job = &bench->jobs[0];

	for (size_t i = 0; i < SECRET_KEY_SIZE; i++)
		bench->keys[0].secret.bytes[i] = (uint8_t)i;
	aead_key_number(&bench->keys[0]);
	*job = (struct aead_job){
		.key = &bench->keys[0],
		.counter = RFC_COUNTER,
		.bytes = bench->rooms[0],
		.length = sizeof(rfc_cipher),
		.tag = bench->tags[0],
	};
	memcpy(job->bytes, rfc_plain, sizeof(rfc_cipher));
	aead_seal_batch(bench->worker, job, 1);
	return job->result == 0 && memcmp(job->bytes, rfc_cipher, sizeof(rfc_cipher)) == 0 &&
	       memcmp(job->tag, rfc_tag, sizeof(rfc_tag)) == 0;
}

/* put_job() - The packet of @length: its key, nonce and bytes are all derived from the length */
static void put_job(struct bench *bench, size_t at, size_t length)
{
	struct aead_key *key = &bench->keys[at];
	struct aead_job *job = &bench->jobs[at];

	for (size_t i = 0; i < SECRET_KEY_SIZE; i++)
		key->secret.bytes[i] = (uint8_t)(i * 7 + length);
	aead_key_number(key);
	*job = (struct aead_job){
		.key = key,
		.counter = length * UINT64_C(0x0001000100010001),
		.bytes = bench->rooms[at] + (length * 5 + 1) % 32,
		.length = length,
		.tag = bench->tags[length],
	};
	for (size_t i = 0; i < length; i++)
		job->bytes[i] = (uint8_t)(i + length);
}

/* opened_right() - Whether the result of opening is as it must be */
static bool opened_right(const struct aead_job *job, bool tampered)
{
	uint8_t difference = 0;

	for (size_t i = 0; i < job->length; i++)
		difference |= job->bytes[i] ^ (tampered ? 0 : (uint8_t)(i + job->length));
	return difference == 0 && job->result == (tampered ? -EBADMSG : 0);
}

/* lengths_from() - A batch of packets, sealed, two of them tampered with, and opened */
static bool lengths_from(struct bench *bench, size_t first, size_t count)
{
	struct aead_job *wrong_tag = &bench->jobs[first / BATCH * 5 % count],
			*wrong_byte = &bench->jobs[count - 1];
	uint8_t kept[AEAD_TAG_SIZE];
	bool right = true;

	for (size_t i = 0; i < count; i++)
		put_job(bench, i, first + i);
	aead_seal_batch(bench->worker, bench->jobs, count);
	for (size_t i = 0; i < count; i++)
		right &= bench->jobs[i].result == 0;
	memcpy(kept, wrong_tag->tag, sizeof(kept));
	wrong_tag->tag[first % AEAD_TAG_SIZE] ^= (uint8_t)(1u << first % 8);
	wrong_byte->bytes[wrong_byte->length / 3] ^= 1;
	aead_open_batch(bench->worker, bench->jobs, count);
	for (size_t i = 0; i < count; i++) {
		const struct aead_job *job = &bench->jobs[i];

		right &= opened_right(job, job == wrong_tag || job == wrong_byte);
	}
	memcpy(wrong_tag->tag, kept, sizeof(kept));
	end_keys(bench);
	return right;
}

int aead_self_test(struct aead_worker *worker, struct error *err)
{
	_cleanup_free_ struct bench *bench = calloc(1, sizeof(*bench));
	uint8_t digest[BLAKE2S_SIZE];
	bool right;

	if (!bench)
		return error_set(err, -EIO, "out of memory for the self-test");
	bench->worker = worker;
	right = rfc_answers(bench);
	end_keys(bench);
	if (!right)
		return error_set(err, -EIO, "its answer is not that of RFC 8439");
	for (size_t length = 0; length <= LENGTH_MAX; length += BATCH) {
		size_t rest = LENGTH_MAX + 1 - length;

		if (!lengths_from(bench, length, rest < BATCH ? rest : BATCH))
			return error_set(err, -EIO,
					 "it seals or opens wrongly at a length from %zu on",
					 length);
	}
	blake2s(digest, bench->tags, (LENGTH_MAX + 1) * AEAD_TAG_SIZE, NULL, 0);
	if (memcmp(digest, tags_digest, sizeof(digest)) != 0)
		return error_set(err, -EIO, "its tags are not those of RFC 8439");
	return 0;
}
