/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/tun_io.h - a TUN queue on the loop
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/*
 * Space around each packet for tun_receive_fn, so that the packet can be sealed in
 * place: a WireGuard transport header before it, padding and tag after it.
 */
#define TUN_HEADROOM 32
#define TUN_TAILROOM 64

struct tun_queue;

/**
 * tun_receive_fn - Handle a packet from the host
 * @ctx:    as given to tun_queue_new()
 * @packet: the IP packet, writable, with TUN_HEADROOM before and TUN_TAILROOM after it
 * @length: its bytes
 */
typedef void (*tun_receive_fn)(void *ctx, uint8_t *packet, size_t length);

/** tun_queue_new() - Read @fd (IFF_NO_PI, non-blocking; the caller keeps owning it) on @loop */
int tun_queue_new(uv_loop_t *loop, int fd, tun_receive_fn receive, void *ctx,
		  struct tun_queue **ret);

/** tun_queue_free() - Stop reading; the descriptor stays open. NULL is allowed */
void tun_queue_free(struct tun_queue *queue);

/** tun_queue_write() - Send an IP packet to the host; 0 or negative errno */
int tun_queue_write(struct tun_queue *queue, const uint8_t *packet, size_t length);
