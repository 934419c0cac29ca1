/* SPDX-License-Identifier: BSD-3-Clause */
/* base/address.c - IP addresses, prefixes and endpoints */
#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped_v4[12] = {[10] = 0xff, [11] = 0xff};

struct address address_v4(const uint8_t bytes[static 4])
{
	struct address a = {.family = ADDRESS_V4};

	memcpy(a.bytes, bytes, 4);
	return a;
}

struct address address_v6(const uint8_t bytes[static 16])
{
	struct address a = {.family = ADDRESS_V6};

	if (memcmp(bytes, mapped_v4, sizeof(mapped_v4)) == 0)
		return address_v4(bytes + 12);
	memcpy(a.bytes, bytes, 16);
	return a;
}

int address_parse(const char *text, size_t length, struct address *ret)
{
	char copy[ADDRESS_TEXT_MAX];
	uint8_t bytes[16];

	if (length == 0 || length >= sizeof(copy) || memchr(text, 0, length))
		return -EINVAL;
	memcpy(copy, text, length);
	copy[length] = 0;
	if (inet_pton(AF_INET, copy, bytes) == 1)
		*ret = address_v4(bytes);
	else if (inet_pton(AF_INET6, copy, bytes) == 1)
		*ret = address_v6(bytes);
	else
		return -EINVAL;
	return 0;
}

/* parse_decimal() - Digits only, no sign, no leading zero, at most @max; -EINVAL otherwise */
static int parse_decimal(const char *text, size_t length, uint32_t max)
{
	uint32_t value = 0;

	if (length == 0 || length > 5 || (length > 1 && text[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (uint32_t)(text[i] - '0');
	}
	return value <= max ? (int)value : -EINVAL;
}

int prefix_parse(const char *text, size_t length, struct prefix *ret)
{
	const char *slash = memchr(text, '/', length);
	struct prefix p;
	int bits;

	if (address_parse(text, slash ? (size_t)(slash - text) : length, &p.address) < 0)
		return -EINVAL;
	p.bits = address_bits(&p.address);
	if (slash) {
		bits = parse_decimal(slash + 1, (size_t)(text + length - slash - 1), p.bits);
		if (bits < 0)
			return -EINVAL;
		p.bits = (uint8_t)bits;
	}
	*ret = p;
	return 0;
}

int endpoint_parse(const char *text, size_t length, struct endpoint *ret)
{
	const char *colon = memrchr(text, ':', length);
	struct endpoint e;
	size_t host;
	int port;

	if (!colon)
		return -EINVAL;
	port = parse_decimal(colon + 1, (size_t)(text + length - colon - 1), UINT16_MAX);
	if (port < 0)
		return -EINVAL;
	host = (size_t)(colon - text);
	if (host > 2 && text[0] == '[' && text[host - 1] == ']') {
		if (address_parse(text + 1, host - 2, &e.address) < 0)
			return -EINVAL;
	} else if (memchr(text, ':', host) || address_parse(text, host, &e.address) < 0) {
		return -EINVAL;
	}
	e.port = (uint16_t)port;
	*ret = e;
	return 0;
}

const char *address_format(const struct address *a, char out[static ADDRESS_TEXT_MAX])
{
	if (a->family == ADDRESS_NONE)
		strcpy(out, "none");
	else
		inet_ntop(a->family == ADDRESS_V4 ? AF_INET : AF_INET6, a->bytes, out,
			  ADDRESS_TEXT_MAX);
	return out;
}

const char *prefix_format(const struct prefix *p, char out[static PREFIX_TEXT_MAX])
{
	char text[ADDRESS_TEXT_MAX];

	snprintf(out, PREFIX_TEXT_MAX, "%s/%u", address_format(&p->address, text), p->bits);
	return out;
}

const char *endpoint_format(const struct endpoint *e, char out[static ENDPOINT_TEXT_MAX])
{
	char text[ADDRESS_TEXT_MAX];

	snprintf(out, ENDPOINT_TEXT_MAX, e->address.family == ADDRESS_V6 ? "[%s]:%u" : "%s:%u",
		 address_format(&e->address, text), e->port);
	return out;
}

bool address_equal(const struct address *a, const struct address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, address_length(a)) == 0;
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return a->bits == b->bits && address_equal(&a->address, &b->address);
}

int prefix_compare(const void *left, const void *right)
{
	const struct prefix *a = left, *b = right;
	int order = a->address.family - b->address.family;

	if (order == 0)
		order = memcmp(a->address.bytes, b->address.bytes, sizeof(a->address.bytes));
	return order != 0 ? order : a->bits - b->bits;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && address_equal(&a->address, &b->address);
}

bool prefix_contains(const struct prefix *p, const struct address *a)
{
	unsigned int whole = p->bits / 8, rest = p->bits % 8;

	if (p->address.family != a->family || p->address.family == ADDRESS_NONE)
		return false;
	if (memcmp(p->address.bytes, a->bytes, whole) != 0)
		return false;
	return rest == 0 || (p->address.bytes[whole] ^ a->bytes[whole]) >> (8 - rest) == 0;
}

struct prefix prefix_mask(const struct prefix *p)
{
	struct prefix masked = *p;
	unsigned int whole = p->bits / 8, rest = p->bits % 8;

	if (whole < sizeof(masked.address.bytes)) {
		uint8_t keep = (uint8_t)(0xff00u >> rest);

		masked.address.bytes[whole] &= keep;
		memset(masked.address.bytes + whole + 1, 0,
		       sizeof(masked.address.bytes) - whole - 1);
	}
	return masked;
}

bool prefix_covers(const struct prefix *outer, const struct prefix *inner)
{
	return outer->bits <= inner->bits && prefix_contains(outer, &inner->address);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	return prefix_covers(a, b) || prefix_covers(b, a);
}

int prefix_set_parse(const char *text, struct prefix_set *ret)
{
	struct prefix_set set = {0};

	while (text && *text) {
		size_t length = strcspn(text, ",");

		if (set.count == PREFIX_SET_MAX)
			return -E2BIG;
		if (prefix_parse(text, length, &set.list[set.count]) < 0)
			return -EINVAL;
		set.list[set.count] = prefix_mask(&set.list[set.count]);
		set.count++;
		text += length;
		if (*text && !*++text)
			return -EINVAL;
	}
	*ret = set;
	return 0;
}

bool prefix_set_holds(const struct prefix_set *set, const struct prefix *p)
{
	for (size_t i = 0; i < set->count; i++)
		if (prefix_covers(&set->list[i], p))
			return true;
	return false;
}

/* in_bytes() - Whether @a lies in the prefix given as leading bytes and bits */
static bool in_bytes(const struct address *a, uint8_t family, const uint8_t *bytes, size_t length,
		     uint8_t bits)
{
	struct prefix p = {.address = {.family = family}, .bits = bits};

	memcpy(p.address.bytes, bytes, length);
	return prefix_contains(&p, a);
}

#define IN_V4(a, bits, ...)                                     \
	in_bytes(a, ADDRESS_V4, (const uint8_t[]){__VA_ARGS__}, \
		 sizeof((const uint8_t[]){__VA_ARGS__}), bits)
#define IN_V6(a, bits, ...)                                     \
	in_bytes(a, ADDRESS_V6, (const uint8_t[]){__VA_ARGS__}, \
		 sizeof((const uint8_t[]){__VA_ARGS__}), bits)

bool address_is_loopback(const struct address *a)
{
	static const struct address one = {.family = ADDRESS_V6, .bytes = {[15] = 1}};

	return IN_V4(a, 8, 127) || address_equal(a, &one);
}

bool address_is_link_local(const struct address *a)
{
	return IN_V4(a, 16, 169, 254) || IN_V6(a, 10, 0xfe, 0x80);
}

bool address_is_multicast(const struct address *a)
{
	return IN_V4(a, 4, 224) || IN_V6(a, 8, 0xff);
}

bool address_is_private(const struct address *a)
{
	return IN_V4(a, 8, 10) || IN_V4(a, 12, 172, 16) || IN_V4(a, 16, 192, 168) ||
	       IN_V6(a, 7, 0xfc);
}

bool address_is_unspecified(const struct address *a)
{
	static const uint8_t zero[16];

	return a->family != ADDRESS_NONE && memcmp(a->bytes, zero, address_length(a)) == 0;
}

bool address_is_tailnet(const struct address *a)
{
	if (IN_V4(a, 23, 100, 115, 92)) /* ChromeOS virtual machines */
		return false;
	return IN_V4(a, 10, 100, 64) || IN_V6(a, 48, 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0);
}

struct prefix_set tailnet_ranges(const struct prefix_set *named)
{
	struct prefix_set all = {
		.list = {{{ADDRESS_V4, {100, 64}}, 10},
			 {{ADDRESS_V6, {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0}}, 48}},
		.count = 2,
	};

	for (size_t i = 0; i < named->count; i++)
		all.list[all.count++] = named->list[i];
	return all;
}

bool prefix_is_tailnet_host(const struct prefix *p, const struct prefix_set *named)
{
	const struct address *a = &p->address;

	if (p->bits == 0 || p->bits != address_bits(a) ||
	    IN_V6(a, 64, 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 0x0b, 0x1a))
		return false;
	return address_is_tailnet(a) || prefix_set_holds(named, p);
}

socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (e->address.family == ADDRESS_V4) {
		struct sockaddr_in *in = (struct sockaddr_in *)(void *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->address.bytes, 4);
		return sizeof(*in);
	}
	if (e->address.family == ADDRESS_V6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ret;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(e->port);
		memcpy(&in6->sin6_addr, e->address.bytes, 16);
		return sizeof(*in6);
	}
	return 0;
}

int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *ret)
{
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		ret->address = address_v4((const uint8_t *)&in->sin_addr);
		ret->port = ntohs(in->sin_port);
		return 0;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		ret->address = address_v6((const uint8_t *)&in6->sin6_addr);
		ret->port = ntohs(in6->sin6_port);
		return 0;
	}
	return -EAFNOSUPPORT;
}
