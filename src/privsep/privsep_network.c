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

static int put_prefixes(struct buffer *out, uint16_t kind, const struct prefixes *list)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < list->count; i++)
		r = record_put(out, kind, &list->list[i], sizeof(list->list[i]));
	return r;
}

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

	if (network->addresses.count > NETWORK_ADDRESSES_MAX ||
	    network->routes.count > NETWORK_ROUTES_MAX || network->gone.count > NETWORK_ROUTES_MAX)
		return -EMSGSIZE;
	r = record_put(out, RECORD_FLAGS, &flags, sizeof(flags));
	if (r == 0)
		r = put_prefixes(out, RECORD_ADDRESS, &network->addresses);
	if (r == 0)
		r = put_prefixes(out, RECORD_ROUTE, &network->routes);
	if (r == 0)
		r = put_prefixes(out, RECORD_GONE, &network->gone);
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

static int take_prefix(struct cursor *value, bool host_bits, size_t most, struct prefixes *ret)
{
	struct prefix prefix, masked;

	if (ret->count >= most)
		return -EMSGSIZE;
	if (value->left != sizeof(prefix) || !cursor_copy(value, &prefix, sizeof(prefix)) ||
	    !address_fits(&prefix.address, false) || prefix.bits > address_bits(&prefix.address))
		return -EBADMSG;
	masked = prefix_mask(&prefix);
	if (!host_bits && !prefix_equal(&masked, &prefix))
		return -EBADMSG;
	return prefixes_add(ret, &prefix);
}

static int take_flags(struct cursor *value, struct privsep_network *ret)
{
	struct wanted_flags flags;

	if (value->left != sizeof(flags) || !cursor_copy(value, &flags, sizeof(flags)) ||
	    flags.up > 1 || flags.netfilter > 1 || flags.share_ranges > 1 || flags.delta > 1 ||
	    (flags.mtu != 0 && (flags.mtu < MTU_MIN || flags.mtu > MTU_MAX)))
		return -EBADMSG;
	*ret = (struct privsep_network){
		.up = flags.up,
		.netfilter = flags.netfilter,
		.share_ranges = flags.share_ranges,
		.delta = flags.delta,
		.mtu = flags.mtu,
		.number = flags.number,
	};
	return 0;
}

int privsep_network_decode(const void *bytes, size_t length, struct privsep_network *ret)
{
	_cleanup_(privsep_network_free) struct privsep_network network = {0};
	struct cursor c = cursor_of(bytes, length);
	struct record record;
	int r;

	if (record_next(&c, &record) <= 0 || record.kind != RECORD_FLAGS ||
	    take_flags(&record.value, &network) < 0)
		return -EBADMSG;
	while ((r = record_next(&c, &record)) > 0) {
		if (record.kind == RECORD_ADDRESS)
			r = take_prefix(&record.value, true, NETWORK_ADDRESSES_MAX,
					&network.addresses);
		else if (record.kind == RECORD_ROUTE)
			r = take_prefix(&record.value, false, NETWORK_ROUTES_MAX, &network.routes);
		else if (record.kind == RECORD_GONE && network.delta)
			r = take_prefix(&record.value, false, NETWORK_ROUTES_MAX, &network.gone);
		else
			r = -EBADMSG;
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*ret = network;
	network = (struct privsep_network){0};
	return 0;
}

void privsep_network_free(struct privsep_network *network)
{
	prefixes_free(&network->addresses);
	prefixes_free(&network->routes);
	prefixes_free(&network->gone);
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
	struct interfaces found = {.list = calloc(INTERFACES_MAX, sizeof(*found.list))};
	struct cursor c = cursor_of(bytes, length);
	struct record record;
	int r = found.list ? 0 : -ENOMEM;

	while (r == 0 && (r = record_next(&c, &record)) > 0) {
		if (record.kind == RECORD_INTERFACE)
			r = found.count == INTERFACES_MAX
				    ? -EMSGSIZE
				    : interface_decode(&record.value, &found.list[found.count++]);
		else if (record.kind == RECORD_DEFAULT)
			r = found.route_count == INTERFACES_ROUTES_MAX
				    ? -EMSGSIZE
				    : default_decode(&record.value,
						     &found.routes[found.route_count++]);
		else
			r = -EBADMSG;
	}
	if (r < 0) {
		interfaces_free(&found);
		return r;
	}
	*ret = found;
	return 0;
}
