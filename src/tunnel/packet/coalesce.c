/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/coalesce.c - packets of one flow become one packet for the host's kernel
 *
 * Theory of operation
 *
 * A packet joins the last one of its flow if the kernel, splitting the whole, would make exactly
 * these packets again: consecutive, with equal headers, all payloads equally long but the last.
 * Pure ACKs, SYN, FIN, RST and URG never join. A packet that does not join waits for its flow's
 * earlier packets to be written, so no flow is reordered. Nothing is copied: the parts of the whole
 * are written where they were decrypted.
 *
 * The kernel trusts the sums of what it splits. So a packet joins only after its own sums were
 * verified; one with a wrong sum is written alone, for the kernel to judge.
 */
#include "base/cursor.h"
#include "tunnel/packet/offload.h"

#include <string.h>

#define TCP_FIXED       IP_TCP_HEADER_SIZE
#define TCP_SEQUENCE_AT 4
#define TCP_FLAGS_AT    13
#define TCP_CHECKSUM_AT 16
#define UDP_LENGTH_AT   4
#define UDP_CHECKSUM_AT 6
#define DONT_FRAGMENT   0x40

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* can_join() - Whether a packet may be part of a larger one at all */
static bool can_join(const struct coalescer *c, const uint8_t *packet, const struct ip_view *v)
{
	const uint8_t *transport = packet + v->transport_offset;

	if (v->fragment != IP_WHOLE || v->payload_offset >= v->length ||
	    v->transport_offset != (v->version == 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE))
		return false;
	switch (v->protocol) {
	case IP_PROTOCOL_TCP:
		return c->tcp && (v->tcp_flags | IP_TCP_PSH) == (IP_TCP_ACK | IP_TCP_PSH);
	case IP_PROTOCOL_UDP:
		return c->udp && get16(transport + UDP_CHECKSUM_AT) != 0 &&
		       get16(transport + UDP_LENGTH_AT) == v->length - v->transport_offset;
	default:
		return false;
	}
}

static bool same_flow(const struct ip_view *a, const struct ip_view *b)
{
	return a->protocol == b->protocol && a->source_port == b->source_port &&
	       a->destination_port == b->destination_port &&
	       address_equal(&a->source, &b->source) &&
	       address_equal(&a->destination, &b->destination);
}

/* same_network_header() - All that the segments of one packet have in common in IP */
static bool same_network_header(const struct coalesced *f, const uint8_t *packet,
				const struct ip_view *v)
{
	const uint8_t *first = f->packet;

	if (v->version == 6) /* class, flow label, hop limit */
		return memcmp(first, packet, 4) == 0 && first[7] == packet[7];
	/* An identification of packets that may not be fragmented has no meaning (RFC 6864). */
	return first[0] == packet[0] && first[1] == packet[1] &&
	       memcmp(first + 6, packet + 6, 3) == 0 &&
	       ((packet[6] & DONT_FRAGMENT) || get16(packet + 4) == (uint16_t)(f->last_id + 1));
}

/* same_tcp_header() - The next segment: acknowledgement, window and options are equal */
static bool same_tcp_header(const struct coalesced *f, const uint8_t *packet,
			    const struct ip_view *v)
{
	const uint8_t *first = f->packet + f->view.transport_offset;
	const uint8_t *tcp = packet + v->transport_offset;
	size_t done = f->length - f->view.payload_offset;

	return v->payload_offset == f->view.payload_offset &&
	       get32(tcp + TCP_SEQUENCE_AT) == get32(first + TCP_SEQUENCE_AT) + (uint32_t)done &&
	       memcmp(first + 8, tcp + 8, TCP_FLAGS_AT - 8) == 0 &&
	       memcmp(first + 14, tcp + 14, 2) == 0 && memcmp(first + 18, tcp + 18, 2) == 0 &&
	       memcmp(first + TCP_FIXED, tcp + TCP_FIXED,
		      (size_t)(v->payload_offset - v->transport_offset) - TCP_FIXED) == 0;
}

/* joins() - Whether the packet is the next part of @f, its sums apart */
static bool joins(const struct coalesced *f, const uint8_t *packet, const struct ip_view *v)
{
	uint32_t payload = v->length - v->payload_offset;

	return !f->closed && f->count < COALESCE_SEGMENTS && payload <= f->segment &&
	       f->length + payload <= IP_PACKET_MAX && same_network_header(f, packet, v) &&
	       (v->protocol == IP_PROTOCOL_UDP || same_tcp_header(f, packet, v));
}

/* sums_are_right() - Of the IPv4 header and of the transport */
static bool sums_are_right(const uint8_t *packet, const struct ip_view *v)
{
	uint32_t length = v->length - v->transport_offset;

	if (v->version == 4 && ip_sum_finish(ip_sum(packet, v->transport_offset, 0)) != 0)
		return false;
	return ip_sum_finish(ip_sum(
		       packet + v->transport_offset, length,
		       ip_pseudo_sum(&v->source, &v->destination, v->protocol, length))) == 0;
}

/* make_whole() - The headers of the first packet become those of all */
static struct virtio_net_hdr make_whole(struct coalesced *f)
{
	const struct ip_view *v = &f->view;
	bool udp = v->protocol == IP_PROTOCOL_UDP;
	uint8_t *packet = f->packet, *transport = packet + v->transport_offset;
	size_t field = udp ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT;
	uint32_t length = f->length - v->transport_offset;
	uint8_t type = VIRTIO_NET_HDR_GSO_UDP_L4;

	if (!udp)
		type = v->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	if (v->version == 4) {
		put_be16(packet + 2, (uint16_t)f->length);
		put_be16(packet + 10, 0);
		put_be16(packet + 10, ip_sum_finish(ip_sum(packet, v->transport_offset, 0)));
	} else {
		put_be16(packet + 4, (uint16_t)(f->length - IPV6_HEADER_SIZE));
	}
	if (udp)
		put_be16(transport + UDP_LENGTH_AT, (uint16_t)length);
	/* The sum of the pseudo-header; the kernel adds the rest where it is needed. */
	put_be16(transport + field, (uint16_t)~ip_sum_finish(ip_pseudo_sum(
					    &v->source, &v->destination, v->protocol, length)));
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = type,
		.hdr_len = v->payload_offset,
		.gso_size = (uint16_t)f->segment,
		.csum_start = v->transport_offset,
		.csum_offset = (uint16_t)field,
	};
}

static void write_flow(struct coalescer *c, struct coalesced *f)
{
	struct virtio_net_hdr header = {0};

	if (f->count > 1)
		header = make_whole(f);
	if (f->count)
		c->write(c->ctx, &header, f->parts, f->count);
	f->count = 0;
}

void coalesce_flush(struct coalescer *c)
{
	for (unsigned int i = 0; i < c->used; i++)
		write_flow(c, &c->flows[i]);
	c->used = 0;
}

static void begin(struct coalesced *f, uint8_t *packet, const struct ip_view *v, bool verified)
{
	f->packet = packet;
	f->view = *v;
	f->parts[0] = (struct iovec){packet, v->length};
	f->count = 1;
	f->length = v->length;
	f->segment = v->length - v->payload_offset;
	f->last_id = v->version == 4 ? get16(packet + 4) : 0;
	f->verified = verified;
	f->closed = v->protocol == IP_PROTOCOL_TCP && v->tcp_flags & IP_TCP_PSH;
}

static void append(struct coalesced *f, uint8_t *packet, const struct ip_view *v)
{
	uint32_t payload = v->length - v->payload_offset;

	f->parts[f->count++] = (struct iovec){packet + v->payload_offset, payload};
	f->length += payload;
	f->last_id = v->version == 4 ? get16(packet + 4) : 0;
	f->closed = payload < f->segment;
	if (v->protocol == IP_PROTOCOL_TCP && v->tcp_flags & IP_TCP_PSH) {
		f->packet[f->view.transport_offset + TCP_FLAGS_AT] |= IP_TCP_PSH;
		f->closed = true;
	}
}

static void write_alone(struct coalescer *c, uint8_t *packet, const struct ip_view *v)
{
	const struct virtio_net_hdr header = {0};
	const struct iovec part = {packet, v->length};

	c->write(c->ctx, &header, &part, 1);
}

static struct coalesced *find(struct coalescer *c, const struct ip_view *v)
{
	for (unsigned int i = 0; i < c->used; i++)
		if (same_flow(&c->flows[i].view, v))
			return &c->flows[i];
	return NULL;
}

void coalesce_add(struct coalescer *c, uint8_t *packet, const struct ip_view *v)
{
	bool flow_known = v->fragment == IP_WHOLE &&
			  (v->protocol == IP_PROTOCOL_TCP || v->protocol == IP_PROTOCOL_UDP);
	struct coalesced *f = flow_known ? find(c, v) : NULL;
	bool verified = false;

	if (!can_join(c, packet, v)) {
		/* A fragment has no ports: it may belong to any flow. */
		if (f)
			write_flow(c, f);
		else if (!flow_known)
			coalesce_flush(c);
		write_alone(c, packet, v);
		return;
	}
	if (f && f->count && joins(f, packet, v)) {
		verified = sums_are_right(packet, v);
		if (verified && !f->verified)
			f->verified = sums_are_right(f->packet, &f->view);
		if (verified && f->verified) {
			append(f, packet, v);
			return;
		}
	}
	if (f) {
		write_flow(c, f);
	} else {
		if (c->used == COALESCE_FLOWS)
			coalesce_flush(c);
		f = &c->flows[c->used++];
	}
	begin(f, packet, v, verified);
}
