/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_serve_config.c - the official JSON of served ports */
#include "unit/unit.h"

#include "wire/serve_config.h"

static const char usual[] =
	"{\"TCP\": {\"443\": {\"HTTPS\": true}, \"80\": {\"HTTP\": true},"
	" \"5432\": {\"TCPForward\": \"127.0.0.1:5432\", \"ProxyProtocol\": 2},"
	" \"8443\": {\"TCPForward\": \"db:1\", \"TerminateTLS\": \"${TS_CERT_DOMAIN}\"}},"
	" \"Web\": {\"${TS_CERT_DOMAIN}:443\": {\"Handlers\": {"
	"   \"/\": {\"Proxy\": \"http://127.0.0.1:8080\"},"
	"   \"/api/\": {\"Proxy\": \"https+insecure://10.0.0.1/base/\"},"
	"   \"/api/v2\": {\"Proxy\": \"3000\", \"AcceptAppCaps\": [\"example.com/cap\"]},"
	"   \"/text\": {\"Text\": \"hello\"},"
	"   \"/gone\": {\"Redirect\": \"301:https://example.com${REQUEST_URI}\"},"
	"   \"/files\": {\"Path\": \"/srv\"}}}},"
	" \"AllowFunnel\": {\"app.tail.ts.net:443\": true}}";

static int parse(const char *json, struct serve_config *ret, struct error *err)
{
	return serve_config_parse(json, strlen(json), "app.tail.ts.net", ret, err);
}

static void test_the_usual(void **state)
{
	struct serve_config c;
	struct error err = {0};
	const struct serve_port *port;
	const struct serve_site *site;
	const struct serve_handler *handler;
	const char *rest;

	(void)state;
	assert_int_equal(parse(usual, &c, &err), 0);
	assert_string_equal(c.warnings, "");
	assert_int_equal(c.port_count, 4);
	assert_int_equal(serve_config_port(&c, 443)->protocol, SERVE_HTTPS);
	assert_int_equal(serve_config_port(&c, 80)->protocol, SERVE_HTTP);
	assert_null(serve_config_port(&c, 8080));
	assert_true(serve_config_uses_tls(&c));
	port = serve_config_port(&c, 5432);
	assert_int_equal(port->protocol, SERVE_TCP);
	assert_int_equal(port->proxy_line, 2);
	assert_string_equal(c.targets[port->target].host, "127.0.0.1");
	assert_int_equal(c.targets[port->target].port, 5432);
	port = serve_config_port(&c, 8443);
	assert_int_equal(port->protocol, SERVE_TLS_TCP);
	assert_string_equal(port->server_name, "app.tail.ts.net");

	site = serve_config_site(&c, "APP.tail.ts.net", 443, NULL);
	assert_non_null(site);
	assert_true(serve_config_funnels(&c, "APP.tail.ts.net", 443));
	assert_false(serve_config_funnels(&c, "app.tail.ts.net", 8443));
	assert_false(serve_config_funnels(&c, "app.tail.ts.ne", 443));
	assert_true(c.names_funnel);
	assert_ptr_equal(serve_config_site(&c, "app", 443, "tail.ts.net"), site);
	assert_null(serve_config_site(&c, "app", 443, NULL));
	assert_null(serve_config_site(&c, "app.tail.ts.net", 80, NULL));

	handler = serve_site_handler(site, "/api/v2/x", &rest);
	assert_string_equal(handler->mount, "/api/v2");
	assert_string_equal(rest, "/x");
	assert_string_equal(c.targets[handler->target].host, "127.0.0.1");
	assert_int_equal(c.targets[handler->target].port, 3000);
	assert_int_equal(handler->capability_count, 1);
	handler = serve_site_handler(site, "/api/v20", &rest);
	assert_string_equal(handler->mount, "/api");
	assert_string_equal(handler->base, "/base/");
	assert_int_equal(c.targets[handler->target].security, SERVE_TLS_INSECURE);
	assert_int_equal(c.targets[handler->target].port, 443);
	handler = serve_site_handler(site, "/apis", &rest);
	assert_string_equal(handler->mount, "/");
	assert_string_equal(rest, "/apis");
	handler = serve_site_handler(site, "/gone", &rest);
	assert_int_equal(handler->action, SERVE_REDIRECT);
	assert_int_equal(handler->status, 301);
	serve_config_free(&c);
}

static void test_refused(void **state)
{
	static const struct {
		const char *json, *text; /* a part of the error */
	} rows[] = {
		{"", "it is empty"},
		{" \r\n\t", "it is empty"},
		{"\xef\xbb\xbf{}", "byte order mark"},
		{"\xff\xfe{", "UTF-16"},
		{"{\"TCP\": {} // ports", "no comments"},
		{"{'TCP': {}}", "line 1, column 2: string or '}' expected"},
		{"{'TCP': {}}", "(names and texts stand in double quotes)"},
		{"{TCP: {}}", "(names stand in double quotes)"},
		{"[]", "JSON object"},
		{"{\"TCP\": {\"80\": {\"HTTP\": true},}}", "no comma stands"},
		{"{\"TCP\": {}, \"TCP\": {}}", "duplicate"},
		{"{\"TCP\": []}", "TCP must be an object"},
		{"{\"TCP\": {\"0\": {\"HTTP\": true}}}", "TCP.0: "},
		{"{\"TCP\": {\"65536\": {\"HTTP\": true}}}", "not a valid port"},
		{"{\"TCP\": {\"https\": {\"HTTP\": true}}}", "not a valid port"},
		{"{\"TCP\": {\"80\": {\"HTTP\": \"yes\"}}}", "TCP.80: HTTP must be true or false"},
		{"{\"TCP\": {\"80\": {\"HTTP\": true, \"HTTPS\": true}}}", "exactly one"},
		{"{\"TCP\": {\"80\": {}}}", "exactly one"},
		{"{\"TCP\": {\"80\": {\"TCPForward\": \"db\"}}}", "\"db\" is not a valid target"},
		{"{\"TCP\": {\"80\": {\"TCPForward\": \"::1:5\"}}}", "not a valid target"},
		{"{\"TCP\": {\"80\": {\"TCPForward\": \"5\", \"ProxyProtocol\": 3}}}",
		 "ProxyProtocol must be"},
		{"{\"Web\": {\"a\": {\"Handlers\": {}}}}", "HOST:PORT"},
		{"{\"Web\": {\"a/b:1\": {\"Handlers\": {}}}}", "HOST:PORT"},
		{"{\"Web\": {\"a:1\": {\"Handlers\": {\"x\": {\"Text\": \"t\"}}}}}",
		 "Web.a:1.Handlers.x: a mount begins"},
		{"{\"Web\": {\"a:1\": {\"Handlers\": {\"/\": {\"Text\": \"t\", \"Path\": "
		 "\"/\"}}}}}",
		 "exactly one of Proxy"},
		{"{\"Web\": {\"a:1\": {\"Handlers\": {\"/\": {\"Proxy\": \"ftp://x\"}}}}}",
		 "not a valid target"},
		{"{\"Web\": {\"a:1\": {\"Handlers\": {\"/\": {\"Proxy\": \"http://x/?q\"}}}}}",
		 "no query"},
		{"{\"Web\": {\"a:1\": {\"Handlers\": {\"/\": {\"Proxy\": \"unix:sock\"}}}}}",
		 "write unix:/PATH"},
		{"{\"AllowFunnel\": {\"a:1\": 1}}", "true or false"},
		{"{\"AllowFunnel\": {\"a\": true}}", "HOST:PORT"},
		{"{\"AllowFunnel\": {\"a:0\": true}}", "HOST:PORT"},
		{"{\"version\": \"0.0.1\", \"services\": {}}", "set-config"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct serve_config c = {.port_count = 77};
		struct error err = {0};

		if (parse(rows[i].json, &c, &err) != -EINVAL || !strstr(err.text, rows[i].text))
			fail_msg("%s: \"%s\"", rows[i].json, err.text);
		assert_int_equal(c.port_count, 77); /* untouched */
	}
}

static void test_warned_of(void **state)
{
	struct serve_config c;
	struct error err = {0};

	(void)state;
	assert_int_equal(parse("{\"TCP\": {\"80\": {\"HTTP\": true, \"Https\": false}},"
			       " \"web\": {}, \"Web\": {\"a:81\": {\"Handlers\": {}}},"
			       " \"Services\": {\"svc:x\": {}}}",
			       &c, &err),
			 0);
	assert_non_null(strstr(c.warnings, "TCP.80: unknown member \"Https\""));
	assert_non_null(strstr(c.warnings, "unknown member \"web\""));
	assert_non_null(strstr(c.warnings, "Web.a:81: not served"));
	assert_non_null(strstr(c.warnings, "Services are not offered"));
	serve_config_free(&c);
}

static void test_a_name_that_is_not_known_yet(void **state)
{
	struct serve_config c = {0};
	struct error err = {0};

	(void)state;
	assert_int_equal(serve_config_parse(usual, strlen(usual), NULL, &c, &err), -EAGAIN);
	assert_int_equal(serve_config_parse("{}", 2, NULL, &c, &err), 0);
	assert_int_equal(c.port_count, 0);
	serve_config_free(&c);
	/* An editor has emptied the file, and writes it in a moment. */
	assert_int_equal(serve_config_parse(NULL, 0, NULL, &c, &err), -EINVAL);
}

static void test_equal_targets_occur_once(void **state)
{
	struct serve_config c;
	struct error err = {0};

	(void)state;
	assert_int_equal(parse("{\"TCP\": {\"1\": {\"TCPForward\": \"8080\"},"
			       " \"2\": {\"TCPForward\": \"127.0.0.1:8080\"}},"
			       " \"Web\": {\"a:3\": {\"Handlers\": {"
			       " \"/\": {\"Proxy\": \"http://127.0.0.1:8080/x\"}}}}}",
			       &c, &err),
			 0);
	assert_int_equal(c.target_count, 1);
	assert_string_equal(c.sites[0].handlers[0].base, "/x");
	serve_config_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_usual),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_warned_of),
		cmocka_unit_test(test_a_name_that_is_not_known_yet),
		cmocka_unit_test(test_equal_targets_occur_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
