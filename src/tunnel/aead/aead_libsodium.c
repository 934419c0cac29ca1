/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/aead/aead_libsodium.c - data messages by libsodium */
#include "base/cursor.h"
#include "tunnel/aead/aead.h"

#include <errno.h>
#include <sodium.h>

static struct aead_worker the_worker = {.engine = &aead_libsodium};

static struct aead_worker *worker_new(struct error *err)
{
	if (sodium_init() >= 0)
		return &the_worker;
	(void)error_set(err, -EIO, "libsodium did not start");
	return NULL;
}

static void worker_free(struct aead_worker *worker)
{
	(void)worker;
}

static void seal_batch(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	(void)worker;
	for (struct aead_job *job = jobs; job < jobs + count; job++) {
		uint8_t nonce[AEAD_NONCE_SIZE] = {0};

		put_le64(nonce + 4, job->counter);
		crypto_aead_chacha20poly1305_ietf_encrypt_detached(
			job->bytes, job->tag, NULL, job->bytes, job->length, NULL, 0, NULL, nonce,
			job->key->secret.bytes);
		job->result = 0;
	}
}

static void open_batch(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	(void)worker;
	for (struct aead_job *job = jobs; job < jobs + count; job++) {
		uint8_t nonce[AEAD_NONCE_SIZE] = {0};

		put_le64(nonce + 4, job->counter);
		job->result = 0;
		if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(
			    job->bytes, NULL, job->bytes, job->length, job->tag, NULL, 0, nonce,
			    job->key->secret.bytes) == 0)
			continue;
		job->result = -EBADMSG;
		explicit_bzero(job->bytes, job->length);
	}
}

const struct aead_engine aead_libsodium = {
	.name = "libsodium",
	.worker_new = worker_new,
	.worker_free = worker_free,
	.seal_batch = seal_batch,
	.open_batch = open_batch,
};
