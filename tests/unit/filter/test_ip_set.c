/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/filter/test_ip_set.c - sets of addresses, against bitmaps of a small universe */
#include "unit/unit.h"

#include "filter/ip_set.h"

#define UNIVERSE 64

static struct address at(uint8_t family, unsigned int n)
{
	struct address a = {.family = family};

	a.bytes[family == ADDRESS_V4 ? 3 : 15] = (uint8_t)n;
	return a;
}

static unsigned int next(unsigned int *seed, unsigned int below)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed / 65536 % below;
}

static void sets_agree_with_bitmaps(void **state)
{
	unsigned int seed = 4711;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		bool model[2][2][UNIVERSE] = {0};
		struct ip_set sets[2] = {0};
		bool meet = false;

		for (int s = 0; s < 2; s++) {
			struct ip_set *set = &sets[s];

			*set = (struct ip_set){0};

			for (unsigned int n = next(&seed, 8); n > 0; n--) {
				uint8_t family = next(&seed, 2) ? ADDRESS_V4 : ADDRESS_V6;
				unsigned int first = next(&seed, UNIVERSE), last = first,
					     drop = next(&seed, 4);
				struct prefix p = {.address = at(family, first),
						   .bits = (uint8_t)((family == 4 ? 32 : 128) -
								     next(&seed, 5))};

				if (next(&seed, 2)) {
					struct address low = at(family, first), high;

					last = first + next(&seed, UNIVERSE - first);
					high = at(family, last);
					ip_set_add_range(set, &low, &high);
					drop = 1;
				} else {
					unsigned int size = 1u
							    << (address_bits(&p.address) - p.bits);

					first &= ~(size - 1);
					last = first + size - 1;
					(drop ? ip_set_add : ip_set_remove)(set, &p);
				}
				for (unsigned int i = first; i <= last; i++)
					model[s][family == ADDRESS_V6][i] = drop != 0;
			}
			assert_int_equal(ip_set_seal(set), 0);
		}
		for (unsigned int f = 0; f < 2; f++)
			for (unsigned int i = 0; i < UNIVERSE; i++) {
				struct address a = at(f ? ADDRESS_V6 : ADDRESS_V4, i);

				for (int s = 0; s < 2; s++)
					assert_int_equal(ip_set_contains(&sets[s], &a),
							 model[s][f][i]);
				meet |= model[0][f][i] && model[1][f][i];
			}
		assert_int_equal(ip_set_overlaps(&sets[0], &sets[1]), meet);
		/* Sorted, disjoint, not adjacent. */
		for (size_t i = 1; i < sets[0].v4.count; i++)
			assert_true(sets[0].v4.list[i].first > sets[0].v4.list[i - 1].last + 1);
		ip_set_free(&sets[0]);
		ip_set_free(&sets[1]);
	}
}

static void the_ends_of_the_number_space(void **state)
{
	static const struct prefix all_v4 = {.address = {.family = ADDRESS_V4}};
	static const struct prefix all_v6 = {.address = {.family = ADDRESS_V6}};
	struct prefix top = {.address = {.family = ADDRESS_V4, .bytes = {255, 255, 255, 255}},
			     .bits = 32};
	struct prefix bottom = {.address = {.family = ADDRESS_V4}, .bits = 32};
	struct address last_v6 = {.family = ADDRESS_V6}, none = {0};
	struct ip_set set = {0};

	(void)state;
	memset(last_v6.bytes, 0xff, 16);
	ip_set_add(&set, &all_v6);
	ip_set_add(&set, &all_v4);
	ip_set_remove(&set, &top);
	ip_set_remove(&set, &bottom);
	ip_set_add_range(&set, &top.address, &bottom.address);
	ip_set_add_range(&set, &top.address, &last_v6);
	assert_int_equal(set.v6.count, 1);
	assert_int_equal(ip_set_seal(&set), 0);
	assert_int_equal(set.v4.count, 1);
	assert_int_equal(set.v4.list[0].first, 1);
	assert_int_equal(set.v4.list[0].last, 0xfffffffe);
	assert_true(ip_set_contains(&set, &last_v6));
	assert_false(ip_set_contains(&set, &top.address));
	assert_false(ip_set_contains(&set, &none));
	ip_set_free(&set);
	assert_int_equal(set.v4.count + set.v6.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_agree_with_bitmaps),
		cmocka_unit_test(the_ends_of_the_number_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
