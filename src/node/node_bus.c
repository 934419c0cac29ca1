/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_bus.c - who follows the node, and what they are told
 *
 * Theory of operation
 *
 * Watches form a list. A watch may be freed by the very function that is being told
 * something, so freeing while a message is going round only marks the watch, and the
 * round sweeps afterwards.
 */
#include "node/node_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Who follows the peers; see node_bus_send_peers(). */
#define PEER_BITS (NODE_WATCH_PEER_CHANGES | NODE_WATCH_PEER_PATCHES)

struct node_watch {
	struct node *node;
	struct node_watch *next;
	unsigned int mask;
	bool dead;
	void (*notify)(void *context, json_t *message);
	void *context;
};

/* sweep() - Free the watches that were marked while a message went round */
static void sweep(struct node_bus *bus)
{
	struct node_watch **link = &bus->watches;

	while (*link) {
		struct node_watch *watch = *link;

		if (watch->dead) {
			*link = watch->next;
			free(watch);
		} else {
			link = &watch->next;
		}
	}
}

static json_t *new_message(void)
{
	return json_pack("{s:s}", "Version", NODE_VERSION_LONG);
}

/* send_members() - @members, which are released, to those whose mask has one of @bits; 0: to all */
static void send_members(struct node *node, unsigned int bits, json_t *members)
{
	struct node_bus *bus = &node->bus;

	bus->depth++;
	for (struct node_watch *watch = bus->watches; watch; watch = watch->next) {
		json_t *message;

		if (watch->dead || (bits && !(watch->mask & bits)))
			continue;
		message = new_message();
		if (message && json_object_update(message, members) == 0)
			watch->notify(watch->context, message);
		else
			json_decref(message);
	}
	bus->depth--;
	if (bus->depth == 0)
		sweep(bus);
	json_decref(members);
}

void node_bus_send(struct node *node, const char *member, json_t *value)
{
	send_members(node, 0, json_pack("{s:o}", member, value));
}

static bool is_followed(const struct node *node, unsigned int bits)
{
	for (const struct node_watch *watch = node->bus.watches; watch; watch = watch->next)
		if (!watch->dead && watch->mask & bits)
			return true;
	return false;
}

/**
 * node_bus_send_peers() - What a message changed of the peers, to those who asked for that
 *
 * Peers are told as a whole, also to those who take patches, and each with its user.
 */
void node_bus_send_peers(struct node *node, const struct netmap_change *change)
{
	const struct netmap *map = node_netmap(node);
	json_t *members, *changed, *removed, *users;

	if ((change->update_count == 0 && change->removal_count == 0) ||
	    !is_followed(node, PEER_BITS))
		return;
	members = json_object();
	changed = json_array();
	removed = json_array();
	users = json_object();
	for (uint32_t i = 0; i < change->update_count; i++) {
		const struct tailcfg_node *peer = &change->updates[i].peer->node;
		const struct tailcfg_user_profile *user = netmap_user(map, peer->user);
		char id[24];

		json_array_append_new(changed, node_peer_json(peer));
		snprintf(id, sizeof(id), "%lld", (long long)peer->user);
		if (user)
			json_object_set_new(users, id, node_user_json(user));
	}
	for (uint32_t i = 0; i < change->removal_count; i++)
		json_array_append_new(removed, json_integer(change->removals[i].id));
	if (json_object_size(users) > 0)
		json_object_set(members, "UserProfiles", users);
	if (change->update_count > 0)
		json_object_set(members, "PeersChanged", changed);
	if (change->removal_count > 0)
		json_object_set(members, "PeersRemoved", removed);
	json_decref(users);
	json_decref(changed);
	json_decref(removed);
	send_members(node, PEER_BITS, members);
}

/* initial_message() - What the mask asks to be told first */
static json_t *initial_message(struct node *node, unsigned int mask)
{
	json_t *message = new_message();
	char session[17];

	if (!message)
		return NULL;
	snprintf(session, sizeof(session), "%016llx", (unsigned long long)++node->bus.sessions);
	json_object_set_new(message, "SessionID", json_string(session));
	if (mask & NODE_WATCH_INITIAL_STATE) {
		json_object_set_new(message, "State", json_integer(node_state(node)));
		if (node->auth_url)
			json_object_set_new(message, "BrowseToURL", json_string(node->auth_url));
	}
	if (mask & NODE_WATCH_INITIAL_PREFS)
		json_object_set_new(message, "Prefs", node_prefs_json(node));
	if (mask & NODE_WATCH_INITIAL_NETMAP) {
		json_t *netmap = node_netmap_json(node), *self = node_self_json(node);

		if (netmap)
			json_object_set_new(message, "NetMap", netmap);
		if (self)
			json_object_set_new(message, "SelfChange", self);
	}
	if (mask & NODE_WATCH_INITIAL_HEALTH)
		json_object_set_new(message, "Health", node_health_json(node));
	if (mask & NODE_WATCH_INITIAL_STATUS)
		json_object_set_new(message, "InitialStatus",
				    node_status_json(node, mask & PEER_BITS));
	return message;
}

struct node_watch *node_watch_new(struct node *node, unsigned int mask,
				  void (*notify)(void *context, json_t *message), void *context)
{
	struct node_watch *watch = calloc(1, sizeof(*watch));
	json_t *message;

	if (!watch)
		return NULL;
	message = initial_message(node, mask);
	if (!message) {
		free(watch);
		return NULL;
	}
	*watch = (struct node_watch){
		.node = node,
		.next = node->bus.watches,
		.mask = mask,
		.notify = notify,
		.context = context,
	};
	node->bus.watches = watch;
	notify(context, message);
	return watch;
}

void node_watch_free(struct node_watch *watch)
{
	if (!watch)
		return;
	watch->dead = true;
	if (watch->node->bus.depth == 0)
		sweep(&watch->node->bus);
}

void node_bus_close(struct node *node)
{
	for (struct node_watch *watch = node->bus.watches; watch; watch = watch->next)
		watch->dead = true;
	sweep(&node->bus);
}
