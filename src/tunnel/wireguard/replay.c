/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/replay.c - which counters were seen */
#include "tunnel/wireguard/replay.h"

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
