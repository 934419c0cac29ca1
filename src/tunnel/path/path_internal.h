/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path_internal.h - shared among the files of the path engine
 *
 *	path.c             life, time
 *	path_receive.c     messages received
 *	path_peers.c       peers: added, changed, removed
 *	path_keys.c        disco keys and proven sources: the indexes that find a peer
 *	path_candidates.c  the possible endpoints of a peer, and their order
 *	path_discovery.c   the path of data; pings, pongs, calls
 *	path_manual.c      pings of users
 *	path_local.c       our own endpoints
 *	path_stun.c        asking relays for our mapped endpoints
 */
#pragma once

#include "base/quota.h"
#include "tunnel/path/path.h"
#include "wire/disco.h"
#include "wire/stun.h"

#include <sys/queue.h>

/* Without memory a hash table refuses the new element: its hh.tbl is NULL then. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define PATH_ACTIVE           (45 * NSEC_PER_SEC)
#define PATH_HEARTBEAT        (3 * NSEC_PER_SEC)
#define PATH_TRUST            (6500 * NSEC_PER_MSEC)
#define PATH_PING_INTERVAL    (5 * NSEC_PER_SEC)
#define PATH_PING_TIMEOUT     (5 * NSEC_PER_SEC)
#define PATH_UPGRADE_INTERVAL (60 * NSEC_PER_SEC)
#define PATH_GOOD_LATENCY     (5 * NSEC_PER_MSEC)
#define PATH_ENDPOINTS_FRESH  (27 * NSEC_PER_SEC)
#define PATH_RESTUN_MIN       (20 * NSEC_PER_SEC)
#define PATH_RESTUN_MAX       (26 * NSEC_PER_SEC)
#define PATH_ENDPOINT_RETAIN  (310 * NSEC_PER_SEC)
#define PATH_STUN_PHASE       (3 * NSEC_PER_SEC)
#define PATH_STUN_SPACING     (200 * NSEC_PER_MSEC)
#define PATH_STUN_TRIES       4u

/* Ours: an unanswered heartbeat is repeated while the path is still trusted. */
#define PATH_HEARTBEAT_AGAIN    NSEC_PER_SEC
/* Ours: a ping that opened our firewall may be answered by our ping before PATH_PING_INTERVAL. */
#define PATH_PING_BACK_INTERVAL NSEC_PER_SEC
/* Ours: pings by relay while a peer does not answer: 0.15, 0.3 … 2.4 s. */
#define PATH_PROBE_FIRST        (150 * NSEC_PER_MSEC)
#define PATH_PROBE_PAUSE        (5 * NSEC_PER_SEC)
#define PATH_UNHEARD            (15 * NSEC_PER_SEC) /* WireGuard answers data within this time */
#define PATH_PROBES             5u
/* WireGuard-only peers: the time between two choices of an endpoint. */
#define PATH_GUESS_TRUST        NSEC_PER_SEC
#define PATH_RECEIVED_TRUST     (5 * NSEC_PER_SEC)

enum disco_slot_kind {
	SLOT_CONTROL, /* from the netmap */
	SLOT_TUNNEL,  /* from the peer, inside the tunnel */
	SLOT_COUNT,
};

/* One distinct disco key; usually of one peer, in one or both of its slots. */
struct disco_key {
	struct public_key key;
	struct key_box box; /* computed when first needed */
	bool has_box;
	LIST_HEAD(, disco_slot) slots;
	UT_hash_handle hh;
};

struct disco_slot {
	struct disco_key *key; /* NULL: none */
	struct path_peer *peer;
	LIST_ENTRY(disco_slot) same_key;
};

/* A possible endpoint of the peer. It is removed when no source names it (path_prune()). */
struct candidate {
	struct endpoint endpoint;
	bool in_netmap;
	bool called;           /* the last CallMeMaybe named it */
	nanoseconds heard_at;  /* last ping from it; 0: never */
	nanoseconds proved_at; /* last pong to a ping of ours there; 0: never */
	nanoseconds pinged_at; /* last ping to it; 0: due */
	struct disco_txid heard_txid;
};

enum ping_purpose {
	PING_DISCOVERY,
	PING_HEARTBEAT,
	PING_PROBE,
	PING_MANUAL,
};

struct sent_ping {
	struct disco_txid txid;
	struct endpoint to; /* family 0: by relay */
	uint16_t region;
	enum ping_purpose purpose;
	uint32_t manual; /* PING_MANUAL: its path_ping() */
	nanoseconds at;
};

struct manual_ping {
	uint32_t id;
	path_ping_callback callback;
	void *ctx;
	nanoseconds deadline;
	nanoseconds again; /* the next repetition */
	struct manual_ping *next;
};

/* An endpoint that a peer proved; used for accounting only. */
struct source {
	struct endpoint endpoint; /* the hash key: padding is zero */
	struct path_peer *peer;
	TAILQ_ENTRY(source) same_peer; /* newest first */
	UT_hash_handle hh;
};

struct path_peer {
	struct path_engine *engine;
	void *user;
	struct public_key node_key;
	uint16_t home_region;
	bool wireguard_only;

	struct disco_slot slots[SLOT_COUNT];
	enum disco_slot_kind active; /* the slot whose key seals our messages */

	struct candidate *candidates;
	size_t candidate_count, candidate_capacity;

	/* For every t: data goes to best alone at t iff best.family and t <= trust_until. */
	struct endpoint best;
	nanoseconds best_latency;
	nanoseconds trust_until;
	bool told_direct; /* at the last path_changed */

	nanoseconds last_sent, last_heard;
	nanoseconds last_full_ping; /* 0: never, or the peer restarted */
	nanoseconds next_full_ping; /* no full ping is due before */
	nanoseconds last_call;
	struct quota discovery;   /* pings to candidates */
	nanoseconds heartbeat_at; /* 0: not active */
	nanoseconds probes_began;
	nanoseconds probe_at; /* 0: none due */
	unsigned int probes;

	struct sent_ping *pings; /* oldest first */
	size_t ping_count, ping_capacity;
	struct manual_ping *manuals;
	TAILQ_HEAD(source_list, source) sources;
	size_t source_count;

	bool live; /* in the engine's list of peers with a deadline */
	LIST_ENTRY(path_peer) live_entry;
	UT_hash_handle hh;
};

#define PATH_STUN_SERVERS 8u
#define PATH_STUN_RESULTS 16u

struct stun_server {
	struct endpoint endpoint;
	struct stun_txid txid;
	unsigned int tries;
	bool answered;
	nanoseconds next_at;
};

struct stun_result {
	struct endpoint mapped;
	nanoseconds seen_at;
};

struct stun_state {
	struct stun_server servers[PATH_STUN_SERVERS];
	size_t server_count;
	bool running;
	nanoseconds round_ends;
	nanoseconds next_round; /* DEADLINE_NEVER: none planned */
	nanoseconds last_answer;
	nanoseconds
		forget_before; /* results of an earlier network, dropped when this round has new ones */
	unsigned int failures; /* rounds in a row without any answer */
	struct stun_result results[PATH_STUN_RESULTS];
	size_t result_count;
};

struct path_engine {
	struct secret_key disco;
	struct public_key disco_public;
	struct public_key node_key;
	const struct path_callbacks *callbacks;
	void *ctx;

	struct path_peer *peers; /* hash by node key */
	struct disco_key *keys;  /* hash by disco key */
	struct source *sources;  /* hash by endpoint */
	LIST_HEAD(, path_peer) live;
	nanoseconds deadline;   /* no action is due before */
	struct quota discovery; /* pings to candidates, of all peers */
	uint32_t next_manual;

	struct path_endpoint *local; /* as node set them */
	size_t local_count;
	struct path_endpoint *told; /* at the last endpoints_changed */
	size_t told_count;
	bool working_udp, told_working_udp;
	nanoseconds udp_heard_at;
	struct stun_state stun;

	struct path_statistics statistics;
};

/** path_arm() - Have path_timeout() called at @at at the latest */
static inline void path_arm(struct path_engine *e, nanoseconds at)
{
	e->deadline = deadline_min(e->deadline, at);
}

/** path_live() - Set a deadline for @p */
static inline void path_live(struct path_peer *p, nanoseconds at)
{
	path_arm(p->engine, at);
	if (!p->live)
		LIST_INSERT_HEAD(&p->engine->live, p, live_entry);
	p->live = true;
}

/** path_is_active() - Whether @p was sent to within 45 s */
static inline bool path_is_active(const struct path_peer *p, nanoseconds now)
{
	return p->last_sent && now - p->last_sent <= PATH_ACTIVE;
}

/** path_is_trusted() - Whether a pong proved the best endpoint within the last 6.5 s */
static inline bool path_is_trusted(const struct path_peer *p, nanoseconds now)
{
	return p->best.address.family != ADDRESS_NONE && now <= p->trust_until;
}

/** path_active_key() - The key that we seal with for @p, or NULL */
static inline struct disco_key *path_active_key(const struct path_peer *p)
{
	return p->slots[p->active].key;
}

/** path_is_named() - Whether control or the last CallMeMaybe named the candidate */
static inline bool path_is_named(const struct candidate *c)
{
	return c->in_netmap || c->called;
}

/* path_keys.c */

/** path_find_key(), path_key_box() - By sender; its box, or NULL for a low-order key */
struct disco_key *path_find_key(struct path_engine *e, const struct public_key *key);
const struct key_box *path_key_box(struct path_engine *e, struct disco_key *key);

/** path_slot_set() - Put @key (zero: none) into a slot; 0, or -ENOMEM (nothing changed) */
int path_slot_set(struct disco_slot *slot, const struct public_key *key);

/** path_peer_of() - The peer with @key whose node key is @node (NULL: the only one with @key);
 * NULL if it is unknown or ambiguous */
struct path_peer *path_peer_of(const struct disco_key *key, const struct public_key *node);

/** path_bind_source() - @p proved that it uses @source */
void path_bind_source(struct path_peer *p, const struct endpoint *source);

/** path_forget_indexes() - Remove @p from the indexes by key and source */
void path_forget_indexes(struct path_peer *p);

/* path_peers.c */

/** path_use_key() - @p sealed with @key, which becomes its active key */
void path_use_key(struct path_peer *p, const struct disco_key *key, nanoseconds now);

/* path_candidates.c */

struct candidate *path_find_candidate(struct path_peer *p, const struct endpoint *endpoint);

/** path_add_candidate() - Find or add; NULL if the list is full, or without memory */
struct candidate *path_add_candidate(struct path_peer *p, const struct endpoint *endpoint,
				     nanoseconds now);

/** path_prune() - Remove the candidates that no source names */
void path_prune(struct path_peer *p, nanoseconds now);

/** path_better() - Whether @a should replace @b, with hysteresis */
bool path_better(const struct endpoint *a, nanoseconds a_latency, const struct endpoint *b,
		 nanoseconds b_latency);

/* path_discovery.c */

/** path_forget_proofs() - The peer restarted: proofs by its old key are void */
void path_forget_proofs(struct path_peer *p);

/** path_send_message() - Send to @to, or for NULL to node @node by relay @region */
void path_send_message(struct path_engine *e, struct disco_key *key, const struct disco_message *m,
		       const struct endpoint *to, uint16_t region, const struct public_key *node);

/** path_send_ping() - Ping by UDP to @to, or for NULL by relay */
void path_send_ping(struct path_peer *p, const struct endpoint *to, enum ping_purpose purpose,
		    uint32_t manual, nanoseconds now);
void path_send_call(struct path_peer *p, nanoseconds now);

/** path_take_ping() - Find and remove our ping with @txid to an owner of @key */
struct path_peer *path_take_ping(struct disco_key *key, const struct disco_txid *txid,
				 nanoseconds now, struct sent_ping *ret);

/**
 * path_may_discover() - Take a token for a message that a peer's message caused
 *
 * A peer can name any addresses at any rate, and an attacker can replay its pings from any
 * address. Unnamed addresses leave some tokens to those that were @named.
 */
bool path_may_discover(struct path_peer *p, bool named, nanoseconds now);

/** path_ping_candidates() - Ping all candidates that are due, the named ones first; whether any was */
bool path_ping_candidates(struct path_peer *p, nanoseconds now);
void path_discover(struct path_peer *p, nanoseconds now);
void path_peer_timeout(struct path_peer *p, nanoseconds now);
nanoseconds path_peer_deadline(const struct path_peer *p);

/** path_tell_change() - Call path_changed if the path @moved, or became direct or untrusted */
void path_tell_change(struct path_peer *p, nanoseconds now, bool moved);

/* path_manual.c */

/** path_manual_answer() - Handle a pong to a manual ping */
void path_manual_answer(struct path_peer *p, const struct sent_ping *ping, nanoseconds latency);
void path_manual_timeout(struct path_peer *p, nanoseconds now);
void path_manual_cancel(struct path_peer *p);

/* path_local.c */

/** path_tell_endpoints() - After a change call endpoints_changed, and call peers again */
void path_tell_endpoints(struct path_engine *e, nanoseconds now);

/** path_note_udp() - Note that UDP works */
void path_note_udp(struct path_engine *e, nanoseconds now);

/* path_stun.c */

void path_stun_active(struct path_engine *e, nanoseconds now); /* a peer became active */
void path_stun_link_changed(struct path_engine *e, nanoseconds now);
void path_stun_receive(struct path_engine *e, const uint8_t *data, size_t length, nanoseconds now);
void path_stun_timeout(struct path_engine *e, nanoseconds now);
nanoseconds path_stun_deadline(const struct path_engine *e);
