/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/operator_json.c - what there is, as the operator is told it */
#include "server/coordinator/coordinator_internal.h"

void operator_put_user(struct json_writer *w, const struct registry_user *user)
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
	const struct registry_key *key = c->tailnet.registry.keys;

	while (key && key->record.id != node->auth_key)
		key = key->next;
	return key && key_is_valid(key, now) ? key->prefix : NULL;
}

void operator_put_key(const struct coordinator *c, struct json_writer *w,
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

void operator_put_node(const struct coordinator *c, struct json_writer *w,
		       const struct registry_node *node, nanoseconds now, bool alone)
{
	char v4[ADDRESS_TEXT_MAX], v6[ADDRESS_TEXT_MAX];

	json_begin_object(w, NULL);
	json_put_int(w, "id", node->record.id);
	json_put_string(w, "name", node->name);
	json_put_string(w, "hostname", node->hostinfo.hostname);
	json_put_string(w, "user", user_name(c, node->user));
	json_begin_array(w, "addresses");
	json_put_string(w, NULL, address_format(&node->v4, v4));
	json_put_string(w, NULL, address_format(&node->v6, v6));
	json_end_array(w);
	json_put_bool(w, "online", node->online);
	json_put_bool(w, "connected", node->sessions != NULL);
	json_put_bool(w, "expired", registry_node_is_expired(node, now));
	json_put_bool(w, "ephemeral", node->ephemeral);
	json_put_bool(w, "authorized", node->authorized);
	if (alone)
		json_put_string_if(w, "valid_auth_key", way_back(c, node, now));
	json_put_strings(w, "tags", &node->tags);
	json_put_prefixes(w, "advertised_routes", &node->hostinfo.routable_ips);
	json_put_prefixes(w, "approved_routes", &node->approved_routes);
	json_put_prefixes(w, "serving_routes", &node->primary_routes);
	json_put_endpoints(w, "endpoints", &node->endpoints);
	json_put_int(w, "home_relay", registry_node_home(node));
	json_put_int(w, "capability_version", node->cap);
	json_put_string(w, "version", node->hostinfo.ipn_version);
	json_put_string(w, "os", node->hostinfo.os);
	json_put_key(w, "node_key", &node->key, KEY_NODE);
	json_put_key(w, "machine_key", &node->machine, KEY_MACHINE);
	json_put_key(w, "disco_key", &node->disco, KEY_DISCO);
	json_put_time(w, "created", node->created);
	json_put_time_if(w, "expiry", node->expiry);
	json_put_time_if(w, "last_seen", node->last_seen);
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

void operator_put_logins(const struct coordinator *c, struct json_writer *w, const char *name)
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

void operator_put_checks(const struct coordinator *c, struct json_writer *w)
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
