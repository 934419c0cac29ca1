/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/path.c - a path engine under a script of what a hostile peer and network do
 *
 * The peer holds a real disco key, so its messages get past the seal. Each step is a
 * byte that says what, and what that needs. After every step the engine's promises
 * are checked: lists within their limits, trust only for an endpoint that is there, a
 * deadline that path_timeout() moves on.
 */
#include "base/cursor.h"
#include "base/limits.h"
#include "tunnel/path/path_internal.h"

#include <stdlib.h>

static const struct secret_key own = {{8, 1, [31] = 64}}, hostile = {{8, 2, [31] = 64}},
			       second = {{8, 3, [31] = 64}};
static const struct public_key node = {{1}}, peer_node = {{2}};

/* The last ping that the engine sent, so that the peer can answer it. */
static struct disco_txid last_txid;
static struct path_engine *engine;
static bool fail_sends;

static void look_at(const uint8_t *data, size_t length)
{
	struct disco_message m;
	struct public_key sender;
	struct key_box box;

	if (stun_recognise(data, length))
		return;
	if (disco_sender(data, length, &sender) < 0 ||
	    !public_key_equal(&sender, &engine->disco_public))
		abort();
	if (key_box_init(&hostile, &sender, &box) == 0 && disco_open(data, length, &box, &m) == 0 &&
	    m.type == DISCO_PING)
		last_txid = m.ping.txid;
}

static void send_udp(void *ctx, const struct endpoint *to, const uint8_t *data, size_t length)
{
	(void)ctx;
	if (to->port == 0 || to->address.family == ADDRESS_NONE)
		abort();
	look_at(data, length);
	if (fail_sends)
		path_send_failed(engine, to, -101);
}

static void send_relay(void *ctx, uint16_t region, const struct public_key *to, const uint8_t *data,
		       size_t length)
{
	(void)ctx, (void)region, (void)to;
	look_at(data, length);
}

static void nothing_changed(void *ctx, struct path_peer *peer)
{
	(void)ctx, (void)peer;
}

static void heard(void *ctx, struct path_peer *peer, enum path_evidence evidence)
{
	(void)ctx, (void)peer, (void)evidence;
}

static void endpoints_changed(void *ctx, const struct path_endpoint *list, size_t count,
			      bool working)
{
	(void)ctx, (void)list, (void)working;
	if (count > PATH_STUN_RESULTS + 1)
		abort();
}

static void pinged(void *ctx, const struct path_ping_result *result)
{
	(void)ctx, (void)result;
}

static struct endpoint take_endpoint(struct cursor *c)
{
	uint8_t bytes[16] = {0};
	struct endpoint e;

	if (cursor_u8(c) & 1) {
		cursor_copy(c, bytes, 16);
		e.address = address_v6(bytes);
	} else {
		cursor_copy(c, bytes, 4);
		e.address = address_v4(bytes);
	}
	e.port = cursor_be16(c);
	return e;
}

static void check(const struct path_peer *p, nanoseconds now)
{
	struct path_peer_status status;

	path_peer_status(p, now, &status);
	if (status.direct && status.endpoint.address.family == ADDRESS_NONE)
		abort();
	if (p->candidate_count > LIMIT_PATH_CANDIDATES || p->ping_count > LIMIT_PATH_PINGS)
		abort();
	if (HASH_COUNT(engine->sources) > 8 || HASH_COUNT(engine->keys) > SLOT_COUNT)
		abort();
}

static void message(struct path_peer *p, struct cursor *c, nanoseconds now)
{
	uint8_t how = cursor_u8(c), length = cursor_u8(c), plain[DISCO_PLAIN_MAX];
	uint8_t packet[DISCO_PACKET_MAX], nonce[DISCO_NONCE_SIZE] = {how};
	const struct secret_key *secret = how & 1 ? &second : &hostile;
	struct endpoint from = take_endpoint(c);
	struct public_key sender;
	struct disco_message m;
	struct key_box box;
	const uint8_t *body = cursor_take(c, length);
	ssize_t size;

	(void)p;
	if (!body)
		return;
	memcpy(plain, body, length);
	if (how & 2 && length >= 2 + DISCO_TXID_SIZE)
		memcpy(plain + 2, last_txid.bytes, DISCO_TXID_SIZE);
	if (disco_message_parse(plain, length, &m) < 0)
		return;
	secret_key_public(secret, &sender);
	if (key_box_init(secret, &engine->disco_public, &box) < 0)
		abort();
	size = disco_seal(packet, sizeof(packet), &sender, &box, nonce, &m);
	if (size < 0)
		return;
	if (how & 4)
		path_receive_relay(engine, 1, how & 8 ? &node : &peer_node, packet, (size_t)size,
				   now);
	else
		path_receive_udp(engine, &from, packet, (size_t)size, now);
}

static void update(struct path_peer *p, struct cursor *c, nanoseconds now)
{
	struct path_peer_config config = {.node_key = peer_node};
	struct endpoint list[8];
	uint8_t how = cursor_u8(c);

	config.home_region = how >> 6;
	config.wireguard_only = (how & 15) == 15;
	config.endpoints = list;
	config.endpoint_count = how >> 3 & 7;
	for (size_t i = 0; i < config.endpoint_count; i++)
		list[i] = take_endpoint(c);
	if (how & 3)
		secret_key_public(how & 1 ? &hostile : &second, &config.disco_key);
	path_peer_update(p, &config, now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct path_callbacks callbacks = {
		.send_udp = send_udp,
		.send_relay = send_relay,
		.path_changed = nothing_changed,
		.restarted = nothing_changed,
		.heard = heard,
		.endpoints_changed = endpoints_changed,
	};
	struct path_peer_config config = {.node_key = peer_node, .home_region = 1};
	struct cursor c = cursor_of(data, size);
	nanoseconds now = NSEC_PER_SEC;
	struct path_choice choice;
	struct path_peer *p;
	struct endpoint e;

	fail_sends = false;
	engine = path_engine_new(&own, &node, &callbacks, NULL);
	secret_key_public(&hostile, &config.disco_key);
	if (!engine || path_peer_add(engine, &config, NULL, &p) < 0)
		abort();
	while (cursor_ok(&c) && c.left > 0) {
		switch (cursor_u8(&c) % 12) {
		case 0:
			path_route(p, now, &choice);
			break;
		case 1:
			now += (nanoseconds)cursor_be16(&c) * 10 * NSEC_PER_MSEC;
			path_timeout(engine, now);
			if (path_deadline(engine) <= now)
				abort(); /* the loop would never end */
			break;
		case 2:
		case 3:
			message(p, &c, now);
			break;
		case 4:
			update(p, &c, now);
			break;
		case 5:
			e = take_endpoint(&c);
			path_note_received(p, &e, now);
			break;
		case 6:
			e = take_endpoint(&c);
			path_send_failed(engine, &e, -113);
			break;
		case 7:
			fail_sends = cursor_u8(&c) & 1;
			break;
		case 8:
			e = take_endpoint(&c);
			if (e.port)
				path_set_stun_servers(engine, &e, 1, now);
			break;
		case 9:
			path_link_changed(engine, now);
			break;
		case 10:
			(void)path_ping(p, now, pinged, NULL);
			break;
		default:
			e = take_endpoint(&c);
			path_import(p, &e, now);
			break;
		}
		check(p, now);
	}
	path_engine_free(engine);
	return 0;
}
