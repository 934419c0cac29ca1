/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/packet/outbound.c - packets from the host to peers, and datagrams onto their paths */
#include "tunnel/packet/tunnel_internal.h"
#include "wire/ip.h"

#include <errno.h>
#include <string.h>

/* The size limit of our own packets: pings and rejects are far shorter. */
#define OWN_PACKET_MAX 512

/* The longest time between two entries of an active peer in the hand-over record. */
#define ACTIVE_NOTE_INTERVAL (15 * NSEC_PER_SEC)

/* send_out() - Seal and send what was collected */
static void send_out(struct tunnel *tunnel)
{
	struct tunnel_out *out = &tunnel->out;

	if (out->count)
		wg_send_all(out->peer, out->packets, out->count, tunnel_now(tunnel));
	out->count = 0;
	out->used = 0;
}

/* add_out() - Split a packet to @peer into the arena */
static void add_out(struct tunnel *tunnel, struct wg_peer *peer, struct split *split)
{
	struct tunnel_out *out = &tunnel->out;
	size_t length;

	if (out->peer != peer)
		send_out(tunnel);
	out->peer = peer;
	while ((length = split_length(split)) != 0) {
		size_t sealed = wg_sealed_length(tunnel->wg, length);
		uint8_t *packet;

		/* What the kernel takes in one call; a longer batch would cost two. */
		if (out->count == WG_BATCH_MAX ||
		    (out->count && out->used + sealed > UDP_TRAIN_BYTES))
			send_out(tunnel);
		packet = out->arena + out->used + WG_HEADROOM;
		split_next(split, packet);
		out->packets[out->count++] = (struct iovec){packet, length};
		/* Datagrams of one length follow each other without a gap. */
		out->used += sealed;
	}
}

/* from_host() - Handle a packet that the host routed into the TUN */
static void from_host(void *ctx, const struct virtio_net_hdr *header, uint8_t *packet,
		      size_t length)
{
	bool partial = header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	struct tunnel *tunnel = ctx;
	enum filter_verdict verdict;
	struct tunnel_peer *peer;
	struct wg_target target;
	struct split split;
	struct ip_view view;
	int r = ip_parse(packet, length, &view);

	if (r == 0)
		divert_outbound(&tunnel->diverts, packet, &view, partial);
	verdict = r < 0 ? filter_parse_verdict(r) : filter_outbound(tunnel->flows, &view);
	if (r == 0)
		r = split_begin(&split, header, packet, &view);
	if (r < 0 || !filter_accepts(verdict)) {
		tunnel->counters.verdicts_out[verdict]++;
		return;
	}
	tunnel->counters.verdicts_out[verdict] += split_count(&split);
	target = wg_device_lookup(tunnel->wg, &view.destination);
	switch (target.kind) {
	case WG_TARGET_PEER:
		peer = wg_peer_user(target.peer);
		if (masquerade_outbound(&peer->masquerade, packet, &view, partial))
			split.view = view;
		add_out(tunnel, target.peer, &split);
		break;
	case WG_TARGET_LOCAL: /* an own address: the host delivers to it without the TUN */
	case WG_TARGET_NONE:
		tunnel->counters.no_peer += split_count(&split);
		break;
	}
}

static void on_drained(void *ctx)
{
	struct tunnel *tunnel = ctx;

	send_out(tunnel);
	tunnel->batch_now = 0;
}

const struct tun_handler tunnel_tun_handler = {.receive = from_host, .drained = on_drained};

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

static void send_udp_all(struct tunnel *tunnel, const struct endpoint *to,
			 const struct iovec *datagrams, size_t count)
{
	struct udp_socket *socket =
		to->address.family == ADDRESS_V6 ? tunnel->udp_v6 : tunnel->udp_v4;
	int r = socket ? udp_socket_send_all(socket, to, datagrams, count) : -ENETUNREACH;

	if (r == -EAGAIN)
		tunnel->counters.udp_full += count;
	else if (r < 0)
		path_send_failed(tunnel->path, to, r);
}

/* tunnel_udp_full() - Datagrams wait for a socket: no more are made from packets of the host */
void tunnel_udp_full(void *ctx)
{
	struct tunnel *tunnel = ctx;

	if (tunnel->full_sockets++ == 0)
		for (size_t i = 0; i < tunnel->tun_count; i++)
			tun_queue_pause(tunnel->tun[i], true);
}

void tunnel_udp_writable(void *ctx)
{
	struct tunnel *tunnel = ctx;

	if (--tunnel->full_sockets == 0)
		for (size_t i = 0; i < tunnel->tun_count; i++)
			tun_queue_pause(tunnel->tun[i], false);
}

void tunnel_send_udp(void *ctx, const struct endpoint *to, const uint8_t *data, size_t length)
{
	send_udp_all(ctx, to, &(struct iovec){(void *)(uintptr_t)data, length}, 1);
}

void tunnel_send_relay(void *ctx, uint16_t region, const struct public_key *to, const uint8_t *data,
		       size_t length)
{
	struct tunnel *tunnel = ctx;

	(void)relay_send(tunnel->relay, region, to,
			 &(struct iovec){(void *)(uintptr_t)data, length}, 1);
}

/* tunnel_wg_send_all() - Send WireGuard datagrams along the paths of the path engine */
void tunnel_wg_send_all(void *context, struct wg_peer *wg, const struct iovec *datagrams,
			size_t count)
{
	struct tunnel *tunnel = context;
	struct tunnel_peer *peer = wg_peer_user(wg);
	nanoseconds now = tunnel->batch_now ? tunnel->batch_now : clock_boottime();
	struct path_choice choice;
	size_t length = 0;

	for (size_t i = 0; i < count; i++)
		length += datagrams[i].iov_len;
	path_route(peer->path, now, &choice);
	if (choice.direct) {
		tunnel_count(&tunnel->counters.out[tunnel_way_of(&choice.endpoint)], count, length);
		send_udp_all(tunnel, &choice.endpoint, datagrams, count);
	}
	if (choice.relay) {
		tunnel_count(&tunnel->counters.out[TUNNEL_WAY_RELAY], count, length);
		(void)relay_send(tunnel->relay, choice.region, &peer->key, datagrams, count);
	}
	if (!choice.direct && !choice.relay)
		tunnel->counters.no_way += count;
	if (now - peer->noted_active > ACTIVE_NOTE_INTERVAL) {
		peer->noted_active = now;
		tunnel_handover_later(tunnel, now);
	}
}

void tunnel_wg_send(void *context, struct wg_peer *wg, uint8_t *datagram, size_t length,
		    enum wg_kind kind)
{
	(void)kind;
	tunnel_wg_send_all(context, wg, &(struct iovec){datagram, length}, 1);
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
