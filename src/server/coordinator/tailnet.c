/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/tailnet.c - begin and end of a tailnet, and timed events */
#include "server/coordinator/tailnet.h"

#include "base/cleanup.h"
#include "transport/url.h"

#include <string.h>

#define RESTART_GRACE (60 * NSEC_PER_SEC)

struct tailnet_time tailnet_now(void)
{
	return (struct tailnet_time){.boot = clock_boottime(), .wall = clock_realtime()};
}

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
	for (uint32_t i = 0; i < dns->routes.count; i++)
		if (is_below(t, label, dns->routes.items[i].suffix))
			return true;
	return false;
}

/* reserves() - Whether LABEL.BASE-DOMAIN is the name of this server, of a relay, of an extra record or
 * of a split-DNS route: a node with that name would get its traffic and its certificate */
static bool reserves(const void *user, const char *label)
{
	const struct tailnet *t = user;
	struct error err;
	struct url url;

	return (url_parse(t->settings.server_url, &url, &err) == 0 &&
		is_below(t, label, url.host)) ||
	       is_relay(t, label) || is_record(t, label);
}

int tailnet_init(struct tailnet *t, const struct tailnet_settings *settings)
{
	struct error err;

	*t = (struct tailnet){.settings = *settings};
	TAILQ_INIT(&t->ready);
	registry_init(&t->registry);
	t->registry.reserved = reserves;
	t->registry.reserved_user = t;
	return tailnet_policy_load(t, &err);
}

void tailnet_clear(struct tailnet *t)
{
	struct tailnet_time now = tailnet_now();

	while (!LIST_EMPTY(&t->sessions))
		map_session_close(LIST_FIRST(&t->sessions), now);
	while (t->logins)
		tailnet_login_remove(t, &t->logins);
	tailnet_ssh_clear(t);
	applied_policy_free(TAKE_PTR(t->policy));
	registry_clear(&t->registry);
}

void tailnet_loaded(struct tailnet *t, struct tailnet_time now)
{
	t->wall_offset = now.wall - now.boot;
	for (struct registry_node *node = t->registry.nodes; node; node = node->by_id.next) {
		node->expired = registry_node_is_expired(node, now.wall);
		if (node->last_seen == JSON_TIME_NONE) {
			node->online = true;
			node->offline_at = now.boot + RESTART_GRACE;
		} else if (node->ephemeral) {
			node->remove_at = now.boot + t->settings.ephemeral_timeout;
		}
		tailnet_schedule(t, node, now);
	}
	tailnet_elect_routes(t);
}

static void went_offline(struct tailnet *t, struct registry_node *node, struct tailnet_time now)
{
	node->offline_at = DEADLINE_NEVER;
	node->online = false;
	node->last_seen = now.wall;
	if (node->ephemeral)
		node->remove_at = now.boot + t->settings.ephemeral_timeout;
	registry_touch(&t->registry, &node->record);
	tailnet_changed(t, node, CHANGE_ONLINE);
	if (node->is_router)
		tailnet_elect_routes(t);
}

static void node_due(struct tailnet *t, struct registry_node *node, struct tailnet_time now)
{
	if (node->remove_at <= now.boot) {
		tailnet_remove(t, node);
		return;
	}
	if (node->offline_at <= now.boot)
		went_offline(t, node, now);
	if (node->expired != registry_node_is_expired(node, now.wall)) {
		node->expired = !node->expired;
		if (node->expired)
			tailnet_key_gone(t, node);
		tailnet_changed(t, node, CHANGE_NODE);
	}
	tailnet_schedule(t, node, now);
}

void tailnet_tick(struct tailnet *t, struct tailnet_time now)
{
	struct tailnet_login **login = &t->logins;
	nanoseconds offset = now.wall - now.boot, moved = offset - t->wall_offset;
	struct registry_node *node, *next;
	struct deadline *due;

	deadlines_turn(&t->due, now.boot);
	while ((due = deadlines_next(&t->due)))
		node_due(t, container_of(due, struct registry_node, due), now);
	/* The wall clock, which expiry uses, was set. */
	if (moved > NSEC_PER_SEC || moved < -NSEC_PER_SEC) {
		t->wall_offset = offset;
		HASH_ITER(by_id, t->registry.nodes, node, next)
			node_due(t, node, now);
	}
	tailnet_ssh_tick(t, now.boot);
	while (*login)
		if ((*login)->until > now.boot)
			login = &(*login)->next;
		else
			tailnet_login_remove(t, login);
}
