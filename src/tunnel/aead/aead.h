/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/aead/aead.h - ChaCha20-Poly1305 of data messages, by the fastest library that is there
 *
 * Engines, best first:
 *
 *	ipsec-mb   intel-ipsec-mb on a CPU with AVX-512; loaded at run time
 *	openssl    contexts are kept for keys, so that a packet sets its nonce only
 *	libsodium  always there; needs no memory
 *
 * One is chosen at the start of the process, by aead_choose(), after it has passed a self-test.
 * Each thread that seals or opens has a worker, which nobody else may use at the same time; keys
 * belong to sessions, and every worker may use them. Handshakes are wire/primitives.h's.
 */
#pragma once

#include "base/error.h"
#include "base/secret.h"
#include "wire/primitives.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aead_worker;

/* A key of one direction of one session; made by aead_key_number(), ended by aead_key_end(). */
struct aead_key {
	struct secret_key secret;
	uint64_t number; /* unique in this process: what workers know the key by */
};

/* One packet, sealed or opened in place; the tag may be anywhere else. */
struct aead_job {
	const struct aead_key *key;
	uint64_t counter; /* the nonce is four zeros and this, little-endian (WireGuard §5.4.6) */
	uint8_t *bytes;
	size_t length; /* of the packet, without the tag */
	uint8_t *tag;  /* AEAD_TAG_SIZE bytes: written by a seal, read by an open */
	int result;    /* 0, or a negative errno: then @bytes are wiped */
};

struct aead_engine {
	const char *name;

	/** @worker_new: NULL with @err set if the library, the CPU or memory is missing */
	struct aead_worker *(*worker_new)(struct error *err);
	void (*worker_free)(struct aead_worker *worker);
	/** @forget: Wipe what the worker has expanded from @key; may be NULL */
	void (*forget)(struct aead_worker *worker, const struct aead_key *key);
	void (*seal_batch)(struct aead_worker *worker, struct aead_job *jobs, size_t count);
	/** @open_batch: a forged job's result is -EBADMSG; the others are not affected */
	void (*open_batch)(struct aead_worker *worker, struct aead_job *jobs, size_t count);
};

/* The first member of each engine's worker. */
struct aead_worker {
	const struct aead_engine *engine;
};

extern const struct aead_engine aead_ipsec_mb, aead_openssl, aead_libsodium;

/** aead_engine_find() - The engine of this name, or NULL */
const struct aead_engine *aead_engine_find(const char *name);

/**
 * aead_library_open() - Load the library of ipsec-mb, while files may still be opened
 *
 * Without it, or if @wanted names another engine, nothing happens.
 */
void aead_library_open(const char *wanted);

/**
 * aead_choose() - Choose the engine of this process, by self-test
 * @wanted: its name; "" or NULL: the best one
 *
 * One that is missing or fails is a log line, and the next one is taken. Called once, before threads.
 *
 * Return: its name, or NULL with @err set: no engine passed
 */
const char *aead_choose(const char *wanted, struct error *err);

/**
 * aead_self_test() - Whether an engine computes what RFC 8439 says, at all lengths and alignments
 *
 * Return: 0 or -EIO with @err set
 */
int aead_self_test(struct aead_worker *worker, struct error *err);

/** aead_worker_new() - A worker of the chosen engine (libsodium if none was); NULL without memory */
struct aead_worker *aead_worker_new(void);

/** aead_worker_free() - NULL is fine */
void aead_worker_free(struct aead_worker *worker);

/** aead_key_number() - Give a key, whose secret is to follow, its number */
void aead_key_number(struct aead_key *key);

/** aead_key_end() - Wipe a key, here and in the worker; before its memory is released */
void aead_key_end(struct aead_worker *worker, struct aead_key *key);

static inline void aead_seal_batch(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	worker->engine->seal_batch(worker, jobs, count);
}

static inline void aead_open_batch(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	worker->engine->open_batch(worker, jobs, count);
}
