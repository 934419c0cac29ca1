/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_dns.h - how names are to be resolved in a tailnet */
#pragma once

#include "wire/json.h"

struct tailcfg_resolver {
	const char *addr; /* "ip", "ip:port", "https://…", "http://ip:port/dns-query", "tls://…" */
	struct string_list bootstrap_resolution;
	bool use_with_exit_node;
};

struct tailcfg_resolver_list {
	struct tailcfg_resolver *items;
	uint32_t count;
};

struct tailcfg_dns_route {
	const char *suffix;
	struct tailcfg_resolver_list resolvers; /* empty: answered locally */
};

struct tailcfg_dns_route_list {
	struct tailcfg_dns_route *items; /* sorted by suffix */
	uint32_t count;
};

struct tailcfg_dns_record {
	const char *name;
	const char *type; /* NULL: A or AAAA by the value */
	const char *value;
};

struct tailcfg_dns_config {
	struct tailcfg_resolver_list resolvers;
	struct tailcfg_resolver_list fallback_resolvers;
	struct tailcfg_dns_route_list routes;
	struct string_list domains; /* search list */
	bool proxied;               /* MagicDNS is on */
	struct string_list cert_domains;
	struct tailcfg_dns_record *extra_records;
	uint32_t extra_record_count;
	struct string_list exit_node_filtered_set;
};

void tailcfg_dns_config_clear(struct tailcfg_dns_config *config);

/** tailcfg_dns_config_decode() - 0, -EINVAL with @err set, -ENOMEM */
int tailcfg_dns_config_decode(const json_t *json, struct tailcfg_dns_config *ret,
			      struct error *err);
void tailcfg_dns_config_encode(struct json_writer *w, const char *name,
			       const struct tailcfg_dns_config *config);
