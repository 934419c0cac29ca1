/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/interfaces.c - the addresses and default routes of this namespace */
#include "netlink/interfaces.h"

#include "base/buffer.h"
#include "base/limits.h"
#include "netlink/channel.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

/* Asked for in lookups; nothing is sent there. */
#define FAR_AWAY_V4 "198.41.0.4" /* a.root-servers.net */
#define FAR_AWAY_V6 "2001:503:ba3e::2:30"

/* In a namespace with thousands of links (a host), dumps may be interrupted again and again. */
#define ATTEMPTS 5

struct taking {
	struct buffer links;     /* of struct net_link */
	struct buffer addresses; /* of struct interface_address */
};

static int take_link(const struct net_object *object, void *context)
{
	const struct net_link *link = &object->link;
	struct taking *taking = context;
	int r = buffer_append(&taking->links, link, sizeof(*link));

	return r == -EMSGSIZE ? 0 : r;
}

static uint32_t flags_of(const struct net_link *link, const struct net_address *address)
{
	uint32_t flags = 0;

	if (link->flags & IFF_UP && link->carrier)
		flags |= INTERFACE_UP;
	if (link->flags & IFF_LOOPBACK)
		flags |= INTERFACE_LOOPBACK;
	if (link->flags & IFF_POINTOPOINT)
		flags |= INTERFACE_POINT_TO_POINT;
	if (address->flags & IFA_F_DEPRECATED)
		flags |= INTERFACE_DEPRECATED;
	if (address->flags & IFA_F_TEMPORARY)
		flags |= INTERFACE_TEMPORARY;
	if (address->flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED))
		flags |= INTERFACE_TENTATIVE;
	return flags;
}

static int take_address(const struct net_object *object, void *context)
{
	const struct net_address *address = &object->address;
	struct taking *taking = context;
	const struct net_link *links = (const void *)taking->links.data;
	int r;

	for (size_t i = 0; i < taking->links.length / sizeof(*links); i++) {
		struct interface_address one = {
			.index = links[i].ifindex,
			.prefix = address->prefix,
			.flags = flags_of(&links[i], address),
		};

		if (links[i].ifindex != address->ifindex)
			continue;
		memcpy(one.name, links[i].name, sizeof(one.name));
		r = buffer_append(&taking->addresses, &one, sizeof(one));
		return r == -EMSGSIZE ? 0 : r;
	}
	return 0;
}

/* look_up() - Where packets of our own sockets to the internet go, in the family of @far_away */
static int look_up(struct netlink *nl, const char *far_away, struct interfaces *interfaces)
{
	struct net_route route = {0};
	struct default_route *ret;
	struct address to;
	int r = address_parse(far_away, strlen(far_away), &to);

	if (r == 0)
		r = net_look_up(&nl->route, &to, nl->mark, &route);
	if (r < 0 || route.type != RTN_UNICAST || route.oif == 0)
		return r;
	ret = &interfaces->routes[interfaces->route_count++];
	*ret = (struct default_route){
		.index = route.oif,
		.gateway = route.gateway,
		.family = to.family,
	};
	return 0;
}

struct routed {
	const struct prefix_set *ranges;
	uint32_t *bits;
};

static int take_route(const struct net_object *object, void *context)
{
	const struct net_route *route = &object->route;
	struct routed *routed = context;

	if (route->type == RTN_UNICAST && route->protocol != NET_ROUTE_PROTOCOL)
		*routed->bits |= net_ranges_shared(routed->ranges, &route->prefix);
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct interface_address *a = left, *b = right;
	int order = (a->index > b->index) - (a->index < b->index);

	return order != 0 ? order : memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
}

static int read_once(struct netlink *nl, struct taking *taking, struct interfaces *interfaces,
		     struct error *err)
{
	struct routed routed = {.ranges = &nl->ranges, .bits = &interfaces->routed_ranges};
	struct net_channel *channel = &nl->route;
	int r;

	buffer_consume(&taking->links, taking->links.length);
	buffer_consume(&taking->addresses, taking->addresses.length);
	*interfaces = (struct interfaces){0};
	r = net_dump(channel, NET_LINK, 0, 0, 0, take_link, taking, NULL, err);
	if (r == 0)
		r = net_dump(channel, NET_ADDRESS, 0, 0, 0, take_address, taking, NULL, err);
	if (r == 0)
		r = net_dump(channel, NET_ROUTE, 0, RT_TABLE_MAIN, 0, take_route, &routed, NULL,
			     err);
	if (r < 0)
		return r;
	r = look_up(nl, FAR_AWAY_V4, interfaces);
	if (r == 0)
		r = look_up(nl, FAR_AWAY_V6, interfaces);
	return r;
}

int net_interfaces_read(struct netlink *nl, struct interfaces *ret, struct error *err)
{
	struct taking taking = {
		.links = BUFFER_INIT(LIMIT_NET_INTERFACES * sizeof(struct net_link)),
		.addresses = BUFFER_INIT(LIMIT_NET_INTERFACES * sizeof(struct interface_address)),
	};
	struct interfaces interfaces = {0};
	struct error cause = {0};
	int attempts = 0;
	int r;

	do {
		r = read_once(nl, &taking, &interfaces, &cause);
	} while ((r == -EINTR || r == -ENOBUFS) && ++attempts < ATTEMPTS);
	buffer_free(&taking.links);
	if (r < 0) {
		buffer_free(&taking.addresses);
		return error_set(err, r, "read interfaces: %s", cause.text);
	}
	/* Nothing was consumed since the last reset, so the records begin where the memory does. */
	interfaces.list = (struct interface_address *)(void *)taking.addresses.data;
	interfaces.count = taking.addresses.length / sizeof(*interfaces.list);
	if (interfaces.count > 1)
		qsort(interfaces.list, interfaces.count, sizeof(*interfaces.list), compare);
	for (size_t i = 0; i < interfaces.route_count; i++) {
		struct default_route *route = &interfaces.routes[i];

		for (size_t k = 0; k < interfaces.count; k++)
			if (interfaces.list[k].index == route->index)
				memcpy(route->name, interfaces.list[k].name, sizeof(route->name));
	}
	*ret = interfaces;
	return 0;
}

uint32_t net_ranges_shared(const struct prefix_set *ranges, const struct prefix *p)
{
	uint32_t bits = 0;

	for (size_t i = 0; p->bits > 1 && i < ranges->count; i++)
		if (prefix_overlaps(&ranges->list[i], p))
			bits |= 1u << i;
	return bits;
}

uint32_t net_ranges_alone(const struct netlink *nl, uint32_t ifindex,
			  const struct interfaces *interfaces)
{
	uint32_t shared = interfaces->routed_ranges;

	for (size_t i = 0; i < interfaces->count; i++) {
		const struct interface_address *one = &interfaces->list[i];

		if (one->index != ifindex && !(one->flags & INTERFACE_LOOPBACK))
			shared |= net_ranges_shared(&nl->ranges, &one->prefix);
	}
	return ~shared & (uint32_t)((UINT64_C(1) << nl->ranges.count) - 1);
}

bool net_interfaces_equal(const struct interfaces *a, const struct interfaces *b)
{
	if (a->count != b->count || a->routed_ranges != b->routed_ranges ||
	    a->route_count != b->route_count)
		return false;
	for (size_t i = 0; i < a->route_count; i++)
		if (a->routes[i].index != b->routes[i].index ||
		    !address_equal(&a->routes[i].gateway, &b->routes[i].gateway))
			return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct interface_address *x = &a->list[i], *y = &b->list[i];

		if (x->index != y->index || x->flags != y->flags ||
		    strncmp(x->name, y->name, sizeof(x->name)) != 0 ||
		    !prefix_equal(&x->prefix, &y->prefix))
			return false;
	}
	return true;
}
