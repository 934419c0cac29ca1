/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/services/test_pauses.c - pauses after failed orders, as they are stored */
#include "unit/unit.h"

#include "services/certs/pauses.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#define DIRECTORY "https://ca.example/dir"

static const struct pause row = {3, 1000, 900, false, DIRECTORY, "setup", "it is closed"};

static void test_a_row_is_found_again(void **state)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(PAUSES_TEXT_MAX);
	struct pauses *p = pauses_read("", 0);
	struct pause found;

	(void)state;
	assert_int_equal(pauses_put(p, "a.example", &row), 0);
	assert_int_equal(pauses_write(p, &text), 0);
	pauses_free(p);
	p = pauses_read((char *)buffer_head(&text), text.length);
	assert_true(pauses_find(p, "a.example", DIRECTORY, &found));
	assert_int_equal(found.failures, 3);
	assert_int_equal(found.begun, 1000);
	assert_int_equal(found.length, 900);
	assert_string_equal(found.problem, "it is closed");
	assert_false(pauses_find(p, "a.example", "https://other.example/", &found));
	assert_false(pauses_find(p, "b.example", DIRECTORY, &found));
	assert_true(pauses_remove(p, "a.example"));
	assert_false(pauses_remove(p, "a.example"));
	pauses_free(p);
}

static void test_what_is_left(void **state)
{
	struct pause busy = row, often = row, day = row;

	(void)state;
	busy.busy = true;
	often.failures = 5;
	day.failures = 5;
	day.length = 86400;
	assert_int_equal(pause_left(&row, "setup", 1000), 900);
	assert_int_equal(pause_left(&row, "setup", 1899), 1);
	assert_int_equal(pause_left(&row, "setup", 1900), 0);
	assert_int_equal(pause_left(&row, "setup", 10), 900); /* the clock was wrong */
	assert_int_equal(pause_left(&row, "another", 1000), 0);
	assert_int_equal(pause_left(&busy, "another", 1000), 900);
	assert_int_equal(pause_left(&often, "another", 1000), 720);
	assert_int_equal(pause_left(&day, "another", 1720), 0);
	assert_int_equal(pause_left(&day, "setup", 1720), 86400 - 720);
}

static void test_damaged_texts(void **state)
{
	static const char *const texts[] = {
		"[]",
		"{\"a\": 1, \"a\": 2}",
		"{\"a.example\": 7}",
		"{\"a.example\": {\"failures\": -7, \"begun\": \"x\", \"pause\": 1e99, "
		"\"directory\": \"" DIRECTORY "\"}}",
		"{\"a.example\": {\"failures\": 9999999999, \"pause\": 9999999999999, "
		"\"directory\": \"" DIRECTORY "\"}}",
		"{",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct pauses *p = pauses_read(texts[i], strlen(texts[i]));
		struct pause found = {0};

		assert_non_null(p);
		if (pauses_find(p, "a.example", DIRECTORY, &found)) {
			assert_in_range(found.length, 0, 48 * 3600);
			assert_in_range(found.failures, 0, 1000);
			assert_in_range(pause_left(&found, "", 5), 0, 48 * 3600);
		}
		assert_int_equal(pauses_put(p, "a.example", &row), 0);
		assert_true(pauses_find(p, "a.example", DIRECTORY, &found));
		pauses_free(p);
	}
}

/* Names change; a text that is no UTF-8 costs its row the text only. */
static void test_many_rows(void **state)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(PAUSES_TEXT_MAX);
	struct pauses *p = pauses_read("{}", 2);
	struct pause r = row, found;
	char domain[32];

	(void)state;
	for (unsigned int i = 0; i < 3 * PAUSES_MAX; i++) {
		snprintf(domain, sizeof(domain), "n%u.example", i);
		r.begun = 1000 + i;
		assert_int_equal(pauses_put(p, domain, &r), 0);
	}
	assert_false(pauses_find(p, "n0.example", DIRECTORY, &found));
	assert_false(pauses_find(p, "n63.example", DIRECTORY, &found));
	assert_true(pauses_find(p, "n64.example", DIRECTORY, &found));
	r.problem = "\xff";
	assert_int_equal(pauses_put(p, domain, &r), 0);
	assert_true(pauses_find(p, domain, DIRECTORY, &found));
	assert_string_equal(found.problem, "");
	assert_int_equal(pauses_write(p, &text), 0);
	pauses_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_row_is_found_again),
		cmocka_unit_test(test_what_is_left),
		cmocka_unit_test(test_damaged_texts),
		cmocka_unit_test(test_many_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
