/* SPDX-License-Identifier: BSD-3-Clause */
/* clients/headscale_keys.c - keys that Headscale shows once, kept in files of mode 0600 */
#include "base/cleanup.h"
#include "base/secret.h"
#include "base/small_file.h"
#include "clients/headscale.h"
#include "wire/json.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define FILE_MAX 4096

void headscale_kept_clear(struct headscale_kept *kept)
{
	secret_string_free(kept->key);
	free(kept->id);
	string_list_clear(&kept->superseded);
	*kept = (struct headscale_kept){0};
}

/* file_of() - One file for each Headscale, account and device, whatever is in their names */
static int file_of(const struct headscale_request *q, char **ret)
{
	const char *const parts[] = {q->url, q->account, q->device};
	unsigned char hash[crypto_hash_sha256_BYTES];
	char name[2 * 16 + 1];
	crypto_hash_sha256_state state;

	crypto_hash_sha256_init(&state);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		/* With their ends, so that no two triples are one text. */
		crypto_hash_sha256_update(&state, (const unsigned char *)parts[i],
					  strlen(parts[i]) + 1);
	crypto_hash_sha256_final(&state, hash);
	sodium_bin2hex(name, sizeof(name), hash, 16);
	return asprintf(ret, "%s/headscale-%s.json", q->folder, name) < 0 ? -ENOMEM : 0;
}

int headscale_kept_lock(const struct headscale_request *q)
{
	_cleanup_close_ int fd = -1;

	(void)mkdir(q->folder, 0700);
	fd = open(q->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* A file system without locks is no reason to end: two at once are two keys. */
	(void)flock(fd, LOCK_EX);
	return TAKE_FD(fd);
}

int headscale_kept_read(const struct headscale_request *q, struct headscale_kept *ret,
			struct error *err)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_(secret_string_free_at) char *text = NULL;
	struct json_reader r;
	json_t *json;

	if (file_of(q, &path) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (small_file_read(path, &text, NULL) < 0) {
		*ret = (struct headscale_kept){0};
		return 0;
	}
	json = json_loads(text, 0, NULL);
	r = json_reader_of(json);
	*ret = (struct headscale_kept){
		.id = json_get_string(&r, "id"),
		.key = json_get_string(&r, "key"),
		.expiry = json_get_time(&r, "expiration"),
	};
	json_get_strings(&r, "superseded", &ret->superseded);
	if (json_reader_result(&r, NULL, "key") < 0 || !ret->id || !ret->key)
		headscale_kept_clear(ret);
	json_decref(json);
	return 0;
}

int headscale_kept_write(const struct headscale_request *q, const struct headscale_kept *kept,
			 struct error *err)
{
	struct buffer text = BUFFER_INIT(FILE_MAX);
	struct json_writer w = json_writer_to(&text);
	_cleanup_free_ char *path = NULL;
	int r = file_of(q, &path);

	json_begin_object(&w, NULL);
	json_put_string(&w, "url", q->url);
	json_put_string(&w, "id", kept->id);
	json_put_string(&w, "key", kept->key);
	json_put_time(&w, "expiration", kept->expiry);
	json_put_strings(&w, "superseded", &kept->superseded);
	json_end_object(&w);
	if (r == 0)
		r = json_writer_result(&w);
	if (r == 0)
		r = small_file_replace(path, buffer_head(&text), text.length, NULL);
	buffer_free_secret(&text);
	return r < 0 ? error_set_errno(err, r, "the key can't be kept in %s", q->folder) : 0;
}
