/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path.c - the path engine: life, time, what comes in
 *
 * Theory of operation
 *   Most peers of a tailnet are idle, and cost nothing: only those for whom
 *   something is due stand on the list of live peers, and only they are looked at
 *   when the deadline comes. The deadline is a lower bound: whoever needs an earlier
 *   one lowers it (path_arm), path_timeout() computes it anew.
 */
#include "tunnel/path/path_internal.h"

#include "base/limits.h"

#include <stdlib.h>

struct path_engine *path_engine_new(const struct secret_key *disco, const struct public_key *node,
				    const struct path_callbacks *callbacks, void *ctx)
{
	struct path_engine *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->disco = *disco;
	secret_key_public(disco, &e->disco_public);
	e->node_key = *node;
	e->callbacks = callbacks;
	e->ctx = ctx;
	e->deadline = DEADLINE_NEVER;
	e->stun.next_round = DEADLINE_NEVER;
	e->discovery = (struct quota){LIMIT_PATH_ALL_BURST, NSEC_PER_SEC / LIMIT_PATH_ALL_RATE, 0};
	return e;
}

void path_engine_free(struct path_engine *e)
{
	struct path_peer *p, *next;

	if (!e)
		return;
	HASH_ITER(hh, e->peers, p, next)
		path_peer_remove(p);
	secret_key_wipe(&e->disco);
	free(e->local);
	free(e->told);
	free(e);
}

void path_set_node_key(struct path_engine *e, const struct public_key *node)
{
	e->node_key = *node;
}

const struct public_key *path_disco_key(const struct path_engine *e)
{
	return &e->disco_public;
}

const struct path_statistics *path_statistics(const struct path_engine *e)
{
	return &e->statistics;
}

/* Time */

void path_arm(struct path_engine *e, nanoseconds at)
{
	e->deadline = deadline_min(e->deadline, at);
}

void path_live(struct path_peer *p, nanoseconds at)
{
	struct path_engine *e = p->engine;

	path_arm(e, at);
	if (p->live)
		return;
	p->live = true;
	p->live_previous = NULL;
	p->live_next = e->live;
	if (e->live)
		e->live->live_previous = p;
	e->live = p;
}

bool path_any_active(const struct path_engine *e, nanoseconds now)
{
	for (const struct path_peer *p = e->live; p; p = p->live_next)
		if (p->last_sent && now - p->last_sent <= PATH_ACTIVE)
			return true;
	return false;
}

static void unlive(struct path_peer *p)
{
	if (p->live_previous)
		p->live_previous->live_next = p->live_next;
	else
		p->engine->live = p->live_next;
	if (p->live_next)
		p->live_next->live_previous = p->live_previous;
	p->live = false;
}

nanoseconds path_deadline(const struct path_engine *e)
{
	return e->deadline;
}

void path_timeout(struct path_engine *e, nanoseconds now)
{
	struct path_peer *p, *next;
	nanoseconds due;

	if (now < e->deadline)
		return;
	e->deadline = DEADLINE_NEVER;
	for (p = e->live; p; p = next) {
		path_peer_timeout(p, now);
		next = p->live_next;
		due = path_peer_deadline(p);
		if (due == DEADLINE_NEVER)
			unlive(p);
		else
			path_arm(e, due);
	}
	path_stun_timeout(e, now);
	path_arm(e, path_stun_deadline(e));
}

void path_link_changed(struct path_engine *e, nanoseconds now)
{
	for (struct path_peer *p = e->peers; p; p = p->hh.next) {
		if (p->trust_until >= now) {
			p->trust_until = 0;
			path_tell_change(p, now, false);
		}
		p->last_full_ping = 0;
		p->next_full_ping = 0;
		for (size_t i = 0; i < p->candidate_count; i++)
			p->candidates[i].pinged_at = 0;
	}
	path_stun_link_changed(e, now);
	/* Those that are talked to now don't wait for their next datagram. */
	for (struct path_peer *p = e->live; p; p = p->live_next)
		if (p->heartbeat_at)
			path_discover(p, now);
}

/* What comes in */

static void receive_disco(struct path_engine *e, const struct endpoint *source, uint16_t region,
			  const struct public_key *node, const uint8_t *data, size_t length,
			  nanoseconds now)
{
	struct public_key sender;
	struct disco_message m;
	const struct disco_box *box;
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
		path_on_ping(e, key, &m, source, region, node, now);
		break;
	case DISCO_PONG:
		path_on_pong(e, key, &m, source, now);
		break;
	case DISCO_CALL_ME_MAYBE:
		path_on_call(e, key, &m, node, now);
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
	/* Forged: nobody can be answered there. */
	if (source->port == 0)
		e->statistics.not_authentic++;
	else if (stun_recognise(data, length))
		path_stun_receive(e, source, data, length, now);
	else
		receive_disco(e, source, 0, NULL, data, length, now);
}

void path_receive_relay(struct path_engine *e, uint16_t region, const struct public_key *source,
			const uint8_t *data, size_t length, nanoseconds now)
{
	receive_disco(e, NULL, region, source, data, length, now);
}
