/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_dns.c - DNSConfig, both ways */
#include "wire/tailcfg_dns.h"

#include "wire/members.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RESOLVER(...) MEMBER(struct tailcfg_resolver, __VA_ARGS__)
#define ROUTE(...)    MEMBER_ITEMS(struct tailcfg_dns_route, __VA_ARGS__)
#define RECORD(...)   MEMBER(struct tailcfg_dns_record, __VA_ARGS__)
#define CONFIG(...)   MEMBER(struct tailcfg_dns_config, __VA_ARGS__)
#define ITEMS(...)    MEMBER_ITEMS(struct tailcfg_dns_config, __VA_ARGS__)

static const struct json_member resolver_members[] = {
	RESOLVER(TEXT, "Addr", addr),
	RESOLVER(STRINGS, "BootstrapResolution", bootstrap_resolution),
	RESOLVER(BOOL, "UseWithExitNode", use_with_exit_node),
};

static const struct json_members resolver =
	MEMBERS("resolver", struct tailcfg_resolver, resolver_members);

/* --- Routes: an object of lists of resolvers --- */

static int by_suffix(const void *a, const void *b)
{
	const struct tailcfg_dns_route *left = a, *right = b;

	return strcmp(left->suffix, right->suffix);
}

/* The list of one route, read and written under the name of its suffix. */
static struct json_member route_member(const char *suffix)
{
	return (struct json_member)ROUTE(suffix, resolvers.items, resolvers.count, &resolver,
					 .no_nulls = true, .always = true);
}

static void decode_routes(struct json_reader *r, const char *name, void *at)
{
	json_t *object = json_get_object(r, name), *value;
	struct tailcfg_dns_route_list *list = at;
	struct json_reader inner = {.object = object};
	const char *suffix;

	if (!json_object_size(object))
		return;
	list->items = calloc(json_object_size(object), sizeof(*list->items));
	if (!list->items)
		inner.error = -ENOMEM;
	json_object_foreach(object, suffix, value) {
		struct json_member m = route_member(suffix);
		const struct json_members one = {.list = &m, .count = 1};

		(void)value;
		if (inner.error < 0)
			break;
		list->items[list->count].suffix = strdup(suffix);
		if (list->items[list->count].suffix)
			members_read(&one, &inner, &list->items[list->count++]);
		else
			inner.error = -ENOMEM;
	}
	if (inner.error < 0)
		json_reader_fail(r, name, inner.error);
	else
		qsort(list->items, list->count, sizeof(*list->items), by_suffix);
}

static void encode_routes(struct json_writer *w, const char *name, const void *at)
{
	const struct tailcfg_dns_route_list *list = at;

	if (!list->count)
		return;
	json_begin_object(w, name);
	for (uint32_t i = 0; i < list->count; i++) {
		struct json_member m = route_member(list->items[i].suffix);
		const struct json_members one = {.list = &m, .count = 1};

		members_put(&one, w, &list->items[i]);
	}
	json_end_object(w);
}

static void clear_routes(void *at)
{
	struct tailcfg_dns_route_list *list = at;

	for (uint32_t i = 0; i < list->count; i++) {
		struct json_member m = route_member(NULL);
		const struct json_members one = {.list = &m, .count = 1};

		free((char *)list->items[i].suffix);
		members_clear(&one, &list->items[i]);
	}
	free(list->items);
}

static const struct json_member_functions routes = {
	.clear = clear_routes,
	.decode = decode_routes,
	.encode = encode_routes,
};

/* --- DNSConfig --- */

static const struct json_member record_members[] = {
	RECORD(TEXT, "Name", name, .always = true),
	RECORD(TEXT, "Type", type),
	RECORD(TEXT, "Value", value, .always = true),
};

static const struct json_members record =
	MEMBERS("DNS record", struct tailcfg_dns_record, record_members);

static const struct json_member config_members[] = {
	ITEMS("Resolvers", resolvers.items, resolvers.count, &resolver, .no_nulls = true),
	MEMBER_BY(struct tailcfg_dns_config, "Routes", routes, &routes),
	ITEMS("FallbackResolvers", fallback_resolvers.items, fallback_resolvers.count, &resolver,
	      .no_nulls = true),
	CONFIG(STRINGS, "Domains", domains),
	CONFIG(BOOL, "Proxied", proxied),
	CONFIG(STRINGS, "CertDomains", cert_domains),
	ITEMS("ExtraRecords", extra_records, extra_record_count, &record),
	CONFIG(STRINGS, "ExitNodeFilteredSet", exit_node_filtered_set),
};

static const struct json_members dns_config =
	MEMBERS("DNS config", struct tailcfg_dns_config, config_members);

void tailcfg_dns_config_clear(struct tailcfg_dns_config *config)
{
	members_clear(&dns_config, config);
}

int tailcfg_dns_config_decode(const json_t *json, struct tailcfg_dns_config *ret, struct error *err)
{
	return members_decode(&dns_config, json, ret, err);
}

void tailcfg_dns_config_encode(struct json_writer *w, const char *name,
			       const struct tailcfg_dns_config *config)
{
	members_encode(&dns_config, w, name, config);
}
