/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/ip.c - IPv4 and IPv6 packets: one parse, checksums, small packets of our own */
#include "wire/ip.h"

#include "base/cursor.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK    0x1fff
#define IPV6_OFFSET_MASK    0xfff8

/* is_extension() - IPv6 headers that stand between the base header and the transport's */
static bool is_extension(uint8_t next_header)
{
	switch (next_header) {
	case 0:   /* hop by hop */
	case 43:  /* routing */
	case 44:  /* fragment: a second one, the first was stepped over */
	case 60:  /* destination options */
	case 135: /* mobility */
	case 139: /* host identity */
	case 140: /* shim6 */
		return true;
	default:
		return false;
	}
}

/* note_fragment() - @offset in bytes. A later fragment must stay clear of any transport header */
static int note_fragment(struct ip_view *v, uint32_t offset, bool fragmented)
{
	if (offset == 0) {
		v->fragment = fragmented ? IP_FRAGMENT_FIRST : IP_WHOLE;
		return 0;
	}
	v->fragment = IP_FRAGMENT_LATER;
	return offset < IP_LATER_OFFSET_MIN ? -EPROTONOSUPPORT : 0;
}

/* parse_v4() - Header and length; leaves @c at the transport header with nothing behind the packet
 */
static int parse_v4(struct cursor *c, struct ip_view *v)
{
	size_t available = c->left, header = (size_t)(cursor_u8(c) & 0x0f) * 4;
	uint16_t fragment;
	uint8_t address[4];

	cursor_u8(c); /* DSCP, ECN */
	v->length = cursor_be16(c);
	cursor_be16(c); /* identification */
	fragment = cursor_be16(c);
	cursor_u8(c); /* TTL */
	v->protocol = cursor_u8(c);
	cursor_be16(c); /* checksum */
	cursor_copy(c, address, sizeof(address));
	v->source = address_v4(address);
	cursor_copy(c, address, sizeof(address));
	v->destination = address_v4(address);
	if (!cursor_ok(c) || header < IPV4_HEADER_SIZE || v->length < header ||
	    v->length > available)
		return -EBADMSG;
	cursor_take(c, header - IPV4_HEADER_SIZE); /* options */
	c->left = v->length - header;
	v->version = 4;
	v->transport_offset = (uint16_t)header;
	if (v->protocol == 0)
		return -EPROTONOSUPPORT;
	return note_fragment(v, (uint32_t)(fragment & IPV4_OFFSET_MASK) * 8,
			     fragment & IPV4_MORE_FRAGMENTS);
}

/* parse_v6() - As parse_v4(), with one Fragment header */
static int parse_v6(struct cursor *c, struct ip_view *v)
{
	uint16_t payload, fragment;
	uint8_t source[16], destination[16];

	cursor_be32(c); /* version, class, flow label */
	payload = cursor_be16(c);
	v->protocol = cursor_u8(c);
	cursor_u8(c); /* hop limit */
	cursor_copy(c, source, sizeof(source));
	cursor_copy(c, destination, sizeof(destination));
	if (!cursor_ok(c) || payload > c->left)
		return -EBADMSG;
	v->source = address_v6(source);
	v->destination = address_v6(destination);
	if (v->source.family != ADDRESS_V6 || v->destination.family != ADDRESS_V6)
		return -EPROTONOSUPPORT; /* mapped IPv4 never travels */
	v->version = 6;
	v->length = (uint32_t)payload + IPV6_HEADER_SIZE;
	v->transport_offset = IPV6_HEADER_SIZE;
	c->left = payload;
	if (v->protocol == IP_PROTOCOL_FRAGMENT) {
		v->protocol = cursor_u8(c);
		cursor_u8(c); /* reserved */
		fragment = cursor_be16(c);
		cursor_be32(c); /* identification */
		if (!cursor_ok(c))
			return -EBADMSG;
		v->transport_offset += IPV6_FRAGMENT_SIZE;
		if (is_extension(v->protocol))
			return -EPROTONOSUPPORT;
		return note_fragment(v, fragment & IPV6_OFFSET_MASK, true);
	}
	return is_extension(v->protocol) ? -EPROTONOSUPPORT : 0;
}

/* parse_transport() - The header that the filter reads must be there whole */
static int parse_transport(struct cursor *c, struct ip_view *v)
{
	size_t header = 0, available = c->left;

	if (v->protocol == IP_PROTOCOL_TSMP && v->fragment != IP_WHOLE)
		return -EPROTONOSUPPORT;
	if (v->fragment == IP_FRAGMENT_LATER) {
		v->payload_offset = v->transport_offset;
		return 0;
	}
	switch (v->protocol) {
	case IP_PROTOCOL_TCP:
		v->source_port = cursor_be16(c);
		v->destination_port = cursor_be16(c);
		cursor_be64(c); /* sequence, acknowledgement */
		header = (size_t)(cursor_u8(c) >> 4) * 4;
		v->tcp_flags = cursor_u8(c);
		cursor_take(c, IP_TCP_HEADER_SIZE - 14);
		if (header < IP_TCP_HEADER_SIZE)
			return -EBADMSG;
		break;
	case IP_PROTOCOL_UDP:
	case IP_PROTOCOL_SCTP:
		v->source_port = cursor_be16(c);
		v->destination_port = cursor_be16(c);
		header = v->protocol == IP_PROTOCOL_UDP ? IP_UDP_HEADER_SIZE : IP_SCTP_HEADER_SIZE;
		break;
	case IP_PROTOCOL_ICMP:
	case IP_PROTOCOL_ICMPV6:
		v->icmp_type = cursor_u8(c);
		v->icmp_code = cursor_u8(c);
		header = IP_ICMP_HEADER_SIZE;
		break;
	case IP_PROTOCOL_TSMP:
		/* No header before the message; the shortest message has this size. */
		if (available < IP_TSMP_MIN)
			return -EBADMSG;
		break;
	default:
		break;
	}
	if (!cursor_ok(c) || header > available)
		return -EBADMSG;
	v->payload_offset = (uint16_t)(v->transport_offset + header);
	return 0;
}

int ip_parse(const uint8_t *packet, size_t length, struct ip_view *ret)
{
	struct cursor c = cursor_of(packet, length);
	struct ip_view v = {0};
	int r;

	if (length == 0)
		return -ENODATA;
	switch (packet[0] >> 4) {
	case 4:
		r = parse_v4(&c, &v);
		break;
	case 6:
		r = parse_v6(&c, &v);
		break;
	default:
		return length < IPV4_HEADER_SIZE ? -EBADMSG : -EPROTONOSUPPORT;
	}
	if (r == 0 && v.length > IP_PACKET_MAX)
		r = -EBADMSG;
	if (r == 0)
		r = parse_transport(&c, &v);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}

/* has_icmp() - An ICMP header was read */
static bool has_icmp(const struct ip_view *v)
{
	return ip_is_icmp(v) && v->fragment != IP_FRAGMENT_LATER;
}

bool ip_is_icmp_error(const struct ip_view *v)
{
	if (!has_icmp(v))
		return false;
	if (v->version == 4)
		return v->icmp_type == IP_ICMP_UNREACHABLE ||
		       v->icmp_type == IP_ICMP_TIME_EXCEEDED ||
		       v->icmp_type == IP_ICMP_PARAMETER_PROBLEM;
	return v->icmp_type >= IP_ICMPV6_UNREACHABLE && v->icmp_type <= IP_ICMPV6_PARAMETER_PROBLEM;
}

bool ip_is_echo_request(const struct ip_view *v)
{
	return has_icmp(v) && v->icmp_code == 0 &&
	       v->icmp_type == (v->version == 4 ? IP_ICMP_ECHO_REQUEST : IP_ICMPV6_ECHO_REQUEST);
}

bool ip_is_echo_reply(const struct ip_view *v)
{
	return has_icmp(v) && v->icmp_code == 0 &&
	       v->icmp_type == (v->version == 4 ? IP_ICMP_ECHO_REPLY : IP_ICMPV6_ECHO_REPLY);
}

/* --- Checksums: from scratch (RFC 1071), mended (RFC 1624), partial --- */

static uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

/*
 * The sum of 16-bit words is independent of byte order but for a swap at the end (RFC 1071), and
 * wider words may be added as they are: their halves meet when the sum is folded.
 */
uint32_t ip_sum(const void *bytes, size_t length, uint32_t sum)
{
	const uint8_t *p = bytes;
	uint64_t a = 0, b = 0, c = 0, d = 0;
	uint32_t words[4];
	uint16_t last;

	for (; length >= sizeof(words); p += sizeof(words), length -= sizeof(words)) {
		memcpy(words, p, sizeof(words));
		a += words[0];
		b += words[1];
		c += words[2];
		d += words[3];
	}
	a += b + c + d;
	for (; length > 1; p += 2, length -= 2) {
		memcpy(&last, p, 2);
		a += last;
	}
	if (length) {
		last = 0;
		memcpy(&last, p, 1);
		a += last;
	}
	while (a >> 16)
		a = (a & 0xffff) + (a >> 16);
	a = be16toh((uint16_t)a) + (uint64_t)sum;
	return (uint32_t)((a & 0xffffffff) + (a >> 32));
}

uint16_t ip_sum_finish(uint32_t sum)
{
	return (uint16_t)~fold(sum);
}

uint32_t ip_pseudo_sum(const struct address *source, const struct address *destination,
		       uint8_t protocol, uint32_t length)
{
	uint32_t sum = ip_sum(source->bytes, address_length(source), 0);

	sum = ip_sum(destination->bytes, address_length(destination), sum);
	return sum + protocol + (length >> 16) + (length & 0xffff);
}

/* difference() - What replacing @old by @new adds to a sum: ~m + m' over all words, folded */
static uint16_t difference(const uint8_t *old, const uint8_t *new, size_t length)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i += 2)
		sum += (uint32_t)(uint16_t)~get_be16(old + i) + get_be16(new + i);
	return fold(sum);
}

void ip_checksum_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			 size_t length)
{
	uint32_t sum = (uint16_t)~get_be16(field);

	put_be16(field, ip_sum_finish(sum + difference(old, new, length)));
}

void ip_udp_checksum_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			     size_t length)
{
	if (get_be16(field) == 0)
		return;
	ip_checksum_replace(field, old, new, length);
	if (get_be16(field) == 0)
		put_be16(field, 0xffff);
}

void ip_partial_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			size_t length)
{
	put_be16(field, fold((uint32_t)get_be16(field) + difference(old, new, length)));
}

/* --- Small packets of our own --- */

ssize_t ip_build_header(uint8_t *out, size_t size, const struct address *source,
			const struct address *destination, uint8_t protocol, size_t payload_length)
{
	size_t header = source->family == ADDRESS_V4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE;

	if (source->family == ADDRESS_NONE || source->family != destination->family ||
	    payload_length > IP_PACKET_MAX - header)
		return -EINVAL;
	if (size < header || size - header < payload_length)
		return -ENOBUFS;
	memset(out, 0, header);
	if (source->family == ADDRESS_V4) {
		out[0] = 0x45;
		put_be16(out + 2, (uint16_t)(header + payload_length));
		out[8] = IP_DEFAULT_TTL;
		out[9] = protocol;
		memcpy(out + 12, source->bytes, 4);
		memcpy(out + 16, destination->bytes, 4);
		put_be16(out + 10, ip_sum_finish(ip_sum(out, header, 0)));
	} else {
		out[0] = 0x60;
		put_be16(out + 4, (uint16_t)payload_length);
		out[6] = protocol;
		out[7] = IP_DEFAULT_TTL;
		memcpy(out + 8, source->bytes, 16);
		memcpy(out + 24, destination->bytes, 16);
	}
	return (ssize_t)header;
}

ssize_t ip_build_echo(uint8_t *out, size_t size, const struct ip_echo *echo)
{
	bool v4 = echo->source.family == ADDRESS_V4;
	uint8_t protocol = v4 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6;
	size_t length = IP_ICMP_HEADER_SIZE + echo->length;
	uint32_t sum = 0;
	uint8_t *icmp;
	ssize_t header;

	header = ip_build_header(out, size, &echo->source, &echo->destination, protocol, length);
	if (header < 0)
		return header;
	icmp = out + header;
	if (v4)
		icmp[0] = echo->reply ? IP_ICMP_ECHO_REPLY : IP_ICMP_ECHO_REQUEST;
	else
		icmp[0] = echo->reply ? IP_ICMPV6_ECHO_REPLY : IP_ICMPV6_ECHO_REQUEST;
	icmp[1] = 0;
	put_be16(icmp + 2, 0);
	put_be16(icmp + 4, echo->identifier);
	put_be16(icmp + 6, echo->sequence);
	if (echo->length)
		memcpy(icmp + IP_ICMP_HEADER_SIZE, echo->data, echo->length);
	if (!v4)
		sum = ip_pseudo_sum(&echo->source, &echo->destination, protocol, (uint32_t)length);
	put_be16(icmp + 2, ip_sum_finish(ip_sum(icmp, length, sum)));
	return header + (ssize_t)length;
}

int ip_parse_echo(const uint8_t *packet, const struct ip_view *v, struct ip_echo *ret)
{
	const uint8_t *icmp = packet + v->transport_offset;

	if (v->fragment != IP_WHOLE || (!ip_is_echo_request(v) && !ip_is_echo_reply(v)))
		return -EPROTO;
	*ret = (struct ip_echo){
		.source = v->source,
		.destination = v->destination,
		.reply = ip_is_echo_reply(v),
		.identifier = get_be16(icmp + 4),
		.sequence = get_be16(icmp + 6),
		.data = packet + v->payload_offset,
		.length = v->length - v->payload_offset,
	};
	return 0;
}
