/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/node/test_node_control.c - what a node says about itself to control and the supervisor */
#include "unit/node/fakes.h"

static void assert_public(const struct secret_key *secret, const struct public_key *key)
{
	struct public_key want;

	secret_key_public(secret, &want);
	assert_memory_equal(want.bytes, key->bytes, sizeof(want.bytes));
}

static void control_knows_the_keys(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w), next;
	const struct public_key none = {0};
	struct public_key lock;

	assert_public(&w->node->disco_key, &client()->disco_key);
	assert_memory_equal(client()->old_key.bytes, none.bytes, sizeof(none.bytes));
	lock = client()->network_lock_key;
	assert_memory_not_equal(lock.bytes, none.bytes, sizeof(none.bytes));

	/* All of them outlive the engine. */
	end_node(w);
	start_node(w);
	assert_public(&key, &client()->node_key);
	assert_public(&w->node->disco_key, &client()->disco_key);
	assert_memory_equal(client()->network_lock_key.bytes, lock.bytes, sizeof(lock.bytes));

	/* A new key replaces one that control has to hear of until it has registered the new one. */
	login(w);
	next = new_key(w, &key);
	answer_all(w);
	end_node(w);
	start_node(w);
	assert_public(&next, &client()->node_key);
	assert_public(&key, &client()->old_key);
}

static void control_hears_of_the_host(void **state)
{
	struct world *w = *state;
	const struct tailcfg_hostinfo *info;

	(void)run(w);
	info = &client()->hostinfo;
	assert_string_equal(info->os, "linux");
	assert_string_equal(info->app, "pillion/" PILLION_VERSION);
	assert_int_equal(strlen(info->backend_log_id), 64);
	assert_false(info->shields_up);
	assert_int_equal(info->routable_ips.count, 0);

	edit(w, "{\"Hostname\":\"other\",\"HostnameSet\":true,\"ShieldsUp\":true,"
		"\"ShieldsUpSet\":true,\"AdvertiseTags\":[\"tag:web\"],\"AdvertiseTagsSet\":true}");
	assert_string_equal(info->hostname, "other");
	assert_true(info->shields_up);
	assert_int_equal(info->request_tags.count, 1);
	assert_string_equal(info->request_tags.items[0], "tag:web");
}

static void control_hears_of_endpoints(void **state)
{
	struct world *w = *state;
	const struct endpoint one = {{.family = ADDRESS_V4, .bytes = {192, 0, 2, 7}}, 41641};

	(void)run(w);
	w->node->endpoints[0] = (struct path_endpoint){one, PATH_ENDPOINT_STUN};
	w->node->endpoint_count = 1;
	node_tell_hostinfo(w->node);
	assert_int_equal(client()->endpoint_count, 1);
	assert_true(endpoint_equal(&client()->endpoints[0].endpoint, &one));
	assert_int_equal(client()->endpoints[0].type, TAILCFG_ENDPOINT_STUN);
}

static void the_supervisor_hears_why_it_does_not_work(void **state)
{
	struct world *w = *state;

	assert_int_equal(w->privsep.told, PRIVSEP_STATE_NEEDS_LOGIN);
	assert_true(w->privsep.reason[0]);
	(void)run(w);
	assert_int_equal(w->privsep.told, PRIVSEP_STATE_RUNNING);
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	assert_int_equal(w->privsep.told, PRIVSEP_STATE_STOPPED);
	assert_true(w->privsep.reason[0]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(control_knows_the_keys),
		TEST(control_hears_of_the_host),
		TEST(control_hears_of_endpoints),
		TEST(the_supervisor_hears_why_it_does_not_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
