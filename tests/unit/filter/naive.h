/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/filter/naive.h - the packet filter once more, as plainly as its rules are written
 *
 * It reads the packet's bytes on its own, walks the rules as control sent them, compares
 * addresses bit by bit and keeps flows in a list. Slow and obvious; the differential test and
 * the fuzzer hold the real one against it.
 */
#pragma once

#include "filter/filter.h"
#include "filter/flows.h"

#include <string.h>

struct naive_flows {
	struct filter_flow list[FILTER_FLOWS_MAX]; /* oldest first */
	size_t count;
};

static bool naive_in(const struct address *a, const struct prefix *p)
{
	if (a->family != p->address.family)
		return false;
	for (unsigned int bit = 0; bit < p->bits; bit++)
		if ((a->bytes[bit / 8] ^ p->address.bytes[bit / 8]) >> (7 - bit % 8) & 1)
			return false;
	return true;
}

static bool naive_in_any(const struct address *a, struct filter_prefixes list)
{
	for (size_t i = 0; i < list.count; i++)
		if (naive_in(a, &list.list[i]))
			return true;
	return false;
}

static bool naive_in_net(const struct address *a, const struct tailcfg_net *net)
{
	size_t length = a->family == ADDRESS_V4 ? 4 : 16;

	if (net->kind == TAILCFG_NET_ANY)
		return true;
	if (net->kind == TAILCFG_NET_PREFIX)
		return naive_in(a, &net->prefix);
	return a->family == net->last.family &&
	       memcmp(a->bytes, net->prefix.address.bytes, length) >= 0 &&
	       memcmp(a->bytes, net->last.bytes, length) <= 0;
}

static bool naive_in_text(const struct address *a, const char *const *texts)
{
	struct prefix p;

	for (; *texts; texts++)
		if (prefix_parse(*texts, strlen(*texts), &p) == 0 && naive_in(a, &p))
			return true;
	return false;
}

static bool naive_local(const struct filter_config *config, const struct address *a)
{
	static const char *const special[] = {"10.0.0.0/8",          "172.16.0.0/12",
					      "192.168.0.0/16",      "169.254.0.0/16",
					      "224.0.0.0/4",         "100.64.0.0/10",
					      "fe80::/10",           "ff00::/8",
					      "fd7a:115c:a1e0::/48", NULL};

	if (naive_in_any(a, config->addresses))
		return true;
	for (size_t i = 0; i < config->advertised.count; i++) {
		const struct prefix *p = &config->advertised.list[i];

		if (!naive_in(a, p))
			continue;
		if (p->bits > 0 || (!naive_in_text(a, special) && !naive_in_any(a, config->host)))
			return true;
	}
	return false;
}

static bool naive_source(const struct filter_config *config, const struct tailcfg_filter_rule *rule,
			 const struct filter_peer *peer, const struct address *source)
{
	for (uint32_t i = 0; i < rule->source_count; i++)
		if (naive_in_net(source, &rule->sources[i]))
			return true;
	for (uint32_t i = 0; i < rule->source_capabilities.count; i++)
		if (config->has_capability &&
		    config->has_capability(peer->node, source, rule->source_capabilities.items[i]))
			return true;
	return false;
}

static bool naive_has_protocol(const struct tailcfg_filter_rule *rule, uint8_t protocol)
{
	if (rule->default_protocols)
		return protocol == 6 || protocol == 17 || protocol == 1 || protocol == 58;
	for (uint32_t i = 0; i < rule->protocol_count; i++)
		if (rule->protocols[i] == protocol)
			return true;
	return false;
}

/* naive_overlap() - Two blocks meet when one holds the other's first address */
static bool naive_overlap(const struct tailcfg_net *net, const struct prefix *p)
{
	struct address first = prefix_mask(p).address;

	return naive_in_net(&first, net) ||
	       (net->kind != TAILCFG_NET_ANY && naive_in(&net->prefix.address, p));
}

/* naive_discarded() - A rule with destinations has a source that is also an unsigned peer's */
static bool naive_discarded(const struct filter_config *config)
{
	for (size_t l = 0; l < config->list_count; l++) {
		for (uint32_t i = 0; i < config->lists[l]->count; i++) {
			const struct tailcfg_filter_rule *rule = &config->lists[l]->rules[i];

			for (uint32_t s = 0; s < rule->source_count && rule->destination_count; s++)
				for (size_t u = 0; u < config->unsigned_peers.count; u++)
					if (naive_overlap(&rule->sources[s],
							  &config->unsigned_peers.list[u]))
						return true;
		}
	}
	return false;
}

/* struct naive_packet - As much as the rules speak of */
struct naive_packet {
	struct address source, destination;
	uint8_t protocol;
	bool later, fragmented;
	const uint8_t *transport;
	size_t length;
	uint16_t source_port, destination_port;
};

enum naive_mode { NAIVE_PORT, NAIVE_ADDRESSES, NAIVE_ALL_PORTS };

static bool naive_rule(const struct filter_config *config, const struct tailcfg_filter_rule *rule,
		       const struct filter_peer *peer, const struct naive_packet *p,
		       enum naive_mode mode)
{
	if (!naive_source(config, rule, peer, &p->source))
		return false;
	if (mode != NAIVE_ADDRESSES && !naive_has_protocol(rule, p->protocol))
		return false;
	for (uint32_t d = 0; d < rule->destination_count; d++) {
		const struct tailcfg_net_ports *to = &rule->destinations[d];
		uint16_t port = p->destination_port;

		if (!naive_in_net(&p->destination, &to->net))
			continue;
		if (mode == NAIVE_ADDRESSES ||
		    (mode == NAIVE_PORT && port >= to->first_port && port <= to->last_port) ||
		    (mode == NAIVE_ALL_PORTS && to->first_port == 0 && to->last_port == 65535))
			return true;
	}
	return false;
}

static enum filter_verdict naive_rules(const struct filter_config *config,
				       const struct filter_peer *peer, const struct naive_packet *p,
				       enum naive_mode mode)
{
	if (config->shields_up)
		return FILTER_DROP_SHIELDS_UP;
	if (peer->jailed)
		return FILTER_DROP_JAILED;
	if (naive_discarded(config))
		return FILTER_DROP_RULES;
	for (size_t l = 0; l < config->list_count; l++)
		for (uint32_t i = 0; i < config->lists[l]->count; i++)
			if (naive_rule(config, &config->lists[l]->rules[i], peer, p, mode))
				return FILTER_ACCEPT_RULE;
	return FILTER_DROP_RULES;
}

/* naive_read_v4(), naive_read_v6() - The verdict for what can't be understood, else
 * FILTER_ACCEPT_OUTBOUND, which naive_read() never means otherwise */
static enum filter_verdict naive_read_v4(const uint8_t *b, size_t length, struct naive_packet *p,
					 size_t *offset)
{
	size_t header, total;

	if (length < 20)
		return FILTER_DROP_MALFORMED;
	header = (b[0] & 15) * 4u;
	total = (size_t)b[2] << 8 | b[3];
	if (header < 20 || total < header || total > length)
		return FILTER_DROP_MALFORMED;
	p->source.family = p->destination.family = ADDRESS_V4;
	memcpy(p->source.bytes, b + 12, 4);
	memcpy(p->destination.bytes, b + 16, 4);
	p->protocol = b[9];
	if (p->protocol == 0)
		return FILTER_DROP_UNKNOWN_PROTOCOL;
	*offset = ((size_t)(b[6] & 0x1f) << 8 | b[7]) * 8;
	p->fragmented = *offset || b[6] & 0x20;
	p->transport = b + header;
	p->length = total - header;
	return FILTER_ACCEPT_OUTBOUND;
}

static enum filter_verdict naive_read_v6(const uint8_t *b, size_t length, struct naive_packet *p,
					 size_t *offset)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	size_t header = 40, total;

	if (length < 40)
		return FILTER_DROP_MALFORMED;
	total = ((size_t)b[4] << 8 | b[5]) + 40;
	if (total > length)
		return FILTER_DROP_MALFORMED;
	if (!memcmp(b + 8, mapped, 12) || !memcmp(b + 24, mapped, 12))
		return FILTER_DROP_UNKNOWN_PROTOCOL;
	p->source.family = p->destination.family = ADDRESS_V6;
	memcpy(p->source.bytes, b + 8, 16);
	memcpy(p->destination.bytes, b + 24, 16);
	p->protocol = b[6];
	if (p->protocol == 44) {
		header = 48;
		if (total < header)
			return FILTER_DROP_MALFORMED;
		p->protocol = b[40];
		*offset = ((size_t)b[42] << 8 | b[43]) & 0xfff8;
		p->fragmented = true;
	}
	switch (p->protocol) {
	case 0:
	case 43:
	case 44:
	case 60:
	case 135:
	case 139:
	case 140:
		return FILTER_DROP_UNKNOWN_PROTOCOL;
	}
	p->transport = b + header;
	p->length = total - header;
	return FILTER_ACCEPT_OUTBOUND;
}

static enum filter_verdict naive_read(const uint8_t *b, size_t length, struct naive_packet *p)
{
	size_t offset = 0, needed = 0;
	enum filter_verdict v;

	memset(p, 0, sizeof(*p));
	if (length == 0)
		return FILTER_ACCEPT_EMPTY;
	if (b[0] >> 4 == 4)
		v = naive_read_v4(b, length, p, &offset);
	else if (b[0] >> 4 == 6)
		v = naive_read_v6(b, length, p, &offset);
	else
		v = length < 20 ? FILTER_DROP_MALFORMED : FILTER_DROP_UNKNOWN_PROTOCOL;
	if (v != FILTER_ACCEPT_OUTBOUND)
		return v;
	p->later = offset > 0;
	if (p->later && offset < 80)
		return FILTER_DROP_UNKNOWN_PROTOCOL;
	if (p->protocol == 99 && p->fragmented)
		return FILTER_DROP_UNKNOWN_PROTOCOL;
	if (p->later)
		return FILTER_ACCEPT_OUTBOUND;
	switch (p->protocol) {
	case 6:
		needed = p->length < 20 ? 20 : (p->transport[12] >> 4) * 4u;
		if (needed < 20)
			return FILTER_DROP_MALFORMED;
		break;
	case 17:
	case 1:
	case 58:
		needed = 8;
		break;
	case 132:
		needed = 12;
		break;
	case 99:
		needed = 7;
		break;
	}
	if (p->length < needed)
		return FILTER_DROP_MALFORMED;
	if (p->protocol == 6 || p->protocol == 17 || p->protocol == 132) {
		p->source_port = (uint16_t)(p->transport[0] << 8 | p->transport[1]);
		p->destination_port = (uint16_t)(p->transport[2] << 8 | p->transport[3]);
	}
	return FILTER_ACCEPT_OUTBOUND;
}

static enum filter_verdict naive_either_way(const struct address *a)
{
	static const char *const multicast[] = {"224.0.0.0/4", "ff00::/8", NULL};
	static const char *const link_local[] = {"169.254.0.0/16", "fe80::/10", NULL};
	static const char *const metadata[] = {"169.254.169.254", NULL};

	if (naive_in_text(a, multicast))
		return FILTER_DROP_MULTICAST;
	if (naive_in_text(a, link_local) && !naive_in_text(a, metadata))
		return FILTER_DROP_LINK_LOCAL;
	return FILTER_ACCEPT_OUTBOUND;
}

static bool naive_flow_is(const struct filter_flow *a, const struct filter_flow *b)
{
	return a->protocol == b->protocol && address_equal(&a->local, &b->local) &&
	       address_equal(&a->remote, &b->remote) && a->local_port == b->local_port &&
	       a->remote_port == b->remote_port;
}

/* naive_touch() - Find @flow and make it the last of the list */
static bool naive_touch(struct naive_flows *flows, const struct filter_flow *flow)
{
	for (size_t i = 0; i < flows->count; i++) {
		if (!naive_flow_is(&flows->list[i], flow))
			continue;
		memmove(&flows->list[i], &flows->list[i + 1],
			(flows->count - i - 1) * sizeof(*flow));
		flows->list[flows->count - 1] = *flow;
		return true;
	}
	return false;
}

static void naive_note(struct naive_flows *flows, const struct filter_flow *flow)
{
	if (naive_touch(flows, flow))
		return;
	if (flows->count == FILTER_FLOWS_MAX)
		memmove(&flows->list[0], &flows->list[1], --flows->count * sizeof(*flow));
	flows->list[flows->count++] = *flow;
}

static enum filter_verdict naive_inbound(const struct filter_config *config,
					 struct naive_flows *flows, const uint8_t *packet,
					 size_t length, const struct filter_peer *peer)
{
	struct naive_packet p;
	enum filter_verdict v = naive_read(packet, length, &p);
	struct filter_flow flow = {p.destination, p.source, p.destination_port, p.source_port,
				   p.protocol};
	bool v4 = p.source.family == ADDRESS_V4;
	uint8_t type;

	if (v == FILTER_ACCEPT_OUTBOUND)
		v = naive_either_way(&p.destination);
	if (v != FILTER_ACCEPT_OUTBOUND)
		return v;
	if (!naive_local(config, &p.destination))
		return FILTER_DROP_NOT_LOCAL;
	if (p.later)
		return FILTER_ACCEPT_FRAGMENT;
	if (p.protocol == (v4 ? 1 : 58)) {
		type = p.transport[0];
		if (v4 ? (type == 0 && p.transport[1] == 0) || type == 3 || type == 11 || type == 12
		       : (type == 129 && p.transport[1] == 0) || (type >= 1 && type <= 4))
			return FILTER_ACCEPT_ICMP;
		return naive_rules(config, peer, &p, NAIVE_ADDRESSES);
	}
	if (p.protocol == 6) {
		if ((p.transport[13] & 0x12) != 0x02)
			return FILTER_ACCEPT_TCP;
		for (size_t i = 0; i < config->peerapi_count; i++)
			if (address_equal(&config->peerapi[i].address, &p.destination) &&
			    config->peerapi[i].port == p.destination_port)
				return FILTER_ACCEPT_PEERAPI;
	}
	if (p.protocol == 99)
		return FILTER_ACCEPT_TSMP;
	if ((p.protocol == 17 || p.protocol == 132) && naive_touch(flows, &flow))
		return FILTER_ACCEPT_FLOW;
	return naive_rules(config, peer, &p,
			   p.protocol == 6 || p.protocol == 17 || p.protocol == 132
				   ? NAIVE_PORT
				   : NAIVE_ALL_PORTS);
}

static enum filter_verdict naive_outbound(struct naive_flows *flows, const uint8_t *packet,
					  size_t length)
{
	struct naive_packet p;
	enum filter_verdict v = naive_read(packet, length, &p);
	struct filter_flow flow = {p.source, p.destination, p.source_port, p.destination_port,
				   p.protocol};

	if (v == FILTER_ACCEPT_OUTBOUND)
		v = naive_either_way(&p.destination);
	if (v != FILTER_ACCEPT_OUTBOUND)
		return v;
	if (p.protocol == 99)
		return FILTER_DROP_TSMP_FROM_HOST;
	if ((p.protocol == 17 || p.protocol == 132) && !p.later)
		naive_note(flows, &flow);
	return FILTER_ACCEPT_OUTBOUND;
}
