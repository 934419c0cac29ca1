/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/packet/inbound.c - packets from peers to the host */
#include "tunnel/packet/tunnel_internal.h"
#include "wire/disco.h"
#include "wire/ip.h"
#include "wire/stun.h"
#include "wire/tsmp.h"

#include <errno.h>
#include <string.h>

/*
 * receive_wireguard() - Handle a datagram that is neither disco nor STUN
 *
 * A transport packet with an unknown index comes from a peer that still uses a session of
 * the previous engine; only a new handshake ends that.
 */
static void receive_wireguard(struct tunnel *tunnel, const struct wg_source *source, uint8_t *data,
			      size_t length)
{
	nanoseconds now = tunnel_now(tunnel);
	struct wg_peer *wg = NULL;
	enum wg_verdict verdict = wg_receive(tunnel->wg, source, data, length, now, &wg);
	struct tunnel_peer *peer = NULL;
	struct path_peer *path;

	if (wg) {
		peer = wg_peer_user(wg);
		path_note_received(peer->path, source->region ? NULL : &source->endpoint, now);
		return;
	}
	if (verdict != WG_DROPPED_UNKNOWN_INDEX)
		return;
	path = source->region ? path_peer_find(tunnel->path, &source->relay_key)
			      : path_for_source(tunnel->path, &source->endpoint);
	if (path) {
		peer = path_peer_user(path);
		wg_peer_initiate(peer->wg, now);
	}
}

static void from_udp(void *ctx, const struct endpoint *from, uint8_t *data, size_t length)
{
	struct tunnel *tunnel = ctx;
	struct wg_source source = {.endpoint = *from};

	tunnel_count(&tunnel->counters.in[tunnel_way_of(from)], 1, length);
	if (stun_recognise(data, length) || disco_recognise(data, length))
		path_receive_udp(tunnel->path, from, data, length, tunnel_now(tunnel));
	else
		receive_wireguard(tunnel, &source, data, length);
}

static void on_drained(void *ctx)
{
	struct tunnel *tunnel = ctx;

	coalesce_flush(&tunnel->in);
	tunnel->batch_now = 0;
}

const struct udp_handler tunnel_udp_handler = {.receive = from_udp, .drained = on_drained};

/* WireGuard decrypts in place, which the relay's buffer does not allow, and the coalescer keeps packets until it is
 * flushed. A read of a relay's stream is one TLS record. */
static struct {
	uint8_t data[65536];
	size_t used;
} relayed;

void tunnel_from_relay(void *ctx, uint16_t region, const struct public_key *sender,
		       const uint8_t *data, size_t length)
{
	struct tunnel *tunnel = ctx;
	struct wg_source source = {.region = region, .relay_key = *sender};

	tunnel_count(&tunnel->counters.in[TUNNEL_WAY_RELAY], 1, length);
	if (!path_peer_find(tunnel->path, sender))
		return; /* not a peer of the netmap */
	if (disco_recognise(data, length)) {
		path_receive_relay(tunnel->path, region, sender, data, length, clock_boottime());
		return;
	}
	if (length > sizeof(relayed.data))
		return;
	if (length > sizeof(relayed.data) - relayed.used)
		tunnel_relay_drained(tunnel);
	memcpy(relayed.data + relayed.used, data, length);
	relayed.used += length;
	receive_wireguard(tunnel, &source, relayed.data + relayed.used - length, length);
}

void tunnel_relay_drained(void *ctx)
{
	on_drained(ctx);
	relayed.used = 0;
}

/* tunnel_write_host() - Write what the coalescer made to the TUN */
void tunnel_write_host(void *ctx, const struct virtio_net_hdr *header, const struct iovec *parts,
		       size_t count)
{
	struct tunnel *tunnel = ctx;

	if (tunnel->tun_count == 0 || tun_queue_write(tunnel->tun[0], header, parts, count) < 0)
		tunnel->counters.tun_failed += count;
}

/* answer_tsmp() - A TSMP message: pings are answered independent of the filter */
static void answer_tsmp(struct tunnel_peer *peer, const uint8_t *packet, const struct ip_view *view)
{
	struct tunnel *tunnel = peer->tunnel;
	uint8_t answer[IPV6_HEADER_SIZE + TSMP_MESSAGE_MAX];
	struct tsmp_message message;
	ssize_t length;

	if (view->fragment != IP_WHOLE ||
	    tsmp_decode(packet + view->transport_offset, view->length - view->transport_offset,
			&message) < 0)
		return;
	switch (message.type) {
	case TSMP_PING: {
		struct tsmp_message pong = {
			.type = TSMP_PONG,
			.pong.peerapi_port = tunnel->peerapi,
		};

		memcpy(pong.pong.data, message.ping, sizeof(pong.pong.data));
		length = tsmp_build(answer, sizeof(answer), &view->destination, &view->source,
				    &pong);
		if (length > 0)
			(void)tunnel_send_own(peer, answer, (size_t)length);
		return;
	}
	case TSMP_PONG:
		tunnel_ping_answered(tunnel, peer, TUNNEL_PING_TSMP, message.pong.data,
				     message.pong.peerapi_port);
		return;
	case TSMP_DISCO_KEY:
		(void)path_peer_set_tunnel_disco_key(peer->path, &message.disco_key,
						     clock_boottime());
		return;
	default:
		return; /* a reject: the host's own connection attempt times out */
	}
}

/* is_own_echo() - Whether it answers our own ping, which must not reach the host */
static bool is_own_echo(struct tunnel_peer *peer, const uint8_t *packet, const struct ip_view *view)
{
	struct ip_echo echo;

	if (!peer->tunnel->pings || !ip_is_echo_reply(view) ||
	    ip_parse_echo(packet, view, &echo) < 0 || echo.length != TSMP_PING_DATA)
		return false;
	for (const struct tunnel_ping *p = peer->tunnel->pings; p; p = p->next)
		if (p->type == TUNNEL_PING_ICMP && memcmp(p->data, echo.data, 8) == 0) {
			tunnel_ping_answered(peer->tunnel, peer, TUNNEL_PING_ICMP, echo.data, 0);
			return true;
		}
	return false;
}

/* reject() - Send the reason to the sender of a refused connection, so that it does not wait */
static void reject(struct tunnel_peer *peer, enum filter_verdict verdict,
		   const struct ip_view *view)
{
	uint8_t answer[IPV6_HEADER_SIZE + TSMP_MESSAGE_MAX];
	struct tsmp_message message = {
		.type = TSMP_REJECT,
		.reject =
			{
				.protocol = view->protocol,
				.reason = filter_reject_reason(verdict, view),
				.source_port = view->source_port,
				.destination_port = view->destination_port,
			},
	};
	ssize_t length;

	if (!message.reject.reason)
		return;
	length = tsmp_build(answer, sizeof(answer), &view->destination, &view->source, &message);
	if (length > 0)
		(void)tunnel_send_own(peer, answer, (size_t)length);
}

/* tunnel_wg_deliver() - Handle an authentic packet with a source address of the peer */
void tunnel_wg_deliver(void *context, struct wg_peer *wg, uint8_t *packet, size_t length)
{
	struct tunnel *tunnel = context;
	struct tunnel_peer *peer = wg_peer_user(wg);
	enum filter_verdict verdict;
	struct ip_view view;
	int r = ip_parse(packet, length, &view);

	if (r < 0) {
		tunnel->counters.verdicts_in[filter_parse_verdict(r)]++;
		return;
	}
	masquerade_inbound(&peer->masquerade, packet, &view);
	if (view.protocol == IP_PROTOCOL_TSMP) {
		tunnel->counters.verdicts_in[FILTER_ACCEPT_TSMP]++;
		answer_tsmp(peer, packet, &view);
		return;
	}
	if (is_own_echo(peer, packet, &view))
		return;
	verdict = filter_inbound(tunnel->filter, tunnel->flows, &view, &peer->filter);
	tunnel->counters.verdicts_in[verdict]++;
	if (!filter_accepts(verdict)) {
		reject(peer, verdict, &view);
		return;
	}
	if (!divert_inbound(&tunnel->diverts, packet, &view))
		return; /* to the port of a service's listener, which is ours */
	coalesce_add(&tunnel->in, packet, &view);
}
