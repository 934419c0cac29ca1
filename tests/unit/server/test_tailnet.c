/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/test_tailnet.c - registering by the table, and deltas against full maps
 *
 * The differential: random changes of a small tailnet under a random relation of who sees
 * whom; sessions take messages at random moments, and give them to the client's own netmap.
 * After all was taken, the client's netmap must be what a full map makes of an empty one.
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "control/netmap.h"
#include "server/control/tailnet.h"
#include "unit/unit.h"

#include "unit/control/netmap_text.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#define SECOND NSEC_PER_SEC

static struct tailnet tailnet;
static struct tailnet_time now;

static struct public_key key_of(unsigned int n)
{
	struct public_key key;

	memset(key.bytes, 0, sizeof(key.bytes));
	memcpy(key.bytes, &n, sizeof(n));
	key.bytes[31] = 1;
	return key;
}

static int setup(void **state)
{
	struct tailnet_settings settings = {
		.server_url = "https://control.example",
		.base_domain = "tailnet.example",
		.ephemeral_timeout = 60 * SECOND,
	};

	(void)state;
	settings.derp_map.has_regions = true;
	tailnet_init(&tailnet, &settings);
	now = (struct tailnet_time){.boot = 1000 * SECOND, .wall = 1700000000 * SECOND};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tailnet_clear(&tailnet);
	return 0;
}

static void pass(nanoseconds time)
{
	now.boot += time;
	now.wall += time;
	tailnet_tick(&tailnet, now);
}

/* Registering */

static char *mint(const char *user_name, bool reusable, bool ephemeral, const char *tag)
{
	struct control_user *user = registry_user_named(&tailnet.registry, user_name);
	struct string_list tags = {0};
	struct control_key_options options = {.reusable = reusable,
					      .ephemeral = ephemeral,
					      .tags = &tags,
					      .expiry = now.wall + 3600 * SECOND};
	struct control_key *key;
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
	bool impatient;
};

static int ask(struct ask a, struct tailcfg_register_response *ret)
{
	struct control_register_request q = {
		.version = a.version ? a.version : TAILCFG_CAPABILITY_VERSION,
		.node_key = key_of(a.key),
		.auth_key = a.auth_key ? strdup(a.auth_key) : NULL,
		.followup = a.followup ? strdup(a.followup) : NULL,
		.expiry = a.expiry,
	};
	struct public_key machine = key_of(a.machine + 1000);
	struct buffer out = BUFFER_INIT(LIMIT_RPC_BODY);
	struct error err = {0};
	int r;

	if (a.old_key)
		q.old_node_key = key_of(a.old_key);
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
	control_register_request_clear(&q);
	return r;
}

static struct control_node *node_of(unsigned int key)
{
	struct public_key k = key_of(key);

	return registry_node_of_key(&tailnet.registry, &k);
}

#define ASK(...) assert_int_equal(ask((struct ask){__VA_ARGS__}, &r), REGISTER_ANSWER)
#define DONE()   tailcfg_register_response_clear(&r)

static void test_a_key_for_one_node(void **state)
{
	struct tailcfg_register_response r;
	char *key = mint("alice", false, false, NULL);

	(void)state;
	ASK(.machine = 1, .key = 1, .auth_key = key);
	assert_true(r.machine_authorized && !r.node_key_expired && !r.error && !r.auth_url);
	assert_string_equal(r.login_name, "alice");
	DONE();
	/* The same again is no second use. */
	ASK(.machine = 1, .key = 1, .auth_key = key);
	assert_true(r.machine_authorized && !r.error);
	DONE();
	ASK(.machine = 2, .key = 2, .auth_key = key);
	assert_non_null(strstr(r.error, "has been used"));
	assert_false(r.machine_authorized);
	DONE();
	assert_int_equal(tailnet.registry.node_count, 1);
	/* Another machine can't be the node. */
	ASK(.machine = 2, .key = 1);
	assert_non_null(strstr(r.error, "another machine"));
	DONE();
	secret_string_free(key);
}

static void test_keys_for_many(void **state)
{
	struct tailcfg_register_response r;
	char *key = mint("alice", true, true, "tag:web");

	(void)state;
	for (unsigned int i = 1; i < 4; i++) {
		ASK(.machine = i, .key = i, .auth_key = key, .tag = "tag:ignored");
		assert_string_equal(r.login_name, "tagged-devices");
		DONE();
		assert_true(string_list_contains(&node_of(i)->tags, "tag:web"));
		assert_int_equal(node_of(i)->tags.count, 1);
		assert_true(node_of(i)->ephemeral);
	}
	assert_string_equal(node_of(3)->name, "host-2");
	pass(7200 * SECOND);
	ASK(.machine = 9, .key = 9, .auth_key = key);
	assert_non_null(strstr(r.error, "expired"));
	DONE();
	/* They never connected: gone after their time. */
	assert_int_equal(tailnet.registry.node_count, 0);
	secret_string_free(key);
}

static void test_tags_need_the_policy(void **state)
{
	struct tailcfg_register_response r;
	char *key = mint("alice", false, false, NULL);

	(void)state;
	ASK(.machine = 1, .key = 1, .auth_key = key, .tag = "tag:web");
	assert_non_null(strstr(r.error, "tagOwners"));
	DONE();
	/* The key is still good. */
	ASK(.machine = 1, .key = 1, .auth_key = key);
	assert_true(r.machine_authorized);
	DONE();
	secret_string_free(key);
}

static void test_rotation(void **state)
{
	struct tailcfg_register_response r;
	char *key = mint("alice", true, false, NULL);
	struct control_node *node;
	int64_t id;

	(void)state;
	ASK(.machine = 1, .key = 1, .auth_key = key);
	DONE();
	node = node_of(1);
	id = node->record.id;
	tailnet_set_expiry(&tailnet, node, now.wall + 10 * SECOND, now);
	pass(11 * SECOND);
	assert_true(node->expired);
	ASK(.machine = 1, .key = 1);
	assert_true(r.node_key_expired && !r.machine_authorized);
	DONE();
	ASK(.machine = 1, .key = 2, .old_key = 1, .auth_key = key);
	assert_true(r.machine_authorized && !r.node_key_expired);
	DONE();
	assert_null(node_of(1));
	assert_int_equal(node_of(2)->record.id, id);
	assert_false(node_of(2)->expired);
	/* The machine comes back without its old key: the same node too. */
	ASK(.machine = 1, .key = 3, .auth_key = key);
	DONE();
	assert_int_equal(node_of(3)->record.id, id);
	assert_int_equal(tailnet.registry.node_count, 1);
	/* Whose machine it is decides, not who names the old key. */
	ASK(.machine = 7, .key = 4, .old_key = 3, .auth_key = key);
	DONE();
	assert_int_equal(tailnet.registry.node_count, 2);
	assert_int_equal(node_of(3)->record.id, id);
	secret_string_free(key);
}

static void test_logout(void **state)
{
	struct tailcfg_register_response r;
	char *key = mint("alice", true, false, NULL), *brief = mint("alice", true, true, NULL);

	(void)state;
	ASK(.machine = 1, .key = 1, .auth_key = key);
	DONE();
	ASK(.machine = 2, .key = 2, .auth_key = brief);
	DONE();
	ASK(.machine = 1, .key = 1, .expiry = TAILCFG_EXPIRY_LOGOUT);
	assert_true(r.node_key_expired);
	DONE();
	ASK(.machine = 2, .key = 2, .expiry = TAILCFG_EXPIRY_LOGOUT);
	DONE();
	assert_true(control_node_is_expired(node_of(1), now.wall));
	assert_null(node_of(2));
	/* Nobody else can log it out. */
	ASK(.machine = 1, .key = 3, .auth_key = key);
	DONE();
	ASK(.machine = 2, .key = 3, .expiry = TAILCFG_EXPIRY_LOGOUT);
	assert_non_null(r.error);
	DONE();
	assert_false(control_node_is_expired(node_of(3), now.wall));
	secret_string_free(key);
	secret_string_free(brief);
}

static void test_login_by_url(void **state)
{
	struct tailcfg_register_response r;
	struct control_user *user;
	struct control_node *node;
	struct error err;
	char url[256];

	(void)state;
	assert_int_equal(registry_add_user(&tailnet.registry, "bob", now.wall, &user, &err), 0);
	ASK(.machine = 1, .key = 1);
	assert_false(r.machine_authorized);
	snprintf(url, sizeof(url), "%s", r.auth_url);
	assert_memory_equal(url, "https://control.example/register/", 33);
	DONE();
	/* Asked again without saying which: the same login. */
	ASK(.machine = 1, .key = 1);
	assert_string_equal(r.auth_url, url);
	DONE();
	assert_int_equal(ask((struct ask){.machine = 1, .key = 1, .followup = url}, &r),
			 REGISTER_HOLD);
	ASK(.machine = 1, .key = 1, .followup = url, .impatient = true);
	assert_string_equal(r.auth_url, url);
	DONE();
	/* Another machine does not get in by it. */
	ASK(.machine = 2, .key = 2, .followup = url);
	assert_string_not_equal(r.auth_url, url);
	DONE();
	assert_int_equal(tailnet_approve(&tailnet, "nonsense", user, NULL, now, &node, &err),
			 -ENOENT);
	assert_int_equal(tailnet_approve(&tailnet, url, user, NULL, now, &node, &err), 0);
	ASK(.machine = 1, .key = 1, .followup = url);
	assert_true(r.machine_authorized && !r.auth_url);
	assert_string_equal(r.login_name, "bob");
	DONE();
	/* Logins end by themselves. */
	assert_int_equal(tailnet.login_count, 1);
	pass(3600 * SECOND);
	assert_int_equal(tailnet.login_count, 0);
}

static bool alice_may(void *user, const char *owner, const char *tag)
{
	(void)user;
	return strcmp(owner, "alice") == 0 && strcmp(tag, "tag:web") == 0;
}

/* What a node asks for at a login it gets from who may give it, unless the operator says. */
static void test_tags_of_a_login(void **state)
{
	struct tailcfg_register_response r;
	struct control_user *alice, *bob;
	struct string_list own = {0};
	struct control_node *node;
	struct error err;
	char url[256];

	(void)state;
	tailnet.policy.may_tag = alice_may;
	assert_int_equal(registry_add_user(&tailnet.registry, "alice", now.wall, &alice, &err), 0);
	assert_int_equal(registry_add_user(&tailnet.registry, "bob", now.wall, &bob, &err), 0);
	ASK(.machine = 1, .key = 1, .tag = "tag:web");
	snprintf(url, sizeof(url), "%s", r.auth_url);
	DONE();
	assert_int_equal(tailnet_approve(&tailnet, url, bob, NULL, now, &node, &err), -EPERM);
	assert_non_null(strstr(err.text, "bob may not use tag:web"));
	assert_int_equal(tailnet.registry.node_count, 0);
	assert_int_equal(tailnet_approve(&tailnet, url, alice, NULL, now, &node, &err), 0);
	assert_true(string_list_contains(&node->tags, "tag:web"));
	ASK(.machine = 2, .key = 2, .tag = "tag:web");
	snprintf(url, sizeof(url), "%s", r.auth_url);
	DONE();
	assert_int_equal(string_list_add(&own, "tag:db"), 0);
	assert_int_equal(tailnet_approve(&tailnet, url, bob, &own, now, &node, &err), 0);
	assert_int_equal(node->tags.count, 1);
	assert_true(string_list_contains(&node->tags, "tag:db"));
	string_list_clear(&own);
}

static void test_logins_are_bounded(void **state)
{
	struct tailcfg_register_response r;

	(void)state;
	for (unsigned int i = 1; i < 2 * LIMIT_CONTROL_PENDING; i++) {
		ASK(.machine = i, .key = i);
		DONE();
	}
	assert_int_equal(tailnet.login_count, LIMIT_CONTROL_PENDING);
}

static void test_too_old(void **state)
{
	struct tailcfg_register_response r;

	(void)state;
	assert_int_equal(ask((struct ask){.machine = 1, .key = 1, .version = 90}, &r),
			 REGISTER_REFUSED);
}

/* Time */

static struct control_node *plain_node(unsigned int n)
{
	struct public_key machine = key_of(n + 1000), key = key_of(n);
	struct control_node *node = NULL;
	struct error err;

	assert_int_equal(
		registry_add_node(&tailnet.registry, &machine, &key, "host", now.wall, &node, &err),
		0);
	tailnet_changed(&tailnet, node, CHANGE_NODE);
	return node;
}

static void test_online(void **state)
{
	struct control_node *node = plain_node(1);
	struct map_session *s = map_session_open(&tailnet, node, NULL, now), *again;

	(void)state;
	assert_true(node->online);
	/* A reconnect within the grace is not told. */
	map_session_close(s, now);
	pass(5 * SECOND);
	assert_true(node->online);
	again = map_session_open(&tailnet, node, NULL, now);
	pass(60 * SECOND);
	assert_true(node->online);
	map_session_close(again, now);
	pass(11 * SECOND);
	assert_false(node->online);
	assert_true(node->last_seen == now.wall);
	/* After a restart of the server those that were connected have a minute. */
	again = map_session_open(&tailnet, node, NULL, now);
	map_session_close(again, now);
	node->online = false;
	tailnet_loaded(&tailnet, now);
	assert_true(node->online);
	pass(61 * SECOND);
	assert_false(node->online);
}

static void test_ephemeral(void **state)
{
	struct control_node *node = plain_node(1);
	struct map_session *s = map_session_open(&tailnet, node, NULL, now);

	(void)state;
	node->ephemeral = true;
	pass(3600 * SECOND);
	map_session_close(s, now);
	pass(11 * SECOND);
	assert_int_equal(tailnet.registry.node_count, 1);
	s = map_session_open(&tailnet, node, NULL, now);
	pass(3600 * SECOND);
	map_session_close(s, now);
	pass(11 * SECOND);
	pass(61 * SECOND);
	assert_int_equal(tailnet.registry.node_count, 0);
}

/* Routes */

static void serve_route(struct control_node *node, const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(text, strlen(text), &p), 0);
	free(node->hostinfo.routable_ips.items);
	node->hostinfo.routable_ips.items = malloc(sizeof(p));
	node->hostinfo.routable_ips.items[0] = p;
	node->hostinfo.routable_ips.count = 1;
}

static void test_routes(void **state)
{
	struct control_node *one = plain_node(1), *two = plain_node(2);
	struct map_session *s1 = map_session_open(&tailnet, one, NULL, now);
	struct map_session *s2 = map_session_open(&tailnet, two, NULL, now);
	struct prefix p;
	struct prefix_list routes = {.items = &p, .count = 1};

	(void)state;
	(void)s2;
	prefix_parse("10.0.0.0/8", 10, &p);
	serve_route(one, "10.0.0.0/8");
	serve_route(two, "10.0.0.0/8");
	tailnet_elect_routes(&tailnet);
	assert_int_equal(one->primary_routes.count, 0);
	tailnet_set_routes(&tailnet, two, &routes);
	tailnet_set_routes(&tailnet, one, &routes);
	/* Who has it keeps it. */
	assert_int_equal(two->primary_routes.count, 1);
	assert_int_equal(one->primary_routes.count, 0);
	map_session_close(s2, now);
	pass(11 * SECOND);
	assert_int_equal(two->primary_routes.count, 0);
	assert_int_equal(one->primary_routes.count, 1);
	tailnet_set_expiry(&tailnet, one, now.wall, now);
	assert_int_equal(one->primary_routes.count, 0);
	map_session_close(s1, now);
}

/* Deltas */

#define NODES 12

struct client {
	struct map_session *session;
	struct netmap *netmap;
};

static bool visible[NODES + 64][NODES + 64];

static bool sees(void *user, const struct control_node *viewer, const struct control_node *peer)
{
	(void)user;
	return visible[viewer->record.id % (NODES + 64)][peer->record.id % (NODES + 64)];
}

/* take() - The session's next message, to the client; whether there was one */
static bool take(struct client *c)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct netmap_change change = {0};
	int r = map_session_take(c->session, now, &text);

	assert_true(r >= 0);
	if (r > 0) {
		assert_int_equal(buffer_append(&text, "", 1), 0);
		r = feed(c->netmap, (char *)buffer_head(&text), &change);
		if (r < 0)
			fail_msg("the client refuses (%d): %s", r, (char *)buffer_head(&text));
		assert_int_equal(change.trouble.code, 0);
		netmap_change_clear(&change);
		r = 1;
	}
	buffer_free(&text);
	return r > 0;
}

static char *peer_text(const struct netmap_peer *peer)
{
	struct tailcfg_node node = peer->node;

	node.last_seen = JSON_TIME_NONE; /* a patch can't take it back */
	return node_text(&node);
}

/* check() - The client knows what a full map would tell it, and nothing else */
static void check(struct client *c)
{
	struct netmap *naive = netmap_new();
	struct netmap_change change = {0};
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);

	netmap_begin_session(naive);
	assert_int_equal(tailnet_full_map(&tailnet, c->session->node, now, &text), 0);
	assert_int_equal(buffer_append(&text, "", 1), 0);
	assert_int_equal(feed(naive, (char *)buffer_head(&text), &change), 0);
	assert_int_equal(netmap_peer_count(c->netmap), netmap_peer_count(naive));
	for (struct netmap_peer *p = netmap_peer_next(naive, NULL); p;
	     p = netmap_peer_next(naive, p)) {
		struct netmap_peer *other = netmap_peer_by_id(c->netmap, p->node.id);
		char *one, *two;

		assert_non_null(other);
		one = peer_text(p);
		two = peer_text(other);
		assert_string_equal(one, two);
		free(one);
		free(two);
		assert_non_null(netmap_user(c->netmap, p->node.user));
	}
	netmap_change_clear(&change);
	netmap_free(naive);
	buffer_free(&text);
}

static void random_endpoints(struct control_node *node)
{
	uint32_t count = randombytes_uniform(4);

	endpoint_list_clear(&node->endpoints);
	node->endpoints.items = calloc(count + 1, sizeof(struct endpoint));
	node->endpoints.count = count;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t bytes[4] = {10, 0, 0, (uint8_t)randombytes_uniform(200)};

		node->endpoints.items[i] = (struct endpoint){
			address_v4(bytes), (uint16_t)(1 + randombytes_uniform(60000))};
	}
	tailnet_changed(&tailnet, node, CHANGE_ENDPOINTS);
}

static void change_something(struct control_node *node, unsigned int *next_key)
{
	struct string_list tags = {0};
	struct public_key key;
	uint64_t other;

	switch (randombytes_uniform(8)) {
	case 0:
		random_endpoints(node);
		break;
	case 1:
		randombytes_buf(node->disco.bytes, 32);
		tailnet_changed(&tailnet, node, CHANGE_DISCO);
		break;
	case 2:
		if (!node->hostinfo.net_info)
			node->hostinfo.net_info = calloc(1, sizeof(*node->hostinfo.net_info));
		node->hostinfo.net_info->preferred_derp = 1 + randombytes_uniform(3);
		tailnet_changed(&tailnet, node, CHANGE_HOME);
		break;
	case 3:
		node->online = !node->online;
		tailnet_changed(&tailnet, node, CHANGE_ONLINE);
		break;
	case 4:
		key = key_of((*next_key)++);
		registry_set_key(&tailnet.registry, node, &key);
		tailnet_changed(&tailnet, node, CHANGE_NODE);
		break;
	case 5:
		if (randombytes_uniform(2))
			string_list_add(&tags, "tag:x");
		assert_int_equal(tailnet_set_tags(&tailnet, node, &tags), 0);
		string_list_clear(&tags);
		break;
	case 6:
		tailnet_set_expiry(&tailnet, node,
				   now.wall + (nanoseconds)randombytes_uniform(20) * SECOND, now);
		break;
	default:
		/* Who sees this one changes. */
		other = randombytes_uniform(NODES + 64);
		visible[other][node->record.id % (NODES + 64)] ^= 1;
		tailnet_changed(&tailnet, node, 0);
		break;
	}
}

static void differential(unsigned int round)
{
	struct client clients[4] = {{0}};
	unsigned int next_key = 1;
	struct control_user *user;
	struct error err;

	setup(NULL);
	tailnet.policy.sees = sees;
	memset(visible, 1, sizeof(visible));
	assert_int_equal(registry_add_user(&tailnet.registry, "u", now.wall, &user, &err), 0);
	for (size_t i = 0; i < NODES; i++)
		plain_node(next_key++)->user = user->record.id;
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		struct control_node *node = node_of((unsigned int)i + 1);

		clients[i].netmap = netmap_new();
		netmap_begin_session(clients[i].netmap);
		clients[i].session = map_session_open(&tailnet, node, &clients[i], now);
	}
	for (unsigned int step = 0; step < 200; step++) {
		uint32_t what = randombytes_uniform(20), count = 0;
		struct control_node *node = tailnet.registry.nodes;

		if (what == 0) {
			plain_node(next_key++)->user = user->record.id;
		} else if (what < 4) {
			take(&clients[randombytes_uniform(ARRAY_SIZE(clients))]);
		} else if (what == 4) {
			pass((nanoseconds)randombytes_uniform(5) * SECOND);
		} else {
			count = randombytes_uniform((uint32_t)tailnet.registry.node_count);
			while (count--)
				node = node->by_id.next;
			if (what == 5 && !node->sessions)
				tailnet_remove(&tailnet, node);
			else
				change_something(node, &next_key);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		while (take(&clients[i]))
			;
		check(&clients[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		map_session_close(clients[i].session, now);
		netmap_free(clients[i].netmap);
	}
	(void)round;
	teardown(NULL);
}

static void test_deltas_are_the_full_map(void **state)
{
	(void)state;
	for (unsigned int round = 0; round < 60; round++)
		differential(round);
}

/* A join is one small delta to each, and nothing to who does not see it. */
static void test_a_join_costs_little(void **state)
{
	struct map_session *sessions[40];
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct control_node *joined;
	size_t told = 0;

	(void)state;
	tailnet.policy.sees = sees;
	memset(visible, 0, sizeof(visible));
	for (unsigned int i = 0; i < ARRAY_SIZE(sessions); i++) {
		struct control_node *node = plain_node(i + 1);

		sessions[i] = map_session_open(&tailnet, node, NULL, now);
		if (i < 10)
			visible[node->record.id][ARRAY_SIZE(sessions) + 1] = true;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(sessions); i++) {
		while (map_session_take(sessions[i], now, &text) > 0)
			;
	}
	while (tailnet_next_ready(&tailnet))
		;
	joined = plain_node(100);
	assert_int_equal(joined->record.id, ARRAY_SIZE(sessions) + 1);
	for (struct map_session *s; (s = tailnet_next_ready(&tailnet));) {
		buffer_free(&text);
		text = BUFFER_INIT(LIMIT_MAP_OBJECT);
		assert_int_equal(map_session_take(s, now, &text), 1);
		assert_true(text.length < 2048);
		assert_int_equal(map_session_take(s, now, &text), 0);
		told++;
	}
	assert_int_equal(told, 10);
	buffer_free(&text);
}

/* Who has registered is told of with its first map, in one message. */
static void test_a_new_node_is_told_with_its_first_map(void **state)
{
	struct map_session *s = map_session_open(&tailnet, plain_node(1), NULL, now), *own;
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct tailcfg_register_response response;
	struct control_node *joined;
	char *key = mint("alice", false, false, NULL);

	(void)state;
	assert_int_equal(map_session_take(s, now, &text), 1);
	while (tailnet_next_ready(&tailnet))
		;
	assert_int_equal(ask((struct ask){.machine = 2, .key = 2, .auth_key = key}, &response), 0);
	tailcfg_register_response_clear(&response);
	secret_string_free(key);
	assert_null(tailnet_next_ready(&tailnet));
	joined = registry_node(&tailnet.registry, 2);
	assert_false(tailnet_sees(&tailnet, s->node, joined));
	own = map_session_open(&tailnet, joined, NULL, now);
	assert_true(tailnet_sees(&tailnet, s->node, joined));
	assert_ptr_equal(tailnet_next_ready(&tailnet), own);
	assert_ptr_equal(tailnet_next_ready(&tailnet), s);
	assert_null(tailnet_next_ready(&tailnet));
	buffer_free(&text);
	text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	assert_int_equal(map_session_take(s, now, &text), 1);
	assert_int_equal(buffer_append(&text, "", 1), 0);
	assert_non_null(strstr((char *)buffer_head(&text), "PeersChanged"));
	assert_non_null(strstr((char *)buffer_head(&text), "\"Online\":true"));
	assert_int_equal(map_session_take(s, now, &text), 0);
	buffer_free(&text);
}

static void test_a_deleted_node_ends_its_streams(void **state)
{
	struct control_node *node = plain_node(1);
	struct map_session *s = map_session_open(&tailnet, node, NULL, now);

	(void)state;
	while (tailnet_next_ready(&tailnet))
		;
	tailnet_remove(&tailnet, node);
	assert_null(s->node);
	assert_ptr_equal(tailnet_next_ready(&tailnet), s);
	map_session_close(s, now);
}

/* What a session may be owed is bounded: past it one full map is due. */
static void test_too_many_notes(void **state)
{
	struct control_node *node = plain_node(1);
	struct map_session *s = map_session_open(&tailnet, node, NULL, now);
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);

	(void)state;
	assert_int_equal(map_session_take(s, now, &text), 1);
	for (unsigned int i = 2; i < 4200; i++)
		plain_node(i);
	assert_true(s->wants & WANTS_FULL);
	assert_int_equal(s->note_count, 0);
	assert_int_equal(tailnet.statistics.overflows, 1);
	buffer_free(&text);
	text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	assert_int_equal(map_session_take(s, now, &text), 1);
	assert_int_equal(s->told_count, 4198);
	buffer_free(&text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_key_for_one_node),
		TEST(test_keys_for_many),
		TEST(test_tags_need_the_policy),
		TEST(test_rotation),
		TEST(test_logout),
		TEST(test_login_by_url),
		TEST(test_tags_of_a_login),
		TEST(test_logins_are_bounded),
		TEST(test_too_old),
		TEST(test_online),
		TEST(test_ephemeral),
		TEST(test_routes),
		TEST(test_a_join_costs_little),
		TEST(test_a_new_node_is_told_with_its_first_map),
		TEST(test_a_deleted_node_ends_its_streams),
		TEST(test_too_many_notes),
		cmocka_unit_test(test_deltas_are_the_full_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
