/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_batches.c - datagrams that are sealed and opened together
 *
 * With each engine for the AEAD that this machine has. Its calls are counted.
 */
#include "unit/tunnel/wireguard/world.h"

#define KEPT 160u

static const struct aead_engine *real;
static unsigned int sealed, opened; /* calls */

static void count_seal(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	sealed++;
	real->seal_batch(worker, jobs, count);
}

static void count_open(struct aead_worker *worker, struct aead_job *jobs, size_t count)
{
	opened++;
	real->open_batch(worker, jobs, count);
}

static void count_calls(struct node *node)
{
	static struct aead_engine counting;

	real = node->device->aead->engine;
	counting = *real;
	counting.seal_batch = count_seal;
	counting.open_batch = count_open;
	node->device->aead->engine = &counting;
	sealed = opened = 0;
}

static void stop_counting(struct node *node)
{
	node->device->aead->engine = real;
}

/* What the network keeps of datagrams, to be received at once. */
static struct {
	uint8_t bytes[KEPT][1280 + 64];
	struct wg_datagram datagrams[KEPT];
	size_t count;
} kept;

static bool keep(struct world *world, struct node *from, struct node *to, uint8_t *bytes,
		 size_t length)
{
	struct wg_datagram *d = &kept.datagrams[kept.count];

	(void)world;
	(void)to;
	assert_true(kept.count < KEPT);
	memcpy(kept.bytes[kept.count], bytes, length);
	*d = (struct wg_datagram){
		.source = &from->source, .bytes = kept.bytes[kept.count], .length = length};
	kept.count++;
	return false;
}

/* repeat() - Receive what was kept at @at once more, at the end */
static void repeat(size_t at)
{
	struct wg_datagram *d = &kept.datagrams[kept.count];

	memcpy(kept.bytes[kept.count], kept.datagrams[at].bytes, kept.datagrams[at].length);
	*d = kept.datagrams[at];
	d->bytes = kept.bytes[kept.count++];
}

static void send_batch(struct node *from, struct node *to, uint32_t first, size_t count)
{
	static uint8_t arena[WG_BATCH_MAX * (WG_HEADROOM + 1280 + WG_TAILROOM)];
	struct iovec packets[WG_BATCH_MAX];
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		size_t length = i % 3 ? 1280 : 28 + i;

		packets[i] = (struct iovec){arena + used + WG_HEADROOM, length};
		memcpy(packets[i].iov_base, node_packet(from, to, first + (uint32_t)i, length),
		       length);
		used += wg_sealed_length(from->device, length);
	}
	wg_send_all(node_peer(from, to), packets, count, from->world->now);
}

static struct world *three(void)
{
	struct world *world = world_new(5);

	for (int i = 0; i < 3; i++)
		world_node(world);
	for (int i = 1; i < 3; i++) {
		world_link(&world->nodes[0], &world->nodes[i]);
		world_session(&world->nodes[i], &world->nodes[0]);
	}
	return world;
}

/* Datagrams of two peers, forged, replayed and empty ones among them: one call opens them. */
static void check_mixed(void)
{
	struct world *world = three();
	struct node *to = &world->nodes[0], *a = &world->nodes[1], *b = &world->nodes[2];
	unsigned int before = to->delivered;
	size_t n = 0, forged, replayed, unknown, empty;
	struct wg_peer_stats stats;
	uint64_t length = 0, received;

	wg_peer_stats(node_peer(to, a), world->now, &stats);
	received = stats.received_bytes;
	kept.count = 0;
	world->tap = keep;
	count_calls(a);
	send_batch(a, to, 100, 20);
	stop_counting(a);
	assert_int_equal(sealed, 1);
	assert_int_equal(kept.count, 20);
	send_batch(b, to, 100, 20);
	send_batch(a, to, 120, 10);
	forged = 25;
	kept.datagrams[forged].bytes[40] ^= 1;
	repeat(3);
	replayed = kept.count - 1;
	repeat(4);
	unknown = kept.count - 1;
	kept.datagrams[unknown].bytes[4] ^= 0x55;
	empty = kept.count;
	wg_send_keepalive(node_peer(a, to));
	assert_int_equal(kept.count, empty + 1);
	for (size_t i = 0; i < kept.count; i++)
		if (kept.datagrams[i].source == &a->source && i != replayed && i != unknown)
			length += kept.datagrams[i].length;
	count_calls(to);
	wg_receive_all(to->device, kept.datagrams, kept.count, world->now);
	stop_counting(to);
	assert_int_equal(opened, 1);
	assert_int_equal(to->delivered - before, 49);
	for (size_t i = 0; i < kept.count; i++) {
		enum wg_verdict wanted = i == forged     ? WG_DROPPED_FORGED
					 : i == replayed ? WG_DROPPED_REPLAYED
					 : i == unknown  ? WG_DROPPED_UNKNOWN_INDEX
					 : i == empty    ? WG_RECEIVED_KEEPALIVE
							 : WG_RECEIVED_PACKET;

		assert_int_equal(kept.datagrams[i].verdict, wanted);
		assert_true(!kept.datagrams[i].peer ==
			    (i == forged || i == replayed || i == unknown));
		n += wanted == WG_RECEIVED_PACKET;
	}
	assert_int_equal(n, 49);
	assert_int_equal(to->last_payload, 129); /* in their order */
	wg_peer_stats(node_peer(to, a), world->now, &stats);
	assert_int_equal(stats.received_bytes - received, length);
	world->tap = NULL;
	world_free(world);
}

/* More than one call takes, with a handshake of another session in the middle. */
static void check_handshake_between(void)
{
	struct world *world = world_pair(6);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	unsigned int before;

	world_session(a, b);
	before = b->delivered;
	kept.count = 0;
	world->tap = keep;
	send_batch(a, b, 100, WG_BATCH_MAX);
	world->now += SECONDS(6);
	assert_true(wg_peer_initiate(node_peer(a, b), world->now));
	send_batch(a, b, 164, WG_BATCH_MAX);
	assert_int_equal(kept.count, 2 * WG_BATCH_MAX + 1);
	world->tap = NULL;
	count_calls(b);
	wg_receive_all(b->device, kept.datagrams, kept.count, world->now);
	stop_counting(b);
	assert_int_equal(opened, 2);
	assert_int_equal(kept.datagrams[WG_BATCH_MAX].verdict, WG_RECEIVED_INITIATION);
	assert_int_equal(b->delivered - before, 2 * WG_BATCH_MAX);
	assert_int_equal(b->last_payload, 100 + 2 * WG_BATCH_MAX - 1);
	world_free(world);
}

/* The first packet of the newest session ends the oldest one, whose packets are in the same batch. */
static void check_sessions_end_within(void)
{
	struct world *world = world_pair(7);
	struct node *a = &world->nodes[0], *b = &world->nodes[1];
	unsigned int before = 0;

	kept.count = 0;
	for (uint32_t session = 0; session < 2 + WG_OLDER; session++) {
		world->tap = NULL;
		world_pass(world, SECONDS(6));
		wg_peer_initiate(node_peer(a, b), world->now);
		/* The last one isn't confirmed: its keepalive is kept too. */
		while (session == 1 + WG_OLDER && !node_peer(b, a)->unconfirmed)
			world_pass(world, NSEC_PER_MSEC);
		if (session == 1 + WG_OLDER) {
			world->tap = keep;
			world_pass(world, NSEC_PER_SEC);
		} else {
			world_pass(world, NSEC_PER_SEC);
			world->tap = keep;
		}
		send_batch(a, b, 1000 + 10 * session, 5);
	}
	/* The newest first, then the others. */
	before = b->delivered;
	for (size_t i = 0; i < kept.count / 2; i++) {
		struct wg_datagram swap = kept.datagrams[i];

		kept.datagrams[i] = kept.datagrams[kept.count - 1 - i];
		kept.datagrams[kept.count - 1 - i] = swap;
	}
	world->tap = NULL;
	wg_receive_all(b->device, kept.datagrams, kept.count, world->now);
	assert_int_equal(b->delivered - before, 5 * (2 + WG_OLDER));
	world_free(world);
}

static void batches(void **state)
{
	static const char *const engines[] = {"ipsec-mb", "openssl", "libsodium"};
	struct error err = {0};

	(void)state;
	aead_library_open("ipsec-mb");
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		/* What is missing is replaced by the next. */
		print_message("%s\n", aead_choose(engines[i], &err));
		check_mixed();
		check_handshake_between();
		check_sessions_end_within();
	}
	aead_worker_free(aead_worker_new());
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(batches)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
