/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_debug.c - what `tailscale debug` asks, and control by C2N: the netmap and what it switches
 *
 * JSON in the shapes of the official daemon, whose command line and tests read it.
 */
#include "base/limits.h"
#include "node/node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static json_t *netmap_json(const struct netmap *map)
{
	json_t *json, *peers;
	char key[KEY_TEXT_MAX];

	if (!map || !map->self)
		return NULL;
	json = json_object();
	peers = json_array();
	json_object_set_new(json, "SelfNode", node_peer_json(map->self));
	json_object_set_new(json, "NodeKey",
			    json_string(public_key_format(&map->self->key, KEY_NODE, key)));
	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p))
		json_array_append_new(peers, node_peer_json(&p->node));
	json_object_set_new(json, "Peers", peers);
	json_object_set_new(json, "Domain", json_string(map->domain ? map->domain : ""));
	return json;
}

json_t *node_netmap_json(struct node *node)
{
	return netmap_json(node_netmap(node));
}

/* candidate_json() - What a MapResponse in the body of a question would make of a netmap */
static json_t *candidate_json(json_t *candidate)
{
	char *text = json_dumps(candidate, JSON_COMPACT);
	struct netmap *map = NULL;
	json_t *json = NULL;

	if (text && netmap_decode(text, strlen(text), clock_realtime(), &map, NULL) == 0)
		json = netmap_json(map);
	netmap_free(map);
	free(text);
	return json;
}

static void omit(json_t *netmap, json_t *names)
{
	json_t *name;
	size_t i;

	json_array_foreach(names, i, name)
		if (netmap && json_is_string(name))
			json_object_del(netmap, json_string_value(name));
}

static json_t *c2n_netmap_json(struct node *node, const struct control_c2n_request *request)
{
	json_t *asked = request->body_length ? json_loadb((const char *)request->body,
							  request->body_length, 0, NULL)
					     : NULL;
	json_t *candidate = json_object_get(asked, "candidate");
	json_t *names = json_object_get(asked, "omitFields");
	json_t *current = node_netmap_json(node), *answer = NULL, *made = NULL;

	if (request->body_length && !json_is_object(asked))
		goto refused;
	if (json_is_object(candidate)) {
		made = candidate_json(candidate);
		if (!made)
			goto refused;
	}
	omit(current, names);
	omit(made, names);
	answer = json_object();
	if (made)
		json_object_set(answer, "candidate", made);
	json_object_set(answer, "current", current ? current : json_null());
refused:
	json_decref(made);
	json_decref(current);
	json_decref(asked);
	return answer;
}

/* knobs_json() - The node attributes by which control switches behaviour, by the official names */
static json_t *knobs_json(const struct node *node)
{
	static const struct {
		const char *name, *attribute;
	} knobs[] = {
		{"DisableUPnP", "debug-disable-upnp"},
		{"RandomizeClientPort", "randomize-client-port"},
		{"DisableDeltaUpdates", "disable-delta-updates"},
		{"ForceBackgroundSTUN", "debug-force-background-stun"},
		{"PeerMTUEnable", "peer-mtu-enable"},
		{"SilentDisco", "silent-disco"},
		{"LinuxForceIPTables", "linux-netfilter?v=1"},
		{"LinuxForceNfTables", "linux-netfilter?v=2"},
		{"ProbeUDPLifetime", "probe-udp-lifetime"},
		{"UserDialUseRoutes", "user-dial-routes"},
		{"DisableCaptivePortalDetection", "disable-captive-portal-detection"},
		{"CacheNetworkMaps", "cache-network-maps"},
	};
	const struct netmap *map = node_netmap(node);
	json_t *json = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
		bool on = map && map->self &&
			  tailcfg_capability_find(&map->self->cap_map, knobs[i].attribute);

		json_object_set_new(json, knobs[i].name, json_boolean(on));
	}
	return json;
}

static json_t *disco_keys_json(const struct node *node)
{
	const struct netmap *map = node_netmap(node);
	json_t *json = json_object();
	char key[KEY_TEXT_MAX], disco[KEY_TEXT_MAX];

	for (struct netmap_peer *p = map ? netmap_peer_next(map, NULL) : NULL; p;
	     p = netmap_peer_next(map, p))
		json_object_set_new(
			json, public_key_format(&p->node.key, KEY_NODE, key),
			json_string(public_key_format(&p->node.disco_key, KEY_DISCO, disco)));
	return json;
}

int node_debug(struct node *node, const char *action, json_t **ret, struct error *err)
{
	*ret = NULL;
	if (strcmp(action, "current-netmap") == 0) {
		*ret = node_netmap_json(node);
		return *ret ? 0 : error_set(err, -ENODATA, "no netmap");
	}
	if (strcmp(action, "control-knobs") == 0)
		*ret = knobs_json(node);
	else if (strcmp(action, "peer-disco-keys") == 0)
		*ret = disco_keys_json(node);
	else if (strcmp(action, "peer-relay-servers") == 0)
		*ret = json_array(); /* they are not used */
	else if (strcmp(action, "rebind") == 0 || strcmp(action, "restun") == 0) {
		if (node->tunnel)
			tunnel_link_changed(node->tunnel);
	} else if (!action[0]) {
		return error_set(err, -EINVAL, "missing parameter 'action'");
	} else {
		return error_set(err, -EINVAL, "unknown action \"%.64s\"", action);
	}
	return 0;
}

void node_answer_c2n(void *user, const struct control_c2n_request *request,
		     struct control_c2n_reply *reply)
{
	struct node *node = user;
	json_t *json = NULL;
	char *text;

	if (strcmp(request->path, "/debug/health") == 0)
		json = node_health_json(node);
	else if (strcmp(request->path, "/debug/netmap") == 0)
		json = c2n_netmap_json(node, request);
	else if (strcmp(request->path, "/debug/prefs") == 0)
		json = node_prefs_json(node);
	if (!json)
		return;
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (text && buffer_append(&reply->body, text, strlen(text)) == 0) {
		reply->status = 200;
		reply->content_type = "application/json";
	}
	free(text);
}
