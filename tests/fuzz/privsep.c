/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/privsep.c - both ends' decoding of what a captured peer may send
 *
 * First byte: what the rest is. What is accepted is encoded and decoded again, and
 * must be the same.
 */
#include "base/cleanup.h"
#include "privsep/handover_record.h"
#include "privsep/privsep_messages.h"
#include "privsep/records.h"

#include <string.h>
#include <unistd.h>

static void require(bool holds)
{
	if (!holds)
		__builtin_trap();
}

static void fuzz_start(const uint8_t *data, size_t size)
{
	_cleanup_(buffer_free) struct buffer again = BUFFER_INIT(PRIVSEP_START_MAX);
	struct privsep_start start, second;

	if (privsep_start_decode(data, size, &start) < 0)
		return;
	require(privsep_start_encode(&start, &again) == 0);
	require(privsep_start_decode(again.data, again.length, &second) == 0);
	require(second.mtu == start.mtu && second.up == start.up);
	privsep_start_clear(&start);
	privsep_start_clear(&second);
}

static void fuzz_network(const uint8_t *data, size_t size)
{
	_cleanup_(buffer_free) struct buffer again = BUFFER_INIT(PRIVSEP_NETWORK_MAX);
	struct privsep_network network;

	if (privsep_network_decode(data, size, &network) < 0)
		return;
	require(privsep_network_encode(&network, &again) == 0);
	require(again.length == size);
	privsep_network_free(&network);
}

static void fuzz_interfaces(const uint8_t *data, size_t size)
{
	_cleanup_(buffer_free) struct buffer again = BUFFER_INIT(PRIVSEP_INTERFACES_MAX);
	struct interfaces interfaces;

	if (privsep_interfaces_decode(data, size, &interfaces) < 0)
		return;
	require(privsep_interfaces_encode(&interfaces, 0, &again) == 0);
	require(again.length == size);
	interfaces_free(&interfaces);
}

static void fuzz_handover(const uint8_t *data, size_t size)
{
	_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(HANDOVER_PAYLOAD_MAX);
	_cleanup_close_ int fd = handover_create();
	size_t half = size / 2;

	require(fd >= 0);
	require(pwrite(fd, data, half, 0) == (ssize_t)half);
	require(pwrite(fd, data + half, size - half, HANDOVER_SLOT_SIZE) == (ssize_t)(size - half));
	(void)handover_read(fd, &got);
	require(handover_write(fd, "x", 1) == 0);
	buffer_consume(&got, got.length);
	require(handover_read(fd, &got) == 0 && got.length == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union privsep_message m;

	if (size < 2)
		return 0;
	switch (data[0]) {
	case 0:
	case 1:
		if (privsep_check(data[0] ? PRIVSEP_FROM_ENGINE : PRIVSEP_FROM_SUPERVISOR, data + 2,
				  size - 2, data[1], &m) == 0)
			require(privsep_size(data[0] ? PRIVSEP_FROM_ENGINE
						     : PRIVSEP_FROM_SUPERVISOR,
					     m.header.type) == size - 2);
		break;
	case 2:
		fuzz_start(data + 1, size - 1);
		break;
	case 3:
		fuzz_network(data + 1, size - 1);
		break;
	case 4:
		fuzz_interfaces(data + 1, size - 1);
		break;
	case 5:
		fuzz_handover(data + 1, size - 1);
		break;
	default:
		break;
	}
	return 0;
}
