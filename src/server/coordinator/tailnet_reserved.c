/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/tailnet_reserved.c - names inside of the base domain that are not for nodes */
#include "server/coordinator/tailnet.h"
#include "transport/url.h"

#include <string.h>

/* is_below() - Whether @name, which may be NULL, is LABEL.BASE-DOMAIN */
static bool is_below(const struct tailnet *t, const char *label, const char *name)
{
	size_t length = name ? strlen(name) : 0, first = strlen(label);
	const char *base = t->settings.base_domain;

	if (length && name[length - 1] == '.')
		length--;
	return length == first + 1 + strlen(base) && strncasecmp(name, label, first) == 0 &&
	       name[first] == '.' && strncasecmp(name + first + 1, base, strlen(base)) == 0;
}

static bool is_relay(const struct tailnet *t, const char *label)
{
	const struct tailcfg_derp_map *map = &t->settings.derp_map;

	for (uint32_t i = 0; i < map->region_count; i++)
		for (uint32_t n = 0; n < map->regions[i].node_count; n++)
			if (is_below(t, label, map->regions[i].nodes[n].host_name) ||
			    is_below(t, label, map->regions[i].nodes[n].cert_name))
				return true;
	return false;
}

static bool is_record(const struct tailnet *t, const char *label)
{
	const struct tailcfg_dns_config *dns = &t->settings.dns;

	for (uint32_t i = 0; i < dns->extra_record_count; i++)
		if (is_below(t, label, dns->extra_records[i].name))
			return true;
	for (uint32_t i = 0; i < dns->route_count; i++)
		if (is_below(t, label, dns->routes[i].suffix))
			return true;
	return false;
}

bool tailnet_reserves(const void *user, const char *label)
{
	const struct tailnet *t = user;
	struct error err;
	struct url url;

	return (url_parse(t->settings.server_url, &url, &err) == 0 &&
		is_below(t, label, url.host)) ||
	       is_relay(t, label) || is_record(t, label);
}
