/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/operator.c - what the operator asks and orders, over the Unix socket
 *
 *	GET    /v1/users
 *	POST   /v1/users {name}
 *	DELETE /v1/users/NAME
 *	GET    /v1/keys
 *	POST   /v1/keys {user, reusable, ephemeral, tags, expiry_seconds}
 *	POST   /v1/keys/PREFIX/expire
 *	GET    /v1/nodes			{nodes, logins}
 *	GET    /v1/nodes/NODE
 *	DELETE /v1/nodes/NODE			the node as it was
 *	POST   /v1/nodes/NODE/expire
 *	POST   /v1/nodes/NODE/rename {name}
 *	POST   /v1/nodes/NODE/tags {tags}
 *	POST   /v1/nodes/NODE/routes {routes}
 *	POST   /v1/logins/ID/approve {user, tags}
 *	POST   /v1/logins/ID/reject
 *	GET    /v1/ssh			sessions that wait to be confirmed
 *	POST   /v1/ssh/ID/approve, /v1/ssh/ID/reject
 *	POST   /v1/page-key			a new one; DELETE: none
 *	GET    /v1/policy
 *	PUT    /v1/policy			DELETE: none, which opens everything
 *	POST   /v1/policy/check
 *	GET    /v1/netmap/NODE
 *
 * NODE is an id (any number is one), a name or an address. Errors are {"error": TEXT} with a 4xx
 * or 5xx, and "errors": [TEXT, …] beside it where a policy has more than one. An order is answered
 * once it is written. While the disk takes nothing, orders are refused before they change anything,
 * but for those that take a right or free space. What was changed and not written stays in memory,
 * says so, and is written as soon as that can be.
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_KEY_LIFE (3600 * NSEC_PER_SEC)
#define KEY_LIFE_MAX     (10 * 365 * 24 * 3600 * NSEC_PER_SEC)
#define PARTS_MAX        4

struct order {
	struct coordinator *c;
	struct http1_exchange *x;
	char *parts[PARTS_MAX]; /* of the path behind /v1/ */
	size_t part_count;
	/* For the log: what it was about, from what is known of it, never from the request. */
	char subject[256];
	json_t *json; /* of the body; NULL: none */
	struct json_reader r;
	struct tailnet_time now;
	struct error err;
	struct string_list problems; /* all of them, where there may be several */
	struct buffer out;
	struct json_writer w;
};

static int http_status(int code)
{
	switch (code) {
	case -ENOENT:
		return 404;
	case -EEXIST:
	case -EBUSY:
		return 409;
	case -ENOMEM:
	case -ENOSPC:
	case -EIO:
		return 503;
	default:
		return 400;
	}
}

/* about_node() - The log says which node the order was about; so about_user(), about_key() */
static void about_node(struct order *o, const struct registry_node *node)
{
	snprintf(o->subject, sizeof(o->subject), " node=%lld name=%s", (long long)node->record.id,
		 node->name);
}

static void about_user(struct order *o, const struct registry_user *user)
{
	snprintf(o->subject, sizeof(o->subject), " user=%s", user->name);
}

static void about_key(struct order *o, const struct registry_key *key)
{
	snprintf(o->subject, sizeof(o->subject), " key=%s", key->prefix);
}

static void put_node(struct order *o, const struct registry_node *node)
{
	operator_put_node(o->c, &o->w, node, o->now.wall, true);
}

/* Orders: 0 when what they say is in @o->out, or negative errno with @o->err */

static int find_node(struct order *o, struct registry_node **ret)
{
	*ret = registry_node_find(&o->c->tailnet.registry, o->parts[1]);
	if (!*ret)
		return error_set(&o->err, -ENOENT,
				 "there is no node %s; 'pillion control nodes list' lists them",
				 o->parts[1]);
	about_node(o, *ret);
	return 0;
}

static int find_user(struct order *o, const char *name, bool make, struct registry_user **ret)
{
	struct registry *registry = &o->c->tailnet.registry;

	int r = 0;

	*ret = registry_user_named(registry, name);
	if (!*ret && make)
		r = registry_add_user(registry, name, o->now.wall, ret, &o->err);
	else if (!*ret)
		r = error_set(&o->err, -ENOENT,
			      "there is no user %s; 'pillion control users create %s' makes it",
			      name, name);
	if (r == 0)
		about_user(o, *ret);
	return r;
}

static int list_users(struct order *o)
{
	json_begin_array(&o->w, NULL);
	for (struct registry_user *u = o->c->tailnet.registry.users; u; u = u->next)
		operator_put_user(&o->w, u);
	json_end_array(&o->w);
	return 0;
}

static int create_user(struct order *o)
{
	struct registry_user *user = NULL;
	int r = registry_add_user(&o->c->tailnet.registry, json_get_text(&o->r, "name"),
				  o->now.wall, &user, &o->err);

	if (r < 0)
		return r;
	about_user(o, user);
	operator_put_user(&o->w, user);
	return 0;
}

static int delete_user(struct order *o)
{
	struct registry_user *user = NULL;
	int r = find_user(o, o->parts[1], false, &user);

	return r < 0 ? r : registry_remove_user(&o->c->tailnet.registry, user, &o->err);
}

static int list_keys(struct order *o)
{
	json_begin_array(&o->w, NULL);
	for (struct registry_key *k = o->c->tailnet.registry.keys; k; k = k->next)
		operator_put_key(o->c, &o->w, k, NULL, o->now.wall);
	json_end_array(&o->w);
	return 0;
}

static bool tags_are_valid(const struct string_list *tags)
{
	for (uint32_t i = 0; i < tags->count; i++)
		if (strncmp(tags->items[i], "tag:", 4) != 0 || !tags->items[i][4] ||
		    strlen(tags->items[i]) > MACHINE_TAG_MAX)
			return false;
	return tags->count <= MACHINE_TAGS_MAX;
}

static int bad_tags(struct order *o)
{
	return error_set(&o->err, -EINVAL,
			 "a tag is written tag:NAME, in at most %u bytes; there may be %u",
			 MACHINE_TAG_MAX, MACHINE_TAGS_MAX);
}

static int create_key(struct order *o)
{
	struct registry_key_options options = {
		.expiry = JSON_TIME_NONE,
		.reusable = json_get_bool(&o->r, "reusable"),
		.ephemeral = json_get_bool(&o->r, "ephemeral"),
	};
	const char *name = json_get_text(&o->r, "user");
	int64_t life = json_get(&o->r, "expiry_seconds") ? json_get_int(&o->r, "expiry_seconds")
							 : DEFAULT_KEY_LIFE / NSEC_PER_SEC;
	_cleanup_(secret_string_free_at) char *secret = NULL;
	struct string_list tags = {0};
	struct registry_user *user = NULL;
	struct registry_key *key = NULL;
	int r = 0;

	json_get_strings(&o->r, "tags", &tags);
	options.tags = &tags;
	if (o->r.error < 0)
		r = json_reader_result(&o->r, &o->err, "a key's order");
	else if (life < 0 || life > KEY_LIFE_MAX / NSEC_PER_SEC)
		r = error_set(&o->err, -EINVAL, "a key is good for 1s to 10 years; 0: for ever");
	else if (life)
		options.expiry = o->now.wall + life * NSEC_PER_SEC;
	if (r == 0 && !tags_are_valid(&tags))
		r = bad_tags(o);
	if (r == 0)
		r = find_user(o, *name ? name : "default", true, &user);
	if (r == 0) {
		options.user = user->record.id;
		r = registry_add_key(&o->c->tailnet.registry, &options, o->now.wall, &key, &secret,
				     &o->err);
	}
	if (r == 0) {
		about_key(o, key);
		operator_put_key(o->c, &o->w, key, secret, o->now.wall);
	}
	string_list_clear(&tags);
	return r;
}

static int expire_key(struct order *o)
{
	struct registry_key *key = registry_key_named(&o->c->tailnet.registry, o->parts[1]);

	if (!key)
		return error_set(&o->err, -ENOENT, "there is no key %s", o->parts[1]);
	about_key(o, key);
	key->expiry = o->now.wall;
	registry_touch(&o->c->tailnet.registry, &key->record);
	operator_put_key(o->c, &o->w, key, NULL, o->now.wall);
	return 0;
}

static int list_nodes(struct order *o)
{
	struct tailnet *t = &o->c->tailnet;

	json_begin_object(&o->w, NULL);
	json_begin_array(&o->w, "nodes");
	for (struct registry_node *n = t->registry.nodes; n; n = n->by_id.next)
		operator_put_node(o->c, &o->w, n, o->now.wall, false);
	json_end_array(&o->w);
	operator_put_logins(o->c, &o->w, "logins");
	json_end_object(&o->w);
	return 0;
}

static int show_node(struct order *o)
{
	struct registry_node *node = NULL;
	int r = find_node(o, &node);

	if (r == 0)
		put_node(o, node);
	return r;
}

static int delete_node(struct order *o)
{
	struct registry_node *node = NULL;
	int r = find_node(o, &node);

	if (r < 0)
		return r;
	put_node(o, node);
	tailnet_remove(&o->c->tailnet, node);
	return 0;
}

static int expire_node(struct order *o)
{
	struct registry_node *node = NULL;
	int r = find_node(o, &node);

	if (r < 0)
		return r;
	tailnet_set_expiry(&o->c->tailnet, node, o->now.wall, o->now);
	put_node(o, node);
	return 0;
}

static int rename_node(struct order *o)
{
	const char *name = json_get_text(&o->r, "name");
	struct registry_node *node = NULL;
	int r = find_node(o, &node);

	if (r == 0)
		r = tailnet_rename(&o->c->tailnet, node, name);
	if (r == -EEXIST)
		return error_set(&o->err, r, "another node is called %s", name);
	if (r == -EPERM)
		return error_set(&o->err, r,
				 "%s is a number, or the name of this server, a relay or a DNS "
				 "record",
				 name);
	if (r == -EINVAL)
		return error_set(&o->err, r,
				 "a name has lower-case letters, digits and inner hyphens");
	if (r == 0)
		put_node(o, node);
	return r;
}

static int tag_node(struct order *o)
{
	struct string_list tags = {0};
	struct registry_node *node = NULL;
	int r = find_node(o, &node);

	json_get_strings(&o->r, "tags", &tags);
	if (r == 0 && !tags_are_valid(&tags))
		r = bad_tags(o);
	if (r == 0)
		r = tailnet_set_tags(&o->c->tailnet, node, &tags, o->now);
	if (r == 0)
		put_node(o, node);
	string_list_clear(&tags);
	return r;
}

static int approve_routes(struct order *o)
{
	struct prefix_list routes = {0};
	struct registry_node *node = NULL;
	int r = find_node(o, &node);

	json_get_prefixes(&o->r, "routes", &routes);
	if (r == 0 && o->r.error < 0)
		r = error_set(&o->err, -EINVAL, "a route is written 10.1.0.0/16");
	if (r == 0 && routes.count > MACHINE_ROUTES_MAX)
		r = error_set(&o->err, -EINVAL, "a node has at most %u routes", MACHINE_ROUTES_MAX);
	if (r == 0)
		r = tailnet_set_routes(&o->c->tailnet, node, &routes);
	if (r == 0)
		put_node(o, node);
	prefix_list_clear(&routes);
	return r;
}

static int approve_login(struct order *o)
{
	const char *name = json_get_text(&o->r, "user");
	struct string_list tags = {0};
	struct registry_user *user = NULL;
	struct registry_node *node = NULL;
	int r;

	json_get_strings(&o->r, "tags", &tags);
	r = tags_are_valid(&tags) ? find_user(o, *name ? name : "default", true, &user)
				  : bad_tags(o);
	if (r == 0)
		r = tailnet_approve(&o->c->tailnet, o->parts[1], user,
				    json_get(&o->r, "tags") ? &tags : NULL, o->now, &node, &o->err);
	if (r == 0) {
		about_node(o, node);
		machine_logins_decided(o->c);
		put_node(o, node);
	}
	string_list_clear(&tags);
	return r;
}

static int reject_login(struct order *o)
{
	int r = tailnet_refuse(&o->c->tailnet, o->parts[1], &o->err);

	if (r == 0)
		machine_logins_decided(o->c);
	return r;
}

static int list_checks(struct order *o)
{
	operator_put_checks(o->c, &o->w);
	return 0;
}

static int decide_check(struct order *o)
{
	struct ssh_check *check = tailnet_ssh_check(&o->c->tailnet, o->parts[1]);
	int r;

	if (!check || check->verdict != SSH_WAITS)
		return error_set(&o->err, -ENOENT,
				 "no session %s waits; 'pillion control ssh' lists them",
				 o->parts[1]);
	snprintf(o->subject, sizeof(o->subject), " from=%lld to=%lld user=%s",
		 (long long)check->from, (long long)check->to, check->user);
	r = tailnet_ssh_decide(&o->c->tailnet, check, strcmp(o->parts[2], "approve") == 0, o->now);
	if (r == 0)
		machine_ssh_decided(o->c);
	return r;
}

static int create_page_key(struct order *o)
{
	_cleanup_(secret_string_free_at) char *secret = NULL;
	int r;

	if (!pages_may_approve(o->c))
		return error_set(&o->err, -EINVAL,
				 "the pages are at %s, where the key would travel in plain text",
				 o->c->tailnet.settings.server_url);
	r = registry_set_page_key(&o->c->tailnet.registry, &secret);
	if (r < 0)
		return r;
	json_begin_object(&o->w, NULL);
	json_put_string(&o->w, "key", secret);
	json_end_object(&o->w);
	return 0;
}

static int delete_page_key(struct order *o)
{
	registry_drop_page_key(&o->c->tailnet.registry);
	return 0;
}

static int get_policy(struct order *o)
{
	json_begin_object(&o->w, NULL);
	json_put_string(&o->w, "policy", o->c->tailnet.registry.policy);
	json_end_object(&o->w);
	return 0;
}

static int set_policy(struct order *o)
{
	return tailnet_policy_set(&o->c->tailnet, (char *)buffer_head(o->x->body),
				  o->x->body->length, &o->problems, &o->err);
}

static int delete_policy(struct order *o)
{
	return tailnet_policy_delete(&o->c->tailnet, &o->err);
}

static int check_policy(struct order *o)
{
	return tailnet_policy_check(&o->c->tailnet, (char *)buffer_head(o->x->body),
				    o->x->body->length, &o->problems, &o->err);
}

static int show_netmap(struct order *o)
{
	struct registry_node *node = NULL;
	int r = find_node(o, &node);

	if (r == 0)
		r = tailnet_full_map(&o->c->tailnet, node, o->now, &o->out);
	return r;
}

#define TEXT_BODY 1u /* the body isn't JSON to be read here */
#define READS     2u /* changes nothing; so does each GET */
#define TAKES     4u /* takes a right or frees space: also while the disk takes nothing */

static const struct {
	const char *method;
	const char *path; /* NULL parts stand for anything: "*" */
	int (*run)(struct order *o);
	unsigned int flags;
} orders[] = {
	{"GET", "users", list_users, 0},
	{"POST", "users", create_user, 0},
	{"DELETE", "users/*", delete_user, TAKES},
	{"GET", "keys", list_keys, 0},
	{"POST", "keys", create_key, 0},
	{"POST", "keys/*/expire", expire_key, TAKES},
	{"GET", "nodes", list_nodes, 0},
	{"GET", "nodes/*", show_node, 0},
	{"DELETE", "nodes/*", delete_node, TAKES},
	{"POST", "nodes/*/expire", expire_node, TAKES},
	{"POST", "nodes/*/rename", rename_node, 0},
	{"POST", "nodes/*/tags", tag_node, 0},
	{"POST", "nodes/*/routes", approve_routes, 0},
	{"POST", "logins/*/approve", approve_login, 0},
	{"POST", "logins/*/reject", reject_login, TAKES},
	{"GET", "ssh", list_checks, 0},
	{"POST", "ssh/*/approve", decide_check, 0},
	{"POST", "ssh/*/reject", decide_check, TAKES},
	{"POST", "page-key", create_page_key, 0},
	{"DELETE", "page-key", delete_page_key, TAKES},
	{"GET", "policy", get_policy, 0},
	{"PUT", "policy", set_policy, TEXT_BODY},
	{"DELETE", "policy", delete_policy, 0},
	{"POST", "policy/check", check_policy, TEXT_BODY | READS},
	{"GET", "netmap/*", show_netmap, 0},
};

/* split() - The parts of the path behind /v1/; false where there are too many */
static bool split(struct order *o, char *path)
{
	char *save = NULL;

	if (strncmp(path, "/v1/", 4) != 0)
		return false;
	for (char *part = strtok_r(path + 4, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		if (o->part_count == PARTS_MAX)
			return false;
		o->parts[o->part_count++] = part;
	}
	return o->part_count > 0;
}

static bool matches(const struct order *o, const char *pattern)
{
	for (size_t i = 0; i < o->part_count; i++) {
		size_t length = strcspn(pattern, "/");

		if (length == 0)
			return false;
		if (pattern[0] != '*' &&
		    (strlen(o->parts[i]) != length || strncmp(o->parts[i], pattern, length) != 0))
			return false;
		pattern += length + (pattern[length] == '/');
	}
	return !*pattern;
}

/* read_body() - The JSON of an order's body, if it has one */
static int read_body(struct order *o)
{
	struct json_range range;

	if (o->x->body->length == 0)
		return 0;
	if (json_scan_value((char *)buffer_head(o->x->body), o->x->body->length, &range) < 0)
		return error_set(&o->err, -EINVAL, "the body is not JSON");
	o->json = json_parse(range, &o->err);
	return o->json ? 0 : -EINVAL;
}

/* be_writable() - Nothing is changed that the disk wouldn't take */
static int be_writable(struct order *o)
{
	int r = o->c->store_failed ? coordinator_write(o->c, &o->err) : 0;

	if (r < 0)
		error_wrap(&o->err, "nothing was changed");
	else
		coordinator_settle(o->c);
	return r;
}

/* keep() - The disk gets what an order changed, and the log a line: @path is of the table, since
 * what stands in the request may be a key */
static int keep(struct order *o, const char *path)
{
	int r = coordinator_write(o->c, &o->err);

	if (r < 0)
		error_wrap(&o->err, "done, but not stored yet: lost if the server ends before the "
				    "disk takes it");
	else
		log_info("order %s %s%s", o->x->head->method, path, o->subject);
	return r;
}

static int run(struct order *o)
{
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		bool reads = orders[i].flags & READS || strcmp(orders[i].method, "GET") == 0;

		if (strcmp(o->x->head->method, orders[i].method) != 0 ||
		    !matches(o, orders[i].path))
			continue;
		r = orders[i].flags & TEXT_BODY ? 0 : read_body(o);
		o->r = json_reader_of(o->json);
		if (r == 0 && !reads && !(orders[i].flags & TAKES))
			r = be_writable(o);
		if (r == 0)
			r = orders[i].run(o);
		if (r == 0)
			r = json_writer_result(&o->w);
		/* Nobody is shown what a crash takes back. */
		if (r == 0 && reads && !o->c->store_failed)
			(void)coordinator_write(o->c, NULL);
		return r == 0 && !reads ? keep(o, orders[i].path) : r;
	}
	return error_set(&o->err, r, "there is no such order");
}

void operator_serve(void *user, struct http1_exchange *x)
{
	struct order o = {
		.c = user, .x = x, .now = tailnet_now(), .out = BUFFER_INIT(LIMIT_MAP_OBJECT)};
	int r;

	o.w = json_writer_to(&o.out);
	r = split(&o, x->path) ? run(&o) : error_set(&o.err, -ENOENT, "there is nothing here");
	if (r < 0) {
		buffer_free(&o.out);
		o.out = BUFFER_INIT(LIMIT_MAP_OBJECT);
		o.w = json_writer_to(&o.out);
		json_begin_object(&o.w, NULL);
		json_put_string(&o.w, "error", o.err.code ? o.err.text : strerror(-r));
		if (o.problems.count > 1)
			json_put_strings(&o.w, "errors", &o.problems);
		json_end_object(&o.w);
	}
	string_list_clear(&o.problems);
	json_decref(o.json);
	/* What it changed is told after this round; the exchange ends here. */
	coordinator_settle(o.c);
	http1_reply(x,
		    r < 0          ? http_status(r)
		    : o.out.length ? 200
				   : 204,
		    o.out.length ? "application/json" : NULL, buffer_head(&o.out), o.out.length);
	buffer_free_secret(&o.out);
}
