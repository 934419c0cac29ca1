/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/tunnel/test_path_tables.c - which endpoint is better; which of ours are advertised */
#include "tunnel/path/path_internal.h"
#include "unit/unit.h"

static struct endpoint endpoint_text(const char *text)
{
	struct endpoint e = {0};

	if (text)
		assert_int_equal(endpoint_parse(text, strlen(text), &e), 0);
	return e;
}

static void better_endpoints(void **state)
{
	static const struct {
		const char *a;
		int a_ms;
		const char *b;
		int b_ms;
		bool better;
	} rows[] = {
		/* 1: none at all loses */ {"192.0.2.1:1", 100, NULL, 0, true},
		/* 2 */ {NULL, 0, "192.0.2.1:1", 100, false},
		/* 3: itself */ {"192.0.2.1:1", 10, "192.0.2.1:1", 100, false},
		/* 4: half the latency */ {"192.0.2.1:1", 50, "192.0.2.2:1", 100, true},
		/* 5 */ {"192.0.2.1:1", 100, "192.0.2.2:1", 50, false},
		/* 6: one percent is noise */ {"192.0.2.1:1", 99, "192.0.2.2:1", 100, false},
		/* 7: two are not */ {"192.0.2.1:1", 98, "192.0.2.2:1", 100, true},
		/* 8: equal */ {"192.0.2.1:1", 100, "192.0.2.2:1", 100, false},
		/* 9: private is worth 20 percent */ {"10.0.0.1:1", 100, "192.0.2.2:1", 100, true},
		/* 10 */ {"10.0.0.1:1", 100, "192.0.2.2:1", 81, true},
		/* 11: draw, no change */ {"10.0.0.1:1", 100, "192.0.2.2:1", 80, false},
		/* 12 */ {"192.0.2.2:1", 79, "10.0.0.1:1", 100, true},
		/* 13 */ {"192.0.2.2:1", 80, "10.0.0.1:1", 100, false},
		/* 14: IPv6 is worth 10 */ {"[2001:db8::1]:1", 100, "192.0.2.2:1", 91, true},
		/* 15 */ {"[2001:db8::1]:1", 100, "192.0.2.2:1", 90, false},
		/* 16: ULA 30 */ {"[fd00::1]:1", 100, "192.0.2.2:1", 71, true},
		/* 17: link-local 40 with IPv6 */ {"[fe80::1]:1", 100, "192.0.2.2:1", 61, true},
		/* 18: loopback 50 */ {"127.0.0.1:1", 100, "192.0.2.2:1", 51, true},
		/* 19 */ {"127.0.0.1:1", 100, "192.0.2.2:1", 50, false},
		/* 20: unknown latency of an imported best */
		{"192.0.2.1:1", 5, "192.0.2.2:1", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct endpoint a = endpoint_text(rows[i].a), b = endpoint_text(rows[i].b);

		if (path_better(&a, rows[i].a_ms * NSEC_PER_MSEC, &b,
				rows[i].b_ms * NSEC_PER_MSEC) != rows[i].better)
			fail_msg("row %zu", i + 1);
	}
}

/* For no two endpoints and latencies is each better than the other: no flapping. */
static void no_two_are_better_than_each_other(void **state)
{
	static const char *const names[] = {"192.0.2.1:1", "10.0.0.1:1",  "[2001:db8::1]:1",
					    "[fd00::1]:1", "[fe80::1]:1", "127.0.0.1:1"};

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		for (size_t j = 0; j < 6; j++) {
			struct endpoint a = endpoint_text(names[i]), b = endpoint_text(names[j]);

			for (int x = 1; x <= 100; x++)
				for (int y = 1; y <= 100; y++)
					assert_false(path_better(&a, x * NSEC_PER_MSEC, &b,
								 y * NSEC_PER_MSEC) &&
						     path_better(&b, y * NSEC_PER_MSEC, &a,
								 x * NSEC_PER_MSEC));
		}
	}
}

static void advertised_addresses(void **state)
{
	static const struct {
		const char *address;
		bool own_tunnel;
		bool advertised;
	} rows[] = {
		/* 1 */ {"192.0.2.5", false, true},
		/* 2: ours by another interface */ {"192.0.2.5", false, false},
		/* 3 */ {"10.1.2.3", false, true},
		/* 4 */ {"2001:db8::5", false, true},
		/* 5: a tailnet's */ {"100.64.1.1", false, false},
		/* 6 */ {"fd7a:115c:a1e0::7", false, false},
		/* 7 */ {"172.16.0.1", true, false},
		/* 8 */ {"169.254.3.4", false, false},
		/* 9 */ {"fe80::1", false, false},
		/* 10 */ {"127.0.0.1", false, false},
		/* 11 */ {"::1", false, false},
		/* 12 */ {"224.0.0.1", false, false},
		/* 13 */ {"0.0.0.0", false, false},
	};
	struct path_interface_address in[13];
	struct path_endpoint out[13];
	size_t count, expected = 0;

	(void)state;
	for (size_t i = 0; i < 13; i++) {
		in[i].own_tunnel = rows[i].own_tunnel;
		assert_int_equal(
			address_parse(rows[i].address, strlen(rows[i].address), &in[i].address), 0);
	}
	count = path_filter_local(in, 13, 41, 61, out, 13);
	for (size_t i = 0; i < 13; i++) {
		if (!rows[i].advertised)
			continue;
		assert_true(expected < count);
		assert_true(address_equal(&out[expected].endpoint.address, &in[i].address));
		assert_int_equal(out[expected].type, PATH_ENDPOINT_LOCAL);
		assert_int_equal(out[expected].endpoint.port,
				 in[i].address.family == ADDRESS_V4 ? 41 : 61);
		expected++;
	}
	assert_int_equal(count, expected);
	/* Loopback only where there is nothing else; a family without a socket not at all. */
	assert_int_equal(path_filter_local(in + 4, 9, 41, 0, out, 13), 1);
	assert_true(address_is_loopback(&out[0].endpoint.address));
	assert_int_equal(path_filter_local(in, 13, 0, 61, out, 13), 1);
	assert_int_equal(path_filter_local(in, 13, 41, 61, out, 2), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(better_endpoints),
		cmocka_unit_test(no_two_are_better_than_each_other),
		cmocka_unit_test(advertised_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
