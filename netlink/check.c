/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/check.c - what the supervisor lets an engine ask for */
#include "netlink/check.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <string.h>

/* Routes shorter than this would take in what no subnet router can honestly hold. */
#define SHORTEST_ROUTE 8

#define MTU_MIN_V6 1280u
#define MTU_MAX    65535u

static bool overlaps(const struct prefix *a, const struct prefix *b)
{
	return a->bits <= b->bits ? prefix_contains(a, &b->address)
				  : prefix_contains(b, &a->address);
}

static bool is_valid(const struct prefix *p)
{
	return (p->address.family == ADDRESS_V4 || p->address.family == ADDRESS_V6) &&
	       p->bits <= address_bits(&p->address);
}

static bool is_host(const struct prefix *p)
{
	return p->bits == address_bits(&p->address);
}

/* refuse_special() - Ranges of this machine and its links (RFC 6890), whoever asks */
static int refuse_special(const struct prefix *p, const char *text, struct error *err)
{
	static const struct {
		const char *what;
		const char *range;
	} rows[] = {
		{"loopback", "127.0.0.0/8"},      {"loopback", "::1"},
		{"link-local", "169.254.0.0/16"}, {"link-local", "fe80::/10"},
		{"multicast", "224.0.0.0/4"},     {"multicast", "ff00::/8"},
		{"unspecified", "0.0.0.0/8"},     {"unspecified", "::"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct prefix range;

		if (prefix_parse(rows[i].range, strlen(rows[i].range), &range) < 0 ||
		    overlaps(p, &range))
			return error_set(err, -EPERM, "%s is or holds a %s address (%s)", text,
					 rows[i].what, rows[i].range);
	}
	return 0;
}

/* refuse_local() - What this machine's other links have: addresses, on-link prefixes, gateways */
static int refuse_local(const struct prefix *p, const char *text, uint32_t ifindex,
			const struct net_interfaces *interfaces, struct error *err)
{
	const struct net_default_route *defaults[] = {&interfaces->default_v4,
						      &interfaces->default_v6};
	bool inside_is_fine = is_host(p) && address_is_tailnet(&p->address);

	for (size_t i = 0; i < interfaces->count; i++) {
		const struct net_interface *have = &interfaces->list[i];
		char other[PREFIX_TEXT_MAX];

		if (have->ifindex == ifindex)
			continue;
		if (prefix_contains(p, &have->prefix.address))
			return error_set(err, -EPERM, "%s holds this machine's own address %s (%s)",
					 text, prefix_format(&have->prefix, other), have->name);
		if (!inside_is_fine && overlaps(p, &have->prefix))
			return error_set(err, -EPERM, "%s overlaps the network %s of %s", text,
					 prefix_format(&have->prefix, other), have->name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
		char gateway[ADDRESS_TEXT_MAX];

		if (defaults[i]->present && defaults[i]->ifindex != ifindex &&
		    prefix_contains(p, &defaults[i]->gateway))
			return error_set(err, -EPERM, "%s holds the default gateway %s", text,
					 address_format(&defaults[i]->gateway, gateway));
	}
	return 0;
}

int net_route_check(const struct prefix *route, uint32_t ifindex,
		    const struct net_interfaces *interfaces, bool allow_exit_node,
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
	if (masked.bits < SHORTEST_ROUTE) {
		if (allow_exit_node)
			return 0;
		return error_set(err, -EPERM,
				 "%s is shorter than /%d: allow it with --allow-exit-node", text,
				 SHORTEST_ROUTE);
	}
	r = refuse_special(&masked, text, err);
	return r < 0 ? r : refuse_local(&masked, text, ifindex, interfaces, err);
}

int net_address_check(const struct prefix *address, uint32_t ifindex,
		      const struct net_interfaces *interfaces, struct error *err)
{
	char text[PREFIX_TEXT_MAX];

	if (is_valid(address) && !is_host(address))
		return error_set(err, -EPERM,
				 "%s is not one address: only /32 and /128 may be ours",
				 prefix_format(address, text));
	return net_route_check(address, ifindex, interfaces, false, err);
}

int net_wanted_check(const struct net_wanted *wanted, const struct net_interfaces *interfaces,
		     bool allow_exit_node, struct prefix *ret_routes, struct net_verdict *ret,
		     struct error *err)
{
	struct net_verdict verdict = {0};
	int r;

	if (wanted->mtu != 0 && (wanted->mtu < MTU_MIN_V6 || wanted->mtu > MTU_MAX))
		return error_set(err, -EINVAL, "an MTU of %u: it must be %u to %u", wanted->mtu,
				 MTU_MIN_V6, MTU_MAX);
	if (wanted->address_count > LIMIT_NET_ADDRESSES)
		return error_set(err, -E2BIG, "%zu addresses, the limit is %u",
				 wanted->address_count, LIMIT_NET_ADDRESSES);
	if (wanted->route_count > LIMIT_NET_ROUTES)
		return error_set(err, -E2BIG, "%zu routes, the limit is %u", wanted->route_count,
				 LIMIT_NET_ROUTES);
	for (size_t i = 0; i < wanted->address_count; i++) {
		r = net_address_check(&wanted->addresses[i], wanted->ifindex, interfaces, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < wanted->route_count; i++) {
		struct error why = {0};

		if (net_route_check(&wanted->routes[i], wanted->ifindex, interfaces,
				    allow_exit_node, &why) == 0)
			ret_routes[verdict.routes++] = wanted->routes[i];
		else if (verdict.refused++ == 0)
			verdict.why = why;
	}
	*ret = verdict;
	return 0;
}
