/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/filter/scenario.h - drawn rules and packets, judged by the filter and by naive.h
 *
 * Everything is drawn from one source of choices, a seeded generator in the unit test and the
 * input's bytes in the fuzzer, from small pools of addresses, ports and protocols, so that
 * rules and packets often meet.
 */
#pragma once

#include "filter/flows.c" /* for the count */
#include "unit/filter/naive.h"

#include <stdio.h>
#include <stdlib.h>

struct draw {
	uint64_t seed; /* the generator, while @data is NULL */
	const uint8_t *data;
	size_t left;
};

/* draw_below() - 0 … n-1; 0 when the input is used up */
static unsigned int draw_below(struct draw *d, unsigned int n)
{
	uint64_t z;

	if (d->data) {
		if (d->left < 1)
			return 0;
		d->left--;
		return *d->data++ % n;
	}
	z = d->seed += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (unsigned int)((z ^ z >> 31) % n);
}

static bool draw_one_in(struct draw *d, unsigned int n)
{
	return draw_below(d, n) == n - 1;
}

static const char *const address_pool[] = {
	"100.64.0.1",
	"100.64.0.2",
	"100.64.0.3",
	"100.64.1.0",
	"10.1.2.3",
	"10.1.255.255",
	"192.168.7.7",
	"8.8.8.8",
	"169.254.169.254",
	"169.254.1.1",
	"224.0.0.251",
	"203.0.113.9",
	"fd7a:115c:a1e0::1",
	"fd7a:115c:a1e0::2",
	"fd7a:115c:a1e0:1::",
	"2001:db8::8",
	"2001:db8:1::9",
	"fe80::1",
	"ff02::1",
	"::",
};
#define POOL_V4 12
#define POOL    20

/* draw_address() - Of @family, or of any with 0 */
static struct address draw_address(struct draw *d, int family)
{
	unsigned int at = family == 4   ? draw_below(d, POOL_V4)
			  : family == 6 ? POOL_V4 + draw_below(d, POOL - POOL_V4)
					: draw_below(d, POOL);
	struct address a;

	if (address_parse(address_pool[at], strlen(address_pool[at]), &a) < 0)
		abort();
	return a;
}

static struct prefix draw_prefix(struct draw *d)
{
	static const uint8_t lengths_v4[] = {32, 32, 32, 31, 24, 16, 10, 8, 1, 0};
	static const uint8_t lengths_v6[] = {128, 128, 127, 64, 48, 33, 10, 1, 0, 128};
	struct prefix p = {.address = draw_address(d, 0)};

	p.bits = p.address.family == ADDRESS_V4 ? lengths_v4[draw_below(d, 10)]
						: lengths_v6[draw_below(d, 10)];
	return prefix_mask(&p);
}

static struct tailcfg_net draw_net(struct draw *d)
{
	struct tailcfg_net net = {.kind = TAILCFG_NET_PREFIX};
	struct address other;

	switch (draw_below(d, 8)) {
	case 6:
		net.kind = TAILCFG_NET_ANY;
		break;
	case 7:
		net.kind = TAILCFG_NET_RANGE;
		net.prefix.address = draw_address(d, 0);
		net.prefix.bits = address_bits(&net.prefix.address);
		net.last = draw_address(d, net.prefix.address.family);
		if (memcmp(net.last.bytes, net.prefix.address.bytes, 16) < 0) {
			other = net.last;
			net.last = net.prefix.address;
			net.prefix.address = other;
		}
		break;
	default:
		net.prefix = draw_prefix(d);
	}
	return net;
}

static const uint8_t protocol_pool[] = {6, 6, 17, 17, 1, 58, 132, 47, 50, 99, 0, 43, 44, 2, 255};
static const uint16_t port_pool[] = {0, 1, 22, 80, 443, 8080, 65534, 65535};

static uint8_t draw_protocol(struct draw *d)
{
	return protocol_pool[draw_below(d, sizeof(protocol_pool))];
}

static uint16_t draw_port(struct draw *d)
{
	return port_pool[draw_below(d, 8)];
}

#define RULES_MAX   5
#define ITEMS_MAX   4
#define PREFIX_POOL 5

/* struct scenario - A configuration and the storage that it points into */
struct scenario {
	struct filter_config config;
	struct tailcfg_filter lists[2];
	const struct tailcfg_filter *list_pointers[2];
	struct tailcfg_filter_rule rules[2][RULES_MAX];
	struct tailcfg_net sources[2][RULES_MAX][ITEMS_MAX];
	struct tailcfg_net_ports destinations[2][RULES_MAX][ITEMS_MAX];
	uint8_t protocols[2][RULES_MAX][ITEMS_MAX];
	char *capabilities[1];
	struct prefix addresses[3], advertised[PREFIX_POOL], host[PREFIX_POOL], unsigned_peers[2];
	struct endpoint peerapi[2];
	struct filter_peer peers[3]; /* one of whom nothing is known, one that may hold the
				      * capability, one in jail */
};

/* scenario_capability() - A known peer has the one capability, at 100.64.0.2 only */
static bool scenario_capability(const void *peer, const struct address *source, const char *name)
{
	static const struct address owner = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}};

	return peer && strcmp(name, "example.com/cap/one") == 0 && address_equal(source, &owner);
}

static void draw_rule(struct draw *d, struct scenario *s, unsigned int l, unsigned int i)
{
	struct tailcfg_filter_rule *rule = &s->rules[l][i];

	rule->sources = s->sources[l][i];
	rule->destinations = s->destinations[l][i];
	rule->protocols = s->protocols[l][i];
	rule->source_count = draw_below(d, ITEMS_MAX + 1);
	rule->destination_count = draw_below(d, ITEMS_MAX + 1);
	for (uint32_t n = 0; n < rule->source_count; n++)
		rule->sources[n] = draw_net(d);
	for (uint32_t n = 0; n < rule->destination_count; n++) {
		struct tailcfg_net_ports *to = &rule->destinations[n];
		uint16_t a = draw_port(d), b = draw_port(d);
		bool all = draw_below(d, 2);

		to->net = draw_net(d);
		to->first_port = all ? 0 : a < b ? a : b;
		to->last_port = all ? 65535 : a < b ? b : a;
	}
	rule->default_protocols = draw_below(d, 2);
	rule->protocol_count = rule->default_protocols ? 0 : draw_below(d, ITEMS_MAX + 1);
	for (uint32_t n = 0; n < rule->protocol_count; n++)
		rule->protocols[n] = draw_protocol(d);
	if (draw_one_in(d, 6))
		rule->source_capabilities = (struct string_list){s->capabilities, 1};
}

static struct filter_prefixes draw_prefixes(struct draw *d, struct prefix *out, unsigned int max)
{
	struct filter_prefixes prefixes = {out, draw_below(d, max + 1)};

	for (size_t i = 0; i < prefixes.count; i++)
		out[i] = draw_prefix(d);
	return prefixes;
}

static void scenario_draw(struct draw *d, struct scenario *s)
{
	static char name[] = "example.com/cap/one";
	struct filter_config *c = &s->config;

	memset(s, 0, sizeof(*s));
	s->capabilities[0] = name;
	for (unsigned int l = 0; l < 2; l++) {
		s->list_pointers[l] = &s->lists[l];
		s->lists[l].rules = s->rules[l];
		s->lists[l].count = draw_below(d, RULES_MAX + 1);
		for (unsigned int i = 0; i < s->lists[l].count; i++)
			draw_rule(d, s, l, i);
	}
	c->lists = s->list_pointers;
	c->list_count = 2;
	for (size_t i = 0; i < 3; i++) {
		struct address a = draw_address(d, i == 1 ? 6 : 4);

		s->addresses[i] = prefix_of(&a);
	}
	c->addresses = (struct filter_prefixes){s->addresses, 3};
	c->advertised = draw_prefixes(d, s->advertised, PREFIX_POOL);
	c->host = draw_prefixes(d, s->host, PREFIX_POOL);
	if (draw_one_in(d, 4))
		c->unsigned_peers = draw_prefixes(d, s->unsigned_peers, 2);
	c->peerapi = s->peerapi;
	c->peerapi_count = draw_below(d, 3);
	for (size_t i = 0; i < c->peerapi_count; i++)
		s->peerapi[i] = (struct endpoint){s->addresses[i].address, draw_port(d)};
	c->shields_up = draw_one_in(d, 8);
	c->has_capability = draw_one_in(d, 4) ? NULL : scenario_capability;
	s->peers[1].node = &s->peers[1];
	s->peers[2].jailed = true;
}

/* draw_transport() - @out is where the transport header goes */
static void draw_transport(struct draw *d, uint8_t *out, uint8_t protocol)
{
	static const uint8_t icmp_types[] = {0, 3, 5, 8, 11, 12, 13, 1, 2, 4, 128, 129, 133};
	uint16_t source = draw_port(d), destination = draw_port(d);

	if (protocol == 1 || protocol == 58) {
		out[0] = icmp_types[draw_below(d, sizeof(icmp_types))];
		out[1] = draw_one_in(d, 4);
		return;
	}
	out[0] = (uint8_t)(source >> 8);
	out[1] = (uint8_t)source;
	out[2] = (uint8_t)(destination >> 8);
	out[3] = (uint8_t)destination;
	if (protocol == 6) {
		out[12] = (uint8_t)((draw_one_in(d, 8) ? draw_below(d, 16) : 5) << 4);
		out[13] = (uint8_t)(draw_one_in(d, 3) ? draw_below(d, 64) : 2);
	}
}

#define PACKET_MAX 256

/* draw_packet() - Mostly sound, sometimes cut, fragmented or with a bit flipped */
static size_t draw_packet(struct draw *d, uint8_t out[PACKET_MAX])
{
	bool v4 = draw_below(d, 2), fragment = draw_one_in(d, 5);
	struct address source = draw_address(d, v4 ? 4 : 6);
	struct address destination = draw_address(d, v4 ? 4 : 6);
	uint8_t protocol = draw_protocol(d);
	size_t header = v4 ? 20 : 40, length;
	uint16_t offset = 0, more = 0;

	memset(out, 0, PACKET_MAX);
	if (fragment) {
		offset = (uint16_t)(draw_below(d, 2) ? draw_below(d, 14) : 0);
		more = (uint16_t)draw_below(d, 2);
	}
	if (v4) {
		if (draw_one_in(d, 6))
			header += 4 * draw_below(d, 11);
		out[0] = (uint8_t)(0x40 | header / 4);
		out[6] = (uint8_t)(more << 5);
		out[7] = (uint8_t)offset;
		out[9] = protocol;
		memcpy(out + 12, source.bytes, 4);
		memcpy(out + 16, destination.bytes, 4);
	} else {
		out[0] = 0x60;
		out[6] = protocol;
		memcpy(out + 8, source.bytes, 16);
		memcpy(out + 24, destination.bytes, 16);
		if (draw_one_in(d, 40)) { /* ::ffff:…, mapped */
			memset(out + 8, 0, 10);
			memset(out + 18, 0xff, 2);
		}
		if (fragment) {
			out[6] = 44;
			out[40] = protocol;
			out[42] = (uint8_t)(offset >> 5);
			out[43] = (uint8_t)(offset << 3 | more);
			header += 8;
		}
	}
	draw_transport(d, out + header, protocol);
	length = header + (draw_one_in(d, 6) ? draw_below(d, 24) : 60);
	if (v4)
		out[3] = (uint8_t)length;
	else
		out[5] = (uint8_t)(length - 40);
	if (draw_one_in(d, 20))
		out[draw_below(d, (unsigned int)length)] ^= (uint8_t)(1u << draw_below(d, 8));
	if (draw_one_in(d, 12))
		return draw_below(d, (unsigned int)length);
	if (draw_one_in(d, 12))
		return length + draw_below(d, 16); /* WireGuard's padding */
	return length;
}

static void swap_bytes(uint8_t *a, uint8_t *b, size_t length)
{
	uint8_t t;

	for (size_t i = 0; i < length; i++)
		t = a[i], a[i] = b[i], b[i] = t;
}

/* make_answer() - The way back of a packet without options or Fragment header */
static void make_answer(uint8_t *packet)
{
	bool v4 = packet[0] >> 4 == 4;
	uint8_t *transport = packet + (v4 ? 20 : 40);

	if (v4)
		swap_bytes(packet + 12, packet + 16, 4);
	else
		swap_bytes(packet + 8, packet + 24, 16);
	swap_bytes(transport, transport + 2, 2);
}

static void report_difference(enum filter_verdict got, enum filter_verdict want,
			      const uint8_t *packet, size_t length)
{
	fprintf(stderr, "filter: %s, naive: %s\n", filter_verdict_label(got),
		filter_verdict_label(want));
	for (size_t i = 0; i < length; i++)
		fprintf(stderr, "%02x%s", packet[i], i % 4 == 3 ? " " : "");
	fprintf(stderr, "\n");
}

/* scenario_run() - @packets in both directions through both; false at the first difference */
static bool scenario_run(struct draw *d, struct scenario *s, unsigned int packets,
			 unsigned int counts[FILTER_VERDICT_COUNT])
{
	struct filter_flows *flows = filter_flows_create(d->seed);
	struct naive_flows *naive = calloc(1, sizeof(*naive));
	uint8_t last[PACKET_MAX] = {0};
	size_t last_length = 0;
	struct filter *f = NULL;
	bool same = flows && naive && filter_compile(&s->config, &f) == 0 &&
		    filter_is_discarded(f) == naive_discarded(&s->config);

	for (unsigned int i = 0; i < packets && same; i++) {
		uint8_t drawn[PACKET_MAX] = {0};
		bool outbound = draw_one_in(d, 3), answer = !outbound && draw_one_in(d, 3);
		size_t length = answer ? last_length : draw_packet(d, drawn);
		uint8_t *packet = malloc(length ? length : 1); /* so that ASan sees its edge */
		const struct filter_peer *peer = &s->peers[draw_below(d, 3)];
		enum filter_verdict got, want;
		struct ip_view v;
		int r;

		if (answer) {
			memcpy(drawn, last, PACKET_MAX);
			make_answer(drawn);
		}
		memcpy(packet, drawn, length);
		r = ip_parse(packet, length, &v);
		if (outbound) {
			memcpy(last, drawn, PACKET_MAX);
			last_length = length;
			got = r < 0 ? filter_parse_verdict(r) : filter_outbound(flows, &v);
			want = naive_outbound(naive, packet, length);
		} else {
			got = r < 0 ? filter_parse_verdict(r) : filter_inbound(f, flows, &v, peer);
			want = naive_inbound(&s->config, naive, packet, length, peer);
		}
		counts[got]++;
		same = got == want;
		if (!same)
			report_difference(got, want, packet, length);
		free(packet);
	}
	same = same && flows->count == naive->count;
	filter_free(f);
	filter_flows_free(flows);
	free(naive);
	return same;
}
