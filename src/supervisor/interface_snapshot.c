/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/interface_snapshot.c - the machine's addresses and default routes, for the engine */
#include "base/cleanup.h"
#include "privsep/records.h"
#include "supervisor/supervisor_internal.h"

#include <stdio.h>

static void name_copy(char out[static IF_NAMESIZE], const char *name)
{
	snprintf(out, IF_NAMESIZE, "%s", name);
}

/* name_of() - The link's name by number, as the snapshot has it; empty where it has no address */
static const char *name_of(const struct net_interfaces *interfaces, uint32_t ifindex)
{
	for (size_t i = 0; i < interfaces->count; i++)
		if (interfaces->list[i].ifindex == ifindex)
			return interfaces->list[i].name;
	return "";
}

static uint32_t flags_of(uint32_t flags)
{
	static const struct {
		uint32_t net, privsep;
	} pairs[] = {
		{NET_INTERFACE_UP, PRIVSEP_INTERFACE_UP},
		{NET_INTERFACE_LOOPBACK, PRIVSEP_INTERFACE_LOOPBACK},
		{NET_INTERFACE_POINT_TO_POINT, PRIVSEP_INTERFACE_POINT_TO_POINT},
		{NET_INTERFACE_DEPRECATED, PRIVSEP_INTERFACE_DEPRECATED},
		{NET_INTERFACE_TEMPORARY, PRIVSEP_INTERFACE_TEMPORARY},
		{NET_INTERFACE_TENTATIVE, PRIVSEP_INTERFACE_TENTATIVE},
	};
	uint32_t result = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		if ((flags & pairs[i].net) != 0)
			result |= pairs[i].privsep;
	return result;
}

static void put_default(struct privsep_interfaces *out, const struct net_interfaces *interfaces,
			const struct net_default_route *route, enum address_family family)
{
	struct privsep_default_route *to;

	if (!route->present)
		return;
	to = &out->routes[out->route_count++];
	*to = (struct privsep_default_route){
		.index = route->ifindex,
		.gateway = route->gateway,
		.family = (uint8_t)family,
	};
	name_copy(to->name, name_of(interfaces, route->ifindex));
}

void interface_snapshot_send(struct supervisor *s)
{
	const struct net_interfaces *interfaces = &s->network.interfaces;
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_INTERFACES_MAX);
	union privsep_message m = {.header.type = PRIVSEP_INTERFACES};
	struct privsep_default_route routes[INTERFACES_ROUTES_MAX] = {0};
	struct privsep_interfaces out = {.routes = routes};
	_cleanup_free_ struct privsep_interface_address *addresses = NULL;
	_cleanup_close_ int memfd = -1;

	addresses = calloc(interfaces->count + 1, sizeof(*addresses));
	if (!addresses)
		return;
	out.addresses = addresses;
	for (size_t i = 0; i < interfaces->count && out.address_count < INTERFACES_MAX; i++) {
		const struct net_interface *from = &interfaces->list[i];
		struct privsep_interface_address *to;

		if (from->ifindex == s->network.tun.ifindex)
			continue;
		to = &addresses[out.address_count++];
		name_copy(to->name, from->name);
		to->index = from->ifindex;
		to->flags = flags_of(from->flags);
		to->prefix = from->prefix;
	}
	put_default(&out, interfaces, &interfaces->default_v4, ADDRESS_V4);
	put_default(&out, interfaces, &interfaces->default_v6, ADDRESS_V6);
	if (privsep_interfaces_encode(&out, &bytes) < 0)
		return;
	memfd = privsep_memfd_seal(PRIVSEP_INTERFACES, buffer_head(&bytes), bytes.length);
	if (memfd >= 0)
		child_send(&s->engine, &m, &memfd, 1);
}
