/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_health.c - what is wrong, for status, bus and /healthz */
#include "base/printable.h"
#include "node/node_internal.h"

#include <stdlib.h>
#include <string.h>

#define WARNING_MAX 1024

/* The code of each warning on the bus, and whether peers can't be reached because of it. */
static const struct {
	const char *code;
	bool impacts_connectivity;
} warnings[] = {
	[NODE_WARN_STATE] = {"state-store-health", true},
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
	[NODE_WARN_SETTINGS] = {"unsupported-settings", false},
	[NODE_WARN_PROXY] = {"https-proxy-unusable", true},
};
_Static_assert(ARRAY_SIZE(warnings) == NODE_WARN_COUNT, "a code a warning");

/** node_warn() - Set a warning, or clear it by NULL; watchers are told of a change */
void node_warn(struct node *node, enum node_warning warning, const char *text)
{
	char **slot = &node->warnings[warning];
	char line[WARNING_MAX];

	/* It may quote control or a relay, cut anywhere: JSON would not hold half a character. */
	if (text) {
		printable(line, sizeof(line), text, utf8_whole(text, strlen(text)));
		text = line;
	}
	if ((!text && !*slot) || (text && *slot && strcmp(text, *slot) == 0))
		return;
	free(*slot);
	*slot = text ? strdup(text) : NULL;
	node_changed(node, NODE_CHANGED_HEALTH);
}

/* control_warning() - A message that control wants shown, as one of our own */
static json_t *control_warning(const struct tailcfg_display_message *m, const char *code)
{
	json_t *json;

	json = json_pack("{s:s, s:s, s:s, s:s, s:b}", "WarnableCode", code, "Severity",
			 m->severity ? m->severity : "medium", "Title", m->title ? m->title : "",
			 "Text", m->text ? m->text : "", "ImpactsConnectivity",
			 m->impacts_connectivity);
	if (json && m->action_url)
		json_object_set_new(json, "PrimaryAction",
				    json_pack("{s:s, s:s}", "URL", m->action_url, "Label",
					      m->action_label ? m->action_label : ""));
	return json;
}

static void add_control_warnings(const struct netmap *netmap, json_t *map)
{
	for (uint32_t i = 0; i < netmap->display_message_count; i++) {
		const struct tailcfg_display_message *m = &netmap->display_messages[i];
		char code[128];

		snprintf(code, sizeof(code), "control-health.%s", m->id);
		code[utf8_whole(code, strlen(code))] = 0;
		json_object_set_new(map, code, control_warning(m, code));
	}
}

/* control_line() - The same message as a line: "Title: text. Label: URL" */
static json_t *control_line(const struct tailcfg_display_message *m)
{
	const char *title = m->title ? m->title : "", *text = m->text ? m->text : "";
	const char *label = m->action_label ? m->action_label : "Open";

	return json_sprintf("%s%s%s%s%s%s%s", title, *title && *text ? ": " : "", text,
			    m->action_url ? " " : "", m->action_url ? label : "",
			    m->action_url ? ": " : "", m->action_url ? m->action_url : "");
}

/** node_health_json() - health.State of the bus: {"Warnings": {code: …}} */
json_t *node_health_json(struct node *node)
{
	const struct netmap *netmap = node_netmap(node);
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
	if (map && netmap)
		add_control_warnings(netmap, map);
	return json_pack("{s:o}", "Warnings", map);
}

/** node_health_lines() - The same as a list of lines, what control says at the end */
json_t *node_health_lines(struct node *node)
{
	const struct netmap *map = node_netmap(node);
	json_t *lines = json_array();

	for (size_t i = 0; lines && i < NODE_WARN_COUNT; i++)
		if (node->warnings[i])
			json_array_append_new(lines, json_string(node->warnings[i]));
	for (uint32_t i = 0; lines && map && i < map->health.count; i++)
		json_array_append_new(lines, json_string(map->health.items[i]));
	for (uint32_t i = 0; lines && map && i < map->display_message_count; i++)
		json_array_append_new(lines, control_line(&map->display_messages[i]));
	return lines;
}

bool node_healthy(struct node *node, char *reason, size_t size)
{
	enum node_state state = node_state(node);
	static const enum node_warning causes[] = {NODE_WARN_STATE, NODE_WARN_LOGIN,
						   NODE_WARN_NETWORK, NODE_WARN_CONTROL};

	if (state == NODE_RUNNING)
		return true;
	if (state == NODE_STOPPED) {
		snprintf(reason, size, "%s: the node is down; 'pillion up' brings it up",
			 node_state_name(state));
		return false;
	}
	for (size_t i = 0; i < ARRAY_SIZE(causes); i++)
		if (node->warnings[causes[i]]) {
			snprintf(reason, size, "%s: %s", node_state_name(state),
				 node->warnings[causes[i]]);
			return false;
		}
	snprintf(reason, size, "%s: no tailnet address yet", node_state_name(state));
	return false;
}
