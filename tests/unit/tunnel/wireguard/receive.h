/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/tunnel/wireguard/receive.h - one datagram at a time, for programs that make each by hand */
#pragma once

#include "tunnel/wireguard/wg.h"

/** wg_receive() - wg_receive_all() of one datagram; @ret_peer may be NULL */
static inline enum wg_verdict wg_receive(struct wg_device *device, const struct wg_source *source,
					 uint8_t *datagram, size_t length, nanoseconds now,
					 struct wg_peer **ret_peer)
{
	struct wg_datagram one = {.source = source, .bytes = datagram, .length = length};

	wg_receive_all(device, &one, 1, now);
	if (ret_peer)
		*ret_peer = one.peer;
	return one.verdict;
}
