/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/policy_world.h - a small tailnet, and packets through the filters of its nodes
 */
#pragma once

#include "filter/filter.h"
#include "filter/flows.h"
#include "server/policy/policy.h"
#include "wire/tailcfg_filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct address world_address(const char *text)
{
	struct address a;

	if (address_parse(text, strlen(text), &a) < 0)
		abort();
	return a;
}

/* struct world_node - A node whose lists are small */
struct world_node {
	struct policy_node node;
	char *tags[4];
	struct prefix routes[4];
};

/* world_set() - @tags and @routes are words with blanks between; addresses follow from the id */
static void world_set(struct world_node *w, int64_t id, const char *user, const char *tags,
		      const char *routes)
{
	static char words[64][64]; /* interned: few different ones occur */
	char v4[32], v6[48], copy[256];

	memset(w, 0, sizeof(*w));
	snprintf(v4, sizeof(v4), "100.64.%d.%d", (int)(id / 256), (int)(id % 256));
	snprintf(v6, sizeof(v6), "fd7a:115c:a1e0::%x", (unsigned int)id);
	w->node = (struct policy_node){
		.id = id, .user = user, .v4 = world_address(v4), .v6 = world_address(v6)};
	snprintf(copy, sizeof(copy), "%s", tags);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
		size_t i = 0;

		while (i < 64 && words[i][0] && strcmp(words[i], word) != 0)
			i++;
		snprintf(words[i], sizeof(words[i]), "%s", word);
		w->tags[w->node.tags.count++] = words[i];
	}
	snprintf(copy, sizeof(copy), "%s", routes);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		if (prefix_parse(word, strlen(word), &w->routes[w->node.routes.count++]) < 0)
			abort();
	w->node.tags.items = w->tags;
	w->node.routes.items = w->routes;
}

/* world_rules() - The rules that a node is sent, by way of their JSON */
static inline void world_rules(struct applied_policy *t, int64_t id, struct tailcfg_filter *ret)
{
	struct buffer text = BUFFER_INIT(64u * 1024 * 1024);
	struct json_writer json = json_writer_to(&text);
	struct error err = {0};

	if (!applied_policy_filter(t, id, &json, NULL) || json_writer_result(&json) < 0)
		abort();
	if (tailcfg_filter_parse((struct json_range){(const char *)buffer_head(&text), text.length},
				 ret, &err) < 0) {
		fprintf(stderr, "%s\n%.*s\n", err.text, (int)text.length, buffer_head(&text));
		abort();
	}
	buffer_free(&text);
}

/* world_filter() - The filter of a node as the node itself compiles it */
static inline struct filter *world_filter(struct applied_policy *t, const struct policy_node *node)
{
	struct tailcfg_filter received = {0};
	const struct tailcfg_filter *lists[] = {&received};
	const struct prefix own[] = {prefix_of(&node->v4), prefix_of(&node->v6)};
	struct filter_config config = {
		.lists = lists,
		.list_count = 1,
		.addresses = {own, 2},
		.advertised = {node->routes.items, node->routes.count},
	};
	struct filter *f = NULL;

	world_rules(t, node->id, &received);
	if (filter_compile(&config, &f) < 0)
		abort();
	tailcfg_filter_clear(&received);
	return f;
}

/* world_accepts() - Whether the filter lets the first packet of a flow in */
static inline bool world_accepts(const struct filter *f, const struct address *from,
				 const struct address *to, uint8_t protocol, uint16_t port)
{
	struct filter_flows *flows = filter_flows_create(1);
	const struct filter_peer peer = {0};
	struct ip_view v = {
		.version = to->family,
		.source = *from,
		.destination = *to,
		.protocol = protocol,
		.source_port = 40000,
		.destination_port = port,
		.tcp_flags = protocol == IP_PROTOCOL_TCP ? IP_TCP_SYN : 0,
		.icmp_type = 8,
	};
	bool accepted = filter_accepts(filter_inbound(f, flows, &v, &peer));

	filter_flows_free(flows);
	return accepted;
}
