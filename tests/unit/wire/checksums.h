/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/checksums.h - checksums of whole packets, for tests of code that changes packets */
#pragma once

#include "wire/ip.h"

static inline uint16_t be16_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/*
 * checksums_are_valid() - Verify the checksums of a whole packet from scratch
 *
 * That of IPv4 and that of TCP, UDP (which may be absent over IPv4), UDP-Lite, ICMP or ICMPv6; of
 * other protocols and of fragments that of IPv4 alone.
 */
static inline bool checksums_are_valid(const uint8_t *packet, const struct ip_view *v)
{
	const uint8_t *transport = packet + v->transport_offset;
	uint32_t length = v->length - v->transport_offset, sum = 0;

	if (v->version == 4 && ip_sum_finish(ip_sum(packet, v->transport_offset, 0)) != 0)
		return false;
	if (v->fragment != IP_WHOLE)
		return true;
	switch (v->protocol) {
	case IP_PROTOCOL_UDP:
		if (v->version == 4 && be16_at(transport + 6) == 0)
			return true;
		break;
	case IP_PROTOCOL_UDPLITE: /* covers what its length field says */
		if (length < IP_UDP_HEADER_SIZE)
			return false;
		sum = ip_pseudo_sum(&v->source, &v->destination, v->protocol, length);
		if (be16_at(transport + 4) != 0 && be16_at(transport + 4) < length)
			length = be16_at(transport + 4);
		return ip_sum_finish(ip_sum(transport, length, sum)) == 0;
	case IP_PROTOCOL_TCP:
		break;
	case IP_PROTOCOL_ICMP:
		if (v->version == 4)
			return ip_sum_finish(ip_sum(transport, length, 0)) == 0;
		return true;
	case IP_PROTOCOL_ICMPV6:
		if (v->version == 4)
			return true;
		break;
	default:
		return true;
	}
	sum = ip_pseudo_sum(&v->source, &v->destination, v->protocol, length);
	return ip_sum_finish(ip_sum(transport, length, sum)) == 0;
}
