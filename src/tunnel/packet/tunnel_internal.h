/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/tunnel_internal.h - struct tunnel, shared among the files of this folder
 *
 * Theory of operation
 *
 *	         TUN ──outbound.c──► filter ► peer by longest prefix ► masquerade ► WireGuard
 *	                                                                     │ send()
 *	   UDP, relay ◄──────────────── outbound.c: paths by path_route() ◄────┘
 *
 *	   UDP, relay ──inbound.c──► disco, STUN: path │ else WireGuard
 *	                                                    │ deliver()
 *	         TUN ◄── filter ◄ TSMP, our pings ◄ masquerade ◄┘
 *
 * A tunnel_peer links the states of WireGuard, the path engine and the filter for a peer.
 * The deadlines of all parts share one timer, which is armed before the loop waits.
 */
#pragma once

#include "base/cleanup.h"
#include "tunnel/packet/offload.h"
#include "tunnel/packet/tun_io.h"
#include "tunnel/packet/udp.h"
#include "tunnel/tunnel.h"
#include "tunnel/wireguard/wg.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define TUNNEL_TUN_MAX 4

struct tunnel_peer {
	struct tunnel *tunnel;
	struct public_key key;
	struct wg_peer *wg;
	struct path_peer *path;
	struct masquerade masquerade;
	struct address address_v4;
	struct address address_v6;
	struct filter_peer filter;
	bool heard;               /* since the loop last waited */
	bool calls;               /* and searches a path to us */
	nanoseconds noted_active; /* last entry in the hand-over record */
	UT_hash_handle hh;
};

struct tunnel_ping {
	struct tunnel_ping *next;
	struct tunnel *tunnel;
	struct public_key peer;
	enum tunnel_ping_type type;
	uint8_t data[8]; /* repeated by the answer */
	nanoseconds sent;
	nanoseconds deadline;
	tunnel_ping_callback callback;
	void *ctx;
};

/* Room for a batch, at most UDP_TRAIN_BYTES once it is sealed, or for one packet of any length. */
#define OUT_ARENA (65536u + WG_HEADROOM + WG_TAILROOM + WG_PADDING)

/* Packets of the host to one peer that were not sent yet. */
struct tunnel_out {
	struct wg_peer *peer;
	struct iovec packets[WG_BATCH_MAX];
	size_t count;
	size_t used; /* of the arena */
	uint8_t *arena;
};

/* Datagrams that were read and wait to be opened together, each with its source. */
struct tunnel_in {
	struct wg_datagram datagrams[WG_BATCH_MAX];
	struct wg_source sources[WG_BATCH_MAX];
	size_t count;
	size_t source_count; /* datagrams of one source share it */
};

struct tunnel {
	uv_loop_t *loop;
	uv_prepare_t prepare; /* arms the timer before each wait */
	uv_timer_t timer;
	unsigned int open_handles;

	struct tun_queue *tun[TUNNEL_TUN_MAX];
	size_t tun_count;
	unsigned int full_sockets; /* while there are any, the TUN isn't read */
	struct udp_socket *udp_v4;
	struct udp_socket *udp_v6;
	bool tun_headers;
	uint16_t port_v4;
	uint16_t port_v6;

	struct wg_device *wg;
	struct path_engine *path;
	struct relay *relay;
	struct filter *filter;
	struct filter_flows *flows;
	struct diverts diverts;    /* of services */
	uint16_t peerapi;          /* our port, for pongs; 0: none */
	struct tunnel_peer *peers; /* by node key */
	struct address own_v4;
	struct address own_v6;

	struct tunnel_out out;
	struct tunnel_in waiting;
	struct coalescer in;
	nanoseconds batch_now; /* of the packets that are being handled; 0: ask the clock */

	bool heard; /* some peer was */
	struct tunnel_ping *pings;
	nanoseconds handover_due; /* DEADLINE_NEVER: nothing new */
	struct tunnel_counters counters;
	const struct tunnel_callbacks *callbacks;
	void *ctx;
};

/* tunnel_way_of() - The way of a datagram by UDP */
static inline enum tunnel_way tunnel_way_of(const struct endpoint *endpoint)
{
	return endpoint->address.family == ADDRESS_V6 ? TUNNEL_WAY_DIRECT_V6 : TUNNEL_WAY_DIRECT_V4;
}

static inline void tunnel_count(struct tunnel_traffic *traffic, size_t packets, size_t bytes)
{
	traffic->packets += packets;
	traffic->bytes += bytes;
}

/* tunnel_now() - The time, asked once for the packets that are handled together */
static inline nanoseconds tunnel_now(struct tunnel *tunnel)
{
	if (!tunnel->batch_now)
		tunnel->batch_now = clock_boottime();
	return tunnel->batch_now;
}

/* outbound.c */
extern const struct tun_handler tunnel_tun_handler;
void tunnel_wg_send_all(void *context, struct wg_peer *wg, const struct iovec *datagrams,
			size_t count);
void tunnel_wg_send(void *context, struct wg_peer *wg, uint8_t *datagram, size_t length,
		    enum wg_kind kind);
void tunnel_wg_send_to(void *context, const struct wg_source *to, const uint8_t *datagram,
		       size_t length);
void tunnel_udp_full(void *ctx);
void tunnel_udp_writable(void *ctx);
void tunnel_send_udp(void *ctx, const struct endpoint *to, const uint8_t *data, size_t length);
void tunnel_send_relay(void *ctx, uint16_t region, const struct public_key *to, const uint8_t *data,
		       size_t length);
int tunnel_send_own(struct tunnel_peer *peer, const uint8_t *packet, size_t length);

/* inbound.c */
extern const struct udp_handler tunnel_udp_handler;
void tunnel_write_host(void *ctx, const struct virtio_net_hdr *header, const struct iovec *parts,
		       size_t count);
void tunnel_from_relay(void *ctx, uint16_t region, const struct public_key *source,
		       const uint8_t *data, size_t length);
void tunnel_relay_drained(void *ctx);
void tunnel_wg_deliver(void *context, struct wg_peer *wg, uint8_t *packet, size_t length);

/* ping.c */
void tunnel_ping_answered(struct tunnel *tunnel, const struct tunnel_peer *peer,
			  enum tunnel_ping_type type, const uint8_t data[static 8],
			  uint16_t peer_api_port);
nanoseconds tunnel_pings_deadline(const struct tunnel *tunnel);
void tunnel_pings_timeout(struct tunnel *tunnel, nanoseconds now);
void tunnel_pings_cancel(struct tunnel *tunnel);

/* handover.c */
void tunnel_handover_later(struct tunnel *tunnel, nanoseconds now);
