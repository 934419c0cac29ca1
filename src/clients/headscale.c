/* SPDX-License-Identifier: BSD-3-Clause */
/* clients/headscale.c - accounts and devices at a Headscale */
#include "clients/headscale.h"

#include "base/cleanup.h"
#include "base/secret.h"
#include "base/small_file.h"
#include "wire/json.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define FILE_MAX 4096

void headscale_user_name(const char *account, char out[static HEADSCALE_USER_SIZE])
{
	unsigned char hash[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(hash, (const unsigned char *)account, strlen(account));
	memcpy(out, "ss-", 3);
	sodium_bin2hex(out + 3, HEADSCALE_USER_SIZE - 3, hash, sizeof(hash));
}

/* text_of() - A member that is a string, or "" */
static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static nanoseconds time_of(const json_t *object, const char *name)
{
	const char *text = text_of(object, name);
	nanoseconds time = JSON_TIME_NONE;

	(void)json_time_parse(text, strlen(text), &time);
	return time;
}

/* --- Kept keys, in files of mode 0600 --- */

struct kept {
	char *id; /* NULL: none is kept */
	char *key;
	nanoseconds expiry;
	/* Keys before it that could not be expired yet: number, blank, what Headscale shows */
	struct string_list superseded;
};

static void kept_clear(struct kept *kept)
{
	secret_string_free(kept->key);
	free(kept->id);
	string_list_clear(&kept->superseded);
	*kept = (struct kept){0};
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

/* kept_lock() - Make the folder, and wait until no other process provisions by it; a descriptor */
static int kept_lock(const struct headscale_request *q)
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

/* kept_read() - The kept key of the request; none if the file can't be read */
static int kept_read(const struct headscale_request *q, struct kept *ret, struct error *err)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_(secret_string_free_at) char *text = NULL;
	struct json_reader r;
	json_t *json;

	if (file_of(q, &path) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (small_file_read(path, &text, NULL) < 0) {
		*ret = (struct kept){0};
		return 0;
	}
	json = json_loads(text, 0, NULL);
	r = json_reader_of(json);
	*ret = (struct kept){
		.id = json_get_string(&r, "id"),
		.key = json_get_string(&r, "key"),
		.expiry = json_get_time(&r, "expiration"),
	};
	json_get_strings(&r, "superseded", &ret->superseded);
	if (json_reader_result(&r, NULL, "key") < 0 || !ret->id || !ret->key)
		kept_clear(ret);
	json_decref(json);
	return 0;
}

/* kept_write() - Durably, mode 0600, in place of the one before */
static int kept_write(const struct headscale_request *q, const struct kept *kept, struct error *err)
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

/* --- The user --- */

/* find_user() - @id is "" when there is none */
static int find_user(const struct headscale_api *api, const char *name, char id[static 24],
		     struct error *err)
{
	char target[64 + HEADSCALE_USER_SIZE];
	json_t *answer = NULL, *user;
	size_t i;
	int r;

	snprintf(target, sizeof(target), "/api/v1/user?name=%s", name);
	r = api->call(api->user, "GET", target, NULL, &answer, err);
	id[0] = 0;
	json_array_foreach(json_object_get(answer, "users"), i, user)
		if (strcmp(text_of(user, "name"), name) == 0)
			snprintf(id, 24, "%s", text_of(user, "id"));
	json_decref(answer);
	return r;
}

static int ensure_user(const struct headscale_api *api, const char *name, char id[static 24],
		       struct error *err)
{
	char body[32 + HEADSCALE_USER_SIZE];
	json_t *answer = NULL;
	struct error refused;
	int r = find_user(api, name, id, err);

	if (r < 0 || id[0])
		return r;
	snprintf(body, sizeof(body), "{\"name\":\"%s\"}", name);
	r = api->call(api->user, "POST", "/api/v1/user", body, &answer, &refused);
	json_decref(answer);
	/* Another device of the account may have made it in the meantime. */
	if (find_user(api, name, id, err) < 0)
		return err->code;
	if (id[0])
		return 0;
	if (r == 0)
		return error_set(err, -EREMOTEIO, "Headscale made no user %s", name);
	*err = refused;
	return error_wrap(err, "make a user");
}

/* --- The key --- */

/* is_listed() - Whether Headscale's entry is the kept key: it shows the part before "***" */
static bool is_listed(const json_t *entry, const struct kept *kept)
{
	const char *shown = text_of(entry, "key"), *stars = strstr(shown, "***");
	size_t length = stars ? (size_t)(stars - shown) : strlen(shown);

	return strcmp(text_of(entry, "id"), kept->id) == 0 && length > 0 &&
	       strncmp(shown, kept->key, length) == 0;
}

/* label_of() - The number of an entry and the shown part of its key, which identify it */
static char *label_of(const json_t *entry)
{
	char *label;

	return asprintf(&label, "%s %s", text_of(entry, "id"), text_of(entry, "key")) < 0 ? NULL
											  : label;
}

static bool is_over(const json_t *entry, nanoseconds now)
{
	nanoseconds expiry = time_of(entry, "expiration");

	return expiry != JSON_TIME_NONE && expiry <= now;
}

struct verdict {
	char *label; /* Headscale has the kept key, and it isn't over; NULL otherwise */
	bool good;   /* and it will be for a while */
};

static void judge_kept(const struct headscale_request *q, const char *user, const json_t *entry,
		       struct verdict *verdict)
{
	nanoseconds expiry = time_of(entry, "expiration");

	if (is_over(entry, q->now))
		return;
	verdict->label = label_of(entry);
	verdict->good = json_is_true(json_object_get(entry, "reusable")) &&
			strcmp(text_of(json_object_get(entry, "user"), "id"), user) == 0 &&
			(expiry == JSON_TIME_NONE || expiry - q->now > q->lifetime / 4);
}

/* judge() - The kept key; drop those superseded keys that Headscale has expired */
static int judge(const struct headscale_api *api, const struct headscale_request *q,
		 const char *user, struct kept *kept, struct verdict *ret, struct error *err)
{
	struct string_list left = {0};
	json_t *answer = NULL, *entry;
	size_t i;
	int r;

	if (!kept->id)
		return 0;
	r = api->call(api->user, "GET", "/api/v1/preauthkey", NULL, &answer, err);
	json_array_foreach(json_object_get(answer, "preAuthKeys"), i, entry) {
		_cleanup_free_ char *label = label_of(entry);

		if (is_listed(entry, kept))
			judge_kept(q, user, entry, ret);
		else if (label && !is_over(entry, q->now) &&
			 string_list_contains(&kept->superseded, label) &&
			 string_list_add(&left, label) < 0)
			r = error_set(err, -ENOMEM, "out of memory");
	}
	json_decref(answer);
	if (r < 0) {
		string_list_clear(&left);
		return r;
	}
	string_list_clear(&kept->superseded);
	kept->superseded = left;
	return 0;
}

static int mint(const struct headscale_api *api, const struct headscale_request *q,
		const char *user, struct kept *ret, struct error *err)
{
	char body[256], when[JSON_TIME_TEXT_MAX];
	json_t *answer = NULL, *key;
	int r;

	ret->expiry = q->now + q->lifetime;
	snprintf(body, sizeof(body),
		 "{\"user\":\"%s\",\"reusable\":true,\"ephemeral\":false,\"expiration\":\"%s\"}",
		 user, json_time_format(ret->expiry, when));
	r = api->call(api->user, "POST", "/api/v1/preauthkey", body, &answer, err);
	key = json_object_get(answer, "preAuthKey");
	if (r == 0 && (!*text_of(key, "id") || !*text_of(key, "key")))
		r = error_set(err, -EREMOTEIO, "Headscale's answer holds no key");
	if (r == 0) {
		ret->id = strdup(text_of(key, "id"));
		ret->key = strdup(text_of(key, "key"));
		if (!ret->id || !ret->key)
			r = error_set(err, -ENOMEM, "out of memory");
	}
	json_decref(answer);
	return r < 0 ? error_wrap(err, "make a key") : 0;
}

/* expire() - By the number at the start of its label */
static int expire(const struct headscale_api *api, const char *label, struct error *err)
{
	char body[64];
	json_t *answer = NULL;
	int r;

	snprintf(body, sizeof(body), "{\"id\":\"%.*s\"}", (int)strcspn(label, " "), label);
	r = api->call(api->user, "POST", "/api/v1/preauthkey/expire", body, &answer, err);
	json_decref(answer);
	return r < 0 ? error_wrap(err, "expire the key that was replaced") : 0;
}

/* replace() - Keep a new key; the old one stays until the new one is on the disk */
static int replace(const struct headscale_api *api, const struct headscale_request *q,
		   const char *user, const char *label, struct kept *kept, struct error *warning,
		   struct error *err)
{
	struct kept fresh = {0};
	int r = mint(api, q, user, &fresh, err);

	if (r == 0) {
		fresh.superseded = kept->superseded;
		kept->superseded = (struct string_list){0};
		if (label && string_list_add(&fresh.superseded, label) < 0)
			r = error_set(err, -ENOMEM, "out of memory");
	}
	/* A key that can't be kept would be made anew each time: better use the old one. */
	if (r == 0 && kept_write(q, &fresh, warning) < 0 && label) {
		(void)expire(api, fresh.id, NULL);
		kept_clear(&fresh);
		return 0;
	}
	if (r == 0) {
		kept_clear(kept);
		*kept = fresh;
		return 0;
	}
	kept_clear(&fresh);
	return r;
}

/* clean_up() - Expire superseded keys; a failure is tried again the next time */
static void clean_up(const struct headscale_api *api, const struct headscale_request *q,
		     struct kept *kept, struct error *warning)
{
	struct string_list left = {0};
	uint32_t before = kept->superseded.count;

	for (uint32_t i = 0; i < before; i++)
		if (expire(api, kept->superseded.items[i], warning) < 0)
			(void)string_list_add(&left, kept->superseded.items[i]);
	string_list_clear(&kept->superseded);
	kept->superseded = left;
	if (left.count < before)
		(void)kept_write(q, kept, warning);
}

int headscale_provision(const struct headscale_api *api, const struct headscale_request *q,
			char **ret_key, struct error *warning, struct error *err)
{
	_cleanup_close_ int lock = kept_lock(q);
	_cleanup_free_ char *label = NULL;
	char name[HEADSCALE_USER_SIZE], user[24];
	struct kept kept = {0};
	struct verdict verdict = {0};
	int r;

	*warning = (struct error){0};
	r = kept_read(q, &kept, err);
	if (r < 0)
		return r;
	headscale_user_name(q->account, name);
	r = ensure_user(api, name, user, err);
	if (r == 0)
		r = judge(api, q, user, &kept, &verdict, err);
	label = verdict.label;
	if (r == 0 && !verdict.good)
		r = replace(api, q, user, label, &kept, warning, err);
	if (r == 0) {
		if (kept.superseded.count > 0)
			clean_up(api, q, &kept, warning);
		*ret_key = TAKE_PTR(kept.key);
	} else if (kept.key && kept.expiry > q->now) {
		/* The kept key is the best there is, unless it has expired. */
		*warning = *err;
		*ret_key = TAKE_PTR(kept.key);
		r = 0;
	}
	kept_clear(&kept);
	return r;
}
