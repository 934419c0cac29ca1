/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_status.c - the node, its peers and their users in the official JSON */
#include "base/limits.h"
#include "node/node_internal.h"

#include <stdlib.h>
#include <string.h>

static void put_addresses(struct json_writer *w, const char *name, const struct prefix_list *list)
{
	char text[ADDRESS_TEXT_MAX];

	json_begin_array(w, name);
	for (uint32_t i = 0; i < list->count; i++)
		json_put_string(w, NULL, address_format(&list->items[i].address, text));
	json_end_array(w);
}

/*
 * put_capabilities() - @own: names that go beside those of the list, and end with NULL
 */
static void put_capabilities(struct json_writer *w, const struct tailcfg_capability_list *list,
			     const char *const *own)
{
	if (list->count == 0 && !*own)
		return;
	json_begin_object(w, "CapMap");
	for (; *own; own++)
		if (!tailcfg_capability_find(list, *own))
			json_put_null(w, *own);
	for (uint32_t i = 0; i < list->count; i++)
		json_put_raw(w, list->items[i].name,
			     list->items[i].values ? list->items[i].values : "null");
	json_end_object(w);
}

void node_magic_dns_suffix(const struct netmap *map, char *out, size_t size)
{
	const char *name = map && map->self && map->self->name ? map->self->name : "";
	const char *dot = strchr(name, '.');
	size_t length;

	snprintf(out, size, "%s", dot ? dot + 1 : "");
	length = strlen(out);
	if (length && out[length - 1] == '.')
		out[length - 1] = 0;
}

/* put_peerapi() - The PeerAPI's URL; of this node itself one for each address */
static void put_peerapi(struct json_writer *w, const struct node *node,
			const struct tailcfg_node *peer)
{
	const struct netmap *map = node_netmap(node);
	char url[NODE_PEERAPI_URL_MAX];
	const struct endpoint *at = node->peerapi;
	size_t count = node->peerapi_count;
	struct endpoint theirs;

	if (!map || peer != map->self) {
		count = node_peerapi_endpoint(node, peer, &theirs);
		at = &theirs;
	}

	if (count == 0) {
		json_put_null(w, "PeerAPIURL");
		return;
	}
	json_begin_array(w, "PeerAPIURL");
	for (size_t i = 0; i < count; i++)
		json_put_string(w, NULL, node_peerapi_url(&at[i], url));
	json_end_array(w);
}

static const char *const no_capabilities[] = {NULL};

/* put_node() - The members that only a node of the netmap has */
static void put_node(struct json_writer *w, const struct node *node,
		     const struct tailcfg_node *peer, bool expired, bool online)
{
	const struct tailcfg_hostinfo *host = peer->hostinfo;
	bool exit_node = false;
	char name[64];

	for (uint32_t i = 0; i < peer->allowed_ips.count; i++)
		exit_node |= peer->allowed_ips.items[i].bits == 0;
	json_put_string(w, "ID", peer->stable_id);
	json_put_int(w, "NodeID", peer->id);
	json_put_key(w, "PublicKey", &peer->key, KEY_NODE);
	json_put_string(w, "HostName",
			host && host->hostname ? host->hostname
					       : tailcfg_node_display_name(peer, name));
	json_put_string(w, "DNSName", peer->name);
	json_put_string(w, "OS", host ? host->os : NULL);
	json_put_int(w, "UserID", peer->user);
	put_addresses(w, "TailscaleIPs", &peer->addresses);
	json_put_prefixes(w, "AllowedIPs", &peer->allowed_ips);
	if (peer->tags.count)
		json_put_strings(w, "Tags", &peer->tags);
	if (peer->primary_routes.count)
		json_put_prefixes(w, "PrimaryRoutes", &peer->primary_routes);
	json_put_time(w, "Created", peer->created);
	json_put_time(w, "LastSeen", peer->last_seen);
	json_put_bool(w, "Online", online);
	json_put_bool(w, "ExitNode", false);
	json_put_bool(w, "ExitNodeOption", exit_node);
	put_peerapi(w, node, peer);
	json_put_int(w, "TaildropTarget", 0);
	json_put_string(w, "NoFileSharingReason", "");
	put_capabilities(w, &peer->cap_map,
			 node_netmap(node) && peer == node_netmap(node)->self
				 ? node_ingress_capabilities(node)
				 : no_capabilities);
	json_put_bool(w, "InNetworkMap", true);
	json_put_bool_if(w, "Expired", expired);
	json_put_time_if(w, "KeyExpiry", peer->key_expiry);
}

/* put_unknown_self() - This node before its first map */
static void put_unknown_self(struct json_writer *w, const struct node *node)
{
	struct public_key key;
	char name[64];

	json_put_string(w, "ID", "");
	if (node_is_known(node) || node->auth_url) {
		secret_key_public(&node->state.persist.node_key, &key);
		json_put_key(w, "PublicKey", &key, KEY_NODE);
	}
	json_put_string(w, "HostName", node_hostname(node, name));
	json_put_string(w, "DNSName", "");
	json_put_string(w, "OS", "linux");
	json_put_null(w, "TailscaleIPs");
}

/* put_traffic() - The members about paths and packets; of this node itself they are all zero */
static void put_traffic(struct json_writer *w, const struct node *node, uint16_t home,
			const struct tunnel_peer_status *status)
{
	const struct tunnel_peer_status none = {0};
	const struct tunnel_peer_status *s = status ? status : &none;
	/* A time of CLOCK_BOOTTIME goes on the wall clock. */
	nanoseconds last_write = s->path.last_sent
					 ? clock_realtime() - (clock_boottime() - s->path.last_sent)
					 : JSON_TIME_NONE;
	char text[ENDPOINT_TEXT_MAX] = "";

	if (s->path.direct)
		endpoint_format(&s->path.endpoint, text);
	json_put_string(w, "CurAddr", text);
	json_put_string(w, "Relay",
			node->tunnel ? relay_region_code(tunnel_relay(node->tunnel), home) : NULL);
	json_put_int(w, "RxBytes", (int64_t)s->rx_bytes);
	json_put_int(w, "TxBytes", (int64_t)s->tx_bytes);
	json_put_time(w, "LastWrite", last_write);
	json_put_time(w, "LastHandshake", s->last_handshake);
	json_put_bool(w, "Active", s->path.active);
	json_put_bool(w, "InMagicSock", status != NULL);
	json_put_bool(w, "InEngine", s->last_handshake != 0);
}

static void put_self(struct json_writer *w, const struct node *node, const struct netmap *map)
{
	char text[ENDPOINT_TEXT_MAX];

	json_begin_object(w, "Self");
	if (map && map->self)
		put_node(w, node, map->self, netmap_self_expired(map, clock_realtime()),
			 !node->warnings[NODE_WARN_CONTROL]);
	else
		put_unknown_self(w, node);
	json_begin_array(w, "Addrs");
	for (size_t i = 0; i < node->endpoint_count; i++)
		json_put_string(w, NULL, endpoint_format(&node->endpoints[i].endpoint, text));
	json_end_array(w);
	put_traffic(w, node, node->home_derp, NULL);
	json_end_object(w);
}

static void put_peers(struct json_writer *w, const struct node *node, const struct netmap *map)
{
	struct tunnel_peer_status status;
	char name[KEY_TEXT_MAX];

	json_begin_object(w, "Peer");
	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p)) {
		const struct tailcfg_node *peer = &p->node;
		bool is_there =
			node->tunnel && tunnel_peer_status(node->tunnel, &peer->key, &status) == 0;

		json_begin_object(w, public_key_format(&peer->key, KEY_NODE, name));
		put_node(w, node, peer, p->expired, peer->online == OPTIONAL_TRUE);
		json_put_null(w, "Addrs");
		json_put_string(w, "PeerRelay", "");
		put_traffic(w, node, peer->home_derp, is_there ? &status : NULL);
		json_end_object(w);
	}
	json_end_object(w);
	json_begin_object(w, "User");
	for (const struct netmap_user *u = map->users; u; u = u->by_id.next) {
		snprintf(name, sizeof(name), "%lld", (long long)u->profile.id);
		tailcfg_user_profile_encode(w, name, &u->profile);
	}
	json_end_object(w);
}

/* put_certificate() - What HTTPS proves itself by: ours, the official status has no such member */
static void put_certificate(struct json_writer *w, const struct privsep_cert_state *state)
{
	static const char *const sources[PRIVSEP_CERT_SOURCES] = {
		[PRIVSEP_CERT_NONE] = "",
		[PRIVSEP_CERT_FILES] = "files",
		[PRIVSEP_CERT_ACME] = "acme",
		[PRIVSEP_CERT_CONTROL] = "control",
		[PRIVSEP_CERT_OWN] = "own authority",
	};

	if (state->source == PRIVSEP_CERT_NONE)
		return;
	json_begin_object(w, "Certificate");
	json_put_string(w, "Domain", state->domain);
	json_put_string(w, "Source", sources[state->source]);
	json_put_time(w, "NotAfter", (nanoseconds)state->end * NSEC_PER_SEC);
	json_put_string(w, "SHA256", state->digest);
	json_put_string_if(w, "AuthoritySHA256", *state->authority ? state->authority : NULL);
	json_put_string_if(w, "Problem", *state->problem ? state->problem : NULL);
	json_end_object(w);
}

void node_write_status(struct node *node, bool peers, struct json_writer *w, const char *name)
{
	const struct netmap *map = node_netmap(node);
	char suffix[256];

	node_magic_dns_suffix(map, suffix, sizeof(suffix));
	json_begin_object(w, name);
	json_put_string(w, "Version", NODE_VERSION_LONG);
	json_put_bool(w, "TUN", true);
	json_put_string(w, "BackendState", node_state_name(node_state(node)));
	json_put_bool(w, "HaveNodeKey", node_is_known(node));
	json_put_string(w, "AuthURL", node->auth_url);
	if (map && map->self)
		put_addresses(w, "TailscaleIPs", &map->self->addresses);
	else
		json_put_null(w, "TailscaleIPs");
	put_self(w, node, map);
	node_write_health_lines(node, w, "Health");
	json_put_string(w, "MagicDNSSuffix", suffix);
	if (map && map->self) {
		json_begin_object(w, "CurrentTailnet");
		json_put_string(w, "Name", map->domain);
		json_put_string(w, "MagicDNSSuffix", suffix);
		json_put_bool(w, "MagicDNSEnabled", map->dns_config.proxied);
		json_end_object(w);
	}
	if (map && map->dns_config.cert_domains.count)
		json_put_strings(w, "CertDomains", &map->dns_config.cert_domains);
	else
		json_put_null(w, "CertDomains");
	put_certificate(w, &node->cert_state);
	json_put_string_if(w, "AEAD", node->aead); /* ours too */
	if (peers && map) {
		put_peers(w, node, map);
	} else {
		json_put_null(w, "Peer");
		json_put_null(w, "User");
	}
	json_put_null(w, "ClientVersion");
	json_end_object(w);
}

int node_write_derp_map(struct node *node, struct json_writer *w)
{
	const struct netmap *map = node_netmap(node);

	if (!map || !map->self)
		return -ENODATA;
	tailcfg_derp_map_encode(w, NULL, &map->derp_map);
	return 0;
}

/* add_capability() - Add one grant to the object @data; a name that comes again adds its values */
static bool add_capability(void *data, const char *name, const char *values)
{
	json_t *map = data, *more = values ? json_loads(values, 0, NULL) : NULL;
	json_t *list = json_object_get(map, name);

	if (json_is_array(list) && more)
		(void)json_array_extend(list, more);
	else if (!json_is_array(list))
		json_object_set_new(map, name, more ? json_incref(more) : json_null());
	json_decref(more);
	return true;
}

char *node_identity_grants(const struct node *node, const struct node_identity *identity)
{
	json_t *granted = json_object();
	char *text;

	node_identity_capabilities(node, identity, add_capability, granted);
	text = json_dumps(granted, JSON_COMPACT);
	json_decref(granted);
	return text;
}

int node_write_whois(struct node *node, const struct address *address, struct json_writer *w)
{
	_cleanup_free_ char *text = NULL;
	struct node_identity who;

	if (!node_identify(node, address, &who))
		return -ENOENT;
	text = node_identity_grants(node, &who);
	json_begin_object(w, NULL);
	tailcfg_node_encode(w, "Node", who.node);
	if (who.user)
		tailcfg_user_profile_encode(w, "UserProfile", who.user);
	else
		json_put_null(w, "UserProfile");
	json_put_raw(w, "CapMap", text ? text : "null");
	json_end_object(w);
	return 0;
}

static json_t *prefs_object(struct node *node)
{
	json_t *prefs;

	if (!node->state_usable)
		return json_object();
	prefs = prefs_json(&node->state.prefs);
	if (prefs)
		(void)json_object_set_new(prefs, "Config", state_file_public_config(&node->state));
	return prefs;
}

void node_write_prefs(struct node *node, struct json_writer *w, const char *name)
{
	json_t *prefs = prefs_object(node);
	_cleanup_free_ char *text = json_dumps(prefs, w->pretty ? JSON_INDENT(1) : JSON_COMPACT);

	json_put_raw(w, name, text ? text : "null");
	json_decref(prefs);
}

void node_write_self(struct node *node, struct json_writer *w, const char *name)
{
	tailcfg_node_encode(w, name, node_netmap(node)->self);
}
