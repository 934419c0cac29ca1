/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/app/test_flags.c - values, the flag parser, and the two official tables of flags */
#include "app/cli/daemon_flags.h"
#include "app/cli/flags.h"
#include "app/cli/prefs_flags.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/secret.h"
#include "node/prefs.h"
#include "unit/unit.h"

#include <unistd.h>

#define WORDS_MAX 8

static void durations_are_those_of_go(void **state)
{
	static const struct {
		const char *text;
		int64_t value; /* -1: refused */
	} rows[] = {
		/* 1 */ {"0", 0},
		/* 2 */ {"30s", 30 * NSEC_PER_SEC},
		/* 3 */ {"1m30s", 90 * NSEC_PER_SEC},
		/* 4 */ {"1.5h", 5400 * NSEC_PER_SEC},
		/* 5 */ {"500ms", 500 * NSEC_PER_MSEC},
		/* 6 */ {"10us", 10000},
		/* 7 */ {"\u00b5s", -1},
		/* 8 */ {"3\u00b5s", 3000},
		/* 9 */ {"7ns", 7},
		/* 10 */ {"60", -1},
		/* 11 */ {"", -1},
		/* 12 */ {"-1s", -1},
		/* 13 */ {"1d", -1},
		/* 14 */ {"1h1", -1},
		/* 15 */ {"99999999999h", -1},
		/* 16 */ {".5s", NSEC_PER_SEC / 2},
		/* 17 */ {".s", -1},
		/* 18 */ {"+1s", NSEC_PER_SEC},
		/* 19 */ {"1m", 60 * NSEC_PER_SEC},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int64_t value = -1;
		int r = value_parse_duration(rows[i].text, false, &value);

		if (r != (rows[i].value < 0 ? -EINVAL : 0) || value != rows[i].value)
			fail_msg("row %zu: %d %lld", i + 1, r, (long long)value);
	}
}

static void the_nearest_name_is_found(void **state)
{
	static const char *const names[] = {"status", "set",   "up",         "down",   NULL,
					    "logout", "login", "accept-dns", "authkey"};
	static const struct {
		const char *text, *nearest;
	} rows[] = {
		/* 1 */ {"statsu", "status"}, /* 2 */ {"stat", "status"},
		/* 3 */ {"dwon", "down"},     /* 4 */ {"lgoin", "login"},
		/* 5 */ {"auth", "authkey"},  /* 6 */ {"acceptdns", "accept-dns"},
		/* 7 */ {"sett", "set"},      /* 8 */ {"frobnicate", NULL},
		/* 9 */ {"LOGIN", "login"},   /* 10 */ {"", NULL},
		/* 11 */ {"ab", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *got = value_nearest(rows[i].text, names, ARRAY_SIZE(names));

		if (rows[i].nearest ? !got || strcmp(got, rows[i].nearest) != 0 : got != NULL)
			fail_msg("row %zu: %s", i + 1, got ? got : "(none)");
	}
}

static int warnings;
static char last_warning[512];

static void warn(const char *text)
{
	warnings++;
	snprintf(last_warning, sizeof(last_warning), "%s", text);
}

enum { ON, NAME, NUMBER, WAIT, LATER, NEVER };
static const struct flag table[] = {
	[ON] = {.name = "on", .kind = FLAG_BOOL},
	[NAME] = {.name = "name", .alias = "n", .argument = "NAME", .kind = FLAG_STRING},
	[NUMBER] = {.name = "number", .kind = FLAG_INTEGER},
	[WAIT] = {.name = "wait", .kind = FLAG_DURATION},
	[LATER] = {.name = "later", .kind = FLAG_STRING, .status = FLAG_NOT_YET},
	[NEVER] = {.name = "never", .kind = FLAG_BOOL, .status = FLAG_NOT_NEEDED},
};

static void flags_are_read_as_go_reads_them(void **state)
{
	static const struct {
		const char *words[WORDS_MAX];
		int result;          /* for the command line */
		int variable_result; /* for a variable */
		const char *says;    /* part of the error */
		bool on;
		const char *name;
		int64_t number;
	} rows[] = {
		/* 1 */ {{"--on"}, 0, 0, NULL, true, NULL, 0},
		/* 2 */ {{"-on"}, 0, 0, NULL, true, NULL, 0},
		/* 3 */ {{"--on=false"}, 0, 0, NULL, false, NULL, 0},
		/* 4 */ {{"--on=maybe"}, -EINVAL, -EINVAL, "true or false", 0, NULL, 0},
		/* 5 */ {{"--name", "x"}, 0, 0, NULL, 0, "x", 0},
		/* 6 */ {{"--name=x"}, 0, 0, NULL, 0, "x", 0},
		/* 7 */ {{"-n=x=y"}, 0, 0, NULL, 0, "x=y", 0},
		/* 8 */ {{"--name="}, 0, 0, NULL, 0, "", 0},
		/* 9 */ {{"--name"}, -EINVAL, -EINVAL, "--name=NAME", 0, NULL, 0},
		/* 10 */ {{"--number", "-5"}, 0, 0, NULL, 0, NULL, -5},
		/* 11 */ {{"--number=5x"}, -EINVAL, -EINVAL, "whole number", 0, NULL, 0},
		/* 12 */
		{{"--number=99999999999999999999"}, -EINVAL, -EINVAL, "number", 0, NULL, 0},
		/* 13: the last one counts */
		{{"--name=a", "--name=b"}, 0, 0, NULL, 0, "b", 0},
		/* 14 */ {{"--nam=x"}, -EINVAL, -EINVAL, "did you mean --name?", 0, NULL, 0},
		/* 15 */
		{{"--frobnicate"}, -EINVAL, -EINVAL, "unknown flag --frobnicate", 0, NULL, 0},
		/* 16: official, not ours: passed over in a variable, with its value */
		{{"--later", "--on", "--name=z"}, -EINVAL, 0, "not supported yet", false, "z", 0},
		/* 17 */ {{"--never", "--on"}, -EINVAL, 0, "nothing to do", true, NULL, 0},
		/* 18 */ {{"word"}, -EINVAL, -EINVAL, "takes no argument", 0, NULL, 0},
		/* 19 */ {{"--help"}, -ECANCELED, -ECANCELED, NULL, 0, NULL, 0},
		/* 20 */ {{"--name", "--on"}, 0, 0, NULL, false, "--on", 0},
		/* 21 */ {{"--"}, 0, 0, NULL, false, NULL, 0},
		/* 22 */ {{"-"}, -EINVAL, -EINVAL, "takes no argument", 0, NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (int source = FLAGS_COMMAND_LINE; source <= FLAGS_VARIABLE; source++) {
			struct flag_value v[ARRAY_SIZE(table)] = {0};
			struct flag_group group = {"", table, v, ARRAY_SIZE(table)};
			struct flag_reader reader = {&group, 1, source, "test", warn};
			int wanted =
				source == FLAGS_VARIABLE ? rows[i].variable_result : rows[i].result;
			struct error err = {0};
			int argc = 0, r;

			while (argc < WORDS_MAX && rows[i].words[argc])
				argc++;
			warnings = 0;
			r = flags_parse(&reader, argc, (char *const *)rows[i].words, NULL, &err);
			if (r != wanted || (r == -EINVAL && !strstr(err.text, rows[i].says)))
				fail_msg("row %zu, source %d: %d %s", i + 1, source, r, err.text);
			if (r < 0)
				continue;
			assert_int_equal(v[ON].on, rows[i].on);
			assert_int_equal(v[NUMBER].number, rows[i].number);
			assert_int_equal(v[NAME].given, rows[i].name != NULL);
			if (rows[i].name)
				assert_string_equal(v[NAME].text, rows[i].name);
			assert_int_equal(warnings, rows[i].result == -EINVAL ? 1 : 0);
			if (warnings)
				assert_non_null(strstr(last_warning, rows[i].says));
		}
}

static void arguments_may_stand_between_flags(void **state)
{
	char *words[] = {"a", "--on", "b", "--", "--name"};
	struct flag_value v[ARRAY_SIZE(table)] = {0};
	struct flag_group group = {"", table, v, ARRAY_SIZE(table)};
	struct flag_reader reader = {&group, 1, FLAGS_COMMAND_LINE, "test", warn};
	const char *rest[5];
	struct error err;

	(void)state;
	assert_int_equal(flags_parse(&reader, 5, words, rest, &err), 3);
	assert_string_equal(rest[0], "a");
	assert_string_equal(rest[1], "b");
	assert_string_equal(rest[2], "--name");
	assert_true(v[ON].on);
}

static void every_flag_of_a_table_has_a_name_of_its_own(void **state)
{
	const struct {
		const struct flag *flags;
		size_t count;
	} tables[] = {{prefs_flags, PREFS_FLAG_COUNT}, {daemon_flags, DAEMON_FLAG_COUNT}};

	(void)state;
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (size_t i = 0; i < tables[t].count; i++) {
			const struct flag *f = &tables[t].flags[i];

			if (!f->name)
				fail_msg("table %zu: flag %zu has no name", t, i);
			if (f->status == FLAG_OURS)
				assert_non_null(f->help);
			for (size_t j = 0; j < i; j++)
				assert_string_not_equal(f->name, tables[t].flags[j].name);
		}
}

/* The flags of `tailscale up`, `set` and `login` and of tailscaled, release 1.102.5, on Linux. */
static void all_official_flags_are_known(void **state)
{
	static const char *const up[] = {
		"accept-dns",
		"accept-risk",
		"accept-routes",
		"advertise-connector",
		"advertise-exit-node",
		"advertise-routes",
		"advertise-tags",
		"audience",
		"auth-key",
		"client-id",
		"client-secret",
		"exit-node",
		"exit-node-allow-lan-access",
		"force-reauth",
		"hostname",
		"id-token",
		"json",
		"login-server",
		"netfilter-mode",
		"operator",
		"qr",
		"qr-format",
		"report-posture",
		"reset",
		"shields-up",
		"snat-subnet-routes",
		"ssh",
		"stateful-filtering",
		"timeout",
		"host-routes",
		"nickname",
		"auto-update",
		"update-check",
		"webclient",
		"relay-server-port",
		"relay-server-static-endpoints",
		"sync",
		"remote-config",
		"authkey",
	};
	static const char *const daemon[] = {
		"bird-socket",
		"config",
		"debug",
		"encrypt-state",
		"hardware-attestation",
		"no-logs-no-support",
		"outbound-http-proxy-listen",
		"port",
		"socket",
		"socks5-server",
		"state",
		"statedir",
		"syslog",
		"syspolicy-file",
		"tun",
		"verbose",
	};
	const struct {
		const char *const *names;
		size_t count;
		const struct flag *flags;
		size_t flag_count;
	} rows[] = {
		{up, ARRAY_SIZE(up), prefs_flags, PREFS_FLAG_COUNT},
		{daemon, ARRAY_SIZE(daemon), daemon_flags, DAEMON_FLAG_COUNT},
	};

	(void)state;
	for (size_t t = 0; t < ARRAY_SIZE(rows); t++)
		for (size_t i = 0; i < rows[t].count; i++) {
			bool known = false;

			for (size_t j = 0; j < rows[t].flag_count; j++)
				known |= strcmp(rows[t].flags[j].name, rows[t].names[i]) == 0 ||
					 (rows[t].flags[j].alias &&
					  strcmp(rows[t].flags[j].alias, rows[t].names[i]) == 0);
			if (!known)
				fail_msg("--%s is not known", rows[t].names[i]);
		}
}

static void settings_become_masked_prefs(void **state)
{
	static const struct {
		const char *words[WORDS_MAX];
		const char *masked; /* NULL: refused */
		const char *says;
	} rows[] = {
		/* 1 */ {{NULL}, "{}", NULL},
		/* 2 */ {{"--hostname=web"}, "{\"Hostname\":\"web\",\"HostnameSet\":true}", NULL},
		/* 3 */ {{"--accept-dns=false"}, "{\"CorpDNS\":false,\"CorpDNSSet\":true}", NULL},
		/* 4 */
		{{"--advertise-tags=a,tag:b"},
		 "{\"AdvertiseTags\":[\"tag:a\",\"tag:b\"],\"AdvertiseTagsSet\":true}",
		 NULL},
		/* 5 */
		{{"--advertise-tags="}, "{\"AdvertiseTags\":[],\"AdvertiseTagsSet\":true}", NULL},
		/* 6 */ {{"--advertise-tags=tag:1"}, NULL, "tag:1"},
		/* 7 */
		{{"--login-server=https://h:1"},
		 "{\"ControlURL\":\"https://h:1\",\"ControlURLSet\":true}",
		 NULL},
		/* 8 */ {{"--login-server=vpn.example.com"}, NULL, "https://vpn.example.com"},
		/* 9: nothing but settings */
		{{"--auth-key=k", "--qr", "--timeout=1s"}, "{}", NULL},
		/* 10 */
		{{"--shields-up", "--operator=bob"},
		 "{\"OperatorUser\":\"bob\",\"OperatorUserSet\":true,\"ShieldsUp\":true,"
		 "\"ShieldsUpSet\":true}",
		 NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct flag_value v[PREFS_FLAG_COUNT] = {0};
		struct flag_group group = {"", prefs_flags, v, PREFS_FLAG_COUNT};
		struct flag_reader reader = {&group, 1, FLAGS_COMMAND_LINE, "test", warn};
		json_t *masked, *wanted;
		struct error err = {0};
		int argc = 0;

		while (rows[i].words[argc])
			argc++;
		assert_int_equal(
			flags_parse(&reader, argc, (char *const *)rows[i].words, NULL, &err), 0);
		masked = prefs_flags_masked(v, &err);
		if (!rows[i].masked) {
			assert_null(masked);
			assert_non_null(strstr(err.text, rows[i].says));
			continue;
		}
		wanted = json_loads(rows[i].masked, 0, NULL);
		if (!json_equal(masked, wanted))
			fail_msg("row %zu: %s", i + 1, json_dumps(masked, 0));
		json_decref(masked);
		json_decref(wanted);
	}
}

static void reset_puts_the_rest_back(void **state)
{
	struct flag_value v[PREFS_FLAG_COUNT] = {0};
	struct error err = {0};
	struct prefs p;
	json_t *before, *masked;

	(void)state;
	before = json_loads("{\"Hostname\":\"old\",\"ShieldsUp\":true,\"CorpDNS\":false,"
			    "\"WantRunning\":true}",
			    0, NULL);
	assert_int_equal(prefs_decode(before, &p, &err), 0);
	v[PREFS_RESET] = (struct flag_value){.given = true, .on = true};
	v[PREFS_HOSTNAME] = (struct flag_value){.given = true, .text = "new"};
	masked = prefs_flags_masked(v, &err);
	assert_int_equal(prefs_edit(&p, masked, &err), 0);
	assert_string_equal(p.hostname, "new");
	assert_false(p.shields_up);
	assert_true(p.corp_dns);
	assert_true(p.want_running);
	json_decref(before);
	json_decref(masked);
	prefs_free(&p);
}

static void keys_come_from_files_too(void **state)
{
	char path[] = "/tmp/pillion-key-XXXXXX", word[64];
	struct flag_value v[PREFS_FLAG_COUNT] = {0};
	int fd = mkstemp(path);
	struct error err = {0};
	char *key = NULL;

	(void)state;
	assert_true(fd >= 0);
	snprintf(word, sizeof(word), "file:%s", path);
	v[PREFS_AUTH_KEY] = (struct flag_value){.given = true, .text = word};
	assert_int_equal(prefs_flags_auth_key(v, &key, &err), -EINVAL);
	assert_non_null(strstr(err.text, "empty"));
	assert_int_equal(write(fd, " key-1 \n\n", 9), 9);
	assert_int_equal(prefs_flags_auth_key(v, &key, &err), 0);
	assert_string_equal(key, "key-1");
	secret_string_free(key);
	close(fd);
	unlink(path);
	assert_int_equal(prefs_flags_auth_key(v, &key, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	v[PREFS_AUTH_KEY].text = "key-2";
	assert_int_equal(prefs_flags_auth_key(v, &key, &err), 0);
	assert_string_equal(key, "key-2");
	secret_string_free(key);
	v[PREFS_AUTH_KEY].given = false;
	assert_int_equal(prefs_flags_auth_key(v, &key, &err), 0);
	assert_null(key);
}

static void daemon_flags_become_options(void **state)
{
	static const struct {
		const char *words[WORDS_MAX];
		const char *says; /* NULL: accepted */
	} rows[] = {
		/* 1 */ {{"--statedir=/s", "--port=41641", "--tun=ts0"}, NULL},
		/* 2 */ {{"--port=65536"}, "0 to 65535"},
		/* 3 */ {{"--port=-1"}, "0 to 65535"},
		/* 4 */ {{"--tun="}, "not a valid name of an interface"},
		/* 5 */ {{"--tun=sixteen-and-more"}, "not a valid name of an interface"},
		/* 6 */ {{"--tun=a/b"}, "not a valid name of an interface"},
		/* 7 */ {{"--tun=userspace-networking"}, "kernel interface"},
		/* 8 */ {{"--state=mem:"}, NULL},
		/* 9 */ {{"--state=kube:x"}, "mem:"},
		/* 10 */ {{"--state=/d/other.state"}, "tailscaled.state"},
		/* 11 */ {{"--state=/tailscaled.state"}, "tailscaled.state"},
		/* 12 */ {{"--mtu=1000"}, "1280 to 65535"},
		/* 13 */ {{"--table=0"}, "1 to"},
		/* 14 */ {{"--log-level=loud"}, "error|warn|info|debug"},
		/* 15 */ {{"--log-format=xml"}, "text|json"},
		/* 16 */ {{"--health=[::]:1", "--metrics=[::]:2"}, "share one listener"},
		/* 17 */ {{"--engine-uid=0"}, "1 to"},
		/* 18 */ {{"--table=252"}, NULL},
		/* 19 */ {{"--table=253"}, "table of the system"},
		/* 20 */ {{"--table=255"}, "table of the system"},
		/* 21 */ {{"--allow-routes=10.0.0.0/8,fd00::/8"}, NULL},
		/* 22 */ {{"--allow-routes=none"}, NULL},
		/* 23 */ {{"--allow-routes=all", "--allow-exit-node"}, NULL},
		/* 24 */ {{"--allow-routes=some"}, "prefixes with commas"},
		/* 25 */ {{"--allow-routes=10.0.0.0/8,"}, "prefixes with commas"},
		/* 26 */ {{"--tailnet-prefix=10.99.0.0/16"}, NULL},
		/* 27 */ {{"--tailnet-prefix=0.0.0.0/0"}, "can't be the pool"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct flag_value v[DAEMON_FLAG_COUNT] = {0};
		struct flag_group group = {"", daemon_flags, v, DAEMON_FLAG_COUNT};
		struct flag_reader reader = {&group, 1, FLAGS_COMMAND_LINE, "test", warn};
		struct supervisor_options o;
		struct error err = {0};
		int argc = 0, r;

		while (rows[i].words[argc])
			argc++;
		supervisor_options_init(&o);
		r = flags_parse(&reader, argc, (char *const *)rows[i].words, NULL, &err);
		if (r == 0)
			r = daemon_flags_apply(v, true, warn, &o, &err);
		if (r != (rows[i].says ? -EINVAL : 0) || (r < 0 && !strstr(err.text, rows[i].says)))
			fail_msg("row %zu: %d %s", i + 1, r, err.text);
		if (i == 0) {
			assert_string_equal(o.state_dir, "/s");
			assert_int_equal(o.udp_port, 41641);
			assert_string_equal(o.start.tun_name, "ts0");
		}
		assert_true(o.start.allow_exit_node == (i == 22));
		if (i == 20)
			assert_string_equal(o.start.allow_routes, "10.0.0.0/8,fd00::/8");
		if (i == 21)
			assert_string_equal(o.start.allow_routes, "");
		if (i == 22)
			assert_null(o.start.allow_routes);
		if (i == 25)
			assert_string_equal(o.start.tailnet_ranges, "10.99.0.0/16");
		if (i == 7)
			assert_int_equal(o.start.state_mode, START_STATE_MEMORY);
		privsep_start_clear(&o.start);
	}
}

static void the_official_state_path_names_its_folder(void **state)
{
	struct flag_value v[DAEMON_FLAG_COUNT] = {
		[DAEMON_STATE] = {.given = true, .text = "/var/x/tailscaled.state"}};
	struct supervisor_options o;
	struct error err = {0};

	(void)state;
	supervisor_options_init(&o);
	assert_int_equal(daemon_flags_apply(v, true, warn, &o, &err), 0);
	assert_string_equal(o.state_dir, "/var/x");
	privsep_start_clear(&o.start);
	/* In a variable userspace networking is only passed over. */
	supervisor_options_init(&o);
	memset(v, 0, sizeof(v));
	v[DAEMON_TUN] = (struct flag_value){.given = true, .text = "userspace-networking"};
	warnings = 0;
	assert_int_equal(daemon_flags_apply(v, false, warn, &o, &err), 0);
	assert_int_equal(warnings, 1);
	assert_null(o.start.tun_name);
	assert_int_equal(daemon_options_finish(&o, &err), 0);
	assert_string_equal(o.start.tun_name, "tailscale0");
	assert_string_equal(o.state_dir, DEFAULT_STATE_DIR);
	privsep_start_clear(&o.start);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_those_of_go),
		cmocka_unit_test(the_nearest_name_is_found),
		cmocka_unit_test(flags_are_read_as_go_reads_them),
		cmocka_unit_test(arguments_may_stand_between_flags),
		cmocka_unit_test(every_flag_of_a_table_has_a_name_of_its_own),
		cmocka_unit_test(all_official_flags_are_known),
		cmocka_unit_test(settings_become_masked_prefs),
		cmocka_unit_test(reset_puts_the_rest_back),
		cmocka_unit_test(keys_come_from_files_too),
		cmocka_unit_test(daemon_flags_become_options),
		cmocka_unit_test(the_official_state_path_names_its_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
