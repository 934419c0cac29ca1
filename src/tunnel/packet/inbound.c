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
 * answer_unknown() - A transport message came in no session that we know
 *
 * Its peer still uses a session of the previous engine; only a new handshake ends that.
 */
static void answer_unknown(struct tunnel *tunnel, const struct wg_source *source, nanoseconds now)
{
	struct path_peer *path = source->region ? path_peer_find(tunnel->path, &source->relay_key)
						: path_for_source(tunnel->path, &source->endpoint);
	struct tunnel_peer *peer;

	if (!path)
		return;
	peer = path_peer_user(path);
	wg_peer_initiate(peer->wg, now);
}

/* receive_waiting() - Open what was collected, and tell the path engine, once for each run of a source */
static void receive_waiting(struct tunnel *tunnel)
{
	struct tunnel_in *in = &tunnel->waiting;
	const struct wg_datagram *last = NULL;
	nanoseconds now = tunnel_now(tunnel);

	wg_receive_all(tunnel->wg, in->datagrams, in->count, now);
	for (size_t i = 0; i < in->count; i++) {
		const struct wg_datagram *d = &in->datagrams[i];

		if (last && last->peer == d->peer && last->source == d->source &&
		    last->verdict == d->verdict)
			continue;
		last = d;
		if (d->peer) {
			struct tunnel_peer *peer = wg_peer_user(d->peer);

			path_note_received(peer->path,
					   d->source->region ? NULL : &d->source->endpoint, now);
		} else if (d->verdict == WG_DROPPED_UNKNOWN_INDEX) {
			answer_unknown(tunnel, d->source, now);
		}
	}
	in->count = 0;
	in->source_count = 0;
}

static bool same_source(const struct wg_source *a, const struct wg_source *b)
{
	return a->region == b->region && (a->region ? public_key_equal(&a->relay_key, &b->relay_key)
						    : endpoint_equal(&a->endpoint, &b->endpoint));
}

/* collect() - Keep a datagram that is neither disco nor STUN, until it is opened with others */
static void collect(struct tunnel *tunnel, const struct wg_source *source, uint8_t *data,
		    size_t length)
{
	struct tunnel_in *in = &tunnel->waiting;

	if (in->count == WG_BATCH_MAX)
		receive_waiting(tunnel);
	if (in->source_count == 0 || !same_source(&in->sources[in->source_count - 1], source))
		in->sources[in->source_count++] = *source;
	in->datagrams[in->count++] = (struct wg_datagram){
		.source = &in->sources[in->source_count - 1],
		.bytes = data,
		.length = length,
	};
}

static void from_udp(void *ctx, const struct endpoint *from, uint8_t *data, size_t length)
{
	struct tunnel *tunnel = ctx;
	struct wg_source source = {.endpoint = *from};

	tunnel_count(&tunnel->counters.in[tunnel_way_of(from)], 1, length);
	if (stun_recognise(data, length) || disco_recognise(data, length))
		path_receive_udp(tunnel->path, from, data, length, tunnel_now(tunnel));
	else
		collect(tunnel, &source, data, length);
}

static void on_drained(void *ctx)
{
	struct tunnel *tunnel = ctx;

	if (tunnel->waiting.count)
		receive_waiting(tunnel);
	coalesce_flush(&tunnel->in);
	tunnel->batch_now = 0;
}

const struct udp_handler tunnel_udp_handler = {
	.receive = from_udp,
	.drained = on_drained,
	.full = tunnel_udp_full,
	.writable = tunnel_udp_writable,
};

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
	collect(tunnel, &source, relayed.data + relayed.used - length, length);
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
