/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench/micro/micro.c - one step of the packet path, many times
 *
 *	micro --list
 *	micro NAME COUNT		prints the nanoseconds of each
 *
 * bench/micro.py runs it, by the clock and under callgrind. A name that begins with "aead" has
 * an engine and a length: aead-seal/openssl/1280. The inputs are fixed, so the instructions of a step
 * are too.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "filter/filter.h"
#include "filter/flows.h"
#include "tunnel/aead/aead.h"
#include "tunnel/packet/offload.h"
#include "tunnel/wireguard/allowed_ips.h"
#include "tunnel/wireguard/wg_keypair.h"
#include "wire/ip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PACKET  1280u
#define LONGEST 8900u
#define BATCH   32u
#define PEERS   1000u

static uint8_t packets[BATCH][LONGEST + 64];
static uint8_t sealed[BATCH][LONGEST];
static uint8_t tags[BATCH][AEAD_TAG_SIZE];

/* so that no result is left out by the compiler */
static volatile unsigned long sink;

__attribute__((noreturn)) static void fail(const char *text)
{
	fprintf(stderr, "micro: %s\n", text);
	exit(EXIT_FAILURE);
}

/* put_jobs() - A batch of packets of @length */
static void put_jobs(struct aead_job jobs[static BATCH], const struct aead_key *key, size_t length)
{
	for (size_t i = 0; i < BATCH; i++)
		jobs[i] = (struct aead_job){
			.key = key,
			.counter = i,
			.bytes = packets[i] + 16,
			.length = length,
			.tag = tags[i],
		};
}

/* open_again() - Open what was sealed; opening destroys it, so a copy of it comes first */
static void open_again(struct aead_worker *worker, struct aead_job jobs[static BATCH])
{
	for (size_t i = 0; i < BATCH; i++)
		memcpy(jobs[i].bytes, sealed[i], jobs[i].length);
	aead_open_batch(worker, jobs, BATCH);
	for (size_t i = 0; i < BATCH; i++)
		if (jobs[i].result < 0)
			fail("a packet did not open");
}

/* aead() - @what: "seal/openssl/1280"; packets in batches, as the packet path has them */
static void aead(const char *what, unsigned long count)
{
	char engine[16], direction[8];
	struct aead_job jobs[BATCH];
	struct aead_key key = {.secret = {{1}}};
	struct error err = {0};
	const struct aead_engine *found;
	struct aead_worker *worker;
	size_t length;

	if (sscanf(what, "%7[a-z]/%15[a-z-]/%zu", direction, engine, &length) != 3 ||
	    length > LONGEST)
		fail("not a name of --list");
	aead_library_open(engine);
	found = aead_engine_find(engine);
	worker = found ? found->worker_new(&err) : NULL;
	if (!worker)
		fail(found ? err.text : "no such engine");
	aead_key_number(&key);
	put_jobs(jobs, &key, length);
	aead_seal_batch(worker, jobs, BATCH);
	for (size_t i = 0; i < BATCH; i++)
		memcpy(sealed[i], jobs[i].bytes, length);
	for (unsigned long i = 0; i < count; i += BATCH)
		if (strcmp(direction, "seal") == 0)
			aead_seal_batch(worker, jobs, BATCH);
		else
			open_again(worker, jobs);
	aead_key_end(worker, &key);
	aead_worker_free(worker);
}

/* put_packet() - A UDP packet over IPv4 from 100.64.0.2 to 100.64.0.1, @length bytes */
static void put_packet(uint8_t *to, size_t length)
{
	const uint8_t from_2[] = {100, 64, 0, 2}, to_1[] = {100, 64, 0, 1};

	memset(to, 0, length);
	to[0] = 0x45;
	to[2] = (uint8_t)(length >> 8);
	to[3] = (uint8_t)length;
	to[8] = 64;
	to[9] = IP_PROTOCOL_UDP;
	memcpy(to + 12, from_2, sizeof(from_2));
	memcpy(to + 16, to_1, sizeof(to_1));
	to[20] = 0x10; /* source port 4096 */
	to[23] = 53;
	to[24] = (uint8_t)((length - 20) >> 8);
	to[25] = (uint8_t)(length - 20);
}

static void parse(const char *what, unsigned long count)
{
	struct ip_view view;

	(void)what;
	put_packet(packets[0], PACKET);
	for (unsigned long i = 0; i < count; i++) {
		if (ip_parse(packets[0], PACKET, &view) < 0)
			fail("the packet is wrong");
		sink += view.length;
	}
}

static void checksum(const char *what, unsigned long count)
{
	size_t length = strtoul(what, NULL, 10);

	if (length > LONGEST)
		fail("not a name of --list");
	for (unsigned long i = 0; i < count; i++)
		sink += ip_sum_finish(ip_sum(packets[0] + 20, length, 0));
}

/* allowed() - The owner of an address among PEERS with two prefixes each */
static void allowed(const char *what, unsigned long count)
{
	static struct allowed_ips_owner owners[PEERS];
	struct allowed_ips ips = {0};
	struct address at;

	(void)what;
	for (unsigned int i = 0; i < PEERS; i++) {
		uint8_t v4[4] = {100, 64, (uint8_t)(i >> 8), (uint8_t)i};
		uint8_t v6[16] = {0xfd, 0x7a, 0x11, 0x5c, [14] = (uint8_t)(i >> 8), (uint8_t)i};

		if (allowed_ips_insert(&ips,
				       &(struct prefix){.address = address_v4(v4), .bits = 32},
				       &owners[i]) < 0 ||
		    allowed_ips_insert(&ips,
				       &(struct prefix){.address = address_v6(v6), .bits = 128},
				       &owners[i]) < 0)
			fail("out of memory");
	}
	for (unsigned long i = 0; i < count; i++) {
		unsigned long peer = i * 7919 % PEERS;

		at = address_v4((uint8_t[]){100, 64, (uint8_t)(peer >> 8), (uint8_t)peer});
		if (allowed_ips_lookup(&ips, &at) != &owners[peer])
			fail("the wrong owner");
	}
	for (unsigned int i = 0; i < PEERS; i++)
		allowed_ips_remove_owner(&ips, &owners[i]);
}

/* filter() - "rule": the last of 20 rules lets the packet in; "flow": an answer; "out": its question */
static void filter(const char *what, unsigned long count)
{
	struct tailcfg_net sources[20];
	struct tailcfg_net_ports destinations[20];
	struct tailcfg_filter_rule rules[20] = {0};
	const struct tailcfg_filter list = {rules, 20}, *lists[] = {&list};
	const struct prefix own = {.address = address_v4((uint8_t[]){100, 64, 0, 1}), .bits = 32};
	const struct filter_config config = {
		.lists = lists,
		.list_count = strcmp(what, "rule") == 0,
		.addresses = {&own, 1},
	};
	struct filter_flows *flows = filter_flows_create(1);
	const struct filter_peer peer = {0};
	struct ip_view in, out;
	struct filter *f;

	for (unsigned int i = 0; i < 20; i++) {
		uint8_t last = (uint8_t)(i == 19 ? 2 : 100 + i);

		sources[i] = (struct tailcfg_net){
			.kind = TAILCFG_NET_PREFIX,
			.prefix = {.address = address_v4((uint8_t[]){100, 64, 0, last}),
				   .bits = 32}};
		destinations[i] = (struct tailcfg_net_ports){
			.net = {.kind = TAILCFG_NET_PREFIX, .prefix = own}, .last_port = 65535};
		rules[i] = (struct tailcfg_filter_rule){.sources = &sources[i],
							.source_count = 1,
							.destinations = &destinations[i],
							.destination_count = 1,
							.default_protocols = true};
	}
	put_packet(packets[0], PACKET);
	if (!flows || filter_compile(&config, &f) < 0 || ip_parse(packets[0], PACKET, &in) < 0)
		fail("out of memory");
	out = in;
	out.source = in.destination;
	out.destination = in.source;
	out.source_port = in.destination_port;
	out.destination_port = in.source_port;
	if (strcmp(what, "rule") != 0)
		(void)filter_outbound(flows, &out);
	for (unsigned long i = 0; i < count; i++) {
		enum filter_verdict verdict = strcmp(what, "out") == 0
						      ? filter_outbound(flows, &out)
						      : filter_inbound(f, flows, &in, &peer);

		if (!filter_accepts(verdict))
			fail(filter_verdict_label(verdict));
	}
	filter_free(f);
	filter_flows_free(flows);
}

static void replay(const char *what, unsigned long count)
{
	struct replay_window window = {0};

	(void)what;
	for (unsigned long i = 0; i < count; i++)
		if (!replay_accept(&window, i ^ 3)) /* a little out of order */
			fail("a counter was refused");
}

/* put_super() - A TCP packet of the kernel that becomes BATCH segments of PACKET bytes */
static struct virtio_net_hdr put_super(uint8_t *to, struct ip_view *view)
{
	const size_t header = IPV4_HEADER_SIZE + IP_TCP_HEADER_SIZE;
	const size_t length = header + BATCH * (PACKET - header);

	put_packet(to, length);
	to[9] = IP_PROTOCOL_TCP;
	to[32] = 0x50;
	to[33] = IP_TCP_ACK;
	if (ip_parse(to, length, view) < 0)
		fail("the packet is wrong");
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = (uint16_t)header,
		.gso_size = (uint16_t)(PACKET - header),
		.csum_start = IPV4_HEADER_SIZE,
		.csum_offset = 16,
	};
}

static void written(void *ctx, const struct virtio_net_hdr *header, const struct iovec *parts,
		    size_t count)
{
	(void)ctx;
	(void)parts;
	if (header->gso_type != VIRTIO_NET_HDR_GSO_TCPV4 || count != BATCH)
		fail("the segments were not joined");
	sink += count;
}

/* segments() - Of a super-packet: "split" makes them, "coalesce" makes them one again */
static void segments(const char *what, unsigned long count)
{
	static uint8_t super[65536];
	static struct coalescer in = {.write = written, .tcp = true};
	struct ip_view view, views[BATCH];
	const struct virtio_net_hdr header = put_super(super, &view);
	bool splits = strcmp(what, "split") == 0;
	struct split split;

	for (unsigned long i = 0; i < count; i += BATCH) {
		if (i == 0 || splits) {
			if (split_begin(&split, &header, super, &view) < 0)
				fail("the header is wrong");
			for (size_t n = 0; split_length(&split); n++)
				split_next(&split, packets[n]);
		}
		if (splits)
			continue;
		for (size_t n = 0; i == 0 && n < BATCH; n++)
			if (ip_parse(packets[n], PACKET, &views[n]) < 0)
				fail("a segment is wrong");
		/* The headers of the first become those of all. */
		memcpy(sealed[0], packets[0], PACKET);
		coalesce_add(&in, sealed[0], &views[0]);
		for (size_t n = 1; n < BATCH; n++)
			coalesce_add(&in, packets[n], &views[n]);
		coalesce_flush(&in);
	}
}

static const struct step {
	const char *name; /* up to the first '-' or the whole */
	void (*run)(const char *what, unsigned long count);
	const char *const *kinds;
} steps[] = {
	{"aead", aead,
	 (const char *const[]){"seal/ipsec-mb/64", "seal/ipsec-mb/576", "seal/ipsec-mb/1280",
			       "seal/ipsec-mb/1420", "seal/ipsec-mb/8900", "open/ipsec-mb/1280",
			       "seal/openssl/64", "seal/openssl/576", "seal/openssl/1280",
			       "seal/openssl/1420", "seal/openssl/8900", "open/openssl/1280",
			       "seal/libsodium/64", "seal/libsodium/576", "seal/libsodium/1280",
			       "seal/libsodium/1420", "seal/libsodium/8900", "open/libsodium/1280",
			       NULL}},
	{"parse", parse, (const char *const[]){"udp", NULL}},
	{"checksum", checksum, (const char *const[]){"64", "1280", NULL}},
	{"lookup", allowed, (const char *const[]){"1000", NULL}},
	{"filter", filter, (const char *const[]){"rule", "flow", "out", NULL}},
	{"segments", segments, (const char *const[]){"split", "coalesce", NULL}},
	{"replay", replay, (const char *const[]){"window", NULL}},
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
			for (const char *const *kind = steps[i].kinds; *kind; kind++)
				printf("%s-%s\n", steps[i].name, *kind);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; argc == 3 && i < ARRAY_SIZE(steps); i++) {
		size_t length = strlen(steps[i].name);
		unsigned long count = strtoul(argv[2], NULL, 10);
		nanoseconds begin;

		if (strncmp(argv[1], steps[i].name, length) != 0 || argv[1][length] != '-' ||
		    !count)
			continue;
		begin = clock_boottime();
		steps[i].run(argv[1] + length + 1, count);
		printf("%.1f\n", (double)(clock_boottime() - begin) / (double)count);
		return EXIT_SUCCESS;
	}
	fputs("usage: micro --list | micro NAME COUNT\n", stderr);
	return 2;
}
