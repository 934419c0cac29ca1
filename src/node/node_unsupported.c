/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_unsupported.c - settings of the official daemon that have no effect here yet
 *
 * They are kept in the state file, for a volume that is handed back. Who turns one on
 * is refused, since he would rely on it: an exit node that isn't used lets traffic out
 * directly. One that a volume brought along is a warning.
 */
#include "node/node_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_filled(const struct prefs *p, const char *name)
{
	const json_t *value = json_object_get(p->object, name);

	return json_array_size(value) > 0 || json_is_integer(value);
}

static bool uses_exit_node(const struct prefs *p)
{
	return *p->exit_node_id || *p->exit_node_ip;
}

static bool runs_ssh(const struct prefs *p)
{
	return p->run_ssh;
}

static bool runs_web_client(const struct prefs *p)
{
	return p->run_web_client;
}

static bool advertises_routes(const struct prefs *p)
{
	return p->advertise_route_count > 0;
}

static bool advertises_services(const struct prefs *p)
{
	return is_filled(p, "AdvertiseServices");
}

static bool is_app_connector(const struct prefs *p)
{
	const json_t *connector = json_object_get(p->object, "AppConnector");

	return json_is_true(json_object_get(connector, "Advertise"));
}

static bool is_peer_relay(const struct prefs *p)
{
	return is_filled(p, "RelayServerPort");
}

static const struct {
	const char *name;
	bool (*is_on)(const struct prefs *p);
} unsupported[] = {
	{"exit nodes", uses_exit_node},
	{"the SSH server", runs_ssh},
	{"the web interface", runs_web_client},
	{"subnet routes of its own", advertises_routes},
	{"Tailscale Services", advertises_services},
	{"app connectors", is_app_connector},
	{"peer relays", is_peer_relay},
};

int node_check_supported(const struct prefs *before, const struct prefs *now, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(unsupported); i++)
		if (unsupported[i].is_on(now) && !unsupported[i].is_on(before))
			return error_set(err, -EOPNOTSUPP,
					 "pillion does not support %s yet; leave this setting out",
					 unsupported[i].name);
	return 0;
}

void node_warn_unsupported(struct node *node)
{
	char text[256] = "";
	size_t used = 0;

	for (size_t i = 0; node->state_usable && i < ARRAY_SIZE(unsupported); i++)
		if (unsupported[i].is_on(&node->state.prefs))
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
						 used ? ", " : "settings without effect here yet: ",
						 unsupported[i].name);
	node_warn(node, NODE_WARN_SETTINGS, used ? text : NULL);
}
