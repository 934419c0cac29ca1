/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_status.c - what we say about ourselves and our peers, in the official JSON */
#include "base/limits.h"
#include "node/node_internal.h"
#include "wire/tailcfg.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* json_set() - Set a member; NULL values are left out */
static void json_set(json_t *object, const char *name, json_t *value)
{
	if (value)
		json_object_set_new(object, name, value);
}

static json_t *json_text(const char *text)
{
	return json_string(text ? text : "");
}

static json_t *json_time(nanoseconds time)
{
	char text[JSON_TIME_TEXT_MAX];

	return json_string(json_time_format(time, text));
}

static json_t *json_addresses(const struct prefix_list *list)
{
	json_t *array = json_array();
	char text[ADDRESS_TEXT_MAX];

	for (uint32_t i = 0; i < list->count; i++)
		json_array_append_new(array,
				      json_string(address_format(&list->items[i].address, text)));
	return array;
}

static json_t *json_prefixes(const struct prefix_list *list)
{
	json_t *array = json_array();
	char text[PREFIX_TEXT_MAX];

	for (uint32_t i = 0; i < list->count; i++)
		json_array_append_new(array, json_string(prefix_format(&list->items[i], text)));
	return array;
}

static json_t *json_strings(const struct string_list *list)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < list->count; i++)
		json_array_append_new(array, json_string(list->items[i]));
	return array;
}

static json_t *json_cap_map(const struct tailcfg_capability_list *list)
{
	json_t *map = json_object();

	for (uint32_t i = 0; i < list->count; i++) {
		json_t *values = list->items[i].values
					 ? json_loads(list->items[i].values, JSON_DECODE_ANY, NULL)
					 : json_null();

		json_set(map, list->items[i].name, values ? values : json_null());
	}
	return map;
}

/* magic_dns_suffix() - "example.ts.net" out of "host.example.ts.net."; "" without a name */
static void magic_dns_suffix(const struct netmap *map, char *out, size_t size)
{
	const char *name = map && map->self && map->self->name ? map->self->name : "";
	const char *dot = strchr(name, '.');
	size_t length;

	snprintf(out, size, "%s", dot ? dot + 1 : "");
	length = strlen(out);
	if (length && out[length - 1] == '.')
		out[length - 1] = 0;
}

/* peer_status() - What is the same for self and peers */
static json_t *peer_status(const struct tailcfg_node *peer, bool expired)
{
	json_t *json = json_object();
	char key[KEY_TEXT_MAX], name[64];
	const struct tailcfg_hostinfo *host = peer->hostinfo;

	json_set(json, "ID", json_text(peer->stable_id));
	json_set(json, "PublicKey", json_string(public_key_format(&peer->key, KEY_NODE, key)));
	json_set(json, "HostName",
		 json_text(host && host->hostname ? host->hostname
						  : tailcfg_node_display_name(peer, name)));
	json_set(json, "DNSName", json_text(peer->name));
	json_set(json, "OS", json_text(host ? host->os : NULL));
	json_set(json, "UserID", json_integer((json_int_t)peer->user));
	json_set(json, "TailscaleIPs", json_addresses(&peer->addresses));
	json_set(json, "AllowedIPs", json_prefixes(&peer->allowed_ips));
	if (peer->tags.count)
		json_set(json, "Tags", json_strings(&peer->tags));
	if (peer->primary_routes.count)
		json_set(json, "PrimaryRoutes", json_prefixes(&peer->primary_routes));
	json_set(json, "Created", json_time(peer->created));
	json_set(json, "LastSeen", json_time(peer->last_seen));
	json_set(json, "Online", json_boolean(peer->online == OPTIONAL_TRUE));
	json_set(json, "ExitNode", json_false());
	json_set(json, "ExitNodeOption", json_false());
	for (uint32_t i = 0; i < peer->allowed_ips.count; i++)
		if (peer->allowed_ips.items[i].bits == 0)
			json_set(json, "ExitNodeOption", json_true());
	json_set(json, "PeerAPIURL", json_null());
	json_set(json, "TaildropTarget", json_integer(0));
	json_set(json, "NoFileSharingReason", json_string(""));
	if (peer->cap_map.count)
		json_set(json, "CapMap", json_cap_map(&peer->cap_map));
	json_set(json, "InNetworkMap", json_true());
	if (expired)
		json_set(json, "Expired", json_true());
	if (peer->key_expiry != JSON_TIME_NONE)
		json_set(json, "KeyExpiry", json_time(peer->key_expiry));
	return json;
}

/* to_wall() - A time of CLOCK_BOOTTIME on the wall clock; none stays none */
static nanoseconds to_wall(nanoseconds boottime)
{
	return boottime ? clock_realtime() - (clock_boottime() - boottime) : JSON_TIME_NONE;
}

static json_t *one_peer(struct node *node, const struct netmap_peer *entry)
{
	const struct tailcfg_node *peer = &entry->node;
	json_t *json = peer_status(peer, entry->expired);
	struct tunnel_peer_status status = {0};
	bool known = node->tunnel && tunnel_peer_status(node->tunnel, &peer->key, &status) == 0;
	const char *code =
		known ? relay_region_code(tunnel_relay(node->tunnel), peer->home_derp) : NULL;
	char text[ENDPOINT_TEXT_MAX];

	json_set(json, "Addrs", json_null());
	json_set(json, "CurAddr",
		 json_string(known && status.path.direct
				     ? endpoint_format(&status.path.endpoint, text)
				     : ""));
	json_set(json, "Relay", json_text(code));
	json_set(json, "PeerRelay", json_string(""));
	json_set(json, "RxBytes", json_integer((json_int_t)status.rx_bytes));
	json_set(json, "TxBytes", json_integer((json_int_t)status.tx_bytes));
	json_set(json, "LastWrite", json_time(to_wall(status.path.last_sent)));
	json_set(json, "LastHandshake", json_time(status.last_handshake));
	json_set(json, "Active", json_boolean(known && status.path.active));
	json_set(json, "InMagicSock", json_boolean(known));
	json_set(json, "InEngine", json_boolean(known && status.last_handshake != 0));
	return json;
}

static json_t *self_status(struct node *node, const struct netmap *map)
{
	char text[ENDPOINT_TEXT_MAX], name[64];
	struct public_key key;
	json_t *json, *endpoints = json_array();

	if (map && map->self) {
		json = peer_status(map->self, netmap_self_expired(map, clock_realtime()));
		json_set(json, "Online", json_boolean(!node->warnings[NODE_WARN_CONTROL]));
	} else {
		json = json_object();
		secret_key_public(&node->state.persist.node_key, &key);
		json_set(json, "ID", json_string(""));
		if (node_is_known(node) || node->auth_url) {
			char key_text[KEY_TEXT_MAX];

			json_set(json, "PublicKey",
				 json_string(public_key_format(&key, KEY_NODE, key_text)));
		}
		json_set(json, "HostName", json_string(node_hostname(node, name)));
		json_set(json, "DNSName", json_string(""));
		json_set(json, "OS", json_string("linux"));
		json_set(json, "TailscaleIPs", json_null());
	}
	for (size_t i = 0; i < node->endpoint_count; i++)
		json_array_append_new(endpoints, json_string(endpoint_format(
							 &node->endpoints[i].endpoint, text)));
	json_set(json, "Addrs", endpoints);
	json_set(json, "CurAddr", json_string(""));
	json_set(json, "Relay",
		 json_text(node->tunnel
				   ? relay_region_code(tunnel_relay(node->tunnel), node->home_derp)
				   : NULL));
	json_set(json, "RxBytes", json_integer(0));
	json_set(json, "TxBytes", json_integer(0));
	json_set(json, "LastWrite", json_time(JSON_TIME_NONE));
	json_set(json, "LastHandshake", json_time(JSON_TIME_NONE));
	json_set(json, "Active", json_false());
	json_set(json, "InMagicSock", json_false());
	json_set(json, "InEngine", json_false());
	return json;
}

/** node_user_json() - tailcfg.UserProfile */
json_t *node_user_json(const struct tailcfg_user_profile *user)
{
	return json_pack("{s:I, s:s, s:s, s:s}", "ID", (json_int_t)user->id, "LoginName",
			 user->login_name ? user->login_name : "", "DisplayName",
			 user->display_name ? user->display_name : "", "ProfilePicURL",
			 user->profile_pic_url ? user->profile_pic_url : "");
}

/* add_peers() - The maps Peer and User */
static void add_peers(struct node *node, const struct netmap *map, json_t *json)
{
	json_t *peers = json_object(), *users = json_object();
	char key[KEY_TEXT_MAX], id[24];

	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p))
		json_set(peers, public_key_format(&p->node.key, KEY_NODE, key), one_peer(node, p));
	for (const struct netmap_user *u = map->users; u; u = u->by_id.next) {
		snprintf(id, sizeof(id), "%lld", (long long)u->profile.id);
		json_set(users, id, node_user_json(&u->profile));
	}
	json_set(json, "Peer", peers);
	json_set(json, "User", users);
}

json_t *node_status_json(struct node *node, bool peers)
{
	const struct netmap *map = node_netmap(node);
	enum node_state state = node_state(node);
	json_t *json = json_object();
	char suffix[256];

	magic_dns_suffix(map, suffix, sizeof(suffix));
	json_set(json, "Version", json_string(NODE_VERSION_LONG));
	json_set(json, "TUN", json_true());
	json_set(json, "BackendState", json_string(node_state_name(state)));
	json_set(json, "HaveNodeKey", json_boolean(node_is_known(node)));
	json_set(json, "AuthURL", json_text(node->auth_url));
	json_set(json, "TailscaleIPs",
		 map && map->self ? json_addresses(&map->self->addresses) : json_null());
	json_set(json, "Self", self_status(node, map));
	json_set(json, "Health", node_health_lines(node));
	json_set(json, "MagicDNSSuffix", json_string(suffix));
	if (map && map->self)
		json_set(json, "CurrentTailnet",
			 json_pack("{s:s, s:s, s:b}", "Name", map->domain ? map->domain : "",
				   "MagicDNSSuffix", suffix, "MagicDNSEnabled",
				   map->dns_config.proxied));
	json_set(json, "CertDomains",
		 map && map->dns_config.cert_domains.count
			 ? json_strings(&map->dns_config.cert_domains)
			 : json_null());
	json_set(json, "Peer", json_null());
	json_set(json, "User", json_null());
	if (peers && map)
		add_peers(node, map, json);
	json_set(json, "ClientVersion", json_null());
	return json;
}

/* written() - What an encoder of ours wrote into @text, which is freed; NULL if it could not */
static json_t *written(const struct json_writer *w, struct buffer *text)
{
	json_t *json = NULL;

	if (json_writer_result(w) == 0)
		json = json_loadb((const char *)buffer_head(text), text->length, 0, NULL);
	buffer_free(text);
	return json;
}

/** node_peer_json() - A tailcfg.Node by our own encoder */
json_t *node_peer_json(const struct tailcfg_node *peer)
{
	struct buffer text = BUFFER_INIT(1024 * 1024);
	struct json_writer w = json_writer_to(&text);

	tailcfg_node_encode(&w, NULL, peer);
	return written(&w, &text);
}

/** node_self_json() - The tailcfg.Node that control says we are; NULL before the first map */
json_t *node_self_json(const struct node *node)
{
	const struct netmap *map = node_netmap(node);

	return map && map->self ? node_peer_json(map->self) : NULL;
}

json_t *node_derp_map_json(struct node *node)
{
	const struct netmap *map = node_netmap(node);
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct json_writer w = json_writer_to(&text);

	if (!map || !map->self)
		return NULL;
	tailcfg_derp_map_encode(&w, NULL, &map->derp_map);
	return written(&w, &text);
}

/* add_capability() - One grant; a name that comes again adds its values */
static bool add_capability(void *data, const char *name, const char *values)
{
	json_t *map = data, *more = values ? json_loads(values, 0, NULL) : NULL;
	json_t *list = json_object_get(map, name);

	if (json_is_array(list) && more)
		(void)json_array_extend(list, more);
	else if (!json_is_array(list))
		json_set(map, name, more ? json_incref(more) : json_null());
	json_decref(more);
	return true;
}

json_t *node_whois(struct node *node, const struct address *address)
{
	struct node_identity who;
	json_t *json, *granted;

	if (!node_identify(node, address, &who))
		return NULL;
	json = json_object();
	granted = json_object();
	json_set(json, "Node", node_peer_json(who.node));
	json_set(json, "UserProfile", who.user ? node_user_json(who.user) : json_null());
	node_identity_capabilities(node, &who, add_capability, granted);
	json_set(json, "CapMap", granted);
	return json;
}

json_t *node_prefs_json(struct node *node)
{
	json_t *prefs;

	if (!node->state_usable)
		return json_object();
	prefs = prefs_json(&node->state.prefs);
	if (prefs)
		(void)json_object_set_new(prefs, "Config", state_file_public_config(&node->state));
	return prefs;
}
