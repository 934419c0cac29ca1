/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/node/test_prefs.c - the official members, kinds, defaults and masks */
#include "node/prefs.h"
#include "unit/unit.h"

#include <stdlib.h>

static json_t *parse(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_non_null(value);
	return value;
}

/* The prefs of a new profile as the official daemon 1.102.5 prints them. */
static const char official_defaults[] =
	"{\"ControlURL\":\"\",\"RouteAll\":false,\"ExitNodeID\":\"\",\"ExitNodeIP\":\"\","
	"\"InternalExitNodePrior\":\"\",\"ExitNodeAllowLANAccess\":false,\"CorpDNS\":true,"
	"\"RunSSH\":false,\"RunWebClient\":false,\"WantRunning\":false,\"LoggedOut\":false,"
	"\"ShieldsUp\":false,\"AdvertiseTags\":null,\"Hostname\":\"\",\"NotepadURLs\":false,"
	"\"AdvertiseRoutes\":null,\"AdvertiseServices\":null,\"Sync\":null,\"NoSNAT\":false,"
	"\"NoStatefulFiltering\":true,\"NetfilterMode\":2,"
	"\"AutoUpdate\":{\"Check\":true,\"Apply\":null},\"AppConnector\":{\"Advertise\":false},"
	"\"PostureChecking\":false,\"NetfilterKind\":\"\",\"RemoteConfig\":false,"
	"\"DriveShares\":null}";

static void defaults_are_the_official_ones(void **state)
{
	struct prefs p;
	json_t *written;
	char *text;

	(void)state;
	assert_int_equal(prefs_init(&p), 0);
	written = prefs_json(&p);
	text = json_dumps(written, JSON_COMPACT);
	assert_string_equal(text, official_defaults);
	assert_true(p.corp_dns);
	assert_int_equal(p.netfilter_mode, NETFILTER_ON);
	assert_string_equal(prefs_control_url(&p), PREFS_DEFAULT_CONTROL_URL);
	free(text);
	json_decref(written);
	prefs_free(&p);
}

static void members_have_kinds(void **state)
{
	static const struct {
		const char *json;
		const char *refused; /* part of the message; NULL: accepted */
	} rows[] = {
		/* 1 */ {"{}", NULL},
		/* 2 */ {"{\"WantRunning\":true}", NULL},
		/* 3 */ {"{\"WantRunning\":1}", "WantRunning"},
		/* 4 */ {"{\"WantRunning\":null}", NULL},
		/* 5 */ {"{\"Hostname\":null}", NULL},
		/* 6 */ {"{\"Hostname\":[]}", "Hostname"},
		/* 7 */ {"{\"AdvertiseTags\":[\"tag:a\"]}", NULL},
		/* 8 */ {"{\"AdvertiseTags\":[1]}", "AdvertiseTags"},
		/* 9 */ {"{\"AdvertiseTags\":\"tag:a\"}", "AdvertiseTags"},
		/* 10 */ {"{\"AdvertiseRoutes\":[\"10.0.0.0/8\",\"fd00::/64\"]}", NULL},
		/* 11 */ {"{\"AdvertiseRoutes\":[\"10.0.0.0/88\"]}", "AdvertiseRoutes"},
		/* 12 */ {"{\"NetfilterMode\":1}", NULL},
		/* 13 */ {"{\"NetfilterMode\":\"on\"}", "NetfilterMode"},
		/* 14 */ {"{\"NetfilterMode\":99999999999}", "NetfilterMode"},
		/* 15 */ {"{\"NoStatefulFiltering\":null}", NULL},
		/* 16 */ {"{\"AutoUpdate\":[]}", "AutoUpdate"},
		/* 17 */ {"[]", "not a JSON object"},
		/* 18 */ {"{\"Future\":{\"x\":[1,2]},\"RelayServerPort\":7}", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *object = parse(rows[i].json);
		struct error err = {0};
		struct prefs p;
		int r = prefs_decode(object, &p, &err);

		if (rows[i].refused) {
			assert_int_equal(r, -EINVAL);
			assert_non_null(strstr(err.text, rows[i].refused));
		} else {
			assert_int_equal(r, 0);
			prefs_free(&p);
		}
		json_decref(object);
	}
}

static void unknown_members_are_kept_and_keys_are_not(void **state)
{
	json_t *object = parse("{\"Future\":{\"x\":[1,2]},\"RelayServerPort\":7,"
			       "\"Config\":{\"PrivateNodeKey\":\"privkey:00\"}}");
	struct error err = {0};
	struct prefs p, copy;
	json_t *written;

	(void)state;
	assert_int_equal(prefs_decode(object, &p, &err), 0);
	written = prefs_json(&p);
	assert_null(json_object_get(written, "Config"));
	assert_true(
		json_equal(json_object_get(written, "Future"), json_object_get(object, "Future")));
	assert_int_equal(json_integer_value(json_object_get(written, "RelayServerPort")), 7);
	assert_int_equal(prefs_copy(&p, &copy), 0);
	assert_true(prefs_equal(&p, &copy));
	prefs_free(&copy);
	json_decref(written);
	json_decref(object);
	prefs_free(&p);
}

static void masks_edit_all_or_nothing(void **state)
{
	static const struct {
		const char *masked;
		int result;
		const char *member; /* what to look at afterwards */
		const char *value;
	} rows[] = {
		/* 1 */ {"{\"WantRunning\":true,\"WantRunningSet\":true}", 0, "WantRunning",
			 "true"},
		/* 2 */ {"{\"WantRunning\":false}", 0, "WantRunning", "true"},
		/* 3: the encoder leaves out zeros */
		{"{\"WantRunningSet\":true}", 0, "WantRunning", "false"},
		/* 4 */ {"{\"Hostname\":\"web\",\"HostnameSet\":true}", 0, "Hostname", "\"web\""},
		/* 5 */ {"{\"HostnameSet\":false,\"Hostname\":\"no\"}", 0, "Hostname", "\"web\""},
		/* 6 */
		{"{\"Hostname\":\"a b\",\"HostnameSet\":true}", -EINVAL, "Hostname", "\"web\""},
		/* 7: one bad member refuses the good one too */
		{"{\"ShieldsUp\":true,\"ShieldsUpSet\":true,\"AdvertiseTags\":[\"web\"],"
		 "\"AdvertiseTagsSet\":true}",
		 -EINVAL, "ShieldsUp", "false"},
		/* 8 */
		{"{\"AdvertiseTags\":[\"tag:web\"],\"AdvertiseTagsSet\":true}", 0, "AdvertiseTags",
		 "[\"tag:web\"]"},
		/* 9 */
		{"{\"AdvertiseRoutes\":[\"10.0.0.1/8\"],\"AdvertiseRoutesSet\":true}", -EINVAL,
		 "AdvertiseRoutes", "null"},
		/* 10 */
		{"{\"AdvertiseRoutes\":[\"10.0.0.0/8\"],\"AdvertiseRoutesSet\":true}", 0,
		 "AdvertiseRoutes", "[\"10.0.0.0/8\"]"},
		/* 11 */ {"{\"AdvertiseRoutesSet\":true}", 0, "AdvertiseRoutes", "null"},
		/* 12 */
		{"{\"AutoUpdate\":{\"Check\":false,\"Apply\":false},"
		 "\"AutoUpdateSet\":{\"ApplySet\":true}}",
		 0, "AutoUpdate", "{\"Check\":true,\"Apply\":false}"},
		/* 13 */
		{"{\"InternalExitNodePrior\":\"n1\",\"InternalExitNodePriorSet\":true}", -EPERM,
		 "InternalExitNodePrior", "\"\""},
		/* 14 */ {"{\"Config\":{},\"ConfigSet\":true}", -EPERM, "Hostname", "\"web\""},
		/* 15: members of later releases */
		{"{\"Future\":[1],\"FutureSet\":true}", 0, "Future", "[1]"},
		/* 16 */
		{"{\"NetfilterMode\":3,\"NetfilterModeSet\":true}", -EINVAL, "NetfilterMode", "2"},
		/* 17 */ {"{\"NetfilterModeSet\":true}", 0, "NetfilterMode", "0"},
		/* 18 */
		{"{\"ControlURL\":\"vpn.example.com\",\"ControlURLSet\":true}", -EINVAL,
		 "ControlURL", "\"\""},
		/* 19 */
		{"{\"ControlURL\":\"https://h:8443\",\"ControlURLSet\":true}", 0, "ControlURL",
		 "\"https://h:8443\""},
		/* 20 */
		{"{\"ShieldsUp\":\"yes\",\"ShieldsUpSet\":true}", -EINVAL, "ShieldsUp", "false"},
		/* 21 */ {"{\"Set\":true}", 0, "ShieldsUp", "false"},
	};
	struct prefs p;

	(void)state;
	assert_int_equal(prefs_init(&p), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *masked = parse(rows[i].masked), *wanted = parse(rows[i].value);
		struct error err = {0};

		if (prefs_edit(&p, masked, &err) != rows[i].result)
			fail_msg("row %zu: %s", i + 1, err.text);
		if (!json_equal(json_object_get(p.object, rows[i].member), wanted))
			fail_msg("row %zu: %s is not %s", i + 1, rows[i].member, rows[i].value);
		json_decref(wanted);
		json_decref(masked);
	}
	assert_string_equal(p.hostname, "web");
	assert_int_equal(p.advertise_tag_count, 1);
	assert_string_equal(p.advertise_tags[0], "tag:web");
	prefs_free(&p);
}

static void an_adopted_oddity_does_not_block_other_edits(void **state)
{
	json_t *object = parse("{\"Hostname\":\"my host\"}");
	json_t *down = parse("{\"WantRunningSet\":true}");
	struct error err = {0};
	struct prefs p;

	(void)state;
	assert_int_equal(prefs_decode(object, &p, &err), 0);
	assert_int_equal(prefs_check(&p, &err), -EINVAL);
	assert_int_equal(prefs_edit(&p, down, &err), 0);
	prefs_free(&p);
	json_decref(object);
	json_decref(down);
}

static void a_masked_set_is_what_an_edit_takes(void **state)
{
	json_t *masked = json_object();
	struct error err = {0};
	struct prefs p;

	(void)state;
	assert_int_equal(prefs_init(&p), 0);
	assert_int_equal(prefs_masked_set(masked, "ShieldsUp", json_true()), 0);
	assert_int_equal(prefs_masked_set(masked, "OperatorUser", json_string("bob")), 0);
	assert_int_equal(prefs_edit(&p, masked, &err), 0);
	assert_true(p.shields_up);
	assert_string_equal(p.operator_user, "bob");
	prefs_free(&p);
	json_decref(masked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_the_official_ones),
		cmocka_unit_test(members_have_kinds),
		cmocka_unit_test(unknown_members_are_kept_and_keys_are_not),
		cmocka_unit_test(masks_edit_all_or_nothing),
		cmocka_unit_test(an_adopted_oddity_does_not_block_other_edits),
		cmocka_unit_test(a_masked_set_is_what_an_edit_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
