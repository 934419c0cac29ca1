/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/filter/test_masquerade.c - rewritten addresses leave right checksums behind */
#include "unit/unit.h"

#include "base/cursor.h"
#include "filter/masquerade.h"
#include "unit/wire/checksums.h"

static struct address ip(const char *text)
{
	struct address a;

	if (address_parse(text, strlen(text), &a) < 0)
		fail_msg("no address: %s", text);
	return a;
}

static struct masquerade mapping(void)
{
	return (struct masquerade){
		.own_v4 = ip("100.64.0.1"),
		.own_v6 = ip("fd7a:115c:a1e0::1"),
		.shown_v4 = ip("100.99.255.7"),
		.shown_v6 = ip("fd7a:115c:a1e0:ffff::abcd"),
	};
}

#define OWN(v)   ip((v) == 4 ? "100.64.0.1" : "fd7a:115c:a1e0::1")
#define SHOWN(v) ip((v) == 4 ? "100.99.255.7" : "fd7a:115c:a1e0:ffff::abcd")
#define PEER(v)  ip((v) == 4 ? "100.64.0.2" : "fd7a:115c:a1e0::2")

/* finish() - Put the right checksum into a whole packet; returns its length */
static size_t finish(uint8_t *packet, size_t length, bool udp_none)
{
	struct ip_view v;
	uint8_t *transport, *field = NULL;
	uint32_t sum;
	uint16_t value;

	assert_int_equal(ip_parse(packet, length, &v), 0);
	transport = packet + v.transport_offset;
	sum = ip_pseudo_sum(&v.source, &v.destination, v.protocol, v.length - v.transport_offset);
	switch (v.protocol) {
	case IP_PROTOCOL_TCP:
		field = transport + 16;
		break;
	case IP_PROTOCOL_UDP:
	case IP_PROTOCOL_UDPLITE:
	case IP_PROTOCOL_DCCP:
		field = transport + 6;
		break;
	case IP_PROTOCOL_ICMP:
		sum = 0;
		field = transport + 2;
		break;
	case IP_PROTOCOL_ICMPV6:
		field = transport + 2;
		break;
	}
	if (!field)
		return length;
	put_be16(field, 0);
	value = ip_sum_finish(ip_sum(transport, v.length - v.transport_offset, sum));
	if (v.protocol == IP_PROTOCOL_UDP)
		value = udp_none ? 0 : value ? value : 0xffff;
	put_be16(field, value);
	return length;
}

/* belongs() - ICMP is IPv4's, ICMPv6 is IPv6's; the rest is either's */
static bool belongs(int version, uint8_t protocol)
{
	return protocol != (version == 4 ? IP_PROTOCOL_ICMPV6 : IP_PROTOCOL_ICMP);
}

/* packet() - @payload bytes behind a transport header with port numbers and a counting pattern */
static size_t packet(uint8_t *out, const struct address *from, const struct address *to,
		     uint8_t protocol, size_t payload)
{
	size_t transport = protocol == IP_PROTOCOL_TCP ? 20 : protocol == IP_PROTOCOL_SCTP ? 12 : 8;
	ssize_t header = ip_build_header(out, 2048, from, to, protocol, transport + payload);

	assert_true(header > 0);
	memset(out + header, 0, transport);
	out[header] = protocol == IP_PROTOCOL_ICMP     ? IP_ICMP_ECHO_REQUEST
		      : protocol == IP_PROTOCOL_ICMPV6 ? IP_ICMPV6_ECHO_REQUEST
						       : 0x9c;
	if (protocol == IP_PROTOCOL_TCP)
		out[header + 12] = 5 << 4;
	for (size_t i = 0; i < payload; i++)
		out[(size_t)header + transport + i] = (uint8_t)(i * 37 + payload);
	return finish(out, (size_t)header + transport + payload, false);
}

static void whole_packets_both_ways(void **state)
{
	static const uint8_t protocols[] = {
		IP_PROTOCOL_TCP,  IP_PROTOCOL_UDP,  IP_PROTOCOL_ICMP,    IP_PROTOCOL_ICMPV6,
		IP_PROTOCOL_SCTP, IP_PROTOCOL_DCCP, IP_PROTOCOL_UDPLITE, 47};
	struct masquerade m = mapping();

	(void)state;
	for (int version = 4; version <= 6; version += 2)
		for (size_t i = 0; i < sizeof(protocols); i++)
			for (size_t payload = 0; payload < 300 && belongs(version, protocols[i]);
			     payload += 7) {
				struct address own = OWN(version), shown = SHOWN(version),
					       peer = PEER(version);
				uint8_t in[2048], want[2048];
				struct ip_view v, after;
				size_t length = packet(in, &peer, &shown, protocols[i], payload);

				packet(want, &peer, &own, protocols[i], payload);
				assert_int_equal(ip_parse(in, length, &v), 0);
				assert_true(masquerade_inbound(&m, in, &v));
				assert_memory_equal(in, want, length);
				assert_int_equal(ip_parse(in, length, &after), 0);
				assert_memory_equal(&v, &after, sizeof(v));
				/* A second time there is nothing to do. */
				assert_false(masquerade_inbound(&m, in, &v));

				packet(in, &own, &peer, protocols[i], payload);
				packet(want, &shown, &peer, protocols[i], payload);
				assert_int_equal(ip_parse(in, length, &v), 0);
				assert_true(masquerade_outbound(&m, in, &v, false));
				assert_memory_equal(in, want, length);
				assert_true(checksums_are_valid(in, &v));
			}
}

static void other_addresses_are_left_alone(void **state)
{
	struct masquerade m = mapping(), none = {0}, half = mapping();
	struct address own = OWN(4), peer = PEER(4), third = ip("100.64.0.3");
	uint8_t in[256], before[256];
	struct ip_view v;
	size_t length;

	(void)state;
	memset(&half.own_v4, 0, sizeof(half.own_v4));
	/* To our own address, as any peer may. */
	length = packet(in, &peer, &own, IP_PROTOCOL_TCP, 10);
	memcpy(before, in, length);
	assert_int_equal(ip_parse(in, length, &v), 0);
	assert_false(masquerade_inbound(&m, in, &v));
	assert_false(masquerade_outbound(&m, in, &v, false));
	/* A router's packet on its way out keeps its source. */
	length = packet(in, &third, &peer, IP_PROTOCOL_TCP, 10);
	memcpy(before, in, length);
	assert_int_equal(ip_parse(in, length, &v), 0);
	assert_false(masquerade_outbound(&m, in, &v, false));
	length = packet(in, &own, &peer, IP_PROTOCOL_TCP, 10);
	memcpy(before, in, length);
	assert_int_equal(ip_parse(in, length, &v), 0);
	assert_false(masquerade_outbound(&none, in, &v, false));
	assert_false(masquerade_outbound(&half, in, &v, false));
	assert_memory_equal(in, before, length);
}

static void udp_without_a_checksum_stays_so(void **state)
{
	struct masquerade m = mapping();
	struct address own = OWN(4), shown = SHOWN(4), peer = PEER(4);
	uint8_t out[256], want[256];
	struct ip_view v;
	size_t length;

	(void)state;
	length = finish(out, packet(out, &own, &peer, IP_PROTOCOL_UDP, 11), true);
	finish(want, packet(want, &shown, &peer, IP_PROTOCOL_UDP, 11), true);
	assert_int_equal(ip_parse(out, length, &v), 0);
	assert_true(masquerade_outbound(&m, out, &v, false));
	assert_memory_equal(out, want, length);
}

/* A payload can make the UDP sum 0: it must be sent as 0xffff, and never turn into "none". */
static void udp_never_turns_into_none(void **state)
{
	struct masquerade m = mapping();
	struct address own = OWN(4), shown = SHOWN(4), peer = PEER(4);
	uint8_t out[64], want[64];
	struct ip_view v;
	int zeros = 0;

	(void)state;
	for (unsigned int n = 0; n < 65536; n++) {
		size_t length = packet(want, &shown, &peer, IP_PROTOCOL_UDP, 2);

		put_be16(want + 28, (uint16_t)n);
		finish(want, length, false);
		packet(out, &own, &peer, IP_PROTOCOL_UDP, 2);
		put_be16(out + 28, (uint16_t)n);
		finish(out, length, false);
		assert_int_equal(ip_parse(out, length, &v), 0);
		assert_true(masquerade_outbound(&m, out, &v, false));
		assert_memory_equal(out, want, length);
		zeros += want[26] == 0xff && want[27] == 0xff;
	}
	assert_true(zeros > 0);
}

static void partial_checksums_of_the_tun(void **state)
{
	struct masquerade m = mapping();

	(void)state;
	for (int version = 4; version <= 6; version += 2)
		for (int tcp = 0; tcp < 2; tcp++) {
			struct address own = OWN(version), shown = SHOWN(version),
				       peer = PEER(version);
			uint8_t protocol = tcp ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP, out[2048],
				*field;
			size_t length = packet(out, &own, &peer, protocol, 1400);
			struct ip_view v;
			uint16_t want;

			assert_int_equal(ip_parse(out, length, &v), 0);
			field = out + v.transport_offset + (tcp ? 16 : 6);
			put_be16(field,
				 (uint16_t)~ip_sum_finish(ip_pseudo_sum(
					 &own, &peer, protocol, v.length - v.transport_offset)));
			assert_true(masquerade_outbound(&m, out, &v, true));
			want = (uint16_t)~ip_sum_finish(ip_pseudo_sum(
				&shown, &peer, protocol, v.length - v.transport_offset));
			assert_int_equal(field[0] << 8 | field[1], want);
			/* And what the kernel would do with it in the end. */
			put_be16(field, 0);
			put_be16(field, ip_sum_finish(ip_sum(out + v.transport_offset,
							     v.length - v.transport_offset, want)));
			assert_true(checksums_are_valid(out, &v));
		}
}

static void fragments(void **state)
{
	struct masquerade m = mapping();

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct address own = OWN(version), shown = SHOWN(version), peer = PEER(version);
		uint8_t whole[2048], want[2048], part[2048];
		size_t header = version == 4 ? 20 : 40, first = 800, frag = version == 4 ? 0 : 8;
		size_t length = packet(whole, &own, &peer, IP_PROTOCOL_UDP, 1400), rest;
		struct ip_view v;

		packet(want, &shown, &peer, IP_PROTOCOL_UDP, 1400);
		rest = length - header - first;
		for (int later = 0; later < 2; later++) {
			size_t data = later ? rest : first;

			assert_true(ip_build_header(part, sizeof(part), &own, &peer,
						    version == 4 ? IP_PROTOCOL_UDP
								 : IP_PROTOCOL_FRAGMENT,
						    frag + data) > 0);
			if (version == 4) {
				put_be16(part + 6, later ? first / 8 : 0x2000);
				put_be16(part + 10, 0);
				put_be16(part + 10, ip_sum_finish(ip_sum(part, 20, 0)));
			} else {
				memset(part + 40, 0, 8);
				part[40] = IP_PROTOCOL_UDP;
				put_be16(part + 42, later ? (uint16_t)first : 1);
			}
			memcpy(part + header + frag, whole + header + (later ? first : 0), data);
			assert_int_equal(ip_parse(part, header + frag + data, &v), 0);
			assert_int_equal(v.fragment, later ? IP_FRAGMENT_LATER : IP_FRAGMENT_FIRST);
			assert_true(masquerade_outbound(&m, part, &v, false));
			assert_true(checksums_are_valid(part, &v));
			assert_true(address_equal(&v.source, &shown));
			assert_memory_equal(part + header + frag,
					    want + header + (later ? first : 0), data);
		}
	}
}

/* error_packet() - An ICMP error from @from to @to that quotes @quoted bytes of @quote */
static size_t error_packet(uint8_t *out, const struct address *from, const struct address *to,
			   const uint8_t *quote, size_t quoted)
{
	bool v4 = from->family == ADDRESS_V4;
	ssize_t header = ip_build_header(out, 2048, from, to,
					 v4 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6, 8 + quoted);

	assert_true(header > 0);
	memset(out + header, 0, 8);
	out[header] = v4 ? IP_ICMP_UNREACHABLE : IP_ICMPV6_UNREACHABLE;
	memcpy(out + header + 8, quote, quoted);
	return finish(out, (size_t)header + 8 + quoted, false);
}

/*
 * quote_is_rewritten() - Not one too short for its own header, and not one cut off in the
 * middle of the transport checksum, of which the half that is there can't be mended
 */
static bool quote_is_rewritten(int version, uint8_t protocol, size_t quoted)
{
	size_t header = version == 4 ? 20 : 40;
	size_t field = protocol == IP_PROTOCOL_TCP      ? 16
		       : protocol == IP_PROTOCOL_UDP    ? 6
		       : protocol == IP_PROTOCOL_ICMPV6 ? 2
							: SIZE_MAX - header - 1;

	return quoted >= header && quoted != header + field + 1;
}

static void icmp_errors_quote_what_the_other_sent(void **state)
{
	static const uint8_t protocols[] = {IP_PROTOCOL_TCP, IP_PROTOCOL_UDP, IP_PROTOCOL_ICMP,
					    IP_PROTOCOL_ICMPV6, 47};
	struct masquerade m = mapping();

	(void)state;
	for (int version = 4; version <= 6; version += 2)
		for (size_t i = 0; i < sizeof(protocols); i++)
			for (size_t quoted = 0; quoted < 120 && belongs(version, protocols[i]);
			     quoted++) {
				struct address own = OWN(version), shown = SHOWN(version),
					       peer = PEER(version);
				uint8_t quote[512], out[2048], want[2048];
				struct ip_view v;
				size_t length;

				/* From the peer, about a packet that we sent. */
				packet(quote, &shown, &peer, protocols[i], 100);
				length = error_packet(out, &peer, &shown, quote, quoted);
				packet(quote, &own, &peer, protocols[i], 100);
				error_packet(want, &peer, &own, quote, quoted);
				assert_int_equal(ip_parse(out, length, &v), 0);
				assert_true(masquerade_inbound(&m, out, &v));
				assert_true(checksums_are_valid(out, &v));
				if (quote_is_rewritten(version, protocols[i], quoted))
					assert_memory_equal(out, want, length);

				/* From us, about a packet that the peer sent. */
				packet(quote, &peer, &own, protocols[i], 100);
				error_packet(out, &own, &peer, quote, quoted);
				packet(quote, &peer, &shown, protocols[i], 100);
				error_packet(want, &shown, &peer, quote, quoted);
				assert_int_equal(ip_parse(out, length, &v), 0);
				assert_true(masquerade_outbound(&m, out, &v, false));
				assert_true(checksums_are_valid(out, &v));
				if (quote_is_rewritten(version, protocols[i], quoted))
					assert_memory_equal(out, want, length);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_packets_both_ways),
		cmocka_unit_test(other_addresses_are_left_alone),
		cmocka_unit_test(udp_without_a_checksum_stays_so),
		cmocka_unit_test(udp_never_turns_into_none),
		cmocka_unit_test(partial_checksums_of_the_tun),
		cmocka_unit_test(fragments),
		cmocka_unit_test(icmp_errors_quote_what_the_other_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
