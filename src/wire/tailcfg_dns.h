/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_dns.h - how names are to be resolved in a tailnet */
#pragma once

#include "wire/json.h"

struct tailcfg_resolver {
	char *addr; /* "ip", "ip:port", "https://…", "http://ip:port/dns-query", "tls://…" */
	struct string_list bootstrap_resolution;
	bool use_with_exit_node;
};

struct tailcfg_resolver_list {
	struct tailcfg_resolver *items;
	uint32_t count;
};

struct tailcfg_dns_route {
	char *suffix;
	struct tailcfg_resolver_list resolvers; /* empty: answered locally */
};

struct tailcfg_dns_record {
	char *name;
	char *type; /* NULL: A or AAAA by the value */
	char *value;
};

struct tailcfg_dns_config {
	struct tailcfg_resolver_list resolvers;
	struct tailcfg_resolver_list fallback_resolvers;
	struct tailcfg_dns_route *routes; /* sorted by suffix */
	uint32_t route_count;
	struct string_list domains; /* search list */
	bool proxied;               /* MagicDNS is on */
	struct string_list cert_domains;
	struct tailcfg_dns_record *extra_records;
	uint32_t extra_record_count;
	struct string_list exit_node_filtered_set;
};

void tailcfg_resolver_list_clear(struct tailcfg_resolver_list *list);
void tailcfg_dns_config_clear(struct tailcfg_dns_config *config);

/** tailcfg_dns_config_decode() - 0, -EINVAL with @err set, -ENOMEM */
int tailcfg_dns_config_decode(const json_t *json, struct tailcfg_dns_config *ret,
			      struct error *err);
void tailcfg_dns_config_encode(struct json_writer *w, const char *name,
			       const struct tailcfg_dns_config *config);
