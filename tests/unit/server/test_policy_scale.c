/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/test_policy_scale.c - ten thousand nodes, counted in steps
 *
 * A step is a member of some list that was looked at; what it takes is the same on every
 * machine. What concerns a hundred nodes must cost hundreds of steps, not thousands.
 */
#include "unit/unit.h"

#include "server/policy/applied_policy_internal.h"
#include "unit/server/policy_world.h"

#define NODES 10000
#define GROUP 100

/* teams() - A hundred groups of a hundred users, each group open to itself */
static struct policy *teams(void)
{
	char *text = NULL;
	struct policy *policy;
	struct error err = {0};
	size_t length = 0;
	FILE *f = open_memstream(&text, &length);

	fprintf(f, "{\"groups\": {");
	for (int g = 0; g < NODES / GROUP; g++) {
		fprintf(f, "%s\"group:g%d\": [", g ? ", " : "", g);
		for (int i = 0; i < GROUP; i++)
			fprintf(f, "%s\"u%d@\"", i ? "," : "", g * GROUP + i);
		fprintf(f, "]");
	}
	fprintf(f, "}, \"acls\": [");
	for (int g = 0; g < NODES / GROUP; g++)
		fprintf(f,
			"%s{\"action\": \"accept\", \"src\": [\"group:g%d\"], \"dst\": "
			"[\"group:g%d:*\"]}",
			g ? ", " : "", g, g);
	fprintf(f, "]}");
	fclose(f);
	if (policy_parse(text, length, &policy, NULL, &err) < 0)
		fail_msg("%s", err.text);
	free(text);
	return policy;
}

static void put(struct applied_policy *t, int id, struct policy_affected *ret)
{
	struct world_node node;
	char user[16];

	snprintf(user, sizeof(user), "u%d", id - 1);
	world_set(&node, id, user, "", "");
	assert_int_equal(applied_policy_put(t, &node.node, ret), 0);
}

static void a_join_costs_its_group(void **state)
{
	struct policy_affected affected;
	struct applied_policy *t;
	struct policy_ids ids;
	struct tailcfg_filter filter;
	uint64_t before, most = 0;

	(void)state;
	assert_int_equal(applied_policy_create(teams(), &t), 0);
	for (int id = 1; id <= NODES; id++) {
		before = t->steps;
		put(t, id, &affected);
		if (t->steps - before > most)
			most = t->steps - before;
		assert_int_equal(affected.gained.count, (id - 1) % GROUP);
		assert_int_equal(affected.rules.count, (id - 1) % GROUP + 1);
		policy_affected_clear(&affected);
	}
	/* It as source and as destination, and whose filters hold it. */
	assert_true(most <= 3 * GROUP + 1);

	before = t->steps;
	for (int id = 1; id <= NODES; id++) {
		assert_int_equal(applied_policy_peers(t, id, &ids), 0);
		assert_int_equal(ids.count, GROUP - 1);
		policy_ids_clear(&ids);
	}
	assert_true(t->steps - before <= NODES * 2 * GROUP);

	/* All filters: the sources of each rule are put together once. */
	before = t->steps;
	for (int id = 1; id <= NODES; id++) {
		world_rules(t, id, &filter);
		assert_int_equal(filter.count, 1);
		/* One range of each family. */
		assert_true(filter.rules[0].source_count <= 6);
		tailcfg_filter_clear(&filter);
	}
	assert_int_equal(t->steps - before, NODES);

	/* One goes and comes back: only its group's rule is put together anew. */
	before = t->steps;
	assert_int_equal(applied_policy_remove(t, 77, &affected), 0);
	assert_int_equal(affected.lost.count, GROUP - 1);
	policy_affected_clear(&affected);
	put(t, 77, &affected);
	for (size_t i = 0; i < affected.rules.count; i++) {
		world_rules(t, affected.rules.items[i], &filter);
		tailcfg_filter_clear(&filter);
	}
	policy_affected_clear(&affected);
	assert_true(t->steps - before <= 7 * GROUP);

	/* What changes nothing costs nothing. */
	before = t->steps;
	put(t, 78, &affected);
	assert_int_equal(affected.rules.count + affected.gained.count + affected.lost.count, 0);
	assert_int_equal(t->steps, before);
	applied_policy_free(t);
}

static void a_full_mesh_is_walked_once(void **state)
{
	struct policy_affected affected;
	struct applied_policy *t;
	struct policy *policy;
	struct error err = {0};
	uint64_t before = 0;

	(void)state;
	assert_int_equal(policy_parse(NULL, 0, &policy, NULL, &err), 0);
	assert_int_equal(applied_policy_create(policy, &t), 0);
	for (int id = 1; id <= 2000; id++) {
		before = t->steps;
		put(t, id, &affected);
		assert_int_equal(affected.gained.count, id - 1);
		/* Everybody's filter speaks of the tailnet's prefixes already. */
		assert_int_equal(affected.rules.count, 1);
		policy_affected_clear(&affected);
	}
	assert_true(t->steps - before <= 2 * 2000 + 1);
	applied_policy_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_join_costs_its_group),
		cmocka_unit_test(a_full_mesh_is_walked_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
