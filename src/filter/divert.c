/* SPDX-License-Identifier: BSD-3-Clause */
/* filter/divert.c - served ports go to a service, without taking them from the app */
#include "filter/divert.h"

#include "base/cursor.h"

#include <string.h>

#define TCP_CHECKSUM_AT 16
#define SOURCE_PORT_AT  0
#define TARGET_PORT_AT  2

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* of_served(), of_high() - The entry for an own address and a port, or NULL */
static const struct divert *of_served(const struct diverts *diverts, const struct address *own,
				      uint16_t port)
{
	for (size_t i = 0; i < diverts->count; i++)
		if (diverts->list[i].served.port == port &&
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

bool divert_inbound(const struct diverts *diverts, uint8_t *packet, struct ip_view *v)
{
	uint8_t *tcp = packet + v->transport_offset;
	const struct divert *divert;
	struct quote quote;

	if (diverts->count == 0)
		return true;
	if (has_ports(v)) {
		divert = of_served(diverts, &v->destination, v->destination_port);
		if (!divert)
			return !of_high(diverts, &v->destination, v->destination_port);
		set_port(tcp + TARGET_PORT_AT, divert->high, tcp + TCP_CHECKSUM_AT);
		v->destination_port = divert->high;
	} else if (ip_is_icmp_error(v) && find_quote(packet, v, &quote)) {
		divert = of_served(diverts, &quote.source, get16(quote.tcp + SOURCE_PORT_AT));
		if (divert)
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
