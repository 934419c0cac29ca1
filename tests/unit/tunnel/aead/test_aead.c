/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/aead/test_aead.c - the engines of data messages, alone and against each other
 *
 * ipsec-mb takes part where the library is installed and the CPU has AVX-512.
 */
#include "base/cleanup.h"
#include "tunnel/aead/aead.h"
#include "unit/unit.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <stdlib.h>

static const struct aead_engine *const engines[] = {&aead_ipsec_mb, &aead_openssl, &aead_libsodium};

#define ENGINES ARRAY_SIZE(engines)
#define JOBS    150u /* more than ipsec-mb takes at a time */
#define ROOM    2200u

/* OpenSSL's frees are looked at for a key that should be wiped. */
static struct secret_key watched;
static unsigned int watched_freed;

static void *watch_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return malloc(size);
}

static void *watch_realloc(void *pointer, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return realloc(pointer, size);
}

static void watch_free(void *pointer, const char *file, int line)
{
	(void)file;
	(void)line;
	if (pointer && !secret_key_is_zero(&watched) &&
	    memmem(pointer, malloc_usable_size(pointer), watched.bytes, sizeof(watched.bytes)))
		watched_freed++;
	free(pointer);
}

/* worker_of() - NULL only for ipsec-mb where it can't be */
static struct aead_worker *worker_of(const struct aead_engine *engine)
{
	struct error err = {0};
	struct aead_worker *worker = engine->worker_new(&err);

	if (!worker) {
		assert_ptr_equal(engine, &aead_ipsec_mb);
		print_message("no ipsec-mb here: %s\n", err.text);
	}
	return worker;
}

static void every_engine_passes_the_self_test(void **state)
{
	(void)state;
	for (size_t i = 0; i < ENGINES; i++) {
		struct aead_worker *worker = worker_of(engines[i]);
		struct error err = {0};

		if (!worker)
			continue;
		assert_int_equal(aead_self_test(worker, &err), 0);
		aead_worker_free(worker);
	}
}

/* An engine that is wrong in one way; libsodium with a fault. */
static enum { FAULT_PLAIN, FAULT_TAG, FAULT_BLIND, FAULT_LENGTH, FAULT_UNWIPED, FAULTS } fault;

static void faulty_seal(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct aead_job job = jobs[i];

		if (fault == FAULT_LENGTH && job.length == 1027)
			job.counter ^= 1; /* the same both ways: only a known answer finds it */
		if (fault != FAULT_PLAIN)
			aead_libsodium.seal_batch(worker, &job, 1);
		if (fault == FAULT_TAG)
			job.tag[15] ^= 0x80;
		jobs[i].result = 0;
	}
}

static void faulty_open(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct aead_job job = jobs[i];

		if (fault == FAULT_LENGTH && job.length == 1027)
			job.counter ^= 1;
		aead_libsodium.open_batch(worker, &job, 1);
		jobs[i].result = fault == FAULT_BLIND ? 0 : job.result;
		if (fault == FAULT_UNWIPED && job.result < 0 && job.length)
			job.bytes[0] = 1;
	}
}

static const struct aead_engine faulty = {
	.name = "faulty", .seal_batch = faulty_seal, .open_batch = faulty_open};

static void the_self_test_finds_faults(void **state)
{
	struct aead_worker worker = {.engine = &faulty};

	(void)state;
	for (unsigned int i = 0; i < FAULTS; i++) {
		struct error err = {0};

		fault = i;
		assert_int_equal(aead_self_test(&worker, &err), -EIO);
		assert_true(err.text[0]);
	}
}

struct packet {
	uint8_t room[ROOM + AEAD_TAG_SIZE];
	uint8_t tag[AEAD_TAG_SIZE];
};

/* Random jobs, with few keys, so that several of them use one in turn. */
static void random_jobs(struct aead_job *jobs, struct packet *packets, const struct aead_key *keys,
			size_t key_count)
{
	for (size_t i = 0; i < JOBS; i++) {
		size_t offset = randombytes_uniform(64);

		randombytes_buf(&packets[i], sizeof(packets[i]));
		jobs[i] = (struct aead_job){
			.key = &keys[randombytes_uniform((uint32_t)key_count)],
			.bytes = packets[i].room + offset,
			.length = randombytes_uniform(4) ? randombytes_uniform(ROOM - 64)
							 : randombytes_uniform(70),
		};
		/* Behind the packet, as in a datagram, or apart from it. */
		jobs[i].tag =
			randombytes_uniform(2) ? jobs[i].bytes + jobs[i].length : packets[i].tag;
		randombytes_buf(&jobs[i].counter, sizeof(jobs[i].counter));
	}
}

/* moved() - The jobs of @plain, with their packets at @to, copied from @content */
static void moved(struct aead_job *jobs_to, struct packet *to, const struct packet *content,
		  const struct aead_job *jobs, const struct packet *plain)
{
	memcpy(to, content, JOBS * sizeof(*to));
	for (size_t i = 0; i < JOBS; i++) {
		jobs_to[i] = jobs[i];
		jobs_to[i].bytes = (uint8_t *)to + (jobs[i].bytes - (const uint8_t *)plain);
		jobs_to[i].tag = (uint8_t *)to + (jobs[i].tag - (const uint8_t *)plain);
	}
}

static void engines_agree_on_random_jobs(void **state)
{
	static struct packet plain[JOBS], sealed[ENGINES][JOBS], opened[JOBS];
	static struct aead_job jobs[JOBS], at[JOBS];
	struct aead_worker *workers[ENGINES];
	struct aead_key keys[20];

	(void)state;
	for (size_t e = 0; e < ENGINES; e++)
		workers[e] = worker_of(engines[e]);
	for (unsigned int round = 0; round < 40; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
			randombytes_buf(&keys[i].secret, sizeof(keys[i].secret));
			aead_key_number(&keys[i]);
		}
		random_jobs(jobs, plain, keys, round % 2 ? 1 : ARRAY_SIZE(keys));
		moved(at, sealed[ENGINES - 1], plain, jobs, plain);
		aead_seal_batch(workers[ENGINES - 1], at, JOBS);
		for (size_t e = 0; e < ENGINES; e++) {
			if (!workers[e])
				continue;
			moved(at, sealed[e], plain, jobs, plain);
			aead_seal_batch(workers[e], at, JOBS);
			for (size_t i = 0; i < JOBS; i++)
				assert_int_equal(at[i].result, 0);
			/* Also nothing but packet and tag was written. */
			assert_memory_equal(sealed[e], sealed[ENGINES - 1], sizeof(sealed[e]));

			moved(at, opened, sealed[e], jobs, plain);
			for (size_t i = 0; i < JOBS; i += 7)
				at[i].tag[i % AEAD_TAG_SIZE] ^= (uint8_t)(1u << i % 8);
			aead_open_batch(workers[e], at, JOBS);
			for (size_t i = 0; i < JOBS; i++) {
				assert_int_equal(at[i].result, i % 7 ? 0 : -EBADMSG);
				if (i % 7)
					assert_memory_equal(at[i].bytes, jobs[i].bytes,
							    at[i].length);
				else
					assert_true(sodium_is_zero(at[i].bytes, at[i].length));
			}
		}
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			for (size_t e = 0; e < ENGINES; e++)
				if (workers[e]) {
					struct aead_key copy = keys[i];

					aead_key_end(workers[e], &copy);
					assert_true(sodium_is_zero((uint8_t *)&copy, sizeof(copy)));
				}
	}
	for (size_t e = 0; e < ENGINES; e++)
		aead_worker_free(workers[e]);
}

/* Each bit of a tag counts. */
static void every_bit_of_a_tag_is_compared(void **state)
{
	(void)state;
	for (size_t e = 0; e < ENGINES; e++) {
		struct aead_worker *worker = worker_of(engines[e]);
		struct aead_key key = {.secret = {{1, 2, 3}}};
		uint8_t packet[48] = {0}, sealed[48], tag[AEAD_TAG_SIZE];
		struct aead_job job = {
			.key = &key, .counter = 9, .bytes = packet, .length = 48, .tag = tag};

		if (!worker)
			continue;
		aead_key_number(&key);
		aead_seal_batch(worker, &job, 1);
		memcpy(sealed, packet, sizeof(sealed));
		for (unsigned int bit = 0; bit < 8 * AEAD_TAG_SIZE; bit++) {
			memcpy(packet, sealed, sizeof(packet));
			tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
			aead_open_batch(worker, &job, 1);
			assert_int_equal(job.result, -EBADMSG);
			tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		memcpy(packet, sealed, sizeof(packet));
		aead_open_batch(worker, &job, 1);
		assert_int_equal(job.result, 0);
		assert_true(sodium_is_zero(packet, sizeof(packet)));
		aead_key_end(worker, &key);
		aead_worker_free(worker);
	}
}

/* OpenSSL's contexts hold the key: none is left when it has ended, or its slot is taken. */
static void expanded_keys_are_wiped(void **state)
{
	struct aead_worker *worker = worker_of(&aead_openssl);
	struct aead_key keys[40] = {0};
	uint8_t packet[64] = {0}, tag[AEAD_TAG_SIZE];
	struct aead_job job = {.bytes = packet, .length = sizeof(packet), .tag = tag};
	void *trap;

	(void)state;
	randombytes_buf(&watched, sizeof(watched));
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		aead_key_number(&keys[i]);
		keys[i].secret = watched;
		job.key = &keys[i];
		aead_seal_batch(worker, &job, 1);
		assert_int_equal(job.result, 0);
		aead_open_batch(worker, &job, 1);
		assert_int_equal(job.result, 0);
		if (i % 3)
			aead_key_end(worker, &keys[i]);
	}
	aead_worker_free(worker);
	assert_int_equal(watched_freed, 0);
	/* The trap works. */
	trap = OPENSSL_malloc(SECRET_KEY_SIZE);
	memcpy(trap, &watched, SECRET_KEY_SIZE);
	OPENSSL_free(trap);
	assert_int_equal(watched_freed, 1);
	watched = (struct secret_key){0};
}

static void an_engine_is_chosen_by_name_or_by_speed(void **state)
{
	struct aead_worker *worker, *best = worker_of(&aead_ipsec_mb);
	struct error err = {0};

	(void)state;
	assert_ptr_equal(aead_engine_find("openssl"), &aead_openssl);
	assert_null(aead_engine_find("OpenSSL"));
	for (size_t i = 1; i < ENGINES; i++) {
		assert_string_equal(aead_choose(engines[i]->name, &err), engines[i]->name);
		for (int again = 0; again < 2; again++) {
			worker = aead_worker_new();
			assert_ptr_equal(worker->engine, engines[i]);
			aead_worker_free(worker);
		}
	}
	/* What is missing is replaced by the next. */
	assert_string_equal(aead_choose("ipsec-mb", &err), best ? "ipsec-mb" : "openssl");
	assert_string_equal(aead_choose(NULL, &err), best ? "ipsec-mb" : "openssl");
	aead_worker_free(best);
	aead_worker_free(aead_worker_new());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_engine_passes_the_self_test),
		cmocka_unit_test(the_self_test_finds_faults),
		cmocka_unit_test(engines_agree_on_random_jobs),
		cmocka_unit_test(every_bit_of_a_tag_is_compared),
		cmocka_unit_test(expanded_keys_are_wiped),
		cmocka_unit_test(an_engine_is_chosen_by_name_or_by_speed),
	};

	/* Before OpenSSL's first allocation. */
	if (CRYPTO_set_mem_functions(watch_malloc, watch_realloc, watch_free) != 1)
		return 1;
	aead_library_open(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
