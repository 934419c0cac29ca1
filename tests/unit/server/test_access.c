/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/test_access.c - policy in the coordination server: live changes as deltas */
#include "unit/unit.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "server/coordinator/tailnet.h"

#define WEB_ONLY                                                                  \
	"{\"tagOwners\": {\"tag:web\": [\"alice@\"]},\n"                          \
	"\"acls\": [{\"action\": \"accept\", \"src\": [\"alice@\"], \"dst\": "    \
	"[\"tag:web:80\"]}],\n"                                                   \
	"\"autoApprovers\": {\"routes\": {\"10.0.0.0/8\": [\"tag:web\"]}},\n"     \
	"\"nodeAttrs\": [{\"target\": [\"tag:web\"], \"attr\": [\"funnel\"]}],\n" \
	"\"tests\": [{\"src\": \"alice@\", \"accept\": [\"tag:web:80\"]}]}"

static struct tailnet tailnet;
static struct tailnet_time now;
static unsigned int last_key;

static int setup(void **state)
{
	struct tailnet_settings settings = {.server_url = "https://c.test",
					    .base_domain = "t.test"};

	(void)state;
	now = (struct tailnet_time){.boot = NSEC_PER_SEC, .wall = 1700000000 * NSEC_PER_SEC};
	return tailnet_init(&tailnet, &settings);
}

static int teardown(void **state)
{
	(void)state;
	tailnet_clear(&tailnet);
	return 0;
}

static struct registry_node *join(const char *user_name, const char *tag)
{
	struct registry_user *user = registry_user_named(&tailnet.registry, user_name);
	struct public_key machine = {{1}}, key = {{2}};
	struct registry_node *node;
	struct error err;

	if (!user)
		assert_int_equal(
			registry_add_user(&tailnet.registry, user_name, now.wall, &user, &err), 0);
	last_key++;
	memcpy(&machine.bytes[4], &last_key, sizeof(last_key));
	memcpy(&key.bytes[4], &last_key, sizeof(last_key));
	assert_int_equal(
		registry_add_node(&tailnet.registry, &machine, &key, "host", now.wall, &node, &err),
		0);
	node->user = user->record.id;
	node->authorized = true;
	if (tag)
		assert_int_equal(string_list_add(&node->tags, tag), 0);
	tailnet_changed(&tailnet, node, CHANGE_NODE);
	return node;
}

/* next() - The session's next message; NULL: it has nothing to say */
static json_t *next(struct map_session *s)
{
	struct buffer out = BUFFER_INIT(LIMIT_MAP_OBJECT);
	json_t *message = NULL;

	if (map_session_take(s, now, &out) > 0) {
		message = json_loadb((char *)buffer_head(&out), out.length, 0, NULL);
		assert_non_null(message);
	}
	buffer_free(&out);
	return message;
}

static void quiet(struct map_session *s)
{
	json_t *message = next(s);

	if (message)
		fail_msg("a needless message: %s", json_dumps(message, 0));
}

/* has() - Whether a list of nodes, patches or ids holds @id */
static bool has(const json_t *message, const char *name, int64_t id)
{
	json_t *list = json_object_get(message, name), *item;
	size_t i;

	json_array_foreach(list, i, item) {
		const json_t *at = json_is_object(item) ? json_object_get(item, "ID") : item;

		if (json_integer_value(at ? at : json_object_get(item, "NodeID")) == id)
			return true;
	}
	return false;
}

static size_t rule_count(const json_t *message)
{
	return json_array_size(json_object_get(json_object_get(message, "PacketFilters"), "base"));
}

static void a_policy_comes_and_goes(void **state)
{
	static const char *const blank[] = {
		"",     "\n",           " \t\r\n",      "// to be written\n",
		"/**/", "\xef\xbb\xbf", "{ // none\n}", "{\"$schema\": \"x\"}"};
	struct registry_node *alice = join("alice", NULL), *bob = join("bob", NULL);
	struct registry_node *web = join("alice", "tag:web"), *second;
	struct map_session *a = map_session_open(&tailnet, alice, NULL, now);
	struct map_session *b = map_session_open(&tailnet, bob, NULL, now);
	struct map_session *w = map_session_open(&tailnet, web, NULL, now), *s;
	struct error err = {0};
	json_t *m;

	(void)state;
	/* Without a policy: everybody. */
	m = next(b);
	assert_true(has(m, "Peers", alice->record.id) && has(m, "Peers", web->record.id));
	assert_int_equal(rule_count(m), 1);
	json_decref(m);
	json_decref(next(a));
	json_decref(next(w));
	json_decref(next(a));
	json_decref(next(b));

	/* One that fails its own tests changes nothing. */
	static const char failing[] = "{\"acls\": [], \"tests\": [{\"src\": \"alice@\", "
				      "\"accept\": [\"bob@:1\"]}]}";
	assert_int_equal(tailnet_policy_check(&tailnet, failing, strlen(failing), NULL, &err),
			 -EPERM);
	assert_int_equal(tailnet_policy_set(&tailnet, failing, strlen(failing), NULL, &err),
			 -EPERM);
	assert_non_null(strstr(err.text, "alice must reach"));
	assert_int_equal(tailnet_policy_set(&tailnet, "{", 1, NULL, &err), -EINVAL);
	quiet(a);
	quiet(b);
	assert_null(tailnet.registry.policy);

	assert_int_equal(tailnet_policy_set(&tailnet, WEB_ONLY, strlen(WEB_ONLY), NULL, &err), 0);
	assert_true(tailnet.registry.policy_dirty);
	assert_string_equal(tailnet.registry.policy, WEB_ONLY);
	m = next(b);
	assert_null(json_object_get(m, "Peers"));
	assert_true(has(m, "PeersRemoved", alice->record.id) &&
		    has(m, "PeersRemoved", web->record.id));
	assert_int_equal(rule_count(m), 0);
	json_decref(m);
	m = next(a);
	assert_true(has(m, "PeersRemoved", bob->record.id));
	assert_false(has(m, "PeersRemoved", web->record.id));
	json_decref(m);
	m = next(w);
	assert_true(has(m, "PeersRemoved", bob->record.id));
	assert_int_equal(rule_count(m), 1);
	assert_non_null(
		json_object_get(json_object_get(json_object_get(m, "Node"), "CapMap"), "funnel"));
	json_decref(m);

	/* A new node of alice: web has to let it in, and sees it; bob hears nothing. */
	second = join("alice", NULL);
	quiet(a);
	quiet(b);
	m = next(w);
	assert_true(has(m, "PeersChanged", second->record.id));
	assert_int_equal(rule_count(m), 1);
	json_decref(m);
	s = map_session_open(&tailnet, second, NULL, now);
	m = next(s);
	assert_int_equal(json_array_size(json_object_get(m, "Peers")), 1);
	assert_true(has(m, "Peers", web->record.id));
	assert_int_equal(rule_count(m), 0);
	json_decref(m);
	json_decref(next(w)); /* it is online */

	/* It becomes a server: alice's see it, and the other server does no more. */
	struct string_list tags = {0};

	assert_int_equal(string_list_add(&tags, "tag:web"), 0);
	assert_int_equal(tailnet_set_tags(&tailnet, second, &tags, now), 0);
	m = next(a);
	assert_true(has(m, "PeersChanged", second->record.id));
	json_decref(m);
	m = next(w);
	assert_true(has(m, "PeersRemoved", second->record.id));
	assert_int_equal(rule_count(m), 1);
	json_decref(m);
	m = next(s);
	assert_true(has(m, "PeersChanged", alice->record.id));
	assert_true(has(m, "PeersRemoved", web->record.id));
	assert_int_equal(rule_count(m), 1);
	json_decref(m);
	quiet(b);
	string_list_clear(&tags);

	/* And goes. */
	map_session_close(s, now);
	tailnet_remove(&tailnet, second);
	m = next(a);
	assert_true(has(m, "PeersRemoved", 4));
	json_decref(m);
	quiet(b);

	/* Without a policy again. */
	for (size_t i = 0; i < ARRAY_SIZE(blank); i++) {
		assert_int_equal(
			tailnet_policy_set(&tailnet, blank[i], strlen(blank[i]), NULL, &err),
			-EINVAL);
		assert_int_equal(
			tailnet_policy_check(&tailnet, blank[i], strlen(blank[i]), NULL, &err),
			-EINVAL);
		assert_non_null(strstr(err.text, "policy delete"));
	}
	assert_non_null(tailnet.registry.policy);
	assert_int_equal(tailnet_policy_delete(&tailnet, &err), 0);
	assert_null(tailnet.registry.policy);
	m = next(b);
	assert_true(has(m, "PeersChanged", alice->record.id) &&
		    has(m, "PeersChanged", web->record.id));
	assert_int_equal(rule_count(m), 1);
	json_decref(m);
	map_session_close(a, now);
	map_session_close(b, now);
	map_session_close(w, now);
}

/* routes_of() - Of the prefixes 10.1.0.0/16 and 10.2.0.0/16 those that a message says of the node
 * @id, as bits; -1: it says nothing of it */
static int routes_of(const json_t *message, int64_t id)
{
	static const char *const lists[] = {"Peers", "PeersChanged"};
	static const char *const members[] = {"AllowedIPs", "PrimaryRoutes"};
	const json_t *node, *prefix;
	size_t i, k;

	for (size_t l = 0; l < 2; l++)
		json_array_foreach(json_object_get(message, lists[l]), i, node) {
			int found[2] = {0};

			if (json_integer_value(json_object_get(node, "ID")) != id)
				continue;
			for (size_t m = 0; m < 2; m++)
				json_array_foreach(json_object_get(node, members[m]), k, prefix) {
					const char *text = json_string_value(prefix);

					found[m] |=
						strcmp(text, "10.1.0.0/16") == 0
							? 1
							: (strcmp(text, "10.2.0.0/16") == 0) * 2;
				}
			assert_int_equal(found[0], found[1]);
			return found[0];
		}
	return -1;
}

static int next_routes(struct map_session *s, int64_t id)
{
	json_t *message = next(s);
	int routes = message ? routes_of(message, id) : -1;

	json_decref(message);
	return routes;
}

/* Who sees a router is told of those routes that policy grants, as they come and go. */
static void granted_routes(void **state)
{
	static const char before[] =
		"{\"tagOwners\": {\"tag:web\": [], \"tag:ops\": []}, \"acls\": ["
		"{\"action\": \"accept\", \"src\": [\"alice@\"], \"dst\": [\"10.1.2.0/24:*\"]},"
		"{\"action\": \"accept\", \"src\": [\"tag:ops\"], \"dst\": [\"10.2.0.0/16:*\"]},"
		"{\"action\": \"accept\", \"src\": [\"bob@\"], \"dst\": [\"tag:web:22\"]}]}";
	static const char after[] =
		"{\"tagOwners\": {\"tag:web\": [], \"tag:ops\": []}, \"acls\": ["
		"{\"action\": \"accept\", \"src\": [\"tag:ops\"], \"dst\": [\"tag:web:22\"]},"
		"{\"action\": \"accept\", \"src\": [\"bob@\"], \"dst\": [\"10.0.0.0/8:22\"]}]}";
	struct registry_node *alice = join("alice", NULL), *bob = join("bob", NULL);
	struct registry_node *router = join("alice", "tag:web");
	struct map_session *r = map_session_open(&tailnet, router, NULL, now), *a, *b;
	struct string_list tags = {0};
	struct prefix routes[2];
	struct error err = {0};
	int64_t id = router->record.id;

	(void)state;
	assert_int_equal(prefix_parse("10.1.0.0/16", 11, &routes[0]), 0);
	assert_int_equal(prefix_parse("10.2.0.0/16", 11, &routes[1]), 0);
	router->hostinfo.routable_ips.items = malloc(sizeof(routes));
	memcpy(router->hostinfo.routable_ips.items, routes, sizeof(routes));
	router->hostinfo.routable_ips.count = 2;
	assert_int_equal(tailnet_set_routes(&tailnet, router,
					    &(struct prefix_list){.items = routes, .count = 2}),
			 0);
	assert_int_equal(tailnet_policy_set(&tailnet, before, strlen(before), NULL, &err), 0);
	a = map_session_open(&tailnet, alice, NULL, now);
	b = map_session_open(&tailnet, bob, NULL, now);
	assert_int_equal(next_routes(a, id), 1);
	assert_int_equal(next_routes(b, id), 0);

	/* By tags the viewer is another one. */
	assert_int_equal(string_list_add(&tags, "tag:ops"), 0);
	assert_int_equal(tailnet_set_tags(&tailnet, alice, &tags, now), 0);
	assert_int_equal(next_routes(a, id), 2);
	assert_int_equal(next_routes(b, id), -1);
	/* By another policy they are. */
	assert_int_equal(tailnet_policy_set(&tailnet, after, strlen(after), NULL, &err), 0);
	assert_int_equal(next_routes(a, id), 0);
	assert_int_equal(next_routes(b, id), 3);
	/* Without one all are granted. */
	assert_int_equal(tailnet_policy_delete(&tailnet, &err), 0);
	assert_int_equal(next_routes(a, id), 3);
	string_list_clear(&tags);
	map_session_close(a, now);
	map_session_close(b, now);
	map_session_close(r, now);
}

/* A key of a node with tags never expires; without them it has as long as one that is new. */
static void expiry_follows_tags(void **state)
{
	struct registry_node *node = join("alice", NULL);
	struct string_list tags = {0}, none = {0};
	nanoseconds later;

	(void)state;
	tailnet.settings.node_expiry = 180 * 24 * 3600 * NSEC_PER_SEC;
	later = now.wall + tailnet.settings.node_expiry;
	assert_int_equal(string_list_add(&tags, "tag:web"), 0);
	tailnet_set_expiry(&tailnet, node, now.wall + NSEC_PER_SEC, now);
	assert_int_equal(tailnet_set_tags(&tailnet, node, &tags, now), 0);
	assert_true(node->expiry == JSON_TIME_NONE);
	/* Other tags change nothing, nor do none again. */
	tailnet_set_expiry(&tailnet, node, now.wall + NSEC_PER_SEC, now);
	assert_int_equal(tailnet_set_tags(&tailnet, node, &tags, now), 0);
	assert_true(node->expiry == now.wall + NSEC_PER_SEC);
	assert_int_equal(tailnet_set_tags(&tailnet, node, &none, now), 0);
	assert_true(node->expiry == later);
	assert_int_equal(tailnet_set_tags(&tailnet, node, &none, now), 0);
	assert_true(node->expiry == later);
	/* What has expired needs a login. */
	tailnet_set_expiry(&tailnet, node, now.wall, now);
	assert_int_equal(tailnet_set_tags(&tailnet, node, &tags, now), 0);
	assert_true(node->expiry == now.wall && node->expired);
	/* Where keys never expire they don't. */
	tailnet.settings.node_expiry = 0;
	tailnet_set_expiry(&tailnet, node, now.wall + NSEC_PER_SEC, now);
	assert_int_equal(tailnet_set_tags(&tailnet, node, &none, now), 0);
	assert_true(node->expiry == JSON_TIME_NONE);
	string_list_clear(&tags);
}

static void owners_and_approvers(void **state)
{
	struct registry_node *web = join("alice", "tag:web");
	struct prefix route;
	struct error err = {0};

	(void)state;
	assert_int_equal(prefix_parse("10.1.0.0/16", 11, &route), 0);
	web->hostinfo.routable_ips.items = malloc(sizeof(route));
	web->hostinfo.routable_ips.items[0] = route;
	web->hostinfo.routable_ips.count = 1;
	assert_int_equal(tailnet_policy_set(&tailnet, WEB_ONLY, strlen(WEB_ONLY), NULL, &err), 0);
	/* What was advertised before is approved at once. */
	assert_int_equal(web->approved_routes.count, 1);
	assert_true(
		policy_may_tag(applied_policy_source(tailnet.policy), "alice", NULL, "tag:web"));
	assert_false(policy_may_tag(applied_policy_source(tailnet.policy), "bob", NULL, "tag:web"));
}

static void the_stored_policy_holds(void **state)
{
	struct registry_node *alice = join("alice", NULL), *bob = join("bob", NULL);
	struct error err = {0};

	(void)state;
	assert_true(tailnet_sees(&tailnet, alice, bob));
	tailnet.registry.policy = strdup("{\"acls\": [}");
	assert_int_equal(tailnet_policy_load(&tailnet, &err), -EINVAL);
	assert_non_null(strstr(err.text, "the stored policy: line 1"));
	free(tailnet.registry.policy);
	tailnet.registry.policy = strdup(WEB_ONLY);
	assert_int_equal(tailnet_policy_load(&tailnet, &err), 0);
	assert_false(tailnet_sees(&tailnet, alice, bob));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_policy_comes_and_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(granted_routes, setup, teardown),
		cmocka_unit_test_setup_teardown(expiry_follows_tags, setup, teardown),
		cmocka_unit_test_setup_teardown(owners_and_approvers, setup, teardown),
		cmocka_unit_test_setup_teardown(the_stored_policy_holds, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
