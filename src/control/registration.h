/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/registration.h - getting a node key known to control (sans-I/O)
 *
 * Theory of operation
 *   The caller asks a registration for the next step until there is none, then passes on
 *   the next event (an answer, a stored key, an auth key, time), and asks again.
 *
 *	  begin ─► STORE_KEY ─► ASK_AUTH_KEY ─► SEND ─► (answer)
 *	             ▲              ▲            ▲  │
 *	  new key:   └──expired─────┼────────────┼──┤
 *	             unknown key, none asked yet─┘  ├─► DONE
 *	                              followup, wait┘
 *
 *   STORE_KEY     a new key pair (first login, expired key, interactive login): nothing is
 *                 sent with it before the store has acknowledged it, so a crash
 *                 between sending and answer loses no key and no one-shot auth key.
 *   ASK_AUTH_KEY  only when it's needed: with a new pair, or when control did not know
 *                 the old one. A key that was refused is asked for again, slowly.
 *   SEND          one request; of a followup the server holds the answer until the
 *                 person is through, so it is sent again without waiting.
 *
 *   A stored pair that control doesn't know was perhaps made for a login that was given up:
 *   then the pair before it, which is stored with it, is tried before anything is asked for.
 *
 *   A key that has expired is replaced when somebody asked for the login: else an administrator
 *   may still extend it, and peers must not learn of another.
 *
 *   A known node key is registered by itself, without an auth key: a one-shot key
 *   that is used up does no harm after the first time.
 */
#pragma once

#include "base/error.h"
#include "base/secret.h"
#include "control/backoff.h"
#include "wire/tailcfg.h"

enum registration_step {
	REGISTRATION_IDLE,
	REGISTRATION_STORE_KEY, /* tell it; registration_key_stored() */
	REGISTRATION_STORING,
	REGISTRATION_ASK_AUTH_KEY, /* tell it; registration_auth_key() */
	REGISTRATION_ASKING,
	REGISTRATION_SEND, /* registration_request(), then _answer() or _failed() */
	REGISTRATION_SENT,
	REGISTRATION_WAIT, /* until @wait_until */
	REGISTRATION_DONE,
};

/* Why it begins. */
enum registration_cause {
	REGISTRATION_UNASKED,     /* control lost the node, or an engine before this one died */
	REGISTRATION_ASKED,       /* a person, or the start of the container */
	REGISTRATION_INTERACTIVE, /* a person wants a new login: a new pair, no auth key asked for
				   */
};

/* What the last answer has to tell; reset by registration_take_news(). */
enum registration_news {
	REGISTRATION_NEWS_NONE,
	REGISTRATION_NEWS_URL,        /* @auth_url is to be shown */
	REGISTRATION_NEWS_REFUSED,    /* @error: the server said no; tried again slowly */
	REGISTRATION_NEWS_TROUBLE,    /* @error: no answer, or one that makes no sense */
	REGISTRATION_NEWS_DONE,       /* @response; the candidate is the node key now */
	REGISTRATION_NEWS_LOGGED_OUT, /* @error.code < 0: control refused */
};

/* All zero is one that is idle. */
struct registration {
	/* Set by the owner. */
	struct secret_key node_key; /* zero: none */
	struct secret_key old_key;  /* zero: none */
	struct public_key nl_key;
	bool ephemeral;

	/* Read by the owner. */
	enum registration_step step;
	enum registration_news news;
	nanoseconds wait_until;
	struct error error;
	char *auth_url; /* shown, and waited for */
	struct tailcfg_register_response response;
	bool auth_key_was_sent;

	/* Private. */
	enum registration_step after_wait;
	struct secret_key candidate; /* what is being registered */
	struct secret_key previous;  /* goes along as OldNodeKey */
	bool fresh;                  /* the candidate is a new pair */
	bool stored;                 /* and acknowledged: it may be known to control */
	bool going_back;             /* it is the pair before, of which the stored one knows */
	bool logout;
	enum registration_cause cause;
	bool asked;     /* whether there is an auth key is known */
	bool unknown;   /* control doesn't know the candidate: the auth key goes along */
	bool may_hurry; /* the wait is for the network's sake */
	bool following; /* @auth_url goes along as Followup */
	char *auth_key; /* secret */
	struct backoff backoff;
	struct backoff slow;
};

void registration_clear(struct registration *r);

/**
 * registration_begin() - Register; what was under way, and the auth key for it, are forgotten
 */
void registration_begin(struct registration *r, enum registration_cause cause);

/** registration_begin_logout() - Tell control to expire the node key */
void registration_begin_logout(struct registration *r);

/** registration_stop() - Forget what is under way */
void registration_stop(struct registration *r);

/** registration_key_stored() - Answer to STORE_KEY; @error < 0: try again later */
void registration_key_stored(struct registration *r, int error, nanoseconds now, uint32_t random);

/**
 * registration_auth_key() - Answer to ASK_AUTH_KEY, or the key of an interactive login
 * @auth_key: heap string, taken over; NULL: there is none
 */
void registration_auth_key(struct registration *r, char *auth_key);

/** registration_told() - The step that asks for something was passed on (STORE_KEY, ASK_AUTH_KEY)
 */
void registration_told(struct registration *r);

/** registration_request() - The body to send; moves to SENT. 0, -EMSGSIZE, -ENOMEM */
int registration_request(struct registration *r, const struct tailcfg_hostinfo *hostinfo,
			 struct buffer *out);

/** registration_answer() - The server answered @status; @retry_after in seconds or -1 */
void registration_answer(struct registration *r, int status, int64_t retry_after, const void *body,
			 size_t length, nanoseconds now, uint32_t random);

/** registration_failed() - There was no answer */
void registration_failed(struct registration *r, const struct error *error, nanoseconds now,
			 uint32_t random);

/** registration_unreachable() - Control can't be reached: a logout ends with that */
void registration_unreachable(struct registration *r, const struct error *error);

/** registration_waits_for_person() - Whether nothing happens until somebody does something */
bool registration_waits_for_person(const struct registration *r);

/** registration_tick() - Time has passed: a wait may be over */
void registration_tick(struct registration *r, nanoseconds now);

/** registration_hurry() - Don't wait for what only the network was to blame for */
void registration_hurry(struct registration *r);

/** registration_take_news() - What there is to tell; then NONE */
enum registration_news registration_take_news(struct registration *r);
