/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/derp_peers.c - connected peers, and the flows between them */
#include "server/relay/derp_server_internal.h"

#include "base/limits.h"

#include <errno.h>
#include <string.h>

/* tell_health() - @text to every connection of @peer; "" takes the complaint back */
static void tell_health(struct peer *peer, const char *text)
{
	const struct derp_message m = {
		.type = DERP_HEALTH, .data = (const uint8_t *)text, .length = strlen(text)};
	struct derp_connection *c;

	LIST_FOREACH(c, &peer->connections, twins)
		connection_tell(c, &m);
}

/* make_room() - Of too many connections of one key the oldest goes */
static void make_room(struct peer *peer)
{
	struct derp_connection *last = LIST_FIRST(&peer->connections);

	if (peer->count < LIMIT_RELAY_SAME_KEY)
		return;
	while (LIST_NEXT(last, twins))
		last = LIST_NEXT(last, twins);
	connection_end(last);
}

int peer_join(struct derp_connection *c)
{
	struct derp_server *s = c->server;
	struct peer *peer;

	HASH_FIND(hh, s->peers, &c->key, sizeof(c->key), peer);
	if (!peer) {
		peer = calloc(1, sizeof(*peer));
		if (!peer)
			return -ENOMEM;
		peer->key = c->key;
		HASH_ADD(hh, s->peers, key, sizeof(peer->key), peer);
		if (!peer->hh.tbl) {
			free(peer);
			return -ENOMEM;
		}
		s->statistics.peers++;
	}
	make_room(peer);
	c->peer = peer;
	LIST_INSERT_HEAD(&peer->connections, c, twins);
	peer->active = c;
	if (++peer->count > 1) {
		s->statistics.duplicates++;
		tell_health(peer,
			    "another client of this relay uses the same node key: packets go to "
			    "the one that sent last");
	}
	return 0;
}

static void flow_free(struct flow *f)
{
	struct derp_connection *from = f->from;

	LIST_REMOVE(f, senders);
	if (from->last_flow == f)
		from->last_flow = NULL;
	HASH_DEL(from->flows, f);
	free(f);
}

void peer_leave(struct derp_connection *c)
{
	struct derp_server *s = c->server;
	struct peer *peer = c->peer;
	struct flow *f;

	c->peer = NULL;
	LIST_REMOVE(c, twins);
	if (peer->active == c)
		peer->active = LIST_FIRST(&peer->connections);
	if (--peer->count == 1)
		tell_health(peer, "");
	if (peer->count > 0)
		return;
	while ((f = LIST_FIRST(&peer->senders))) {
		connection_tell(f->from, &(struct derp_message){.type = DERP_PEER_GONE,
								.key = peer->key,
								.reason = DERP_GONE_DISCONNECTED});
		s->statistics.peer_gone++;
		flow_free(f);
	}
	HASH_DEL(s->peers, peer);
	s->statistics.peers--;
	free(peer);
}

struct peer *flow_to(struct derp_connection *c, const struct public_key *key)
{
	struct flow *f = c->last_flow;
	struct peer *peer;

	if (f && memcmp(&f->to->key, key, sizeof(*key)) == 0)
		return f->to;
	HASH_FIND(hh, c->flows, key, sizeof(*key), f);
	if (f) {
		c->last_flow = f;
		return f->to;
	}
	HASH_FIND(hh, c->server->peers, key, sizeof(*key), peer);
	if (!peer)
		return NULL;
	if (HASH_COUNT(c->flows) >= LIMIT_RELAY_FLOWS)
		flow_free(c->flows); /* the oldest */
	f = calloc(1, sizeof(*f));
	if (!f)
		return peer;
	f->from = c;
	f->to = peer;
	HASH_ADD_KEYPTR(hh, c->flows, &peer->key, sizeof(peer->key), f);
	if (!f->hh.tbl) {
		free(f);
		return peer;
	}
	LIST_INSERT_HEAD(&peer->senders, f, senders);
	c->last_flow = f;
	return peer;
}

void flows_clear(struct derp_connection *c)
{
	while (c->flows)
		flow_free(c->flows);
}
