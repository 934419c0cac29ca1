/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/ip_checksum.c - Internet checksums: from scratch (RFC 1071), mended (RFC 1624), partial */
#include "base/cursor.h"
#include "wire/ip.h"

static uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

uint32_t ip_sum(const void *bytes, size_t length, uint32_t sum)
{
	const uint8_t *p = bytes;
	uint64_t wide = sum;

	for (; length > 1; p += 2, length -= 2)
		wide += get_be16(p);
	if (length)
		wide += (uint32_t)p[0] << 8;
	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): @sum is defined */
	while (wide >> 32)
		wide = (wide & 0xffffffff) + (wide >> 32);
	return (uint32_t)wide;
}

uint16_t ip_sum_finish(uint32_t sum)
{
	return (uint16_t)~fold(sum);
}

uint32_t ip_pseudo_sum(const struct address *source, const struct address *destination,
		       uint8_t protocol, uint32_t length)
{
	uint32_t sum = ip_sum(source->bytes, address_length(source), 0);

	sum = ip_sum(destination->bytes, address_length(destination), sum);
	return sum + protocol + (length >> 16) + (length & 0xffff);
}

/* difference() - What replacing @old by @new adds to a sum: ~m + m' over all words, folded */
static uint16_t difference(const uint8_t *old, const uint8_t *new, size_t length)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i += 2)
		sum += (uint32_t)(uint16_t)~get_be16(old + i) + get_be16(new + i);
	return fold(sum);
}

void ip_checksum_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			 size_t length)
{
	uint32_t sum = (uint16_t)~get_be16(field);

	put_be16(field, ip_sum_finish(sum + difference(old, new, length)));
}

void ip_udp_checksum_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			     size_t length)
{
	if (get_be16(field) == 0)
		return;
	ip_checksum_replace(field, old, new, length);
	if (get_be16(field) == 0)
		put_be16(field, 0xffff);
}

void ip_partial_replace(uint8_t field[static 2], const uint8_t *old, const uint8_t *new,
			size_t length)
{
	put_be16(field, fold((uint32_t)get_be16(field) + difference(old, new, length)));
}
