/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_health.c - warnings, for status, bus and /healthz */
#include "base/printable.h"
#include "node/node_internal.h"

#include <stdlib.h>
#include <string.h>

#define WARNING_MAX 1024

/* The code of each warning on the bus, and whether it means that peers can't be reached. */
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
	[NODE_WARN_SERVE] = {"serve-config", false},
	[NODE_WARN_FUNNEL] = {"funnel", false},
	[NODE_WARN_CERT] = {"tls-cert", false},
	[NODE_WARN_PROXY] = {"https-proxy-unusable", true},
};
_Static_assert(ARRAY_SIZE(warnings) == NODE_WARN_COUNT, "each warning has a code");

bool node_warn(struct node *node, enum node_warning warning, const char *text)
{
	char **slot = &node->warnings[warning];
	char line[WARNING_MAX];

	/* The text may quote control or a relay, and may end within a character. */
	if (text) {
		printable(line, sizeof(line), text, utf8_whole(text, strlen(text)));
		text = line;
	}
	if ((!text && !*slot) || (text && *slot && strcmp(text, *slot) == 0))
		return false;
	free(*slot);
	*slot = text ? strdup(text) : NULL;
	node_changed(node, NODE_CHANGED_HEALTH);
	return true;
}

/* put_warning() - A health.UnhealthyState, up to its end */
static void put_warning(struct json_writer *w, const char *code, const char *severity,
			const char *title, const char *text, bool impacts_connectivity)
{
	json_begin_object(w, code);
	json_put_string(w, "WarnableCode", code);
	json_put_string(w, "Severity", severity);
	json_put_string(w, "Title", title);
	json_put_string(w, "Text", text);
	json_put_bool(w, "ImpactsConnectivity", impacts_connectivity);
}

static void put_control_warning(struct json_writer *w, const struct tailcfg_display_message *m)
{
	char code[128];

	snprintf(code, sizeof(code), "control-health.%s", m->id);
	code[utf8_whole(code, strlen(code))] = 0;
	put_warning(w, code, m->severity ? m->severity : "medium", m->title, m->text,
		    m->impacts_connectivity);
	if (m->action_url) {
		json_begin_object(w, "PrimaryAction");
		json_put_string(w, "URL", m->action_url);
		json_put_string(w, "Label", m->action_label);
		json_end_object(w);
	}
	json_end_object(w);
}

void node_write_health(struct node *node, struct json_writer *w, const char *name)
{
	const struct netmap *map = node_netmap(node);

	json_begin_object(w, name);
	json_begin_object(w, "Warnings");
	for (size_t i = 0; i < NODE_WARN_COUNT; i++)
		if (node->warnings[i]) {
			put_warning(w, warnings[i].code,
				    warnings[i].impacts_connectivity ? "high" : "medium",
				    warnings[i].code, node->warnings[i],
				    warnings[i].impacts_connectivity);
			json_end_object(w);
		}
	for (uint32_t i = 0; map && i < map->display_message_count; i++)
		put_control_warning(w, &map->display_messages[i]);
	json_end_object(w);
	json_end_object(w);
}

/* put_control_line() - A message that control wants shown, as a line: "Title: text. Label: URL" */
static void put_control_line(struct json_writer *w, const struct tailcfg_display_message *m)
{
	const char *title = m->title ? m->title : "", *text = m->text ? m->text : "";
	const char *label = m->action_label ? m->action_label : "Open";
	_cleanup_free_ char *line = NULL;

	if (asprintf(&line, "%s%s%s%s%s%s%s", title, *title && *text ? ": " : "", text,
		     m->action_url ? " " : "", m->action_url ? label : "",
		     m->action_url ? ": " : "", m->action_url ? m->action_url : "") >= 0)
		json_put_string(w, NULL, line);
}

void node_write_health_lines(struct node *node, struct json_writer *w, const char *name)
{
	const struct netmap *map = node_netmap(node);

	json_begin_array(w, name);
	for (size_t i = 0; i < NODE_WARN_COUNT; i++)
		if (node->warnings[i])
			json_put_string(w, NULL, node->warnings[i]);
	for (uint32_t i = 0; map && i < map->health.count; i++)
		json_put_string(w, NULL, map->health.items[i]);
	for (uint32_t i = 0; map && i < map->display_message_count; i++)
		put_control_line(w, &map->display_messages[i]);
	json_end_array(w);
}

bool node_healthy(struct node *node, char *reason, size_t size)
{
	enum node_state state = node_state(node);
	static const enum node_warning causes[] = {NODE_WARN_STATE, NODE_WARN_LOGIN,
						   NODE_WARN_NETWORK, NODE_WARN_CONTROL};

	if (state == NODE_RUNNING)
		return true;
	if (state == NODE_STOPPED) {
		snprintf(reason, size, "%s: the node is down; run 'pillion up'",
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
