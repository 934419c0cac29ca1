/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_debug.c - the netmap and its switches, for `tailscale debug` and requests of control
 *
 * The JSON has the shapes of the official daemon, whose command line and tests read it.
 */
#include "base/limits.h"
#include "node/node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_omitted(json_t *omitted, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach(omitted, i, item)
		if (json_is_string(item) && strcmp(json_string_value(item), name) == 0)
			return true;
	return false;
}

/* put_netmap() - A netmap.NetworkMap without the members that the array @omitted names */
static void put_netmap(struct json_writer *w, const char *name, const struct netmap *map,
		       json_t *omitted)
{
	json_begin_object(w, name);
	if (!is_omitted(omitted, "SelfNode"))
		tailcfg_node_encode(w, "SelfNode", map->self);
	if (!is_omitted(omitted, "NodeKey"))
		json_put_key(w, "NodeKey", &map->self->key, KEY_NODE);
	if (!is_omitted(omitted, "Peers")) {
		json_begin_array(w, "Peers");
		for (struct netmap_peer *p = netmap_peer_next(map, NULL); p;
		     p = netmap_peer_next(map, p))
			tailcfg_node_encode(w, NULL, &p->node);
		json_end_array(w);
	}
	if (!is_omitted(omitted, "Domain"))
		json_put_string(w, "Domain", map->domain);
	json_end_object(w);
}

void node_write_netmap(struct node *node, struct json_writer *w, const char *name)
{
	put_netmap(w, name, node_netmap(node), NULL);
}

/* decode_candidate() - The netmap that control's MapResponse @candidate would make; NULL: none */
static struct netmap *decode_candidate(json_t *candidate)
{
	_cleanup_free_ char *text = json_dumps(candidate, JSON_COMPACT);
	struct netmap *map = NULL;

	if (text && netmap_decode(text, strlen(text), clock_realtime(), &map, NULL) == 0 &&
	    !map->self)
		netmap_free(TAKE_PTR(map));
	return map;
}

/* answer_netmap() - /debug/netmap; nothing is written for a request that can't be read */
static void answer_netmap(struct node *node, const struct control_c2n_request *request,
			  struct json_writer *w)
{
	json_t *asked = request->body_length ? json_loadb((const char *)request->body,
							  request->body_length, 0, NULL)
					     : NULL;
	json_t *candidate = json_object_get(asked, "candidate");
	json_t *omitted = json_object_get(asked, "omitFields");
	struct netmap *map = json_is_object(candidate) ? decode_candidate(candidate) : NULL;

	if ((!request->body_length || json_is_object(asked)) &&
	    (map || !json_is_object(candidate))) {
		json_begin_object(w, NULL);
		if (map)
			put_netmap(w, "candidate", map, omitted);
		if (node_has_map(node))
			put_netmap(w, "current", node_netmap(node), omitted);
		else
			json_put_null(w, "current");
		json_end_object(w);
	}
	netmap_free(map);
	json_decref(asked);
}

/* put_knobs() - The node attributes by which control switches behaviour, by the official names */
static void put_knobs(const struct node *node, struct json_writer *w)
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

	json_begin_object(w, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(knobs); i++)
		json_put_bool(w, knobs[i].name,
			      node_has_map(node) &&
				      tailcfg_capability_find(&node_netmap(node)->self->cap_map,
							      knobs[i].attribute));
	json_end_object(w);
}

static void put_disco_keys(const struct node *node, struct json_writer *w)
{
	const struct netmap *map = node_netmap(node);
	char key[KEY_TEXT_MAX];

	json_begin_object(w, NULL);
	for (struct netmap_peer *p = map ? netmap_peer_next(map, NULL) : NULL; p;
	     p = netmap_peer_next(map, p))
		json_put_key(w, public_key_format(&p->node.key, KEY_NODE, key), &p->node.disco_key,
			     KEY_DISCO);
	json_end_object(w);
}

int node_debug(struct node *node, const char *action, struct json_writer *w, struct error *err)
{
	if (strcmp(action, "current-netmap") == 0) {
		if (!node_has_map(node))
			return error_set(err, -ENODATA, "no netmap");
		node_write_netmap(node, w, NULL);
	} else if (strcmp(action, "control-knobs") == 0) {
		put_knobs(node, w);
	} else if (strcmp(action, "peer-disco-keys") == 0) {
		put_disco_keys(node, w);
	} else if (strcmp(action, "peer-relay-servers") == 0) {
		json_begin_array(w, NULL); /* pillion uses none */
		json_end_array(w);
	} else if (strcmp(action, "rebind") == 0 || strcmp(action, "restun") == 0) {
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
	struct json_writer w = json_writer_to(&reply->body);
	struct node *node = user;

	if (strcmp(request->path, "/debug/health") == 0)
		node_write_health(node, &w, NULL);
	else if (strcmp(request->path, "/debug/netmap") == 0)
		answer_netmap(node, request, &w);
	else if (strcmp(request->path, "/debug/prefs") == 0)
		node_write_prefs(node, &w, NULL);
	if (json_writer_result(&w) < 0) {
		buffer_free(&reply->body); /* too large: no part of it is sent */
	} else if (reply->body.length) {
		reply->status = 200;
		reply->content_type = "application/json";
	}
}
