/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path.c - the path engine: life and time
 *
 * Theory of operation
 *   Most peers of a tailnet are idle and cost nothing: only peers with a deadline are
 *   in the list of live peers, and path_timeout() visits only these. The engine's
 *   deadline is a lower bound: path_arm() lowers it, path_timeout() computes it again.
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

const struct path_statistics *path_statistics(const struct path_engine *e)
{
	return &e->statistics;
}

/* Time */

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
	for (p = LIST_FIRST(&e->live); p; p = next) {
		path_peer_timeout(p, now);
		path_manual_timeout(p, now);
		next = LIST_NEXT(p, live_entry);
		due = path_peer_deadline(p);
		p->live = due != DEADLINE_NEVER;
		if (!p->live)
			LIST_REMOVE(p, live_entry);
		path_arm(e, due);
	}
	path_stun_timeout(e, now);
	path_arm(e, path_stun_deadline(e));
}

void path_link_changed(struct path_engine *e, nanoseconds now)
{
	struct path_peer *p;

	for (p = e->peers; p; p = p->hh.next) {
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
	/* Active peers don't wait for their next datagram. */
	LIST_FOREACH(p, &e->live, live_entry)
		if (p->heartbeat_at)
			path_discover(p, now);
}
