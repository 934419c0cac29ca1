/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/operator.c - the operator's orders, over the Unix socket
 *
 * operator_orders.h lists the requests. Bodies are JSON objects with these members:
 *
 *	users			name
 *	keys			user, reusable, ephemeral, tags, expiry_seconds
 *	nodes/NODE/rename	name
 *	nodes/NODE/tags		tags
 *	nodes/NODE/routes	routes
 *	logins/ID/approve	user, tags
 *
 * NODE is an id (any number is one), a name or an address. Errors are {"error": TEXT} with a 4xx
 * or 5xx, and "errors": [TEXT, …] beside it where a policy has more than one. An order is answered
 * once it is written. While the disk takes nothing, orders are refused before they change anything,
 * but for those that take a right or free space. A change that could not be written stays in memory,
 * says so, and is written as soon as that can be.
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"
#include "server/coordinator/operator_orders.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_KEY_LIFE (3600 * NSEC_PER_SEC)
#define KEY_LIFE_MAX     (10 * 365 * 24 * 3600 * NSEC_PER_SEC)

struct order {
	struct coordinator *c;
	struct http1_exchange *x;
	char *name; /* the second part of the path: what the order is about; "" */
	/* For the log: the record that was found, never a text of the request. */
	char subject[256];
	struct registry_node *node; /* of ORDER_NODE: the answer, unless the order clears it */
	json_t *json;               /* of the body; NULL: none */
	struct json_reader r;
	struct tailnet_time now;
	struct error err;
	struct string_list problems; /* all of them, where there may be several */
	struct buffer out;
	struct json_writer w;
};

static void put_user(struct json_writer *w, const struct registry_user *user)
{
	json_begin_object(w, NULL);
	json_put_int(w, "id", user->record.id);
	json_put_string(w, "name", user->name);
	json_put_time(w, "created", user->created);
	json_end_object(w);
}

static const char *user_name(const struct coordinator *c, int64_t id)
{
	const struct registry_user *user = registry_user(&c->tailnet.registry, id);

	return user ? user->name : "";
}

static bool key_is_valid(const struct registry_key *key, nanoseconds now)
{
	bool expired = key->expiry != JSON_TIME_NONE && key->expiry <= now;

	return !expired && (key->reusable || !key->used);
}

/* way_back() - The key that @node joined with, where that is still good: with it the node can join
 * again, whatever was done to it; NULL: none */
static const char *way_back(const struct coordinator *c, const struct registry_node *node,
			    nanoseconds now)
{
	const struct registry_key *key;

	HASH_FIND(by_id, c->tailnet.registry.keys, &node->auth_key, sizeof(node->auth_key), key);
	return key && key_is_valid(key, now) ? key->prefix : NULL;
}

/* put_key() - @secret: NULL but when the key was just made */
static void put_key(const struct coordinator *c, struct json_writer *w,
		    const struct registry_key *key, const char *secret, nanoseconds now)
{
	json_begin_object(w, NULL);
	json_put_int(w, "id", key->record.id);
	json_put_string(w, "prefix", key->prefix);
	json_put_string_if(w, "key", secret);
	json_put_string(w, "user", user_name(c, key->user));
	json_put_bool(w, "reusable", key->reusable);
	json_put_bool(w, "ephemeral", key->ephemeral);
	json_put_bool(w, "used", key->used);
	json_put_bool(w, "valid", key_is_valid(key, now));
	json_put_strings(w, "tags", &key->tags);
	json_put_time(w, "created", key->created);
	json_put_time_if(w, "expiry", key->expiry);
	json_end_object(w);
}

/* put_node() - Members in the order in which `nodes show` prints them. @alone: with one that takes a
 * search, which a list leaves out */
static void put_node(const struct coordinator *c, struct json_writer *w,
		     const struct registry_node *node, nanoseconds now, bool alone)
{
	char v4[ADDRESS_TEXT_MAX], v6[ADDRESS_TEXT_MAX];

	json_begin_object(w, NULL);
	json_put_int(w, "id", node->record.id);
	json_put_string(w, "name", node->name);
	json_put_string(w, "hostname", node->hostinfo.hostname);
	json_put_string(w, "user", user_name(c, node->user));
	json_put_strings(w, "tags", &node->tags);
	json_begin_array(w, "addresses");
	json_put_string(w, NULL, address_format(&node->v4, v4));
	json_put_string(w, NULL, address_format(&node->v6, v6));
	json_end_array(w);
	json_put_bool(w, "online", node->online);
	json_put_bool(w, "connected", node->sessions != NULL);
	json_put_time_if(w, "last_seen", node->last_seen);
	json_put_bool(w, "authorized", node->authorized);
	json_put_bool(w, "expired", registry_node_is_expired(node, now));
	json_put_time_if(w, "expiry", node->expiry);
	json_put_bool(w, "ephemeral", node->ephemeral);
	if (alone)
		json_put_string_if(w, "valid_auth_key", way_back(c, node, now));
	json_put_prefixes(w, "advertised_routes", &node->hostinfo.routable_ips);
	json_put_prefixes(w, "approved_routes", &node->approved_routes);
	json_put_prefixes(w, "serving_routes", &node->primary_routes);
	json_put_int(w, "home_relay", registry_node_home(node));
	json_put_endpoints(w, "endpoints", &node->endpoints);
	json_put_string(w, "os", node->hostinfo.os);
	json_put_string(w, "version", node->hostinfo.ipn_version);
	json_put_int(w, "capability_version", node->cap);
	json_put_time(w, "created", node->created);
	json_put_key(w, "node_key", &node->key, KEY_NODE);
	json_put_key(w, "machine_key", &node->machine, KEY_MACHINE);
	json_put_key(w, "disco_key", &node->disco, KEY_DISCO);
	json_end_object(w);
}

/* put_login() - A node that waits to become one */
static void put_login(struct json_writer *w, const struct tailnet_login *login)
{
	json_begin_object(w, NULL);
	json_put_string(w, "id", login->id);
	json_put_string(w, "hostname", login->hostinfo.hostname);
	json_put_string(w, "os", login->hostinfo.os);
	json_put_strings(w, "tags", &login->hostinfo.request_tags);
	json_put_key(w, "node_key", &login->key, KEY_NODE);
	json_end_object(w);
}

static void put_logins(const struct coordinator *c, struct json_writer *w, const char *name)
{
	json_begin_array(w, name);
	for (const struct tailnet_login *l = c->tailnet.logins; l; l = l->next)
		if (!l->refused)
			put_login(w, l);
	json_end_array(w);
}

static void put_node_name(const struct coordinator *c, struct json_writer *w, const char *name,
			  int64_t id)
{
	const struct registry_node *node = registry_node(&c->tailnet.registry, id);

	json_put_string(w, name, node ? node->name : "");
}

static void put_checks(const struct coordinator *c, struct json_writer *w)
{
	json_begin_array(w, NULL);
	for (const struct ssh_check *check = c->tailnet.ssh_checks; check; check = check->next) {
		if (check->verdict != SSH_WAITS)
			continue;
		json_begin_object(w, NULL);
		json_put_string(w, "id", check->id);
		put_node_name(c, w, "from", check->from);
		put_node_name(c, w, "to", check->to);
		json_put_string(w, "user", check->user);
		json_end_object(w);
	}
	json_end_array(w);
}

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

/* about() - Name the subject of the order for the log */
static void about(struct order *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void about(struct order *o, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(o->subject, sizeof(o->subject), format, args);
	va_end(args);
}

/* find_node() - The node that the path names */
static int find_node(struct order *o)
{
	o->node = registry_node_find(&o->c->tailnet.registry, o->name);
	if (!o->node)
		return error_set(&o->err, -ENOENT,
				 "node %s not found; 'pillion control nodes list' lists all nodes",
				 o->name);
	about(o, " %lld (%s)", (long long)o->node->record.id, o->node->name);
	return 0;
}

/* take_tags() - The tags of the body */
static int take_tags(struct order *o, struct string_list *ret)
{
	bool valid;

	json_get_strings(&o->r, "tags", ret);
	valid = ret->count <= MACHINE_TAGS_MAX;
	for (uint32_t i = 0; i < ret->count && valid; i++)
		valid = strncmp(ret->items[i], "tag:", 4) == 0 && ret->items[i][4] &&
			strlen(ret->items[i]) <= MACHINE_TAG_MAX;
	return valid ? 0
		     : error_set(&o->err, -EINVAL,
				 "a tag is written tag:NAME, in at most %u bytes; there may be %u",
				 MACHINE_TAG_MAX, MACHINE_TAGS_MAX);
}

/* Orders: 0 with the answer in @o->out, or negative errno with @o->err */

static int find_user(struct order *o, const char *name, bool make, struct registry_user **ret)
{
	struct registry *registry = &o->c->tailnet.registry;

	int r = 0;

	*ret = registry_user_named(registry, name);
	if (!*ret && make)
		r = registry_add_user(registry, name, o->now.wall, ret, &o->err);
	else if (!*ret)
		r = error_set(&o->err, -ENOENT,
			      "user %s not found; create it with 'pillion control users create %s'",
			      name, name);
	if (r == 0)
		about(o, " %s", (*ret)->name);
	return r;
}

static int list_users(struct order *o)
{
	json_begin_array(&o->w, NULL);
	for (struct registry_user *u = o->c->tailnet.registry.users; u; u = u->by_id.next)
		put_user(&o->w, u);
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
	about(o, " %s", user->name);
	put_user(&o->w, user);
	return 0;
}

static int delete_user(struct order *o)
{
	struct registry_user *user = NULL;
	int r = find_user(o, o->name, false, &user);

	return r < 0 ? r : registry_remove_user(&o->c->tailnet.registry, user, &o->err);
}

static int list_keys(struct order *o)
{
	json_begin_array(&o->w, NULL);
	for (struct registry_key *k = o->c->tailnet.registry.keys; k; k = k->by_id.next)
		put_key(o->c, &o->w, k, NULL, o->now.wall);
	json_end_array(&o->w);
	return 0;
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
	_cleanup_(string_list_clear) struct string_list tags = {0};
	struct registry_user *user = NULL;
	struct registry_key *key = NULL;
	int r = take_tags(o, &tags);

	options.tags = &tags;
	if (o->r.error < 0)
		r = json_reader_result(&o->r, &o->err, "a key's order");
	else if (r == 0 && (life < 0 || life > KEY_LIFE_MAX / NSEC_PER_SEC))
		r = error_set(&o->err, -EINVAL,
			      "a key is valid for 1s to 10 years; 0: it never expires");
	else if (life)
		options.expiry = o->now.wall + life * NSEC_PER_SEC;
	if (r == 0)
		r = find_user(o, *name ? name : "default", true, &user);
	if (r < 0)
		return r;
	options.user = user->record.id;
	r = registry_add_key(&o->c->tailnet.registry, &options, o->now.wall, &key, &secret,
			     &o->err);
	if (r == 0) {
		about(o, " %s", key->prefix);
		put_key(o->c, &o->w, key, secret, o->now.wall);
	}
	return r;
}

static int expire_key(struct order *o)
{
	struct registry_key *key = registry_key_named(&o->c->tailnet.registry, o->name);

	if (!key)
		return error_set(&o->err, -ENOENT, "key %s not found", o->name);
	about(o, " %s", key->prefix);
	key->expiry = o->now.wall;
	registry_touch(&o->c->tailnet.registry, &key->record);
	put_key(o->c, &o->w, key, NULL, o->now.wall);
	return 0;
}

static int list_nodes(struct order *o)
{
	struct tailnet *t = &o->c->tailnet;

	json_begin_object(&o->w, NULL);
	json_begin_array(&o->w, "nodes");
	for (struct registry_node *n = t->registry.nodes; n; n = n->by_id.next)
		put_node(o->c, &o->w, n, o->now.wall, false);
	json_end_array(&o->w);
	put_logins(o->c, &o->w, "logins");
	json_end_object(&o->w);
	return 0;
}

static int show_node(struct order *o)
{
	(void)o;
	return 0;
}

static int delete_node(struct order *o)
{
	put_node(o->c, &o->w, o->node, o->now.wall, true);
	tailnet_remove(&o->c->tailnet, TAKE_PTR(o->node));
	return 0;
}

static int expire_node(struct order *o)
{
	tailnet_set_expiry(&o->c->tailnet, o->node, o->now.wall, o->now);
	return 0;
}

static int rename_node(struct order *o)
{
	const char *name = json_get_text(&o->r, "name");
	int r = tailnet_rename(&o->c->tailnet, o->node, name);

	if (r == -EEXIST)
		return error_set(&o->err, r, "another node has the name %s", name);
	if (r == -EPERM)
		return error_set(&o->err, r,
				 "%s is a number, or the name of this server, a relay or a DNS "
				 "record",
				 name);
	if (r == -EINVAL)
		return error_set(&o->err, r,
				 "a name has lower-case letters, digits and inner hyphens");
	return r;
}

static int tag_node(struct order *o)
{
	_cleanup_(string_list_clear) struct string_list tags = {0};
	int r = take_tags(o, &tags);

	return r < 0 ? r : tailnet_set_tags(&o->c->tailnet, o->node, &tags, o->now);
}

static int approve_routes(struct order *o)
{
	_cleanup_(prefix_list_clear) struct prefix_list routes = {0};

	json_get_prefixes(&o->r, "routes", &routes);
	if (o->r.error < 0)
		return error_set(&o->err, -EINVAL, "a route is written 10.1.0.0/16");
	if (routes.count > MACHINE_ROUTES_MAX)
		return error_set(&o->err, -EINVAL, "a node has at most %u routes",
				 MACHINE_ROUTES_MAX);
	return tailnet_set_routes(&o->c->tailnet, o->node, &routes);
}

static int approve_login(struct order *o)
{
	const char *name = json_get_text(&o->r, "user");
	_cleanup_(string_list_clear) struct string_list tags = {0};
	struct registry_user *user = NULL;
	struct registry_node *node = NULL;
	int r = take_tags(o, &tags);

	if (r == 0)
		r = find_user(o, *name ? name : "default", true, &user);
	if (r == 0)
		r = tailnet_approve(&o->c->tailnet, o->name, user,
				    json_get(&o->r, "tags") ? &tags : NULL, o->now, &node, &o->err);
	if (r == 0) {
		about(o, " %lld (%s)", (long long)node->record.id, node->name);
		machine_decided(o->c);
		put_node(o->c, &o->w, node, o->now.wall, true);
	}
	return r;
}

static int reject_login(struct order *o)
{
	int r = tailnet_refuse(&o->c->tailnet, o->name, &o->err);

	if (r == 0)
		machine_decided(o->c);
	return r;
}

static int list_checks(struct order *o)
{
	put_checks(o->c, &o->w);
	return 0;
}

static int decide_check(struct order *o)
{
	struct ssh_check *check = tailnet_ssh_check(&o->c->tailnet, o->name);
	int r;

	if (!check || check->verdict != SSH_WAITS)
		return error_set(&o->err, -ENOENT,
				 "no session %s is pending; 'pillion control ssh' lists them",
				 o->name);
	about(o, " of node %lld to node %lld as %s", (long long)check->from, (long long)check->to,
	      check->user);
	r = tailnet_ssh_decide(&o->c->tailnet, check,
			       strcmp(o->name + strlen(o->name) + 1, "approve") == 0, o->now);
	if (r == 0)
		machine_decided(o->c);
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

static int show_authority(struct order *o)
{
	const struct certificate *authority = o->c->authority;
	char digest[CERTIFICATE_DIGEST_MAX];

	if (!authority || certificate_digest(authority, digest) < 0)
		return error_set(&o->err, -ENOENT, "this server signs no certificates of nodes");
	json_begin_object(&o->w, NULL);
	json_put_string(&o->w, "certificate", authority->text.certificate);
	json_put_string(&o->w, "sha256", digest);
	json_put_string(&o->w, "domain", o->c->tailnet.settings.base_domain);
	json_end_object(&o->w);
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
	int r = find_node(o);

	return r < 0 ? r : tailnet_full_map(&o->c->tailnet, o->node, o->now, &o->out);
}

static const struct {
	const char *method;
	const char *path; /* "*" stands for any one part */
	int (*run)(struct order *o);
	const char *log; /* of a success; NULL: the order changes nothing */
	unsigned int traits;
} orders[] = {
#define ORDER(word, second, arguments, method, path, body, print, run, log, traits) \
	{method, "/v1/" path, run, log, traits},
	OPERATOR_ORDERS(ORDER)
#undef ORDER
};

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

/* be_writable() - Refuse the order while the disk takes nothing */
static int be_writable(struct order *o)
{
	int r = o->c->store_failed ? coordinator_write(o->c, &o->err) : 0;

	if (r < 0)
		error_wrap(&o->err, "nothing was changed");
	else
		coordinator_settle(o->c);
	return r;
}

/* keep() - Write the changes of an order to the disk, and log it: @log is of the table, since the
 * request may contain a key */
static int keep(struct order *o, const char *log)
{
	int r = coordinator_write(o->c, &o->err);

	if (r < 0)
		error_wrap(&o->err, "done, but not stored yet: the change is lost if the server "
				    "ends before it can "
				    "write");
	else
		log_info("admin: %s%s", log, o->subject);
	return r;
}

static int run(struct order *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		unsigned int traits = orders[i].traits;
		int r;

		if (strcmp(o->x->head->method, orders[i].method) != 0 ||
		    fnmatch(orders[i].path, o->x->path, FNM_PATHNAME) != 0)
			continue;
		if (strchr(orders[i].path, '*'))
			o->name = o->x->path + strcspn(orders[i].path, "*");
		o->name[strcspn(o->name, "/")] = '\0';
		r = traits & ORDER_TEXT ? 0 : read_body(o);
		o->r = json_reader_of(o->json);
		if (r == 0 && orders[i].log && !(traits & ORDER_TAKES))
			r = be_writable(o);
		if (r == 0 && traits & ORDER_NODE)
			r = find_node(o);
		if (r == 0)
			r = orders[i].run(o);
		if (r == 0 && traits & ORDER_NODE && o->node)
			put_node(o->c, &o->w, o->node, o->now.wall, true);
		if (r == 0)
			r = json_writer_result(&o->w);
		if (r < 0 || orders[i].log)
			return r < 0 ? r : keep(o, orders[i].log);
		/* A crash must not take back what an operator has read. */
		if (!o->c->store_failed)
			(void)coordinator_write(o->c, NULL);
		return 0;
	}
	return error_set(&o->err, -ENOENT, "there is no such request");
}

void operator_serve(void *user, struct http1_exchange *x)
{
	char no_name[] = "";
	struct order o = {.c = user,
			  .x = x,
			  .name = no_name,
			  .now = tailnet_now(),
			  .out = BUFFER_INIT(LIMIT_MAP_OBJECT)};
	int r;

	o.w = json_writer_to(&o.out);
	r = run(&o);
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
	/* Nodes are notified after this round; the exchange ends here. */
	coordinator_settle(o.c);
	http1_reply(x,
		    r < 0          ? http_status(r)
		    : o.out.length ? 200
				   : 204,
		    o.out.length ? "application/json" : NULL, buffer_head(&o.out), o.out.length);
	buffer_free_secret(&o.out);
}
