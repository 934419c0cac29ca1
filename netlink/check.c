/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/check.c - which addresses and routes an engine may request */
#include "netlink/check.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "netlink/reconcile.h"

#include <errno.h>
#include <string.h>

/* Of the public internet, routes may take this much in all without an exit node. */
#define PUBLIC_BITS_V4 8
#define PUBLIC_BITS_V6 20

#define MTU_MIN_V6 1280u
#define MTU_MAX    65535u

static bool is_valid(const struct prefix *p)
{
	return (p->address.family == ADDRESS_V4 || p->address.family == ADDRESS_V6) &&
	       p->bits <= address_bits(&p->address);
}

/* refuse_special() - Ranges of this machine and its links (RFC 6890), whoever asks */
static int refuse_special(const struct prefix *p, const char *text, struct error *err)
{
	static const struct {
		const char *what;
		struct prefix range;
	} rows[] = {
		{"loopback", {{ADDRESS_V4, {127}}, 8}},
		{"loopback", {{ADDRESS_V6, {[15] = 1}}, 128}},
		{"link-local", {{ADDRESS_V4, {169, 254}}, 16}},
		{"link-local", {{ADDRESS_V6, {0xfe, 0x80}}, 10}},
		{"multicast", {{ADDRESS_V4, {224}}, 4}},
		{"multicast", {{ADDRESS_V6, {0xff}}, 8}},
		{"reserved", {{ADDRESS_V4, {240}}, 4}},
		{"unspecified", {{ADDRESS_V4, {0}}, 8}},
		{"unspecified", {{ADDRESS_V6, {0}}, 128}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char range[PREFIX_TEXT_MAX];

		if (prefix_overlaps(p, &rows[i].range))
			return error_set(err, -EPERM, "%s is or holds a %s address (%s)", text,
					 rows[i].what, prefix_format(&rows[i].range, range));
	}
	return 0;
}

/* refuse_local() - What this machine's other links have: addresses, on-link prefixes, gateways */
static int refuse_local(const struct prefix *p, const char *text, uint32_t ifindex,
			const struct interfaces *interfaces, bool inside_is_fine, struct error *err)
{
	for (size_t i = 0; i < interfaces->count; i++) {
		const struct interface_address *have = &interfaces->list[i];
		char other[PREFIX_TEXT_MAX];

		if (have->index == ifindex)
			continue;
		if (prefix_contains(p, &have->prefix.address))
			return error_set(err, -EPERM, "%s holds this machine's own address %s (%s)",
					 text, prefix_format(&have->prefix, other), have->name);
		if (!inside_is_fine && prefix_overlaps(p, &have->prefix))
			return error_set(err, -EPERM, "%s overlaps the network %s of %s", text,
					 prefix_format(&have->prefix, other), have->name);
	}
	for (size_t i = 0; i < interfaces->route_count; i++) {
		const struct default_route *route = &interfaces->routes[i];
		char gateway[ADDRESS_TEXT_MAX];

		if (route->index != ifindex && prefix_contains(p, &route->gateway))
			return error_set(err, -EPERM, "%s holds the default gateway %s", text,
					 address_format(&route->gateway, gateway));
	}
	return 0;
}

/* is_allowed() - Whether the start allows a route, wherever this machine's own networks are */
static int is_allowed(const struct prefix *p, const char *text, const struct net_allowed *allowed,
		      struct error *err)
{
	const struct prefix tailnet_v6 = tailnet_ranges(&allowed->tailnet).list[1];

	if (p->bits <= 1)
		return allowed->exit_node
			       ? 0
			       : error_set(err, -EPERM,
					   "%s is a default route or a half of one: allow it with "
					   "--allow-exit-node",
					   text);
	if (prefix_is_tailnet_host(p, &allowed->tailnet) || prefix_equal(p, &tailnet_v6) ||
	    prefix_set_holds(&allowed->routes, p))
		return 0;
	return error_set(err, -EPERM,
			 "%s is no tailnet address, and --allow-routes does not hold it (for a "
			 "tailnet with addresses of its own: --tailnet-prefix)",
			 text);
}

int net_route_check(const struct prefix *route, uint32_t ifindex,
		    const struct interfaces *interfaces, const struct net_allowed *allowed,
		    struct error *err)
{
	char text[PREFIX_TEXT_MAX];
	struct prefix masked;
	int r;

	if (!is_valid(route))
		return error_set(err, -EINVAL, "a route that is no prefix (family %u, %u bits)",
				 route->address.family, route->bits);
	masked = prefix_mask(route);
	prefix_format(&masked, text);
	r = is_allowed(&masked, text, allowed, err);
	if (r < 0 || masked.bits <= 1)
		return r;
	r = refuse_special(&masked, text, err);
	return r < 0 ? r
		     : refuse_local(&masked, text, ifindex, interfaces,
				    prefix_is_tailnet_host(&masked, &allowed->tailnet), err);
}

int net_address_check(const struct prefix *address, uint32_t ifindex,
		      const struct interfaces *interfaces, const struct net_allowed *allowed,
		      struct error *err)
{
	char text[PREFIX_TEXT_MAX];

	if (is_valid(address) && !prefix_is_tailnet_host(address, &allowed->tailnet))
		return error_set(err, -EPERM,
				 "%s is no single tailnet address, so it can't be ours (for a "
				 "tailnet with addresses of its own: --tailnet-prefix)",
				 prefix_format(address, text));
	return net_route_check(address, ifindex, interfaces, allowed, err);
}

/* private_ranges() - What networks give themselves: routes elsewhere are public */
static struct prefix_set private_ranges(const struct net_allowed *allowed)
{
	static const struct prefix more[] = {
		{{ADDRESS_V4, {10}}, 8},
		{{ADDRESS_V4, {172, 16}}, 12},
		{{ADDRESS_V4, {192, 168}}, 16},
		{{ADDRESS_V6, {0xfc}}, 7},
	};
	struct prefix_set set = tailnet_ranges(&allowed->tailnet);

	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		set.list[set.count++] = more[i];
	return set;
}

bool net_route_is_plain(const struct prefix *route, const struct net_allowed *allowed)
{
	const struct prefix_set private = private_ranges(allowed);

	return route->bits > 1 && (allowed->exit_node || prefix_set_holds(&private, route));
}

/* is_too_much() - Whether the public ones of @routes hold more than is allowed of either family */
static int is_too_much(const struct prefixes *routes, const struct prefix_set *private)
{
	/* Where a network of IPv6 alone reaches all of IPv4 (NAT64, RFC 6052). */
	static const struct prefix mapped_v4 = {{ADDRESS_V6, {[1] = 0x64, 0xff, 0x9b}}, 96};
	struct prefixes public = {0};
	uint64_t held_v4 = 0, held_v6 = 0; /* in addresses; in /64s */
	const struct prefix *last = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < routes->count; i++) {
		struct prefix masked = prefix_mask(&routes->list[i]);

		if (!prefix_set_holds(private, &masked))
			r = prefixes_add(&public, &masked);
	}
	prefixes_unite(&public);
	for (size_t i = 0; r == 0 && i < public.count; i++) {
		const struct prefix *p = &public.list[i];

		if (last && prefix_covers(last, p))
			continue;
		last = p;
		if (p->address.family == ADDRESS_V4)
			held_v4 += UINT64_C(1) << (32 - p->bits);
		else
			held_v6 += UINT64_C(1) << (p->bits < 64 ? 64 - p->bits : 0);
		if (prefix_overlaps(p, &mapped_v4))
			held_v4 += UINT64_C(1) << (p->bits > 96 ? 128 - p->bits : 32);
	}
	prefixes_free(&public);
	if (r < 0)
		return r;
	return held_v4 > UINT64_C(1) << (32 - PUBLIC_BITS_V4) ||
	       held_v6 > UINT64_C(1) << (64 - PUBLIC_BITS_V6);
}

static void refuse(struct net_verdict *verdict, const struct error *why)
{
	if (verdict->refused++ == 0)
		verdict->why = *why;
}

/* check_each() - Take out those that @check refuses */
static void check_each(struct prefixes *list,
		       int (*check)(const struct prefix *, uint32_t, const struct interfaces *,
				    const struct net_allowed *, struct error *),
		       uint32_t ifindex, const struct interfaces *interfaces,
		       const struct net_allowed *allowed, struct net_verdict *verdict)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		struct error why = {0};

		if (check(&list->list[i], ifindex, interfaces, allowed, &why) == 0)
			list->list[kept++] = list->list[i];
		else
			refuse(verdict, &why);
	}
	list->count = kept;
}

/* check_set() - Take out the public ones where together they are too much */
static int check_set(struct prefixes *routes, const struct net_allowed *allowed,
		     struct net_verdict *verdict, struct error *err)
{
	const struct prefix_set private = private_ranges(allowed);
	int r = allowed->exit_node ? 0 : is_too_much(routes, &private);
	struct error why = {0};
	size_t kept = 0;

	if (r < 0)
		return error_set(err, r, "out of memory for the routes");
	if (r == 0)
		return 0;
	error_set(&why, -EPERM,
		  "the routes to public addresses hold more than a /%d of IPv4 or a /%d of IPv6 "
		  "together: allow it with --allow-exit-node",
		  PUBLIC_BITS_V4, PUBLIC_BITS_V6);
	for (size_t i = 0; i < routes->count; i++) {
		if (!prefix_set_holds(&private, &routes->list[i]))
			refuse(verdict, &why);
		else
			routes->list[kept++] = routes->list[i];
	}
	routes->count = kept;
	return 0;
}

int net_wanted_check(struct net_wanted *wanted, const struct interfaces *interfaces,
		     const struct net_allowed *allowed, struct net_verdict *ret, struct error *err)
{
	*ret = (struct net_verdict){0};
	if (wanted->mtu != 0 && (wanted->mtu < MTU_MIN_V6 || wanted->mtu > MTU_MAX))
		return error_set(err, -EINVAL, "an MTU of %u: it must be %u to %u", wanted->mtu,
				 MTU_MIN_V6, MTU_MAX);
	if (wanted->addresses.count > LIMIT_NET_ADDRESSES)
		return error_set(err, -E2BIG, "%zu addresses, the limit is %u",
				 wanted->addresses.count, LIMIT_NET_ADDRESSES);
	if (wanted->routes.count > LIMIT_NET_ROUTES)
		return error_set(err, -E2BIG, "%zu routes, the limit is %u", wanted->routes.count,
				 LIMIT_NET_ROUTES);
	check_each(&wanted->addresses, net_address_check, wanted->ifindex, interfaces, allowed,
		   ret);
	check_each(&wanted->routes, net_route_check, wanted->ifindex, interfaces, allowed, ret);
	return check_set(&wanted->routes, allowed, ret, err);
}
