/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/registry.c - users, keys and nodes of the tailnet, in memory */
#include "server/coordinator/registry.h"

#include "base/array.h"
#include "base/cleanup.h"
#include "base/cursor.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>

/* "pillion-auth-" 12 hex digits "-" 48 hex digits */
#define KEY_LEAD         "pillion-auth-"
#define KEY_SECRET_BYTES 24

/* Hosts are numbered from 100.64.0.1; this many fit into 100.64.0.0/10. */
#define HOST_BASE  UINT32_C(0x64400000)
#define HOST_COUNT UINT32_C(0x400000)

void registry_init(struct registry *r)
{
	*r = (struct registry){.next_host = 1};
}

static void user_free(struct registry_user *user)
{
	free(user->name);
	free(user);
}

static void key_free(struct registry_key *key)
{
	string_list_clear(&key->tags);
	free(key);
}

void registry_node_free(struct registry_node *node)
{
	string_list_clear(&node->tags);
	prefix_list_clear(&node->approved_routes);
	tailcfg_hostinfo_clear(&node->hostinfo);
	prefix_list_clear(&node->primary_routes);
	endpoint_list_clear(&node->endpoints);
	free(node->encoded);
	free(node);
}

/* free_number() - "web-7" goes: the next "web" may have its number */
static void free_number(struct registry *r, const struct registry_node *node)
{
	const char *dash = strrchr(node->name, '-');
	struct registry_node *first;
	char label[REGISTRY_NAME_MAX + 1];
	unsigned long number;

	if (!dash)
		return;
	snprintf(label, sizeof(label), "%.*s", (int)(dash - node->name), node->name);
	first = registry_node_named(r, label);
	number = strtoul(dash + 1, NULL, 10);
	if (first && number > 0 && number <= first->next_label)
		first->next_label = (uint32_t)number - 1;
}

/* The nodes of one machine are a list with its head in the hash. */

static void hash_machine(struct registry *r, struct registry_node *node)
{
	struct registry_node *head;

	HASH_FIND(by_machine, r->nodes_by_machine, &node->machine, sizeof(node->machine), head);
	if (head) {
		node->next_of_machine = head->next_of_machine;
		head->next_of_machine = node;
	} else {
		node->next_of_machine = NULL;
		HASH_ADD(by_machine, r->nodes_by_machine, machine, sizeof(node->machine), node);
	}
}

static void unhash_machine(struct registry *r, struct registry_node *node)
{
	struct registry_node *head, *next = node->next_of_machine;

	HASH_FIND(by_machine, r->nodes_by_machine, &node->machine, sizeof(node->machine), head);
	if (head != node) {
		while (head->next_of_machine != node)
			head = head->next_of_machine;
		head->next_of_machine = next;
		return;
	}
	HASH_DELETE(by_machine, r->nodes_by_machine, node);
	if (next)
		HASH_ADD(by_machine, r->nodes_by_machine, machine, sizeof(next->machine), next);
}

static void leave_routers(struct registry_node *node)
{
	if (node->is_router)
		LIST_REMOVE(node, next_router);
	node->is_router = false;
}

void registry_routes_changed(struct registry *r, struct registry_node *node)
{
	struct registry_node *before = NULL, *other;

	leave_routers(node);
	if (!node->approved_routes.count && !node->primary_routes.count)
		return;
	node->is_router = true;
	/* By id: of several that could serve a route the oldest does. */
	LIST_FOREACH(other, &r->routers, next_router)
		if (other->record.id < node->record.id)
			before = other;
	if (before)
		LIST_INSERT_AFTER(before, node, next_router);
	else
		LIST_INSERT_HEAD(&r->routers, node, next_router);
}

static void unlink_node(struct registry *r, struct registry_node *node)
{
	deadlines_clear(&node->due);
	leave_routers(node);
	unhash_machine(r, node);
	HASH_DELETE(by_id, r->nodes, node);
	HASH_DELETE(by_key, r->nodes_by_key, node);
	HASH_DELETE(by_name, r->nodes_by_name, node);
	free_number(r, node);
	HASH_DELETE(by_v4, r->nodes_by_v4, node);
	r->node_count--;
}

void registry_clear(struct registry *r)
{
	struct registry_node *node, *next_node;
	struct registry_user *user, *next_user;
	struct registry_key *key, *next_key;

	HASH_ITER(by_id, r->nodes, node, next_node) {
		unlink_node(r, node);
		registry_node_free(node);
	}
	HASH_ITER(by_id, r->users, user, next_user) {
		HASH_DELETE(by_id, r->users, user);
		user_free(user);
	}
	HASH_ITER(by_id, r->keys, key, next_key) {
		HASH_DELETE(by_id, r->keys, key);
		key_free(key);
	}
	free(r->deleted);
	free(r->policy);
	registry_init(r);
}

void registry_touch(struct registry *r, struct registry_record *record)
{
	if (!record->dirty)
		LIST_INSERT_HEAD(&r->dirty, record, next_dirty);
	record->dirty = true;
}

void registry_untouch(struct registry_record *record)
{
	if (record->dirty)
		LIST_REMOVE(record, next_dirty);
	record->dirty = false;
}

bool registry_is_dirty(const struct registry *r)
{
	return !LIST_EMPTY(&r->dirty) || r->deleted_count || r->policy_dirty || r->page_key_dirty;
}

/* note_deleted() - Remember it for the store; without memory the record comes back at a start */
static void note_deleted(struct registry *r, struct registry_record *record)
{
	struct registry_deletion *d = ARRAY_ADD(r->deleted, r->deleted_count, r->deleted_room);

	registry_untouch(record);
	if (d)
		*d = (struct registry_deletion){record->kind, record->id};
}

/* Users */

struct registry_user *registry_user(const struct registry *r, int64_t id)
{
	struct registry_user *user;

	HASH_FIND(by_id, r->users, &id, sizeof(id), user);
	return user;
}

void registry_insert_user(struct registry *r, struct registry_user *user)
{
	HASH_ADD(by_id, r->users, record.id, sizeof(user->record.id), user);
}

struct registry_user *registry_user_named(const struct registry *r, const char *name)
{
	struct registry_user *user = r->users;

	while (user && strcmp(user->name, name) != 0)
		user = user->by_id.next;
	return user;
}

static bool user_name_is_valid(const char *name)
{
	size_t length = strlen(name);

	/* A number would look like an id of `users list`. */
	if (length > 128 || strspn(name, "0123456789") == length)
		return false;
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-_.@+", *c))
			return false;
	return true;
}

int registry_add_user(struct registry *r, const char *name, nanoseconds now,
		      struct registry_user **ret, struct error *err)
{
	struct registry_user *user;

	if (!user_name_is_valid(name))
		return error_set(err, -EINVAL,
				 "a user's name has 1 to 128 letters, digits or -_.@+, and is not "
				 "a number");
	if (registry_user_named(r, name))
		return error_set(err, -EEXIST, "user %s exists already", name);
	user = calloc(1, sizeof(*user));
	if (!user || !(user->name = strdup(name))) {
		free(user);
		return error_set(err, -ENOMEM, "out of memory");
	}
	user->record = (struct registry_record){.kind = REGISTRY_USER, .id = ++r->last_user};
	user->created = now;
	registry_insert_user(r, user);
	registry_touch(r, &user->record);
	*ret = user;
	return 0;
}

int registry_remove_user(struct registry *r, struct registry_user *user, struct error *err)
{
	struct registry_key *key, *next;

	for (struct registry_node *node = r->nodes; node; node = node->by_id.next)
		if (node->user == user->record.id)
			return error_set(err, -EBUSY, "%s owns the node %s; delete that first",
					 user->name, node->name);
	HASH_ITER(by_id, r->keys, key, next)
		if (key->user == user->record.id) {
			registry_untouch(&key->record);
			HASH_DELETE(by_id, r->keys, key);
			key_free(key);
		}
	note_deleted(r, &user->record);
	HASH_DELETE(by_id, r->users, user);
	user_free(user);
	return 0;
}

/* Keys */

void registry_random_hex(char *out, size_t bytes)
{
	uint8_t random[64];

	randombytes_buf(random, bytes);
	sodium_bin2hex(out, 2 * bytes + 1, random, bytes);
	explicit_bzero(random, sizeof(random));
}

void registry_insert_key(struct registry *r, struct registry_key *key)
{
	HASH_ADD(by_id, r->keys, record.id, sizeof(key->record.id), key);
}

static void hash_secret(const char *secret, uint8_t out[static REGISTRY_KEY_HASH_SIZE])
{
	crypto_generichash(out, REGISTRY_KEY_HASH_SIZE, (const uint8_t *)secret, strlen(secret),
			   NULL, 0);
}

int registry_add_key(struct registry *r, const struct registry_key_options *options,
		     nanoseconds now, struct registry_key **ret, char **ret_secret,
		     struct error *err)
{
	char secret[2 * KEY_SECRET_BYTES + 1];
	struct registry_key *key = calloc(1, sizeof(*key));

	if (!key)
		return error_set(err, -ENOMEM, "out of memory");
	registry_random_hex(key->prefix, REGISTRY_KEY_PREFIX_SIZE / 2);
	registry_random_hex(secret, KEY_SECRET_BYTES);
	hash_secret(secret, key->hash);
	key->user = options->user;
	key->reusable = options->reusable;
	key->ephemeral = options->ephemeral;
	key->created = now;
	key->expiry = options->expiry;
	for (uint32_t i = 0; options->tags && i < options->tags->count; i++)
		if (string_list_add(&key->tags, options->tags->items[i]) < 0)
			goto no_memory;
	if (asprintf(ret_secret, "%s%s-%s", KEY_LEAD, key->prefix, secret) < 0)
		goto no_memory;
	explicit_bzero(secret, sizeof(secret));
	key->record = (struct registry_record){.kind = REGISTRY_KEY, .id = ++r->last_key};
	registry_insert_key(r, key);
	registry_touch(r, &key->record);
	*ret = key;
	return 0;
no_memory:
	key_free(key);
	return error_set(err, -ENOMEM, "out of memory");
}

struct registry_key *registry_key_named(const struct registry *r, const char *prefix)
{
	struct registry_key *key = r->keys;

	/* The whole lead is fine too: it is what a table or a log shows. */
	if (strncmp(prefix, KEY_LEAD, strlen(KEY_LEAD)) == 0)
		prefix += strlen(KEY_LEAD);
	while (key && strncmp(key->prefix, prefix, REGISTRY_KEY_PREFIX_SIZE) != 0)
		key = key->by_id.next;
	return key && strlen(prefix) >= REGISTRY_KEY_PREFIX_SIZE ? key : NULL;
}

bool registry_key_prefix(const char *key, char out[static REGISTRY_KEY_PREFIX_SIZE + 1])
{
	if (strncmp(key, KEY_LEAD, strlen(KEY_LEAD)) != 0)
		return false;
	key += strlen(KEY_LEAD);
	if (strspn(key, "0123456789abcdef") != REGISTRY_KEY_PREFIX_SIZE ||
	    key[REGISTRY_KEY_PREFIX_SIZE] != '-')
		return false;
	memcpy(out, key, REGISTRY_KEY_PREFIX_SIZE);
	out[REGISTRY_KEY_PREFIX_SIZE] = '\0';
	return true;
}

int registry_check_key(const struct registry *r, const char *text, nanoseconds now,
		       struct registry_key **ret, struct error *err)
{
	uint8_t hash[REGISTRY_KEY_HASH_SIZE];
	struct registry_key *key = NULL;
	const char *secret;

	if (strncmp(text, KEY_LEAD, strlen(KEY_LEAD)) == 0) {
		secret = text + strlen(KEY_LEAD);
		key = registry_key_named(r, secret);
		secret = strlen(secret) > REGISTRY_KEY_PREFIX_SIZE
				 ? secret + REGISTRY_KEY_PREFIX_SIZE
				 : "";
		hash_secret(*secret == '-' ? secret + 1 : secret, hash);
		if (key && !secret_equal(hash, key->hash, sizeof(hash)))
			key = NULL;
	}
	if (!key)
		return error_set(err, -EKEYREJECTED,
				 "auth key unknown: create one with 'pillion control "
				 "keys create'");
	if (key->expiry != JSON_TIME_NONE && key->expiry <= now)
		return error_set(err, -EKEYEXPIRED, "auth key expired: create a new one");
	if (key->used && !key->reusable)
		return error_set(
			err, -EKEYREVOKED,
			"auth key already used, and it is valid for one node: create a new one");
	*ret = key;
	return 0;
}

#define PAGE_KEY_LEAD "pillion-page-"

int registry_set_page_key(struct registry *r, char **ret_secret)
{
	char hex[2 * KEY_SECRET_BYTES + 1];
	char *secret;

	registry_random_hex(hex, KEY_SECRET_BYTES);
	if (asprintf(&secret, PAGE_KEY_LEAD "%s", hex) < 0)
		return -ENOMEM;
	explicit_bzero(hex, sizeof(hex));
	hash_secret(secret, r->page_key);
	r->has_page_key = r->page_key_dirty = true;
	*ret_secret = secret;
	return 0;
}

void registry_drop_page_key(struct registry *r)
{
	r->has_page_key = false;
	r->page_key_dirty = true;
}

bool registry_check_page_key(const struct registry *r, const char *secret)
{
	uint8_t hash[REGISTRY_KEY_HASH_SIZE];

	hash_secret(secret, hash);
	return r->has_page_key && secret_equal(hash, r->page_key, sizeof(hash));
}

/* Nodes */

struct registry_node *registry_node(const struct registry *r, int64_t id)
{
	struct registry_node *node;

	HASH_FIND(by_id, r->nodes, &id, sizeof(id), node);
	return node;
}

struct registry_node *registry_node_of_key(const struct registry *r, const struct public_key *key)
{
	struct registry_node *node;

	HASH_FIND(by_key, r->nodes_by_key, key, sizeof(*key), node);
	return node;
}

struct registry_node *registry_node_named(const struct registry *r, const char *name)
{
	struct registry_node *node;

	HASH_FIND(by_name, r->nodes_by_name, name, strlen(name), node);
	return node;
}

static struct registry_node *node_at(const struct registry *r, const struct address *v4)
{
	struct registry_node *node;

	HASH_FIND(by_v4, r->nodes_by_v4, v4, sizeof(*v4), node);
	return node;
}

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

struct registry_node *registry_node_find(const struct registry *r, const char *text)
{
	struct registry_node *node;
	struct address address;

	if (is_number(text))
		return registry_node(r, strtoll(text, NULL, 10));
	node = registry_node_named(r, text);
	if (node)
		return node;
	if (address_parse(text, strlen(text), &address) < 0)
		return NULL;
	for (node = r->nodes; node; node = node->by_id.next)
		if (address_equal(&node->v4, &address) || address_equal(&node->v6, &address))
			return node;
	return NULL;
}

struct registry_node *registry_first_of_machine(const struct registry *r,
						const struct public_key *machine)
{
	struct registry_node *node;

	HASH_FIND(by_machine, r->nodes_by_machine, machine, sizeof(*machine), node);
	return node;
}

struct registry_node *registry_node_of_machine(const struct registry *r,
					       const struct public_key *machine, int64_t user)
{
	struct registry_node *node = registry_first_of_machine(r, machine);

	while (node && node->user != user)
		node = node->next_of_machine;
	return node;
}

void registry_label(const char *hostname, char out[static REGISTRY_NAME_MAX + 1])
{
	size_t length = 0;

	for (const char *c = hostname ? hostname : "";
	     *c && *c != '.' && length < REGISTRY_NAME_MAX; c++) {
		if (isalnum((unsigned char)*c))
			out[length++] = (char)tolower((unsigned char)*c);
		else if (length && out[length - 1] != '-')
			out[length++] = '-';
	}
	while (length && out[length - 1] == '-')
		length--;
	out[length] = '\0';
	if (!length)
		strcpy(out, "node");
}

static void hash_name(struct registry *r, struct registry_node *node)
{
	HASH_ADD_KEYPTR(by_name, r->nodes_by_name, node->name, strlen(node->name), node);
}

/* numbered() - Whether its name is @label, perhaps cut, and a number: it keeps that */
static bool numbered(const struct registry_node *node, const char *label)
{
	const char *dash = strrchr(node->name, '-');
	size_t length = dash ? (size_t)(dash - node->name) : 0;

	return length && dash[1] && strspn(dash + 1, "0123456789") == strlen(dash + 1) &&
	       strncmp(node->name, label, length) == 0 &&
	       (!label[length] || strlen(node->name) == REGISTRY_NAME_MAX);
}

bool registry_reserves(const struct registry *r, const char *label)
{
	return is_number(label) || (r->reserved && r->reserved(r->reserved_user, label));
}

/* may_have() - Whether @node may be called @name: no other node is, and it isn't reserved */
static bool may_have(const struct registry *r, const struct registry_node *node, const char *name)
{
	const struct registry_node *other = registry_node_named(r, name);

	return (!other || other == node) && !registry_reserves(r, name);
}

int registry_rename(struct registry *r, struct registry_node *node, const char *wanted, bool exact)
{
	char label[REGISTRY_NAME_MAX + 1], name[REGISTRY_NAME_MAX + 16];
	struct registry_node *first;
	uint32_t tried = 0;

	registry_label(wanted, label);
	if (exact && strcmp(label, wanted) != 0)
		return -EINVAL;
	if (exact && !may_have(r, node, label))
		return registry_reserves(r, label) ? -EPERM : -EEXIST;
	strcpy(name, label);
	first = registry_node_named(r, name);
	if (!may_have(r, node, label) && numbered(node, label))
		return 0;
	while (!may_have(r, node, name)) {
		unsigned int i = first ? ++first->next_label : ++tried;
		int number = snprintf(NULL, 0, "-%u", i);

		snprintf(name, sizeof(name), "%.*s-%u", REGISTRY_NAME_MAX - number, label, i);
	}
	if (strcmp(name, node->name) == 0)
		return 0;
	if (node->name[0]) {
		HASH_DELETE(by_name, r->nodes_by_name, node);
		free_number(r, node);
	}
	snprintf(node->name, sizeof(node->name), "%.*s", REGISTRY_NAME_MAX, name);
	hash_name(r, node);
	registry_node_stale(node);
	registry_touch(r, &node->record);
	return 0;
}

/* host_address() - The addresses of host @number; false where it may not stand */
static bool host_address(uint32_t number, struct address *v4, struct address *v6)
{
	uint8_t four[4], six[16] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};

	put_be32(four, HOST_BASE + number);
	put_be32(six + 12, number);
	*v4 = address_v4(four);
	*v6 = address_v6(six);
	/* 100.100.100.100 is the resolver, and so is …::53; 100.115.92.0/23 is ChromeOS's. */
	return address_is_tailnet(v4) && (HOST_BASE + number) != UINT32_C(0x64646464) &&
	       number != 0x53 && (number & 0xff) != 0 && (number & 0xff) != 0xff;
}

static int allocate(struct registry *r, struct address *v4, struct address *v6)
{
	for (uint32_t tried = 0; tried < HOST_COUNT; tried++) {
		uint32_t number = r->next_host;

		r->next_host = number + 1 < HOST_COUNT ? number + 1 : 1;
		if (host_address(number, v4, v6) && !node_at(r, v4))
			return 0;
	}
	return -EADDRNOTAVAIL;
}

static void link_node(struct registry *r, struct registry_node *node)
{
	HASH_ADD(by_id, r->nodes, record.id, sizeof(node->record.id), node);
	HASH_ADD(by_key, r->nodes_by_key, key, sizeof(node->key), node);
	HASH_ADD(by_v4, r->nodes_by_v4, v4, sizeof(node->v4), node);
	hash_machine(r, node);
	r->node_count++;
}

int registry_add_node(struct registry *r, const struct public_key *machine,
		      const struct public_key *key, const char *hostname, nanoseconds now,
		      struct registry_node **ret, struct error *err)
{
	struct registry_node *node = calloc(1, sizeof(*node));

	if (!node)
		return error_set(err, -ENOMEM, "out of memory");
	if (allocate(r, &node->v4, &node->v6) < 0) {
		free(node);
		return error_set(err, -EADDRNOTAVAIL, "no address of 100.64.0.0/10 is left");
	}
	node->record = (struct registry_record){.kind = REGISTRY_NODE, .id = ++r->last_node};
	node->machine = *machine;
	node->key = *key;
	node->created = node->last_seen = now;
	node->authorized = true;
	node->offline_at = node->remove_at = DEADLINE_NEVER;
	link_node(r, node);
	(void)registry_rename(r, node, hostname, false);
	registry_touch(r, &node->record);
	*ret = node;
	return 0;
}

int registry_insert_node(struct registry *r, struct registry_node *node)
{
	if (registry_node(r, node->record.id) || registry_node_of_key(r, &node->key) ||
	    registry_node_named(r, node->name) || node_at(r, &node->v4))
		return -EEXIST;
	node->offline_at = node->remove_at = DEADLINE_NEVER;
	link_node(r, node);
	hash_name(r, node);
	registry_routes_changed(r, node);
	if (node->record.id > r->last_node)
		r->last_node = node->record.id;
	return 0;
}

void registry_remove_node(struct registry *r, struct registry_node *node)
{
	note_deleted(r, &node->record);
	unlink_node(r, node);
	registry_node_free(node);
}

void registry_set_key(struct registry *r, struct registry_node *node, const struct public_key *key)
{
	if (public_key_equal(&node->key, key))
		return;
	HASH_DELETE(by_key, r->nodes_by_key, node);
	node->key = *key;
	HASH_ADD(by_key, r->nodes_by_key, key, sizeof(node->key), node);
	registry_node_stale(node);
	registry_touch(r, &node->record);
}

void registry_node_stale(struct registry_node *node)
{
	free(TAKE_PTR(node->encoded));
}

uint16_t registry_node_home(const struct registry_node *node)
{
	const struct tailcfg_net_info *info = node->hostinfo.net_info;

	return info && info->preferred_derp > 0 && info->preferred_derp <= UINT16_MAX
		       ? (uint16_t)info->preferred_derp
		       : 0;
}

bool registry_node_is_expired(const struct registry_node *node, nanoseconds now)
{
	return node->expiry != JSON_TIME_NONE && node->expiry <= now;
}

bool registry_node_serves(const struct registry_node *node, const struct prefix *route)
{
	return prefix_list_contains(&node->hostinfo.routable_ips, route) &&
	       prefix_list_contains(&node->approved_routes, route);
}
