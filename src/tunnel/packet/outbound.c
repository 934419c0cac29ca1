/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/packet/outbound.c - packets from the host to peers, and datagrams onto their paths */
#include "tunnel/packet/tunnel_internal.h"
#include "wire/ip.h"

#include <errno.h>
#include <string.h>

_Static_assert(TUN_HEADROOM >= WG_HEADROOM, "a packet is sealed where it was read");
_Static_assert(TUN_TAILROOM >= WG_TAILROOM, "padding and tag follow the packet");

/* The size limit of our own packets: pings and rejects are far shorter. */
#define OWN_PACKET_MAX 512

/* The longest time between two entries of an active peer in the hand-over record. */
#define ACTIVE_NOTE_INTERVAL (15 * NSEC_PER_SEC)

/* tunnel_from_host() - Handle a packet that the host routed into the TUN */
void tunnel_from_host(void *ctx, uint8_t *packet, size_t length)
{
	struct tunnel *tunnel = ctx;
	enum filter_verdict verdict;
	struct tunnel_peer *peer;
	struct wg_target target;
	struct ip_view view;
	int r = ip_parse(packet, length, &view);

	if (r == 0)
		divert_outbound(&tunnel->diverts, packet, &view, false);
	verdict = r < 0 ? filter_parse_verdict(r) : filter_outbound(tunnel->flows, &view);
	tunnel->counters.verdicts_out[verdict]++;
	if (r < 0 || !filter_accepts(verdict))
		return;
	target = wg_device_lookup(tunnel->wg, &view.destination);
	switch (target.kind) {
	case WG_TARGET_PEER:
		peer = wg_peer_user(target.peer);
		masquerade_outbound(&peer->masquerade, packet, &view, false);
		(void)wg_send(target.peer, packet, view.length, clock_boottime());
		break;
	case WG_TARGET_LOCAL: /* an own address: the host delivers to it without the TUN */
	case WG_TARGET_NONE:
		tunnel->counters.no_peer++;
		break;
	}
}

/* tunnel_send_own() - Send a packet of our own through WireGuard */
int tunnel_send_own(struct tunnel_peer *peer, const uint8_t *packet, size_t length)
{
	uint8_t room[WG_HEADROOM + OWN_PACKET_MAX + WG_TAILROOM];
	struct ip_view view;
	int r;

	if (length > OWN_PACKET_MAX)
		return -EMSGSIZE;
	memcpy(room + WG_HEADROOM, packet, length);
	r = ip_parse(room + WG_HEADROOM, length, &view);
	if (r < 0)
		return r;
	masquerade_outbound(&peer->masquerade, room + WG_HEADROOM, &view, false);
	r = wg_send(peer->wg, room + WG_HEADROOM, length, clock_boottime());
	return r < 0 ? r : 0;
}

void tunnel_send_udp(void *ctx, const struct endpoint *to, const uint8_t *data, size_t length)
{
	struct tunnel *tunnel = ctx;
	struct udp_socket *socket =
		to->address.family == ADDRESS_V6 ? tunnel->udp_v6 : tunnel->udp_v4;
	int r = socket ? udp_socket_send(socket, to, data, length) : -ENETUNREACH;

	if (r < 0 && r != -EAGAIN)
		path_send_failed(tunnel->path, to, r);
}

void tunnel_send_relay(void *ctx, uint16_t region, const struct public_key *to, const uint8_t *data,
		       size_t length)
{
	struct tunnel *tunnel = ctx;

	(void)relay_send(tunnel->relay, region, to, data, length);
}

/* tunnel_wg_send() - Send a WireGuard datagram along the paths of the path engine */
void tunnel_wg_send(void *context, struct wg_peer *wg, uint8_t *datagram, size_t length,
		    enum wg_kind kind)
{
	struct tunnel *tunnel = context;
	struct tunnel_peer *peer = wg_peer_user(wg);
	nanoseconds now = clock_boottime();
	struct path_choice choice;

	(void)kind;
	path_route(peer->path, now, &choice);
	if (choice.direct) {
		tunnel_count(&tunnel->counters.out[tunnel_way_of(&choice.endpoint)], length);
		tunnel_send_udp(tunnel, &choice.endpoint, datagram, length);
	}
	if (choice.relay) {
		tunnel_count(&tunnel->counters.out[TUNNEL_WAY_RELAY], length);
		tunnel_send_relay(tunnel, choice.region, &peer->key, datagram, length);
	}
	if (!choice.direct && !choice.relay)
		tunnel->counters.no_way++;
	if (now - peer->noted_active > ACTIVE_NOTE_INTERVAL) {
		peer->noted_active = now;
		tunnel_handover_later(tunnel, now);
	}
}

/* tunnel_wg_send_to() - Send a cookie reply to the source of its message */
void tunnel_wg_send_to(void *context, const struct wg_source *to, const uint8_t *datagram,
		       size_t length)
{
	if (to->region)
		tunnel_send_relay(context, (uint16_t)to->region, &to->relay_key, datagram, length);
	else
		tunnel_send_udp(context, &to->endpoint, datagram, length);
}
