/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/filter/test_divert.c - served ports: the table of packets, and their checksums
 *
 *	peer :4000 ──▶ own :443   becomes   peer :4000 ──▶ own :50000   ──▶ the service
 *	peer :4000 ◀── own :443   is what   peer :4000 ◀── own :50000   becomes
 */
#include "unit/unit.h"

#include "base/cursor.h"
#include "filter/divert.h"

#define SERVED 443
#define HIGH   50000
#define CLIENT 4000

static struct address ip(const char *text)
{
	struct address a;

	assert_int_equal(address_parse(text, strlen(text), &a), 0);
	return a;
}

#define OWN(v)  ip((v) == 4 ? "100.64.0.1" : "fd7a:115c:a1e0::1")
#define PEER(v) ip((v) == 4 ? "100.64.0.2" : "fd7a:115c:a1e0::2")

static struct diverts table(void)
{
	struct diverts d = {.count = 2};

	d.list[0] = (struct divert){{OWN(4), SERVED}, HIGH, false};
	d.list[1] = (struct divert){{OWN(6), SERVED}, HIGH, false};
	return d;
}

/* right_sum() - What the transport checksum has to be */
static uint16_t right_sum(uint8_t *packet, const struct ip_view *v, size_t at)
{
	uint8_t *transport = packet + v->transport_offset;
	uint8_t kept[2] = {transport[at], transport[at + 1]};
	uint32_t sum = v->protocol == IP_PROTOCOL_ICMP
			       ? 0
			       : ip_pseudo_sum(&v->source, &v->destination, v->protocol,
					       v->length - v->transport_offset);
	uint16_t value;

	transport[at] = transport[at + 1] = 0;
	value = ip_sum_finish(ip_sum(transport, v->length - v->transport_offset, sum));
	memcpy(transport + at, kept, 2);
	return value;
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* tcp() - A packet with right checksums; its view, and its length */
static size_t tcp(uint8_t *out, const struct address *from, uint16_t from_port,
		  const struct address *to, uint16_t to_port, struct ip_view *v)
{
	uint8_t segment[32] = {0};
	size_t header;

	put_be16(segment, from_port);
	put_be16(segment + 2, to_port);
	segment[12] = 5 << 4;
	memcpy(segment + 20, "some data...", 12);
	header = (size_t)ip_build_header(out, 200, from, to, IP_PROTOCOL_TCP, sizeof(segment));
	memcpy(out + header, segment, sizeof(segment));
	assert_int_equal(ip_parse(out, header + sizeof(segment), v), 0);
	put_be16(out + header + 16, right_sum(out, v, 16));
	return header + sizeof(segment);
}

static void expect(uint8_t *packet, const struct ip_view *v, uint16_t from, uint16_t to)
{
	const uint8_t *transport = packet + v->transport_offset;

	assert_int_equal(get16(transport), from);
	assert_int_equal(get16(transport + 2), to);
	assert_int_equal(v->source_port, from);
	assert_int_equal(v->destination_port, to);
	assert_int_equal(get16(transport + 16), right_sum(packet, v, 16));
}

static void test_there_and_back(void **state)
{
	struct diverts d = table();

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct address own = OWN(version), peer = PEER(version);
		uint8_t packet[200];
		struct ip_view v;

		(void)tcp(packet, &peer, CLIENT, &own, SERVED, &v);
		assert_true(divert_inbound(&d, packet, &v));
		expect(packet, &v, CLIENT, HIGH);
		(void)tcp(packet, &own, HIGH, &peer, CLIENT, &v);
		divert_outbound(&d, packet, &v, false);
		expect(packet, &v, SERVED, CLIENT);
	}
}

static void test_what_stays(void **state)
{
	struct diverts d = table(), none = {0};
	struct address own = OWN(4), peer = PEER(4), other = ip("100.64.0.9");
	uint8_t packet[200], before[200];
	struct ip_view v;
	size_t length;

	(void)state;
	/* Another port; another address; our own connection to a peer's port of that number. */
	length = tcp(packet, &peer, CLIENT, &own, 80, &v);
	memcpy(before, packet, length);
	assert_true(divert_inbound(&d, packet, &v));
	assert_memory_equal(packet, before, length);
	length = tcp(packet, &peer, CLIENT, &other, SERVED, &v);
	memcpy(before, packet, length);
	assert_true(divert_inbound(&d, packet, &v));
	assert_memory_equal(packet, before, length);
	length = tcp(packet, &own, CLIENT, &peer, SERVED, &v);
	memcpy(before, packet, length);
	divert_outbound(&d, packet, &v, false);
	assert_memory_equal(packet, before, length);
	/* The listener's own port is no way in, while something is served. */
	(void)tcp(packet, &peer, CLIENT, &own, HIGH, &v);
	assert_false(divert_inbound(&d, packet, &v));
	assert_true(divert_inbound(&none, packet, &v));
}

static void test_a_partial_checksum_covers_no_port(void **state)
{
	struct diverts d = table();
	struct address own = OWN(4), peer = PEER(4);
	uint8_t packet[200], sum[2];
	struct ip_view v;

	(void)state;
	(void)tcp(packet, &own, HIGH, &peer, CLIENT, &v);
	memcpy(sum, packet + v.transport_offset + 16, 2);
	divert_outbound(&d, packet, &v, true);
	assert_int_equal(get16(packet + v.transport_offset), SERVED);
	assert_memory_equal(packet + v.transport_offset + 16, sum, 2);
}

/* icmp_error() - An error about the packet @quoted, of which @kept bytes are in it */
static void icmp_error(uint8_t *out, int version, const struct address *from,
		       const struct address *to, const uint8_t *quoted, size_t kept,
		       struct ip_view *v)
{
	uint8_t protocol = version == 4 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6;
	size_t header = (size_t)ip_build_header(out, 400, from, to, protocol, 8 + kept);

	memset(out + header, 0, 8);
	out[header] = version == 4 ? IP_ICMP_UNREACHABLE : IP_ICMPV6_PACKET_TOO_BIG;
	memcpy(out + header + 8, quoted, kept);
	assert_int_equal(ip_parse(out, header + 8 + kept, v), 0);
	put_be16(out + header + 2, right_sum(out, v, 2));
}

static void test_an_error_that_quotes_one(void **state)
{
	struct diverts d = table();

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct address own = OWN(version), peer = PEER(version);
		size_t header = version == 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE;

		/* The whole segment, the ports alone, and too little. */
		for (size_t kept = header + 32; kept >= header; kept -= 28) {
			uint8_t packet[200], error[400];
			struct ip_view v;
			bool ports = kept >= header + 4;

			/* A router tells us that our answer was too long. */
			(void)tcp(packet, &own, SERVED, &peer, CLIENT, &v);
			icmp_error(error, version, &peer, &own, packet, kept, &v);
			assert_true(divert_inbound(&d, error, &v));
			if (ports)
				assert_int_equal(get16(error + v.transport_offset + 8 + header),
						 HIGH);
			assert_int_equal(get16(error + v.transport_offset + 2),
					 right_sum(error, &v, 2));
			/* Our kernel tells the peer that its packet was not welcome. */
			(void)tcp(packet, &peer, CLIENT, &own, HIGH, &v);
			icmp_error(error, version, &own, &peer, packet, kept, &v);
			divert_outbound(&d, error, &v, false);
			if (ports)
				assert_int_equal(get16(error + v.transport_offset + 8 + header + 2),
						 SERVED);
			assert_int_equal(get16(error + v.transport_offset + 2),
					 right_sum(error, &v, 2));
			if (kept < header + 28)
				break;
		}
	}
}

/* to_retired() - Whether a packet with @flags of @client still goes to the service */
static bool to_retired(struct diverts *d, uint16_t client, uint8_t flags)
{
	struct address own = OWN(4), peer = PEER(4);
	uint8_t packet[200];
	struct ip_view v;

	(void)tcp(packet, &peer, client, &own, SERVED, &v);
	packet[v.transport_offset + 13] = flags;
	assert_true(divert_inbound(d, packet, &v));
	return v.destination_port == HIGH;
}

#define SYN 0x02
#define ACK 0x10

static void test_a_retired_port_has_only_its_old_connections(void **state)
{
	static struct diverts d;
	struct diverts served = table();
	struct address own = OWN(4), peer = PEER(4);
	uint8_t packet[200], error[400];
	struct ip_view v;

	(void)state;
	d = served;
	served.list[0].retired = true;
	diverts_set(&d, served.list, served.count);
	assert_true(to_retired(&d, CLIENT, ACK));
	/* The app listens there now. */
	assert_false(to_retired(&d, CLIENT + 1, SYN));
	assert_false(to_retired(&d, CLIENT + 1, ACK));
	assert_true(to_retired(&d, CLIENT, ACK));
	/* An answer of the service, and of the app, and errors about them. */
	(void)tcp(packet, &own, HIGH, &peer, CLIENT, &v);
	divert_outbound(&d, packet, &v, false);
	expect(packet, &v, SERVED, CLIENT);
	for (uint16_t client = CLIENT; client <= CLIENT + 1; client++) {
		(void)tcp(packet, &own, SERVED, &peer, client, &v);
		icmp_error(error, 4, &peer, &own, packet, IPV4_HEADER_SIZE + 8, &v);
		assert_true(divert_inbound(&d, error, &v));
		assert_int_equal(get16(error + v.transport_offset + 8 + IPV4_HEADER_SIZE),
				 client == CLIENT ? HIGH : SERVED);
	}
	/* Another change of the list keeps that; the end of the retirement forgets it. */
	diverts_set(&d, served.list, served.count);
	assert_false(to_retired(&d, CLIENT + 1, ACK));
	diverts_set(&d, served.list + 1, 1);
	assert_int_equal(d.begun_count, 0);
	assert_false(to_retired(&d, CLIENT, ACK));
}

static void test_too_many_new_connections_end_a_retirement(void **state)
{
	static struct diverts d;

	(void)state;
	d = table();
	d.list[0].retired = true;
	for (unsigned int i = 0; i < DIVERT_BEGUN_MAX; i++)
		assert_false(to_retired(&d, (uint16_t)(CLIENT + 1 + i), SYN));
	assert_true(to_retired(&d, CLIENT, ACK));
	assert_false(to_retired(&d, 60000, SYN));
	assert_false(to_retired(&d, CLIENT, ACK));
	assert_false(to_retired(&d, 60000, ACK));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_retired_port_has_only_its_old_connections),
		cmocka_unit_test(test_too_many_new_connections_end_a_retirement),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_what_stays),
		cmocka_unit_test(test_a_partial_checksum_covers_no_port),
		cmocka_unit_test(test_an_error_that_quotes_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
