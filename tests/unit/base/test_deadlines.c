/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/base/test_deadlines.c - the wheel against a list that is searched */
#include "base/deadlines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 200

static struct deadlines wheel;
static struct deadline items[COUNT];
static nanoseconds wanted[COUNT]; /* NEVER: not set */

static void set(unsigned int i, nanoseconds at)
{
	wanted[i] = at;
	deadlines_set(&wheel, &items[i], at);
}

static void reset(nanoseconds now)
{
	memset(&wheel, 0, sizeof(wheel));
	memset(items, 0, sizeof(items));
	for (unsigned int i = 0; i < COUNT; i++)
		wanted[i] = DEADLINE_NEVER;
	deadlines_turn(&wheel, now);
	assert_null(deadlines_next(&wheel));
}

/* all_due() - Each that is due comes once, and no other */
static void all_due(nanoseconds now)
{
	struct deadline *d;

	deadlines_turn(&wheel, now);
	while ((d = deadlines_next(&wheel))) {
		unsigned int i = (unsigned int)(d - items);

		assert_true(wanted[i] <= now);
		wanted[i] = DEADLINE_NEVER;
	}
	for (unsigned int i = 0; i < COUNT; i++)
		assert_true(wanted[i] > now);
}

static void test_in_the_second_of_the_turn(void **state)
{
	nanoseconds now = 1000 * NSEC_PER_SEC + 5;

	(void)state;
	reset(now);
	set(0, now + 10);
	all_due(now);
	assert_int_equal(wanted[0], now + 10);
	all_due(now + 9);
	assert_int_equal(wanted[0], now + 10);
	all_due(now + 10);
	set(1, now - NSEC_PER_SEC * 100); /* long past */
	all_due(now + 11);
}

static void test_further_than_the_wheel(void **state)
{
	nanoseconds now = 7 * NSEC_PER_SEC, far = now + 10000 * NSEC_PER_SEC;

	(void)state;
	reset(now);
	set(0, far);
	for (; now < far; now += 100 * NSEC_PER_SEC)
		all_due(now);
	all_due(far);
	/* And one step that is longer than all of it. */
	set(0, far + NSEC_PER_SEC);
	set(1, far + 300 * NSEC_PER_SEC);
	set(2, far + 100000 * NSEC_PER_SEC);
	all_due(far + 50000 * NSEC_PER_SEC);
	assert_int_not_equal(wanted[2], DEADLINE_NEVER);
	all_due(far + 100000 * NSEC_PER_SEC);
}

static void test_cleared_while_it_is_given(void **state)
{
	struct deadline *first;

	(void)state;
	reset(0);
	set(0, NSEC_PER_SEC);
	set(1, NSEC_PER_SEC);
	deadlines_turn(&wheel, 2 * NSEC_PER_SEC);
	first = deadlines_next(&wheel);
	deadlines_clear(first == &items[0] ? &items[1] : &items[0]);
	deadlines_clear(first);
	assert_null(deadlines_next(&wheel));
	wanted[0] = wanted[1] = DEADLINE_NEVER;
	set(2, 3 * NSEC_PER_SEC);
	set(2, DEADLINE_NEVER);
	all_due(100 * NSEC_PER_SEC);
}

static void test_as_a_list_would(void **state)
{
	nanoseconds now = 123456789;

	(void)state;
	srand(1);
	reset(now);
	for (unsigned int round = 0; round < 20000; round++) {
		unsigned int i = (unsigned int)rand() % COUNT;

		switch (rand() % 8) {
		case 0:
			now += (nanoseconds)(rand() % 3000) * NSEC_PER_MSEC;
			all_due(now);
			break;
		case 1:
			now += (nanoseconds)(rand() % 500) * NSEC_PER_SEC;
			all_due(now);
			break;
		case 2:
			set(i, DEADLINE_NEVER);
			break;
		case 3:
			set(i, now + (nanoseconds)(rand() % 1000) * NSEC_PER_SEC);
			break;
		default:
			set(i, now + (nanoseconds)(rand() % 5000) * NSEC_PER_MSEC);
			break;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_the_second_of_the_turn),
		cmocka_unit_test(test_further_than_the_wheel),
		cmocka_unit_test(test_cleared_while_it_is_given),
		cmocka_unit_test(test_as_a_list_would),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
