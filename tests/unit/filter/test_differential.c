/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/filter/test_differential.c - the filter against naive.h over drawn rules and packets
 */
#include "unit/unit.h"

#include "unit/filter/scenario.h"

#define SCENARIOS 1500
#define PACKETS   150

static void filter_agrees_with_naive(void **state)
{
	unsigned int counts[FILTER_VERDICT_COUNT] = {0};
	struct scenario *s = malloc(sizeof(*s));

	(void)state;
	for (uint64_t seed = 1; seed <= SCENARIOS; seed++) {
		struct draw d = {.seed = seed * 7919};

		scenario_draw(&d, s);
		if (!scenario_run(&d, s, PACKETS, counts))
			fail_msg("scenario %u differs", (unsigned int)seed);
	}
	free(s);
	/* The draw is worth something only if it reaches every verdict that it can. */
	for (unsigned int v = 0; v < FILTER_VERDICT_COUNT; v++)
		if (v != FILTER_DROP_NO_FILTER && counts[v] < 20)
			fail_msg("verdict %s was reached %u times", filter_verdict_label(v),
				 counts[v]);
}

static void flows_agree_with_naive(void **state)
{
	struct filter_flows *flows = filter_flows_create(42);
	struct naive_flows *naive = calloc(1, sizeof(*naive));
	struct draw d = {.seed = 99};

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct filter_flow flow = {
			.local = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 1}},
			.remote = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}},
			.local_port = (uint16_t)draw_below(&d, 30),
			.remote_port = (uint16_t)draw_below(&d, 25),
			.protocol = draw_below(&d, 2) ? 17 : 132,
		};

		if (draw_below(&d, 2)) {
			filter_flows_note(flows, &flow);
			naive_note(naive, &flow);
		} else {
			assert_int_equal(filter_flows_find(flows, &flow),
					 naive_touch(naive, &flow));
		}
		assert_int_equal(flows->count, naive->count);
	}
	assert_int_equal(naive->count, FILTER_FLOWS_MAX);
	filter_flows_free(flows);
	free(naive);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filter_agrees_with_naive),
		cmocka_unit_test(flows_agree_with_naive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
