/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/node/test_state_file.c - official files adopted and handed back
 *
 * official-1.102.5.state was written by the official daemon, joined to Headscale
 * 0.29.2 (both thrown away since).
 */
#include "base/limits.h"
#include "node/state_file.h"
#include "unit/unit.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define MACHINE_KEY "mkey:18fba8e18b2ac70a7413e39099f129996c723391cc10b2034c29e1dca75c5a23"
#define NODE_KEY    "nodekey:1ad2cb14e3468227f8b1a559bc6ccd5e1a40184616d7bbe35dc98c356fb7bf53"

static size_t read_sample(char *out, size_t size)
{
	FILE *f = fopen("unit/node/official-1.102.5.state", "re");
	size_t length;

	assert_non_null(f);
	length = fread(out, 1, size, f);
	assert_true(length > 0 && length < size);
	fclose(f);
	return length;
}

/* entry() - The JSON inside of an entry of encoded bytes */
static json_t *entry(const json_t *file, const char *key)
{
	const char *text = json_string_value(json_object_get(file, key));
	char plain[8192];
	size_t length;

	assert_non_null(text);
	assert_int_equal(sodium_base642bin((uint8_t *)plain, sizeof(plain), text, strlen(text),
					   NULL, &length, NULL, sodium_base64_VARIANT_ORIGINAL),
			 0);
	return json_loadb(plain, length, JSON_DECODE_ANY, NULL);
}

static json_t *encode(struct state_file *s)
{
	struct buffer out = BUFFER_INIT(LIMIT_STATE_FILE);
	json_t *file;

	assert_int_equal(state_file_encode(s, &out), 0);
	file = json_loadb((char *)buffer_head(&out), out.length, 0, NULL);
	assert_non_null(file);
	buffer_free_secret(&out);
	return file;
}

static void an_official_file_is_adopted(void **state)
{
	char bytes[16384], text[KEY_TEXT_MAX];
	size_t length = read_sample(bytes, sizeof(bytes));
	struct error err = {0};
	struct public_key key;
	struct state_file s;

	(void)state;
	assert_int_equal(state_file_decode(bytes, length, &s, &err), 0);
	assert_string_equal(s.profile_id, "405c");
	assert_string_equal(s.persist.node_id, "1");
	assert_string_equal(s.prefs.control_url, "http://127.0.0.1:18080");
	assert_string_equal(s.prefs.hostname, "official");
	assert_true(s.prefs.want_running);
	assert_false(s.prefs.corp_dns);
	assert_string_equal(json_string_value(json_object_get(s.persist.user_profile, "LoginName")),
			    "alice");
	secret_key_public(&s.machine_key, &key);
	assert_string_equal(public_key_format(&key, KEY_MACHINE, text), MACHINE_KEY);
	secret_key_public(&s.persist.node_key, &key);
	assert_string_equal(public_key_format(&key, KEY_NODE, text), NODE_KEY);
	state_file_free(&s);
}

static void what_goes_back_is_what_came(void **state)
{
	char bytes[16384];
	size_t length = read_sample(bytes, sizeof(bytes));
	json_t *before = json_loadb(bytes, length, 0, NULL), *after;
	static const char *const keys[] = {"_profiles", "profile-405c"};
	struct error err = {0};
	struct state_file s;

	(void)state;
	assert_int_equal(state_file_decode(bytes, length, &s, &err), 0);
	after = encode(&s);
	assert_int_equal(json_object_size(before), json_object_size(after));
	assert_true(json_equal(json_object_get(before, "_machinekey"),
			       json_object_get(after, "_machinekey")));
	assert_true(json_equal(json_object_get(before, "_current-profile"),
			       json_object_get(after, "_current-profile")));
	for (size_t i = 0; i < 2; i++) {
		json_t *a = entry(before, keys[i]), *b = entry(after, keys[i]);

		assert_true(json_equal(a, b));
		json_decref(a);
		json_decref(b);
	}
	json_decref(before);
	json_decref(after);
	state_file_free(&s);
}

static void what_we_do_not_know_is_kept(void **state)
{
	/* Another profile, served ports, a later member of Config and of the prefs. */
	static const char profiles[] =
		"{\"aaaa\":{\"ID\":\"aaaa\",\"Key\":\"profile-aaaa\",\"Later\":7},"
		"\"bbbb\":{\"ID\":\"bbbb\",\"Key\":\"profile-bbbb\"}}";
	static const char prefs[] = "{\"Later\":[1],\"Config\":{\"AttestationKey\":{\"tpm\":1},"
				    "\"DisallowedTKAStateIDs\":[\"1:2\"],\"NodeID\":\"nX\"}}";
	char text[2048], p64[512], c64[512], n64[64];
	struct error err = {0};
	struct state_file s;
	struct buffer serve = BUFFER_INIT(1024);
	json_t *file, *inner;

	(void)state;
	sodium_bin2base64(p64, sizeof(p64), (const uint8_t *)profiles, strlen(profiles),
			  sodium_base64_VARIANT_ORIGINAL);
	sodium_bin2base64(c64, sizeof(c64), (const uint8_t *)prefs, strlen(prefs),
			  sodium_base64_VARIANT_ORIGINAL);
	sodium_bin2base64(n64, sizeof(n64), (const uint8_t *)"profile-aaaa", 12,
			  sodium_base64_VARIANT_ORIGINAL);
	snprintf(text, sizeof(text),
		 "{\"_profiles\":\"%s\",\"_current-profile\":\"%s\",\"profile-aaaa\":\"%s\","
		 "\"profile-bbbb\":\"AAAA\",\"_serve/aaaa\":\"e30=\",\"_x\":null}",
		 p64, n64, c64);
	assert_int_equal(state_file_decode(text, strlen(text), &s, &err), 0);
	assert_string_equal(s.persist.node_id, "nX");
	file = encode(&s);
	assert_string_equal(json_string_value(json_object_get(file, "profile-bbbb")), "AAAA");
	assert_string_equal(json_string_value(json_object_get(file, "_serve/aaaa")), "e30=");
	assert_true(json_is_null(json_object_get(file, "_x")));
	inner = entry(file, "profile-aaaa");
	assert_int_equal(json_array_size(json_object_get(inner, "Later")), 1);
	assert_int_equal(json_object_size(json_object_get(json_object_get(inner, "Config"),
							  "AttestationKey")),
			 1);
	assert_int_equal(json_array_size(json_object_get(json_object_get(inner, "Config"),
							 "DisallowedTKAStateIDs")),
			 1);
	json_decref(inner);
	inner = entry(file, "_profiles");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(inner, "aaaa"), "Later")), 7);
	assert_int_equal(json_object_size(inner), 2);
	json_decref(inner);
	json_decref(file);

	/* Its served ports can be changed. */
	assert_int_equal(state_file_serve_config(&s, &serve), 0);
	assert_memory_equal(buffer_head(&serve), "{}", 2);
	buffer_free(&serve);
	assert_int_equal(state_file_set_serve_config(&s, "{\"TCP\":{}}"), 0);
	file = encode(&s);
	inner = entry(file, "_serve/aaaa");
	assert_non_null(json_object_get(inner, "TCP"));
	json_decref(inner);
	json_decref(file);

	/* Logging out drops this profile, and only this one. */
	assert_int_equal(state_file_forget(&s), 0);
	assert_int_equal(state_file_set_serve_config(&s, "{}"), -ENOENT);
	file = encode(&s);
	assert_null(json_object_get(file, "_serve/aaaa"));
	assert_null(json_object_get(file, "profile-aaaa"));
	assert_string_equal(json_string_value(json_object_get(file, "profile-bbbb")), "AAAA");
	assert_string_not_equal(s.profile_id, "aaaa");
	assert_string_equal(s.persist.node_id, "");
	json_decref(file);
	state_file_free(&s);
}

static void bad_bytes_are_refused_with_a_remedy(void **state)
{
	static const struct {
		const char *bytes;
		int code;
		const char *says;
	} rows[] = {
		/* 1 */ {"{", -EBADMSG, "leaves the file as it is"},
		/* 2 */ {"[]", -EBADMSG, "leaves the file as it is"},
		/* 3 */ {"hello", -EBADMSG, "leaves the file as it is"},
		/* 4 */ {"{\"_machinekey\":\"####\"}", -EBADMSG, "_machinekey is not base64"},
		/* 5 */ {"{\"_machinekey\":5}", -EBADMSG, "_machinekey is not a string"},
		/* 6 */ {"{\"_machinekey\":\"aGVsbG8=\"}", -EBADMSG, "not a private key"},
		/* 7 */ {"{\"_profiles\":\"aGVsbG8=\"}", -EBADMSG, "_profiles is not a JSON"},
		/* 8 */ {"{\"_daemon\":\"WzFd\"}", -EBADMSG, "_daemon is not a JSON"},
		/* 9: {"Config":5} */
		{"{\"_daemon\":\"eyJDb25maWciOjV9\"}", -EBADMSG, "_daemon.Config is not an object"},
		/* 10: {"WantRunning":5} */
		{"{\"_daemon\":\"eyJXYW50UnVubmluZyI6NX0=\"}", -EBADMSG, "WantRunning"},
		/* 11 */ {"{\"key\":\"\",\"nonce\":\"\",\"data\":\"\"}", -ENOTSUP, "TPM"},
		/* 12 */ {"tpmseal:abc", -ENOTSUP, "TPM"},
		/* 13: cut in the middle of a write */
		{"{\n  \"_current-profile\": \"cHJvZmls", -EBADMSG, "move it away"},
		/* 14: profile-1 is the current one, and listed */
		{"{\"_current-profile\":\"cHJvZmlsZS0x\",\"_profiles\":"
		 "\"eyIxIjogeyJJRCI6ICIxIiwgIktleSI6ICJwcm9maWxlLTEifX0=\"}",
		 -EBADMSG, "profile-1, the current profile, is empty"},
		/* 15: {"Config":{"PrivateNodeKey":"privkey:11…"}} */
		{"{\"_machinekey\":\"\",\"_daemon\":"
		 "\"eyJDb25maWciOiB7IlByaXZhdGVOb2RlS2V5IjogInByaXZrZXk6MTExMTExMTExMTExMTExMTExMTE"
		 "xMTEx"
		 "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMSJ9fQ==\"}",
		 -EBADMSG, "_machinekey is missing"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct state_file s;
		struct error err = {0};
		int r = state_file_decode(rows[i].bytes, strlen(rows[i].bytes), &s, &err);

		if (r != rows[i].code || err.code != r || !strstr(err.text, rows[i].says))
			fail_msg("row %zu: %d %s", i + 1, r, err.text);
	}
}

static void what_the_localapi_shows_holds_no_key(void **state)
{
	char bytes[16384], *text;
	size_t length = read_sample(bytes, sizeof(bytes));
	struct error err = {0};
	struct state_file s;
	json_t *config;

	(void)state;
	assert_int_equal(state_file_decode(bytes, length, &s, &err), 0);
	config = state_file_public_config(&s);
	text = json_dumps(config, JSON_COMPACT);
	assert_non_null(strstr(text, "\"LoginName\":\"alice\""));
	assert_string_equal(json_string_value(json_object_get(config, "NodeID")), "1");
	for (char *hex = strstr(text, "priv"); hex; hex = strstr(hex, "priv")) {
		hex = strchr(hex, ':') + 1;
		assert_true(strspn(hex, "0") >= KEY_SIZE * 2);
	}
	free(text);
	json_decref(config);
	state_file_free(&s);
}

static void an_empty_file_is_a_new_node(void **state)
{
	static const char *const empty[] = {"", "\n", "{}", " \t\r\n  "};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct error err = {0};
		struct state_file s, again;
		struct buffer out = BUFFER_INIT(LIMIT_STATE_FILE);

		assert_int_equal(state_file_decode(empty[i], strlen(empty[i]), &s, &err), 0);
		assert_string_equal(s.profile_id, "");
		secret_key_generate(&s.persist.node_key);
		secret_key_generate(&s.persist.old_node_key);
		assert_int_equal(state_file_encode(&s, &out), 0);
		assert_int_equal(strlen(s.profile_id), 4);
		/* The key pair is there after a restart that came before control knew it. */
		assert_int_equal(state_file_decode(buffer_head(&out), out.length, &again, &err), 0);
		assert_memory_equal(&again.machine_key, &s.machine_key, KEY_SIZE);
		assert_memory_equal(&again.persist.node_key, &s.persist.node_key, KEY_SIZE);
		assert_memory_equal(&again.persist.old_node_key, &s.persist.old_node_key, KEY_SIZE);
		assert_memory_equal(&again.persist.network_lock_seed, &s.persist.network_lock_seed,
				    KEY_SIZE);
		assert_string_equal(again.profile_id, s.profile_id);
		buffer_free_secret(&out);
		state_file_free(&again);
		state_file_free(&s);
	}
}

static void an_identity_is_stored(void **state)
{
	json_t *user =
		json_pack("{s:i,s:s,s:s}", "ID", 3, "LoginName", "bob@", "DisplayName", "Bob");
	json_t *network = json_pack("{s:s,s:s,s:s}", "MagicDNSName", "t.test", "DomainName", "bob",
				    "DisplayName", "");
	struct error err = {0};
	struct state_file s;
	json_t *file, *profiles, *inner;

	(void)state;
	assert_int_equal(state_file_init(&s, &err), 0);
	secret_key_generate(&s.persist.node_key);
	assert_int_equal(state_file_set_identity(&s, "n9", user, network), 1);
	assert_int_equal(state_file_set_identity(&s, "n9", user, network), 0);
	assert_int_equal(state_file_set_identity(&s, "n9", NULL, network), -EINVAL);
	file = encode(&s);
	profiles = entry(file, "_profiles");
	assert_int_equal(json_object_size(profiles), 1);
	inner = json_object_get(profiles, s.profile_id);
	assert_string_equal(json_string_value(json_object_get(inner, "Name")), "bob@");
	assert_string_equal(json_string_value(json_object_get(inner, "NodeID")), "n9");
	assert_true(json_equal(json_object_get(inner, "NetworkProfile"), network));
	json_decref(user);
	json_decref(network);
	json_decref(profiles);
	json_decref(file);
	state_file_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_official_file_is_adopted),
		cmocka_unit_test(what_goes_back_is_what_came),
		cmocka_unit_test(what_we_do_not_know_is_kept),
		cmocka_unit_test(bad_bytes_are_refused_with_a_remedy),
		cmocka_unit_test(what_the_localapi_shows_holds_no_key),
		cmocka_unit_test(an_empty_file_is_a_new_node),
		cmocka_unit_test(an_identity_is_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
