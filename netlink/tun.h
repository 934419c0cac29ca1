/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/tun.h - the TUN device through which the app's packets come and go
 *
 * The supervisor opens the queues and keeps them; the engine reads and writes
 * them. The link lives as long as one of its queues is open anywhere.
 */
#pragma once

#include "base/error.h"

#include <net/if.h>
#include <stdint.h>

#define TUN_NAME_DEFAULT "tailscale0"
#define TUN_QUEUES_MAX   4u

/* What the kernel does for many packets at once. */
enum tun_offload {
	TUN_HEADERS = 1, /* IFF_VNET_HDR: a struct virtio_net_hdr before each packet */
	TUN_TCP = 2, /* it leaves checksums and the split of TCP to us, and takes TCP to split */
	TUN_UDP = 4, /* the same of UDP */
};

#define TUN_OFFLOADS_ALL (TUN_HEADERS | TUN_TCP | TUN_UDP)

struct tun {
	char name[IFNAMSIZ]; /* as the kernel made it */
	uint32_t ifindex;
	uint32_t offloads; /* enum tun_offload, as the kernel took them */
	unsigned int queue_count;
	int queues[TUN_QUEUES_MAX]; /* non-blocking, close-on-exec; -1 beyond queue_count */
};

/**
 * tun_open() - Make, or attach to, a TUN link without packet information
 * @name:   name of the link; NULL for TUN_NAME_DEFAULT; may hold one %d, which the kernel numbers
 * @queues: 1 to TUN_QUEUES_MAX file descriptors. More than one means IFF_MULTI_QUEUE, for which
 *          the kernel makes 256 transmit queues with a qdisc each: 3.1 MB of slab
 * @offloads: enum tun_offload; what the kernel lacks is left out
 * @ret:    the caller owns the queues; tun_close() ends them, and with the last the link
 *
 * /dev/net/tun is made by mknod where it is missing and we may.
 *
 * Return: 0, or negative errno with an @err that names the remedy: -ENOENT and -ENODEV (no
 * device), -EACCES (no right to open it), -EPERM (no NET_ADMIN), -EBUSY (another process has
 * the link), -EINVAL (a name that can't be, or a link of another kind or shape)
 */
int tun_open(const char *name, unsigned int queues, uint32_t offloads, struct tun *ret,
	     struct error *err);

/** tun_close() - Close all queues; harmless on a zeroed or closed one with queue_count 0 */
void tun_close(struct tun *tun);
