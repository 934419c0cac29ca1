/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/policy.c - any text as a policy, compiled for a few nodes */
#include "unit/server/policy_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool any(void *data, const char *name, const char *values)
{
	(void)data;
	return name[0] || values;
}

static void ask(struct applied_policy *t, const struct world_node *nodes, int64_t id)
{
	struct buffer out = BUFFER_INIT(16u * 1024 * 1024);
	struct json_writer json = json_writer_to(&out);
	struct policy_ids ids = {0};
	nanoseconds period;
	struct filter *f;

	if (applied_policy_peers(t, id, &ids) < 0)
		abort();
	for (size_t i = 0; i < ids.count; i++)
		if (!applied_policy_sees(t, ids.items[i], id) ||
		    !applied_policy_sees(t, id, ids.items[i]))
			abort();
	policy_ids_clear(&ids);
	/* A node can decode its rules, and it sees every node that they admit. */
	f = world_filter(t, &nodes[id - 1].node);
	for (int64_t from = 1; from <= 6; from++)
		if (from != id &&
		    world_accepts(f, &nodes[from - 1].node.v4, &nodes[id - 1].node.v4, 6, 80) &&
		    !applied_policy_sees(t, id, from))
			abort();
	filter_free(f);
	applied_policy_ssh(t, id, &json, NULL);
	if (json_writer_result(&json) < 0)
		abort();
	buffer_free(&out);
	applied_policy_ssh_action(t, id, 1, "root", &period);
	applied_policy_capabilities(t, id, any, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world_node nodes[6];
	struct applied_policy *t;
	struct policy *policy;
	struct error err = {0};

	if (policy_parse((const char *)data, size, &policy, NULL, &err) < 0) {
		if (!err.text[0])
			abort();
		return 0;
	}
	world_set(&nodes[0], 1, "a@", "", "");
	world_set(&nodes[1], 2, "b@c", "", "");
	world_set(&nodes[2], 3, "a", "tag:a", "");
	world_set(&nodes[3], 4, NULL, "tag:a tag:b", "10.1.0.0/24");
	world_set(&nodes[4], 5, "b@c", "", "0.0.0.0/0 ::/0 fd00::/16");
	world_set(&nodes[5], 6, "a", "", "");
	if (applied_policy_create(policy, &t) < 0)
		abort();
	for (int i = 0; i < 6; i++)
		if (applied_policy_put(t, &nodes[i].node, NULL) < 0)
			abort();
	policy_test(policy, t, NULL, &err);
	policy_may_tag(policy, "a", &nodes[2].node.tags, "tag:b");
	policy_approves_route(policy, &nodes[3].node, &nodes[3].routes[0]);
	for (int64_t id = 1; id <= 6; id++)
		ask(t, nodes, id);
	applied_policy_free(t);
	return 0;
}
