/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/tailnet_map.c - nodes and what goes with them, as clients and policy read them */
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/coordinator/tailnet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One node's text. */
#define NODE_TEXT_MAX LIMIT_JSON_COLUMN

/* What a node may use; the names are the protocol's. */
static struct tailcfg_capability self_capabilities[] = {
	{.name = "https://tailscale.com/cap/file-sharing"},
	{.name = "https://tailscale.com/cap/is-admin"},
	{.name = "https://tailscale.com/cap/ssh"},
};

#define HTTPS        "https"  /* the node may have certificates */
#define FUNNEL       "funnel" /* an attribute of the policy: it may funnel, */
#define FUNNEL_PORTS "https://tailscale.com/cap/funnel-ports?ports=" /* on these ports */
#define SIGNS        "pillion/cap/certificate"                       /* machine_sign.c */

#define CAPABILITIES_MAX  256
#define CAPABILITIES_OURS 4u /* of them */

static bool add_capability(void *data, const char *name, const char *values)
{
	struct tailcfg_capability_list *list = data;

	for (uint32_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i].name, name) == 0)
			return true;
	list->items[list->count++] = (struct tailcfg_capability){
		.name = name,
		.values = values,
	};
	return list->count < CAPABILITIES_MAX - CAPABILITIES_OURS;
}

/* add_funnel() - What clients want to see beside the attribute of the policy */
static void add_funnel(struct tailcfg_capability_list *list)
{
	bool funnel = false, ports = false;

	for (uint32_t i = 0; i < list->count; i++) {
		funnel |= strcmp(list->items[i].name, FUNNEL) == 0;
		ports |= strncmp(list->items[i].name, FUNNEL_PORTS, strlen(FUNNEL_PORTS)) == 0;
	}
	if (!funnel)
		return;
	(void)add_capability(list, HTTPS, NULL);
	if (!ports)
		(void)add_capability(list, FUNNEL_PORTS "443,8443,10000", NULL);
}

static bool is_exit_route(const struct prefix *p)
{
	return p->bits == 0;
}

static void append(struct prefix *items, uint32_t *count, const struct prefix *p)
{
	items[(*count)++] = *p;
}

/* allowed_ips() - Its addresses, @routes of those that it serves, and exit routes */
static uint32_t allowed_ips(const struct registry_node *node, const struct prefix_list *routes,
			    struct prefix *out)
{
	struct prefix v4 = prefix_of(&node->v4), v6 = prefix_of(&node->v6);
	uint32_t count = 0;

	append(out, &count, &v4);
	append(out, &count, &v6);
	for (uint32_t i = 0; i < routes->count; i++)
		append(out, &count, &routes->items[i]);
	for (uint32_t i = 0; i < node->approved_routes.count; i++)
		if (is_exit_route(&node->approved_routes.items[i]) &&
		    registry_node_serves(node, &node->approved_routes.items[i]))
			append(out, &count, &node->approved_routes.items[i]);
	return count;
}

/* withhold() - Remove the members of a Hostinfo that peers have no use for */
static void withhold(struct tailcfg_hostinfo *info, bool self)
{
	info->net_info = NULL;
	info->backend_log_id = NULL;
	info->request_tags = (struct string_list){0};
	if (self)
		return;
	info->ipn_version = info->os_version = NULL;
	info->distro = info->distro_version = info->distro_code_name = NULL;
	info->package = info->device_model = info->machine = NULL;
	info->go_arch = info->go_version = NULL;
	info->services_hash = info->exit_node_id = NULL;
	info->container = info->state_encrypted = OPTIONAL_UNSET;
	info->no_logs_no_support = false;
}

/* encode() - As a Node with @routes of those that it serves. All but the copies made here is
 * borrowed */
static void encode(struct tailnet *t, const struct registry_node *node,
		   const struct prefix_list *routes, bool self, nanoseconds now_wall,
		   struct json_writer *w, const char *name)
{
	struct prefix addresses[2] = {prefix_of(&node->v4), prefix_of(&node->v6)};
	struct prefix allowed[2 + 2 * MACHINE_ROUTES_MAX];
	struct tailcfg_capability capabilities[CAPABILITIES_MAX];
	char fqdn[REGISTRY_NAME_MAX + 260], stable[24];
	struct tailcfg_hostinfo info = node->hostinfo;
	struct tailcfg_node n = {
		.id = node->record.id,
		.stable_id = stable,
		.name = fqdn,
		.user = node->tags.count ? REGISTRY_TAGGED_USER : node->user,
		.key = node->key,
		.machine = node->machine,
		.disco_key = node->disco,
		.key_expiry = node->expiry,
		.created = node->created,
		.last_seen = node->online ? JSON_TIME_NONE : node->last_seen,
		.addresses = {.items = addresses, .count = 2},
		.allowed_ips = {.items = allowed, .count = allowed_ips(node, routes, allowed)},
		.primary_routes = *routes,
		.endpoints = node->endpoints,
		.home_derp = registry_node_home(node),
		.cap = node->cap,
		.online = node->online ? OPTIONAL_TRUE : OPTIONAL_FALSE,
		.machine_authorized = node->authorized,
		.expired = self ? registry_node_is_expired(node, now_wall) : node->expired,
		.tags = node->tags,
		.hostinfo = &info,
	};

	snprintf(fqdn, sizeof(fqdn), "%s.%s.", node->name, t->settings.base_domain);
	snprintf(stable, sizeof(stable), "n%lldCNTRL", (long long)node->record.id);
	withhold(&info, self);
	if (self) {
		memcpy(capabilities, self_capabilities, sizeof(self_capabilities));
		n.cap_map.items = capabilities;
		n.cap_map.count = ARRAY_SIZE(self_capabilities);
		(void)applied_policy_capabilities(t->policy, node->record.id, add_capability,
						  &n.cap_map);
		if (t->settings.certificates)
			(void)add_capability(&n.cap_map, HTTPS, NULL);
		if (t->settings.signs)
			(void)add_capability(&n.cap_map, SIGNS, NULL);
		add_funnel(&n.cap_map);
		n.online = OPTIONAL_TRUE;
		n.last_seen = JSON_TIME_NONE;
	}
	tailcfg_node_encode(w, name, &n);
}

/* encode_whole() - With all routes; NULL without memory. Kept until it changes */
static const char *encode_whole(struct tailnet *t, struct registry_node *node)
{
	struct buffer text = BUFFER_INIT(NODE_TEXT_MAX);
	struct json_writer w = json_writer_to(&text);

	if (node->encoded)
		return node->encoded;
	encode(t, node, &node->primary_routes, false, 0, &w, NULL);
	if (json_writer_result(&w) == 0)
		node->encoded = strndup((char *)buffer_head(&text), text.length);
	buffer_free(&text);
	return node->encoded;
}

void tailnet_encode_peer(struct tailnet *t, const struct registry_node *viewer,
			 struct registry_node *node, struct json_writer *w)
{
	struct prefix granted[MACHINE_ROUTES_MAX];
	struct prefix_list routes = {.items = granted};
	const char *text;

	for (uint32_t i = 0; i < node->primary_routes.count && i < MACHINE_ROUTES_MAX; i++)
		if (applied_policy_grants_route(t->policy, viewer->record.id,
						&node->primary_routes.items[i]))
			append(granted, &routes.count, &node->primary_routes.items[i]);
	if (routes.count < node->primary_routes.count) {
		encode(t, node, &routes, false, 0, w, NULL);
		return;
	}
	text = encode_whole(t, node);
	if (text)
		json_put_raw(w, NULL, text);
	else
		w->error = -ENOMEM;
}

void tailnet_encode_self(struct tailnet *t, struct registry_node *node, struct tailnet_time now,
			 struct json_writer *w, const char *name)
{
	encode(t, node, &node->primary_routes, true, now.wall, w, name);
}

void tailnet_encode_change(const struct registry_node *node, unsigned int what,
			   struct json_writer *w)
{
	json_begin_object(w, NULL);
	json_put_int(w, "NodeID", node->record.id);
	if (what & CHANGE_HOME)
		json_put_int_if(w, "DERPRegion", registry_node_home(node));
	if (what & CHANGE_ENDPOINTS)
		json_put_endpoints(w, "Endpoints", &node->endpoints);
	if (what & CHANGE_DISCO)
		json_put_key(w, "DiscoKey", &node->disco, KEY_DISCO);
	if (what & CHANGE_ONLINE) {
		json_put_bool(w, "Online", node->online);
		if (!node->online)
			json_put_time_if(w, "LastSeen", node->last_seen);
	}
	json_end_object(w);
}

void tailnet_encode_profile(const struct tailnet *t, const struct registry_node *node,
			    struct json_writer *w)
{
	const struct registry_user *user = registry_user(&t->registry, node->user);
	struct tailcfg_user_profile profile = {.id = node->user};

	if (node->tags.count) {
		profile.id = REGISTRY_TAGGED_USER;
		profile.login_name = profile.display_name = "tagged-devices";
	} else {
		profile.login_name = profile.display_name = user ? user->name : "nobody";
	}
	tailcfg_user_profile_encode(w, NULL, &profile);
}

void tailnet_encode_common(struct tailnet *t, struct registry_node *node, unsigned int wants,
			   struct json_writer *w)
{
	char *domain = (char *)t->settings.base_domain; /* the list below only reads it */

	if (wants & WANTS_FULL) {
		json_put_string(w, "Domain", domain);
		json_put_bool(w, "CollectServices", false);
		json_put_raw(w, "Debug", "{\"DisableLogTail\":true}");
	}
	if (wants & WANTS_DERP_MAP)
		tailcfg_derp_map_encode(w, "DERPMap", &t->settings.derp_map);
	if (wants & WANTS_DNS) {
		struct tailcfg_dns_config dns = t->settings.dns;
		char fqdn[REGISTRY_NAME_MAX + 260], *own = fqdn;

		snprintf(fqdn, sizeof(fqdn), "%s.%s", node->name, domain);
		if (t->settings.certificates)
			dns.cert_domains = (struct string_list){.items = &own, .count = 1};
		dns.proxied = true;
		dns.domains = (struct string_list){.items = &domain, .count = 1};
		tailcfg_dns_config_encode(w, "DNSConfig", &dns);
	}
	if (wants & WANTS_FILTER) {
		json_begin_object(w, "PacketFilters");
		applied_policy_filter(t->policy, node->record.id, w, "base");
		json_end_object(w);
		applied_policy_ssh(t->policy, node->record.id, w, "SSHPolicy");
	}
}

struct policy_node tailnet_describe(const struct tailnet *t, const struct registry_node *node,
				    struct prefix *routes)
{
	const struct registry_user *user = registry_user(&t->registry, node->user);
	struct policy_node n = {
		.id = node->record.id,
		.user = user ? user->name : NULL,
		.tags = node->tags,
		.v4 = node->v4,
		.v6 = node->v6,
		.routes.items = routes,
	};

	for (uint32_t i = 0; routes && i < node->approved_routes.count; i++)
		if (registry_node_serves(node, &node->approved_routes.items[i]))
			routes[n.routes.count++] = node->approved_routes.items[i];
	return n;
}
