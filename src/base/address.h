/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/address.h - IP addresses, prefixes and endpoints
 *
 * An address is its family and its network-order bytes (4 or 16, the rest zero),
 * so two equal addresses are equal by memcmp. IPv4-mapped IPv6 is always stored
 * as IPv4.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum address_family {
	ADDRESS_NONE = 0,
	ADDRESS_V4 = 4,
	ADDRESS_V6 = 6,
};

struct address {
	uint8_t family; /* enum address_family */
	uint8_t bytes[16];
};

struct prefix {
	struct address address;
	uint8_t bits; /* 0-32 or 0-128 */
};

struct endpoint {
	struct address address;
	uint16_t port; /* host order */
};

#define ADDRESS_TEXT_MAX  46
#define PREFIX_TEXT_MAX   50
#define ENDPOINT_TEXT_MAX 56

/** address_v4(), address_v6() - From network-order bytes; a mapped IPv6 becomes IPv4 */
struct address address_v4(const uint8_t bytes[static 4]);
struct address address_v6(const uint8_t bytes[static 16]);

/** address_parse() - "100.64.0.1" or "fd7a::1", no zone; 0 or -EINVAL. @length bytes of @text */
int address_parse(const char *text, size_t length, struct address *ret);

/** prefix_parse() - "10.0.0.0/8"; a bare address is a host prefix. Host bits are kept */
int prefix_parse(const char *text, size_t length, struct prefix *ret);

/** endpoint_parse() - "1.2.3.4:5" or "[::1]:5" */
int endpoint_parse(const char *text, size_t length, struct endpoint *ret);

const char *address_format(const struct address *a, char out[static ADDRESS_TEXT_MAX]);
const char *prefix_format(const struct prefix *p, char out[static PREFIX_TEXT_MAX]);
const char *endpoint_format(const struct endpoint *e, char out[static ENDPOINT_TEXT_MAX]);

bool address_equal(const struct address *a, const struct address *b);
bool prefix_equal(const struct prefix *a, const struct prefix *b);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

/** prefix_compare() - The order by family, address, length, for qsort() and tsearch() */
int prefix_compare(const void *left, const void *right);

/** address_length() - Bytes in use: 4, 16, or 0 */
static inline size_t address_length(const struct address *a)
{
	return a->family == ADDRESS_V4 ? 4 : a->family == ADDRESS_V6 ? 16 : 0;
}

/** address_bits() - 32 or 128 */
static inline uint8_t address_bits(const struct address *a)
{
	return (uint8_t)(address_length(a) * 8);
}

/** prefix_of() - The host prefix of an address */
static inline struct prefix prefix_of(const struct address *a)
{
	return (struct prefix){.address = *a, .bits = address_bits(a)};
}

/** prefix_contains() - Whether @a (of the same family) lies in @p */
bool prefix_contains(const struct prefix *p, const struct address *a);

/** prefix_mask() - @p with its host bits cleared */
struct prefix prefix_mask(const struct prefix *p);

#define PREFIX_SET_MAX  16
#define PREFIX_SET_MORE 8 /* room beside what a person names, for what is always there */

/** struct prefix_set - A few prefixes, as a person names them; all zeros is the empty set */
struct prefix_set {
	struct prefix list[PREFIX_SET_MAX + PREFIX_SET_MORE];
	size_t count;
};

/**
 * prefix_set_parse() - "10.0.0.0/8,fd00::/8"; NULL and "" are the empty set, host bits are cleared
 *
 * Return: 0; -EINVAL; -E2BIG for more than PREFIX_SET_MAX
 */
int prefix_set_parse(const char *text, struct prefix_set *ret);

/** prefix_set_holds() - Whether one of @set holds the whole of @p */
bool prefix_set_holds(const struct prefix_set *set, const struct prefix *p);

/** prefix_covers() - Whether @outer holds the whole of @inner */
bool prefix_covers(const struct prefix *outer, const struct prefix *inner);

/** prefix_overlaps() - Whether @a and @b share an address */
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);

/** address_is_loopback(), …_link_local(), …_multicast(), …_private(), …_unspecified() - RFC 6890 */
bool address_is_loopback(const struct address *a);
bool address_is_link_local(const struct address *a);
bool address_is_multicast(const struct address *a);
bool address_is_private(const struct address *a);
bool address_is_unspecified(const struct address *a);

/** address_is_tailnet() - In 100.64.0.0/10 (without 100.115.92.0/23) or fd7a:115c:a1e0::/48 */
bool address_is_tailnet(const struct address *a);

/** tailnet_ranges() - 100.64.0.0/10, fd7a:115c:a1e0::/48, and what @named adds (--tailnet-prefix)
 */
struct prefix_set tailnet_ranges(const struct prefix_set *named);

/**
 * prefix_is_tailnet_host() - Whether @p is one address that a node may have: in the tailnet's
 * ranges or in @named
 *
 * An address in fd7a:115c:a1e0:b1a::/64 is none: it leads to an IPv4 network behind a router.
 */
bool prefix_is_tailnet_host(const struct prefix *p, const struct prefix_set *named);

/** endpoint_to_sockaddr() - Fill @ret; returns the length of the address, 0 for ADDRESS_NONE */
socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ret);

/** endpoint_from_sockaddr() - 0, or -EAFNOSUPPORT */
int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *ret);
