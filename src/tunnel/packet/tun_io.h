/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/tun_io.h - a TUN queue on the loop
 */
#pragma once

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uv.h>

#define TUN_PARTS_MAX 65u

struct tun_queue;

/**
 * struct tun_handler - What to do with packets from the host
 * @receive: a packet. Its header says what the kernel left to do: a checksum, or the split into
 *           segments; zeros: nothing. The packet is writable during the call
 * @drained: no packet follows at once; send what was collected
 */
struct tun_handler {
	void (*receive)(void *ctx, const struct virtio_net_hdr *header, uint8_t *packet,
			size_t length);
	void (*drained)(void *ctx);
};

/**
 * tun_queue_new() - Read a queue on @loop
 * @fd:      IFF_NO_PI, non-blocking; the caller keeps owning it
 * @headers: it is IFF_VNET_HDR
 */
int tun_queue_new(uv_loop_t *loop, int fd, bool headers, const struct tun_handler *handler,
		  void *ctx, struct tun_queue **ret);

/** tun_queue_free() - Stop reading; the descriptor stays open. NULL is allowed */
void tun_queue_free(struct tun_queue *queue);

/** tun_queue_pause() - Leave packets in the kernel's queue, which is bounded, or read them again */
void tun_queue_pause(struct tun_queue *queue, bool paused);

/**
 * tun_queue_write() - Send an IP packet to the host
 * @header: all zeros, unless the queue has headers
 * @parts:  the packet, in @count parts, at most TUN_PARTS_MAX
 *
 * Return: 0 or negative errno
 */
int tun_queue_write(struct tun_queue *queue, const struct virtio_net_hdr *header,
		    const struct iovec *parts, size_t count);
