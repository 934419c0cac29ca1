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
	s->attention_last = &s->attention;
	*ret = s;
	return 0;
}

void derp_server_free(struct derp_server *s)
{
	if (!s)
		return;
	while (s->connections)
		derp_connection_free(s->connections);
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

/* What the owner is to do */

static void attention_leave(struct derp_connection *c)
{
	if (!c->listed)
		return;
	*c->attention_link = c->attention_next;
	if (c->attention_next)
		c->attention_next->attention_link = c->attention_link;
	else
		c->server->attention_last = c->attention_link;
	c->listed = false;
}

void connection_want(struct derp_connection *c, enum derp_wants what)
{
	struct derp_server *s = c->server;

	c->wants |= (unsigned int)what;
	if (c->listed)
		return;
	c->attention_next = NULL;
	c->attention_link = s->attention_last;
	*s->attention_last = c;
	s->attention_last = &c->attention_next;
	c->listed = true;
}

struct derp_connection *derp_server_attention(struct derp_server *s, unsigned int *ret_wants)
{
	struct derp_connection *c = s->attention;

	if (!c)
		return NULL;
	attention_leave(c);
	*ret_wants = c->wants;
	c->wants = 0;
	return c;
}

/* Deadlines: a wheel of seconds, since all are less than its length away */

static size_t slot_of(nanoseconds at)
{
	return (size_t)(at / NSEC_PER_SEC) % WHEEL_SLOTS;
}

static void wheel_leave(struct derp_connection *c)
{
	if (!c->wheel_link)
		return;
	*c->wheel_link = c->wheel_next;
	if (c->wheel_next)
		c->wheel_next->wheel_link = c->wheel_link;
	c->wheel_link = NULL;
}

void connection_schedule(struct derp_connection *c)
{
	nanoseconds at = deadline_min(c->alive_at, c->blocked_at);
	struct derp_connection **slot;

	if (at == DEADLINE_NEVER) {
		wheel_leave(c);
		return;
	}
	at = (at + NSEC_PER_SEC - 1) / NSEC_PER_SEC * NSEC_PER_SEC;
	if (at < c->server->wheel_at)
		at = c->server->wheel_at;
	if (c->wheel_link && c->due == at)
		return;
	wheel_leave(c);
	slot = &c->server->wheel[slot_of(at)];
	c->due = at;
	c->wheel_next = *slot;
	c->wheel_link = slot;
	if (*slot)
		(*slot)->wheel_link = &c->wheel_next;
	*slot = c;
}

nanoseconds derp_server_deadline(const struct derp_server *s)
{
	for (size_t i = 0; i < WHEEL_SLOTS; i++) {
		nanoseconds at = s->wheel_at + (nanoseconds)i * NSEC_PER_SEC;

		if (s->wheel[slot_of(at)])
			return at;
	}
	return DEADLINE_NEVER;
}

/* connection_due() - A deadline of @c has come */
static void connection_due(struct derp_connection *c, nanoseconds now)
{
	struct derp_server *s = c->server;

	if (c->blocked_at <= now) {
		s->statistics.stalled++;
		queues_clear(c); /* nobody will read it */
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
	nanoseconds end = now / NSEC_PER_SEC * NSEC_PER_SEC, at = s->wheel_at;

	if (at > end)
		return;
	s->wheel_at = end + NSEC_PER_SEC;
	/* After a pause longer than the wheel each slot is looked at once. */
	for (int turns = 0; at <= end && turns < WHEEL_SLOTS; at += NSEC_PER_SEC, turns++) {
		struct derp_connection *due = s->wheel[slot_of(at)];

		s->wheel[slot_of(at)] = NULL;
		if (due)
			due->wheel_link = &due;
		while (due) {
			struct derp_connection *c = due;

			wheel_leave(c);
			if (c->due <= now)
				connection_due(c, now);
			connection_schedule(c);
		}
	}
}

/* Connections */

struct derp_connection *derp_server_accept(struct derp_server *s, void *owner, nanoseconds now)
{
	struct derp_connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (!s->connections)
		s->wheel_at = now / NSEC_PER_SEC * NSEC_PER_SEC;
	c->server = s;
	c->owner = owner;
	c->number = ++s->last_number;
	c->control = BUFFER_INIT(CONTROL_MAX);
	c->input = BUFFER_INIT(DERP_FRAME_HEADER + KEY_SIZE + DERP_PACKET_MAX + DERP_RECEIVE_PIECE);
	c->gone = (struct quota){DERP_SERVER_GONE_BURST, NSEC_PER_SEC / DERP_SERVER_GONE_BURST, 0};
	if (!connection_tell(c,
			     &(struct derp_message){.type = DERP_SERVER_KEY, .key = s->public})) {
		attention_leave(c);
		buffer_free(&c->control);
		free(c);
		return NULL;
	}
	c->next = s->connections;
	c->link = &s->connections;
	if (c->next)
		c->next->link = &c->next;
	s->connections = c;
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
	wheel_leave(c);
	queues_clear(c);
	buffer_free(&c->control);
	buffer_free(&c->input);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
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
	/* It may stay in its slot: that finds nothing due, and moves it on. */
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

bool derp_connection_is_ready(const struct derp_connection *c)
{
	return c->state == READY;
}

nanoseconds derp_connection_read_after(const struct derp_connection *c)
{
	return c->read_after;
}

void derp_server_expel(struct derp_server *s, const struct public_key *key)
{
	for (struct derp_connection *c = s->connections; c; c = c->next)
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

	for (struct derp_connection *c = s->connections; c; c = c->next)
		if (c->state == READY)
			connection_tell(c, &m);
}
