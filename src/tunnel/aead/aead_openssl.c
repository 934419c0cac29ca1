/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/aead/aead_openssl.c - data messages by OpenSSL, with contexts that are kept for keys
 *
 * A context can't be shared between threads, and to set a key costs about a fifth of a packet. So
 * each worker has a small table of contexts by the number of their key. A collision only sets the
 * key again. A key that ends is wiped from the table: OpenSSL cleanses a context when it frees it.
 */
#include "base/cleanup.h"
#include "base/cursor.h"
#include "tunnel/aead/aead.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

/* A context costs about 1 KiB. Both keys of a session are often used in turn, hence a power of two
 * well above 2. */
#define SLOTS 16u

struct slot {
	uint64_t number; /* of the key, 0: none */
	bool seals;
	EVP_CIPHER_CTX *context;
};

struct openssl_worker {
	struct aead_worker worker;
	EVP_CIPHER *cipher;
	struct slot slots[SLOTS];
};

static struct slot *slot_of(struct openssl_worker *own, const struct aead_key *key)
{
	return &own->slots[key->number % SLOTS];
}

static void slot_clear(struct slot *slot)
{
	EVP_CIPHER_CTX_free(slot->context);
	*slot = (struct slot){0};
}

static void worker_free(struct aead_worker *worker)
{
	struct openssl_worker *own = container_of(worker, struct openssl_worker, worker);

	for (size_t i = 0; i < SLOTS; i++)
		slot_clear(&own->slots[i]);
	EVP_CIPHER_free(own->cipher);
	free(own);
}

static struct aead_worker *worker_new(struct error *err)
{
	struct openssl_worker *own = calloc(1, sizeof(*own));

	if (own)
		own->cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	if (!own || !own->cipher) {
		(void)error_set(err, -ENOENT, "OpenSSL has no ChaCha20-Poly1305");
		free(own);
		return NULL;
	}
	own->worker.engine = &aead_openssl;
	return &own->worker;
}

static void forget(struct aead_worker *worker, const struct aead_key *key)
{
	struct openssl_worker *own = container_of(worker, struct openssl_worker, worker);
	struct slot *slot = slot_of(own, key);

	if (slot->number == key->number)
		slot_clear(slot);
}

/* context_for() - A context with the key of @job; NULL without memory */
static EVP_CIPHER_CTX *context_for(struct openssl_worker *own, const struct aead_job *job,
				   bool seals)
{
	struct slot *slot = slot_of(own, job->key);

	if (slot->number == job->key->number && slot->seals == seals)
		return slot->context;
	slot->number = 0;
	if (!slot->context)
		slot->context = EVP_CIPHER_CTX_new();
	if (!slot->context || EVP_CipherInit_ex2(slot->context, own->cipher, job->key->secret.bytes,
						 NULL, seals, NULL) != 1) {
		slot_clear(slot);
		return NULL;
	}
	slot->number = job->key->number;
	slot->seals = seals;
	return slot->context;
}

/* run() - The packet in place; false: the tag is wrong, or OpenSSL failed */
static bool run(EVP_CIPHER_CTX *context, struct aead_job *job, bool seals)
{
	uint8_t nonce[AEAD_NONCE_SIZE] = {0};
	int length = 0;

	put_le64(nonce + 4, job->counter);
	if (EVP_CipherInit_ex2(context, NULL, NULL, nonce, -1, NULL) != 1)
		return false;
	if (!seals &&
	    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE, job->tag) != 1)
		return false;
	if (job->length &&
	    EVP_CipherUpdate(context, job->bytes, &length, job->bytes, (int)job->length) != 1)
		return false;
	if (EVP_CipherFinal_ex(context, job->bytes + length, &length) != 1)
		return false;
	return !seals ||
	       EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE, job->tag) == 1;
}

static void batch(struct aead_worker *worker, struct aead_job *jobs, size_t count, bool seals)
{
	struct openssl_worker *own = container_of(worker, struct openssl_worker, worker);

	for (struct aead_job *job = jobs; job < jobs + count; job++) {
		EVP_CIPHER_CTX *context = context_for(own, job, seals);

		if (!context) {
			/* Without memory for a context: libsodium needs none. */
			if (seals)
				aead_libsodium.seal_batch(NULL, job, 1);
			else
				aead_libsodium.open_batch(NULL, job, 1);
			continue;
		}
		job->result = 0;
		if (run(context, job, seals))
			continue;
		job->result = seals ? -EIO : -EBADMSG;
		explicit_bzero(job->bytes, job->length);
	}
}

static void seal_batch(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	batch(worker, jobs, count, true);
}

static void open_batch(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	batch(worker, jobs, count, false);
}

const struct aead_engine aead_openssl = {
	.name = "openssl",
	.worker_new = worker_new,
	.worker_free = worker_free,
	.forget = forget,
	.seal_batch = seal_batch,
	.open_batch = open_batch,
};
