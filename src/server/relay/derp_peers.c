/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/derp_peers.c - who is here, and who has sent to whom */
#include "server/relay/derp_server_internal.h"

#include "base/limits.h"

#include <errno.h>
#include <string.h>

/* tell_health() - @text to every connection of @peer; "" takes the complaint back */
static void tell_health(struct peer *peer, const char *text)
{
	const struct derp_message m = {
		.type = DERP_HEALTH, .data = (const uint8_t *)text, .length = strlen(text)};

	for (struct derp_connection *c = peer->connections; c; c = c->twin)
		connection_tell(c, &m);
}

/* make_room() - Of too many connections of one key the oldest goes */
static void make_room(struct peer *peer)
{
	struct derp_connection *last = peer->connections;

	if (peer->count < LIMIT_RELAY_SAME_KEY)
		return;
	while (last->twin)
		last = last->twin;
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
	c->twin = peer->connections;
	c->twin_link = &peer->connections;
	if (c->twin)
		c->twin->twin_link = &c->twin;
	peer->connections = c;
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

	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	if (from->last_flow == f)
		from->last_flow = NULL;
	HASH_DEL(from->flows, f);
	free(f);
}

void peer_leave(struct derp_connection *c)
{
	struct derp_server *s = c->server;
	struct peer *peer = c->peer;

	c->peer = NULL;
	*c->twin_link = c->twin;
	if (c->twin)
		c->twin->twin_link = c->twin_link;
	if (peer->active == c)
		peer->active = peer->connections;
	if (--peer->count == 1)
		tell_health(peer, "");
	if (peer->count > 0)
		return;
	while (peer->senders) {
		connection_tell(peer->senders->from,
				&(struct derp_message){.type = DERP_PEER_GONE,
						       .key = peer->key,
						       .reason = DERP_GONE_DISCONNECTED});
		s->statistics.peer_gone++;
		flow_free(peer->senders);
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
	f->next = peer->senders;
	f->link = &peer->senders;
	if (f->next)
		f->next->link = &f->next;
	peer->senders = f;
	c->last_flow = f;
	return peer;
}

void flows_clear(struct derp_connection *c)
{
	while (c->flows)
		flow_free(c->flows);
}
