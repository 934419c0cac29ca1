/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/ip.h - IPv4 and IPv6 packets: one parse, checksums, small packets of our own
 *
 * A packet is parsed once, into a view that everything on the packet path reads: filter,
 * routing, masquerade, coalescing. The view holds offsets and copies, no pointer, so it stays
 * true when the packet moves. Code that rewrites the packet also rewrites the view.
 *
 * The parser refuses, so that no caller has to check it: a length that does not fit, a
 * transport header that is cut off (in a first fragment too), a later fragment that could
 * overlap a transport header (RFC 1858), IPv6 extension headers other than one Fragment header
 * right behind the base header, and IPv6 packets from or to an IPv4-mapped address, which
 * struct address could not tell from IPv4.
 */
#pragma once

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IPV4_HEADER_SIZE    20 /* without options */
#define IPV6_HEADER_SIZE    40
#define IPV6_FRAGMENT_SIZE  8
#define IP_PACKET_MAX       65535
#define IP_DEFAULT_TTL      64
#define IP_TCP_HEADER_SIZE  20
#define IP_UDP_HEADER_SIZE  8
#define IP_ICMP_HEADER_SIZE 8
#define IP_SCTP_HEADER_SIZE 12

#define IP_TSMP_MIN         7  /* the shortest message, a reject */
#define IP_LATER_OFFSET_MIN 80 /* bytes: the longest IPv4 header and a TCP header */

enum ip_protocol {
	IP_PROTOCOL_ICMP = 1,
	IP_PROTOCOL_IGMP = 2,
	IP_PROTOCOL_TCP = 6,
	IP_PROTOCOL_UDP = 17,
	IP_PROTOCOL_DCCP = 33,
	IP_PROTOCOL_FRAGMENT = 44, /* the IPv6 extension header */
	IP_PROTOCOL_ICMPV6 = 58,
	IP_PROTOCOL_TSMP = 99, /* between nodes of a tailnet, wire/tsmp.h */
	IP_PROTOCOL_SCTP = 132,
	IP_PROTOCOL_UDPLITE = 136,
};

enum ip_tcp_flag {
	IP_TCP_FIN = 0x01,
	IP_TCP_SYN = 0x02,
	IP_TCP_RST = 0x04,
	IP_TCP_PSH = 0x08,
	IP_TCP_ACK = 0x10,
	IP_TCP_URG = 0x20,
};

enum ip_icmp_type {
	IP_ICMP_ECHO_REPLY = 0,
	IP_ICMP_UNREACHABLE = 3,
	IP_ICMP_ECHO_REQUEST = 8,
	IP_ICMP_TIME_EXCEEDED = 11,
	IP_ICMP_PARAMETER_PROBLEM = 12,
};

enum ip_icmpv6_type {
	IP_ICMPV6_UNREACHABLE = 1,
	IP_ICMPV6_PACKET_TOO_BIG = 2,
	IP_ICMPV6_TIME_EXCEEDED = 3,
	IP_ICMPV6_PARAMETER_PROBLEM = 4,
	IP_ICMPV6_ECHO_REQUEST = 128,
	IP_ICMPV6_ECHO_REPLY = 129,
};

enum ip_fragment {
	IP_WHOLE,
	IP_FRAGMENT_FIRST, /* has the transport header (an IPv6 atomic fragment too) */
	IP_FRAGMENT_LATER, /* has none: no ports, no flags, no ICMP type */
};

/* struct ip_view - What ip_parse() understood. Offsets are from the first byte of the packet */
struct ip_view {
	struct address source;
	struct address destination;
	uint32_t length;           /* by the packet's own header; what follows is padding */
	uint16_t transport_offset; /* of the transport header, or of a later fragment's data */
	uint16_t payload_offset;   /* behind the transport header, where that is understood */
	uint16_t source_port;      /* TCP, UDP, SCTP, else 0; host order */
	uint16_t destination_port;
	uint8_t version; /* 4 or 6 */
	uint8_t protocol;
	uint8_t fragment;  /* enum ip_fragment */
	uint8_t tcp_flags; /* enum ip_tcp_flag */
	uint8_t icmp_type; /* of ICMP and ICMPv6 */
	uint8_t icmp_code;
};

/**
 * ip_parse() - Understand a packet
 * @packet: from the IP header on; @length bytes, of which trailing padding is ignored
 * @ret:    the view; untouched on failure
 *
 * A length beyond %IP_PACKET_MAX and an IPv6 jumbogram are refused. The IPv4 header checksum is
 * not verified: the AEAD around the packet has done more.
 *
 * Return: 0, -ENODATA for an empty packet (a keepalive), -EBADMSG when it is too short for its
 * own headers, -EPROTONOSUPPORT when it is no IP, has an extension header, or is a fragment that
 * can't be judged
 */
int ip_parse(const uint8_t *packet, size_t length, struct ip_view *ret);

/** ip_is_tcp_syn() - The first packet of a connection: SYN without ACK */
static inline bool ip_is_tcp_syn(const struct ip_view *v)
{
	return v->protocol == IP_PROTOCOL_TCP && v->fragment != IP_FRAGMENT_LATER &&
	       (v->tcp_flags & (IP_TCP_SYN | IP_TCP_ACK)) == IP_TCP_SYN;
}

/** ip_is_icmp() - ICMP in IPv4, or ICMPv6 in IPv6 */
static inline bool ip_is_icmp(const struct ip_view *v)
{
	return v->protocol == (v->version == 4 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6);
}

/** ip_is_icmp_error(), ip_is_echo_request(), ip_is_echo_reply() - Kinds of ICMP and ICMPv6 */
bool ip_is_icmp_error(const struct ip_view *v);
bool ip_is_echo_request(const struct ip_view *v);
bool ip_is_echo_reply(const struct ip_view *v);

/*
 * Checksums, RFC 1071 and 1624. A sum is the one's complement sum so far, unfolded; it starts
 * at 0 and is independent of byte order. The checksum field of a packet is two bytes in network
 * order.
 */

/** ip_sum() - Add @length bytes to @sum; an odd last byte is padded with zero */
uint32_t ip_sum(const void *bytes, size_t length, uint32_t sum);

/** ip_sum_finish() - Fold and complement: the value for the field, host order */
uint16_t ip_sum_finish(uint32_t sum);

/** ip_pseudo_sum() - The pseudo-header of a transport checksum; @length: transport header and data
 */
uint32_t ip_pseudo_sum(const struct address *source, const struct address *destination,
		       uint8_t protocol, uint32_t length);

/**
 * ip_checksum_replace() - Mend a checksum after bytes that it covers have changed
 * @field: the two bytes of the checksum
 * @old, @new: @length bytes, even, that stood and now stand at an even offset of what is summed
 *
 * RFC 1624 equation 3, which is right for all values. A UDP checksum needs
 * ip_udp_checksum_replace().
 */
void ip_checksum_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			 size_t length);

/** ip_udp_checksum_replace() - As ip_checksum_replace(): 0 means none and stays, a result of 0 is
 * sent as 0xffff */
void ip_udp_checksum_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			     size_t length);

/**
 * ip_partial_replace() - The same for a partial checksum, as the kernel leaves it in the TUN
 *
 * VIRTIO_NET_HDR_F_NEEDS_CSUM: the field holds the folded pseudo-header sum, not complemented.
 */
void ip_partial_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			size_t length);

/*
 * Building. All of these write at most @size bytes to @out and return the length of the packet,
 * or -ENOBUFS, or -EINVAL when the addresses are not of one family.
 */

/** ip_build_header() - A header without options for @payload_length bytes that follow; returns its
 * own length */
ssize_t ip_build_header(uint8_t *out, size_t size, const struct address *source,
			const struct address *destination, uint8_t protocol, size_t payload_length);

/* struct ip_echo - An ICMP or ICMPv6 echo, by the family of its addresses */
struct ip_echo {
	struct address source;
	struct address destination;
	bool reply;
	uint16_t identifier;
	uint16_t sequence;
	const uint8_t *data;
	size_t length;
};

/** ip_build_echo() - A whole echo request or reply */
ssize_t ip_build_echo(uint8_t *out, size_t size, const struct ip_echo *echo);

/**
 * ip_parse_echo() - Read an echo request or reply out of a packet that ip_parse() understood
 *
 * Return: 0 (@ret->data points into @packet) or -EPROTO when it is none, or is a fragment
 */
int ip_parse_echo(const uint8_t *packet, const struct ip_view *v, struct ip_echo *ret);
