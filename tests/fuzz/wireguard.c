/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/wireguard.c - two devices with live keys, driven by the input
 *
 * An input is a list of steps: time passes, a packet is sent, a waiting datagram arrives (as it is,
 * changed, or twice), anything at all is sealed in a live session or given a right mac1 and thrown
 * at a device. So the fuzzer reaches what lies behind the MACs, over many packets. After each step
 * the bounds hold; at the end nothing is left.
 */
#include "base/cursor.h"
#include "tunnel/wireguard/wg_device.h"
#include "unit/tunnel/wireguard/receive.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WAITING_MAX 32
#define SESSIONS    (2 + WG_OLDER) /* and one pending handshake */

struct end {
	struct wg_device *device;
	struct wg_peer *peer;
	struct wg_source source;
	struct end *other;
};

static struct {
	struct end *to;
	uint8_t *bytes;
	size_t length;
} waiting[WAITING_MAX];
static size_t waiting_count;
static uint64_t chance;
static nanoseconds now;

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void put_waiting(struct end *to, const uint8_t *bytes, size_t length)
{
	if (waiting_count == WAITING_MAX)
		return;
	waiting[waiting_count].to = to;
	waiting[waiting_count].length = length;
	waiting[waiting_count].bytes = malloc(length);
	check(waiting[waiting_count].bytes != NULL);
	memcpy(waiting[waiting_count++].bytes, bytes, length);
}

static void hook_send(void *context, struct wg_peer *peer, uint8_t *datagram, size_t length,
		      enum wg_kind kind)
{
	struct end *end = context;

	check(peer == end->peer);
	check(wg_message_type(datagram, length) != 0);
	check((kind == WG_HANDSHAKE) == (datagram[0] != WG_MESSAGE_TRANSPORT));
	put_waiting(end->other, datagram, length);
	memset(datagram, 0x77, length); /* it is ours to overwrite */
}

static void hook_send_to(void *context, const struct wg_source *to, const uint8_t *datagram,
			 size_t length)
{
	struct end *end = context;

	(void)to;
	check(length == WG_COOKIE_REPLY_SIZE);
	put_waiting(end->other, datagram, length);
}

static void hook_deliver(void *context, struct wg_peer *peer, uint8_t *packet, size_t length)
{
	struct end *end = context;

	check(peer == end->peer && length >= 20);
	check(packet[0] >> 4 == 4 || (packet[0] >> 4 == 6 && length >= 40));
	memset(packet - WG_HEADROOM, 0x77, WG_HEADROOM + length + AEAD_TAG_SIZE);
}

static nanoseconds hook_realtime(void *context)
{
	(void)context;
	return now + INT64_C(1700000000) * NSEC_PER_SEC;
}

static void hook_random(void *context, void *out, size_t length)
{
	(void)context;
	for (size_t i = 0; i < length; i++) {
		chance = chance * UINT64_C(6364136223846793005) + 1442695040888963407u;
		((uint8_t *)out)[i] = (uint8_t)(chance >> 56);
	}
}

static const struct wg_callbacks hooks = {
	.send = hook_send,
	.send_to = hook_send_to,
	.deliver = hook_deliver,
	.realtime = hook_realtime,
	.random = hook_random,
};

static const struct secret_key privates[2] = {{{8}}, {{16}}}; /* clamping leaves them apart */

static void end_init(struct end *end, unsigned int which)
{
	struct prefix prefixes[] = {
		{.address = address_v4((uint8_t[]){10, 0, 0, 0}), .bits = 8},
		{.address = address_v6((uint8_t[16]){0xfd}), .bits = 8},
	};
	struct public_key public;

	secret_key_public(&privates[!which], &public);
	end->device = wg_device_new(&privates[which], &hooks, end);
	check(end->device != NULL);
	check(wg_peer_add(end->device, &public, NULL, end, &end->peer) == 0);
	check(wg_peer_set_allowed_ips(end->peer, prefixes, ARRAY_SIZE(prefixes)) == 0);
	end->source.endpoint.address = address_v4((uint8_t[]){192, 0, 2, (uint8_t)which});
	end->source.endpoint.port = 51820;
}

static void receive(struct end *end, const uint8_t *bytes, size_t length, bool elsewhere)
{
	struct wg_source source = end->other->source;
	struct wg_peer *peer;
	uint8_t *copy = malloc(length ? length : 1);
	enum wg_verdict verdict;

	check(copy != NULL);
	memcpy(copy, bytes, length);
	source.endpoint.port ^= elsewhere;
	verdict = wg_receive(end->device, &source, copy, length, now, &peer);
	check(verdict < WG_VERDICT_COUNT);
	if (verdict <= WG_RECEIVED_RESPONSE)
		check(peer == end->peer);
	free(copy);
}

/* A datagram on its way: perhaps with a bit turned, to come again, or from another place. */
static void arrive(uint8_t which, uint8_t at, uint8_t bit)
{
	bool spoil = which & 0x80, again = which & 0x40, elsewhere = which & 0x20;
	size_t i;

	if (!waiting_count)
		return;
	i = (which & 0x1fu) % waiting_count;
	if (spoil)
		waiting[i].bytes[at % waiting[i].length] ^= (uint8_t)(1u << (bit & 7));
	receive(waiting[i].to, waiting[i].bytes, waiting[i].length, elsewhere);
	if (again)
		return;
	free(waiting[i].bytes);
	waiting[i] = waiting[--waiting_count];
}

/* The bytes as the plaintext of a live session. */
static void seal(struct end *end, const uint8_t *bytes, size_t length)
{
	uint8_t datagram[WG_HEADROOM + 256 + WG_TAILROOM];

	if (!end->peer->current || !wg_keypair_can_send(end->peer->current, now))
		return;
	memcpy(datagram + WG_HEADROOM, bytes, length);
	put_waiting(end->other, datagram, wg_keypair_seal(end->peer->current, datagram, length));
}

/* The bytes as a handshake message with the right mac1, to an index that may be a real one. */
static void forge(struct end *end, bool response, const uint8_t *bytes, size_t length)
{
	uint8_t message[WG_INITIATION_SIZE] = {response ? WG_MESSAGE_RESPONSE
							: WG_MESSAGE_INITIATION};
	size_t whole = response ? WG_RESPONSE_SIZE : WG_INITIATION_SIZE;
	struct wg_cookie_jar jar = {0};

	memcpy(message + 4, bytes, length < whole - 4 ? length : whole - 4);
	if (response && end->peer->handshake.pending)
		memcpy(message + 8, &end->peer->handshake.index.number, 4);
	wg_jar_stamp(&jar, &end->device->public, message, whole, now);
	receive(end, message, whole, false);
}

static void step(struct end ends[2], struct cursor *c)
{
	uint8_t op = cursor_u8(c), a = cursor_u8(c), b = cursor_u8(c);
	struct end *end = &ends[op >> 7];
	size_t length = a < c->left ? a : c->left;
	uint8_t packet[WG_HEADROOM + 256 + WG_TAILROOM];

	switch (op & 0x0f) {
	case 0: /* up to 65 s in one, up to 13 min in the other unit */
		now += (nanoseconds)(a << 8 | b) * (op & 0x10 ? 12 : 1) * NSEC_PER_MSEC;
		break;
	case 1:
		memset(packet, 0, sizeof(packet));
		packet[WG_HEADROOM] = 0x45;
		wg_send(end->peer, packet + WG_HEADROOM, 1u + a, now);
		break;
	case 2 ... 6: /* often */
		arrive(a, b, op >> 4);
		break;
	case 7:
		seal(end, cursor_take(c, length), length);
		break;
	case 8:
		forge(end, op & 0x10, cursor_take(c, length), length);
		break;
	case 9: /* anything */
		receive(end, cursor_take(c, length), length, b & 1);
		break;
	case 10:
		wg_peer_initiate(end->peer, now);
		break;
	case 11:
	case 12:
		wg_peer_retry_now(end->peer, now);
		break;
	case 13:
		if (op & 0x10)
			wg_peer_set_psk(end->peer, a & 1 ? &privates[0] : NULL);
		else
			wg_peer_initiate_on_send(end->peer);
		break;
	case 14: /* under load, or not any more */
		end->device->limiter.unproven.full_at = a & 1 ? now + 1000 * NSEC_PER_SEC * b : 0;
		break;
	case 15: /* the session is nearly used up */
		if (end->peer->current)
			end->peer->current->send_counter = WG_REJECT_AFTER_MESSAGES - b;
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = cursor_of(data, size);
	struct end ends[2];

	now = 1000 * NSEC_PER_SEC;
	chance = 1;
	waiting_count = 0;
	for (unsigned int i = 0; i < 2; i++) {
		end_init(&ends[i], i);
		ends[i].other = &ends[!i];
	}
	for (unsigned int steps = 0; c.left >= 3 && steps < 400; steps++) {
		step(ends, &c);
		for (size_t i = 0; i < 2; i++) {
			wg_device_timeout(ends[i].device, now);
			check(wg_device_deadline(ends[i].device) > now);
			check(HASH_COUNT(ends[i].device->indices) <= SESSIONS + 1);
			check(ends[i].peer->staged_count <= LIMIT_WG_STAGED);
		}
	}
	while (waiting_count)
		free(waiting[--waiting_count].bytes);
	for (size_t i = 0; i < 2; i++) {
		wg_peer_remove(ends[i].peer);
		check(HASH_COUNT(ends[i].device->indices) == 0);
		check(ends[i].device->staged_bytes == 0);
		wg_device_free(ends[i].device);
	}
	return 0;
}
