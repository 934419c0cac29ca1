/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/replay.h - which counters were seen (RFC 6479)
 *
 * A ring of bits, one block longer than the window, so that moving on clears whole
 * blocks. Updated only for authentic messages, or a forger could move the window.
 */
#pragma once

#include "wire/wireguard.h"

#include <stdbool.h>
#include <stdint.h>

#define REPLAY_BLOCK_BITS 64u
#define REPLAY_BLOCKS     (WG_REPLAY_WINDOW / REPLAY_BLOCK_BITS + 1)

/* Zeroed: nothing seen. */
struct replay_window {
	uint64_t next; /* one more than the highest counter seen */
	uint64_t blocks[REPLAY_BLOCKS];
};

/** replay_accept() - Note @counter; false where it was seen, is too old, or past the limit */
bool replay_accept(struct replay_window *window, uint64_t counter);
