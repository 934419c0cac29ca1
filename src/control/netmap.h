/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/netmap.h - the tailnet as this node knows it, kept current by deltas
 *
 * A netmap is what all messages of the map stream add up to. Each message is applied
 * in time that grows with what it changes, not with the number of peers, and says
 * what it changed, so that whoever acts on it need not look at the rest.
 *
 * A new map session does not empty the netmap: netmap_begin_session() makes the next
 * message the whole truth, and that message is then compared with what stood before.
 * So a reconnect to control reports only real differences, and until it has answered
 * the old map, or the one from the disk, stays in use.
 *
 * Pure: no clock, no I/O, no log.
 */
#pragma once

#include "wire/tailcfg.h"

/* A table that can't grow is an error of ours, not the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct netmap_peer {
	struct tailcfg_node node;
	UT_hash_handle by_id;
	UT_hash_handle by_key;
	bool expired; /* control says so, or its clock: derived; node.expired is what it said */
	uint32_t change_index; /* its place in the change being made, plus 1 */
	uint32_t mark;         /* last full list that named it */
};

struct netmap_user {
	struct tailcfg_user_profile profile;
	UT_hash_handle by_id;
	uint32_t mark; /* as of a peer */
};

/* Read it as you like; write it by the functions below. */
struct netmap {
	struct tailcfg_node *self; /* NULL: none received yet */
	struct netmap_peer *peers_by_id;
	struct netmap_peer *peers_by_key;
	struct netmap_user *users;
	struct tailcfg_derp_map derp_map;
	struct tailcfg_named_filter
		*filters; /* sorted by name: their rules in that order are the filter */
	uint32_t filter_count;
	bool has_filter; /* false: none received yet, so nothing may come in */
	struct tailcfg_dns_config dns_config;
	const char *domain;
	const char *ssh_policy; /* JSON text */
	struct string_list health;
	struct tailcfg_display_message *display_messages; /* sorted by id */
	uint32_t display_message_count;
	struct tailcfg_client_version *client_version;
	bool locked;                /* Tailnet Lock is on and we can't verify it: trust no peer */
	nanoseconds control_offset; /* control's clock minus ours */
	bool control_known;         /* control sent a plausible ControlTime */

	bool fresh;              /* the next message is the whole truth */
	uint32_t mark;           /* of the latest full list */
	nanoseconds next_expiry; /* no peer's key expires before; control's clock */
	nanoseconds last_expiry; /* the latest of those that have expired; control's clock */
	unsigned long visits;    /* peers that were looked at, for tests of the cost */
};

/* What is new about a node. */
enum netmap_node_change {
	NETMAP_NODE_ADDED = 1 << 0, /* with it, all other bits are set too */
	NETMAP_NODE_KEY = 1 << 1,   /* node key: a WireGuard peer goes and another comes */
	NETMAP_NODE_DISCO_KEY = 1 << 2,
	NETMAP_NODE_ENDPOINTS = 1 << 3,
	NETMAP_NODE_HOME_DERP = 1 << 4,
	NETMAP_NODE_ADDRESSES = 1 << 5,
	NETMAP_NODE_ALLOWED_IPS = 1 << 6, /* also primary routes */
	NETMAP_NODE_ONLINE = 1 << 7,      /* online or last seen */
	NETMAP_NODE_EXPIRY = 1 << 8,      /* key expiry, or expired by now */
	NETMAP_NODE_CAPABILITIES = 1 << 9,
	NETMAP_NODE_NAME = 1 << 10,
	NETMAP_NODE_TREATMENT = 1 << 11, /* masquerade, jailed, WireGuard only, unsigned */
	NETMAP_NODE_OTHER = 1 << 12,     /* hostinfo, tags, user … */
	NETMAP_NODE_ALL = (1 << 13) - 1,
};

/* What is new about the rest. */
enum netmap_part {
	NETMAP_SELF = 1 << 0,
	NETMAP_DERP = 1 << 1,
	NETMAP_FILTER = 1 << 2,
	NETMAP_DNS = 1 << 3,
	NETMAP_USERS = 1 << 4,
	NETMAP_HEALTH = 1 << 5, /* health lines or display messages */
	NETMAP_DOMAIN = 1 << 6,
	NETMAP_SSH = 1 << 7,
	NETMAP_LOCKED = 1 << 8, /* see struct netmap */
	NETMAP_CLIENT_VERSION = 1 << 9,
	NETMAP_PEERS = 1 << 10, /* updates or removals are not empty */
	NETMAP_ALL = (1 << 11) - 1,
};

struct netmap_update {
	struct netmap_peer *peer;  /* lives until the next apply */
	uint32_t what;             /* enum netmap_node_change */
	struct public_key old_key; /* meant with NETMAP_NODE_KEY and without _ADDED */
};

struct netmap_removal {
	int64_t id;
	struct public_key key;
};

/* What one message changed. Act on the removals first. */
struct netmap_change {
	uint32_t parts;     /* enum netmap_part */
	bool full;          /* the message said more than peers, users and filters */
	uint32_t self_what; /* enum netmap_node_change, with NETMAP_SELF */
	struct netmap_update *updates;
	uint32_t update_count;
	uint32_t update_room;
	struct netmap_removal *removals;
	uint32_t removal_count;
	uint32_t removal_room;
	uint32_t skipped;     /* peers that could not be read or were over LIMIT_PEERS */
	struct error trouble; /* code < 0: the filter or peer that was ignored, and why */
};

struct netmap *netmap_new(void);
void netmap_free(struct netmap *map);

/** netmap_change_clear() - Free the lists; the change is all zero afterwards */
void netmap_change_clear(struct netmap_change *change);

/** netmap_begin_session() - The next message is complete: parts that it does not mention are empty */
void netmap_begin_session(struct netmap *map);

/**
 * netmap_apply() - Apply one message, in the order of protocol.md 4.3
 * @response: from tailcfg_map_response_parse(); what is kept moves out of it
 * @now:      our wall clock, nanoseconds since 1970 (last seen, expiry). Once control_known it
 *            should not follow steps of that clock: the offset to control's was taken from it
 * @ret:      what changed; all zero before, netmap_change_clear() afterwards
 *
 * A filter that can't be read keeps the one before; a peer that can't be read is
 * not kept (and removed, if its ID can be read); @ret->trouble names the first of them.
 *
 * Return: 0; -EPROTO if the first message of a session has no Node (nothing is
 * changed); -ENOMEM (start a new session)
 */
int netmap_apply(struct netmap *map, struct tailcfg_map_response *response, nanoseconds now,
		 struct netmap_change *ret, struct error *err);

/**
 * netmap_expire() - Mark peers whose key has expired by now, and those whose key has not any more
 * @now:      as for netmap_apply()
 * @ret_next: when to call again, on the clock of @now; DEADLINE_NEVER
 *
 * Looks at the peers only when the time has come, or has gone back, not at each call.
 *
 * Return: 0 or -ENOMEM
 */
int netmap_expire(struct netmap *map, nanoseconds now, struct netmap_change *ret,
		  nanoseconds *ret_next);

/** netmap_self_expired() - Whether our own node key has expired, by our own clock */
bool netmap_self_expired(const struct netmap *map, nanoseconds now);

/** netmap_peer_by_id(), netmap_peer_by_key() - The peer, or NULL; of twins the first */
struct netmap_peer *netmap_peer_by_id(const struct netmap *map, int64_t id);
struct netmap_peer *netmap_peer_by_key(const struct netmap *map, const struct public_key *key);

/** netmap_peer_next_twin() - One more with the key of @peer, from netmap_peer_by_key() on; NULL */
struct netmap_peer *netmap_peer_next_twin(const struct netmap *map, const struct netmap_peer *peer);

/** netmap_peer_by_address() - The peer that has @address itself. Looks at all: for people's
 * questions */
struct netmap_peer *netmap_peer_by_address(const struct netmap *map, const struct address *address);

/** netmap_peer_count() */
uint32_t netmap_peer_count(const struct netmap *map);

/** netmap_peer_next() - Walk all peers in no order; NULL begins, NULL ends */
struct netmap_peer *netmap_peer_next(const struct netmap *map, const struct netmap_peer *after);

/** netmap_user() - The profile of a user, or NULL */
const struct tailcfg_user_profile *netmap_user(const struct netmap *map, int64_t id);

/* Ranks of peers in netmap_encode(): 0 comes first. */
#define NETMAP_RANKS 3u

/** netmap_rank - How soon a peer is wanted, below NETMAP_RANKS */
typedef unsigned int (*netmap_rank)(void *context, const struct netmap_peer *peer);

/**
 * netmap_encode() - The map as one MapResponse, for the disk
 * @rank: NULL where all peers are equal
 * @out:  whose limit decides how many peers there are; user profiles take a quarter at most
 *
 * Return: how many peers found no room; -EMSGSIZE where not even the rest did; -ENODATA, -ENOMEM
 */
int netmap_encode(const struct netmap *map, netmap_rank rank, void *context, struct buffer *out);

/**
 * netmap_decode() - A map that netmap_encode() wrote
 *
 * Return: 0, or negative errno with @err set; @ret_map is the caller's to free
 */
int netmap_decode(const void *bytes, size_t length, nanoseconds now, struct netmap **ret_map,
		  struct error *err);
