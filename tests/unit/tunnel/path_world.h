/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/path_world.h - two path engines, a relay, NATs and a clock of our own
 *
 *	 host 0                                                       host 1
 *	10.0.0.1:1000 ── NAT 192.0.2.1:5000 ──┐   ┌── 192.0.2.2:5001 NAT ── 10.0.0.2:1001
 *	      │                               ├───┤                              │
 *	      │                         STUN 198.51.100.1:3478                   │
 *	      ├─────────────────── relay (always up, ordered) ───────────────────┤
 *	      └────────────── a LAN between the 10.0.0.x, if the test says ──────┘
 *
 * A NAT lets in what comes from an endpoint that was sent to within 30 s. Every
 * datagram is lost with the probability that the test sets, from a seeded generator;
 * time jumps to whatever is due next.
 */
#pragma once

#include "tunnel/path/path_internal.h"
#include "unit/unit.h"

#include <sodium.h>

#define WORLD_PACKETS 4096
#define WORLD_DATA    20000
#define PINHOLES      256
#define PINHOLE_TIME  (30 * NSEC_PER_SEC)
#define RELAY_REGION  7

#define MS *NSEC_PER_MSEC
#define S  *NSEC_PER_SEC

struct packet {
	nanoseconds at;
	uint64_t order;
	int to; /* host */
	bool relay, data;
	struct endpoint source; /* UDP */
	int from;
	int number; /* data */
	size_t length;
	uint8_t bytes[DISCO_PACKET_MAX];
};

struct pinhole {
	struct endpoint to;
	nanoseconds until;
};

struct host {
	struct world *world;
	int index;
	struct path_engine *engine;
	struct path_peer *peer;
	struct secret_key disco;
	struct public_key node;
	struct endpoint inside, outside;
	struct pinhole holes[PINHOLES];
	size_t hole_count;

	/* Application: a datagram each @interval until @send_until. */
	nanoseconds interval, next_send, send_until;
	int sent_data;
	nanoseconds sent_at[WORLD_DATA];

	bool got[WORLD_DATA]; /* the other's data */
	int got_direct, got_relay, got_twice;

	/* What the engine did. */
	uint64_t udp_sent, relay_sent, calls;
	nanoseconds last_udp_sent, last_relay_sent;
	int path_changes, restarts, heard[3];
	nanoseconds first_pong;
	struct path_endpoint told[32];
	size_t told_count;
	bool told_udp;
	int told_times;
	nanoseconds tell_other; /* when control hands our endpoints to the other; 0: nothing new */
};

struct world {
	nanoseconds now;
	struct host hosts[2];
	struct packet packets[WORLD_PACKETS];
	size_t packet_count;
	uint64_t order;
	uint64_t random;

	/* Settings, to be changed at any time. */
	bool no_control; /* endpoints don't come by netmap, only by CallMeMaybe */
	bool nat;        /* both hosts stand behind one */
	bool lan;        /* the inside addresses reach each other */
	bool wan_down;   /* no UDP between the outside addresses */
	bool stun_down;
	bool unreachable;  /* sending by UDP to the peer fails at once */
	bool knows[2];     /* the host has the other in its netmap */
	unsigned int loss; /* percent of datagrams, UDP */
	nanoseconds wan_delay, lan_delay, relay_delay;
	int stun_lost; /* so many of the next requests */
};

static inline uint32_t world_random(struct world *w)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->random >> 33);
}

static inline struct endpoint world_endpoint(const char *text)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(text, strlen(text), &e), 0);
	return e;
}

static inline struct endpoint world_stun(void)
{
	return world_endpoint("198.51.100.1:3478");
}

static inline struct packet *world_packet(struct world *w, int from, int to, nanoseconds delay,
					  const uint8_t *data, size_t length)
{
	struct packet *p;

	assert_true(w->packet_count < WORLD_PACKETS);
	assert_true(length <= sizeof(p->bytes));
	p = &w->packets[w->packet_count++];
	*p = (struct packet){.at = w->now + delay, .order = w->order++, .to = to, .from = from};
	p->length = length;
	if (length > 0)
		memcpy(p->bytes, data, length);
	return p;
}

static inline struct pinhole *world_hole(struct host *h, const struct endpoint *to)
{
	for (size_t i = 0; i < h->hole_count; i++)
		if (endpoint_equal(&h->holes[i].to, to))
			return &h->holes[i];
	return NULL;
}

static inline void world_open_hole(struct host *h, const struct endpoint *to)
{
	struct pinhole *hole = world_hole(h, to);

	if (!hole) {
		assert_true(h->hole_count < PINHOLES);
		hole = &h->holes[h->hole_count++];
		hole->to = *to;
	}
	hole->until = h->world->now + PINHOLE_TIME;
}

/* A datagram of disco or STUN, or data @number (>= 0), leaves @h. */
static inline void world_udp(struct host *h, const struct endpoint *to, const uint8_t *data,
			     size_t length, int number)
{
	struct world *w = h->world;
	struct host *other = &w->hosts[1 - h->index];
	struct endpoint stun = world_stun(), source;
	struct stun_txid txid;
	uint8_t answer[STUN_RESPONSE_MAX];
	struct packet *p;
	nanoseconds delay;

	h->udp_sent++;
	h->last_udp_sent = w->now;
	if (endpoint_equal(to, &stun)) {
		source = w->nat ? h->outside : h->inside;
		if (w->stun_down || (w->stun_lost > 0 && w->stun_lost-- > 0) ||
		    world_random(w) % 100 < w->loss)
			return;
		assert_int_equal(stun_request_parse(data, length, &txid), 0);
		length = stun_response_write(answer, &txid, &source);
		p = world_packet(w, h->index, h->index, 2 * w->wan_delay, answer, length);
		p->source = stun;
		return;
	}
	if (w->unreachable) {
		path_send_failed(h->engine, to, -EHOSTUNREACH);
		return;
	}
	if (world_random(w) % 100 < w->loss)
		return;
	if (endpoint_equal(to, &other->inside)) {
		if (!w->lan)
			return;
		source = h->inside;
		delay = w->lan_delay;
	} else if (endpoint_equal(to, &other->outside)) {
		if (w->wan_down)
			return;
		source = w->nat ? h->outside : h->inside;
		delay = w->wan_delay;
		world_open_hole(h, to);
	} else {
		return; /* nobody lives there */
	}
	p = world_packet(w, h->index, other->index, delay, data, length);
	p->source = source;
	p->data = number >= 0;
	p->number = number;
}

static inline void world_relay(struct host *h, const uint8_t *data, size_t length, int number)
{
	struct world *w = h->world;
	struct packet *p = world_packet(w, h->index, 1 - h->index, w->relay_delay, data, length);

	h->relay_sent++;
	h->last_relay_sent = w->now;
	p->relay = true;
	p->data = number >= 0;
	p->number = number;
}

static void world_send_udp(void *ctx, const struct endpoint *to, const uint8_t *data, size_t length)
{
	world_udp(ctx, to, data, length, -1);
}

static void world_send_relay(void *ctx, uint16_t region, const struct public_key *to,
			     const uint8_t *data, size_t length)
{
	struct host *h = ctx;

	assert_int_equal(region, RELAY_REGION);
	assert_true(public_key_equal(to, &h->world->hosts[1 - h->index].node));
	world_relay(h, data, length, -1);
}

static void world_path_changed(void *ctx, struct path_peer *peer)
{
	struct host *h = ctx;

	assert_ptr_equal(peer, h->peer);
	h->path_changes++;
}

static void world_heard(void *ctx, struct path_peer *peer, enum path_evidence evidence)
{
	struct host *h = ctx;

	assert_ptr_equal(peer, h->peer);
	if (evidence == PATH_EVIDENCE_PONG && !h->first_pong)
		h->first_pong = h->world->now;
	h->heard[evidence]++;
}

static void world_restarted(void *ctx, struct path_peer *peer)
{
	(void)peer;
	((struct host *)ctx)->restarts++;
}

static void world_endpoints_changed(void *ctx, const struct path_endpoint *list, size_t count,
				    bool working_udp)
{
	struct host *h = ctx;

	assert_true(count <= 32);
	memcpy(h->told, list, count * sizeof(*list));
	h->told_count = count;
	h->told_udp = working_udp;
	h->told_times++;
	h->tell_other = h->world->now + 100 MS;
}

static const struct path_callbacks world_callbacks = {
	.send_udp = world_send_udp,
	.send_relay = world_send_relay,
	.path_changed = world_path_changed,
	.heard = world_heard,
	.restarted = world_restarted,
	.endpoints_changed = world_endpoints_changed,
};

static inline struct path_peer_config world_config(struct host *h)
{
	struct path_peer_config config = {.home_region = RELAY_REGION};
	struct host *other = &h->world->hosts[1 - h->index];

	config.node_key = other->node;
	secret_key_public(&other->disco, &config.disco_key);
	return config;
}

/* The netmap of @h names the other, at first without endpoints, as a relay-only peer has. */
static inline void world_meet(struct host *h)
{
	struct path_peer_config config = world_config(h);

	assert_int_equal(path_peer_add(h->engine, &config, h, &h->peer), 0);
	h->world->knows[h->index] = true;
}

/*
 * libsodium's random numbers, from the world's seed: keys, transaction ids and the jitter of
 * STUN are the same in every run, so a verdict about loss is too.
 */
static uint64_t sodium_seed;

static const char *seeded_name(void)
{
	return "seeded";
}

static uint32_t seeded_random(void)
{
	sodium_seed = sodium_seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(sodium_seed >> 32);
}

static void seeded_buf(void *const out, const size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)out)[i] = (uint8_t)(seeded_random() >> 24);
}

static randombytes_implementation seeded = {
	.implementation_name = seeded_name,
	.random = seeded_random,
	.buf = seeded_buf,
};

static inline struct world *world_new(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->now = 1000 S;
	w->random = seed;
	randombytes_set_implementation(&seeded);
	sodium_seed = seed ^ 0x5eed;
	w->nat = true;
	w->wan_delay = 20 MS;
	w->lan_delay = 1 MS;
	w->relay_delay = 50 MS;
	for (int i = 0; i < 2; i++) {
		struct host *h = &w->hosts[i];

		h->world = w;
		h->index = i;
		h->disco.bytes[0] = 8;
		h->disco.bytes[1] = (uint8_t)(1 + i);
		h->disco.bytes[31] = 64;
		h->node.bytes[0] = (uint8_t)(100 + i);
		h->inside = world_endpoint(i ? "10.0.0.2:1001" : "10.0.0.1:1000");
		h->outside = world_endpoint(i ? "192.0.2.2:5001" : "192.0.2.1:5000");
		h->engine = path_engine_new(&h->disco, &h->node, &world_callbacks, h);
		assert_non_null(h->engine);
	}
	return w;
}

/* Both know each other, their own inside addresses and the STUN server. */
static inline void world_begin(struct world *w)
{
	struct endpoint stun = world_stun();

	for (int i = 0; i < 2; i++) {
		struct path_endpoint local = {w->hosts[i].inside, PATH_ENDPOINT_LOCAL};

		world_meet(&w->hosts[i]);
		assert_int_equal(path_set_local_endpoints(w->hosts[i].engine, &local, 1, w->now),
				 0);
		assert_int_equal(path_set_stun_servers(w->hosts[i].engine, &stun, 1, w->now), 0);
	}
}

static inline void world_free(struct world *w)
{
	for (int i = 0; i < 2; i++)
		path_engine_free(w->hosts[i].engine);
	free(w);
}

static inline void world_deliver(struct world *w, const struct packet *p)
{
	struct host *h = &w->hosts[p->to], *from = &w->hosts[p->from];
	struct pinhole *hole;

	if (!p->relay && p->from != p->to && w->nat && !endpoint_equal(&p->source, &from->inside)) {
		hole = world_hole(h, &p->source);
		if (!hole || hole->until < w->now)
			return;
	}
	if (p->data) {
		h->got_twice += h->got[p->number];
		h->got[p->number] = true;
		h->got_direct += !p->relay;
		h->got_relay += p->relay;
		if (h->peer)
			path_note_received(h->peer, p->relay ? NULL : &p->source, w->now);
	} else if (p->relay) {
		path_receive_relay(h->engine, RELAY_REGION, &from->node, p->bytes, p->length,
				   w->now);
	} else {
		path_receive_udp(h->engine, &p->source, p->bytes, p->length, w->now);
	}
}

static inline void world_send_data(struct host *h)
{
	struct path_choice choice;

	assert_true(h->sent_data < WORLD_DATA);
	h->sent_at[h->sent_data] = h->world->now;
	path_route(h->peer, h->world->now, &choice);
	assert_true(choice.direct || choice.relay);
	if (choice.direct)
		world_udp(h, &choice.endpoint, NULL, 0, h->sent_data);
	if (choice.relay)
		world_relay(h, NULL, 0, h->sent_data);
	h->sent_data++;
}

/* From now, @h sends a datagram each @interval for @time. */
static inline void world_traffic(struct host *h, nanoseconds interval, nanoseconds time)
{
	h->interval = interval;
	h->next_send = h->world->now;
	h->send_until = h->world->now + time;
}

/* Control tells the other host what @h's endpoints are now. */
static inline void world_control(struct host *h)
{
	struct host *other = &h->world->hosts[1 - h->index];
	struct path_peer_config config = world_config(other);
	struct endpoint list[32];

	h->tell_other = 0;
	if (!other->peer)
		return;
	for (size_t i = 0; i < h->told_count; i++)
		list[i] = h->told[i].endpoint;
	config.endpoints = list;
	config.endpoint_count = h->told_count;
	assert_int_equal(path_peer_update(other->peer, &config, h->world->now), 0);
}

static inline void world_run(struct world *w, nanoseconds time)
{
	nanoseconds until = w->now + time;
	uint64_t steps = 0;

	for (;;) {
		size_t first = SIZE_MAX;
		nanoseconds next = until;

		assert_true(++steps < 20000000); /* a deadline in the past would turn for ever */
		for (size_t i = 0; i < w->packet_count; i++)
			if (first == SIZE_MAX || w->packets[i].at < w->packets[first].at ||
			    (w->packets[i].at == w->packets[first].at &&
			     w->packets[i].order < w->packets[first].order))
				first = i;
		if (first != SIZE_MAX)
			next = deadline_min(next, w->packets[first].at);
		for (int i = 0; i < 2; i++) {
			struct host *h = &w->hosts[i];

			next = deadline_min(next, path_deadline(h->engine));
			if (h->interval)
				next = deadline_min(next, h->next_send);
			if (h->tell_other && !w->no_control)
				next = deadline_min(next, h->tell_other);
		}
		if (next > w->now)
			w->now = next;
		if (first != SIZE_MAX && w->packets[first].at <= w->now) {
			struct packet p = w->packets[first];

			w->packets[first] = w->packets[--w->packet_count];
			world_deliver(w, &p);
			continue;
		}
		for (int i = 0; i < 2; i++) {
			struct host *h = &w->hosts[i];

			path_timeout(h->engine, w->now);
			if (h->tell_other && !w->no_control && w->now >= h->tell_other)
				world_control(h);
			if (h->interval && w->now >= h->next_send) {
				world_send_data(h);
				h->next_send += h->interval;
				if (h->next_send >= h->send_until)
					h->interval = 0;
			}
		}
		if (w->now >= until)
			return;
	}
}

static inline bool world_is_direct(struct host *h)
{
	struct path_peer_status status;

	path_peer_status(h->peer, h->world->now, &status);
	return status.direct;
}

static inline struct endpoint world_best(struct host *h)
{
	struct path_peer_status status;

	path_peer_status(h->peer, h->world->now, &status);
	return status.endpoint;
}

/* The longest run of @from's datagrams in [@since, @until) that the other never got, as time. */
static inline nanoseconds world_worst_gap(struct world *w, int from, nanoseconds since,
					  nanoseconds until)
{
	struct host *sender = &w->hosts[from], *receiver = &w->hosts[1 - from];
	nanoseconds worst = 0, begin = 0;
	bool in_gap = false;

	for (int i = 0; i < sender->sent_data; i++) {
		if (sender->sent_at[i] < since || sender->sent_at[i] >= until)
			continue;
		if (receiver->got[i]) {
			in_gap = false;
		} else if (!in_gap) {
			in_gap = true;
			begin = sender->sent_at[i];
		}
		if (in_gap && sender->sent_at[i] - begin + 1 > worst)
			worst = sender->sent_at[i] - begin + 1;
	}
	return worst;
}

/* A disco packet of host @from's, sealed for the other with @secret. */
static inline size_t world_seal(struct world *w, int from, const struct secret_key *secret,
				const struct disco_message *m, uint8_t out[static DISCO_PACKET_MAX])
{
	static uint8_t counter;
	uint8_t nonce[DISCO_NONCE_SIZE] = {1, ++counter};
	struct public_key public, peer;
	struct key_box box;
	ssize_t length;

	secret_key_public(secret, &public);
	secret_key_public(&w->hosts[1 - from].disco, &peer);
	assert_int_equal(key_box_init(secret, &peer, &box), 0);
	length = disco_seal(out, DISCO_PACKET_MAX, &public, &box, nonce, m);
	assert_true(length > 0);
	return (size_t)length;
}
