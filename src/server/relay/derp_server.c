/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/derp_server.c - the relay: its connections' lives and deadlines */
#include "server/relay/derp_server_internal.h"

#include "base/cleanup.h"

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

const struct public_key *derp_server_key(const struct derp_server *s)
{
	return &s->public;
}

const struct derp_server_statistics *derp_server_statistics(const struct derp_server *s)
{
	return &s->statistics;
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

nanoseconds derp_server_deadline(const struct derp_server *s)
{
	return deadlines_first(&s->deadlines);
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

void *derp_connection_owner(const struct derp_connection *c)
{
	return c->owner;
}

const struct public_key *derp_connection_key(const struct derp_connection *c)
{
	return &c->key;
}

nanoseconds derp_connection_read_after(const struct derp_connection *c)
{
	return c->read_after;
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
