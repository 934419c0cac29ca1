/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/tailnet_map.c - nodes and what goes with them as JSON, and what map requests change */
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
	{.name = (char *)(uintptr_t) "https://tailscale.com/cap/file-sharing"},
	{.name = (char *)(uintptr_t) "https://tailscale.com/cap/is-admin"},
	{.name = (char *)(uintptr_t) "https://tailscale.com/cap/ssh"},
	/* The last: only where the operator has a DNS hook. */
	{.name = (char *)(uintptr_t) "https"},
};

/* The most that a node is told of. */
#define CAPABILITIES_MAX 256

static bool add_capability(void *data, const char *name, const char *values)
{
	struct tailcfg_capability_list *list = data;

	for (uint32_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i].name, name) == 0)
			return true;
	list->items[list->count++] = (struct tailcfg_capability){
		.name = (char *)(uintptr_t)name,
		.values = (char *)(uintptr_t)values,
	};
	return list->count < CAPABILITIES_MAX;
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

/* withhold() - What of a Hostinfo is nobody else's business, and would be sent to all of them */
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
		n.cap_map.count = ARRAY_SIZE(self_capabilities) - !t->settings.certificates;
		if (t->policy.capabilities)
			t->policy.capabilities(t->policy.user, node, add_capability, &n.cap_map);
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
		if (!t->policy.grants_route ||
		    t->policy.grants_route(t->policy.user, viewer, &node->primary_routes.items[i]))
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
	struct tailcfg_peer_change change = {.node_id = node->record.id};

	if (what & CHANGE_ENDPOINTS) {
		change.has_endpoints = true;
		change.endpoints = node->endpoints;
	}
	if (what & CHANGE_HOME)
		change.derp_region = registry_node_home(node);
	if (what & CHANGE_DISCO) {
		change.has_disco_key = true;
		change.disco_key = node->disco;
	}
	if (what & CHANGE_ONLINE) {
		change.online = node->online ? OPTIONAL_TRUE : OPTIONAL_FALSE;
		change.has_last_seen = !node->online && node->last_seen != JSON_TIME_NONE;
		change.last_seen = node->last_seen;
	}
	tailcfg_peer_change_encode(w, NULL, &change);
}

void tailnet_encode_profile(const struct tailnet *t, const struct registry_node *node,
			    struct json_writer *w)
{
	const struct registry_user *user = registry_user(&t->registry, node->user);
	struct tailcfg_user_profile profile = {.id = node->user};

	if (node->tags.count) {
		profile.id = REGISTRY_TAGGED_USER;
		profile.login_name = profile.display_name = (char *)(uintptr_t) "tagged-devices";
	} else {
		profile.login_name = profile.display_name =
			user ? user->name : (char *)(uintptr_t) "nobody";
	}
	tailcfg_user_profile_encode(w, NULL, &profile);
}

/* put_filter() - "Everybody may reach everybody" where no policy says otherwise */
static void put_filter(const struct tailnet *t, const struct registry_node *node,
		       struct json_writer *w)
{
	static const char all[] = "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":"
				  "{\"First\":0,\"Last\":65535}}]}]";

	json_begin_object(w, "PacketFilters");
	if (t->policy.filter)
		t->policy.filter(t->policy.user, node, w, "base");
	else
		json_put_raw(w, "base", all);
	json_end_object(w);
}

void tailnet_encode_common(struct tailnet *t, struct registry_node *node, unsigned int wants,
			   struct json_writer *w)
{
	char *domain = (char *)(uintptr_t)t->settings.base_domain;

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
		put_filter(t, node, w);
		if (t->policy.ssh)
			t->policy.ssh(t->policy.user, node, w, "SSHPolicy");
	}
}

/* Map requests */

/* copy_prefixes() - -ENOMEM leaves @to as it was */
static int copy_prefixes(struct prefix_list *to, const struct prefix *items, uint32_t count)
{
	struct prefix *copy = count ? reallocarray(NULL, count, sizeof(*copy)) : NULL;

	if (count && !copy)
		return -ENOMEM;
	if (count)
		memcpy(copy, items, count * sizeof(*copy));
	prefix_list_clear(to);
	*to = (struct prefix_list){.items = copy, .count = count};
	return 0;
}

/* hostinfo_text() - For comparing; the network is compared apart */
static int hostinfo_text(const struct tailcfg_hostinfo *info, struct buffer *out)
{
	struct tailcfg_hostinfo rest = *info;
	struct json_writer w = json_writer_to(out);

	rest.net_info = NULL;
	tailcfg_hostinfo_encode(&w, NULL, &rest);
	return json_writer_result(&w);
}

static bool hostinfo_equal(const struct tailcfg_hostinfo *a, const struct tailcfg_hostinfo *b)
{
	struct buffer one = BUFFER_INIT(LIMIT_JSON_COLUMN), two = BUFFER_INIT(LIMIT_JSON_COLUMN);
	bool equal = hostinfo_text(a, &one) == 0 && hostinfo_text(b, &two) == 0 &&
		     one.length == two.length &&
		     memcmp(buffer_head(&one), buffer_head(&two), one.length) == 0;

	buffer_free(&one);
	buffer_free(&two);
	return equal;
}

/* take_hostinfo() - @from becomes @node's; what changed by it */
static unsigned int take_hostinfo(struct tailnet *t, struct registry_node *node,
				  struct tailcfg_hostinfo *from)
{
	uint16_t home = registry_node_home(node);
	unsigned int what = 0;
	bool renamed = from->hostname && (!node->hostinfo.hostname ||
					  strcmp(from->hostname, node->hostinfo.hostname) != 0);

	/* Without a NetInfo the last one holds. */
	if (!from->net_info)
		from->net_info = TAKE_PTR(node->hostinfo.net_info);
	if (!hostinfo_equal(from, &node->hostinfo))
		what |= CHANGE_NODE;
	else if (!tailcfg_net_info_basically_equal(from->net_info, node->hostinfo.net_info))
		registry_touch(&t->registry, &node->record);
	tailcfg_hostinfo_clear(&node->hostinfo);
	node->hostinfo = *from;
	*from = (struct tailcfg_hostinfo){0};
	if (registry_node_home(node) != home)
		/* A patch can't say "no home any more". */
		what |= registry_node_home(node) ? CHANGE_HOME : CHANGE_NODE;
	if (renamed && !node->named)
		(void)registry_rename(&t->registry, node, node->hostinfo.hostname, false);
	return what;
}

int tailnet_update(struct tailnet *t, struct registry_node *node,
		   struct machine_map_request *request, struct tailnet_time now)
{
	unsigned int what = 0;

	(void)now;
	if (request->read_only)
		return 0;
	if (!public_key_is_zero(&request->disco_key) &&
	    !public_key_equal(&request->disco_key, &node->disco)) {
		node->disco = request->disco_key;
		what |= CHANGE_DISCO;
	}
	if (request->has_endpoints && !endpoint_list_equal(&request->endpoints, &node->endpoints)) {
		endpoint_list_clear(&node->endpoints);
		node->endpoints = request->endpoints;
		request->endpoints = (struct endpoint_list){0};
		what |= CHANGE_ENDPOINTS;
	}
	if (request->hostinfo) {
		what |= take_hostinfo(t, node, request->hostinfo);
		if (what & CHANGE_NODE)
			tailnet_settle_routes(t, node);
	}
	if (request->version > 0 && request->version <= UINT16_MAX &&
	    request->version != node->cap) {
		node->cap = (uint16_t)request->version;
		what |= CHANGE_NODE;
	}
	if (what) {
		registry_touch(&t->registry, &node->record);
		tailnet_changed(t, node, what);
	}
	if (what & CHANGE_NODE && node->router_link)
		tailnet_elect_routes(t);
	return 0;
}

/* Routes */

/* drop_unadvertised() - Of @routes keep what @node advertises; how many that are */
static uint32_t drop_unadvertised(const struct registry_node *node, struct prefix *routes,
				  uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++)
		if (prefix_list_contains(&node->hostinfo.routable_ips, &routes[i]))
			routes[kept++] = routes[i];
	return kept;
}

bool tailnet_settle_routes(struct tailnet *t, struct registry_node *node)
{
	struct prefix routes[MACHINE_ROUTES_MAX];
	struct prefix_list now = {.items = routes, .count = node->approved_routes.count};
	bool changed = false;

	if (now.count)
		memcpy(routes, node->approved_routes.items, now.count * sizeof(*routes));
	for (uint32_t i = 0; t->policy.approves && i < node->hostinfo.routable_ips.count; i++) {
		const struct prefix *route = &node->hostinfo.routable_ips.items[i];

		if (prefix_list_contains(&now, route) ||
		    !t->policy.approves(t->policy.user, node, route))
			continue;
		/* What it advertised once makes room for what it advertises now. */
		if (now.count == MACHINE_ROUTES_MAX)
			now.count = drop_unadvertised(node, routes, now.count);
		if (now.count == MACHINE_ROUTES_MAX)
			break;
		routes[now.count++] = *route;
		changed = true;
	}
	if (!changed || copy_prefixes(&node->approved_routes, routes, now.count) < 0)
		return false;
	registry_routes_changed(&t->registry, node);
	registry_touch(&t->registry, &node->record);
	return true;
}

/* is_served() - Whether another node has @route already */
static bool is_served(const struct tailnet *t, const struct registry_node *but,
		      const struct prefix *route)
{
	for (const struct registry_node *n = t->registry.routers; n; n = n->next_router)
		for (uint32_t i = 0; n != but && i < n->primary_routes.count; i++)
			if (prefix_equal(&n->primary_routes.items[i], route))
				return true;
	return false;
}

static bool can_serve(const struct registry_node *node)
{
	return node->online && node->authorized && !node->expired;
}

/* elect() - The routes that @node has now; @keep: only of those it had */
static uint32_t elect(const struct tailnet *t, const struct registry_node *node, struct prefix *out)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < node->approved_routes.count && count < MACHINE_ROUTES_MAX; i++) {
		const struct prefix *route = &node->approved_routes.items[i];

		if (!is_exit_route(route) && registry_node_serves(node, route) && can_serve(node) &&
		    !is_served(t, node, route))
			out[count++] = *route;
	}
	return count;
}

void tailnet_elect_routes(struct tailnet *t)
{
	struct prefix routes[MACHINE_ROUTES_MAX];
	struct registry_node *next;

	/*
	 * First who can't any more gives its routes up, then the first of those who can takes
	 * what is free; who serves a route keeps it.
	 */
	for (int round = 0; round < 2; round++)
		for (struct registry_node *n = t->registry.routers; n; n = next) {
			struct prefix_list now = {.items = routes};

			next = n->next_router;
			if (round == 0 && can_serve(n) && n->approved_routes.count)
				continue;
			now.count = elect(t, n, routes);
			if (prefix_list_equal(&now, &n->primary_routes) ||
			    copy_prefixes(&n->primary_routes, routes, now.count) < 0)
				continue;
			registry_routes_changed(&t->registry, n);
			tailnet_changed(t, n, CHANGE_NODE);
		}
}

int tailnet_set_routes(struct tailnet *t, struct registry_node *node,
		       const struct prefix_list *routes)
{
	int r = copy_prefixes(&node->approved_routes, routes->items, routes->count);

	if (r < 0)
		return r;
	machine_routes_tidy(&node->approved_routes);
	registry_routes_changed(&t->registry, node);
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_NODE);
	tailnet_elect_routes(t);
	return 0;
}

int tailnet_set_tags(struct tailnet *t, struct registry_node *node, const struct string_list *tags,
		     struct tailnet_time now)
{
	bool expired = registry_node_is_expired(node, now.wall), was_tagged = node->tags.count;
	struct string_list copy = {0};

	for (uint32_t i = 0; i < tags->count && i < MACHINE_TAGS_MAX; i++)
		if (string_list_add(&copy, tags->items[i]) < 0) {
			string_list_clear(&copy);
			return -ENOMEM;
		}
	string_list_clear(&node->tags);
	node->tags = copy;
	/* Who was expired stays it: tags are no login. */
	if (!expired && was_tagged != (copy.count > 0)) {
		node->expiry = tailnet_new_expiry(t, copy.count > 0, now);
		tailnet_schedule(t, node, now);
	}
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_NODE);
	/* Who sees whom may be other now: unless policy says whom that concerns, each one's view is
	 * made again. */
	if (t->policy.sees && !t->policy.changed)
		tailnet_changed_all(t, WANTS_FULL);
	return 0;
}

int tailnet_rename(struct tailnet *t, struct registry_node *node, const char *name)
{
	int r = registry_rename(&t->registry, node, name, true);

	if (r < 0)
		return r;
	node->named = true;
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_NODE);
	return 0;
}

void tailnet_set_expiry(struct tailnet *t, struct registry_node *node, nanoseconds expiry,
			struct tailnet_time now)
{
	node->expiry = expiry;
	node->expired = registry_node_is_expired(node, now.wall);
	if (node->expired)
		tailnet_key_gone(t, node);
	tailnet_schedule(t, node, now);
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_NODE);
	tailnet_elect_routes(t);
}
