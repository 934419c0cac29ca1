/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/aead/aead.c - the choice of an engine, its workers and keys */
#define LOG_ROOM "aead"
#include "tunnel/aead/aead.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>

static const struct aead_engine *const engines[] = {&aead_ipsec_mb, &aead_openssl, &aead_libsodium};

static const struct aead_engine *chosen = &aead_libsodium;

/* The worker that passed the self-test, for the first who needs one. */
static struct aead_worker *spare;

const struct aead_engine *aead_engine_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	return NULL;
}

/* take() - Use @engine if it is there and passes the self-test */
static int take(const struct aead_engine *engine, struct error *err)
{
	struct aead_worker *worker = engine->worker_new(err);
	int r;

	if (!worker)
		return -ENOENT;
	r = aead_self_test(worker, err);
	if (r < 0) {
		engine->worker_free(worker);
		return r;
	}
	aead_worker_free(TAKE_PTR(spare));
	chosen = engine;
	spare = worker;
	return 0;
}

const char *aead_choose(const char *wanted, struct error *err)
{
	const struct aead_engine *named = wanted && *wanted ? aead_engine_find(wanted) : NULL;
	struct error why = {0};

	if (named && take(named, &why) == 0)
		return named->name;
	if (named)
		log_warn("PILLION_AEAD=%s can't be used: %s", named->name, why.text);
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		int r;

		if (engines[i] == named)
			continue;
		why = (struct error){0};
		r = take(engines[i], &why);
		if (r == 0)
			return engines[i]->name;
		/* A library that is not there is usual; one that computes wrongly is not. */
		if (r == -ENOENT)
			log_debug("no AEAD by %s: %s", engines[i]->name, why.text);
		else
			log_error("no AEAD by %s: %s", engines[i]->name, why.text);
	}
	(void)error_set(err, -EIO, "no library for ChaCha20-Poly1305 passed its self-test: %s",
			why.text);
	return NULL;
}

struct aead_worker *aead_worker_new(void)
{
	struct error err = {0};

	return spare ? TAKE_PTR(spare) : chosen->worker_new(&err);
}

void aead_worker_free(struct aead_worker *worker)
{
	if (worker)
		worker->engine->worker_free(worker);
}

void aead_key_number(struct aead_key *key)
{
	static atomic_uint_fast64_t last;

	key->number = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

void aead_key_end(struct aead_worker *worker, struct aead_key *key)
{
	if (worker->engine->forget)
		worker->engine->forget(worker, key);
	explicit_bzero(key, sizeof(*key));
}
