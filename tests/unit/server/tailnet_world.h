/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/tailnet_world.h - a tailnet in memory, its clock, and plain nodes */
#pragma once

#include "base/cleanup.h"
#include "base/limits.h"
#include "server/coordinator/tailnet.h"
#include "server/web/source_limit.h"
#include "unit/unit.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#define SECOND NSEC_PER_SEC

static struct tailnet tailnet;
static struct tailnet_time now;

static inline struct public_key key_of(unsigned int n)
{
	struct public_key key;

	memset(key.bytes, 0, sizeof(key.bytes));
	memcpy(key.bytes, &n, sizeof(n));
	key.bytes[31] = 1;
	return key;
}

static inline int setup(void **state)
{
	struct tailnet_settings settings = {
		.server_url = "https://control.example",
		.base_domain = "tailnet.example",
		.ephemeral_timeout = 60 * SECOND,
	};

	(void)state;
	settings.derp_map.has_regions = true;
	assert_int_equal(tailnet_init(&tailnet, &settings), 0);
	now = (struct tailnet_time){.boot = 1000 * SECOND, .wall = 1700000000 * SECOND};
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	tailnet_clear(&tailnet);
	return 0;
}

static inline void put_policy(const char *text)
{
	struct error err = {0};

	if (tailnet_policy_set(&tailnet, text, strlen(text), NULL, &err) < 0)
		fail_msg("%s", err.text);
}

static inline void pass(nanoseconds time)
{
	now.boot += time;
	now.wall += time;
	tailnet_tick(&tailnet, now);
}

static inline struct registry_node *plain_node(unsigned int n)
{
	struct public_key machine = key_of(n + 1000), key = key_of(n);
	struct registry_node *node = NULL;
	struct error err;

	assert_int_equal(
		registry_add_node(&tailnet.registry, &machine, &key, "host", now.wall, &node, &err),
		0);
	tailnet_changed(&tailnet, node, CHANGE_NODE);
	return node;
}

static inline struct registry_node *node_of(unsigned int key)
{
	struct public_key k = key_of(key);

	return registry_node_of_key(&tailnet.registry, &k);
}

static inline char *mint(const char *user_name, bool reusable, bool ephemeral, const char *tag)
{
	struct registry_user *user = registry_user_named(&tailnet.registry, user_name);
	struct string_list tags = {0};
	struct registry_key_options options = {.reusable = reusable,
					       .ephemeral = ephemeral,
					       .tags = &tags,
					       .expiry = now.wall + 3600 * SECOND};
	struct registry_key *key;
	struct error err;
	char *text;

	if (!user)
		assert_int_equal(
			registry_add_user(&tailnet.registry, user_name, now.wall, &user, &err), 0);
	options.user = user->record.id;
	if (tag)
		string_list_add(&tags, tag);
	assert_int_equal(registry_add_key(&tailnet.registry, &options, now.wall, &key, &text, &err),
			 0);
	string_list_clear(&tags);
	return text;
}

struct ask {
	unsigned int machine, key, old_key;
	const char *auth_key, *followup, *hostname, *tag;
	nanoseconds expiry;
	int64_t version; /* 0: ours */
	unsigned int source;
	bool impatient;
	bool network; /* it says something of its network, but no home */
};

static inline int ask(struct ask a, struct tailcfg_register_response *ret)
{
	struct machine_register_request q = {
		.version = a.version ? a.version : TAILCFG_CAPABILITY_VERSION,
		.node_key = key_of(a.key),
		.auth_key = a.auth_key ? strdup(a.auth_key) : NULL,
		.followup = a.followup ? strdup(a.followup) : NULL,
		.expiry = a.expiry,
		.source = a.source,
	};
	struct public_key machine = key_of(a.machine + 1000);
	struct buffer out = BUFFER_INIT(LIMIT_RPC_BODY);
	struct error err = {0};
	int r;

	if (a.old_key)
		q.old_node_key = key_of(a.old_key);
	if (a.network)
		q.hostinfo.net_info = calloc(1, sizeof(*q.hostinfo.net_info));
	q.hostinfo.hostname = strdup(a.hostname ? a.hostname : "host");
	if (a.tag)
		string_list_add(&q.hostinfo.request_tags, a.tag);
	r = tailnet_register(&tailnet, &machine, &q, !a.impatient, now, &out, &err);
	*ret = (struct tailcfg_register_response){0};
	if (r == REGISTER_ANSWER)
		assert_int_equal(
			tailcfg_register_response_parse(buffer_head(&out), out.length, ret, &err),
			0);
	buffer_free(&out);
	machine_register_request_clear(&q);
	return r;
}

#define ASK(...) assert_int_equal(ask((struct ask){__VA_ARGS__}, &r), REGISTER_ANSWER)
#define DONE()   tailcfg_register_response_clear(&r)
