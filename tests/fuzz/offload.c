/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/offload.c - any virtio-net header on any packet: segments fit, and join again
 */
#include "tunnel/packet/offload.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t written;

static void on_write(void *ctx, const struct virtio_net_hdr *header, const struct iovec *parts,
		     size_t count)
{
	(void)ctx;
	REQUIRE((header->gso_type != 0) == (count > 1));
	for (size_t i = 0; i < count; i++)
		REQUIRE(parts[i].iov_len > 0);
	written += count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct coalescer c = {.write = on_write, .tcp = true, .udp = true};
	struct virtio_net_hdr header;
	uint8_t *out[COALESCE_SEGMENTS];
	struct ip_view view, part;
	struct split split;
	size_t length, n = 0, total = 0, joined = 0;

	if (size < sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	data += sizeof(header);
	size -= sizeof(header);
	if (ip_parse(data, size, &view) < 0 || split_begin(&split, &header, data, &view) < 0)
		return 0;
	total = split_count(&split);
	written = 0;
	while (n < COALESCE_SEGMENTS && (length = split_length(&split)) != 0) {
		out[n] = malloc(length);
		REQUIRE(out[n]);
		split_next(&split, out[n]);
		if (ip_parse(out[n], length, &part) == 0) {
			REQUIRE(part.length <= length);
			coalesce_add(&c, out[n], &part);
			joined++;
		}
		n++;
	}
	REQUIRE(n == total || n == COALESCE_SEGMENTS);
	coalesce_flush(&c);
	REQUIRE(written == joined);
	while (n)
		free(out[--n]);
	return 0;
}
