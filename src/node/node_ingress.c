/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_ingress.c - Funnel: which nodes may bring connections of the internet, and may we ask for them
 *
 * Tailscale's control grants its ingress nodes a capability on this node, and this node attributes.
 * A server that knows nothing of Funnel grants nothing: there, --ingress-from names the trusted ones.
 */
#include "control/control_calls.h"
#include "node/node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CAP_INGRESS      "https://tailscale.com/cap/ingress"
#define ATTRIBUTE_HTTPS  "https"
#define ATTRIBUTE_FUNNEL "funnel"

static const char *trusted_list(const struct node *node)
{
	const char *list = node->start->config.ingress_from;

	return list && *list ? list : NULL;
}

static bool is_ingress(void *data, const char *name, const char *values)
{
	(void)values;
	*(bool *)data |= strcmp(name, CAP_INGRESS) == 0;
	return true;
}

/* label_length() - Of a name up to its first dot */
static size_t label_length(const char *name)
{
	return strcspn(name, ".");
}

bool node_is_named(const struct netmap *map, const struct tailcfg_node *peer, const char *item,
		   size_t length)
{
	const char *name = peer->name ?: "", *own = map->self->name ?: "";
	size_t whole = strlen(name), label = label_length(name);

	while (whole > 0 && name[whole - 1] == '.')
		whole--;
	while (length > 0 && item[length - 1] == '.')
		length--;
	if (length == 0 || strncasecmp(name, item, length) != 0)
		return false;
	return length == whole ||
	       (length == label && strcasecmp(name + label, own + label_length(own)) == 0);
}

/* is_listed() - Whether one item of the list means @peer: a tag, an address or a name */
static bool is_listed(const struct node *node, const struct tailcfg_node *peer, const char *item,
		      size_t length)
{
	struct address address;

	if (length > 4 && strncmp(item, "tag:", 4) == 0) {
		for (uint32_t i = 0; i < peer->tags.count; i++)
			if (strlen(peer->tags.items[i]) == length &&
			    memcmp(peer->tags.items[i], item, length) == 0)
				return true;
		return false;
	}
	if (address_parse(item, length, &address) < 0)
		return node_is_named(node_netmap(node), peer, item, length);
	for (uint32_t i = 0; i < peer->addresses.count; i++)
		if (address_equal(&peer->addresses.items[i].address, &address))
			return true;
	return false;
}

bool node_ingress_trusts(const struct node *node, const struct node_identity *who)
{
	const char *item = trusted_list(node);
	bool granted = false;

	if (who->is_self)
		return false;
	while (item && *item) {
		size_t length = strcspn(item, ",");

		if (length > 0 && is_listed(node, who->node, item, length))
			return true;
		item += length + (item[length] == ',');
	}
	node_identity_capabilities(node, who, is_ingress, &granted);
	return granted;
}

int node_ingress_check(const struct node *node, struct error *err)
{
	const struct netmap *map = node_netmap(node);

	if (node->state.prefs.shields_up)
		return error_set(
			err, -EPERM,
			"Unable to turn on Funnel while shields-up is enabled: run 'pillion "
			"set --shields-up=false' first");
	if (trusted_list(node) || !map || !map->self)
		return 0;
	if (!tailcfg_capability_find(&map->self->cap_map, ATTRIBUTE_HTTPS))
		return error_set(
			err, -EPERM,
			"Funnel not available; HTTPS must be enabled (on Tailscale, see "
			"https://tailscale.com/s/https); on another server name your ingress "
			"nodes by TS_INGRESS_FROM (--ingress-from)");
	if (!tailcfg_capability_find(&map->self->cap_map, ATTRIBUTE_FUNNEL))
		return error_set(
			err, -EPERM,
			"Funnel not available; \"funnel\" node attribute not set: add "
			"{\"target\": [\"THIS NODE\"], \"attr\": [\"funnel\"]} to nodeAttrs of "
			"the policy (https://tailscale.com/s/no-funnel), or name your ingress "
			"nodes by TS_INGRESS_FROM (--ingress-from)");
	return 0;
}

const char *const *node_ingress_capabilities(const struct node *node)
{
	static const char *const own[] = {
		ATTRIBUTE_HTTPS,
		ATTRIBUTE_FUNNEL,
		"https://tailscale.com/cap/funnel-ports?ports=443,8443,10000",
		NULL,
	};

	return trusted_list(node) ? own : own + ARRAY_SIZE(own) - 1;
}

struct node_feature_query {
	LIST_ENTRY(node_feature_query) entry;
	struct control_call *call;
	void (*done)(void *context, const char *json, const char *why);
	void *context;
};

static void on_feature(void *user, const struct control_answer *answer)
{
	struct node_feature_query *query = user;

	LIST_REMOVE(query, entry);
	query->done(query->context, answer->body, answer->text);
	free(query);
}

void node_ingress_disconnect(struct node *node)
{
	struct node_feature_query *query;

	while ((query = LIST_FIRST(&node->feature_queries))) {
		control_call_cancel(query->call);
		on_feature(query, &(struct control_answer){.text = "the login server changes"});
	}
}

void node_query_feature(struct node *node, const char *feature,
			void (*done)(void *context, const char *json, const char *why),
			void *context)
{
	bool ready = strcmp(feature, "serve") == 0; /* HTTPS works on every server */
	struct node_feature_query *query;
	struct error err = {0};

	if (strcmp(feature, "funnel") == 0 && node_has_map(node))
		ready = node_ingress_check(node, &err) == 0;
	if (ready) {
		done(context, "{\"Complete\":true}", "");
		return;
	}
	query = calloc(1, sizeof(*query));
	if (!query || !node->control) {
		free(query);
		done(context, NULL, node->control ? "out of memory" : "the node is not logged in");
		return;
	}
	query->done = done;
	query->context = context;
	if (control_client_query_feature(node->control, feature, on_feature, query, &query->call,
					 &err) < 0) {
		free(query);
		done(context, NULL, err.text);
		return;
	}
	LIST_INSERT_HEAD(&node->feature_queries, query, entry);
}
