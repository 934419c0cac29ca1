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

/* begin_seal() - Take a counter, write the header and make the job for what follows it */
static struct aead_job begin_seal(struct wg_keypair *keypair, uint8_t *datagram, size_t length)
{
	const struct wg_transport header = {
		.receiver = keypair->remote_index,
		.counter = keypair->send_counter++,
	};
	uint8_t *packet = datagram + WG_TRANSPORT_HEADER_SIZE;

	wg_transport_encode(&header, datagram);
	return (struct aead_job){
		.key = &keypair->sending,
		.counter = header.counter,
		.bytes = packet,
		.length = length,
		.tag = packet + length,
	};
}

size_t wg_keypair_seal(struct wg_keypair *keypair, uint8_t *datagram, size_t length)
{
	struct aead_job job = begin_seal(keypair, datagram, length);

	aead_seal_batch(keypair->worker, &job, 1);
	return job.result < 0 ? 0 : WG_TRANSPORT_SIZE_MIN + length;
}

size_t wg_keypair_seal_all(struct wg_keypair *keypair, struct iovec *datagrams, size_t count)
{
	struct aead_job jobs[WG_KEYPAIR_BATCH_MAX];
	size_t sealed = 0;

	for (size_t i = 0; i < count; i++)
		jobs[i] = begin_seal(keypair, datagrams[i].iov_base, datagrams[i].iov_len);
	aead_seal_batch(keypair->worker, jobs, count);
	for (size_t i = 0; i < count; i++)
		if (jobs[i].result == 0)
			datagrams[sealed++] =
				(struct iovec){jobs[i].bytes - WG_TRANSPORT_HEADER_SIZE,
					       jobs[i].length + WG_TRANSPORT_SIZE_MIN};
	return sealed;
}

struct aead_job wg_keypair_open_job(const struct wg_keypair *keypair, uint64_t counter,
				    uint8_t *datagram, size_t length)
{
	return (struct aead_job){
		.key = &keypair->receiving,
		.counter = counter,
		.bytes = datagram + WG_TRANSPORT_HEADER_SIZE,
		.length = length - WG_TRANSPORT_SIZE_MIN,
		.tag = datagram + length - AEAD_TAG_SIZE,
	};
}

int wg_keypair_accept(struct wg_keypair *keypair, const struct aead_job *opened)
{
	if (opened->result < 0)
		return -EBADMSG;
	if (!replay_accept(&keypair->window, opened->counter)) {
		explicit_bzero(opened->bytes, opened->length);
		return -EALREADY;
	}
	return 0;
}
