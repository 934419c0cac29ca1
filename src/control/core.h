/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/core.h - the control client without its connection (sans-I/O)
 *
 * Theory of operation
 *   The core is asked for its next output until that is CONTROL_NOTHING, which comes
 *   with a deadline. An output is something to do (connect, send a request on one of
 *   three slots, cancel it) or a report to the node. Then the core receives the
 *   result, and is asked again. Its state at any time:
 *
 *	link     down ─► fetching key ─► connecting ─► up        (retry_at between tries)
 *	register whatever registration.h says, over a link that is up
 *	map      idle ─► opening ─► live, once registered
 *	update   what control has acknowledged, compared with the current state
 *
 *   All trouble goes one way: the slot's request is over, `retry_at` is set by the
 *   backoff, the node receives the reason. Only a real netmap resets the backoff of the map.
 *   Time is an argument; random numbers come from a function, so that tests have none.
 */
#pragma once

#include "control/map_session.h"
#include "control/netmap.h"
#include "control/registration.h"

enum control_slot {
	CONTROL_SLOT_REGISTER,
	CONTROL_SLOT_MAP,
	CONTROL_SLOT_UPDATE,
	CONTROL_SLOT_COUNT,
};

enum control_output_kind {
	CONTROL_NOTHING, /* until @deadline, or an input */
	/* To do. */
	CONTROL_FETCH_KEY,
	CONTROL_CONNECT,    /* to @server_key, at @addresses if there are any */
	CONTROL_DISCONNECT, /* also what is only being fetched or connected */
	CONTROL_SEND,       /* POST @body to @path on @slot */
	CONTROL_CANCEL,     /* @slot */
	/* To tell. */
	CONTROL_TELL_STORE_KEY, /* @key, @old_key (zero: none) */
	CONTROL_TELL_ASK_AUTH_KEY,
	CONTROL_TELL_URL,        /* @text */
	CONTROL_TELL_REGISTERED, /* @key, @response */
	CONTROL_TELL_REFUSED,    /* @error, @auth_key_sent */
	CONTROL_TELL_NETMAP,     /* @change */
	CONTROL_TELL_HEALTHY,
	CONTROL_TELL_TROUBLE, /* @error, @deadline of the next try */
	CONTROL_TELL_KEY_EXPIRED,
	CONTROL_TELL_KEY_EXTENDED,
	CONTROL_TELL_LOGGED_OUT, /* @error, code 0: done */
	CONTROL_TELL_PING,       /* @ping */
	CONTROL_TELL_BROWSER,    /* @text */
};

/* Valid until the next call; what it points to belongs to the core. */
struct control_output {
	enum control_output_kind kind;
	nanoseconds deadline;
	enum control_slot slot;
	const char *path;
	struct buffer *body; /* secret */
	size_t body_limit;   /* of the response; 0: none */
	nanoseconds timeout; /* of the request; 0: none */
	const struct public_key *server_key;
	const struct address *addresses;
	size_t address_count;
	const struct secret_key *key, *old_key;
	const char *text;
	const struct error *error;
	const struct tailcfg_register_response *response;
	const struct netmap_change *change;
	const struct tailcfg_ping_request *ping;
	bool auth_key_sent;
};

enum control_want {
	CONTROL_WANT_NOTHING, /* be silent */
	CONTROL_WANT_ONLINE,
	CONTROL_WANT_LOGOUT,
};

enum control_link {
	CONTROL_LINK_DOWN,
	CONTROL_LINK_FETCHING,
	CONTROL_LINK_CONNECTING,
	CONTROL_LINK_UP,
};

enum control_map {
	CONTROL_MAP_IDLE,
	CONTROL_MAP_OPENING, /* no real netmap yet */
	CONTROL_MAP_LIVE,
};

struct control_slot_state {
	bool busy;
	int status; /* 0 until the head came */
	int64_t retry_after;
	struct buffer body; /* of the register slot */
};

struct control_core {
	struct registration registration;
	struct netmap *netmap;
	struct public_key node_public; /* of registration.node_key; zero: none */
	struct public_key disco_key;
	struct tailcfg_hostinfo hostinfo;
	struct tailcfg_endpoint *endpoints; /* sorted */
	size_t endpoint_count;
	uint32_t (*random)(void);

	enum control_want want;
	enum control_link link;
	bool have_server_key;
	struct public_key server_key;
	struct backoff link_backoff;
	nanoseconds retry_at; /* of the link */

	bool registered; /* control knows registration.node_key in this process */
	bool expired_told;
	struct control_slot_state slots[CONTROL_SLOT_COUNT];
	bool cancel[CONTROL_SLOT_COUNT]; /* for the transport */
	bool disconnect;

	enum control_map map;
	struct map_stream stream;
	struct backoff map_backoff;
	bool was_steady; /* the connection that ended; its end is reported if the next try fails too */
	nanoseconds live_since; /* the first netmap of this session; 0: none yet */
	nanoseconds map_retry_at;
	nanoseconds watchdog; /* while the map slot is busy */
	nanoseconds sleep_until;

	struct buffer told;    /* the lite update that control has acknowledged */
	struct buffer telling; /* the one in flight */
	struct backoff update_backoff;
	nanoseconds update_retry_at;

	struct address dial_plan[8];
	size_t dial_plan_count;
	bool dial_plan_tried; /* and failed: go by name */

	/* Reports to the node, in this order. */
	bool tell_trouble;
	struct error trouble;
	nanoseconds trouble_until;
	bool tell_healthy;
	bool tell_expired;
	nanoseconds wall_base; /* of the steady clock by which peers' keys expire */
	bool tell_netmap;
	bool healthy;
	struct netmap_change change;
	struct tailcfg_ping_request *ping;
	char *browser_url; /* not reported yet */
	char *last_browser_url;
	struct tailcfg_ping_request ping_told; /* kept for the output */
	char *text_told;
	struct buffer body_told;
	struct secret_key key_told, old_key_told;
	struct error error_told;
};

/** control_core_init() - @netmap is taken over; NULL: an empty one. 0 or -ENOMEM */
int control_core_init(struct control_core *c, struct netmap *netmap);
void control_core_clear(struct control_core *c);

/** control_core_next() - What to do or tell now; call until it is CONTROL_NOTHING */
enum control_output_kind control_core_next(struct control_core *c, nanoseconds now,
					   nanoseconds wall_clock, struct control_output *out);

/* --- What is wanted; see control/control_client.h --- */

/** control_core_set_keys() - The stored node key and the one before; NULL: none */
void control_core_set_keys(struct control_core *c, const struct secret_key *node_key,
			   const struct secret_key *old_key);

/** control_core_start() - Register, and then hold the map session; again: begin a new login */
void control_core_start(struct control_core *c, enum registration_cause cause, bool ephemeral);
void control_core_logout(struct control_core *c);
void control_core_pause(struct control_core *c);
void control_core_retry_now(struct control_core *c);

int control_core_set_hostinfo(struct control_core *c, const struct tailcfg_hostinfo *info);
int control_core_set_endpoints(struct control_core *c, const struct tailcfg_endpoint *endpoints,
			       size_t count);

/* --- What happened --- */

/** control_core_key() - Answer to FETCH_KEY; @key NULL: @err says why */
void control_core_key(struct control_core *c, const struct public_key *key, const struct error *err,
		      nanoseconds now);

/** control_core_connected() - Answer to CONNECT; @err NULL: the link is up */
void control_core_connected(struct control_core *c, const struct error *err, nanoseconds now);

/** control_core_lost() - The link that was up is gone, with all that was under way; @err or NULL */
void control_core_lost(struct control_core *c, const struct error *err, nanoseconds now);

void control_core_response(struct control_core *c, enum control_slot slot, int status,
			   int64_t retry_after);
void control_core_data(struct control_core *c, enum control_slot slot, const uint8_t *bytes,
		       size_t length, nanoseconds now);
void control_core_end(struct control_core *c, enum control_slot slot, nanoseconds now);
void control_core_failed(struct control_core *c, enum control_slot slot, const struct error *err,
			 nanoseconds now);
