/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_memory.c - when memory runs out
 *
 * A whole life of two devices, again and again, with the first, second, third … allocation of the
 * code under test failing (linked with --wrap). Nothing crashes or leaks, errors are said, and once
 * there is memory again the same devices work.
 */
#include "tunnel/wireguard/wg_device.h"
#include "unit/failing_memory.h"
#include "unit/tunnel/wireguard/receive.h"
#include "unit/unit.h"

static struct wg_device *devices[2];
static struct wg_peer *peers[2];
static unsigned int delivered[2];
static nanoseconds now;

/* No network: what one sends, the other has received when the call returns. */
static void hook_send(void *context, struct wg_peer *peer, uint8_t *datagram, size_t length,
		      enum wg_kind kind)
{
	const struct wg_source source = {.region = 1};
	size_t other = context == &devices[0];
	uint8_t copy[2048];

	(void)peer;
	(void)kind;
	memcpy(copy, datagram, length);
	wg_receive(devices[other], &source, copy, length, now, NULL);
}

static void hook_deliver(void *context, struct wg_peer *peer, uint8_t *packet, size_t length)
{
	(void)peer;
	(void)packet;
	(void)length;
	delivered[context == &devices[1]]++;
}

static nanoseconds hook_realtime(void *context)
{
	(void)context;
	return now;
}

static const struct wg_callbacks hooks = {
	.send = hook_send, .deliver = hook_deliver, .realtime = hook_realtime};

static int send_packet(size_t from)
{
	uint8_t buffer[WG_HEADROOM + 64 + WG_TAILROOM] = {0}, *packet = buffer + WG_HEADROOM;

	packet[0] = 0x45;
	packet[3] = 64;
	packet[12] = 10;
	return wg_send(peers[from], packet, 64, now);
}

/* As far as it comes; 0 if all of it worked. */
static int live(void)
{
	static const struct secret_key privates[2] = {{{8}}, {{16}}};
	const struct prefix all[] = {
		{.address = address_v4((uint8_t[]){10, 0, 0, 0}), .bits = 8},
		{.address = address_v4((uint8_t[]){10, 64, 0, 0}), .bits = 16},
		{.address = address_v4((uint8_t[]){10, 65, 0, 0}), .bits = 16},
	};
	struct public_key public;
	int r;

	for (size_t i = 0; i < 2; i++) {
		devices[i] = wg_device_new(&privates[i], &hooks, &devices[i]);
		if (!devices[i])
			return -ENOMEM;
		secret_key_public(&privates[!i], &public);
		r = wg_peer_add(devices[i], &public, NULL, NULL, &peers[i]);
		if (r < 0)
			return r;
		r = wg_peer_set_allowed_ips(peers[i], all, ARRAY_SIZE(all));
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < 4; i++) {
		r = send_packet(i % 2);
		if (r < 0)
			return r;
		now += 6 * NSEC_PER_SEC;
		wg_device_timeout(devices[0], now);
		wg_device_timeout(devices[1], now);
		wg_peer_initiate(peers[i % 2], now);
	}
	return delivered[0] >= 2 && delivered[1] >= 2 ? 0 : -EAGAIN;
}

static void every_allocation_may_fail(void **state)
{
	unsigned int said = 0;
	bool all = false;

	(void)state;
	for (unsigned int n = 1; !all; n++) {
		int r;

		assert_true(n < 1000);
		now = 1000 * NSEC_PER_SEC;
		memset(devices, 0, sizeof(devices));
		memset(peers, 0, sizeof(peers));
		memset(delivered, 0, sizeof(delivered));
		allocations = 0;
		fail_at = n;
		r = live();
		all = allocations < n;
		fail_at = 0;
		said += r == -ENOMEM || r == -ENOBUFS;
		if (all)
			assert_int_equal(r, 0);
		/* With memory again, what stands goes on: at the latest after a retry. */
		if (peers[0] && peers[1] && r != -ENOMEM) {
			unsigned int before = delivered[1];

			for (int i = 0; i < 3; i++) {
				now += 7 * NSEC_PER_SEC;
				wg_device_timeout(devices[0], now);
				wg_device_timeout(devices[1], now);
				send_packet(0);
			}
			assert_true(delivered[1] > before);
		}
		wg_device_free(devices[0]);
		wg_device_free(devices[1]);
	}
	assert_true(said >= 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
	};

	primitives_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
