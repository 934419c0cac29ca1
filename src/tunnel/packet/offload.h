/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/offload.h - many packets of a flow as one, between us and the host's kernel
 *
 * Out: the kernel hands over a packet of up to 64 KiB with a virtio-net header, which says how long
 * its segments are to be; struct split makes them. In: struct coalescer joins the packets that
 * belong together, so that the kernel handles them as one. Both are the inverse of each other. Pure
 * functions of bytes, apart from the coalescer's write().
 */
#pragma once

#include "wire/ip.h"

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <sys/uio.h>

/* Newer than the headers of some systems. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* --- Split --- */

struct split {
	const uint8_t *packet;
	struct ip_view view;
	size_t header;     /* bytes that each segment repeats */
	size_t segment;    /* payload of each but the last */
	size_t at;         /* payload done */
	size_t sum_start;  /* of the checksum to complete; 0: none */
	size_t sum_offset; /* of its field, from sum_start */
	uint16_t index;    /* of the next segment */
	bool whole;        /* no segments: copied as it is, but for the checksum */
	bool done;
};

/**
 * split_begin() - Take a packet apart
 * @packet: with view @view; unchanged until the last split_next()
 *
 * Return: 0 or -EBADMSG: the header does not fit the packet
 */
int split_begin(struct split *s, const struct virtio_net_hdr *header, const uint8_t *packet,
		const struct ip_view *view);

/** split_count() - The number of packets that it becomes */
size_t split_count(const struct split *s);

/** split_length() - The length of the next packet; 0: there is none */
size_t split_length(const struct split *s);

/** split_next() - Write the next packet, with all checksums complete, to split_length() bytes */
void split_next(struct split *s, uint8_t *out);

/* --- Coalesce --- */

#define COALESCE_FLOWS    8u
#define COALESCE_SEGMENTS 64u

/* Packets of one flow in their order. */
struct coalesced {
	uint8_t *packet; /* the first one, whose headers become those of all */
	struct ip_view view;
	struct iovec parts[COALESCE_SEGMENTS]; /* the first packet, then payloads */
	uint32_t count;                        /* 0: unused */
	uint32_t length;                       /* of all together */
	uint32_t segment;                      /* payload of the first */
	uint16_t last_id;                      /* IPv4 */
	bool verified;                         /* the sums of the first packet are right */
	bool closed;                           /* nothing follows a short segment or PSH */
};

struct coalescer {
	/* Called in the order of each flow; @parts are valid during the call. */
	void (*write)(void *ctx, const struct virtio_net_hdr *header, const struct iovec *parts,
		      size_t count);
	void *ctx;
	bool tcp, udp; /* which the kernel accepts */
	unsigned int used;
	struct coalesced flows[COALESCE_FLOWS]; /* in order of their begin */
};

/**
 * coalesce_add() - Write a packet, now or with others
 * @packet: with view @view; stays, unchanged by the caller, until coalesce_flush()
 */
void coalesce_add(struct coalescer *c, uint8_t *packet, const struct ip_view *view);

/** coalesce_flush() - Write what is kept; before the packets' memory is used again */
void coalesce_flush(struct coalescer *c);
