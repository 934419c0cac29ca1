/* SPDX-License-Identifier: BSD-3-Clause */
/* filter/masquerade.c - another address of ours for one peer */
#include "filter/masquerade.h"

#include "base/cursor.h"

#include <string.h>

/* Which address of an IP header. */
enum side { SOURCE, DESTINATION };

static size_t address_offset(uint8_t version, enum side side)
{
	if (version == 4)
		return side == SOURCE ? 12 : 16;
	return side == SOURCE ? 8 : 24;
}

/* checksum_offset() - Where the checksum that covers the pseudo-header stands; 0: there is none */
static size_t checksum_offset(uint8_t version, uint8_t protocol)
{
	switch (protocol) {
	case IP_PROTOCOL_TCP:
		return 16;
	case IP_PROTOCOL_UDP:
	case IP_PROTOCOL_UDPLITE:
	case IP_PROTOCOL_DCCP:
		return 6;
	case IP_PROTOCOL_ICMPV6:
		return version == 6 ? 2 : 0;
	default:
		return 0;
	}
}

/* struct change - An address that becomes another, of one family */
struct change {
	const uint8_t *old, *new;
	size_t length;
};

static void mend(uint8_t *field, uint8_t protocol, const struct change *c)
{
	if (protocol == IP_PROTOCOL_UDP)
		ip_udp_checksum_replace(field, c->old, c->new, c->length);
	else
		ip_checksum_replace(field, c->old, c->new, c->length);
}

/*
 * rewrite_quoted() - The packet that an ICMP error quotes, of which only the begin may be there
 * @icmp:   the ICMP message, @length bytes
 *
 * The ICMP checksum covers the quote, so each field that changes there is made good in it. Over
 * IPv4 the changes in the quoted header cancel out; done all the same, since the quoted sum may
 * have been wrong.
 */
static void rewrite_quoted(uint8_t *icmp, size_t length, uint8_t version, enum side side,
			   const struct change *change)
{
	uint8_t *sum = icmp + 2, *quote = icmp + IP_ICMP_HEADER_SIZE, *address, *field, before[2];
	size_t left = length - IP_ICMP_HEADER_SIZE, header, at;
	uint8_t protocol;
	bool transport = true;

	if (left < (version == 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE) || quote[0] >> 4 != version)
		return;
	address = quote + address_offset(version, side);
	if (memcmp(address, change->old, change->length) != 0)
		return;
	memcpy(address, change->new, change->length);
	ip_checksum_replace(sum, change->old, change->new, change->length);
	if (version == 4) {
		memcpy(before, quote + 10, 2);
		ip_checksum_replace(quote + 10, change->old, change->new, change->length);
		ip_checksum_replace(sum, before, quote + 10, 2);
		header = (size_t)(quote[0] & 0x0f) * 4;
		protocol = quote[9];
		transport = (quote[6] & 0x1f) == 0 && quote[7] == 0;
	} else {
		header = IPV6_HEADER_SIZE;
		protocol = quote[6];
		if (protocol == IP_PROTOCOL_FRAGMENT && left >= header + IPV6_FRAGMENT_SIZE) {
			transport = quote[42] == 0 && (quote[43] & 0xf8) == 0;
			protocol = quote[40];
			header += IPV6_FRAGMENT_SIZE;
		}
	}
	at = checksum_offset(version, protocol);
	if (!transport || at == 0 || header < IPV4_HEADER_SIZE || left < header + at + 2)
		return;
	field = quote + header + at;
	memcpy(before, field, 2);
	mend(field, protocol, change);
	ip_checksum_replace(sum, before, field, 2);
}

/* rewrite() - @side of the packet's header becomes @new, and the other side of what it quotes */
static void rewrite(uint8_t *packet, struct ip_view *v, enum side side, const struct address *new,
		    bool partial)
{
	struct address *in_view = side == SOURCE ? &v->source : &v->destination;
	const struct address old = *in_view;
	struct change change = {old.bytes, new->bytes, address_length(new)};
	size_t at = checksum_offset(v->version, v->protocol);
	uint8_t *field = packet + v->transport_offset + at;

	memcpy(packet + address_offset(v->version, side), new->bytes, change.length);
	*in_view = *new;
	if (v->version == 4)
		ip_checksum_replace(packet + 10, change.old, change.new, change.length);
	if (v->fragment == IP_FRAGMENT_LATER)
		return;
	if (at && v->length >= v->transport_offset + at + 2) {
		if (partial)
			ip_partial_replace(field, change.old, change.new, change.length);
		else
			mend(field, v->protocol, &change);
	}
	if (ip_is_icmp_error(v))
		rewrite_quoted(packet + v->transport_offset, v->length - v->transport_offset,
			       v->version, side == SOURCE ? DESTINATION : SOURCE, &change);
}

/* masquerade() - @side of the header, of the one address to the other; whether it was rewritten */
static bool masquerade(const struct masquerade *m, uint8_t *packet, struct ip_view *v,
		       enum side side, bool partial)
{
	const struct address *shown = v->version == 4 ? &m->shown_v4 : &m->shown_v6;
	const struct address *own = v->version == 4 ? &m->own_v4 : &m->own_v6;
	const struct address *from = side == SOURCE ? own : shown;
	const struct address *at = side == SOURCE ? &v->source : &v->destination;

	if (at->family == ADDRESS_NONE || own->family != at->family ||
	    shown->family != at->family || !address_equal(at, from) || address_equal(own, shown))
		return false;
	rewrite(packet, v, side, side == SOURCE ? shown : own, partial);
	return true;
}

bool masquerade_inbound(const struct masquerade *m, uint8_t *packet, struct ip_view *v)
{
	return masquerade(m, packet, v, DESTINATION, false);
}

bool masquerade_outbound(const struct masquerade *m, uint8_t *packet, struct ip_view *v,
			 bool partial)
{
	return masquerade(m, packet, v, SOURCE, partial);
}
