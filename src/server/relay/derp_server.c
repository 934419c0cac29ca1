/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/derp_server.c - the relay: the lives and deadlines of its connections, their peers, and
 * the flows between them */
#include "server/relay/derp_server_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <string.h>

#define CONTROL_MAX (4u * 1024) /* frames that are not packets, queued for one client */

uint32_t derp_hash(const void *key, size_t length)
{
	static uint8_t secret[crypto_shorthash_KEYBYTES];
	static bool made;
	union {
		uint8_t bytes[crypto_shorthash_BYTES];
		uint32_t number;
	} hash;

	if (!made) {
		randombytes_buf(secret, sizeof(secret));
		made = true;
	}
	crypto_shorthash(hash.bytes, key, length, secret);
	return hash.number;
}

int derp_server_new(const struct secret_key *key, uint64_t bytes_per_second,
		    struct derp_server **ret)
{
	struct derp_server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->key = *key;
	secret_key_public(key, &s->public);
	s->rate = bytes_per_second;
	TAILQ_INIT(&s->attention);
	*ret = s;
	return 0;
}

void derp_server_free(struct derp_server *s)
{
	if (!s)
		return;
	while (!LIST_EMPTY(&s->connections))
		derp_connection_free(LIST_FIRST(&s->connections));
	secret_key_wipe(&s->key);
	free(s);
}

/* Requests to the owner */

static void attention_leave(struct derp_connection *c)
{
	if (c->listed)
		TAILQ_REMOVE(&c->server->attention, c, attention);
	c->listed = false;
}

void connection_want(struct derp_connection *c, enum derp_wants what)
{
	c->wants |= (unsigned int)what;
	if (!c->listed)
		TAILQ_INSERT_TAIL(&c->server->attention, c, attention);
	c->listed = true;
}

struct derp_connection *derp_server_attention(struct derp_server *s, unsigned int *ret_wants)
{
	struct derp_connection *c = TAILQ_FIRST(&s->attention);

	if (!c)
		return NULL;
	attention_leave(c);
	*ret_wants = c->wants;
	c->wants = 0;
	return c;
}

void connection_schedule(struct derp_connection *c)
{
	deadlines_set(&c->server->deadlines, &c->due, deadline_min(c->alive_at, c->blocked_at));
}

/* connection_due() - A deadline of @c has come */
static void connection_due(struct derp_connection *c, nanoseconds now)
{
	struct derp_server *s = c->server;

	if (c->blocked_at <= now) {
		s->statistics.stalled++;
		queues_clear(c); /* the client will not read it */
		connection_end(c);
	} else if (c->alive_at <= now && c->state != READY) {
		s->statistics.timed_out++;
		connection_end(c);
	} else if (c->alive_at <= now) {
		connection_tell(c, &(struct derp_message){.type = DERP_KEEP_ALIVE});
		c->alive_at = now + DERP_SERVER_KEEP_ALIVE +
			      (nanoseconds)randombytes_uniform(
				      (uint32_t)(DERP_SERVER_JITTER / NSEC_PER_MSEC)) *
				      NSEC_PER_MSEC;
	}
}

void derp_server_timeout(struct derp_server *s, nanoseconds now)
{
	struct deadline *due;

	deadlines_turn(&s->deadlines, now);
	while ((due = deadlines_next(&s->deadlines))) {
		struct derp_connection *c = container_of(due, struct derp_connection, due);

		connection_due(c, now);
		connection_schedule(c);
	}
}

/* Peers and flows */

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

/* peer_leave() - @c is not READY any more; the last one ends the peer */
static void peer_leave(struct derp_connection *c)
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

static void flows_clear(struct derp_connection *c)
{
	while (c->flows)
		flow_free(c->flows);
}

/* Connections */

struct derp_connection *derp_server_accept(struct derp_server *s, void *owner, nanoseconds now)
{
	struct derp_connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (LIST_EMPTY(&s->connections))
		deadlines_turn(&s->deadlines, now);
	c->server = s;
	c->owner = owner;
	c->number = ++s->last_number;
	c->control = BUFFER_INIT(CONTROL_MAX);
	c->input = BUFFER_INIT(DERP_FRAME_HEADER + KEY_SIZE + DERP_PACKET_MAX + DERP_RECEIVE_PIECE);
	STAILQ_INIT(&c->disco.packets);
	STAILQ_INIT(&c->data.packets);
	c->gone = (struct quota){DERP_SERVER_GONE_BURST, NSEC_PER_SEC / DERP_SERVER_GONE_BURST, 0};
	if (!connection_tell(c,
			     &(struct derp_message){.type = DERP_SERVER_KEY, .key = s->public})) {
		attention_leave(c);
		buffer_free(&c->control);
		free(c);
		return NULL;
	}
	LIST_INSERT_HEAD(&s->connections, c, connections);
	s->statistics.connections++;
	s->statistics.accepted++;
	c->alive_at = now + DERP_SERVER_PATIENCE;
	c->blocked_at = DEADLINE_NEVER;
	connection_schedule(c);
	return c;
}

/* leave() - It takes part no more */
static void leave(struct derp_connection *c)
{
	if (c->state == READY) {
		c->server->statistics.ready--;
		c->server->statistics.home -= c->home;
		flows_clear(c);
		peer_leave(c);
	}
	c->state = ENDING;
}

void connection_end(struct derp_connection *c)
{
	leave(c);
	c->alive_at = c->blocked_at = DEADLINE_NEVER;
	connection_want(c, DERP_WANTS_CLOSE);
}

void derp_connection_free(struct derp_connection *c)
{
	leave(c);
	attention_leave(c);
	deadlines_clear(&c->due);
	queues_clear(c);
	buffer_free(&c->control);
	buffer_free(&c->input);
	LIST_REMOVE(c, connections);
	c->server->statistics.connections--;
	free(c);
}

void derp_connection_blocked(struct derp_connection *c, nanoseconds now)
{
	c->blocked_at = now + DERP_SERVER_WRITE_TIMEOUT;
	connection_schedule(c);
}

void derp_connection_unblocked(struct derp_connection *c)
{
	/* The deadline that is set stays: nothing is due then, and the next one is set. */
	c->blocked_at = DEADLINE_NEVER;
}

void derp_server_expel(struct derp_server *s, const struct public_key *key)
{
	struct derp_connection *c;

	LIST_FOREACH(c, &s->connections, connections)
		if ((c->state == READY || c->state == VERIFYING) && public_key_equal(&c->key, key))
			connection_end(c);
}

void derp_server_restarting(struct derp_server *s, uint32_t in_ms, uint32_t try_for_ms)
{
	const struct derp_message m = {
		.type = DERP_RESTARTING,
		.reconnect_in_ms = in_ms,
		.try_for_ms = try_for_ms,
	};
	struct derp_connection *c;

	LIST_FOREACH(c, &s->connections, connections)
		if (c->state == READY)
			connection_tell(c, &m);
}
