/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/control/test_netmap_differential.c - random deltas against a naive replay
 *
 * The naive side keeps the peers as plain JSON objects in an array, edits those, and
 * decodes all of them afresh after each message. The netmap must then hold the same,
 * and its list of changes must be exactly what differs between two such snapshots.
 */
#include "netmap_text.h"

#define IDS      14 /* 1 … IDS */
#define KEYS     5
#define MESSAGES 4000

static uint32_t seed;

static uint32_t roll(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % sides;
}

struct naive {
	json_t *peers[IDS + 1];  /* NULL: not there */
	char *snapshot[IDS + 1]; /* of the decoded node, after the last message */
	json_t *filters;         /* name → rules */
};

static json_t *random_key(const char *kind)
{
	return json_sprintf("%s:%064x", kind, roll(KEYS) + 1);
}

static json_t *random_endpoints(void)
{
	json_t *list = json_array();

	for (uint32_t i = roll(3); i; i--)
		json_array_append_new(list, json_sprintf("10.0.0.%u:%u", roll(3), roll(3) + 1));
	return list;
}

static json_t *random_cap_map(void)
{
	json_t *map = json_object();

	if (roll(2))
		json_object_set_new(map, "ssh", json_null());
	if (roll(2))
		json_object_set_new(map, "x", json_pack("[i]", roll(2)));
	return map;
}

static json_t *random_node(void)
{
	json_t *node = json_pack("{s:i,s:o}", "ID", roll(IDS) + 1, "Key", random_key("nodekey"));

	if (roll(2))
		json_object_set_new(node, "DiscoKey", random_key("discokey"));
	if (roll(2))
		json_object_set_new(node, "Endpoints", random_endpoints());
	if (roll(2))
		json_object_set_new(node, "HomeDERP", json_integer(roll(3)));
	if (roll(2))
		json_object_set_new(node, "Online", roll(3) ? json_boolean(roll(2)) : json_null());
	if (roll(2))
		json_object_set_new(node, "CapMap", random_cap_map());
	if (roll(2))
		json_object_set_new(node, "Name", json_sprintf("n%u.", roll(3)));
	json_object_set_new(node, "Addresses",
			    json_pack("[s]", roll(2) ? "100.64.0.1/32" : "100.64.0.2/32"));
	if (roll(3) == 0)
		json_object_set_new(node, "AllowedIPs",
				    roll(2) ? json_null() : json_pack("[s]", "10.0.0.0/8"));
	if (roll(4) == 0)
		json_object_set_new(node, "IsJailed", json_true());
	return node;
}

/* Nodes with distinct IDs. */
static json_t *random_nodes(uint32_t count)
{
	bool used[IDS + 1] = {0};
	json_t *list = json_array();

	while (count--) {
		json_t *node = random_node();
		json_int_t id = json_integer_value(json_object_get(node, "ID"));

		if (used[id])
			json_decref(node);
		else
			json_array_append_new(list, node);
		used[id] = true;
	}
	return list;
}

static json_t *random_patch(void)
{
	json_t *patch = json_pack("{s:i}", "NodeID", roll(IDS) + 1);

	if (roll(3) == 0)
		json_object_set_new(patch, "DERPRegion", json_integer(roll(4)));
	if (roll(3) == 0)
		json_object_set_new(patch, "Cap", json_integer(roll(3)));
	if (roll(3) == 0)
		json_object_set_new(patch, "Endpoints", roll(3) ? random_endpoints() : json_null());
	if (roll(3) == 0)
		json_object_set_new(patch, "Key", random_key("nodekey"));
	if (roll(3) == 0)
		json_object_set_new(patch, "DiscoKey", random_key("discokey"));
	if (roll(3) == 0)
		json_object_set_new(patch, "CapMap", random_cap_map());
	if (roll(3) == 0)
		json_object_set_new(patch, "Online", json_boolean(roll(2)));
	if (roll(3) == 0)
		json_object_set_new(patch, "LastSeen", json_string("2026-01-01T00:00:00Z"));
	return patch;
}

static json_t *random_filter(void)
{
	static const char *const sources[] = {"*", "10.0.0.0/8", "cap:x", "not an address"};
	json_t *rules = json_array();

	for (uint32_t i = roll(3); i; i--)
		json_array_append_new(
			rules, json_pack("{s:[s]}", "SrcIPs", sources[roll(12) ? roll(3) : 3]));
	return rules;
}

static json_t *random_message(void)
{
	json_t *m = json_object(), *list;

	if (roll(12) == 0)
		json_object_set_new(m, "Peers", random_nodes(roll(8)));
	if (roll(6) == 0)
		json_object_set_new(m, "Peers", roll(2) ? json_array() : json_null());
	if (roll(3) == 0) {
		list = json_array();
		for (uint32_t i = roll(4); i; i--)
			json_array_append_new(list, json_integer(roll(IDS) + 1));
		json_object_set_new(m, "PeersRemoved", list);
	}
	if (roll(3) == 0)
		json_object_set_new(m, "PeersChanged", random_nodes(roll(4)));
	if (roll(3) == 0) {
		list = json_array();
		for (uint32_t i = roll(5); i; i--)
			json_array_append_new(list, random_patch());
		json_object_set_new(m, "PeersChangedPatch", list);
	}
	if (roll(4) == 0)
		json_object_set_new(m, "OnlineChange",
				    json_pack("{s:b}", roll(2) ? "3" : "4", roll(2)));
	if (roll(4) == 0)
		json_object_set_new(m, "PeerSeenChange",
				    json_pack("{s:b}", roll(2) ? "3" : "5", roll(2)));
	if (roll(6) == 0) {
		list = json_object();
		if (roll(4) == 0)
			json_object_set_new(list, "*", json_null());
		if (roll(2))
			json_object_set_new(list, "base", roll(4) ? random_filter() : json_null());
		if (roll(2))
			json_object_set_new(list, "two", roll(4) ? random_filter() : json_null());
		json_object_set_new(m, "PacketFilters", list);
	}
	return m;
}

/* --- The naive side --- */

static void put(struct naive *n, json_t *node)
{
	json_int_t id = json_integer_value(json_object_get(node, "ID"));

	json_decref(n->peers[id]);
	n->peers[id] = json_deep_copy(node);
}

static void patch(struct naive *n, json_t *change)
{
	json_t *node = n->peers[json_integer_value(json_object_get(change, "NodeID"))], *value;
	const char *name;

	if (!node)
		return;
	json_object_foreach(change, name, value) {
		if (strcmp(name, "NodeID") == 0 || json_is_null(value))
			continue;
		if (json_is_integer(value) && json_integer_value(value) == 0)
			continue;
		json_object_set(node, strcmp(name, "DERPRegion") == 0 ? "HomeDERP" : name, value);
	}
}

static void replay(struct naive *n, json_t *m, bool fresh)
{
	json_t *item, *value;
	char now[JSON_TIME_TEXT_MAX];
	const char *id;
	size_t i;

	if (fresh || json_array_size(json_object_get(m, "Peers")))
		for (i = 1; i <= IDS; i++) {
			json_decref(n->peers[i]);
			n->peers[i] = NULL;
		}
	if (json_array_size(json_object_get(m, "Peers"))) {
		json_array_foreach(json_object_get(m, "Peers"), i, item)
			put(n, item);
		return;
	}
	json_array_foreach(json_object_get(m, "PeersRemoved"), i, item) {
		json_decref(n->peers[json_integer_value(item)]);
		n->peers[json_integer_value(item)] = NULL;
	}
	json_array_foreach(json_object_get(m, "PeersChanged"), i, item)
		put(n, item);
	json_object_foreach(json_object_get(m, "PeerSeenChange"), id, value)
		if (n->peers[atoi(id)])
			json_object_set_new(n->peers[atoi(id)], "LastSeen",
					    json_is_true(value)
						    ? json_string(json_time_format(NOW, now))
						    : json_null());
	json_object_foreach(json_object_get(m, "OnlineChange"), id, value)
		if (n->peers[atoi(id)])
			json_object_set(n->peers[atoi(id)], "Online", value);
	json_array_foreach(json_object_get(m, "PeersChangedPatch"), i, item)
		patch(n, item);
}

static bool filter_is_bad(json_t *rules)
{
	char *text = json_dumps(rules, 0);
	bool bad = strstr(text, "not an address") != NULL;

	free(text);
	return bad;
}

static void replay_filters(struct naive *n, json_t *m, bool fresh)
{
	json_t *filters = json_object_get(m, "PacketFilters"), *rules;
	const char *name;

	if (filters && filter_is_bad(filters))
		return;
	if (fresh || (filters && json_object_get(filters, "*")))
		json_object_clear(n->filters);
	json_object_foreach(filters, name, rules) {
		if (strcmp(name, "*") == 0)
			continue;
		if (json_is_null(rules))
			json_object_del(n->filters, name);
		else
			json_object_set(n->filters, name, rules);
	}
}

static char *snapshot(json_t *peer)
{
	struct tailcfg_node node;
	char *text;

	if (!peer)
		return NULL;
	assert_int_equal(tailcfg_node_decode(peer, &node, NULL), 0);
	text = node_text(&node);
	tailcfg_node_clear(&node);
	return text;
}

/* --- Comparison --- */

static void compare_filters(const struct netmap *map, struct naive *n)
{
	assert_int_equal(map->filter_count, json_object_size(n->filters));
	for (uint32_t i = 0; i < map->filter_count; i++) {
		json_t *rules = json_object_get(n->filters, map->filters[i].name);

		assert_non_null(rules);
		assert_int_equal(json_array_size(rules), map->filters[i].filter.count);
		for (uint32_t k = 0; k < map->filters[i].filter.count; k++) {
			const struct tailcfg_filter_rule *rule = &map->filters[i].filter.rules[k];
			const char *source = json_string_value(json_array_get(
				json_object_get(json_array_get(rules, k), "SrcIPs"), 0));

			assert_int_equal(rule->source_count, source[0] == 'c' ? 0 : 1);
			if (source[0] != 'c')
				assert_int_equal(rule->sources[0].kind,
						 source[0] == '*' ? TAILCFG_NET_ANY
								  : TAILCFG_NET_PREFIX);
		}
		if (i)
			assert_true(strcmp(map->filters[i - 1].name, map->filters[i].name) < 0);
	}
}

static const struct netmap_update *update_of(const struct netmap_change *c, int64_t id)
{
	const struct netmap_update *found = NULL;

	for (uint32_t i = 0; i < c->update_count; i++)
		if (c->updates[i].peer->node.id == id) {
			assert_null(found);
			found = &c->updates[i];
		}
	return found;
}

static bool removed(const struct netmap_change *c, int64_t id)
{
	for (uint32_t i = 0; i < c->removal_count; i++)
		if (c->removals[i].id == id)
			return true;
	return false;
}

static void compare(struct netmap *map, struct naive *n, const struct netmap_change *c, int message)
{
	uint32_t count = 0;

	for (int id = 1; id <= IDS; id++) {
		struct netmap_peer *peer = netmap_peer_by_id(map, id);
		char *after = snapshot(n->peers[id]), *have = peer ? node_text(&peer->node) : NULL;
		const struct netmap_update *update = update_of(c, id);
		char *before = n->snapshot[id];

		if (!after != !have || (after && strcmp(after, have) != 0))
			fail_msg("message %d peer %d:\nnaive  %s\nnetmap %s", message, id, after,
				 have);
		count += after != NULL;
		if (peer) {
			struct netmap_peer *by_key = netmap_peer_by_key(map, &peer->node.key);

			assert_non_null(by_key);
			assert_true(public_key_equal(&by_key->node.key, &peer->node.key));
		}
		/* Gone, or gone and come again. */
		if (before && !after)
			assert_true(removed(c, id) && !update);
		else if (removed(c, id))
			assert_true(before && update && update->what == NETMAP_NODE_ALL);
		else if (!before && after)
			assert_true(update && update->what == NETMAP_NODE_ALL);
		else if (before && strcmp(before, after) != 0)
			assert_true(update && !(update->what & NETMAP_NODE_ADDED));
		else if (!before)
			assert_null(update);
		free(have);
		free(n->snapshot[id]);
		n->snapshot[id] = after;
	}
	assert_int_equal(netmap_peer_count(map), count);
	compare_filters(map, n);
}

static void netmap_equals_naive_replay(void **state)
{
	struct naive n = {.filters = json_object()};
	struct netmap *map = netmap_new();
	struct netmap_change change = {0};

	(void)state;
	seed = 1;
	for (int i = 0; i < MESSAGES; i++) {
		json_t *m = random_message();
		bool fresh = i == 0 || roll(40) == 0;
		char *text;

		if (fresh) {
			netmap_begin_session(map);
			json_object_set_new(m, "Node", json_pack("{s:i}", "ID", 100));
		}
		text = json_dumps(m, 0);
		assert_int_equal(feed(map, text, &change), 0);
		replay(&n, m, fresh);
		replay_filters(&n, m, fresh);
		compare(map, &n, &change, i);
		free(text);
		json_decref(m);
	}
	for (int id = 1; id <= IDS; id++) {
		json_decref(n.peers[id]);
		free(n.snapshot[id]);
	}
	json_decref(n.filters);
	netmap_change_clear(&change);
	netmap_free(map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(netmap_equals_naive_replay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
