/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path_peers.c - peers: added, changed, removed; handed over
 *
 * A peer has two disco keys: one from control, one that the peer itself sent inside the
 * tunnel. Each is replaced only by its own source, and both are accepted. Our messages
 * are sealed with the key that changed last, or that the peer used last. A change of
 * that key means that the peer restarted: its proofs are void, but data continues to
 * the old endpoint beside the relay until there is a new proof.
 */
#include "tunnel/path/path_internal.h"

#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>

static struct public_key active_public(const struct path_peer *p)
{
	const struct disco_key *key = path_active_key(p);

	return key ? key->key : (struct public_key){{0}};
}

static void activate(struct path_peer *p, enum disco_slot_kind kind, struct public_key before,
		     nanoseconds now)
{
	struct public_key after;

	p->active = kind;
	if (!p->slots[kind].key)
		p->active = kind == SLOT_CONTROL ? SLOT_TUNNEL : SLOT_CONTROL;
	after = active_public(p);
	if (public_key_equal(&after, &before) || public_key_is_zero(&before))
		return;
	path_forget_proofs(p);
	path_tell_change(p, now, false);
	if (p->engine->callbacks->restarted)
		p->engine->callbacks->restarted(p->engine->ctx, p);
	if (p->heartbeat_at)
		path_discover(p, now);
}

/* set_key() - Set the key from the source @kind; only a new key becomes active */
static int set_key(struct path_peer *p, enum disco_slot_kind kind, const struct public_key *key,
		   nanoseconds now)
{
	struct disco_slot *slot = &p->slots[kind];
	struct public_key before = active_public(p);
	int r;

	if (slot->key ? public_key_equal(&slot->key->key, key) : public_key_is_zero(key))
		return 0;
	r = path_slot_set(slot, key);
	if (r == 0)
		activate(p, slot->key ? kind : p->active, before, now);
	return r;
}

void path_use_key(struct path_peer *p, const struct disco_key *key, nanoseconds now)
{
	struct public_key before = active_public(p);

	if (path_active_key(p) == key)
		return;
	for (int kind = 0; kind < SLOT_COUNT; kind++)
		if (p->slots[kind].key == key)
			activate(p, (enum disco_slot_kind)kind, before, now);
}

/* Peers */

/* set_endpoints() - Set the netmap's endpoints; endpoints that it no longer names stay only if proved */
static void set_endpoints(struct path_peer *p, const struct endpoint *list, size_t count,
			  nanoseconds now)
{
	for (size_t i = 0; i < p->candidate_count; i++)
		p->candidates[i].in_netmap = false;
	for (size_t i = 0; i < count; i++) {
		struct candidate *c = path_find_candidate(p, &list[i]);

		if (c)
			c->in_netmap = true;
	}
	path_prune(p, now);
	for (size_t i = 0; i < count; i++) {
		struct candidate *c = path_add_candidate(p, &list[i], now);

		if (c)
			c->in_netmap = true;
	}
}

struct path_peer *path_peer_find(struct path_engine *e, const struct public_key *node_key)
{
	struct path_peer *found;

	HASH_FIND(hh, e->peers, node_key, sizeof(*node_key), found);
	return found;
}

int path_peer_add(struct path_engine *e, const struct path_peer_config *config, void *user,
		  struct path_peer **ret)
{
	struct path_peer *p;
	int r;

	if (public_key_is_zero(&config->node_key))
		return -EINVAL;
	if (path_peer_find(e, &config->node_key))
		return -EEXIST;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->engine = e;
	p->user = user;
	p->node_key = config->node_key;
	p->discovery =
		(struct quota){LIMIT_PATH_PEER_BURST, NSEC_PER_SEC / LIMIT_PATH_PEER_RATE, 0};
	TAILQ_INIT(&p->sources);
	for (int kind = 0; kind < SLOT_COUNT; kind++)
		p->slots[kind].peer = p;
	HASH_ADD(hh, e->peers, node_key, sizeof(p->node_key), p);
	if (!p->hh.tbl) {
		free(p);
		return -ENOMEM;
	}
	r = path_peer_update(p, config, 0);
	if (r < 0) {
		path_peer_remove(p);
		return r;
	}
	*ret = p;
	return 0;
}

int path_peer_update(struct path_peer *p, const struct path_peer_config *config, nanoseconds now)
{
	static const struct public_key none;
	bool home_moved = p->home_region != config->home_region;
	int r;

	if (!public_key_equal(&p->node_key, &config->node_key))
		return -EINVAL;
	p->home_region = config->home_region;
	p->wireguard_only = config->wireguard_only;
	set_endpoints(p, config->endpoints, config->endpoint_count, now);
	r = set_key(p, SLOT_CONTROL, config->wireguard_only ? &none : &config->disco_key, now);
	if (r < 0)
		return r;
	/* An active peer may be reachable at a new endpoint. */
	if (p->heartbeat_at && !path_is_trusted(p, now)) {
		if (home_moved)
			p->next_full_ping = 0;
		path_discover(p, now);
	}
	return 0;
}

int path_peer_set_tunnel_disco_key(struct path_peer *p, const struct public_key *key,
				   nanoseconds now)
{
	return p->wireguard_only ? 0 : set_key(p, SLOT_TUNNEL, key, now);
}

void path_peer_remove(struct path_peer *p)
{
	if (!p)
		return;
	path_manual_cancel(p);
	path_forget_indexes(p);
	if (p->live)
		LIST_REMOVE(p, live_entry);
	HASH_DEL(p->engine->peers, p);
	free(p->candidates);
	free(p->pings);
	free(p);
}

void *path_peer_user(const struct path_peer *p)
{
	return p->user;
}

void path_peer_status(const struct path_peer *p, nanoseconds now, struct path_peer_status *ret)
{
	*ret = (struct path_peer_status){
		.active = path_is_active(p, now),
		.direct = path_is_trusted(p, now),
		.endpoint = p->best,
		.latency = p->best_latency,
		.home_region = p->home_region,
		.last_sent = p->last_sent,
		.last_heard = p->last_heard,
	};
}

/* Hand-over */

size_t path_export(const struct path_engine *e, nanoseconds now, struct path_handover *out,
		   size_t capacity)
{
	size_t count = 0;

	for (const struct path_peer *p = e->peers; p && count < capacity; p = p->hh.next)
		if (path_is_active(p, now))
			out[count++] = (struct path_handover){p->node_key, p->best};
	return count;
}

void path_import(struct path_peer *p, const struct endpoint *endpoint, nanoseconds now)
{
	struct candidate *c;

	if (endpoint->address.family == ADDRESS_NONE || path_is_trusted(p, now))
		return;
	c = path_add_candidate(p, endpoint, now);
	if (!c)
		return;
	c->heard_at = now; /* otherwise path_prune() would remove it */
	p->best = c->endpoint;
	p->best_latency = 0;
	p->trust_until = 0;
	p->next_full_ping = 0;
}
