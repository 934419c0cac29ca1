/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/route_set.c - the routes that an engine requests, and which of them are allowed; pure */
#include "netlink/route_set.h"

#include "base/limits.h"

#include <errno.h>

/* allowed_of() - How many routes of the family of @route are allowed */
static size_t *allowed_of(struct net_route_set *set, const struct prefix *route)
{
	return route->address.family == ADDRESS_V4 ? &set->allowed_v4 : &set->allowed_v6;
}

/* set_allowed() - What an entry is from now on */
static void set_allowed(struct net_route_set *set, struct prefix_entry *entry, bool allowed)
{
	size_t *count = allowed_of(set, &entry->prefix);

	*count = *count - entry->value + allowed;
	entry->value = allowed;
}

/* take_gone() - Remove a route; 1 if it is plain, 0 if not, -ENOMEM */
static int take_gone(struct net_route_set *set, const struct prefix *route,
		     const struct net_allowed *allowed, struct prefixes *ret)
{
	struct prefix_entry *entry = prefix_table_find(&set->asked, route);
	bool plain;

	if (!entry)
		return 1;
	plain = entry->value && net_route_is_plain(route, allowed);
	if (plain && prefixes_add(ret, route) < 0)
		return -ENOMEM;
	set_allowed(set, entry, false);
	prefix_table_remove(&set->asked, entry);
	return plain && *allowed_of(set, route) > 0;
}

/* take_added() - Add a route; 1 if it is plain, 0 if not, -ENOMEM */
static int take_added(struct net_route_set *set, const struct prefix *route, uint32_t ifindex,
		      const struct interfaces *interfaces, const struct net_allowed *allowed,
		      struct prefixes *ret)
{
	size_t before = set->asked.count;
	struct prefix_entry *entry = prefix_table_add(&set->asked, route);

	if (!entry)
		return -ENOMEM;
	if (set->asked.count == before)
		return 1;
	if (*allowed_of(set, route) == 0 || !net_route_is_plain(route, allowed) ||
	    net_route_check(route, ifindex, interfaces, allowed, NULL) < 0)
		return 0;
	if (prefixes_add(ret, route) < 0)
		return -ENOMEM;
	set_allowed(set, entry, true);
	return 1;
}

int net_route_set_change(struct net_route_set *set, const struct prefixes *added,
			 const struct prefixes *gone, uint32_t ifindex,
			 const struct interfaces *interfaces, const struct net_allowed *allowed,
			 struct prefixes *ret_added, struct prefixes *ret_gone, struct error *err)
{
	bool plain = true;
	int r = 0;

	if (added->count > LIMIT_NET_ROUTES - set->asked.count)
		return error_set(err, -E2BIG, "%zu routes, the limit is %u",
				 set->asked.count + added->count, LIMIT_NET_ROUTES);
	for (size_t i = 0; r >= 0 && i < gone->count; i++) {
		r = take_gone(set, &gone->list[i], allowed, ret_gone);
		plain &= r != 0;
	}
	for (size_t i = 0; r >= 0 && i < added->count; i++) {
		r = take_added(set, &added->list[i], ifindex, interfaces, allowed, ret_added);
		plain &= r != 0;
	}
	return r < 0 ? error_set_errno(err, r, "take in the routes") : plain;
}

int net_route_set_list(const struct net_route_set *set, bool allowed_only, struct prefixes *ret)
{
	const struct prefix_entry *e;
	int r = 0;

	LIST_FOREACH(e, &set->asked.entries, entry)
		if (r == 0 && (e->value || !allowed_only))
			r = prefixes_add(ret, &e->prefix);
	return r;
}

void net_route_set_judge(struct net_route_set *set, const struct prefixes *routes)
{
	struct prefix_entry *entry;

	LIST_FOREACH(entry, &set->asked.entries, entry)
		set_allowed(set, entry, false);
	for (size_t i = 0; i < routes->count; i++) {
		entry = prefix_table_find(&set->asked, &routes->list[i]);
		if (entry)
			set_allowed(set, entry, true);
	}
}

void net_route_set_free(struct net_route_set *set)
{
	prefix_table_free(&set->asked);
	*set = (struct net_route_set){0};
}
