/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/relay_world.h - the relay's core with clients made of the codec
 *
 *	client 0 ──┐
 *	client 1 ──┤ relay (virtual time, no sockets)
 *	client n ──┘
 *
 * A client's bytes wait in `line` until it reads. A client that does not read
 * (`deaf`) lets 16 KiB through, as a socket's buffers would, and then blocks.
 */
#pragma once

#include "unit/unit.h"

#include "base/limits.h"
#include "server/relay/derp_server.h"

#include <sodium.h>

#define WORLD_CLIENTS 64
#define WORLD_SOCKET  (16u * 1024)

struct world_client {
	struct derp_connection *connection;
	struct secret_key secret;
	struct public_key key;
	struct buffer line;
	bool deaf, blocked, closed;
	size_t taken;
};

struct world {
	struct derp_server *server;
	struct secret_key secret;
	struct world_client clients[WORLD_CLIENTS];
	size_t count;
	nanoseconds now;
	bool refuse, no_verdict;
};

static inline void world_begin(struct world *w, uint64_t rate)
{
	*w = (struct world){.now = 5000 * NSEC_PER_SEC};
	secret_key_generate(&w->secret);
	assert_int_equal(derp_server_new(&w->secret, rate, &w->server), 0);
}

static inline void world_close(struct world_client *k)
{
	derp_connection_free(k->connection);
	k->connection = NULL;
	k->closed = true;
}

/* What the owner does: move output to the lines, give verdicts, free what ended. */
static inline void world_attend(struct world *w)
{
	struct derp_connection *c;
	unsigned int wants;

	while ((c = derp_server_attention(w->server, &wants)) != NULL) {
		struct world_client *k = c->owner;

		if ((wants & DERP_WANTS_VERIFY) && !w->no_verdict)
			derp_connection_admit(c, !w->refuse, w->now);
		while (k->line.length < WORLD_SOCKET || !k->deaf)
			if (!derp_connection_output(c, &k->line, k->line.length + 1))
				break;
		if (k->deaf && k->line.length >= WORLD_SOCKET && !k->blocked) {
			k->blocked = true;
			derp_connection_blocked(c, w->now);
		}
		if (wants & DERP_WANTS_CLOSE)
			world_close(k);
	}
}

static inline void world_end(struct world *w)
{
	derp_server_free(w->server);
	for (size_t i = 0; i < w->count; i++)
		buffer_free(&w->clients[i].line);
}

/* The next frame that a client has; its bytes stay until the next call. */
static inline bool world_read(struct world_client *k, struct derp_message *ret)
{
	struct derp_frame frame;
	struct cursor c;

	buffer_consume(&k->line, k->taken);
	k->taken = 0;
	c = cursor_of(k->line.length ? buffer_head(&k->line) : NULL, k->line.length);
	if (derp_frame_next(&c, 1u << 20, &frame) != 1)
		return false;
	k->taken = DERP_FRAME_HEADER + frame.length;
	assert_int_equal(derp_message_parse(&frame, ret), 0);
	return true;
}

/* Give bytes in pieces; the connection is gone when the relay says so. */
static inline int world_give(struct world *w, struct world_client *k, const void *bytes,
			     size_t length, size_t piece)
{
	const uint8_t *at = bytes;
	int r = 0;

	while (length > 0 && r == 0 && k->connection) {
		size_t now = piece && piece < length ? piece : length;

		r = derp_connection_receive(k->connection, at, now, w->now);
		at += now;
		length -= now;
		if (r < 0)
			world_close(k);
		world_attend(w);
	}
	return r;
}

static inline int world_say(struct world *w, struct world_client *k, const struct derp_message *m)
{
	static uint8_t out[DERP_PACKET_MAX + 128];
	ssize_t length = derp_message_write(out, sizeof(out), m);

	assert_true(length > 0);
	return world_give(w, k, out, (size_t)length, 0);
}

static inline int world_send(struct world *w, struct world_client *k, const struct public_key *to,
			     const void *bytes, size_t length)
{
	return world_say(
		w, k,
		&(struct derp_message){
			.type = DERP_SEND_PACKET, .key = *to, .data = bytes, .length = length});
}

static inline ssize_t world_client_info(struct world *w, struct world_client *k, uint8_t *out,
					size_t capacity)
{
	struct derp_client_info info = {.version = 2, .can_ack_pings = true};
	uint8_t nonce[DERP_NONCE_SIZE] = {7};
	struct key_box box;
	ssize_t length;

	assert_int_equal(key_box_init(&k->secret, &w->server->public, &box), 0);
	length = derp_client_info_write(out, capacity, &k->key, &box, nonce, &info);
	assert_true(length > 0);
	return length;
}

/* A connection that has said nothing yet. */
static inline struct world_client *world_connect(struct world *w, const struct secret_key *secret)
{
	struct world_client *k = &w->clients[w->count++];

	assert_true(w->count <= WORLD_CLIENTS);
	k->line = BUFFER_INIT(64u << 20);
	if (secret)
		k->secret = *secret;
	else
		secret_key_generate(&k->secret);
	secret_key_public(&k->secret, &k->key);
	k->connection = derp_server_accept(w->server, k, w->now);
	assert_non_null(k->connection);
	world_attend(w);
	return k;
}

/* A client, its greeting done: nothing is left in its line. */
static inline struct world_client *world_join(struct world *w, const struct secret_key *secret)
{
	struct world_client *k = world_connect(w, secret);
	uint8_t hello[DERP_INFO_MAX];
	struct derp_server_info info;
	struct derp_message m;
	struct key_box box;

	assert_true(world_read(k, &m));
	assert_int_equal(m.type, DERP_SERVER_KEY);
	assert_memory_equal(&m.key, &w->server->public, sizeof(m.key));
	assert_int_equal(
		world_give(w, k, hello, (size_t)world_client_info(w, k, hello, sizeof(hello)), 0),
		0);
	assert_true(world_read(k, &m));
	assert_int_equal(m.type, DERP_SERVER_INFO);
	assert_int_equal(key_box_init(&k->secret, &w->server->public, &box), 0);
	assert_int_equal(derp_server_info_open(&m, &box, &info), 0);
	assert_int_equal(info.version, 2);
	return k;
}

/* Let time pass, second by second as a loop would. */
static inline void world_wait(struct world *w, nanoseconds time)
{
	nanoseconds end = w->now + time;

	while (w->now < end) {
		nanoseconds next = deadline_min(deadlines_first(&w->server->deadlines), end);

		assert_true(next >= w->now || next == end);
		w->now = next > w->now ? next : w->now;
		derp_server_timeout(w->server, w->now);
		world_attend(w);
		if (next < end && deadlines_first(&w->server->deadlines) <= next)
			fail_msg("a deadline that does not pass");
	}
}
