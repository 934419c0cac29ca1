/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_peers.c - turns the netmap into peers, packet filter and relays of the tunnel
 *
 * Control and tunnel don't know each other. A change of the netmap becomes a change of
 * peers here, in time that grows with the change and not with the netmap.
 */
#define LOG_ROOM "node"
#include "base/array.h"
#include "base/log.h"
#include "base/secret.h"
#include "node/node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A new node begins sessions with at most so many peers. */
#define NODE_GREETINGS_MAX 16

/* holder_of() - The newest trusted peer with @key (several nodes may share one); NULL: none */
static struct netmap_peer *holder_of(const struct netmap *map, const struct public_key *key)
{
	struct netmap_peer *found = NULL;

	for (struct netmap_peer *p = netmap_peer_by_key(map, key); p;
	     p = netmap_peer_next_twin(map, p))
		if (node_peer_is_trusted(map, p) && (!found || p->node.id > found->node.id))
			found = p;
	return found;
}

static struct address first_of_family(const struct prefix *list, uint32_t count,
				      enum address_family family)
{
	for (uint32_t i = 0; i < count; i++)
		if (list[i].address.family == family)
			return list[i].address;
	return (struct address){0};
}

static void set_peer(struct node *node, const struct tailcfg_node *peer)
{
	const struct node_addresses own = node_own_addresses(node);
	const struct prefix_list *theirs = &peer->addresses;
	struct prefix *allowed;
	struct tunnel_peer_config config = {
		.path =
			{
				.node_key = peer->key,
				.disco_key = peer->disco_key,
				.home_region = peer->home_derp,
				.endpoints = peer->endpoints.items,
				.endpoint_count = peer->endpoints.count,
				.wireguard_only = peer->is_wireguard_only,
			},
		.masquerade =
			{
				.own_v4 = first_of_family(own.list, own.count, ADDRESS_V4),
				.own_v6 = first_of_family(own.list, own.count, ADDRESS_V6),
				.shown_v4 = peer->self_v4_masq_for_this_peer,
				.shown_v6 = peer->self_v6_masq_for_this_peer,
			},
		.address_v4 = first_of_family(theirs->items, theirs->count, ADDRESS_V4),
		.address_v6 = first_of_family(theirs->items, theirs->count, ADDRESS_V6),
		.jailed = peer->is_jailed,
		.node = peer,
	};
	int r;

	allowed = calloc(peer->allowed_ips.count + 1, sizeof(*allowed));
	if (!allowed) {
		tunnel_peer_remove(node->tunnel, &peer->key);
		return;
	}
	config.allowed_ips = allowed;
	config.allowed_ip_count = node_collect_allowed_ips(node, peer, allowed);
	r = tunnel_peer_set(node->tunnel, &config);
	if (r < 0) {
		char key[8];

		log_error("peer %s can't be used: %s", public_key_short(&peer->key, key),
			  strerror(-r));
	}
	free(allowed);
}

static void set_own_addresses(struct node *node)
{
	const struct node_addresses own = node_own_addresses(node);

	tunnel_set_own_addresses(node->tunnel, own.list, own.count);
}

/* set_peers() - Set all trusted peers */
static void set_peers(struct node *node, const struct netmap *map)
{
	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p))
		if (holder_of(map, &p->node.key) == p)
			set_peer(node, &p->node);
}

/* settle_key() - Make the tunnel's peer with @key agree with the netmap */
static void settle_key(struct node *node, const struct netmap *map, const struct public_key *key)
{
	const struct netmap_peer *holder = holder_of(map, key);

	if (holder)
		set_peer(node, &holder->node);
	else
		tunnel_peer_remove(node->tunnel, key);
}

static bool has_capability(const void *peer, const struct address *source, const char *capability)
{
	const struct tailcfg_node *node = peer;

	(void)source;
	return node && tailcfg_capability_find(&node->cap_map, capability) != NULL;
}

/* unsigned_prefixes() - Allowed IPs of the peers that have no signature of Tailnet Lock; 0, -ENOMEM */
static int unsigned_prefixes(const struct netmap *map, struct prefix **ret, size_t *ret_count)
{
	struct prefix *list = NULL;
	size_t count = 0, room = 0;

	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p))
		for (uint32_t i = 0;
		     p->node.unsigned_peer_api_only && i < p->node.allowed_ips.count; i++) {
			if (ARRAY_GROW(list, count, room) < 0) {
				free(list);
				return -ENOMEM;
			}
			list[count++] = p->node.allowed_ips.items[i];
		}
	*ret = list;
	*ret_count = count;
	return 0;
}

void node_apply_filter(struct node *node)
{
	const struct netmap *map = node_netmap(node);
	const struct prefs *prefs = &node->state.prefs;
	struct filter_config config = {
		.advertised = {prefs->advertise_routes, prefs->advertise_route_count},
		.host = {node->interface_prefixes, node->interface_count},
		.has_capability = has_capability,
		.shields_up = prefs->shields_up,
	};
	const struct tailcfg_filter **lists;
	struct prefix *unsigned_peers = NULL;
	struct filter *filter = NULL;
	const char *warning = NULL;
	struct node_addresses own;
	int r;

	if (!node->tunnel || !map || !map->self)
		return;
	if (!map->has_filter) {
		node_warn(node, NODE_WARN_FILTER, NULL);
		tunnel_set_filter(node->tunnel, NULL);
		return;
	}
	lists = calloc(map->filter_count + 1, sizeof(*lists));
	for (uint32_t i = 0; lists && i < map->filter_count; i++)
		lists[i] = &map->filters[i].filter;
	config.lists = lists;
	config.list_count = map->filter_count;
	own = node_own_addresses(node);
	config.addresses.list = own.list;
	config.addresses.count = own.count;
	config.peerapi = node->peerapi;
	config.peerapi_count = node->peerapi_count;
	r = lists ? unsigned_prefixes(map, &unsigned_peers, &config.unsigned_peers.count) : -ENOMEM;
	config.unsigned_peers.list = unsigned_peers;
	if (r == 0)
		r = filter_compile(&config, &filter);
	if (r < 0)
		warning = "no memory for the new packet filter: the old one stays in force";
	else if (filter_is_discarded(filter))
		warning = "the packet filter admits a peer without a signature: pillion denies "
			  "everything until the server mends it";
	if (node_warn(node, NODE_WARN_FILTER, warning) && warning)
		log_error("%s", warning);
	if (r == 0)
		tunnel_set_filter(node->tunnel, filter);
	free(unsigned_peers);
	free(lists);
}

static bool can_be_home(const struct tailcfg_derp_region *region)
{
	return !region->avoid && !region->no_measure_no_home && region->node_count > 0;
}

/* choose_home() - Keep the home region while the map has it; else choose one */
static void choose_home(struct node *node)
{
	const struct tailcfg_derp_map *map = &node_netmap(node)->derp_map;
	uint16_t home = tailcfg_derp_map_region(map, node->home_derp) ? node->home_derp : 0;
	uint32_t usable = 0, pick;

	for (uint32_t i = 0; i < map->region_count; i++)
		usable += can_be_home(&map->regions[i]);
	/* Latencies are not measured. The key spreads the nodes, and each chooses the same again. */
	pick = usable ? node->disco_key.bytes[1] % usable : 0;
	for (uint32_t i = 0; i < map->region_count && !home; i++)
		if (can_be_home(&map->regions[i]) && pick-- == 0)
			home = map->regions[i].id;
	if (tunnel_set_relays(node->tunnel, map, home) < 0)
		log_error("no memory for the relay map");
	if (home != node->home_derp) {
		node->home_derp = home;
		node_tell_hostinfo(node);
		node_store_handover(node);
	}
}

/* --- The tunnel --- */

static void on_endpoints_changed(void *ctx, const struct path_endpoint *list, size_t count,
				 bool working_udp)
{
	struct node *node = ctx;

	if (count > ARRAY_SIZE(node->endpoints))
		count = ARRAY_SIZE(node->endpoints);
	memcpy(node->endpoints, list, count * sizeof(*list));
	node->endpoint_count = count;
	node->working_udp = working_udp;
	node_tell_hostinfo(node);
}

/*
 * greet_peers() - Begin sessions with the peers of a new node, once
 *
 * Peers learn of a node when it registers, and of its relay only after its first map. Handshake
 * initiations that they sent meanwhile were lost, and WireGuard repeats them after 5 s at the
 * earliest. A session that this node begins delivers the waiting packets at once.
 */
static void greet_peers(struct node *node)
{
	const struct netmap *map = node_netmap(node);
	unsigned int greeted = 0;

	node->new_here = false;
	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p && greeted < NODE_GREETINGS_MAX;
	     p = netmap_peer_next(map, p))
		if (p->node.online == OPTIONAL_TRUE && node_peer_is_trusted(map, p)) {
			tunnel_greet(node->tunnel, &p->node.key);
			greeted++;
		}
}

static void on_relay_connected(void *ctx, uint16_t region, bool home, bool connected)
{
	struct node *node = ctx;

	log_info("relay region %u%s: %s", region, home ? " (home)" : "",
		 connected ? "connected" : "disconnected");
	if (!home || !connected)
		return;
	node_warn(node, NODE_WARN_RELAY, NULL);
	if (node->new_here)
		greet_peers(node);
}

static void on_relay_health(void *ctx, uint16_t region, const char *problem)
{
	struct node *node = ctx;
	char line[256];

	if (problem) {
		snprintf(line, sizeof(line), "relay region %u: %s", region, problem);
		log_warn("%s", line);
	}
	if (region == node->home_derp)
		node_warn(node, NODE_WARN_RELAY, problem ? line : NULL);
}

static void on_handover_changed(void *ctx)
{
	node_store_handover(ctx);
}

static const struct tunnel_callbacks callbacks = {
	.endpoints_changed = on_endpoints_changed,
	.relay_connected = on_relay_connected,
	.relay_health = on_relay_health,
	.handover_changed = on_handover_changed,
};

/*
 * current_key() - The node key by which peers know this node
 *
 * While a new login is under way, and after a login was abandoned, control doesn't know the stored
 * key yet. The key before it is stored beside it then.
 */
static const struct secret_key *current_key(const struct node *node)
{
	const struct persist *persist = &node->state.persist;
	const struct netmap *map = node_netmap(node);
	struct public_key old;

	if (!map || !map->self || secret_key_is_zero(&persist->old_node_key))
		return &persist->node_key;
	secret_key_public(&persist->old_node_key, &old);
	return public_key_equal(&map->self->key, &old) ? &persist->old_node_key
						       : &persist->node_key;
}

int node_tunnel_open(struct node *node)
{
	const struct privsep_start *start = &node->start->config;
	uint32_t offloads = start->tun_offloads;
	struct tunnel_config config = {
		.loop = node->loop,
		.sockets = node->sockets,
		.names = node->names,
		.tls = node->tls,
		.proxy = node->proxy,
		.tun = node->start->tun,
		.tun_count = node->start->tun_count,
		.mtu = node->start->config.mtu,
		.udp_v4 = node->start->udp_v4,
		.udp_v6 = node->start->udp_v6,
		.offloads =
			{
				.tun_headers = offloads & START_TUN_HEADERS,
				.tun_tcp = offloads & START_TUN_TCP,
				.tun_udp = offloads & START_TUN_UDP,
				.udp_segment = !privsep_start_disables(start, "udp-gso"),
				.udp_merge = !privsep_start_disables(start, "udp-gro"),
			},
		.node_key = current_key(node),
		.disco_key = &node->disco_key,
		.app_name = "pillion",
		.callbacks = &callbacks,
		.ctx = node,
	};
	int r;

	if (node->tunnel)
		return 0;
	r = tunnel_new(&config, &node->tunnel);
	if (r < 0) {
		log_error("the tunnel can't be opened: %s", strerror(-r));
		return r;
	}
	node->applied_peers = false;
	if (node->interfaces)
		tunnel_set_interfaces(node->tunnel, node->interfaces, node->interface_count);
	node_serve_tunnel(node);
	return 0;
}

void node_tunnel_close(struct node *node)
{
	static const enum node_warning about[] = {NODE_WARN_RELAY, NODE_WARN_FILTER,
						  NODE_WARN_LOCKED};

	tunnel_free(TAKE_PTR(node->tunnel));
	for (size_t i = 0; i < ARRAY_SIZE(about); i++)
		node_warn(node, about[i], NULL);
	node->applied_peers = false;
	node->network_applied = false;
}

void node_apply_netmap(struct node *node)
{
	const struct netmap *map = node_netmap(node);

	if (!node->tunnel || !map || !map->self)
		return;
	tunnel_remove_all_peers(node->tunnel);
	node_serve_name(node);
	set_own_addresses(node);
	node_apply_filter(node);
	choose_home(node);
	set_peers(node, map);
	node_warn(node, NODE_WARN_LOCKED,
		  map->locked ? "this tailnet uses Tailnet Lock, which pillion can't verify yet: "
				"pillion trusts no peer"
			      : NULL);
	node->applied_peers = true;
	node_network_forget(node);
	node_apply_network(node);
	if (node->handover.length) {
		int active = tunnel_import(node->tunnel, buffer_head(&node->handover),
					   node->handover.length);

		if (active > 0)
			log_info("%d peers were active before: beginning new sessions with them",
				 active);
		else if (active < 0)
			log_warn("the record of active peers can't be read and is ignored");
		buffer_consume(&node->handover, node->handover.length);
	}
}

/* Changes of a peer that the kernel's routes depend on. */
#define ROUTE_CHANGES                                                          \
	(NETMAP_NODE_ADDED | NETMAP_NODE_ADDRESSES | NETMAP_NODE_ALLOWED_IPS | \
	 NETMAP_NODE_EXPIRY | NETMAP_NODE_KEY)

/* apply_change() - Give the tunnel what one message of control changed */
static void apply_change(struct node *node, const struct netmap_change *change)
{
	const struct netmap *map = node_netmap(node);
	bool routes = change->removal_count > 0;
	/* The peer for which the filter was discarded may be gone. */
	bool filter = change->parts & (NETMAP_FILTER | NETMAP_SELF) ||
		      (node->warnings[NODE_WARN_FILTER] != NULL);

	if (!node->tunnel || !map->self)
		return;
	if (!node->applied_peers || change->parts & NETMAP_LOCKED) {
		node_apply_netmap(node);
		return;
	}
	for (uint32_t i = 0; i < change->removal_count; i++) {
		settle_key(node, map, &change->removals[i].key);
		node_network_peer(node, change->removals[i].id);
	}
	if (change->parts & NETMAP_SELF) {
		set_own_addresses(node);
		routes |= (change->self_what & NETMAP_NODE_CAPABILITIES) != 0;
		if (change->self_what & NETMAP_NODE_KEY)
			node_network_forget(node); /* a peer with our key is not trusted */
		if (change->self_what & NETMAP_NODE_ADDRESSES) {
			routes = true;
			/* The masquerading of each peer names our own address. */
			set_peers(node, map);
		}
	}
	if (change->parts & NETMAP_DERP)
		choose_home(node);
	/* Remove all old keys first: one may be the new key of another peer. */
	for (uint32_t i = 0; i < change->update_count; i++) {
		const struct netmap_update *update = &change->updates[i];

		if (update->what & NETMAP_NODE_KEY && !(update->what & NETMAP_NODE_ADDED))
			settle_key(node, map, &update->old_key);
	}
	for (uint32_t i = 0; i < change->update_count; i++) {
		const struct netmap_update *update = &change->updates[i];

		settle_key(node, map, &update->peer->node.key);
		if (update->what & ROUTE_CHANGES) {
			routes = true;
			node_network_peer(node, update->peer->node.id);
		}
		/* The filter depends on the allowed IPs of peers without a signature. */
		filter |= update->peer->node.unsigned_peer_api_only &&
			  update->what & (NETMAP_NODE_ALLOWED_IPS | NETMAP_NODE_TREATMENT);
	}
	if (filter)
		node_apply_filter(node);
	if (routes)
		node_apply_network(node);
}

/* record_identity() - Keep the name of this node and its user in the state file */
static void record_identity(struct node *node, const struct netmap *map)
{
	const struct tailcfg_user_profile *user = netmap_user(map, map->self->user);
	const char *name = map->self->name ? map->self->name : "";
	const char *suffix = strchr(name, '.');
	json_t *profile, *network;

	profile = json_pack("{s:I, s:s, s:s, s:s}", "ID", (json_int_t)map->self->user, "LoginName",
			    user && user->login_name ? user->login_name : "", "DisplayName",
			    user && user->display_name ? user->display_name : "", "ProfilePicURL",
			    user && user->profile_pic_url ? user->profile_pic_url : "");
	network = json_pack("{s:s#, s:s}", "MagicDNSName", suffix ? suffix + 1 : "",
			    suffix && suffix[1] ? strlen(suffix + 1) - 1 : 0, "DomainName",
			    map->domain ? map->domain : "");
	if (profile &&
	    state_file_set_identity(&node->state, map->self->stable_id ? map->self->stable_id : "",
				    profile, network) == 1)
		node_store_state(node);
	json_decref(profile);
	json_decref(network);
}

/* is_ours() - Whether the map belongs to the key that was registered */
static bool is_ours(const struct node *node)
{
	const struct persist *persist = &node->state.persist;

	/* While a new login waits, control knows this node by the old pair. */
	return node_is_in_map(node, &persist->node_key) ||
	       (!secret_key_is_zero(&persist->old_node_key) &&
		node_is_in_map(node, &persist->old_node_key));
}

/* note_approval() - Report a wait for approval, and its end; commands go on waiting */
static void note_approval(struct node *node, bool approved)
{
	static const char waits[] = "waiting for an administrator to approve this machine";

	if (node->approval_awaited == !approved)
		return;
	node->approval_awaited = !approved;
	node_warn(node, NODE_WARN_LOGIN, approved ? NULL : waits);
	if (approved)
		log_info("this machine is approved");
	else
		log_warn("%s", waits);
}

void node_peers_netmap(void *user, const struct netmap *map, const struct netmap_change *change)
{
	struct node *node = user;

	/* A server may repeat the fault in each message. */
	if (change->trouble.code < 0 &&
	    strcmp(change->trouble.text, node->told_trouble.text) != 0) {
		node->told_trouble = change->trouble;
		log_warn("part of the network map is ignored: %s", change->trouble.text);
	}
	if (node->map_awaited && is_ours(node))
		node->map_awaited = false;
	if (change->parts & NETMAP_SELF) {
		note_approval(node, map->self->machine_authorized);
		record_identity(node, map);
	}
	if (change->parts & (NETMAP_SELF | NETMAP_DNS))
		node_serve_name(node);
	/* Before the state, with which a command that waits for another node key ends. */
	if (map->self && (change->full || change->parts & NETMAP_SELF))
		node_bus_write(node, "SelfChange", node_write_self);
	node_bus_peers(node, change);
	apply_change(node, change);
	node_serve_people(node);
	if (change->parts & NETMAP_HEALTH)
		node_bus_write(node, "Health", node_write_health);
	node_store_cache_later(node);
	node_changed(node, NODE_CHANGED_STATE);
}

void node_prefs_applied(struct node *node)
{
	const struct netmap *map = node_netmap(node);

	if (!node->tunnel || !map || !map->self)
		return;
	node_apply_filter(node);
	set_peers(node, map);
	node_network_forget(node);
	node_apply_network(node);
}
