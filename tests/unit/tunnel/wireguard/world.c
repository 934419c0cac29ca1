/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/tunnel/wireguard/world.c - WireGuard devices on a bad network, under virtual time */
#include "unit/tunnel/wireguard/world.h"
#include "unit/tunnel/wireguard/receive.h"

#include "base/cursor.h"

#define PACKET_NUMBERS (1u << 22)

uint64_t world_random(struct world *world)
{
	/* splitmix64 */
	uint64_t z = (world->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void hook_random(void *context, void *out, size_t length)
{
	struct node *node = context;

	for (size_t i = 0; i < length; i++)
		((uint8_t *)out)[i] = (uint8_t)world_random(node->world);
}

static nanoseconds hook_realtime(void *context)
{
	struct node *node = context;

	return node->world->now + node->world->realtime;
}

static void enqueue(struct world *world, struct node *from, struct node *to,
		    const struct wg_source *source, const uint8_t *bytes, size_t length)
{
	struct flight flight = {.from = from, .to = to, .source = *source, .length = length};
	uint64_t spread = (uint64_t)(world->delay_max - world->delay_min) + 1;

	flight.at = world->now + world->delay_min + (nanoseconds)(world_random(world) % spread);
	flight.order = world->order++;
	flight.bytes = malloc(length);
	assert_non_null(flight.bytes);
	memcpy(flight.bytes, bytes, length);
	if (world_random(world) % 1000 < world->spoiling)
		flight.bytes[world_random(world) % length] ^=
			(uint8_t)(1 + world_random(world) % 255);
	if (world->queued == world->queue_capacity) {
		world->queue_capacity = world->queue_capacity ? 2 * world->queue_capacity : 64;
		world->queue = realloc(world->queue, world->queue_capacity * sizeof(struct flight));
		assert_non_null(world->queue);
	}
	world->queue[world->queued++] = flight;
}

static void put_on_wire(struct node *from, struct node *to, uint8_t *bytes, size_t length)
{
	struct world *world = from->world;

	world->datagrams++;
	from->last_sent_at = world->now;
	assert_true(length <= sizeof(from->last_datagram));
	memcpy(from->last_datagram, bytes, length);
	from->last_datagram_length = length;
	if (world->tap && !world->tap(world, from, to, bytes, length))
		return;
	if (world_random(world) % 1000 >= world->loss)
		enqueue(world, from, to, &from->source, bytes, length);
	if (world_random(world) % 1000 < world->doubling)
		enqueue(world, from, to, &from->source, bytes, length);
}

static void hook_send(void *context, struct wg_peer *peer, uint8_t *datagram, size_t length,
		      enum wg_kind kind)
{
	struct node *from = context;

	from->sent[kind]++;
	from->sent_at[kind] = from->world->now;
	put_on_wire(from, wg_peer_user(peer), datagram, length);
}

static void hook_send_all(void *context, struct wg_peer *peer, const struct iovec *datagrams,
			  size_t count)
{
	struct node *from = context;

	from->batches++;
	for (size_t i = 0; i < count; i++)
		hook_send(context, peer, datagrams[i].iov_base, datagrams[i].iov_len, WG_DATA);
}

static void hook_send_to(void *context, const struct wg_source *to, const uint8_t *datagram,
			 size_t length)
{
	struct node *from = context;
	uint8_t copy[WG_COOKIE_REPLY_SIZE];

	from->cookies++;
	assert_int_equal(length, sizeof(copy));
	memcpy(copy, datagram, length);
	for (unsigned int i = 0; i < from->world->node_count; i++) {
		struct node *node = &from->world->nodes[i];

		if (endpoint_equal(&node->source.endpoint, &to->endpoint))
			put_on_wire(from, node, copy, length);
	}
}

static void hook_deliver(void *context, struct wg_peer *peer, uint8_t *packet, size_t length)
{
	struct node *node = context, *from = wg_peer_user(peer);
	struct cursor c = cursor_of(packet + 20, length - 20);
	uint16_t pair;

	/* The rooms are ours; ASan knows if they aren't there. */
	memset(packet - WG_HEADROOM, 0xee, WG_HEADROOM);
	memset(packet + length, 0xee, AEAD_TAG_SIZE);
	node->delivered++;
	node->last_length = length;
	if (packet[0] >> 4 != 4)
		return;
	pair = cursor_be16(&c);
	assert_int_equal(pair, from->number << 8 | node->number);
	cursor_take(&c, 2);
	node->last_payload = cursor_be32(&c);
	assert_true(cursor_ok(&c));
	while (c.left)
		assert_int_equal(cursor_u8(&c), (uint8_t)node->last_payload);
	if (node->last_payload < PACKET_NUMBERS) {
		uint8_t *byte =
			&node->seen[from->number * (PACKET_NUMBERS / 8) + node->last_payload / 8];

		assert_false(*byte & 1u << node->last_payload % 8);
		*byte |= (uint8_t)(1u << node->last_payload % 8);
	}
}

static void hook_session(void *context, struct wg_peer *peer)
{
	struct node *node = context;

	assert_non_null(peer->current);
	node->sessions++;
}

static struct wg_peer *add(struct node *node, struct node *other)
{
	struct wg_peer *peer;
	struct prefix prefixes[2] = {
		{.address = address_v4((uint8_t[]){10, 0, 0, (uint8_t)other->number}), .bits = 32},
		{.address = address_v6((uint8_t[16]){0xfd, [15] = (uint8_t)other->number}),
		 .bits = 128},
	};

	assert_int_equal(wg_peer_add(node->device, &other->public, NULL, other, &peer), 0);
	assert_int_equal(wg_peer_set_allowed_ips(peer, prefixes, 2), 0);
	return peer;
}

static struct wg_peer *hook_identify(void *context, const struct public_key *key)
{
	struct node *node = context;

	node->identified++;
	for (unsigned int i = 0; node->world->lazy && i < node->world->node_count; i++)
		if (public_key_equal(&node->world->nodes[i].public, key))
			return add(node, &node->world->nodes[i]);
	return NULL;
}

static const struct wg_callbacks hooks = {
	.send = hook_send,
	.send_all = hook_send_all,
	.send_to = hook_send_to,
	.deliver = hook_deliver,
	.session = hook_session,
	.identify = hook_identify,
	.realtime = hook_realtime,
	.random = hook_random,
};

struct world *world_new(uint64_t seed)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	world->random = seed;
	world->now = 1000 * NSEC_PER_SEC;
	world->realtime = INT64_C(1700000000) * NSEC_PER_SEC;
	world->delay_min = world->delay_max = 10 * NSEC_PER_MSEC;
	return world;
}

void world_free(struct world *world)
{
	for (unsigned int i = 0; i < world->node_count; i++) {
		struct wg_device *device = world->nodes[i].device;

		while (device->peers)
			wg_peer_remove(device->peers);
		/* C.3 item 1: nothing may hold an index, nor memory, once its peer is gone. */
		assert_int_equal(device->indices ? 1 : 0, 0);
		assert_int_equal(device->staged_bytes, 0);
		assert_null(device->allowed.roots[0]);
		assert_null(device->allowed.roots[1]);
		wg_device_free(device);
		free(world->nodes[i].seen);
	}
	while (world->queued)
		free(world->queue[--world->queued].bytes);
	free(world->queue);
	free(world);
}

struct node *world_node(struct world *world)
{
	struct node *node = &world->nodes[world->node_count++];

	assert_true(world->node_count <= WORLD_NODES);
	node->world = world;
	node->number = world->node_count;
	hook_random(node, &node->private, sizeof(node->private));
	secret_key_public(&node->private, &node->public);
	node->source.endpoint = (struct endpoint){
		.address = address_v4((uint8_t[]){192, 0, 2, (uint8_t)node->number}),
		.port = (uint16_t)(5000 + node->number),
	};
	node->seen = calloc(WORLD_NODES + 1, PACKET_NUMBERS / 8);
	node->device = wg_device_new(&node->private, &hooks, node);
	assert_non_null(node->seen);
	assert_non_null(node->device);
	return node;
}

void world_link(struct node *a, struct node *b)
{
	add(a, b);
	add(b, a);
}

struct wg_peer *node_peer(struct node *node, struct node *other)
{
	return wg_peer_for_key(node->device, &other->public);
}

void node_restart(struct node *node)
{
	struct node *known[WORLD_NODES];
	unsigned int count = 0;

	for (struct wg_peer *peer = node->device->peers; peer; peer = peer->hh.next)
		known[count++] = wg_peer_user(peer);
	wg_device_free(node->device);
	node->device = wg_device_new(&node->private, &hooks, node);
	assert_non_null(node->device);
	while (count)
		add(node, known[--count]);
}

uint8_t *node_packet(struct node *from, struct node *to, uint32_t number, size_t length)
{
	static uint8_t buffer[WG_HEADROOM + 4096 + WG_TAILROOM];
	uint8_t *packet = buffer + WG_HEADROOM;

	assert_true(length >= 28 && length <= 4096);
	memset(buffer, 0xaa, sizeof(buffer));
	memset(packet, 0, 28);
	packet[0] = 0x45;
	put_be16(packet + 2, (uint16_t)length);
	packet[8] = 64;
	packet[9] = 253;
	memcpy(packet + 12, (uint8_t[]){10, 0, 0, (uint8_t)from->number}, 4);
	memcpy(packet + 16, (uint8_t[]){10, 0, 0, (uint8_t)to->number}, 4);
	put_be16(packet + 20, (uint16_t)(from->number << 8 | to->number));
	put_be32(packet + 24, number);
	memset(packet + 28, (uint8_t)number, length - 28);
	return packet;
}

int node_send(struct node *from, struct node *to, uint32_t number)
{
	return wg_send(node_peer(from, to), node_packet(from, to, number, 64), 64,
		       from->world->now);
}

enum wg_verdict node_receive(struct node *node, const struct wg_source *source,
			     const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length ? length : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, length);
	node->last_verdict = wg_receive(node->device, source, copy, length, node->world->now, NULL);
	free(copy);
	return node->last_verdict;
}

static struct flight *earliest(struct world *world)
{
	struct flight *first = NULL;

	for (size_t i = 0; i < world->queued; i++) {
		struct flight *flight = &world->queue[i];

		if (!first || flight->at < first->at ||
		    (flight->at == first->at && flight->order < first->order))
			first = flight;
	}
	return first;
}

void world_run(struct world *world, nanoseconds until)
{
	for (;;) {
		struct flight *flight = earliest(world), taken;
		nanoseconds next = flight ? flight->at : DEADLINE_NEVER;
		struct node *timer = NULL;

		for (unsigned int i = 0; i < world->node_count; i++) {
			nanoseconds deadline = wg_device_deadline(world->nodes[i].device);

			if (deadline < next) {
				next = deadline;
				timer = &world->nodes[i];
			}
		}
		if (next > until)
			break;
		if (next > world->now)
			world->now = next;
		if (timer) {
			wg_device_timeout(timer->device, world->now);
			assert_true(wg_device_deadline(timer->device) > world->now);
			continue;
		}
		taken = *flight;
		*flight = world->queue[--world->queued];
		if (!taken.to->deaf)
			node_receive(taken.to, &taken.source, taken.bytes, taken.length);
		free(taken.bytes);
	}
	world->now = until;
}

void world_pass(struct world *world, nanoseconds duration)
{
	world_run(world, world->now + duration);
}

void world_session(struct node *a, struct node *b)
{
	struct world *world = a->world;
	unsigned int before = b->delivered;

	node_send(a, b, PACKET_NUMBERS);
	world_pass(world, 100 * NSEC_PER_MSEC);
	node_send(b, a, PACKET_NUMBERS);
	world_pass(world, 100 * NSEC_PER_MSEC);
	assert_int_equal(b->delivered, before + 1);
	assert_true(node_peer(a, b)->current->initiator);
	assert_false(node_peer(b, a)->current->initiator);
}

struct world *world_pair(uint64_t seed)
{
	struct world *world = world_new(seed);
	struct node *a = world_node(world), *b = world_node(world);

	world_link(a, b);
	return world;
}

void node_capture_initiation(struct node *from, struct node *to,
			     uint8_t ret[static WG_INITIATION_SIZE])
{
	unsigned int loss = from->world->loss;

	from->world->loss = 1000;
	assert_true(wg_peer_initiate(node_peer(from, to), from->world->now));
	from->world->loss = loss;
	assert_int_equal(from->last_datagram_length, WG_INITIATION_SIZE);
	memcpy(ret, from->last_datagram, WG_INITIATION_SIZE);
}
