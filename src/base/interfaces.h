/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/interfaces.h - the addresses and default routes of a network namespace
 *
 * The netlink room fills them in, the supervisor hands them to the engine, and the engine, which
 * may not ask the kernel, uses them.
 */
#pragma once

#include "base/address.h"

#include <net/if.h>
#include <stdlib.h>

enum interface_flags {
	INTERFACE_UP = 1 << 0, /* administratively up, with a carrier */
	INTERFACE_LOOPBACK = 1 << 1,
	INTERFACE_POINT_TO_POINT = 1 << 2,
	INTERFACE_DEPRECATED = 1 << 3, /* address: not for new connections */
	INTERFACE_TEMPORARY = 1 << 4,  /* address: RFC 8981 */
	INTERFACE_TENTATIVE = 1 << 5,  /* address: duplicate detection not done, or failed */
};

/** struct interface_address - One address of one link */
struct interface_address {
	char name[IF_NAMESIZE];
	uint32_t index;
	uint32_t flags;       /* enum interface_flags, of link and address */
	struct prefix prefix; /* the address with the length of its on-link prefix */
};

/** struct default_route - Where packets of a marked socket to the internet go, in one family */
struct default_route {
	char name[IF_NAMESIZE]; /* empty for a link without an address */
	uint32_t index;
	struct address gateway; /* ADDRESS_NONE on a link without one */
	uint8_t family;         /* enum address_family */
};

#define INTERFACES_ROUTES_MAX 2u /* one a family */

/** struct interfaces - A snapshot */
struct interfaces {
	struct interface_address *list;
	size_t count;
	struct default_route routes[INTERFACES_ROUTES_MAX];
	size_t route_count;
	uint32_t routed_ranges; /* ranges of the tailnet, by bit, that another's route leads into;
				 * the engine doesn't get them */
};

/** interfaces_free() - Release; @interfaces is empty and valid after it */
static inline void interfaces_free(struct interfaces *interfaces)
{
	free(interfaces->list);
	*interfaces = (struct interfaces){0};
}
