/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path_receive.c - messages received: disco pings, pongs and calls
 *
 * @source is NULL for a message by relay, from the connection of @node.
 */
#include "tunnel/path/path_internal.h"

static void heard(struct path_peer *p, enum path_evidence evidence, nanoseconds now)
{
	p->last_heard = now;
	p->probe_at = 0;
	if (p->engine->callbacks->heard)
		p->engine->callbacks->heard(p->engine->ctx, p, evidence);
}

void path_note_received(struct path_peer *p, const struct endpoint *source, nanoseconds now)
{
	p->last_heard = now;
	p->probe_at = 0;
	if (!source)
		return;
	path_bind_source(p, source);
	if (p->wireguard_only && path_find_candidate(p, source)) {
		p->best = *source;
		p->trust_until = now + PATH_RECEIVED_TRUST;
	}
}

static void candidate_heard(struct path_peer *p, const struct endpoint *source,
			    const struct disco_txid *txid, nanoseconds now)
{
	struct candidate *c = path_add_candidate(p, source, now);
	bool active = p->heartbeat_at != 0;

	if (!c)
		return;
	c->heard_at = now;
	c->heard_txid = *txid;
	/* A ping arrived from this address, so our ping to it will probably arrive too. */
	if (active && !path_is_trusted(p, now) &&
	    (!c->pinged_at || now - c->pinged_at >= PATH_PING_BACK_INTERVAL) &&
	    path_may_discover(p, path_is_named(c), now)) {
		c->pinged_at = now;
		path_send_ping(p, &c->endpoint, PING_DISCOVERY, 0, now);
	}
}

/* find_ping() - The candidate from which the ping with @txid came before; NULL: a new ping */
static struct candidate *find_ping(struct path_peer *p, const struct disco_txid *txid)
{
	for (size_t i = 0; i < p->candidate_count; i++)
		if (p->candidates[i].heard_at &&
		    memcmp(&p->candidates[i].heard_txid, txid, sizeof(*txid)) == 0)
			return &p->candidates[i];
	return NULL;
}

static void on_ping(struct path_engine *e, struct disco_key *key, const struct disco_message *m,
		    const struct endpoint *source, uint16_t region, const struct public_key *node,
		    nanoseconds now)
{
	const struct public_key *claimed = m->ping.has_node_key ? &m->ping.node_key : NULL;
	struct path_peer *p = path_peer_of(key, node ? node : claimed);
	struct disco_message pong = {.type = DISCO_PONG};
	struct candidate *before = p && source ? find_ping(p, &m->ping.txid) : NULL;

	if (node && (!p || !public_key_equal(&p->node_key, node))) {
		e->statistics.unknown_sender++;
		return;
	}
	e->statistics.pings_received++;
	if (before && endpoint_equal(&before->endpoint, source))
		return;
	if (p)
		path_use_key(p, key, now);
	/* Send the pong first: the peer's path waits for it. */
	pong.pong.txid = m->ping.txid;
	pong.pong.source = source ? *source : disco_relay_endpoint(region);
	path_send_message(e, key, &pong, source, region, node);
	if (!p)
		return;
	if (source) {
		path_note_udp(e, now);
		path_bind_source(p, source);
		/* The same ping from two addresses: a replay. The pong is enough for the peer. */
		if (!before)
			candidate_heard(p, source, &m->ping.txid, now);
	}
	heard(p, PATH_EVIDENCE_PING, now);
}

/* promote() - Use @to, which a pong proved */
static void promote(struct path_peer *p, const struct endpoint *to, nanoseconds latency,
		    nanoseconds now)
{
	bool same = endpoint_equal(&p->best, to);

	if (!same && path_is_trusted(p, now) &&
	    !path_better(to, latency, &p->best, p->best_latency))
		return;
	p->best = *to;
	p->best_latency = latency;
	p->trust_until = now + PATH_TRUST;
	path_live(p, p->trust_until + 1);
	path_tell_change(p, now, !same);
}

static void on_pong(struct path_engine *e, struct disco_key *key, const struct disco_message *m,
		    const struct endpoint *source, nanoseconds now)
{
	struct sent_ping ping;
	struct path_peer *p = path_take_ping(key, &m->pong.txid, now, &ping);
	struct candidate *c = NULL;
	nanoseconds latency;

	if (!p) {
		e->statistics.unexpected_pong++;
		return;
	}
	e->statistics.pongs_received++;
	latency = now - ping.at > 0 ? now - ping.at : 1;
	if (source) {
		path_note_udp(e, now);
		path_bind_source(p, source);
	}
	/* A ping by UDP that is answered by relay says nothing about UDP. */
	if (source && ping.to.address.family != ADDRESS_NONE)
		c = path_add_candidate(p, &ping.to, now);
	if (c) {
		c->proved_at = now;
		promote(p, &ping.to, latency, now);
	}
	if (ping.purpose == PING_HEARTBEAT && p->heartbeat_at)
		p->heartbeat_at = ping.at + PATH_HEARTBEAT;
	if (ping.purpose == PING_MANUAL)
		path_manual_answer(p, &ping, latency);
	heard(p, PATH_EVIDENCE_PONG, now);
}

static void on_call(struct path_engine *e, struct disco_key *key, const struct disco_message *m,
		    const struct public_key *node, nanoseconds now)
{
	struct path_peer *p = node ? path_peer_of(key, node) : NULL;

	/* Only by relay, which authenticates the node key, and only from the peer itself. */
	if (!p || !public_key_equal(&p->node_key, node)) {
		e->statistics.refused_call++;
		return;
	}
	e->statistics.calls_received++;
	path_use_key(p, key, now);
	for (size_t i = 0; i < p->candidate_count; i++) {
		p->candidates[i].called = false;
		p->candidates[i].pinged_at = 0;
	}
	for (size_t i = 0; i < m->call_me_maybe.count; i++) {
		const struct endpoint *endpoint = &m->call_me_maybe.endpoints[i];
		struct candidate *c;

		if (endpoint->address.family == ADDRESS_V6 &&
		    address_is_link_local(&endpoint->address))
			continue;
		c = path_add_candidate(p, endpoint, now);
		if (c)
			c->called = true;
	}
	path_ping_candidates(p, now);
	heard(p, PATH_EVIDENCE_CALL, now);
}

static void receive_disco(struct path_engine *e, const struct endpoint *source, uint16_t region,
			  const struct public_key *node, const uint8_t *data, size_t length,
			  nanoseconds now)
{
	struct public_key sender;
	struct disco_message m;
	const struct key_box *box;
	struct disco_key *key;

	if (disco_sender(data, length, &sender) < 0)
		goto not_authentic;
	key = path_find_key(e, &sender);
	if (!key) {
		e->statistics.unknown_sender++;
		return;
	}
	box = path_key_box(e, key);
	if (!box || disco_open(data, length, box, &m) < 0)
		goto not_authentic;
	switch (m.type) {
	case DISCO_PING:
		on_ping(e, key, &m, source, region, node, now);
		break;
	case DISCO_PONG:
		on_pong(e, key, &m, source, now);
		break;
	case DISCO_CALL_ME_MAYBE:
		on_call(e, key, &m, node, now);
		break;
	default:
		e->statistics.ignored_type++;
		break;
	}
	return;

not_authentic:
	e->statistics.not_authentic++;
}

void path_receive_udp(struct path_engine *e, const struct endpoint *source, const uint8_t *data,
		      size_t length, nanoseconds now)
{
	/* Port 0 is forged: no answer can be sent there. */
	if (source->port == 0)
		e->statistics.not_authentic++;
	else if (stun_recognise(data, length))
		path_stun_receive(e, data, length, now);
	else
		receive_disco(e, source, 0, NULL, data, length, now);
}

void path_receive_relay(struct path_engine *e, uint16_t region, const struct public_key *source,
			const uint8_t *data, size_t length, nanoseconds now)
{
	receive_disco(e, NULL, region, source, data, length, now);
}
