/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_keypair.c - seal and open with the keys of a session */
#include "tunnel/wireguard/wg_keypair.h"

#include <errno.h>

bool replay_accept(struct replay_window *window, uint64_t counter)
{
	uint64_t block = counter / REPLAY_BLOCK_BITS;
	uint64_t bit = UINT64_C(1) << counter % REPLAY_BLOCK_BITS;
	uint64_t *word = &window->blocks[block % REPLAY_BLOCKS];

	if (counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	if (counter >= window->next) {
		uint64_t last = window->next ? (window->next - 1) / REPLAY_BLOCK_BITS : 0;
		uint64_t fresh = block - last < REPLAY_BLOCKS ? block - last : REPLAY_BLOCKS;

		for (uint64_t i = 0; i < fresh; i++)
			window->blocks[(block - i) % REPLAY_BLOCKS] = 0;
		window->next = counter + 1;
	} else if (window->next - counter > WG_REPLAY_WINDOW || *word & bit) {
		return false;
	}
	*word |= bit;
	return true;
}

size_t wg_keypair_seal(struct wg_keypair *keypair, uint8_t *datagram, size_t length)
{
	const struct wg_transport header = {
		.receiver = keypair->remote_index,
		.counter = keypair->send_counter++,
	};
	uint8_t *packet = datagram + WG_TRANSPORT_HEADER_SIZE;
	struct aead_job job = {
		.key = &keypair->sending,
		.counter = header.counter,
		.bytes = packet,
		.length = length,
		.tag = packet + length,
	};

	wg_transport_encode(&header, datagram);
	aead_seal_batch(keypair->worker, &job, 1);
	if (job.result < 0)
		return 0;
	return WG_TRANSPORT_HEADER_SIZE + length + AEAD_TAG_SIZE;
}

int wg_keypair_open(struct wg_keypair *keypair, uint64_t counter, uint8_t *datagram, size_t length,
		    nanoseconds now)
{
	uint8_t *packet = datagram + WG_TRANSPORT_HEADER_SIZE;
	struct aead_job job = {
		.key = &keypair->receiving,
		.counter = counter,
		.bytes = packet,
		.length = length - WG_TRANSPORT_SIZE_MIN,
		.tag = datagram + length - AEAD_TAG_SIZE,
	};

	if (now - keypair->created >= WG_REJECT_AFTER_TIME)
		return -ETIME;
	aead_open_batch(keypair->worker, &job, 1);
	if (job.result < 0)
		return -EBADMSG;
	if (!replay_accept(&keypair->window, counter)) {
		explicit_bzero(packet, length - WG_TRANSPORT_HEADER_SIZE);
		return -EALREADY;
	}
	return 0;
}
