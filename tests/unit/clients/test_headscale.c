/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/clients/test_headscale.c - provisioning against a Headscale that fails on demand
 */
#include "unit/unit.h"

#include "base/cleanup.h"
#include "base/secret.h"
#include "clients/headscale.h"
#include "wire/json.h"

#include <sodium.h>
#include <sys/stat.h>

#define DAY (24 * 3600 * NSEC_PER_SEC)

/* A Headscale with one user at most. */
static struct fake {
	bool has_user, user_race;
	unsigned int keys;      /* minted so far; ids from 1 */
	nanoseconds expiry[16]; /* by id */
	bool down, refuse_expire;
	unsigned int renamed; /* this number's key has another text */
	unsigned int calls;
} fake;

static nanoseconds now;
static char folder[64];

static json_t *list_keys(void)
{
	json_t *list = json_array();
	char id[16], key[64], when[JSON_TIME_TEXT_MAX];

	for (unsigned int i = 1; i <= fake.keys; i++) {
		snprintf(id, sizeof(id), "%u", i);
		snprintf(key, sizeof(key), "hskey-auth-%04u%s-***", i,
			 i == fake.renamed ? "other" : "");
		json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:{s:s}}", "id", id,
						      "key", key, "reusable", 1, "expiration",
						      json_time_format(fake.expiry[i], when),
						      "user", "id", "7"));
	}
	return json_pack("{s:o}", "preAuthKeys", list);
}

static json_t *mint(const char *body)
{
	json_t *asked = json_loads(body, 0, NULL);
	const char *when = json_string_value(json_object_get(asked, "expiration"));
	char id[16], key[64];

	assert_string_equal(json_string_value(json_object_get(asked, "user")), "7");
	assert_true(json_is_true(json_object_get(asked, "reusable")));
	fake.keys++;
	assert_int_equal(json_time_parse(when, strlen(when), &fake.expiry[fake.keys]), 0);
	json_decref(asked);
	snprintf(id, sizeof(id), "%u", fake.keys);
	snprintf(key, sizeof(key), "hskey-auth-%04u-secret", fake.keys);
	return json_pack("{s:{s:s, s:s}}", "preAuthKey", "id", id, "key", key);
}

static int call(void *user, const char *method, const char *target, const char *body, json_t **ret,
		struct error *err)
{
	char name[HEADSCALE_USER_SIZE];
	unsigned int id;

	(void)user;
	fake.calls++;
	headscale_user_name("alice", name);
	if (fake.down)
		return error_set(err, -ECONNREFUSED, "nobody answers");
	if (!strncmp(target, "/api/v1/user?name=", 18)) {
		assert_string_equal(target + 18, name);
		*ret = fake.has_user
			       ? json_pack("{s:[{s:s, s:s}]}", "users", "id", "7", "name", name)
			       : json_pack("{s:[]}", "users");
	} else if (!strcmp(target, "/api/v1/user")) {
		fake.has_user = true;
		if (fake.user_race)
			return error_set(err, -EREMOTEIO, "there is one already");
		*ret = json_object();
	} else if (!strcmp(target, "/api/v1/preauthkey")) {
		*ret = !strcmp(method, "GET") ? list_keys() : mint(body);
	} else {
		assert_string_equal(target, "/api/v1/preauthkey/expire");
		assert_int_equal(sscanf(body, "{\"id\":\"%u\"}", &id), 1);
		if (fake.refuse_expire)
			return error_set(err, -EREMOTEIO, "not now");
		fake.expiry[id] = now;
		*ret = json_object();
	}
	return 0;
}

static int setup(void **state)
{
	(void)state;
	fake = (struct fake){0};
	now = 1700000000 * NSEC_PER_SEC;
	strcpy(folder, "/tmp/pillion-headscale-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* provision() - Its key's number, or negative errno */
static int provision(const char *where, const char *device, struct error *warning)
{
	const struct headscale_api api = {.call = call};
	const struct headscale_request q = {.url = "https://h.test",
					    .account = "alice",
					    .device = device,
					    .folder = where,
					    .now = now,
					    .lifetime = 90 * DAY};
	struct error err = {0};
	unsigned int number;
	char *key = NULL;
	int r = headscale_provision(&api, &q, &key, warning, &err);

	if (r < 0) {
		assert_int_equal(err.code, r);
		assert_null(key);
		return r;
	}
	assert_int_equal(sscanf(key, "hskey-auth-%4u-secret", &number), 1);
	secret_string_free(key);
	return (int)number;
}

static void one_key_a_device(void **state)
{
	struct error warning;

	(void)state;
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	assert_int_equal(provision(folder, "phone", &warning), 2);
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	assert_int_equal(warning.code, 0);
	/* Near its end it is replaced, and goes. */
	now += 68 * DAY;
	assert_int_equal(provision(folder, "laptop", &warning), 3);
	assert_int_equal(fake.expiry[1], now);
	assert_int_equal(provision(folder, "laptop", &warning), 3);
	/* Expired by someone. */
	fake.expiry[3] = now;
	assert_int_equal(provision(folder, "laptop", &warning), 4);
}

static void another_device_was_quicker(void **state)
{
	struct error warning;

	(void)state;
	fake.user_race = true;
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	assert_int_equal(warning.code, 0);
}

static void failures_leave_a_key(void **state)
{
	struct error warning;

	(void)state;
	fake.down = true;
	assert_int_equal(provision(folder, "laptop", &warning), -ECONNREFUSED);
	fake.down = false;
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	fake.down = true;
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	assert_int_equal(warning.code, -ECONNREFUSED);
	now += 91 * DAY;
	assert_int_equal(provision(folder, "laptop", &warning), -ECONNREFUSED);
	now -= 20 * DAY;
	fake.down = false;
	/* The old one can't be expired: the new one is good all the same. */
	fake.refuse_expire = true;
	assert_int_equal(provision(folder, "laptop", &warning), 2);
	assert_int_equal(warning.code, -EREMOTEIO);
	assert_int_equal(provision(folder, "laptop", &warning), 2);
	/* A key that can't be kept is good for now. */
	assert_int_equal(provision("/proc/no/such/folder", "laptop", &warning), 3);
	assert_true(warning.code < 0);
}

static void what_could_not_be_expired_goes_later(void **state)
{
	struct error warning;

	(void)state;
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	now += 68 * DAY;
	fake.refuse_expire = true;
	assert_int_equal(provision(folder, "laptop", &warning), 2);
	assert_int_equal(warning.code, -EREMOTEIO);
	/* And one more in the meantime. */
	now += 68 * DAY;
	fake.expiry[1] = now + DAY;
	assert_int_equal(provision(folder, "laptop", &warning), 3);
	assert_true(fake.expiry[1] > now && fake.expiry[2] > now);
	fake.refuse_expire = false;
	assert_int_equal(provision(folder, "laptop", &warning), 3);
	assert_int_equal(warning.code, 0);
	assert_int_equal(fake.expiry[1], now);
	assert_int_equal(fake.expiry[2], now);
	/* And is not asked for again: user, list. */
	fake.calls = 0;
	assert_int_equal(provision(folder, "laptop", &warning), 3);
	assert_int_equal(fake.calls, 2);
}

static void a_number_that_is_anothers_by_now_is_left_alone(void **state)
{
	struct error warning;

	(void)state;
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	now += 68 * DAY;
	fake.refuse_expire = true;
	assert_int_equal(provision(folder, "laptop", &warning), 2);
	/* Headscale's database was lost: number 1 is another device's key. */
	fake.renamed = 1;
	fake.refuse_expire = false;
	fake.expiry[1] = now + 90 * DAY;
	assert_int_equal(provision(folder, "laptop", &warning), 2);
	assert_int_equal(fake.expiry[1], now + 90 * DAY);
}

static void a_full_disk_makes_no_keys(void **state)
{
	struct error warning;
	char command[256];

	(void)state;
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	snprintf(command, sizeof(command),
		 "for f in %s/*.json; do mkdir \"$f.new\" && touch \"$f.new/x\"; done", folder);
	assert_int_equal(system(command), 0);
	now += 68 * DAY;
	/* The old one is good for some days yet; the new one would be lost. */
	assert_int_equal(provision(folder, "laptop", &warning), 1);
	assert_true(warning.code < 0);
	assert_int_equal(fake.expiry[2], now);
	snprintf(command, sizeof(command), "rm -r %s/*.new", folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(provision(folder, "laptop", &warning), 3);
	assert_int_equal(warning.code, 0);
	assert_int_equal(fake.expiry[1], now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_key_a_device, setup, teardown),
		cmocka_unit_test_setup_teardown(another_device_was_quicker, setup, teardown),
		cmocka_unit_test_setup_teardown(failures_leave_a_key, setup, teardown),
		cmocka_unit_test_setup_teardown(what_could_not_be_expired_goes_later, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_number_that_is_anothers_by_now_is_left_alone,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_makes_no_keys, setup, teardown),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
