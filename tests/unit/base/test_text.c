/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/base/test_text.c - values written as text; lists that double; token buckets */
#include "base/array.h"
#include "base/cleanup.h"
#include "base/quota.h"
#include "base/secret.h"
#include "base/text.h"
#include "unit/unit.h"

#include <stdlib.h>
#include <string.h>

static void durations_are_read(void **state)
{
	static const struct {
		const char *text;
		int result;
		nanoseconds duration;
	} rows[] = {
		/* 1 */ {"0", 0, 0},
		/* 2 */ {"1m30s", 0, 90 * NSEC_PER_SEC},
		/* 3 */ {"1.5h", 0, 5400 * NSEC_PER_SEC},
		/* 4 */ {"300ms", 0, 300 * NSEC_PER_MSEC},
		/* 5 */ {"-2us", 0, -2000},
		/* 6 */ {"\302\265s", -EINVAL, 0},
		/* 7 */ {"3\302\265s", 0, 3000},
		/* 8 */ {".5s", 0, 500 * NSEC_PER_MSEC},
		/* 9 */ {"1.s", 0, NSEC_PER_SEC},
		/* 10 */ {"1", -EINVAL, 0},
		/* 11 */ {"", -EINVAL, 0},
		/* 12 */ {".s", -EINVAL, 0},
		/* 13 */ {"5 s", -EINVAL, 0},
		/* 14 */ {"99999999999h", -EINVAL, 0},
		/* 15 */ {"+1ns", 0, 1},
		/* 16 */ {"-", -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		nanoseconds duration = 0;
		int r = duration_parse(rows[i].text, strlen(rows[i].text), false, &duration);

		if (r != rows[i].result || duration != rows[i].duration)
			fail_msg("row %zu: %d %lld", i + 1, r, (long long)duration);
	}
}

static void queries_decode(void **state)
{
	static const struct {
		const char *query, *name;
		int result;
		const char *value;
	} rows[] = {
		/* 1 */ {"a=1", "a", 1, "1"},
		/* 2 */ {"a=1&b=2", "b", 1, "2"},
		/* 3 */ {"ab=1", "a", -ENOENT, ""},
		/* 4 */ {"a", "a", -ENOENT, ""},
		/* 5 */ {"a=", "a", 0, ""},
		/* 6 */ {"a=%5B%3a%5D", "a", 3, "[:]"},
		/* 7 */ {"a=x+y", "a", 3, "x y"},
		/* 8 */ {"a=%4", "a", -EINVAL, ""},
		/* 9 */ {"a=%zz", "a", -EINVAL, ""},
		/* 10 */ {"a=%00", "a", -EINVAL, ""},
		/* 11 */ {"a=1234567", "a", 7, "1234567"},
		/* 12 */ {"a=12345678", "a", -EINVAL, ""},
		/* 13 */ {"&&a=1", "a", 1, "1"},
		/* 14 */ {"", "a", -ENOENT, ""},
		/* 15 */ {"a=%0a", "a", -EINVAL, ""},
	};
	char out[8];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int r = form_field(rows[i].query, strlen(rows[i].query), rows[i].name, out,
				   sizeof(out));

		if (r != rows[i].result || strcmp(out, rows[i].value) != 0)
			fail_msg("row %zu: %d '%s'", i + 1, r, out);
	}
}

static void forms_decode(void **state)
{
	static const char form[] = "user=alice%40example.com&key=a+b&end=%41";
	char out[10], large[64];

	(void)state;
	assert_int_equal(form_field(form, strlen(form), "user", out, sizeof(out)), -EINVAL);
	assert_string_equal(out, "");
	assert_int_equal(form_field(form, strlen(form), "user", large, sizeof(large)), 17);
	assert_string_equal(large, "alice@example.com");
	assert_int_equal(form_field(form, strlen(form), "end", out, sizeof(out)), 1);
	assert_string_equal(out, "A");
	assert_int_equal(form_field(form, strlen(form), "se", out, sizeof(out)), -ENOENT);
	assert_int_equal(form_field("&&=&a", 5, "a", out, sizeof(out)), -ENOENT);
	assert_int_equal(percent_decode("a+%62", 5, false, out, sizeof(out)), 3);
	assert_string_equal(out, "a+b");
}

static void booleans_are_those_of_go(void **state)
{
	static const struct {
		const char *text;
		int result;
		bool on;
	} rows[] = {
		/* 1 */ {"1", 0, true},       /* 2 */ {"t", 0, true},
		/* 3 */ {"TRUE", 0, true},    /* 4 */ {"True", 0, true},
		/* 5 */ {"0", 0, false},      /* 6 */ {"False", 0, false},
		/* 7 */ {"yes", -EINVAL, 0},  /* 8 */ {"", -EINVAL, 0},
		/* 9 */ {"tRUE", -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool on = false;

		assert_int_equal(bool_parse(rows[i].text, &on), rows[i].result);
		assert_int_equal(on, rows[i].on);
	}
}

static void texts_and_keys_compare(void **state)
{
	struct secret_key key = {0};

	(void)state;
	assert_true(text_equal(NULL, ""));
	assert_true(text_equal("a", "a"));
	assert_false(text_equal("a", NULL));
	assert_int_equal(hex_digit('f'), 15);
	assert_int_equal(hex_digit('A'), 10);
	assert_int_equal(hex_digit('g'), -1);
	assert_true(secret_key_is_zero(&key));
	key.bytes[31] = 1;
	assert_false(secret_key_is_zero(&key));
}

static void lists_double(void **state)
{
	uint32_t *items = NULL, count = 0;
	uint16_t capacity = 0;

	(void)state;
	for (; count < 9; count++) {
		assert_int_equal(ARRAY_GROW(items, count, capacity), 0);
		items[count] = count;
	}
	assert_int_equal(capacity, 16);
	assert_int_equal(items[8], 8);
	free(items);
}

static void buckets_fill_with_time(void **state)
{
	nanoseconds full_at = 0;

	(void)state;
	assert_true(quota_spend(&full_at, 30, 10, 100));
	assert_true(quota_spend(&full_at, 30, 20, 100));
	assert_false(quota_spend(&full_at, 30, 1, 100));
	assert_true(quota_spend(&full_at, 30, 5, 105));
	assert_false(quota_spend(&full_at, 30, 1, 105));
	assert_false(quota_spend(&full_at, 30, 31, 1000));
	assert_true(quota_spend(&full_at, 30, 30, 1000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_read),
		cmocka_unit_test(queries_decode),
		cmocka_unit_test(forms_decode),
		cmocka_unit_test(booleans_are_those_of_go),
		cmocka_unit_test(texts_and_keys_compare),
		cmocka_unit_test(lists_double),
		cmocka_unit_test(buckets_fill_with_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
