/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/ip_build.c - small IP packets of our own: headers and echoes */
#include "base/cursor.h"
#include "wire/ip.h"

#include <errno.h>
#include <string.h>

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
		.identifier = (uint16_t)(icmp[4] << 8 | icmp[5]),
		.sequence = (uint16_t)(icmp[6] << 8 | icmp[7]),
		.data = packet + v->payload_offset,
		.length = v->length - v->payload_offset,
	};
	return 0;
}
