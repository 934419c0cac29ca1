/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_dns.c - DNSConfig, both ways */
#include "wire/tailcfg_dns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void tailcfg_resolver_list_clear(struct tailcfg_resolver_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		free(list->items[i].addr);
		string_list_clear(&list->items[i].bootstrap_resolution);
	}
	free(list->items);
	*list = (struct tailcfg_resolver_list){0};
}

void tailcfg_dns_config_clear(struct tailcfg_dns_config *config)
{
	tailcfg_resolver_list_clear(&config->resolvers);
	tailcfg_resolver_list_clear(&config->fallback_resolvers);
	for (uint32_t i = 0; i < config->route_count; i++) {
		free(config->routes[i].suffix);
		tailcfg_resolver_list_clear(&config->routes[i].resolvers);
	}
	free(config->routes);
	string_list_clear(&config->domains);
	string_list_clear(&config->cert_domains);
	for (uint32_t i = 0; i < config->extra_record_count; i++) {
		free(config->extra_records[i].name);
		free(config->extra_records[i].type);
		free(config->extra_records[i].value);
	}
	free(config->extra_records);
	string_list_clear(&config->exit_node_filtered_set);
	*config = (struct tailcfg_dns_config){0};
}

static void decode_resolvers(struct json_reader *r, const char *name, const json_t *array,
			     struct tailcfg_resolver_list *ret)
{
	json_t *item;
	size_t i;

	if (!json_array_size(array))
		return;
	ret->items = calloc(json_array_size(array), sizeof(*ret->items));
	if (!ret->items) {
		json_reader_fail(r, name, -ENOMEM);
		return;
	}
	json_array_foreach(array, i, item) {
		struct json_reader inner;

		if (json_is_null(item))
			continue;
		inner = json_reader_of(item);
		ret->items[ret->count] = (struct tailcfg_resolver){
			.addr = json_get_string(&inner, "Addr"),
			.use_with_exit_node = json_get_bool(&inner, "UseWithExitNode"),
		};
		json_get_strings(&inner, "BootstrapResolution",
				 &ret->items[ret->count].bootstrap_resolution);
		ret->count++;
		if (inner.error < 0)
			json_reader_fail(r, name, inner.error);
	}
}

static int by_suffix(const void *a, const void *b)
{
	const struct tailcfg_dns_route *left = a, *right = b;

	return strcmp(left->suffix, right->suffix);
}

static void decode_routes(struct json_reader *r, struct tailcfg_dns_config *config)
{
	json_t *routes = json_get_object(r, "Routes"), *resolvers;
	const char *suffix;

	if (!json_object_size(routes))
		return;
	config->routes = calloc(json_object_size(routes), sizeof(*config->routes));
	if (!config->routes) {
		json_reader_fail(r, "Routes", -ENOMEM);
		return;
	}
	json_object_foreach(routes, suffix, resolvers) {
		struct tailcfg_dns_route *route = &config->routes[config->route_count];

		if (!json_is_null(resolvers) && !json_is_array(resolvers)) {
			json_reader_fail(r, "Routes", -EINVAL);
			continue;
		}
		route->suffix = strdup(suffix);
		if (!route->suffix) {
			json_reader_fail(r, "Routes", -ENOMEM);
			return;
		}
		config->route_count++;
		decode_resolvers(r, "Routes", resolvers, &route->resolvers);
	}
	qsort(config->routes, config->route_count, sizeof(*config->routes), by_suffix);
}

static void decode_records(struct json_reader *r, struct tailcfg_dns_config *config)
{
	json_t *array = json_get_array(r, "ExtraRecords"), *item;
	size_t i;

	if (!json_array_size(array))
		return;
	config->extra_records = calloc(json_array_size(array), sizeof(*config->extra_records));
	if (!config->extra_records) {
		json_reader_fail(r, "ExtraRecords", -ENOMEM);
		return;
	}
	json_array_foreach(array, i, item) {
		struct json_reader record = json_reader_of(item);

		config->extra_records[config->extra_record_count++] = (struct tailcfg_dns_record){
			.name = json_get_string(&record, "Name"),
			.type = json_get_string(&record, "Type"),
			.value = json_get_string(&record, "Value"),
		};
		if (record.error < 0)
			json_reader_fail(r, "ExtraRecords", record.error);
	}
}

int tailcfg_dns_config_decode(const json_t *json, struct tailcfg_dns_config *ret, struct error *err)
{
	struct json_reader r = json_reader_of(json);
	struct tailcfg_dns_config config = {.proxied = json_get_bool(&r, "Proxied")};
	int result;

	decode_resolvers(&r, "Resolvers", json_get_array(&r, "Resolvers"), &config.resolvers);
	decode_resolvers(&r, "FallbackResolvers", json_get_array(&r, "FallbackResolvers"),
			 &config.fallback_resolvers);
	decode_routes(&r, &config);
	json_get_strings(&r, "Domains", &config.domains);
	json_get_strings(&r, "CertDomains", &config.cert_domains);
	decode_records(&r, &config);
	json_get_strings(&r, "ExitNodeFilteredSet", &config.exit_node_filtered_set);
	result = json_reader_result(&r, err, "DNS config");
	if (result < 0) {
		tailcfg_dns_config_clear(&config);
		return result;
	}
	*ret = config;
	return 0;
}

static void encode_resolvers(struct json_writer *w, const char *name,
			     const struct tailcfg_resolver_list *list)
{
	json_begin_array(w, name);
	for (uint32_t i = 0; i < list->count; i++) {
		json_begin_object(w, NULL);
		json_put_string_if(w, "Addr", list->items[i].addr);
		if (list->items[i].bootstrap_resolution.count)
			json_put_strings(w, "BootstrapResolution",
					 &list->items[i].bootstrap_resolution);
		json_put_bool_if(w, "UseWithExitNode", list->items[i].use_with_exit_node);
		json_end_object(w);
	}
	json_end_array(w);
}

void tailcfg_dns_config_encode(struct json_writer *w, const char *name,
			       const struct tailcfg_dns_config *config)
{
	json_begin_object(w, name);
	if (config->resolvers.count)
		encode_resolvers(w, "Resolvers", &config->resolvers);
	if (config->route_count) {
		json_begin_object(w, "Routes");
		for (uint32_t i = 0; i < config->route_count; i++)
			encode_resolvers(w, config->routes[i].suffix, &config->routes[i].resolvers);
		json_end_object(w);
	}
	if (config->fallback_resolvers.count)
		encode_resolvers(w, "FallbackResolvers", &config->fallback_resolvers);
	if (config->domains.count)
		json_put_strings(w, "Domains", &config->domains);
	json_put_bool_if(w, "Proxied", config->proxied);
	if (config->cert_domains.count)
		json_put_strings(w, "CertDomains", &config->cert_domains);
	if (config->extra_record_count) {
		json_begin_array(w, "ExtraRecords");
		for (uint32_t i = 0; i < config->extra_record_count; i++) {
			json_begin_object(w, NULL);
			json_put_string(w, "Name", config->extra_records[i].name);
			json_put_string_if(w, "Type", config->extra_records[i].type);
			json_put_string(w, "Value", config->extra_records[i].value);
			json_end_object(w);
		}
		json_end_array(w);
	}
	if (config->exit_node_filtered_set.count)
		json_put_strings(w, "ExitNodeFilteredSet", &config->exit_node_filtered_set);
	json_end_object(w);
}
