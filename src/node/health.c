/* SPDX-License-Identifier: BSD-3-Clause */
/* node/health.c - what is wrong, for status, bus and /healthz */
#include "node/internal.h"

#include <stdlib.h>
#include <string.h>

/* The code of each warning on the bus, and whether peers can't be reached because of it. */
static const struct {
	const char *code;
	bool impacts_connectivity;
} warnings[] = {
	[NODE_WARN_STATE] = {"state-unusable", true},
	[NODE_WARN_STORE] = {"state-not-stored", false},
	[NODE_WARN_LOGIN] = {"login-needed", true},
	[NODE_WARN_CONTROL] = {"not-in-map-poll", false},
	[NODE_WARN_RELAY] = {"no-derp-connection", true},
	[NODE_WARN_NETWORK] = {"network-state", true},
	[NODE_WARN_FILTER] = {"packet-filter", true},
	[NODE_WARN_LOCKED] = {"tailnet-lock", true},
	[NODE_WARN_SUPERVISOR] = {"supervisor", false},
	[NODE_WARN_SANDBOX] = {"sandbox", false},
	[NODE_WARN_CRASH] = {"engine-crashed", false},
	[NODE_WARN_CERTIFICATES] = {"no-certificate-authority", true},
};
_Static_assert(ARRAY_SIZE(warnings) == NODE_WARN_COUNT, "a code a warning");

/** node_warn() - Set a warning, or clear it by NULL; watchers are told of a change */
void node_warn(struct node *node, enum node_warning warning, const char *text)
{
	char **slot = &node->warnings[warning];

	if ((!text && !*slot) || (text && *slot && strcmp(text, *slot) == 0))
		return;
	free(*slot);
	*slot = text ? strdup(text) : NULL;
	node_bus_send(node, "Health", node_health_json(node));
}

/** node_health_json() - health.State of the bus: {"Warnings": {code: …}} */
json_t *node_health_json(struct node *node)
{
	json_t *map = json_object();

	for (size_t i = 0; map && i < NODE_WARN_COUNT; i++)
		if (node->warnings[i])
			json_object_set_new(
				map, warnings[i].code,
				json_pack("{s:s, s:s, s:s, s:s, s:b}", "WarnableCode",
					  warnings[i].code, "Severity",
					  warnings[i].impacts_connectivity ? "high" : "medium",
					  "Title", warnings[i].code, "Text", node->warnings[i],
					  "ImpactsConnectivity", warnings[i].impacts_connectivity));
	return json_pack("{s:o}", "Warnings", map);
}

/** node_health_lines() - The same as a list of lines, control's own health lines at the end */
json_t *node_health_lines(struct node *node)
{
	const struct netmap *map = node_netmap(node);
	json_t *lines = json_array();

	for (size_t i = 0; lines && i < NODE_WARN_COUNT; i++)
		if (node->warnings[i])
			json_array_append_new(lines, json_string(node->warnings[i]));
	for (uint32_t i = 0; lines && map && i < map->health.count; i++)
		json_array_append_new(lines, json_string(map->health.items[i]));
	return lines;
}

bool node_healthy(struct node *node, char *reason, size_t size)
{
	enum node_state state = node_state(node);
	static const enum node_warning causes[] = {NODE_WARN_STATE, NODE_WARN_LOGIN,
						   NODE_WARN_NETWORK, NODE_WARN_CONTROL};

	if (state == NODE_RUNNING)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(causes); i++)
		if (node->warnings[causes[i]]) {
			snprintf(reason, size, "%s: %s", node_state_name(state),
				 node->warnings[causes[i]]);
			return false;
		}
	snprintf(reason, size, "%s: no tailnet address yet", node_state_name(state));
	return false;
}
