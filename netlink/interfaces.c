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

/* A namespace of thousands of links (a host) must not make us ask for ever. */
#define ATTEMPTS 5

struct taking {
	struct buffer links;     /* of struct net_link */
	struct buffer addresses; /* of struct net_interface */
	size_t omitted;
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
		flags |= NET_INTERFACE_UP;
	if (link->flags & IFF_LOOPBACK)
		flags |= NET_INTERFACE_LOOPBACK;
	if (link->flags & IFF_POINTOPOINT)
		flags |= NET_INTERFACE_POINT_TO_POINT;
	if (address->flags & IFA_F_DEPRECATED)
		flags |= NET_INTERFACE_DEPRECATED;
	if (address->flags & IFA_F_TEMPORARY)
		flags |= NET_INTERFACE_TEMPORARY;
	if (address->flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED))
		flags |= NET_INTERFACE_TENTATIVE;
	return flags;
}

static int take_address(const struct net_object *object, void *context)
{
	const struct net_address *address = &object->address;
	struct taking *taking = context;
	const struct net_link *links = (const void *)taking->links.data;
	int r;

	for (size_t i = 0; i < taking->links.length / sizeof(*links); i++) {
		struct net_interface one = {
			.ifindex = links[i].ifindex,
			.prefix = address->prefix,
			.flags = flags_of(&links[i], address),
		};

		if (links[i].ifindex != address->ifindex)
			continue;
		memcpy(one.name, links[i].name, sizeof(one.name));
		r = buffer_append(&taking->addresses, &one, sizeof(one));
		taking->omitted += r == -EMSGSIZE;
		return r == -EMSGSIZE ? 0 : r;
	}
	return 0;
}

/* look_up() - Where packets of our own sockets to the internet go, in the family of @far_away */
static int look_up(struct netlink *nl, const char *far_away, struct net_default_route *ret)
{
	struct net_route route = {0};
	struct address to;
	int r = address_parse(far_away, strlen(far_away), &to);

	if (r == 0)
		r = net_look_up(&nl->route, &to, nl->mark, &route);
	if (r < 0 || route.type != RTN_UNICAST || route.oif == 0)
		return r;
	*ret = (struct net_default_route){
		.present = true,
		.ifindex = route.oif,
		.gateway = route.gateway,
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
	const struct net_interface *a = left, *b = right;
	int order = (a->ifindex > b->ifindex) - (a->ifindex < b->ifindex);

	return order != 0 ? order : memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
}

static int read_once(struct netlink *nl, struct taking *taking, struct net_interfaces *interfaces,
		     struct error *err)
{
	struct routed routed = {.ranges = &nl->ranges, .bits = &interfaces->routed_ranges};
	struct net_channel *channel = &nl->route;
	int r;

	buffer_consume(&taking->links, taking->links.length);
	buffer_consume(&taking->addresses, taking->addresses.length);
	taking->omitted = 0;
	*interfaces = (struct net_interfaces){0};
	r = net_dump(channel, NET_LINK, 0, 0, 0, take_link, taking, NULL, err);
	if (r == 0)
		r = net_dump(channel, NET_ADDRESS, 0, 0, 0, take_address, taking, NULL, err);
	if (r == 0)
		r = net_dump(channel, NET_ROUTE, 0, RT_TABLE_MAIN, 0, take_route, &routed, NULL,
			     err);
	if (r < 0)
		return r;
	r = look_up(nl, FAR_AWAY_V4, &interfaces->default_v4);
	if (r == 0)
		r = look_up(nl, FAR_AWAY_V6, &interfaces->default_v6);
	return r;
}

int net_interfaces_read(struct netlink *nl, struct net_interfaces *ret, struct error *err)
{
	struct taking taking = {
		.links = BUFFER_INIT(LIMIT_NET_INTERFACES * sizeof(struct net_link)),
		.addresses = BUFFER_INIT(LIMIT_NET_INTERFACES * sizeof(struct net_interface)),
	};
	struct net_interfaces interfaces = {0};
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
	interfaces.list = (struct net_interface *)(void *)taking.addresses.data;
	interfaces.count = taking.addresses.length / sizeof(*interfaces.list);
	interfaces.omitted = taking.omitted;
	if (interfaces.count > 1)
		qsort(interfaces.list, interfaces.count, sizeof(*interfaces.list), compare);
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
			  const struct net_interfaces *interfaces)
{
	uint32_t shared = interfaces->routed_ranges;

	for (size_t i = 0; i < interfaces->count; i++) {
		const struct net_interface *one = &interfaces->list[i];

		if (one->ifindex != ifindex && !(one->flags & NET_INTERFACE_LOOPBACK))
			shared |= net_ranges_shared(&nl->ranges, &one->prefix);
	}
	return ~shared & (uint32_t)((UINT64_C(1) << nl->ranges.count) - 1);
}

void net_interfaces_free(struct net_interfaces *interfaces)
{
	free(interfaces->list);
	*interfaces = (struct net_interfaces){0};
}

static bool default_equal(const struct net_default_route *a, const struct net_default_route *b)
{
	return a->present == b->present && a->ifindex == b->ifindex &&
	       address_equal(&a->gateway, &b->gateway);
}

bool net_interfaces_equal(const struct net_interfaces *a, const struct net_interfaces *b)
{
	if (a->count != b->count || a->routed_ranges != b->routed_ranges ||
	    !default_equal(&a->default_v4, &b->default_v4) ||
	    !default_equal(&a->default_v6, &b->default_v6))
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct net_interface *x = &a->list[i], *y = &b->list[i];

		if (x->ifindex != y->ifindex || x->flags != y->flags ||
		    strncmp(x->name, y->name, sizeof(x->name)) != 0 ||
		    !prefix_equal(&x->prefix, &y->prefix))
			return false;
	}
	return true;
}
