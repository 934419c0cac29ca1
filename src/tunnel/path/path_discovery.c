/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path_discovery.c - finding and keeping the direct path to a peer
 *
 * Theory of operation
 *   path_route() returns the proved paths. Without one it starts a discovery: a ping to
 *   every candidate, which also opens our own firewall for the peer's pings, and a
 *   CallMeMaybe by relay, upon which the peer does the same. A pong proves the endpoint
 *   to which its ping was sent, whatever the source address of the pong.
 *
 *	no best ── pong ──▶ trusted ── 6.5 s without a pong ──▶ doubtful (data goes both ways)
 *	                      ▲  │ better endpoint's pong            │
 *	                      └──┴────────────── pong ◀──────────────┘
 *
 *   While the peer is active, a heartbeat pings the best endpoint every 3 s. An unanswered
 *   heartbeat is repeated each second, so that three losses in a row don't end the trust.
 *   The heartbeat stops after 45 s without data.
 *
 *   A silent peer to which we send is also pinged by relay, 0.15 s after the first
 *   datagram and then at doubling intervals, and again with a datagram 5 s later. Only the
 *   pong shows that the peer is online and knows us: it ignores our handshake initiation
 *   until its netmap contains this node.
 */
#include "tunnel/path/path_internal.h"

#include "base/array.h"
#include "base/limits.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

void path_tell_change(struct path_peer *p, nanoseconds now, bool moved)
{
	bool direct = path_is_trusted(p, now);

	if (direct == p->told_direct && !moved)
		return;
	p->told_direct = direct;
	if (p->engine->callbacks->path_changed)
		p->engine->callbacks->path_changed(p->engine->ctx, p);
}

void path_forget_proofs(struct path_peer *p)
{
	size_t kept = 0;

	p->trust_until = 0;
	p->last_full_ping = 0;
	p->next_full_ping = 0;
	for (size_t i = 0; i < p->candidate_count; i++)
		p->candidates[i].pinged_at = 0;
	/* A user's ping stays pending; the owner of the old key can't answer it any more. */
	for (size_t i = 0; i < p->ping_count; i++)
		if (p->pings[i].purpose == PING_MANUAL)
			p->pings[kept++] = p->pings[i];
	p->ping_count = kept;
}

/* Sending */

void path_send_message(struct path_engine *e, struct disco_key *key, const struct disco_message *m,
		       const struct endpoint *to, uint16_t region, const struct public_key *node)
{
	const struct key_box *box = path_key_box(e, key);
	uint8_t packet[DISCO_PACKET_MAX], nonce[DISCO_NONCE_SIZE];
	ssize_t length;

	if (!box)
		return;
	randombytes_buf(nonce, sizeof(nonce));
	length = disco_seal(packet, sizeof(packet), &e->disco_public, box, nonce, m);
	if (length < 0)
		return;
	if (to)
		e->callbacks->send_udp(e->ctx, to, packet, (size_t)length);
	else
		e->callbacks->send_relay(e->ctx, region, node, packet, (size_t)length);
}

static void drop_ping(struct path_peer *p, size_t index)
{
	memmove(&p->pings[index], &p->pings[index + 1],
		(p->ping_count - index - 1) * sizeof(p->pings[0]));
	p->ping_count--;
}

/* expire_pings() - Remove pings whose time for an answer is over */
static void expire_pings(struct path_peer *p, nanoseconds now)
{
	size_t expired = 0;

	while (expired < p->ping_count && now - p->pings[expired].at >= PATH_PING_TIMEOUT)
		expired++;
	if (expired == 0)
		return;
	memmove(p->pings, p->pings + expired, (p->ping_count - expired) * sizeof(p->pings[0]));
	p->ping_count -= expired;
}

struct path_peer *path_take_ping(struct disco_key *key, const struct disco_txid *txid,
				 nanoseconds now, struct sent_ping *ret)
{
	struct disco_slot *slot;

	LIST_FOREACH(slot, &key->slots, same_key) {
		struct path_peer *p = slot->peer;

		expire_pings(p, now);
		for (size_t i = 0; i < p->ping_count; i++) {
			if (memcmp(&p->pings[i].txid, txid, sizeof(*txid)) != 0)
				continue;
			*ret = p->pings[i];
			drop_ping(p, i);
			return p;
		}
	}
	return NULL;
}

static struct sent_ping *remember_ping(struct path_peer *p, nanoseconds now)
{
	expire_pings(p, now);
	if (p->ping_count >= LIMIT_PATH_PINGS)
		drop_ping(p, 0);
	if (ARRAY_GROW(p->pings, p->ping_count, p->ping_capacity) < 0)
		return NULL;
	return &p->pings[p->ping_count++];
}

void path_send_ping(struct path_peer *p, const struct endpoint *to, enum ping_purpose purpose,
		    uint32_t manual, nanoseconds now)
{
	struct disco_message m = {.type = DISCO_PING};
	struct path_engine *e = p->engine;
	struct disco_key *key = path_active_key(p);
	struct endpoint target = to ? *to : (struct endpoint){0};
	struct sent_ping *ping;

	ping = key ? remember_ping(p, now) : NULL;
	if (!ping)
		return;
	randombytes_buf(m.ping.txid.bytes, sizeof(m.ping.txid.bytes));
	m.ping.has_node_key = true;
	m.ping.node_key = e->node_key;
	*ping = (struct sent_ping){
		.txid = m.ping.txid,
		.to = target,
		.region = to ? 0 : p->home_region,
		.purpose = purpose,
		.manual = manual,
		.at = now,
	};
	e->statistics.pings_sent++;
	path_live(p, now + PATH_PING_TIMEOUT);
	path_send_message(e, key, &m, to ? &target : NULL, p->home_region, &p->node_key);
}

void path_send_call(struct path_peer *p, nanoseconds now)
{
	struct disco_message m = {.type = DISCO_CALL_ME_MAYBE};
	struct path_engine *e = p->engine;
	struct disco_key *key = path_active_key(p);

	p->last_call = now;
	if (!key || e->told_count == 0)
		return;
	for (size_t i = 0; i < e->told_count && i < DISCO_ENDPOINTS_MAX; i++)
		m.call_me_maybe.endpoints[m.call_me_maybe.count++] = e->told[i].endpoint;
	e->statistics.calls_sent++;
	path_send_message(e, key, &m, NULL, p->home_region, &p->node_key);
}

bool path_may_discover(struct path_peer *p, bool named, nanoseconds now)
{
	return quota_left(&p->discovery, named ? 0 : LIMIT_PATH_PEER_NAMED, now) &&
	       quota_take(&p->engine->discovery, now) && quota_take(&p->discovery, now);
}

/* ping_some() - Ping the candidates that were @named, or not, and are due; whether any was */
static bool ping_some(struct path_peer *p, bool named, nanoseconds now)
{
	bool sent = false;

	/* By index: a send that fails at once changes candidates, but keeps their order. */
	for (size_t i = 0; i < p->candidate_count; i++) {
		struct candidate *c = &p->candidates[i];

		if (path_is_named(c) != named)
			continue;
		if (c->pinged_at && now - c->pinged_at < PATH_PING_INTERVAL) {
			p->next_full_ping =
				deadline_min(p->next_full_ping, c->pinged_at + PATH_PING_INTERVAL);
			continue;
		}
		if (!path_may_discover(p, named, now)) {
			p->next_full_ping = deadline_min(p->next_full_ping, now + NSEC_PER_SEC);
			break;
		}
		c->pinged_at = now;
		path_send_ping(p, &c->endpoint, PING_DISCOVERY, 0, now);
		sent = true;
	}
	return sent;
}

bool path_ping_candidates(struct path_peer *p, nanoseconds now)
{
	bool named, heard;

	path_prune(p, now);
	p->last_full_ping = now;
	p->next_full_ping = now + PATH_PING_INTERVAL;
	named = ping_some(p, true, now);
	heard = ping_some(p, false, now);
	return named || heard;
}

static bool wants_discovery(const struct path_peer *p, nanoseconds now)
{
	if (now < p->next_full_ping || !path_active_key(p))
		return false;
	if (!path_is_trusted(p, now) || p->last_full_ping == 0)
		return true;
	return p->best_latency > PATH_GOOD_LATENCY &&
	       now - p->last_full_ping >= PATH_UPGRADE_INTERVAL;
}

void path_discover(struct path_peer *p, nanoseconds now)
{
	bool sent;

	if (!wants_discovery(p, now))
		return;
	sent = path_ping_candidates(p, now);
	/* Even if we know none of its endpoints, the peer can ping ours. */
	if (sent || (p->candidate_count == 0 && path_may_discover(p, true, now)))
		path_send_call(p, now);
}

/* The path of data */

/* A peer without disco: guess, and keep the endpoint that answers. */
static void route_wireguard_only(struct path_peer *p, nanoseconds now, struct path_choice *ret)
{
	if (p->candidate_count == 0)
		return;
	if (!path_is_trusted(p, now) || !path_find_candidate(p, &p->best)) {
		p->best = p->candidates[randombytes_uniform((uint32_t)p->candidate_count)].endpoint;
		p->trust_until = now + PATH_GUESS_TRUST;
	}
	ret->direct = true;
	ret->endpoint = p->best;
}

/* wants_probes() - Whether we send to a silent peer */
static bool wants_probes(const struct path_peer *p, nanoseconds now)
{
	return !p->probe_at && !path_is_trusted(p, now) &&
	       (!p->last_heard || now - p->last_heard > PATH_UNHEARD) &&
	       (!p->probes_began || now - p->probes_began > PATH_PROBE_PAUSE);
}

static void note_activity(struct path_peer *p, nanoseconds now)
{
	p->last_sent = now;
	if (!path_active_key(p))
		return;
	if (wants_probes(p, now)) {
		p->probes = 0;
		p->probes_began = now;
		p->probe_at = now + PATH_PROBE_FIRST;
		path_live(p, p->probe_at);
	}
	if (p->heartbeat_at)
		return;
	p->heartbeat_at = now + PATH_HEARTBEAT;
	path_live(p, p->heartbeat_at);
	path_stun_active(p->engine, now);
}

void path_route(struct path_peer *p, nanoseconds now, struct path_choice *ret)
{
	*ret = (struct path_choice){0};
	if (p->wireguard_only) {
		p->last_sent = now;
		route_wireguard_only(p, now, ret);
		return;
	}
	note_activity(p, now);
	path_discover(p, now);
	if (p->best.address.family != ADDRESS_NONE) {
		ret->direct = true;
		ret->endpoint = p->best;
	}
	if (!path_is_trusted(p, now)) {
		ret->relay = true;
		ret->region = p->home_region;
	}
}

void path_call(struct path_peer *p, nanoseconds now)
{
	if (p->wireguard_only)
		return;
	note_activity(p, now);
	path_discover(p, now);
}

static void fail_endpoint(struct path_peer *p, const struct endpoint *to)
{
	struct candidate *c = path_find_candidate(p, to);
	size_t kept = 0;

	if (c)
		c->heard_at = 0;
	for (size_t i = 0; i < p->ping_count; i++)
		if (!endpoint_equal(&p->pings[i].to, to) || p->pings[i].purpose == PING_MANUAL)
			p->pings[kept++] = p->pings[i];
	p->ping_count = kept;
	if (!endpoint_equal(&p->best, to))
		return;
	p->best = (struct endpoint){0};
	p->trust_until = 0;
	/* @now is not available here; without `best` no endpoint is trusted. */
	path_tell_change(p, 0, true);
}

void path_send_failed(struct path_engine *e, const struct endpoint *to, int error)
{
	struct path_peer *p;

	if (error != -EHOSTUNREACH && error != -ENETUNREACH && error != -ENETDOWN)
		return;
	/* Only live peers have been sent datagrams; two can use the same endpoint. */
	LIST_FOREACH(p, &e->live, live_entry)
		if (!p->wireguard_only)
			fail_endpoint(p, to);
}

/* Time */

static void heartbeat(struct path_peer *p, nanoseconds now)
{
	struct candidate *c;

	if (now - p->last_sent > PATH_ACTIVE) {
		p->heartbeat_at = 0;
		p->probe_at = 0;
		return;
	}
	/* Until its pong arrives, which makes it 3 s. */
	p->heartbeat_at = now + (path_is_trusted(p, now) ? PATH_HEARTBEAT_AGAIN : PATH_HEARTBEAT);
	if (p->best.address.family != ADDRESS_NONE) {
		c = path_find_candidate(p, &p->best);
		if (c)
			c->pinged_at = now;
		path_send_ping(p, &p->best, PING_HEARTBEAT, 0, now);
	}
	path_discover(p, now);
}

static void probe(struct path_peer *p, nanoseconds now)
{
	p->probe_at = 0;
	if (++p->probes < PATH_PROBES)
		p->probe_at = now + (PATH_PROBE_FIRST << p->probes);
	path_send_ping(p, NULL, PING_PROBE, 0, now);
}

void path_peer_timeout(struct path_peer *p, nanoseconds now)
{
	if (p->heartbeat_at && now >= p->heartbeat_at)
		heartbeat(p, now);
	if (p->probe_at && now >= p->probe_at)
		probe(p, now);
	expire_pings(p, now);
	path_tell_change(p, now, false);
}

nanoseconds path_peer_deadline(const struct path_peer *p)
{
	nanoseconds at = DEADLINE_NEVER;

	if (p->heartbeat_at)
		at = deadline_min(at, p->heartbeat_at);
	if (p->probe_at)
		at = deadline_min(at, p->probe_at);
	if (p->ping_count > 0)
		at = deadline_min(at, p->pings[0].at + PATH_PING_TIMEOUT);
	for (const struct manual_ping *m = p->manuals; m; m = m->next)
		at = deadline_min(at, deadline_min(m->deadline, m->again));
	if (p->told_direct)
		at = deadline_min(at, p->trust_until + 1);
	return at;
}
