/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/services/test_funnel.c - what an ingress node asks for, and whether it is funnelled */
#include "unit/unit.h"

#include "services/funnel.h"

#define OK_SOURCE "Tailscale-Ingress-Src: 203.0.113.7:50000\r\n"
#define OK_TARGET "Tailscale-Ingress-Target: app.tail.ts.net:443\r\n"

static const char *ask(const char *method, const char *headers, struct funnel_request *ret,
		       int *ret_status)
{
	struct http1_parser p;
	const char *why;
	char text[2048];
	size_t used;

	snprintf(text, sizeof(text), "%s /v0/ingress HTTP/1.1\r\nHost: peer\r\n%s\r\n", method,
		 headers);
	http1_parser_init(&p, false);
	assert_int_equal(http1_parse(&p, (const uint8_t *)text, strlen(text), &used), HTTP1_HEAD);
	why = funnel_request_read(&p.head, ret, ret_status);
	http1_parser_free(&p);
	return why;
}

static void test_good_requests(void **state)
{
	char source[ENDPOINT_TEXT_MAX];
	struct funnel_request request;
	int status;

	(void)state;
	assert_null(ask("POST", OK_SOURCE OK_TARGET, &request, &status));
	assert_string_equal(endpoint_format(&request.source, source), "203.0.113.7:50000");
	assert_string_equal(request.host, "app.tail.ts.net");
	assert_int_equal(request.port, 443);
	assert_null(ask("POST",
			"tailscale-ingress-src: [2001:db8::1]:1\r\n"
			"TAILSCALE-INGRESS-TARGET: A:65535\r\n",
			&request, &status));
	assert_string_equal(endpoint_format(&request.source, source), "[2001:db8::1]:1");
	assert_string_equal(request.host, "A");
	assert_int_equal(request.port, 65535);
}

static void test_bad_requests(void **state)
{
	static const struct {
		const char *method, *headers;
		int status;
		const char *says;
	} rows[] = {
		/* 1 */ {"GET", OK_SOURCE OK_TARGET, 405, "only POST"},
		/* 2 */ {"POST", OK_TARGET, 400, "Src header not set"},
		/* 3 */ {"POST", OK_SOURCE, 400, "Target header not set"},
		/* 4 */ {"POST", "Tailscale-Ingress-Src: \r\n" OK_TARGET, 400, "not set"},
		/* 5 */ {"POST", OK_SOURCE OK_SOURCE OK_TARGET, 400, "Src header not set"},
		/* 6 */ {"POST", OK_SOURCE OK_TARGET OK_TARGET, 400, "Target header not set"},
		/* 7 */ {"POST", "Tailscale-Ingress-Src: a.b:1\r\n" OK_TARGET, 400, "ip:port"},
		/* 8 */ {"POST", "Tailscale-Ingress-Src: 1.2.3.4\r\n" OK_TARGET, 400, "ip:port"},
		/* 9 */ {"POST", "Tailscale-Ingress-Src: 1.2.3.4:0\r\n" OK_TARGET, 400, "ip:port"},
		/* 10 */ {"POST", "Tailscale-Ingress-Src: ::1:5\r\n" OK_TARGET, 400, "ip:port"},
		/* 11 */ {"POST", OK_SOURCE "Tailscale-Ingress-Target: a\r\n", 400, "host:port"},
		/* 12 */ {"POST", OK_SOURCE "Tailscale-Ingress-Target: :443\r\n", 400, "host:port"},
		/* 13 */ {"POST", OK_SOURCE "Tailscale-Ingress-Target: a:\r\n", 400, "host:port"},
		/* 14 */ {"POST", OK_SOURCE "Tailscale-Ingress-Target: a:0\r\n", 400, "host:port"},
		/* 15 */
		{"POST", OK_SOURCE "Tailscale-Ingress-Target: a:+443\r\n", 400, "host:port"},
		/* 16 */
		{"POST", OK_SOURCE "Tailscale-Ingress-Target: a:65536\r\n", 400, "host:port"},
		/* 17 */
		{"POST", OK_SOURCE "Tailscale-Ingress-Target: a:18446744073709552059\r\n", 400,
		 "host:port"},
		/* 18 */
		{"POST", OK_SOURCE "Tailscale-Ingress-Target: ::1:443\r\n", 400, "host:port"},
		/* 19 */
		{"POST", OK_SOURCE "Tailscale-Ingress-Target: a:443 \t b\r\n", 400, "host"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct funnel_request request;
		int status = 0;
		const char *why = ask(rows[i].method, rows[i].headers, &request, &status);

		if (!why || !strstr(why, rows[i].says) || status != rows[i].status)
			fail_msg("row %zu: %d %s", i + 1, status, why ?: "taken");
	}
}

static void test_what_is_funnelled(void **state)
{
	static const char json[] =
		"{\"TCP\":{\"443\":{\"HTTPS\":true},\"8443\":{\"TCPForward\":\"127.0.0.1:1\"},"
		"\"80\":{\"HTTP\":true},\"444\":{\"HTTPS\":true}},"
		"\"AllowFunnel\":{\"App.tail.ts.net:443\":true,\"app.tail.ts.net:8443\":true,"
		"\"app.tail.ts.net:80\":true,\"app.tail.ts.net:444\":true,"
		"\"app.tail.ts.net:10000\":true,\"half.tail.ts.net:8443\":true,"
		"\"off.tail.ts.net:443\":false}}";
	static const struct {
		struct funnel_request request;
		int status; /* 0: taken */
	} rows[] = {
		/* 1 */ {{.host = "app.tail.ts.net", .port = 443}, 0},
		/* 2 */ {{.host = "APP.tail.ts.net", .port = 8443}, 0},
		/* 3: proofs for a certificate, since port 443 is funnelled */
		{{.host = "app.tail.ts.net", .port = 80}, 0},
		/* 4 */ {{.host = "app.tail.ts.net", .port = 444}, 403},
		/* 5: nothing is served */ {{.host = "app.tail.ts.net", .port = 10000}, 403},
		/* 6 */ {{.host = "off.tail.ts.net", .port = 443}, 403},
		/* 7 */ {{.host = "app.tail.ts.net.", .port = 443}, 403},
		/* 8 */ {{.host = "", .port = 443}, 403},
		/* 9: no proof without a funnelled port 443 */
		{{.host = "off.tail.ts.net", .port = 80}, 403},
		/* 10 */ {{.host = "half.tail.ts.net", .port = 80}, 403},
	};
	struct serving serving = {.holds = 1};
	struct services services = {.serving = &serving, .connections_max = 100};
	struct error err;
	int status;

	(void)state;
	assert_int_equal(serve_config_parse(json, strlen(json), NULL, &serving.config, &err), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *why = funnel_check(&services, &rows[i].request, &status);

		if (!why != !rows[i].status || (why && status != rows[i].status))
			fail_msg("row %zu: %s", i + 1, why ?: "taken");
	}
	services.funnels = 50;
	services.connections = 50;
	assert_non_null(funnel_check(&services, &rows[0].request, &status));
	assert_int_equal(status, 503);
	services.funnels = 1;
	services.connections = 100;
	assert_non_null(funnel_check(&services, &rows[0].request, &status));
	assert_int_equal(status, 503);
	serve_config_free(&serving.config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_requests),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_what_is_funnelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
