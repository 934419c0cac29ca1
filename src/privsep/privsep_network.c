/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/privsep_network.c - wanted and seen network state as records */
#include "privsep/privsep_network.h"

#include "base/cleanup.h"
#include "privsep/records.h"

#include <errno.h>
#include <string.h>

enum {
	RECORD_FLAGS,     /* struct wanted_flags, exactly once, first */
	RECORD_ADDRESS,   /* struct prefix */
	RECORD_ROUTE,     /* struct prefix */
	RECORD_GONE,      /* struct prefix */
	RECORD_INTERFACE, /* struct interface_address */
	RECORD_DEFAULT,   /* struct default_route */
};

#define MTU_MIN 1280u /* of IPv6, RFC 8200 */
#define MTU_MAX 65535u

struct wanted_flags {
	uint8_t up;
	uint8_t netfilter;
	uint8_t share_ranges;
	uint8_t delta;
	uint32_t mtu;
	uint32_t number;
};
_Static_assert(sizeof(struct wanted_flags) == 12, "no padding");
_Static_assert(sizeof(struct prefix) == 18, "no padding");

int privsep_network_encode(const struct privsep_network *network, struct buffer *out)
{
	struct wanted_flags flags = {
		.up = network->up,
		.netfilter = network->netfilter,
		.share_ranges = network->share_ranges,
		.delta = network->delta,
		.mtu = network->mtu,
		.number = network->number,
	};
	int r;

	if (network->address_count > NETWORK_ADDRESSES_MAX ||
	    network->route_count > NETWORK_ROUTES_MAX || network->gone_count > NETWORK_ROUTES_MAX)
		return -EMSGSIZE;
	r = record_put(out, RECORD_FLAGS, &flags, sizeof(flags));
	for (size_t i = 0; r == 0 && i < network->address_count; i++)
		r = record_put(out, RECORD_ADDRESS, &network->addresses[i], sizeof(struct prefix));
	for (size_t i = 0; r == 0 && i < network->route_count; i++)
		r = record_put(out, RECORD_ROUTE, &network->routes[i], sizeof(struct prefix));
	for (size_t i = 0; r == 0 && i < network->gone_count; i++)
		r = record_put(out, RECORD_GONE, &network->gone[i], sizeof(struct prefix));
	return r;
}

static bool address_fits(const struct address *a, bool may_be_none)
{
	static const uint8_t zeros[16];

	if (a->family == ADDRESS_NONE)
		return may_be_none && memcmp(a->bytes, zeros, sizeof(zeros)) == 0;
	if (a->family == ADDRESS_V4)
		return memcmp(a->bytes + 4, zeros, 12) == 0;
	return a->family == ADDRESS_V6;
}

/* count_records() - How many of @kind there are; the list was walked before, or will be */
static size_t count_records(struct cursor c, uint16_t kind)
{
	struct record record;
	size_t count = 0;

	while (record_next(&c, &record) > 0)
		count += record.kind == kind;
	return count;
}

static int prefix_decode(struct cursor *value, bool host_bits, struct prefix *ret)
{
	struct prefix prefix, masked;

	if (value->left != sizeof(prefix) || !cursor_copy(value, &prefix, sizeof(prefix)) ||
	    !address_fits(&prefix.address, false) || prefix.bits > address_bits(&prefix.address))
		return -EBADMSG;
	masked = prefix_mask(&prefix);
	if (!host_bits && !prefix_equal(&masked, &prefix))
		return -EBADMSG;
	*ret = prefix;
	return 0;
}

/* decode_prefixes() - The records behind the flags, into arrays that have room for all of them */
static int decode_prefixes(struct cursor *c, struct privsep_network *network,
			   struct prefix *addresses, struct prefix *routes, struct prefix *gone)
{
	struct record record;
	int r;

	while ((r = record_next(c, &record)) > 0) {
		if (record.kind == RECORD_ADDRESS)
			r = prefix_decode(&record.value, true,
					  &addresses[network->address_count++]);
		else if (record.kind == RECORD_ROUTE)
			r = prefix_decode(&record.value, false, &routes[network->route_count++]);
		else if (record.kind == RECORD_GONE && network->delta)
			r = prefix_decode(&record.value, false, &gone[network->gone_count++]);
		else
			r = -EBADMSG;
		if (r < 0)
			return r;
	}
	return r;
}

int privsep_network_decode(const void *bytes, size_t length, struct privsep_network *ret)
{
	struct cursor c = cursor_of(bytes, length);
	size_t addresses_max = count_records(c, RECORD_ADDRESS);
	size_t routes_max = count_records(c, RECORD_ROUTE);
	size_t gone_max = count_records(c, RECORD_GONE);
	_cleanup_free_ struct prefix *addresses = NULL;
	_cleanup_free_ struct prefix *routes = NULL;
	_cleanup_free_ struct prefix *gone = NULL;
	struct privsep_network network = {0};
	struct wanted_flags flags;
	struct record record;
	int r;

	if (addresses_max > NETWORK_ADDRESSES_MAX || routes_max > NETWORK_ROUTES_MAX ||
	    gone_max > NETWORK_ROUTES_MAX)
		return -EMSGSIZE;
	r = record_next(&c, &record);
	if (r <= 0 || record.kind != RECORD_FLAGS || record.value.left != sizeof(flags))
		return -EBADMSG;
	cursor_copy(&record.value, &flags, sizeof(flags));
	if (flags.up > 1 || flags.netfilter > 1 || flags.share_ranges > 1 || flags.delta > 1 ||
	    (flags.mtu != 0 && (flags.mtu < MTU_MIN || flags.mtu > MTU_MAX)))
		return -EBADMSG;
	network.up = flags.up == 1;
	network.netfilter = flags.netfilter == 1;
	network.share_ranges = flags.share_ranges == 1;
	network.delta = flags.delta == 1;
	network.mtu = flags.mtu;
	network.number = flags.number;
	addresses = calloc(addresses_max + 1, sizeof(*addresses));
	routes = calloc(routes_max + 1, sizeof(*routes));
	gone = calloc(gone_max + 1, sizeof(*gone));
	if (!addresses || !routes || !gone)
		return -ENOMEM;
	r = decode_prefixes(&c, &network, addresses, routes, gone);
	if (r < 0)
		return r;
	network.addresses = TAKE_PTR(addresses);
	network.routes = TAKE_PTR(routes);
	network.gone = TAKE_PTR(gone);
	*ret = network;
	return 0;
}

void privsep_network_free(struct privsep_network *network)
{
	free((void *)(uintptr_t)network->addresses);
	free((void *)(uintptr_t)network->routes);
	free((void *)(uintptr_t)network->gone);
	*network = (struct privsep_network){0};
}

int privsep_interfaces_encode(const struct interfaces *interfaces, uint32_t without,
			      struct buffer *out)
{
	size_t count = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < interfaces->count && count < INTERFACES_MAX; i++) {
		const struct interface_address *one = &interfaces->list[i];

		if (without != 0 && one->index == without)
			continue;
		r = record_put(out, RECORD_INTERFACE, one, sizeof(*one));
		count++;
	}
	for (size_t i = 0; r == 0 && i < interfaces->route_count; i++)
		r = record_put(out, RECORD_DEFAULT, &interfaces->routes[i],
			       sizeof(interfaces->routes[i]));
	return r;
}

static int interface_decode(struct cursor *value, struct interface_address *ret)
{
	struct interface_address address;

	if (value->left != sizeof(address) || !cursor_copy(value, &address, sizeof(address)) ||
	    !memchr(address.name, 0, sizeof(address.name)) ||
	    !address_fits(&address.prefix.address, false) ||
	    address.prefix.bits > address_bits(&address.prefix.address))
		return -EBADMSG;
	*ret = address;
	return 0;
}

static int default_decode(struct cursor *value, struct default_route *ret)
{
	struct default_route route;

	if (value->left != sizeof(route) || !cursor_copy(value, &route, sizeof(route)) ||
	    !memchr(route.name, 0, sizeof(route.name)) || !address_fits(&route.gateway, true) ||
	    (route.family != ADDRESS_V4 && route.family != ADDRESS_V6))
		return -EBADMSG;
	*ret = route;
	return 0;
}

int privsep_interfaces_decode(const void *bytes, size_t length, struct interfaces *ret)
{
	struct cursor c = cursor_of(bytes, length);
	struct interfaces found = {0};
	size_t room = count_records(c, RECORD_INTERFACE);
	struct record record;
	int r;

	if (room > INTERFACES_MAX || count_records(c, RECORD_DEFAULT) > INTERFACES_ROUTES_MAX)
		return -EMSGSIZE;
	found.list = calloc(room + 1, sizeof(*found.list));
	r = found.list ? 0 : -ENOMEM;
	while (r == 0 && (r = record_next(&c, &record)) > 0) {
		if (record.kind == RECORD_INTERFACE)
			r = interface_decode(&record.value, &found.list[found.count++]);
		else if (record.kind == RECORD_DEFAULT)
			r = default_decode(&record.value, &found.routes[found.route_count++]);
		else
			r = -EBADMSG;
	}
	if (r < 0) {
		privsep_interfaces_free(&found);
		return r;
	}
	*ret = found;
	return 0;
}

void privsep_interfaces_free(struct interfaces *interfaces)
{
	free(interfaces->list);
	*interfaces = (struct interfaces){0};
}
