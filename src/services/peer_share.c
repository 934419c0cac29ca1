/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/peer_share.c - the connections of one peer
 *
 * DOC: Theory of operation
 *
 * One peer may hold most connections, but not all: PEER_SHARE of them. A peer that has its share
 * loses its own connection that waits longest for a request, in favour of its new one. Where all
 * peers together have reached the limit, a peer with more than CROWD_SHARE pays for its new
 * connection in the same way, before a connection of another peer is closed.
 */
#include "services/services_internal.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define PEER_SHARE(most)  ((most) - (most) / 4)
#define CROWD_SHARE(most) ((most) / 8)

struct services_peer {
	struct address address;
	size_t connections;
	TAILQ_HEAD(, services_part) idle; /* that waits longest first */
	UT_hash_handle hh;
};

void services_set_peer(struct services_part *part, const struct address *address)
{
	struct services *services = part->services;
	struct services_peer *peer;

	HASH_FIND(hh, services->peers, address, sizeof(*address), peer);
	if (!peer) {
		peer = calloc(1, sizeof(*peer));
		if (!peer)
			return; /* it counts for nobody */
		peer->address = *address;
		TAILQ_INIT(&peer->idle);
		HASH_ADD(hh, services->peers, address, sizeof(peer->address), peer);
		if (!peer->hh.tbl) { /* HASH_NONFATAL_OOM */
			free(peer);
			return;
		}
	}
	peer->connections++;
	part->peer = peer;
}

void services_unset_peer(struct services_part *part)
{
	struct services_peer *peer = part->peer;

	part->peer = NULL;
	if (!peer || --peer->connections > 0)
		return;
	HASH_DEL(part->services->peers, peer);
	free(peer);
}

void services_peer_idle(struct services_part *part, bool idle)
{
	if (!part->peer)
		return;
	if (idle)
		TAILQ_INSERT_TAIL(&part->peer->idle, part, peer_entry);
	else
		TAILQ_REMOVE(&part->peer->idle, part, peer_entry);
}

/* close_own() - Close the connection of @peer that waits longest; false: none waits */
static bool close_own(struct services_peer *peer)
{
	struct services_part *part = peer ? TAILQ_FIRST(&peer->idle) : NULL;

	if (part)
		part->close(part);
	return part != NULL;
}

bool services_admit(struct services *services, const struct address *address)
{
	size_t most = services->connections_max;
	struct services_peer *peer;
	size_t own;

	HASH_FIND(hh, services->peers, address, sizeof(*address), peer);
	own = peer ? peer->connections : 0;
	if (own >= PEER_SHARE(most))
		return close_own(peer);
	if (services->connections < most)
		return true;
	return (own > CROWD_SHARE(most) && close_own(peer)) || services_close_idle(services);
}
