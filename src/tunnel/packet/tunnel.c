/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/packet/tunnel.c - creation and end of the tunnel, its peers, and its timer */
#include "tunnel/tunnel.h"

#include "filter/flows.h"
#include "tunnel/packet/tunnel_internal.h"
#include "wire/tailcfg_derp.h"

#include <errno.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* Our own endpoints: a machine with more addresses advertises the first ones. */
#define LOCAL_ENDPOINTS_MAX 32

/* --- What the parts tell each other --- */

static void on_path_changed(void *ctx, struct path_peer *path)
{
	(void)path;
	tunnel_handover_later(ctx, clock_boottime());
}

static void on_heard(void *ctx, struct path_peer *path, enum path_evidence evidence)
{
	struct tunnel_peer *peer = path_peer_user(path);
	struct tunnel *tunnel = ctx;

	/* Not from here: it would send, and so call the path engine again. */
	peer->heard = true;
	peer->calls |= evidence != PATH_EVIDENCE_PONG;
	tunnel->heard = true;
}

/*
 * answer_heard() - Start or repeat handshakes with the peers that were just heard
 *
 * An unanswered initiation is repeated, since the peer is now online. A peer that searches
 * a path to us has data to send; without a session its own initiation was perhaps lost before
 * it had a path to us, and it repeats the initiation only after 5 s.
 */
static void answer_heard(struct tunnel *tunnel)
{
	nanoseconds now = clock_boottime();

	tunnel->heard = false;
	for (struct tunnel_peer *p = tunnel->peers; p; p = p->hh.next) {
		struct wg_peer_stats stats;
		bool calls = p->calls;

		if (!p->heard)
			continue;
		p->heard = false;
		p->calls = false;
		wg_peer_stats(p->wg, now, &stats);
		if (stats.handshaking)
			wg_peer_retry_now(p->wg, now);
		else if (calls && !stats.has_session)
			wg_peer_initiate(p->wg, now);
	}
}

static void on_endpoints_changed(void *ctx, const struct path_endpoint *list, size_t count,
				 bool working_udp)
{
	struct tunnel *tunnel = ctx;

	tunnel->callbacks->endpoints_changed(tunnel->ctx, list, count, working_udp);
}

static bool is_peer(void *ctx, const struct public_key *key)
{
	const struct tunnel *tunnel = ctx;

	return path_peer_find(tunnel->path, key) != NULL;
}

static void on_relay_connected(void *ctx, uint16_t region, bool home, bool connected)
{
	struct tunnel *tunnel = ctx;
	nanoseconds now = clock_boottime();

	if (connected && home)
		for (struct tunnel_peer *p = tunnel->peers; p; p = p->hh.next)
			wg_peer_retry_now(p->wg, now);
	tunnel->callbacks->relay_connected(tunnel->ctx, region, home, connected);
}

/* on_restarted() - A new disco key: the session is probably lost too */
static void on_restarted(void *ctx, struct path_peer *path)
{
	struct tunnel_peer *peer = path_peer_user(path);

	(void)ctx;
	wg_peer_initiate_on_send(peer->wg);
}

/*
 * The absence of a peer is no reason to repeat an initiation: the early repetitions would be
 * used up before it is online. The path engine's probes notice when it is.
 */
static void on_peer_present(void *ctx, uint16_t region, const struct public_key *key)
{
	struct tunnel *tunnel = ctx;
	struct tunnel_peer *peer;

	(void)region;
	HASH_FIND(hh, tunnel->peers, key, sizeof(*key), peer);
	if (peer)
		wg_peer_retry_now(peer->wg, clock_boottime());
}

static void on_relay_health(void *ctx, uint16_t region, const char *problem)
{
	struct tunnel *tunnel = ctx;

	tunnel->callbacks->relay_health(tunnel->ctx, region, problem);
}

static void on_stun_servers(void *ctx, const struct endpoint *servers, size_t count)
{
	struct tunnel *tunnel = ctx;

	(void)path_set_stun_servers(tunnel->path, servers, count, clock_boottime());
}

static void on_session(void *context, struct wg_peer *wg)
{
	(void)wg;
	tunnel_handover_later(context, clock_boottime());
}

static nanoseconds on_realtime(void *context)
{
	(void)context;
	return clock_realtime();
}

static const struct path_callbacks path_callbacks = {
	.send_udp = tunnel_send_udp,
	.send_relay = tunnel_send_relay,
	.path_changed = on_path_changed,
	.heard = on_heard,
	.restarted = on_restarted,
	.endpoints_changed = on_endpoints_changed,
};

static const struct relay_callbacks relay_callbacks = {
	.packet = tunnel_from_relay,
	.drained = tunnel_relay_drained,
	.is_peer = is_peer,
	.connected = on_relay_connected,
	.peer_present = on_peer_present,
	.health = on_relay_health,
	.stun_servers = on_stun_servers,
};

static const struct wg_callbacks wg_callbacks = {
	.send = tunnel_wg_send,
	.send_all = tunnel_wg_send_all,
	.send_to = tunnel_wg_send_to,
	.deliver = tunnel_wg_deliver,
	.session = on_session,
	.realtime = on_realtime,
};

/* --- The timer --- */

static nanoseconds next_deadline(const struct tunnel *tunnel)
{
	nanoseconds deadline = wg_device_deadline(tunnel->wg);

	deadline = deadline_min(deadline, path_deadline(tunnel->path));
	deadline = deadline_min(deadline, tunnel_pings_deadline(tunnel));
	return deadline_min(deadline, tunnel->handover_due);
}

static void on_timer(uv_timer_t *timer)
{
	struct tunnel *tunnel = container_of(timer, struct tunnel, timer);
	nanoseconds now = clock_boottime();

	wg_device_timeout(tunnel->wg, now);
	path_timeout(tunnel->path, now);
	tunnel_pings_timeout(tunnel, now);
	if (tunnel->handover_due <= now) {
		tunnel->handover_due = DEADLINE_NEVER;
		tunnel->callbacks->handover_changed(tunnel->ctx);
	}
}

/* on_prepare() - Before the loop waits: set the timer */
static void on_prepare(uv_prepare_t *prepare)
{
	struct tunnel *tunnel = container_of(prepare, struct tunnel, prepare);
	nanoseconds deadline, now;
	uint64_t wait = 0;

	if (tunnel->heard)
		answer_heard(tunnel);
	deadline = next_deadline(tunnel);
	if (deadline == DEADLINE_NEVER) {
		uv_timer_stop(&tunnel->timer);
		return;
	}
	now = clock_boottime();
	if (deadline > now)
		wait = (uint64_t)((deadline - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
	uv_update_time(tunnel->loop);
	uv_timer_start(&tunnel->timer, on_timer, wait, 0);
}

/* --- Life --- */

/* local_port() - The port of a bound socket. #syscalls: getsockname */
static uint16_t local_port(int fd)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	struct endpoint endpoint = {0};

	if (fd >= 0 && getsockname(fd, (struct sockaddr *)&address, &size) == 0)
		(void)endpoint_from_sockaddr((struct sockaddr *)&address, &endpoint);
	return endpoint.port;
}

static int open_devices(struct tunnel *tunnel, const struct tunnel_config *config)
{
	const struct udp_offloads udp = {
		.segment = config->offloads.udp_segment,
		.merge = config->offloads.udp_merge,
	};
	int r = 0;

	for (size_t i = 0; i < config->tun_count && i < TUNNEL_TUN_MAX && r == 0; i++) {
		r = tun_queue_new(tunnel->loop, config->tun[i], config->offloads.tun_headers,
				  &tunnel_tun_handler, tunnel, &tunnel->tun[i]);
		tunnel->tun_count += r == 0;
	}
	if (r == 0 && config->udp_v4 >= 0)
		r = udp_socket_new(tunnel->loop, config->udp_v4, &udp, &tunnel_udp_handler, tunnel,
				   &tunnel->udp_v4);
	if (r == 0 && config->udp_v6 >= 0)
		r = udp_socket_new(tunnel->loop, config->udp_v6, &udp, &tunnel_udp_handler, tunnel,
				   &tunnel->udp_v6);
	tunnel->port_v4 = local_port(config->udp_v4);
	tunnel->port_v6 = local_port(config->udp_v6);
	return r;
}

int tunnel_new(const struct tunnel_config *config, struct tunnel **ret)
{
	struct tunnel *tunnel = calloc(1, sizeof(*tunnel));
	struct relay_config relay = {
		.loop = config->loop,
		.sockets = config->sockets,
		.names = config->names,
		.tls = config->tls,
		.proxy = config->proxy,
		.node_key = config->node_key,
		.app_name = config->app_name,
		.callbacks = &relay_callbacks,
	};
	struct public_key public;
	uint64_t seed;
	int r;

	if (!tunnel)
		return -ENOMEM;
	tunnel->loop = config->loop;
	tunnel->callbacks = config->callbacks;
	tunnel->ctx = config->ctx;
	tunnel->handover_due = DEADLINE_NEVER;
	tunnel->in = (struct coalescer){
		.write = tunnel_write_host,
		.ctx = tunnel,
		.tcp = config->offloads.tun_headers && config->offloads.tun_tcp,
		.udp = config->offloads.tun_headers && config->offloads.tun_udp,
	};
	tunnel->out.arena = malloc(OUT_ARENA);
	uv_prepare_init(tunnel->loop, &tunnel->prepare);
	uv_timer_init(tunnel->loop, &tunnel->timer);
	randombytes_buf(&seed, sizeof(seed));
	secret_key_public(config->node_key, &public);
	relay.ctx = tunnel;

	tunnel->flows = filter_flows_create(seed);
	tunnel->wg = wg_device_new(config->node_key, &wg_callbacks, tunnel);
	if (tunnel->wg && config->mtu)
		wg_device_set_mtu(tunnel->wg, config->mtu);
	tunnel->path = path_engine_new(config->disco_key, &public, &path_callbacks, tunnel);
	r = tunnel->out.arena && tunnel->flows && tunnel->wg && tunnel->path
		    ? relay_new(&relay, &tunnel->relay)
		    : -ENOMEM;
	if (r == 0)
		r = open_devices(tunnel, config);
	if (r < 0) {
		tunnel_free(tunnel);
		return r;
	}
	uv_prepare_start(&tunnel->prepare, on_prepare);
	*ret = tunnel;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct tunnel *tunnel = handle->data;

	if (--tunnel->open_handles == 0)
		free(tunnel);
}

void tunnel_free(struct tunnel *tunnel)
{
	if (!tunnel)
		return;
	tunnel_remove_all_peers(tunnel);
	/* The callback may still use the tunnel. */
	tunnel_pings_cancel(tunnel);
	for (size_t i = 0; i < tunnel->tun_count; i++)
		tun_queue_free(tunnel->tun[i]);
	udp_socket_free(tunnel->udp_v4);
	udp_socket_free(tunnel->udp_v6);
	relay_free(tunnel->relay);
	path_engine_free(tunnel->path);
	wg_device_free(tunnel->wg);
	filter_free(tunnel->filter);
	filter_flows_free(tunnel->flows);
	free(tunnel->out.arena);
	tunnel->out.arena = NULL;
	tunnel->open_handles = 2;
	tunnel->prepare.data = tunnel;
	tunnel->timer.data = tunnel;
	uv_close((uv_handle_t *)&tunnel->prepare, on_closed);
	uv_close((uv_handle_t *)&tunnel->timer, on_closed);
}

void tunnel_set_node_key(struct tunnel *tunnel, const struct secret_key *node_key)
{
	struct public_key public;

	secret_key_public(node_key, &public);
	if (public_key_equal(&public, wg_device_public_key(tunnel->wg)))
		return;
	wg_device_set_private_key(tunnel->wg, node_key);
	path_set_node_key(tunnel->path, &public);
	relay_set_node_key(tunnel->relay, node_key);
}

/* --- Peers --- */

static struct tunnel_peer *find_peer(struct tunnel *tunnel, const struct public_key *key)
{
	struct tunnel_peer *peer;

	HASH_FIND(hh, tunnel->peers, key, sizeof(*key), peer);
	return peer;
}

static int add_peer(struct tunnel *tunnel, const struct tunnel_peer_config *config,
		    struct tunnel_peer **ret)
{
	struct tunnel_peer *peer = calloc(1, sizeof(*peer));
	int r;

	if (!peer)
		return -ENOMEM;
	peer->tunnel = tunnel;
	peer->key = config->path.node_key;
	r = wg_peer_add(tunnel->wg, &peer->key, NULL, peer, &peer->wg);
	if (r == 0)
		r = path_peer_add(tunnel->path, &config->path, peer, &peer->path);
	if (r == 0) {
		HASH_ADD(hh, tunnel->peers, key, sizeof(peer->key), peer);
		if (!peer->hh.tbl) {
			path_peer_remove(peer->path);
			r = -ENOMEM;
		}
	}
	if (r < 0) {
		wg_peer_remove(peer->wg);
		free(peer);
		return r;
	}
	*ret = peer;
	return 0;
}

static void remove_peer(struct tunnel *tunnel, struct tunnel_peer *peer)
{
	HASH_DEL(tunnel->peers, peer);
	wg_peer_remove(peer->wg);
	path_peer_remove(peer->path);
	free(peer);
}

void tunnel_peer_remove(struct tunnel *tunnel, const struct public_key *node_key)
{
	struct tunnel_peer *peer = find_peer(tunnel, node_key);

	if (peer)
		remove_peer(tunnel, peer);
}

int tunnel_peer_set(struct tunnel *tunnel, const struct tunnel_peer_config *config)
{
	struct tunnel_peer *peer = find_peer(tunnel, &config->path.node_key);
	int r = peer ? path_peer_update(peer->path, &config->path, clock_boottime())
		     : add_peer(tunnel, config, &peer);

	if (r == 0)
		r = wg_peer_set_allowed_ips(peer->wg, config->allowed_ips,
					    config->allowed_ip_count);
	if (r < 0) {
		/* The previous value may point to a node that was freed. */
		if (peer)
			remove_peer(tunnel, peer);
		return r;
	}
	peer->masquerade = config->masquerade;
	peer->address_v4 = config->address_v4;
	peer->address_v6 = config->address_v6;
	peer->filter.jailed = config->jailed;
	peer->filter.node = config->node;
	return 0;
}

void tunnel_greet(struct tunnel *tunnel, const struct public_key *node_key)
{
	struct tunnel_peer *peer = find_peer(tunnel, node_key);

	if (peer)
		wg_peer_initiate(peer->wg, clock_boottime());
}

void tunnel_remove_all_peers(struct tunnel *tunnel)
{
	struct tunnel_peer *peer, *next;

	HASH_ITER(hh, tunnel->peers, peer, next)
		remove_peer(tunnel, peer);
}

int tunnel_peer_status(struct tunnel *tunnel, const struct public_key *node_key,
		       struct tunnel_peer_status *ret)
{
	struct tunnel_peer *peer = find_peer(tunnel, node_key);
	nanoseconds now = clock_boottime();
	struct wg_peer_stats stats;

	if (!peer)
		return -ENOENT;
	wg_peer_stats(peer->wg, now, &stats);
	path_peer_status(peer->path, now, &ret->path);
	ret->rx_bytes = stats.received_bytes;
	ret->tx_bytes = stats.sent_bytes;
	ret->last_handshake =
		stats.last_handshake ? clock_realtime() - (now - stats.last_handshake) : 0;
	return 0;
}

/* --- What node decides --- */

void tunnel_set_filter(struct tunnel *tunnel, struct filter *filter)
{
	filter_free(tunnel->filter);
	tunnel->filter = filter;
}

void tunnel_set_peerapi(struct tunnel *tunnel, uint16_t port)
{
	tunnel->peerapi = port;
}

void tunnel_set_diverts(struct tunnel *tunnel, const struct divert *diverts, size_t count)
{
	diverts_set(&tunnel->diverts, diverts, count);
}

void tunnel_peer_capabilities(struct tunnel *tunnel, const struct public_key *node_key,
			      const struct address *source, const struct address *destination,
			      bool (*each)(void *data, const char *name, const char *values),
			      void *data)
{
	const struct tunnel_peer *peer = find_peer(tunnel, node_key);

	if (tunnel->filter)
		filter_peer_capabilities(tunnel->filter, peer ? &peer->filter : NULL, source,
					 destination, each, data);
}

void tunnel_set_own_addresses(struct tunnel *tunnel, const struct prefix *list, size_t count)
{
	tunnel->own_v4 = (struct address){0};
	tunnel->own_v6 = (struct address){0};
	/* Without memory a peer with a wider prefix may still send from our addresses. */
	(void)wg_device_set_local(tunnel->wg, list, count);
	while (count--) {
		if (list[count].address.family == ADDRESS_V4)
			tunnel->own_v4 = list[count].address;
		else if (list[count].address.family == ADDRESS_V6)
			tunnel->own_v6 = list[count].address;
	}
}

int tunnel_set_relays(struct tunnel *tunnel, const struct tailcfg_derp_map *map, uint16_t home)
{
	int r = relay_set_map(tunnel->relay, map);

	if (r == 0)
		relay_set_home(tunnel->relay, home);
	return r;
}

void tunnel_set_interfaces(struct tunnel *tunnel, const struct path_interface_address *list,
			   size_t count)
{
	struct path_endpoint endpoints[LOCAL_ENDPOINTS_MAX];
	size_t kept = path_filter_local(list, count, tunnel->port_v4, tunnel->port_v6, endpoints,
					LOCAL_ENDPOINTS_MAX);

	(void)path_set_local_endpoints(tunnel->path, endpoints, kept, clock_boottime());
}

void tunnel_link_changed(struct tunnel *tunnel)
{
	path_link_changed(tunnel->path, clock_boottime());
	relay_link_changed(tunnel->relay);
}

const struct relay *tunnel_relay(const struct tunnel *tunnel)
{
	return tunnel->relay;
}

const struct tunnel_counters *tunnel_counters(const struct tunnel *tunnel)
{
	return &tunnel->counters;
}

const struct wg_statistics *tunnel_wireguard_statistics(const struct tunnel *tunnel)
{
	return wg_device_statistics(tunnel->wg);
}

const struct path_statistics *tunnel_path_statistics(const struct tunnel *tunnel)
{
	return path_statistics(tunnel->path);
}
