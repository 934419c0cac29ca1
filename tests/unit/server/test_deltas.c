/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/test_deltas.c - deltas against full maps
 *
 * The differential: random changes of a small tailnet, under policies that change as well; sessions take messages at random moments, and give them to the client's own netmap.
 * After all was taken, the client's netmap must be what a full map makes of an empty one.
 */
#include "control/netmap.h"
#include "unit/control/netmap_text.h"
#include "unit/server/tailnet_world.h"

#define NODES 12

struct client {
	struct map_session *session;
	struct netmap *netmap;
};

#define ACLS(...)                                                                                \
	"{\"tagOwners\": {\"tag:x\": [], \"tag:y\": [], \"tag:z\": []}, \"acls\": [" __VA_ARGS__ \
	"]}"
#define ACL(from, to) "{\"action\": \"accept\", \"src\": [\"" from "\"], \"dst\": [\"" to ":*\"]}"

/* What a change may be to: they differ in who sees whom. */
static const char *const policies[] = {
	ACLS(),
	ACLS(ACL("*", "*")),
	ACLS(ACL("tag:x", "tag:y") ", " ACL("autogroup:member", "tag:x")),
	ACLS(ACL("autogroup:member", "autogroup:member") ", " ACL("tag:y", "tag:z")),
};
static const char *const all_tags[] = {"tag:x", "tag:y", "tag:z"};

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

static void random_endpoints(struct registry_node *node)
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

static void change_something(struct registry_node *node, unsigned int *next_key)
{
	struct string_list tags = {0};
	struct public_key key;

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
			string_list_add(&tags, all_tags[randombytes_uniform(3)]);
		assert_int_equal(tailnet_set_tags(&tailnet, node, &tags, now), 0);
		string_list_clear(&tags);
		break;
	case 6:
		tailnet_set_expiry(&tailnet, node,
				   now.wall + (nanoseconds)randombytes_uniform(20) * SECOND, now);
		break;
	default:
		put_policy(policies[randombytes_uniform(ARRAY_SIZE(policies))]);
		break;
	}
}

static void differential(unsigned int round)
{
	struct client clients[4] = {{0}};
	unsigned int next_key = 1;
	struct registry_user *user;
	struct error err;

	setup(NULL);
	put_policy(policies[1]);
	assert_int_equal(registry_add_user(&tailnet.registry, "u", now.wall, &user, &err), 0);
	for (size_t i = 0; i < NODES; i++)
		plain_node(next_key++)->user = user->record.id;
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		struct registry_node *node = node_of((unsigned int)i + 1);

		clients[i].netmap = netmap_new();
		netmap_begin_session(clients[i].netmap);
		clients[i].session = map_session_open(&tailnet, node, &clients[i], now);
	}
	for (unsigned int step = 0; step < 200; step++) {
		uint32_t what = randombytes_uniform(20), count = 0;
		struct registry_node *node = tailnet.registry.nodes;

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
	struct registry_node *joined;
	size_t told = 0;

	(void)state;
	put_policy(ACLS(ACL("autogroup:member", "tag:x")));
	for (unsigned int i = 0; i < ARRAY_SIZE(sessions); i++) {
		struct registry_node *node = plain_node(i + 1);

		struct string_list tags = {0};

		assert_int_equal(string_list_add(&tags, all_tags[i < 10 ? 0 : 1]), 0);
		assert_int_equal(tailnet_set_tags(&tailnet, node, &tags, now), 0);
		string_list_clear(&tags);
		sessions[i] = map_session_open(&tailnet, node, NULL, now);
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

/* The map that an operator reads is no stream's: when it doesn't fit, nothing waits to be sent. */
static void test_a_map_that_does_not_fit(void **state)
{
	struct buffer small = BUFFER_INIT(16);

	(void)state;
	assert_int_equal(tailnet_full_map(&tailnet, plain_node(1), now, &small), -EMSGSIZE);
	assert_null(tailnet_next_ready(&tailnet));
	buffer_free(&small);
}

/* Who has registered is told of with its first map, in one message. */
static void test_a_new_node_is_told_with_its_first_map(void **state)
{
	struct map_session *s = map_session_open(&tailnet, plain_node(1), NULL, now), *own, *first;
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct tailcfg_register_response response;
	struct registry_node *joined;
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
	first = tailnet_next_ready(&tailnet);
	assert_true(first == own || first == s);
	assert_ptr_equal(tailnet_next_ready(&tailnet), first == own ? s : own);
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
	struct registry_node *node = plain_node(1);
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
	struct registry_node *node = plain_node(1);
	struct map_session *s = map_session_open(&tailnet, node, NULL, now);
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	char *tag = (char *)(uintptr_t)all_tags[0];

	(void)state;
	put_policy(ACLS(ACL("autogroup:member", "tag:x")));
	assert_int_equal(tailnet_set_tags(&tailnet, node,
					  &(struct string_list){.items = &tag, .count = 1}, now),
			 0);
	assert_int_equal(map_session_take(s, now, &text), 1);
	for (unsigned int i = 2; i < 4200; i++)
		plain_node(i);
	assert_true(s->wants & WANTS_FULL);
	assert_int_equal(s->note_count, 0);
	assert_int_equal(tailnet.statistics.overflows, 1);
	buffer_free(&text);
	text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	assert_int_equal(map_session_take(s, now, &text), 1);
	assert_int_equal(s->known_count, 4198);
	buffer_free(&text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_join_costs_little),
		TEST(test_a_new_node_is_told_with_its_first_map),
		TEST(test_a_map_that_does_not_fit),
		TEST(test_a_deleted_node_ends_its_streams),
		TEST(test_too_many_notes),
		cmocka_unit_test(test_deltas_are_the_full_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
