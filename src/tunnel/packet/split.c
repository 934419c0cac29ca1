/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/packet/split.c - one packet of the kernel becomes the segments that go over the wire */
#include "base/cursor.h"
#include "tunnel/packet/offload.h"

#include <errno.h>
#include <string.h>

#define TCP_SEQUENCE_AT 4
#define TCP_FLAGS_AT    13
#define TCP_CWR         0x80
#define TCP_CHECKSUM_AT 16
#define UDP_LENGTH_AT   4
#define UDP_CHECKSUM_AT 6

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* begin_segments() - A packet of several segments: whole, and TCP or UDP as the header says */
static int begin_segments(struct split *s, const struct virtio_net_hdr *header)
{
	const struct ip_view *v = &s->view;
	uint8_t type = header->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	bool udp = type == VIRTIO_NET_HDR_GSO_UDP_L4;

	if (type != VIRTIO_NET_HDR_GSO_TCPV4 && type != VIRTIO_NET_HDR_GSO_TCPV6 && !udp)
		return -EBADMSG;
	if ((type == VIRTIO_NET_HDR_GSO_TCPV4 && v->version != 4) ||
	    (type == VIRTIO_NET_HDR_GSO_TCPV6 && v->version != 6))
		return -EBADMSG;
	if (v->protocol != (udp ? IP_PROTOCOL_UDP : IP_PROTOCOL_TCP) || v->fragment != IP_WHOLE ||
	    header->gso_size == 0)
		return -EBADMSG;
	s->header = v->payload_offset;
	s->segment = header->gso_size;
	s->sum_start = v->transport_offset;
	s->sum_offset = udp ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT;
	return 0;
}

int split_begin(struct split *s, const struct virtio_net_hdr *header, const uint8_t *packet,
		const struct ip_view *view)
{
	*s = (struct split){.packet = packet, .view = *view};
	if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return begin_segments(s, header);
	s->whole = true;
	if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return 0;
	if (header->csum_start == 0 ||
	    (uint32_t)header->csum_start + header->csum_offset + 2 > view->length)
		return -EBADMSG;
	s->sum_start = header->csum_start;
	s->sum_offset = header->csum_offset;
	return 0;
}

size_t split_count(const struct split *s)
{
	size_t payload = s->view.length - s->header;

	if (s->whole || payload == 0)
		return 1;
	return (payload + s->segment - 1) / s->segment;
}

/* next_payload() - Bytes of the next segment's payload */
static size_t next_payload(const struct split *s)
{
	size_t left = s->view.length - s->header - s->at;

	return left < s->segment ? left : s->segment;
}

size_t split_length(const struct split *s)
{
	if (s->done)
		return 0;
	return s->whole ? s->view.length : s->header + next_payload(s);
}

/* set_headers() - Length, identification, sequence and flags of this segment */
static void set_headers(const struct split *s, uint8_t *out, size_t length, bool last)
{
	const struct ip_view *v = &s->view;
	uint8_t *transport = out + v->transport_offset;

	if (v->version == 4) {
		put_be16(out + 2, (uint16_t)length);
		put_be16(out + 4, (uint16_t)(get16(s->packet + 4) + s->index));
		put_be16(out + 10, 0);
		put_be16(out + 10, ip_sum_finish(ip_sum(out, v->transport_offset, 0)));
	} else {
		put_be16(out + 4, (uint16_t)(length - IPV6_HEADER_SIZE));
	}
	if (v->protocol == IP_PROTOCOL_UDP) {
		put_be16(transport + UDP_LENGTH_AT, (uint16_t)(length - v->transport_offset));
		return;
	}
	put_be32(transport + TCP_SEQUENCE_AT,
		 get32(s->packet + v->transport_offset + TCP_SEQUENCE_AT) + (uint32_t)s->at);
	if (!last)
		transport[TCP_FLAGS_AT] &= (uint8_t) ~(IP_TCP_FIN | IP_TCP_PSH);
	if (s->index)
		transport[TCP_FLAGS_AT] &= (uint8_t)~TCP_CWR;
}

/* complete() - The checksum from @start on; @sum: of what it covers besides */
static void complete(uint8_t *out, size_t length, size_t start, uint8_t *field, uint32_t sum,
		     bool udp)
{
	uint16_t value = ip_sum_finish(ip_sum(out + start, length - start, sum));

	put_be16(field, udp && value == 0 ? 0xffff : value);
}

void split_next(struct split *s, uint8_t *out)
{
	const struct ip_view *v = &s->view;
	size_t length = split_length(s), payload;
	uint8_t *field = out + s->sum_start + s->sum_offset;
	bool udp = v->protocol == IP_PROTOCOL_UDP, last;

	if (s->whole) {
		memcpy(out, s->packet, length);
		/* The field holds the sum of the pseudo-header, so that it is summed too. */
		if (s->sum_start)
			complete(out, length, s->sum_start, field, 0, udp);
		s->done = true;
		return;
	}
	payload = length - s->header;
	last = s->at + payload >= v->length - s->header;
	memcpy(out, s->packet, s->header);
	memcpy(out + s->header, s->packet + s->header + s->at, payload);
	set_headers(s, out, length, last);
	put_be16(field, 0);
	complete(out, length, s->sum_start, field,
		 ip_pseudo_sum(&v->source, &v->destination, v->protocol,
			       (uint32_t)(length - s->sum_start)),
		 udp);
	s->at += payload;
	s->index++;
	s->done = last;
}
