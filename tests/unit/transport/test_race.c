/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_race.c - racing candidates under virtual time */
#include "transport/race.h"
#include "unit/unit.h"

static void candidates_start_a_while_apart(void **state)
{
	struct race r;

	(void)state;
	race_init(&r, 3, 250);
	assert_int_equal(race_next(&r, 1000), 0);
	assert_int_equal(race_next(&r, 1000), RACE_NONE);
	assert_int_equal(r.next, 1250);
	assert_int_equal(race_next(&r, 1249), RACE_NONE);
	assert_int_equal(race_next(&r, 1250), 1);
	assert_int_equal(race_next(&r, 1500), 2);
	assert_int_equal(race_next(&r, 99999), RACE_NONE);
	assert_int_equal(r.next, DEADLINE_NEVER);
}

static void a_failure_starts_the_next_at_once(void **state)
{
	struct race r;

	(void)state;
	race_init(&r, 2, 250);
	assert_int_equal(race_next(&r, 1), 0);
	race_failed(&r, 7);
	assert_int_equal(race_next(&r, 7), 1);
	assert_false(race_lost(&r));
	race_failed(&r, 8);
	assert_int_equal(r.next, DEADLINE_NEVER);
	assert_true(race_lost(&r));
	race_init(&r, 0, 250);
	assert_int_equal(race_next(&r, 1), RACE_NONE);
	assert_true(race_lost(&r));
}

static void families_alternate(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		/* 1 */ {"444", "444"},
		/* 2 */ {"446", "644"},
		/* 3 */ {"4466", "6464"},
		/* 4 */ {"66664", "64666"},
		/* 5 */ {"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct address a[8] = {0};
		uint8_t last[2] = {0};
		size_t n = strlen(rows[i].in);

		for (size_t k = 0; k < n; k++) {
			a[k].family = (uint8_t)(rows[i].in[k] - '0');
			a[k].bytes[0] = (uint8_t)(k + 1);
		}
		race_order(a, n);
		for (size_t k = 0; k < n; k++) {
			uint8_t *before = &last[a[k].family == ADDRESS_V6];

			assert_int_equal(a[k].family, rows[i].out[k] - '0');
			assert_true(a[k].bytes[0] > *before); /* the order within a family stays */
			*before = a[k].bytes[0];
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(candidates_start_a_while_apart),
		cmocka_unit_test(a_failure_starts_the_next_at_once),
		cmocka_unit_test(families_alternate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
