/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/headscale.c - answers of a Headscale's API while an account and a key are made
 *
 * Each line of the input answers one call; an empty one, and one that is no JSON, is an error.
 */
#include "clients/headscale.h"
#include "base/cleanup.h"
#include "base/secret.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/dev/shm/pillion-fuzz-XXXXXX";

/* forget() - No key is kept */
static void forget(void)
{
	DIR *files = opendir(folder);
	struct dirent *entry;

	while (files && (entry = readdir(files)))
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(files), entry->d_name, 0);
	if (files)
		closedir(files);
}

static void clean_up(void)
{
	forget();
	(void)rmdir(folder);
}

struct answers {
	const uint8_t *at, *end;
};

static int call(void *user, const char *method, const char *target, const char *body, json_t **ret,
		struct error *err)
{
	struct answers *a = user;
	const uint8_t *line = a->at;
	const uint8_t *end = line < a->end ? memchr(line, '\n', (size_t)(a->end - line)) : NULL;

	(void)method;
	(void)target;
	(void)body;
	if (!end)
		end = a->end;
	a->at = end < a->end ? end + 1 : end;
	*ret = line < end ? json_loadb((const char *)line, (size_t)(end - line), 0, NULL) : NULL;
	return *ret ? 0 : error_set(err, -EREMOTEIO, "no answer");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	struct answers answers = {data, data + size};
	const struct headscale_api api = {call, &answers};
	const struct headscale_request q = {
		.url = "https://headscale.test",
		.account = "account",
		.device = "device",
		.folder = folder,
		.now = 1800000000 * NSEC_PER_SEC,
		.lifetime = 86400 * NSEC_PER_SEC,
	};
	struct error err = {0}, warning = {0};

	if (!made) {
		if (sodium_init() < 0 || !mkdtemp(folder))
			abort();
		made = true;
		atexit(clean_up);
	}
	forget();
	/* The second time from the stored state of the first. */
	for (int i = 0; i < 2; i++) {
		char *key = NULL;
		int r = headscale_provision(&api, &q, &key, &warning, &err);

		if ((r == 0) != (key != NULL) || (r < 0 && !err.text[0]))
			abort();
		secret_string_free(key);
	}
	return 0;
}
