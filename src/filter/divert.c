/* SPDX-License-Identifier: BSD-3-Clause */
/* filter/divert.c - served ports go to a service, without taking them from the app */
#include "filter/divert.h"

#include "base/cursor.h"

#include <string.h>

#define TCP_CHECKSUM_AT 16
#define SOURCE_PORT_AT  0
#define TARGET_PORT_AT  2
#define TCP_FLAGS_AT    13
#define TCP_SYN         0x02
#define TCP_ACK         0x10

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* of_served(), of_high() - The entry for an own address and a port, or NULL */
static struct divert *of_served(struct diverts *diverts, const struct address *own, uint16_t port)
{
	for (size_t i = 0; i < diverts->count; i++)
		if (diverts->list[i].served.port == port && diverts->list[i].high != 0 &&
		    address_equal(&diverts->list[i].served.address, own))
			return &diverts->list[i];
	return NULL;
}

static const struct divert *of_high(const struct diverts *diverts, const struct address *own,
				    uint16_t port)
{
	for (size_t i = 0; i < diverts->count; i++)
		if (diverts->list[i].high == port &&
		    address_equal(&diverts->list[i].served.address, own))
			return &diverts->list[i];
	return NULL;
}

/* set_port() - Write @port at @at; @sum is the checksum that covers it, or NULL */
static void set_port(uint8_t *at, uint16_t port, uint8_t *sum)
{
	uint8_t old[2] = {at[0], at[1]};

	put_be16(at, port);
	if (sum)
		ip_checksum_replace(sum, old, at, 2);
}

/* struct quote - The TCP packet that an ICMP error quotes */
struct quote {
	struct address source, destination;
	uint8_t *tcp;   /* its ports are there */
	uint8_t *sum;   /* its checksum, NULL if it is cut off */
	uint8_t *outer; /* the checksum of the ICMP message */
};

static bool find_quote(uint8_t *packet, const struct ip_view *v, struct quote *ret)
{
	uint8_t *icmp = packet + v->transport_offset, *quoted = icmp + IP_ICMP_HEADER_SIZE;
	size_t left, header;
	uint8_t protocol;
	bool first;

	if (v->length < (uint32_t)v->transport_offset + IP_ICMP_HEADER_SIZE)
		return false;
	left = v->length - v->transport_offset - IP_ICMP_HEADER_SIZE;
	if (left < (v->version == 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE) ||
	    quoted[0] >> 4 != v->version)
		return false;
	if (v->version == 4) {
		header = (size_t)(quoted[0] & 0x0f) * 4;
		protocol = quoted[9];
		first = (quoted[6] & 0x1f) == 0 && quoted[7] == 0;
		ret->source = address_v4(quoted + 12);
		ret->destination = address_v4(quoted + 16);
	} else {
		header = IPV6_HEADER_SIZE;
		protocol = quoted[6];
		first = true;
		if (protocol == IP_PROTOCOL_FRAGMENT && left >= header + IPV6_FRAGMENT_SIZE) {
			first = quoted[42] == 0 && (quoted[43] & 0xf8) == 0;
			protocol = quoted[40];
			header += IPV6_FRAGMENT_SIZE;
		}
		ret->source = address_v6(quoted + 8);
		ret->destination = address_v6(quoted + 24);
	}
	if (protocol != IP_PROTOCOL_TCP || !first || header < IPV4_HEADER_SIZE || left < header + 4)
		return false;
	ret->tcp = quoted + header;
	ret->sum = left >= header + TCP_CHECKSUM_AT + 2 ? ret->tcp + TCP_CHECKSUM_AT : NULL;
	ret->outer = icmp + 2;
	return true;
}

/* set_quoted_port() - The quote's own sum changes too, and the outer one covers all of it */
static void set_quoted_port(const struct quote *quote, size_t at, uint16_t port)
{
	uint8_t old[2] = {quote->tcp[at], quote->tcp[at + 1]}, before[2];

	if (quote->sum)
		memcpy(before, quote->sum, 2);
	set_port(quote->tcp + at, port, quote->sum);
	ip_checksum_replace(quote->outer, old, quote->tcp + at, 2);
	if (quote->sum)
		ip_checksum_replace(quote->outer, before, quote->sum, 2);
}

static bool has_ports(const struct ip_view *v)
{
	return v->protocol == IP_PROTOCOL_TCP && v->fragment != IP_FRAGMENT_LATER;
}

/* has_begun() - Whether a connection to a retired port began after the retirement */
static bool has_begun(const struct diverts *diverts, const struct endpoint *peer, uint16_t port)
{
	for (size_t i = 0; i < diverts->begun_count; i++)
		if (diverts->begun[i].port == port && endpoint_equal(&diverts->begun[i].peer, peer))
			return true;
	return false;
}

/* begins() - Whether @packet is the first of a connection */
static bool begins(const uint8_t *packet, const struct ip_view *v)
{
	return v->length >= (uint32_t)v->transport_offset + TCP_FLAGS_AT + 1 &&
	       (packet[v->transport_offset + TCP_FLAGS_AT] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* passes_retired() - Whether a packet to a retired port is the host's */
static bool passes_retired(struct diverts *diverts, struct divert *divert, const uint8_t *packet,
			   const struct ip_view *v)
{
	struct endpoint peer = {v->source, v->source_port};

	if (has_begun(diverts, &peer, divert->served.port))
		return true;
	if (!begins(packet, v))
		return false;
	if (diverts->begun_count == DIVERT_BEGUN_MAX) {
		divert->high = 0;
		return true;
	}
	diverts->begun[diverts->begun_count].peer = peer;
	diverts->begun[diverts->begun_count++].port = divert->served.port;
	return true;
}

void diverts_set(struct diverts *diverts, const struct divert *list, size_t count)
{
	bool retired = false;

	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < diverts->count && list[i].retired; k++)
			retired = retired ||
				  (diverts->list[k].retired &&
				   endpoint_equal(&diverts->list[k].served, &list[i].served));
	}
	if (!retired)
		diverts->begun_count = 0;
	memcpy(diverts->list, list, count * sizeof(*list));
	diverts->count = count;
}

bool divert_inbound(struct diverts *diverts, uint8_t *packet, struct ip_view *v)
{
	uint8_t *tcp = packet + v->transport_offset;
	struct divert *divert;
	struct quote quote;

	if (diverts->count == 0)
		return true;
	if (has_ports(v)) {
		divert = of_served(diverts, &v->destination, v->destination_port);
		if (!divert)
			return !of_high(diverts, &v->destination, v->destination_port);
		if (divert->retired && passes_retired(diverts, divert, packet, v))
			return true;
		set_port(tcp + TARGET_PORT_AT, divert->high, tcp + TCP_CHECKSUM_AT);
		v->destination_port = divert->high;
	} else if (ip_is_icmp_error(v) && find_quote(packet, v, &quote)) {
		struct endpoint peer = {quote.destination, get16(quote.tcp + TARGET_PORT_AT)};

		divert = of_served(diverts, &quote.source, get16(quote.tcp + SOURCE_PORT_AT));
		if (divert && !(divert->retired && has_begun(diverts, &peer, divert->served.port)))
			set_quoted_port(&quote, SOURCE_PORT_AT, divert->high);
	}
	return true;
}

void divert_outbound(const struct diverts *diverts, uint8_t *packet, struct ip_view *v,
		     bool partial)
{
	uint8_t *tcp = packet + v->transport_offset;
	const struct divert *divert;
	struct quote quote;

	if (diverts->count == 0)
		return;
	if (has_ports(v)) {
		divert = of_high(diverts, &v->source, v->source_port);
		if (!divert)
			return;
		set_port(tcp + SOURCE_PORT_AT, divert->served.port,
			 partial ? NULL : tcp + TCP_CHECKSUM_AT);
		v->source_port = divert->served.port;
	} else if (ip_is_icmp_error(v) && find_quote(packet, v, &quote)) {
		divert = of_high(diverts, &quote.destination, get16(quote.tcp + TARGET_PORT_AT));
		if (divert)
			set_quoted_port(&quote, TARGET_PORT_AT, divert->served.port);
	}
}
