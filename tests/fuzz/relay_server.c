/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/relay_server.c - bytes of strangers into the relay's core
 *
 * Input: records of one byte who (0, 1: clients that are in, 2: one that has said nothing, 3: time
 * passes, 4: one that does not read), one of length, and the bytes. After each record the books
 * must balance.
 */
#include "unit/server/relay_world.h"

#define CHECK(what)              \
	do {                     \
		if (!(what))     \
			abort(); \
	} while (0)

static const struct secret_key secrets[] = {
	{{0x08, 1, [31] = 0x40}}, {{0x08, 2, [31] = 0x40}}, {{0x08, 3, [31] = 0x40}}};

static struct derp_connection *join(struct world *w, struct world_client *k,
				    const struct secret_key *secret, bool greet)
{
	uint8_t hello[DERP_INFO_MAX];

	*k = (struct world_client){.line = BUFFER_INIT(1u << 20), .secret = *secret};
	secret_key_public(secret, &k->key);
	k->connection = derp_server_accept(w->server, k, w->now);
	CHECK(k->connection);
	world_attend(w);
	if (greet)
		(void)world_give(w, k, hello, (size_t)world_client_info(w, k, hello, sizeof(hello)),
				 0);
	return k->connection;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = cursor_of(data, size);
	const struct derp_server_statistics *statistics;
	struct world w = {.now = 5000 * NSEC_PER_SEC, .secret = {{0x10, [31] = 0x40}}};

	if (sodium_init() < 0 || derp_server_new(&w.secret, 0, &w.server) < 0)
		abort();
	statistics = &w.server->statistics;
	for (size_t i = 0; i < 4; i++)
		join(&w, &w.clients[i], &secrets[i % 3], i != 2);
	w.clients[3].deaf = true;
	w.count = 4;
	while (c.left > 2) {
		uint8_t who = cursor_u8(&c) % 5, length = cursor_u8(&c);
		size_t take = length < c.left ? length : c.left;
		const uint8_t *bytes = cursor_take(&c, take);
		struct world_client *k = &w.clients[who == 4 ? 3 : who];

		if (who == 3) {
			w.now += length * NSEC_PER_SEC;
			derp_server_timeout(w.server, w.now);
			world_attend(&w);
			continue;
		}
		if (k->closed) {
			buffer_free(&k->line);
			join(&w, k, &secrets[who % 3], who != 2);
		}
		(void)world_give(&w, k, bytes, take, 0);
		for (size_t i = 0; i < 3; i++)
			buffer_consume(&w.clients[i].line, w.clients[i].line.length);
		CHECK(statistics->ready <= statistics->connections && statistics->connections <= 4);
		CHECK(statistics->peers <= statistics->ready);
		CHECK(statistics->home <= statistics->ready);
		CHECK(statistics->queued_bytes <= 2 * LIMIT_RELAY_QUEUE_BYTES);
	}
	for (size_t i = 0; i < 4; i++)
		if (!w.clients[i].closed)
			world_close(&w.clients[i]);
	CHECK(statistics->connections == 0 && statistics->peers == 0 && statistics->home == 0);
	CHECK(statistics->queued_bytes == 0);
	world_end(&w);
	return 0;
}
