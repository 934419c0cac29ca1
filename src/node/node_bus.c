/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_bus.c - the bus: messages for local programs that watch the node
 *
 * Theory of operation
 *
 * Watches form a list. The function that receives a message may free its watch, so freeing
 * during a delivery only marks the watch; the delivery frees it at its end.
 */
#include "base/limits.h"
#include "node/node_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_SESSION_MAX 17 /* 16 hex digits and the end */

/* Watches with one of these bits get changes of peers. */
#define PEER_BITS (NODE_WATCH_PEER_CHANGES | NODE_WATCH_PEER_PATCHES)

struct node_watch {
	struct node *node;
	struct node_watch *next;
	unsigned int mask;
	char session[NODE_SESSION_MAX];
	bool dead;
	node_notify *notify;
	void *context;
};

/* sweep() - Free the watches that were marked during a delivery */
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

/* A message under construction: one JSON object. */
struct message {
	struct buffer text;
	struct json_writer w;
};

static void message_begin(struct message *m)
{
	m->text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	m->w = json_writer_to(&m->text);
	json_begin_object(&m->w, NULL);
	json_put_string(&m->w, "Version", NODE_VERSION_LONG);
}

/* message_end() - Whether the message can be sent */
static bool message_end(struct message *m)
{
	json_end_object(&m->w);
	return json_writer_result(&m->w) == 0 && buffer_append(&m->text, "\n", 1) == 0;
}

/* send_message() - Deliver @m, and release it, to watches with one of @bits; 0: to all watches */
static void send_message(struct node *node, unsigned int bits, struct message *m)
{
	struct node_bus *bus = &node->bus;
	bool is_whole = message_end(m);

	bus->depth++;
	for (struct node_watch *watch = bus->watches; watch && is_whole; watch = watch->next)
		if (!watch->dead && (!bits || watch->mask & bits))
			watch->notify(watch->context, buffer_head(&m->text), m->text.length);
	bus->depth--;
	if (bus->depth == 0)
		sweep(bus);
	buffer_free(&m->text);
}

void node_bus_write(struct node *node, const char *member, node_writer *write)
{
	struct message m;

	if (!node->bus.watches)
		return;
	message_begin(&m);
	write(node, &m.w, member);
	send_message(node, 0, &m);
}

void node_bus_text(struct node *node, const char *member, const char *text)
{
	struct message m;

	message_begin(&m);
	json_put_string(&m.w, member, text);
	send_message(node, 0, &m);
}

void node_bus_state(struct node *node, enum node_state state)
{
	struct message m;

	message_begin(&m);
	json_put_int(&m.w, "State", state);
	send_message(node, 0, &m);
}

static bool is_followed(const struct node *node, unsigned int bits)
{
	for (const struct node_watch *watch = node->bus.watches; watch; watch = watch->next)
		if (!watch->dead && watch->mask & bits)
			return true;
	return false;
}

void node_bus_peers(struct node *node, const struct netmap_change *change)
{
	const struct netmap *map = node_netmap(node);
	struct message m;
	json_t *users;

	if ((change->update_count == 0 && change->removal_count == 0) ||
	    !is_followed(node, PEER_BITS))
		return;
	users = json_object();
	message_begin(&m);
	for (uint32_t i = 0; i < change->update_count; i++) {
		const struct tailcfg_user_profile *user =
			netmap_user(map, change->updates[i].peer->node.user);
		char id[24];

		snprintf(id, sizeof(id), "%lld", user ? (long long)user->id : 0LL);
		if (!user || json_object_get(users, id))
			continue;
		if (json_object_size(users) == 0)
			json_begin_object(&m.w, "UserProfiles");
		tailcfg_user_profile_encode(&m.w, id, user);
		json_object_set_new(users, id, json_true());
	}
	if (json_object_size(users) > 0)
		json_end_object(&m.w);
	json_decref(users);
	if (change->update_count) {
		json_begin_array(&m.w, "PeersChanged");
		for (uint32_t i = 0; i < change->update_count; i++)
			tailcfg_node_encode(&m.w, NULL, &change->updates[i].peer->node);
		json_end_array(&m.w);
	}
	if (change->removal_count) {
		json_begin_array(&m.w, "PeersRemoved");
		for (uint32_t i = 0; i < change->removal_count; i++)
			json_put_int(&m.w, NULL, change->removals[i].id);
		json_end_array(&m.w);
	}
	send_message(node, PEER_BITS, &m);
}

/* put_initial() - The members of the first message that @mask asks for */
static void put_initial(struct node *node, unsigned int mask, const char *session,
			struct json_writer *w)
{
	json_put_string(w, "SessionID", session);
	if (mask & NODE_WATCH_INITIAL_STATE) {
		json_put_int(w, "State", node_state(node));
		json_put_string_if(w, "BrowseToURL", node->auth_url);
	}
	if (mask & NODE_WATCH_INITIAL_PREFS)
		node_write_prefs(node, w, "Prefs");
	if (mask & NODE_WATCH_INITIAL_NETMAP && node_has_map(node)) {
		node_write_netmap(node, w, "NetMap");
		node_write_self(node, w, "SelfChange");
	}
	if (mask & NODE_WATCH_INITIAL_HEALTH)
		node_write_health(node, w, "Health");
	if (mask & NODE_WATCH_INITIAL_STATUS)
		node_write_status(node, mask & PEER_BITS, w, "InitialStatus");
}

struct node_watch *node_watch_new(struct node *node, unsigned int mask, node_notify *notify,
				  void *context)
{
	struct node_watch *watch = calloc(1, sizeof(*watch));
	unsigned char id[NODE_SESSION_MAX / 2];
	char session[NODE_SESSION_MAX];
	struct message m;

	if (!watch)
		return NULL;
	/* By chance: another engine's sessions must not be taken for ours. */
	randombytes_buf(id, sizeof(id));
	sodium_bin2hex(session, sizeof(session), id, sizeof(id));
	message_begin(&m);
	put_initial(node, mask, session, &m.w);
	if (!message_end(&m)) {
		buffer_free(&m.text);
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
	memcpy(watch->session, session, sizeof(session));
	node->bus.watches = watch;
	notify(context, buffer_head(&m.text), m.text.length);
	buffer_free(&m.text);
	return watch;
}

void node_watch_free(struct node_watch *watch)
{
	char session[NODE_SESSION_MAX];
	struct node *node;

	if (!watch)
		return;
	node = watch->node;
	memcpy(session, watch->session, sizeof(session));
	watch->dead = true;
	if (node->bus.depth == 0)
		sweep(&node->bus);
	node_serve_session_ended(node, session);
}

static struct node_watch *find(const struct node *node, const char *session)
{
	struct node_watch *watch = node->bus.watches;

	while (watch && (watch->dead || strcmp(watch->session, session) != 0))
		watch = watch->next;
	return watch;
}

bool node_bus_has(const struct node *node, const char *session)
{
	return find(node, session) != NULL;
}

void node_bus_end(struct node *node, const char *session)
{
	struct node_watch *watch = find(node, session);

	if (watch)
		watch->notify(watch->context, NULL, 0);
}

void node_bus_close(struct node *node)
{
	for (struct node_watch *watch = node->bus.watches; watch; watch = watch->next)
		watch->dead = true;
	sweep(&node->bus);
}
