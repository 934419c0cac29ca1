/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/packet/test_offload.c - coalesce and split undo each other
 *
 * Random packets of several flows, many of them the next segment of their flow and some changed in
 * one byte, go through the coalescer. What it writes is split again. The result of each flow must be
 * what went in, byte by byte, sums included: that is the whole model.
 */
#include "base/array.h"
#include "base/cleanup.h"
#include "base/cursor.h"
#include "tunnel/packet/offload.h"
#include "unit/unit.h"
#include "unit/wire/checksums.h"

#define FLOWS      6u
#define PACKETS    48u
#define PACKET_MAX 2048u
#define ROUNDS     4000u
#define TCP        IP_PROTOCOL_TCP
#define UDP        IP_PROTOCOL_UDP

static uint64_t seed = 1;

static uint32_t any(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

struct flow {
	uint8_t version, protocol, options;
	uint16_t port, id, segment;
	uint32_t sequence;
	bool fragmentable;
};

struct packet {
	uint8_t bytes[PACKET_MAX];
	size_t length;
};

struct world {
	struct coalescer in;
	struct packet expected[FLOWS][PACKETS];
	size_t sent[FLOWS], got[FLOWS];
	size_t writes, merged;
};

static void finish_sums(uint8_t *packet)
{
	struct ip_view v;
	uint8_t *field;

	assert_int_equal(ip_parse(packet, IP_PACKET_MAX, &v), 0);
	field = packet + v.transport_offset + (v.protocol == TCP ? 16 : 6);
	if (v.version == 4) {
		put_be16(packet + 10, 0);
		put_be16(packet + 10, ip_sum_finish(ip_sum(packet, v.transport_offset, 0)));
	}
	put_be16(field, 0);
	put_be16(field,
		 ip_sum_finish(ip_sum(packet + v.transport_offset, v.length - v.transport_offset,
				      ip_pseudo_sum(&v.source, &v.destination, v.protocol,
						    v.length - v.transport_offset))));
	if (v.protocol == UDP && be16_at(field) == 0)
		put_be16(field, 0xffff);
}

/* make() - The next packet of @f with @payload bytes */
static size_t make(struct flow *f, uint8_t *out, size_t payload, uint8_t flags)
{
	size_t network = f->version == 4 ? 20 : 40;
	size_t transport = f->protocol == TCP ? 20u + f->options : 8;
	size_t length = network + transport + payload;
	uint8_t *t = out + network;

	memset(out, 0, network + transport);
	if (f->version == 4) {
		out[0] = 0x45;
		put_be16(out + 2, (uint16_t)length);
		put_be16(out + 4, f->id++);
		out[6] = f->fragmentable ? 0 : 0x40;
		out[8] = 64;
		out[9] = f->protocol;
		memcpy(out + 12, (uint8_t[]){100, 64, 0, 1, 100, 64, 0, 2}, 8);
	} else {
		out[0] = 0x60;
		put_be16(out + 4, (uint16_t)(length - 40));
		out[6] = f->protocol;
		out[7] = 64;
		out[8] = out[24] = 0xfd;
		out[39] = 1;
	}
	put_be16(t, f->port);
	put_be16(t + 2, 80);
	if (f->protocol == TCP) {
		put_be32(t + 4, f->sequence);
		f->sequence += (uint32_t)payload;
		put_be32(t + 8, 77);
		t[12] = (uint8_t)(transport / 4 << 4);
		t[13] = flags;
		put_be16(t + 14, 500);
		memset(t + 20, 1, f->options);
	} else {
		put_be16(t + 4, (uint16_t)(8 + payload));
	}
	for (size_t i = 0; i < payload; i++)
		out[network + transport + i] = (uint8_t)any(256);
	finish_sums(out);
	return length;
}

/* without_id() - An identification of unfragmentable packets means nothing */
static void without_id(uint8_t *packet)
{
	if (packet[0] >> 4 != 4 || !(packet[6] & 0x40))
		return;
	put_be16(packet + 4, 0);
	put_be16(packet + 10, 0);
	put_be16(packet + 10, ip_sum_finish(ip_sum(packet, (size_t)(packet[0] & 15) * 4, 0)));
}

static void take(struct world *w, uint8_t *packet, size_t length)
{
	size_t flow = be16_at(packet + (packet[0] >> 4 == 4 ? 20 : 40)) - 1000u;
	struct packet *expected;
	uint8_t copy[PACKET_MAX];

	assert_true(flow < FLOWS && w->got[flow] < w->sent[flow]);
	expected = &w->expected[flow][w->got[flow]++];
	assert_int_equal(length, expected->length);
	if (memcmp(packet, expected->bytes, length) == 0)
		return;
	/* Only a sum that was right before can have changed, by the identification. */
	memcpy(copy, expected->bytes, length);
	without_id(copy);
	without_id(packet);
	assert_memory_equal(packet, copy, length);
}

static void on_write(void *ctx, const struct virtio_net_hdr *header, const struct iovec *parts,
		     size_t count)
{
	static uint8_t whole[IP_PACKET_MAX + 1];
	struct world *w = ctx;
	uint8_t segment[PACKET_MAX];
	struct split split;
	struct ip_view view;
	size_t length = 0, at;

	for (size_t i = 0; i < count; i++) {
		assert_true(length + parts[i].iov_len <= IP_PACKET_MAX);
		memcpy(whole + length, parts[i].iov_base, parts[i].iov_len);
		length += parts[i].iov_len;
	}
	w->writes++;
	w->merged += count - 1;
	assert_int_equal(ip_parse(whole, length, &view), 0);
	assert_int_equal(view.length, length);
	assert_int_equal(split_begin(&split, header, whole, &view), 0);
	assert_int_equal(split_count(&split), count);
	for (at = 0; (length = split_length(&split)) != 0; at++) {
		split_next(&split, segment);
		take(w, segment, length);
	}
	assert_int_equal(at, count);
}

/* spoil() - Change one byte that matters, perhaps with right sums */
static void spoil(uint8_t *packet, size_t length, size_t network)
{
	static const uint8_t v4[] = {1, 4, 5, 8}, v6[] = {1, 2, 3, 7};
	size_t at;

	switch (any(4)) {
	case 0: /* payload or a sum, not repaired */
		at = any(2) ? network + 16 : length - 1;
		packet[at < length ? at : length - 1] ^= (uint8_t)(1 + any(255));
		return;
	case 1: /* ToS with ECN, identification, TTL; class, flow label, hop limit */
		at = network == 20 ? v4[any(4)] : v6[any(4)];
		packet[at] ^= (uint8_t)(1 + any(3));
		break;
	case 2: /* sequence, acknowledgement, window, urgent pointer, options; UDP: payload */
		at = network + 4 + any(20);
		if (packet[network == 20 ? 9 : 6] == UDP)
			at = length - 1;
		if (at == network + 12 || at == network + 13)
			at++;
		packet[at < length ? at : length - 1] ^= (uint8_t)(1 + any(255));
		break;
	default:
		if (network == 20) { /* the header's own sum */
			packet[10] ^= 1;
			return;
		}
	}
	finish_sums(packet);
}

static void random_round(struct world *w)
{
	static uint8_t memory[FLOWS * PACKETS][PACKET_MAX + 8];
	struct flow flows[FLOWS];
	size_t used = 0;

	memset(w->sent, 0, sizeof(w->sent));
	memset(w->got, 0, sizeof(w->got));
	for (uint16_t i = 0; i < FLOWS; i++)
		flows[i] = (struct flow){
			.version = any(2) ? 4 : 6,
			.protocol = any(3) ? TCP : UDP,
			.options = (uint8_t)(4 * any(11)),
			.port = (uint16_t)(1000 + i),
			.id = (uint16_t)any(65536),
			.segment = (uint16_t)(1 + any(any(2) ? 1300 : 20)),
			.sequence = UINT32_MAX - any(30000),
			.fragmentable = any(2),
		};
	for (size_t n = any(FLOWS * PACKETS); used < n; used++) {
		size_t i = any(any(2) ? FLOWS : 1);
		struct flow *f = &flows[i];
		uint8_t *at = memory[used] + any(8), flags = IP_TCP_ACK;
		size_t payload = any(20) ? f->segment : any(1301), length;
		struct ip_view view;

		if (w->sent[i] == PACKETS)
			break;
		if (!any(12))
			flags |= (uint8_t)(1u << any(8));
		length = make(f, at, payload, flags);
		if (!any(12))
			spoil(at, length, f->version == 4 ? 20 : 40);
		memcpy(w->expected[i][w->sent[i]].bytes, at, length);
		w->expected[i][w->sent[i]++].length = length;
		assert_int_equal(ip_parse(at, length, &view), 0);
		coalesce_add(&w->in, at, &view);
	}
	coalesce_flush(&w->in);
	for (size_t i = 0; i < FLOWS; i++)
		assert_int_equal(w->got[i], w->sent[i]);
}

static void test_identity(void **state)
{
	static struct world w;

	(void)state;
	w.in = (struct coalescer){.write = on_write, .ctx = &w, .tcp = true, .udp = true};
	for (unsigned int i = 0; i < ROUNDS; i++)
		random_round(&w);
	/* It is no use if nothing is merged. */
	assert_true(w.merged > w.writes);
	w.in.tcp = w.in.udp = false;
	w.merged = 0;
	random_round(&w);
	assert_int_equal(w.merged, 0);
}

static size_t one_write;

static void count_write(void *ctx, const struct virtio_net_hdr *header, const struct iovec *parts,
			size_t count)
{
	(void)ctx;
	(void)parts;
	assert_int_equal(header->gso_type != 0, count > 1);
	one_write += count;
}

/* test_super_packet() - What the kernel hands over comes back as one write */
static void test_super_packet(void **state)
{
	static uint8_t whole[IP_PACKET_MAX + 1], out[64][PACKET_MAX];

	(void)state;
	for (unsigned int i = 0; i < 200; i++) {
		struct coalescer c = {.write = count_write, .tcp = true, .udp = true};
		uint16_t segment = (uint16_t)(1 + any(1240));
		size_t count = 1 + any(50), payload = segment * (count - 1) + 1 + any(segment), n;
		struct flow f = {.version = i & 1 ? 4 : 6,
				 .protocol = i & 2 ? TCP : UDP,
				 .port = 1000,
				 .options = 12};
		struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						.gso_size = segment};
		size_t length = make(&f, whole, payload, IP_TCP_ACK | IP_TCP_PSH), sum = 0;
		struct ip_view view, part;
		struct split split;

		header.gso_type = f.protocol == UDP ? VIRTIO_NET_HDR_GSO_UDP_L4
				  : f.version == 4  ? VIRTIO_NET_HDR_GSO_TCPV4
						    : VIRTIO_NET_HDR_GSO_TCPV6;
		assert_int_equal(ip_parse(whole, length, &view), 0);
		assert_int_equal(split_begin(&split, &header, whole, &view), 0);
		assert_int_equal(split_count(&split), count);
		one_write = 0;
		for (n = 0; (length = split_length(&split)) != 0; n++) {
			split_next(&split, out[n]);
			assert_int_equal(ip_parse(out[n], length, &part), 0);
			assert_int_equal(part.length, length);
			assert_true(checksums_are_valid(out[n], &part));
			assert_memory_equal(out[n] + part.payload_offset,
					    whole + view.payload_offset + sum,
					    length - part.payload_offset);
			sum += length - part.payload_offset;
			if (f.protocol == TCP)
				assert_int_equal(!!(part.tcp_flags & IP_TCP_PSH), n == count - 1);
			coalesce_add(&c, out[n], &part);
			assert_int_equal(one_write, 0);
		}
		assert_int_equal(sum, payload);
		coalesce_flush(&c);
		assert_int_equal(one_write, count);
	}
}

/* test_lies() - Headers that do not fit the packet */
static void test_lies(void **state)
{
	struct flow tcp = {.version = 4, .protocol = TCP, .port = 1000};
	uint8_t packet[PACKET_MAX];
	size_t length = make(&tcp, packet, 100, IP_TCP_ACK);
	const struct virtio_net_hdr lies[] = {
		{.gso_type = VIRTIO_NET_HDR_GSO_TCPV4},
		{.gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 10},
		{.gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 10},
		{.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = 10},
		{.gso_type = 77, .gso_size = 10},
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM},
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 139, .csum_offset = 0},
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20, .csum_offset = 119},
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 65535, .csum_offset = 65535},
	};
	struct ip_view view;
	struct split split;

	(void)state;
	assert_int_equal(ip_parse(packet, length, &view), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++)
		assert_int_equal(split_begin(&split, &lies[i], packet, &view), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_super_packet),
		cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
