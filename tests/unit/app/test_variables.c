/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/app/test_variables.c - the TS_* table, and the supervisor's options from it */
#include "app/entrypoint/entry_options.h"
#include "app/entrypoint/variables.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "unit/unit.h"

#include <unistd.h>

#define ENVIRONMENT_MAX 8

static char warnings[4096];

static void warn(const char *text)
{
	strncat(warnings, text, sizeof(warnings) - strlen(warnings) - 2);
	strcat(warnings, "\n");
}

static int make(const char *const *environment, struct entry_settings *s, struct entry_options *o,
		struct error *err)
{
	int r;

	warnings[0] = 0;
	r = variables_read((char *const *)environment, warn, s, err);
	if (r < 0)
		return r;
	r = entry_options_make(s, false, warn, o, err);
	if (r < 0)
		variables_clear(s);
	return r;
}

static void what_contradicts_or_cannot_be_is_refused(void **state)
{
	static const struct {
		const char *environment[ENVIRONMENT_MAX];
		const char *says; /* NULL: accepted */
	} rows[] = {
		/* 1 */ {{"HOME=/", "TS_HOSTNAME=web"}, NULL},
		/* 2 */ {{"TS_HOSTNAME=a b"}, "hostname 'a b'"},
		/* 3 */ {{"TS_LOGIN_SERVER=vpn.example.com"}, "login server 'vpn.example.com'"},
		/* 4 */
		{{"TS_LOGIN_SERVER=https://a", "TS_EXTRA_ARGS=--login-server=https://b"},
		 "TS_LOGIN_SERVER says https://a"},
		/* 5 */
		{{"TS_LOGIN_SERVER=https://a", "TS_EXTRA_ARGS=--login-server=https://a"}, NULL},
		/* 6 */ {{"TS_AUTHKEY=a", "TS_AUTH_KEY=b"}, "TS_AUTH_KEY"},
		/* 7 */ {{"TS_AUTHKEY=a", "TS_AUTH_KEY=a"}, NULL},
		/* 8 */ {{"TS_AUTHKEY=a", "TS_AUTHKEY_FILE=/f"}, "both set"},
		/* 9 */ {{"TS_AUTHKEY_FILE=/nonexistent/key"}, "/nonexistent/key"},
		/* 10 */ {{"TS_AUTHKEY=file:/nonexistent/key"}, "/nonexistent/key"},
		/* 11 */ {{"TS_AUTHKEY=a", "TS_EXTRA_ARGS=--authkey=b"}, "two different"},
		/* 12 */ {{"TS_AUTHKEY=tskey-client-x"}, "OAuth"},
		/* 13 */ {{"TS_AUTHKEY=a b"}, "space"},
		/* 14 */ {{"TS_EXTRA_ARGS=--hostnme=x"}, "did you mean --hostname?"},
		/* 15 */ {{"TS_EXTRA_ARGS=  --hostname=x \t--shields-up\n"}, NULL},
		/* 16 */ {{"TS_EXTRA_ARGS=--help"}, "remove it"},
		/* 17 */ {{"TS_EXTRA_ARGS=x"}, "takes no argument"},
		/* 18 */ {{"TS_TAILSCALED_EXTRA_ARGS=--prot=1"}, "did you mean --port?"},
		/* 19 */ {{"TS_TAILSCALED_EXTRA_ARGS=--port=1 --no-logs-no-support"}, NULL},
		/* 20 */ {{"TS_BOOT_TIMEOUT=60"}, "TS_BOOT_TIMEOUT=60"},
		/* 21 */ {{"TS_BOOT_TIMEOUT=60s"}, NULL},
		/* 22 */
		{{"TS_ENABLE_HEALTH_CHECK=true", "TS_LOCAL_ADDR_PORT=localhost:80"},
		 "TS_LOCAL_ADDR_PORT"},
		/* 23: parsed only when its feature is on */
		{{"TS_LOCAL_ADDR_PORT=localhost:80"}, NULL},
		/* 24 */
		{{"TS_ENABLE_HEALTH_CHECK=true", "TS_HEALTHCHECK_ADDR_PORT=[::]:1"},
		 "TS_HEALTHCHECK_ADDR_PORT"},
		/* 25 */ {{"TS_DEBUG_MTU=1000"}, "1280 to 65535"},
		/* 26 */ {{"TS_DEBUG_MTU=x"}, "a number from"},
		/* 27 */ {{"TS_EXTRA_ARGS=--operator=nobody-has-this-name"}, "/etc/passwd"},
		/* 28 */ {{"TS_CA_FILE=/a", "TS_TAILSCALED_EXTRA_ARGS=--ca-file=/b"}, "TS_CA_FILE"},
		/* 29: set but empty is unset */ {{"TS_BOOT_TIMEOUT=", "TS_AUTHKEY="}, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct entry_settings s;
		struct entry_options o;
		struct error err = {0};
		int r = make(rows[i].environment, &s, &o, &err);

		if ((r < 0) != (rows[i].says != NULL) || (r < 0 && !strstr(err.text, rows[i].says)))
			fail_msg("row %zu: %d %s", i + 1, r, err.text);
		if (r == 0) {
			entry_options_clear(&o);
			variables_clear(&s);
		}
	}
}

static void what_is_passed_over_is_named(void **state)
{
	static const struct {
		const char *variable;
		const char *says; /* NULL: no warning */
	} rows[] = {
		/* 1 */ {"TS_AUTH=x", "TS_AUTH is unknown and ignored; did you mean TS_AUTHKEY?"},
		/* 2 */ {"TS_SERVER_CONFIG=x", "did you mean TS_SERVE_CONFIG?"},
		/* 3 */ {"TS_TAILSCALED_EXTRA_ARG=x", "did you mean TS_TAILSCALED_EXTRA_ARGS?"},
		/* 4 */ {"TS_ROUTES=10.0.0.0/8", "TS_ROUTES is not supported yet"},
		/* 5 */ {"TS_KUBE_SECRET=x", "TS_STATE_DIR"},
		/* 6 */ {"TS_ROUTES=", NULL},
		/* 7 */ {"TS_USERSPACE=no", "neither true nor false"},
		/* 8 */ {"TS_NO_LOGS_NO_SUPPORT=true", NULL},
		/* 9 */ {"TS_QUITE_ANOTHER_THING=x", "TS_QUITE_ANOTHER_THING is unknown"},
		/* 10 */ {"TSX=1", NULL},
		/* 11 */ {"TS_EXTRA_ARGS=--ssh", "TS_EXTRA_ARGS: --ssh is not supported yet"},
		/* 12 */
		{"TS_TAILSCALED_EXTRA_ARGS=--tun=userspace-networking", "kernel interface"},
		/* 13 */ {"TS_EXTRA_ARGS=--accept-risk=all", NULL},
		/* 14 */ {"TS_TAILSCALED_EXTRA_ARGS=--socks5-server=:1080", "kernel interface"},
		/* 15 */ {"TS_DEST_IP=10.0.0.5", "TCPForward in TS_SERVE_CONFIG"},
		/* 16 */ {"TS_SSH_IDLE_TIMEOUT=1m", "this node runs no SSH server"},
		/* 17 */ {"TS_DEBUG_ACME=true", NULL},
		/* 18 */ {"TS_DISABLE_PORTMAPPER=true", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *environment[] = {rows[i].variable, NULL};
		struct entry_settings s;
		struct entry_options o;
		struct error err = {0};

		if (make(environment, &s, &o, &err) != 0)
			fail_msg("row %zu: %s", i + 1, err.text);
		if (rows[i].says ? !strstr(warnings, rows[i].says) : warnings[0] != 0)
			fail_msg("row %zu: %s", i + 1, warnings);
		entry_options_clear(&o);
		variables_clear(&s);
	}
}

static void variables_become_options(void **state)
{
	char path[] = "/tmp/pillion-key-XXXXXX", key[64];
	const char *const environment[] = {
		key,
		"TS_HOSTNAME=web",
		"TS_STATE_DIR=/state",
		"TS_SOCKET=/run/x.sock",
		"TS_ENABLE_HEALTH_CHECK=true",
		"TS_LOCAL_ADDR_PORT=::1:41234",
		"TS_LOCAL_HOSTS=app.example,other",
		"TS_AUTH_ONCE=true",
		"TS_BOOT_TIMEOUT=1m30s",
		"TS_LOGIN_SERVER=https://vpn.example.com",
		"TS_CA_FILE=/ca.pem",
		"TS_TAILNET_PREFIX=10.99.0.0/16",
		"TS_EXTRA_ARGS=--accept-routes=false --hostname=later --advertise-tags=web --qr",
		"TS_TAILSCALED_EXTRA_ARGS=--verbose=1 --port 7",
		NULL,
	};
	int fd = mkstemp(path);
	struct entry_settings s;
	struct entry_options o;
	struct error err = {0};
	json_t *masked;

	(void)state;
	assert_int_equal(write(fd, "key\n", 4), 4);
	snprintf(key, sizeof(key), "TS_AUTHKEY=file:%s", path);
	if (make(environment, &s, &o, &err) != 0)
		fail_msg("%s", err.text);
	assert_string_equal(warnings, "");
	assert_string_equal(o.supervisor.state_dir, "/state");
	assert_string_equal(o.supervisor.socket_path, "/run/x.sock");
	assert_string_equal(o.supervisor.health_address, "[::1]:41234");
	assert_true(o.supervisor.start.health_check);
	assert_non_null(strstr(o.supervisor.start.health_names, ",app.example,other"));
	assert_false(o.supervisor.start.metrics);
	assert_true(o.supervisor.start.auth_key_present);
	assert_non_null(o.supervisor.show_login);
	assert_int_equal(o.supervisor.boot_timeout, 90 * NSEC_PER_SEC);
	assert_int_equal(o.supervisor.udp_port, 7);
	assert_int_equal(o.supervisor.start.log_level, LOG_DEBUG);
	assert_string_equal(o.supervisor.ca_file, "/ca.pem");
	assert_string_equal(o.supervisor.start.tailnet_ranges, "10.99.0.0/16");
	assert_string_equal(o.supervisor.start.allow_routes, ""); /* nobody overrules that no */
	assert_string_equal(o.supervisor.auth_key_file, path);
	assert_null(o.supervisor.auth_key);
	masked = json_loads(o.supervisor.start.prefs, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(masked, "Hostname")), "later");
	assert_string_equal(json_string_value(json_object_get(masked, "ControlURL")),
			    "https://vpn.example.com");
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(masked, "AdvertiseTags"), 0)),
		"tag:web");
	assert_null(json_object_get(masked, "CorpDNSSet"));
	json_decref(masked);

	/* The path survives that the variable it stood in is wiped. */
	memset(key, 'x', strlen(key));
	assert_string_equal(o.supervisor.auth_key_file, path);
	entry_options_clear(&o);
	variables_clear(&s);
	close(fd);
	unlink(path);
}

static void health_listens_where_it_is_told(void **state)
{
	static const struct {
		const char *environment[ENVIRONMENT_MAX];
		bool health, metrics;
		const char *address;
	} rows[] = {
		/* 1 */ {{"TS_ENABLE_HEALTH_CHECK=1"}, true, false, "[::]:9002"},
		/* 2 */
		{{"TS_ENABLE_METRICS=1", "TS_LOCAL_ADDR_PORT=127.0.0.1:1"},
		 false,
		 true,
		 "127.0.0.1:1"},
		/* 3 */ {{"TS_HEALTHCHECK_ADDR_PORT=127.0.0.1:2"}, true, false, "127.0.0.1:2"},
		/* 4 */
		{{"TS_TAILSCALED_EXTRA_ARGS=--health=127.0.0.1:3"}, true, false, "127.0.0.1:3"},
		/* 5 */ {{"TS_ENABLE_HEALTH_CHECK=false"}, false, false, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct entry_settings s;
		struct entry_options o;
		struct error err = {0};

		if (make(rows[i].environment, &s, &o, &err) != 0)
			fail_msg("row %zu: %s", i + 1, err.text);
		assert_int_equal(o.supervisor.start.health_check, rows[i].health);
		assert_int_equal(o.supervisor.start.metrics, rows[i].metrics);
		if (rows[i].address)
			assert_string_equal(o.supervisor.health_address, rows[i].address);
		entry_options_clear(&o);
		variables_clear(&s);
	}
}

static const char *names[128];
static size_t name_count;

static void take_name(const char *name, const char *text)
{
	assert_true(strncmp(name, "TS_", 3) == 0);
	assert_non_null(text);
	for (size_t i = 0; i < name_count; i++)
		assert_string_not_equal(name, names[i]);
	assert_true(name_count < ARRAY_SIZE(names));
	names[name_count++] = name;
}

static void rows_of_the_table_are_distinct(void **state)
{
	(void)state;
	variables_each(take_name);
	assert_true(name_count > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_contradicts_or_cannot_be_is_refused),
		cmocka_unit_test(what_is_passed_over_is_named),
		cmocka_unit_test(variables_become_options),
		cmocka_unit_test(health_listens_where_it_is_told),
		cmocka_unit_test(rows_of_the_table_are_distinct),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
