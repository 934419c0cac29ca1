/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/masquerade.h - another address of ours for one peer
 *
 * A peer from another tailnet may know this node by an address that is not its own
 * (SelfNodeV4MasqAddrForThisPeer, SelfNodeV6MasqAddrForThisPeer). Its packets are rewritten
 * before the filter sees them, and ours after it. The rewrite is of the IP header, the transport
 * checksum that covers its addresses (TCP, UDP, UDP-Lite, DCCP, ICMPv6), and, in an ICMP error,
 * the packet that it quotes, with the sums in there.
 */
#pragma once

#include "base/address.h"
#include "wire/ip.h"

#include <stdbool.h>
#include <stdint.h>

/* struct masquerade - Per peer; all zeros rewrites nothing. An address of ADDRESS_NONE turns its
 * family off */
struct masquerade {
	struct address own_v4; /* this node's own address */
	struct address own_v6;
	struct address shown_v4; /* what the peer knows it by */
	struct address shown_v6;
};

/**
 * masquerade_inbound() - A packet from the peer: shown destination becomes own
 * @packet: rewritten in place, and @v with it
 *
 * Return: whether anything was rewritten
 */
bool masquerade_inbound(const struct masquerade *m, uint8_t *packet, struct ip_view *v);

/**
 * masquerade_outbound() - A packet to the peer: own source becomes shown
 * @partial: the transport checksum is the kernel's partial one (VIRTIO_NET_HDR_F_NEEDS_CSUM)
 *
 * Return: whether anything was rewritten
 */
bool masquerade_outbound(const struct masquerade *m, uint8_t *packet, struct ip_view *v,
			 bool partial);
