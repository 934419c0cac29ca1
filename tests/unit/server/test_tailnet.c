/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/test_tailnet.c - registering by the table; time and routes */
#include "unit/server/tailnet_world.h"

/* Registering */

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
	assert_non_null(strstr(r.error, "already used"));
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
	struct registry_node *node;
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
	assert_true(registry_node_is_expired(node_of(1), now.wall));
	assert_null(node_of(2));
	/* Nobody else can log it out. */
	ASK(.machine = 1, .key = 3, .auth_key = key);
	DONE();
	ASK(.machine = 2, .key = 3, .expiry = TAILCFG_EXPIRY_LOGOUT);
	assert_non_null(r.error);
	DONE();
	assert_false(registry_node_is_expired(node_of(3), now.wall));
	secret_string_free(key);
	secret_string_free(brief);
}

static void test_login_by_url(void **state)
{
	struct tailcfg_register_response r;
	struct registry_user *user;
	struct registry_node *node;
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

/* What a node asks for at a login it gets from who may give it, unless the operator says. */
static void test_tags_of_a_login(void **state)
{
	struct tailcfg_register_response r;
	struct registry_user *alice, *bob;
	struct string_list own = {0};
	struct registry_node *node;
	struct error err;
	char url[256];

	(void)state;
	put_policy("{\"tagOwners\": {\"tag:web\": [\"alice@\"], \"tag:db\": []}}");
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

/* A machine that is in has no login that waits, by whatever key: approved later, it would give
 * the node that is in use another key, or its first Hostinfo. */
static void test_a_key_ends_the_login(void **state)
{
	char *key = mint("alice", true, false, NULL);
	struct tailcfg_register_response r;
	struct registry_user *alice;
	struct registry_node *node;
	struct error err;
	char url[256];

	(void)state;
	for (unsigned int other = 0; other < 2; other++) {
		ASK(.machine = 1, .key = 1 + 2 * other);
		snprintf(url, sizeof(url), "%s", r.auth_url);
		DONE();
		ASK(.machine = 9, .key = 9);
		DONE();
		ASK(.machine = 1, .key = 1 + 3 * other, .auth_key = key);
		DONE();
		assert_int_equal(tailnet.login_count, 1);
		alice = registry_user_named(&tailnet.registry, "alice");
		assert_int_equal(tailnet_approve(&tailnet, url, alice, NULL, now, &node, &err),
				 -ENOENT);
	}
	assert_int_equal(tailnet.registry.node_count, 1);
	assert_non_null(node_of(4));
	secret_string_free(key);
}

/* What a node said of its network in a map is newer than what a registration says. */
static void test_a_registration_keeps_the_home(void **state)
{
	char *key = mint("alice", true, false, NULL);
	struct tailcfg_register_response r;
	struct machine_map_request map = {.version = TAILCFG_CAPABILITY_VERSION};

	(void)state;
	ASK(.machine = 1, .key = 1, .auth_key = key, .network = true);
	DONE();
	map.hostinfo = calloc(1, sizeof(*map.hostinfo));
	map.hostinfo->net_info = calloc(1, sizeof(*map.hostinfo->net_info));
	map.hostinfo->net_info->preferred_derp = 7;
	tailnet_update(&tailnet, node_of(1), &map);
	machine_map_request_clear(&map);
	ASK(.machine = 1, .key = 2, .old_key = 1, .auth_key = key, .network = true);
	DONE();
	assert_int_equal(registry_node_home(node_of(2)), 7);
	secret_string_free(key);
}

/* A node key that became another machine's while a login waited */
static void test_a_key_of_another_machine(void **state)
{
	char *key = mint("alice", true, false, NULL);
	struct tailcfg_register_response r;
	struct registry_user *alice;
	struct registry_node *node;
	struct error err;
	char url[256];

	(void)state;
	ASK(.machine = 1, .key = 1);
	snprintf(url, sizeof(url), "%s", r.auth_url);
	DONE();
	/* As it would be, had the login outlived that. */
	node = plain_node(2);
	registry_set_key(&tailnet.registry, node, &(struct public_key){{1, [31] = 1}});
	alice = registry_user_named(&tailnet.registry, "alice");
	assert_int_equal(tailnet_approve(&tailnet, url, alice, NULL, now, &node, &err), -EEXIST);
	assert_int_equal(tailnet.registry.node_count, 1);
	assert_ptr_equal(node_of(1), node);
	/* By a key: the other's login ends with it. */
	ASK(.machine = 3, .key = 3);
	DONE();
	ASK(.machine = 4, .key = 3, .auth_key = key);
	assert_true(r.machine_authorized);
	DONE();
	ASK(.machine = 3, .key = 3);
	assert_non_null(r.error);
	DONE();
	assert_int_equal(tailnet.login_count, 1);
	secret_string_free(key);
}

static void test_logins_are_bounded(void **state)
{
	struct tailcfg_register_response r;

	(void)state;
	for (unsigned int i = 1; i < 2 * LIMIT_CONTROL_PENDING; i++) {
		ASK(.machine = i, .key = i, .source = i);
		DONE();
	}
	assert_int_equal(tailnet.login_count, LIMIT_CONTROL_PENDING);
}

/* Where the base domain holds names of others, a node gets none of them, whatever it is called. */
static void test_reserved_names(void **state)
{
	static const char *const reserved[] = {"control", "relay", "cert", "wiki", "corp"};
	struct tailcfg_derp_node relay = {.host_name = (char *)(uintptr_t) "Relay.Tailnet.example",
					  .cert_name = (char *)(uintptr_t) "cert.tailnet.example"};
	struct tailcfg_derp_region region = {.id = 900, .nodes = &relay, .node_count = 1};
	struct tailcfg_dns_record record = {.name = (char *)(uintptr_t) "wiki.tailnet.example."};
	struct tailcfg_dns_route route = {.suffix = (char *)(uintptr_t) "corp.tailnet.example"};
	char *key = mint("alice", true, false, NULL), name[64];
	struct tailcfg_register_response r;

	(void)state;
	tailnet.settings.server_url = "https://control.tailnet.example:8443";
	tailnet.settings.derp_map.regions = &region;
	tailnet.settings.derp_map.region_count = 1;
	tailnet.settings.dns.extra_records = &record;
	tailnet.settings.dns.extra_record_count = 1;
	tailnet.settings.dns.routes = (struct tailcfg_dns_route_list){&route, 1};
	for (unsigned int i = 0; i < ARRAY_SIZE(reserved); i++) {
		ASK(.machine = 2 * i + 1, .key = 2 * i + 1, .auth_key = key,
		    .hostname = reserved[i]);
		DONE();
		snprintf(name, sizeof(name), "%s-1", reserved[i]);
		assert_string_equal(node_of(2 * i + 1)->name, name);
		ASK(.machine = 2 * i + 2, .key = 2 * i + 2, .auth_key = key,
		    .hostname = reserved[i]);
		DONE();
		snprintf(name, sizeof(name), "%s-2", reserved[i]);
		assert_string_equal(node_of(2 * i + 2)->name, name);
		assert_int_equal(tailnet_rename(&tailnet, node_of(1), reserved[i]), -EPERM);
		/* Asked again, it keeps its number. */
		assert_int_equal(
			registry_rename(&tailnet.registry, node_of(2 * i + 2), reserved[i], false),
			0);
		assert_string_equal(node_of(2 * i + 2)->name, name);
	}
	/* Only what is right below the base domain: these are no names of others. */
	assert_int_equal(tailnet_rename(&tailnet, node_of(1), "tailnet"), 0);
	assert_int_equal(tailnet_rename(&tailnet, node_of(1), "example"), 0);
	/* The server at the apex: no node has an empty name. */
	tailnet.settings.server_url = "https://tailnet.example";
	assert_int_equal(tailnet_rename(&tailnet, node_of(1), ""), -EINVAL);
	assert_int_equal(tailnet_rename(&tailnet, node_of(1), "control"), 0);
	tailnet.settings.derp_map.region_count = 0;
	tailnet.settings.dns = (struct tailcfg_dns_config){0};
	secret_string_free(key);
}

/* One machine, or one address, pushes its own logins out and nobody else's. */
static void test_logins_of_one_stranger(void **state)
{
	struct tailcfg_register_response r;
	char url[256];

	(void)state;
	ASK(.machine = 1, .key = 1, .source = 1);
	snprintf(url, sizeof(url), "%s", r.auth_url);
	DONE();
	for (unsigned int i = 0; i < 2 * LIMIT_CONTROL_PENDING; i++) {
		ASK(.machine = 2, .key = 10 + i, .source = WEB_SOURCE_LOCAL);
		DONE();
	}
	assert_int_equal(tailnet.login_count, 1 + LIMIT_CONTROL_PENDING_MACHINE);
	for (unsigned int i = 0; i < 2 * LIMIT_CONTROL_PENDING; i++) {
		ASK(.machine = 3 + i, .key = 10000 + i, .source = 2);
		DONE();
	}
	assert_int_equal(tailnet.login_count,
			 1 + LIMIT_CONTROL_PENDING_MACHINE + LIMIT_CONTROL_PENDING_SOURCE);
	assert_non_null(tailnet_login(&tailnet, url));
}

/* Large ones are bounded in bytes: of one address, and of all. Small ones stay. */
static void test_logins_are_bounded_in_bytes(void **state)
{
	struct tailcfg_register_response r;
	char hostname[60000], url[256];
	size_t bytes = 0;

	(void)state;
	memset(hostname, 'x', sizeof(hostname) - 1);
	hostname[sizeof(hostname) - 1] = '\0';
	ASK(.machine = 1, .key = 1, .source = 1);
	snprintf(url, sizeof(url), "%s", r.auth_url);
	DONE();
	for (unsigned int i = 0; i < LIMIT_CONTROL_PENDING_SOURCE; i++) {
		ASK(.machine = 2 + i, .key = 2 + i, .source = 2, .hostname = hostname);
		DONE();
	}
	assert_int_equal(tailnet.login_count,
			 1 + LIMIT_CONTROL_PENDING_SOURCE_BYTES / sizeof(hostname));
	for (unsigned int i = 0; i < 300; i++) {
		ASK(.machine = 100 + i, .key = 100 + i, .source = 100 + i, .hostname = hostname);
		DONE();
	}
	for (const struct tailnet_login *l = tailnet.logins; l; l = l->next)
		bytes += l->size;
	assert_in_range(bytes, LIMIT_CONTROL_PENDING_BYTES - 2 * sizeof(hostname),
			LIMIT_CONTROL_PENDING_BYTES);
	assert_non_null(tailnet_login(&tailnet, url));
}

static void test_too_old(void **state)
{
	struct tailcfg_register_response r;

	(void)state;
	ASK(.machine = 1, .key = 1, .version = TAILNET_VERSION_MIN - 1);
	assert_non_null(strstr(r.error, "this client is too old"));
	assert_null(r.auth_url);
	DONE();
	ASK(.machine = 1, .key = 1, .version = TAILNET_VERSION_MIN);
	assert_null(r.error);
	DONE();
}

/* Time */

static void test_online(void **state)
{
	struct registry_node *node = plain_node(1);
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
	struct registry_node *node = plain_node(1);
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

static void serve_route(struct registry_node *node, const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(text, strlen(text), &p), 0);
	free(node->hostinfo.routable_ips.items);
	node->hostinfo.routable_ips.items = malloc(sizeof(p));
	node->hostinfo.routable_ips.items[0] = p;
	node->hostinfo.routable_ips.count = 1;
}

/* advertise() - What a node sends, through the parser: @routes in JSON */
static void advertise(struct registry_node *node, const char *routes)
{
	struct machine_map_request map = {0};
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct error err = {0};
	char key[KEY_TEXT_MAX];

	buffer_printf(&body,
		      "{\"Version\":138,\"NodeKey\":\"%s\",\"Hostinfo\":{\"RoutableIPs\":%s}}",
		      public_key_format(&node->key, KEY_NODE, key), routes);
	if (machine_map_request_parse(buffer_head(&body), body.length, &map, &err) < 0)
		fail_msg("%s", err.text);
	tailnet_update(&tailnet, node, &map);
	machine_map_request_clear(&map);
	buffer_free(&body);
}

#define APPROVE_ALL                                                                 \
	"{\"autoApprovers\": {\"routes\": {\"0.0.0.0/0\": [\"autogroup:member\"], " \
	"\"::/0\": [\"autogroup:member\"]}, \"exitNode\": [\"autogroup:member\"]}}"

/* A prefix has one form: its host bits are no other route, and no way past "an exit route". */
static void test_routes_have_one_form(void **state)
{
	struct registry_node *one = plain_node(1), *two = plain_node(2);
	struct map_session *s1 = map_session_open(&tailnet, one, NULL, now);
	struct map_session *s2 = map_session_open(&tailnet, two, NULL, now);
	char text[PREFIX_TEXT_MAX];

	(void)state;
	put_policy(APPROVE_ALL);
	advertise(one, "[\"10.0.0.1/8\",\"10.0.0.2/8\",\"1.2.3.4/0\",\"fd00::1/64\"]");
	advertise(two, "[\"10.0.0.0/8\"]");
	assert_int_equal(one->hostinfo.routable_ips.count, 3);
	assert_int_equal(one->approved_routes.count, 3);
	assert_string_equal(prefix_format(&one->approved_routes.items[0], text), "10.0.0.0/8");
	assert_string_equal(prefix_format(&one->approved_routes.items[1], text), "0.0.0.0/0");
	assert_string_equal(prefix_format(&one->approved_routes.items[2], text), "fd00::/64");
	assert_int_equal(one->primary_routes.count, 2);
	assert_int_equal(two->primary_routes.count, 0);
	map_session_close(s1, now);
	map_session_close(s2, now);
}

/* Under autoApprovers a node may change its routes for ever. */
static void test_routes_are_bounded(void **state)
{
	struct registry_node *node = plain_node(1);
	struct prefix kept;

	(void)state;
	put_policy(APPROVE_ALL);
	prefix_parse("192.0.2.0/24", 12, &kept);
	assert_int_equal(tailnet_set_routes(&tailnet, node,
					    &(struct prefix_list){.items = &kept, .count = 1}),
			 0);
	for (unsigned int round = 0; round < 20; round++) {
		struct buffer routes = BUFFER_INIT(LIMIT_RPC_BODY);

		for (unsigned int i = 0; i < 2 * MACHINE_ROUTES_MAX; i++)
			buffer_printf(&routes, "%s\"10.%u.%u.%u/32\"", i ? "," : "[", round, i >> 8,
				      i & 0xff);
		buffer_append(&routes, "]", 2);
		advertise(node, (char *)buffer_head(&routes));
		buffer_free(&routes);
		/* What it advertises now is approved; what it did before made room. */
		assert_int_equal(node->hostinfo.routable_ips.count, MACHINE_ROUTES_MAX);
		assert_int_equal(node->approved_routes.count, MACHINE_ROUTES_MAX);
		for (uint32_t i = 0; i < MACHINE_ROUTES_MAX; i++)
			assert_true(
				registry_node_serves(node, &node->hostinfo.routable_ips.items[i]));
	}
	/* Below the limit an approval outlives the advertisement. */
	advertise(node, "[]");
	assert_int_equal(node->approved_routes.count, MACHINE_ROUTES_MAX);
}

static void test_routes(void **state)
{
	struct registry_node *one = plain_node(1), *two = plain_node(2);
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
		TEST(test_a_key_ends_the_login),
		TEST(test_a_registration_keeps_the_home),
		TEST(test_a_key_of_another_machine),
		TEST(test_logins_are_bounded),
		TEST(test_reserved_names),
		TEST(test_logins_of_one_stranger),
		TEST(test_logins_are_bounded_in_bytes),
		TEST(test_too_old),
		TEST(test_online),
		TEST(test_ephemeral),
		TEST(test_routes),
		TEST(test_routes_have_one_form),
		TEST(test_routes_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
