/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/test_store.c - users, keys and nodes, and that the disk has them */
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/coordinator/machine_requests.h"
#include "server/coordinator/registry_store.h"
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define NOW INT64_C(1700000000000000000)

struct fixture {
	char folder[64], path[96];
	struct registry_store *store;
	struct registry registry;
};

static struct public_key key_of(uint8_t n)
{
	struct public_key key;

	memset(key.bytes, n, sizeof(key.bytes));
	return key;
}

static void open_it(struct fixture *f)
{
	struct error err = {0};

	registry_init(&f->registry);
	if (registry_store_open(f->path, &f->store, &err) < 0 ||
	    registry_store_load(f->store, &f->registry, &err) < 0)
		fail_msg("%s", err.text);
}

/* reopen() - As after kill -9: nothing is closed in order but memory */
static void reopen(struct fixture *f)
{
	registry_store_close(f->store);
	registry_clear(&f->registry);
	open_it(f);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->folder, "/tmp/pillion-store-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->path, sizeof(f->path), "%s/control.db", f->folder);
	open_it(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const endings[] = {"", "-wal", "-shm"};
	struct fixture *f = *state;
	char path[128];

	registry_store_close(f->store);
	registry_clear(&f->registry);
	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		snprintf(path, sizeof(path), "%s%s", f->path, endings[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

static void flush(struct fixture *f)
{
	struct error err = {0};

	if (registry_store_flush(f->store, &f->registry, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(registry_is_dirty(&f->registry));
}

static struct registry_user *add_user(struct fixture *f, const char *name)
{
	struct registry_user *user = NULL;
	struct error err;

	assert_int_equal(registry_add_user(&f->registry, name, NOW, &user, &err), 0);
	return user;
}

static struct registry_node *add_node(struct fixture *f, uint8_t n, const char *hostname)
{
	struct public_key machine = key_of((uint8_t)(n + 100)), key = key_of(n);
	struct registry_node *node = NULL;
	struct error err;

	assert_int_equal(
		registry_add_node(&f->registry, &machine, &key, hostname, NOW, &node, &err), 0);
	return node;
}

static void test_nodes_come_back(void **state)
{
	struct fixture *f = *state;
	struct registry_node *node = add_node(f, 1, "Alice's Laptop.local"), *other;
	struct public_key key = key_of(1);
	struct prefix route;
	struct stat info;

	node->user = add_user(f, "alice")->record.id;
	string_list_add(&node->tags, "tag:web");
	prefix_parse("10.1.0.0/16", 11, &route);
	node->approved_routes.items = malloc(sizeof(route));
	node->approved_routes.items[0] = route;
	node->approved_routes.count = 1;
	node->hostinfo.hostname = strdup("Alice's Laptop.local");
	node->hostinfo.net_info = calloc(1, sizeof(*node->hostinfo.net_info));
	node->hostinfo.net_info->preferred_derp = 9;
	node->endpoints.items = malloc(sizeof(struct endpoint));
	endpoint_parse("[2001:db8::1]:41641", 19, &node->endpoints.items[0]);
	node->endpoints.count = 1;
	node->disco = key_of(77);
	node->expiry = NOW + 5;
	node->ephemeral = true;
	flush(f);
	assert_int_equal(stat(f->path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	reopen(f);
	assert_int_equal(f->registry.node_count, 1);
	other = registry_node_of_key(&f->registry, &key);
	assert_non_null(other);
	assert_ptr_equal(registry_node_find(&f->registry, "alice-s-laptop"), other);
	assert_ptr_equal(registry_node_find(&f->registry, "100.64.0.1"), other);
	assert_ptr_equal(registry_node_find(&f->registry, "fd7a:115c:a1e0::1"), other);
	assert_ptr_equal(registry_node_find(&f->registry, "1"), other);
	assert_null(registry_node_find(&f->registry, "bob"));
	assert_true(string_list_contains(&other->tags, "tag:web"));
	assert_int_equal(other->approved_routes.count, 1);
	assert_true(prefix_equal(&other->approved_routes.items[0], &route));
	assert_int_equal(registry_node_home(other), 9);
	assert_int_equal(other->endpoints.count, 1);
	assert_int_equal(other->disco.bytes[0], 77);
	assert_true(other->expiry == NOW + 5 && other->ephemeral && other->authorized);
	assert_string_equal(registry_user(&f->registry, other->user)->name, "alice");
}

static void test_what_was_deleted_stays_so(void **state)
{
	struct fixture *f = *state;
	struct registry_node *node = add_node(f, 1, "one");
	struct error err;
	int64_t id = node->record.id;

	add_user(f, "bob");
	flush(f);
	registry_remove_node(&f->registry, node);
	assert_int_equal(
		registry_remove_user(&f->registry, registry_user_named(&f->registry, "bob"), &err),
		0);
	/* Its name, address and key may be another's in the same transaction. */
	node = add_node(f, 1, "one");
	assert_string_equal(node->name, "one");
	flush(f);
	reopen(f);
	assert_int_equal(f->registry.node_count, 1);
	assert_null(registry_node(&f->registry, id));
	assert_null(registry_user_named(&f->registry, "bob"));
	/* An id is never used again, not after a restart either. */
	registry_remove_node(&f->registry, registry_node_named(&f->registry, "one"));
	flush(f);
	reopen(f);
	assert_true(add_node(f, 3, "three")->record.id > id + 1);
}

static void test_names(void **state)
{
	static const struct {
		const char *hostname, *name;
	} rows[] = {
		{"web", "web"},
		{"web", "web-1"},
		{"WEB.example.com", "web-2"},
		{"my_host  name", "my-host-name"},
		{"--", "node"},
		{"", "node-1"},
		{"1", "1-1"},
		{"007.example.com", "007-1"},
		{"näme", "n-me"},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-1"},
	};
	struct fixture *f = *state;
	struct registry_node *node = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		node = add_node(f, (uint8_t)(i + 1), rows[i].hostname);
		if (strcmp(node->name, rows[i].name) != 0)
			fail_msg("row %zu: %s", i, node->name);
	}
	assert_int_equal(registry_rename(&f->registry, node, "web", true), -EEXIST);
	assert_int_equal(registry_rename(&f->registry, node, "Web", true), -EINVAL);
	assert_int_equal(registry_rename(&f->registry, node, "1", true), -EPERM);
	/* What an older version allowed: a number is an id all the same. */
	HASH_DELETE(by_name, f->registry.nodes_by_name, node);
	strcpy(node->name, "1");
	HASH_ADD_KEYPTR(by_name, f->registry.nodes_by_name, node->name, 1, node);
	assert_int_equal(registry_node_find(&f->registry, "1")->record.id, 1);
	assert_null(registry_node_find(&f->registry, "+1"));
	assert_null(registry_node_find(&f->registry, " 1"));
	assert_int_equal(registry_rename(&f->registry, node, "other", true), 0);
	assert_ptr_equal(registry_node_named(&f->registry, "other"), node);
	flush(f);
	reopen(f);
	assert_non_null(registry_node_named(&f->registry, "web-2"));
}

/* Within one transaction names and keys move from node to node, in any order. */
static void test_names_move(void **state)
{
	struct fixture *f = *state;
	struct registry_node *one = add_node(f, 1, "one"), *two = add_node(f, 2, "two");
	struct public_key k1 = key_of(1), k2 = key_of(2), k3 = key_of(3);

	flush(f);
	assert_int_equal(registry_rename(&f->registry, one, "other", true), 0);
	assert_int_equal(registry_rename(&f->registry, two, "one", true), 0);
	assert_int_equal(registry_rename(&f->registry, one, "two", true), 0);
	registry_set_key(&f->registry, one, &k3);
	registry_set_key(&f->registry, two, &k1);
	registry_set_key(&f->registry, one, &k2);
	flush(f);
	reopen(f);
	assert_int_equal(f->registry.node_count, 2);
	assert_int_equal(registry_node_named(&f->registry, "one")->record.id, 2);
	assert_int_equal(registry_node_of_key(&f->registry, &k2)->record.id, 1);
}

/* An older version stored routes as they came, and without a limit. */
static void test_old_routes(void **state)
{
	struct fixture *f = *state;
	struct registry_node *node = add_node(f, 1, "router");
	struct prefix_list *routes = &node->approved_routes;

	routes->items = calloc(6000, sizeof(*routes->items));
	for (; routes->count < 6000; routes->count++) {
		char text[PREFIX_TEXT_MAX];

		snprintf(text, sizeof(text), routes->count < 1000 ? "1.2.%u.%u/0" : "10.1.%u.%u/32",
			 routes->count / 256, routes->count % 256);
		prefix_parse(text, strlen(text), &routes->items[routes->count]);
	}
	flush(f);
	reopen(f);
	node = registry_node_named(&f->registry, "router");
	assert_int_equal(node->approved_routes.count, MACHINE_ROUTES_MAX);
	assert_int_equal(node->approved_routes.items[0].bits, 0);
	assert_int_equal(node->approved_routes.items[0].address.bytes[0], 0);
	assert_int_equal(node->approved_routes.items[1].bits, 32);
}

/* A record that can't be a row is left out: the others are stored, and its old row stays. */
static void test_one_bad_record(void **state)
{
	struct fixture *f = *state;
	struct registry_node *bad = add_node(f, 1, "bad"), *good = add_node(f, 2, "good"), *twin;
	struct public_key key = key_of(2);

	flush(f);
	for (int i = 0; i < 20000; i++)
		string_list_add(&bad->tags, "tag:a-tag-that-is-there-too-often");
	registry_touch(&f->registry, &good->record);
	registry_touch(&f->registry, &bad->record);
	good->cap = 111;
	flush(f);
	/* No part of the server does this: two nodes with one key. */
	twin = add_node(f, 3, "twin");
	twin->key = key;
	flush(f);
	reopen(f);
	assert_int_equal(f->registry.node_count, 2);
	assert_int_equal(registry_node_named(&f->registry, "bad")->tags.count, 0);
	assert_int_equal(registry_node_of_key(&f->registry, &key)->cap, 111);
}

static void test_addresses(void **state)
{
	struct fixture *f = *state;
	struct registry_node *node;
	char text[ADDRESS_TEXT_MAX];

	f->registry.next_host = 254;
	assert_string_equal(address_format(&add_node(f, 1, "a")->v4, text), "100.64.0.254");
	/* .255 and .0 confuse old stacks. */
	assert_string_equal(address_format(&add_node(f, 2, "b")->v4, text), "100.64.1.1");
	/* 100.100.100.100 is the resolver. */
	f->registry.next_host = (36u << 16) + (100u << 8) + 100;
	node = add_node(f, 3, "c");
	assert_string_equal(address_format(&node->v4, text), "100.100.100.101");
	assert_string_equal(address_format(&node->v6, text), "fd7a:115c:a1e0::24:6465");
	/* 100.115.92.0/23 is ChromeOS's. */
	f->registry.next_host = (51u << 16) + (92u << 8) + 1;
	assert_string_equal(address_format(&add_node(f, 4, "d")->v4, text), "100.115.94.1");
	/* At the end it begins again, and passes over what is taken. */
	f->registry.next_host = 0x3ffffe;
	assert_string_equal(address_format(&add_node(f, 5, "e")->v4, text), "100.127.255.254");
	assert_string_equal(address_format(&add_node(f, 6, "f")->v4, text), "100.64.0.1");
}

static void test_keys(void **state)
{
	struct fixture *f = *state;
	struct registry_user *user = add_user(f, "alice");
	struct registry_key_options options = {.user = user->record.id, .expiry = NOW + 100};
	struct registry_key *key, *found;
	struct error err = {0};
	char *text, wrong[128];
	FILE *file;
	static char stored[1 << 20];
	size_t length;

	assert_int_equal(registry_add_key(&f->registry, &options, NOW, &key, &text, &err), 0);
	flush(f);
	reopen(f);
	assert_int_equal(registry_check_key(&f->registry, text, NOW, &found, &err), 0);
	assert_int_equal(registry_check_key(&f->registry, text, NOW + 100, &found, &err),
			 -EKEYEXPIRED);
	found->used = true;
	assert_int_equal(registry_check_key(&f->registry, text, NOW, &found, &err), -EKEYREVOKED);
	found->reusable = true;
	assert_int_equal(registry_check_key(&f->registry, text, NOW, &found, &err), 0);
	/* Any other text isn't it. */
	for (size_t i = 0; i < strlen(text); i++) {
		strcpy(wrong, text);
		wrong[i] = wrong[i] == '0' ? '1' : '0';
		assert_int_equal(registry_check_key(&f->registry, wrong, NOW, &found, &err),
				 -EKEYREJECTED);
		wrong[i] = '\0';
		assert_int_equal(registry_check_key(&f->registry, wrong, NOW, &found, &err),
				 -EKEYREJECTED);
	}
	assert_int_equal(registry_check_key(&f->registry, "tskey-auth-x", NOW, &found, &err),
			 -EKEYREJECTED);
	/* The secret is not on the disk. */
	file = fopen(f->path, "re");
	length = fread(stored, 1, sizeof(stored), file);
	fclose(file);
	assert_null(memmem(stored, length, text + strlen(text) - 40, 40));
	secret_string_free(text);
}

static void test_users(void **state)
{
	struct fixture *f = *state;
	struct registry_user *user = add_user(f, "alice"), *other;
	struct error err;

	assert_int_equal(registry_add_user(&f->registry, "alice", NOW, &other, &err), -EEXIST);
	assert_int_equal(registry_add_user(&f->registry, "", NOW, &other, &err), -EINVAL);
	assert_int_equal(registry_add_user(&f->registry, "a b", NOW, &other, &err), -EINVAL);
	assert_int_equal(registry_add_user(&f->registry, "a/b", NOW, &other, &err), -EINVAL);
	assert_int_equal(registry_add_user(&f->registry, "1", NOW, &other, &err), -EINVAL);
	assert_int_equal(registry_add_user(&f->registry, "1a", NOW, &other, &err), 0);
	add_node(f, 1, "x")->user = user->record.id;
	assert_int_equal(registry_remove_user(&f->registry, user, &err), -EBUSY);
}

static void test_a_second_process(void **state)
{
	struct fixture *f = *state;
	struct registry_store *second = NULL;
	struct error err = {0};

	assert_int_equal(registry_store_open(f->path, &second, &err), -EBUSY);
	assert_non_null(strstr(err.text, "in use"));
}

/* A first start never leaves an empty database, nor a log without its database. */
static void test_a_lost_database_is_no_first_start(void **state)
{
	struct fixture *f = *state;
	struct registry_store *other = NULL;
	struct error err = {0};
	char path[128], log[160];
	FILE *file;

	snprintf(path, sizeof(path), "%s/other.db", f->folder);
	snprintf(log, sizeof(log), "%s-wal", path);
	fclose(fopen(path, "w"));
	assert_int_equal(registry_store_open(path, &other, &err), -EINVAL);
	assert_non_null(strstr(err.text, "is empty"));
	assert_int_equal(unlink(path), 0);

	file = fopen(log, "w");
	fputs("what was written last", file);
	fclose(file);
	assert_int_equal(registry_store_open(path, &other, &err), -EINVAL);
	assert_non_null(strstr(err.text, "is gone"));
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(unlink(log), 0);

	assert_int_equal(registry_store_open(path, &other, &err), 0);
	registry_store_close(other);
	assert_int_equal(unlink(path), 0);
}

static void test_the_noise_key_stays(void **state)
{
	struct fixture *f = *state;
	struct secret_key one, two;
	struct error err;

	assert_int_equal(registry_store_noise_key(f->store, &one, &err), 0);
	reopen(f);
	assert_int_equal(registry_store_noise_key(f->store, &two, &err), 0);
	assert_memory_equal(&one, &two, sizeof(one));
}

/* Once confined, the process can open no file: not for what a large transaction keeps either. */
static void test_thousands_of_nodes_open_no_file(void **state)
{
	enum { COUNT = 6000 };
	struct fixture *f = *state;
	struct rlimit old, none;
	struct public_key machine, key;
	struct error err = {0};
	int fd, r;

	randombytes_buf_deterministic(machine.bytes, KEY_SIZE, (uint8_t[32]){1});
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	none = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < COUNT; i++) {
		struct registry_node *node;
		char name[32];

		crypto_generichash(key.bytes, KEY_SIZE, machine.bytes, KEY_SIZE, NULL, 0);
		crypto_generichash(machine.bytes, KEY_SIZE, key.bytes, KEY_SIZE, NULL, 0);
		snprintf(name, sizeof(name), "%02x%02x-%d", key.bytes[0], key.bytes[1], i);
		assert_int_equal(
			registry_add_node(&f->registry, &machine, &key, name, NOW, &node, &err), 0);
		node->hostinfo.os_version = calloc(1, 701);
		memset((char *)node->hostinfo.os_version, 'x', 700);
	}
	for (int round = 0; round < 2; round++) {
		r = registry_store_flush(f->store, &f->registry, &err);
		for (struct registry_node *n = f->registry.nodes; n; n = n->by_id.next)
			registry_touch(&f->registry, &n->record);
		if (r < 0)
			break;
	}
	setrlimit(RLIMIT_NOFILE, &old);
	if (r < 0)
		fail_msg("%s", err.text);
	flush(f);
}

static void test_the_policy_stays(void **state)
{
	struct fixture *f = *state;

	f->registry.policy = strdup("{\"acls\":[]}");
	f->registry.policy_dirty = true;
	flush(f);
	reopen(f);
	assert_string_equal(f->registry.policy, "{\"acls\":[]}");
	free(f->registry.policy);
	f->registry.policy = NULL;
	f->registry.policy_dirty = true;
	flush(f);
	reopen(f);
	assert_null(f->registry.policy);
}

static void test_not_a_database(void **state)
{
	struct fixture *f = *state;
	struct registry_store *other = NULL;
	struct error err = {0};
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/other", f->folder);
	file = fopen(path, "we");
	for (int i = 0; i < 1000; i++)
		fputs("this is no database, but somebody's letter ", file);
	fclose(file);
	assert_true(registry_store_open(path, &other, &err) < 0);
	unlink(path);
}

/* A Hostinfo that no row can hold is refused at the door: else no one's changes could be stored. */
static void test_a_hostinfo_too_large(void **state)
{
	static const size_t lengths[] = {1000, 60000, 70000, 300000, 900000};
	struct public_key key = key_of(1);
	char text[KEY_TEXT_MAX];

	(void)state;
	public_key_format(&key, KEY_NODE, text);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct machine_map_request map = {0};
		struct machine_register_request registration = {0};
		struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
		struct error err = {0};
		int wanted = lengths[i] < LIMIT_HOSTINFO ? 0 : -EINVAL;

		buffer_printf(&body, "{\"Version\":138,\"NodeKey\":\"%s\",\"Hostinfo\":{\"App\":\"",
			      text);
		for (size_t n = 0; n < lengths[i]; n++)
			buffer_append(&body, "a", 1);
		buffer_append(&body, "\"}}", 3);
		assert_int_equal(
			machine_map_request_parse(buffer_head(&body), body.length, &map, &err),
			wanted);
		assert_int_equal(machine_register_request_parse(buffer_head(&body), body.length,
								&registration, &err),
				 wanted);
		machine_map_request_clear(&map);
		machine_register_request_clear(&registration);
		buffer_free(&body);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_nodes_come_back),
		TEST(test_what_was_deleted_stays_so),
		TEST(test_names),
		TEST(test_names_move),
		TEST(test_old_routes),
		TEST(test_one_bad_record),
		TEST(test_addresses),
		TEST(test_keys),
		TEST(test_users),
		TEST(test_a_second_process),
		TEST(test_a_lost_database_is_no_first_start),
		TEST(test_the_noise_key_stays),
		TEST(test_thousands_of_nodes_open_no_file),
		TEST(test_the_policy_stays),
		TEST(test_not_a_database),
		TEST(test_a_hostinfo_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
