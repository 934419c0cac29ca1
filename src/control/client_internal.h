/* SPDX-License-Identifier: BSD-3-Clause */
/* control/client_internal.h - shared among the client files only */
#pragma once

#include "control/control_client.h"
#include "control/core.h"
#include "transport/bootstrap_dns.h"
#include "transport/dial.h"
#include "transport/http2.h"
#include "transport/http_client.h"
#include "transport/loop_timer.h"
#include "transport/ts2021_stream.h"

#include <sys/queue.h>

#define CLIENT_ADDRESSES_MAX CONTROL_KNOWN_MAX
#define CLIENT_HEARSAY_MAX   4
#define CLIENT_ANSWERS_MAX   8
#define CLIENT_REDIRECTS_MAX 5u

/* A request that answers one of control's; its result is ignored. */
struct client_answer {
	struct http_exchange *exchange; /* by a connection of its own, or … */
	struct http2_request *request;  /* … over TS2021 */
};

struct client_slot {
	struct control_client *client;
	enum control_slot slot;
	struct http2_request *request;
};

struct control_client {
	struct control_core core;
	struct dialer dialer;
	struct url configured; /* the login server's */
	struct url url;        /* the same, or where its host redirects to; its path is the key's */
	unsigned int redirects;
	char authority[URL_ORIGIN_MAX];
	struct secret_key machine_key;
	const struct control_handler *handler;
	void *user;

	struct loop_timer *timer;
	struct http_exchange *key_fetch;
	struct ts2021_connect *connecting;
	struct http2_client *http2;
	struct client_slot slots[CONTROL_SLOT_COUNT];

	/* Where control was reached, the latest first; tried when its name can't be resolved. */
	struct address addresses[CLIENT_ADDRESSES_MAX];
	size_t address_count;
	/* What relays say where control is; no better than they are, so tried last. */
	struct address hearsay[CLIENT_HEARSAY_MAX];
	size_t hearsay_count;
	struct bootstrap_dns *bootstrap;
	unsigned int bootstrap_turn;
	bool bootstrap_used; /* its answer has hurried one attempt; the next ask waits */
	struct address told[CONTROL_KNOWN_MAX]; /* to the node, as worth keeping */
	size_t told_count;

	struct client_answer answers[CLIENT_ANSWERS_MAX];
	LIST_HEAD(, control_call) calls; /* control_calls.h */
	unsigned int call_count;
	char *last_ping_url;
	char *noise_urls[CLIENT_ANSWERS_MAX];
	unsigned int noise_turn;

	bool pumping;
	bool freed; /* by a handler: the memory goes when the pump returns */
};

/** client_answer_ping() - Do what control asked for in a PingRequest */
void client_answer_ping(struct control_client *client, const struct tailcfg_ping_request *ping);

/** client_answers_cancel() - Give up all answers, or only those over TS2021 */
void client_answers_cancel(struct control_client *client, bool all);

/*
 * The payload of a PingRequest of type "c2n" is one HTTP/1 request; the answer is the bytes of an
 * HTTP/1 response, which are posted back.
 */

/** c2n_handler - control_handler.c2n */
typedef void c2n_handler(void *user, const struct control_c2n_request *request,
			 struct control_c2n_reply *reply);

/**
 * c2n_respond() - Answer one request
 * @request: untrusted bytes, one whole HTTP/1 request and nothing behind it
 * @handler: asked for all but /echo; what it leaves unanswered gets 400, as does what
 *           is no request
 * @out:     the response is appended
 *
 * Return: 0, -EMSGSIZE, -ENOMEM
 */
int c2n_respond(const uint8_t *request, size_t length, c2n_handler *handler, void *user,
		struct buffer *out);

/* control_calls.c */

/** client_calls_end() - The connection is given up: the calls fail because of @why; NULL: silently */
void client_calls_end(struct control_client *client, const char *why);

/* client_where.c */

/** client_reached() - Control answered at @at: worth trying again; NULL is fine */
void client_reached(struct control_client *client, const struct endpoint *at);

/** client_dial_now() - There is news of where control is: don't wait out this backoff */
void client_dial_now(struct control_client *client);

/**
 * client_bootstrap() - Control was not reached because of @err: perhaps ask a relay where it is
 *
 * Only where its name can't be resolved, and only with TLS, by which whoever answers there has
 * to prove the name. An answer hurries one attempt, so a relay that lies costs no more.
 */
void client_bootstrap(struct control_client *client, const struct error *err);

/** client_guesses() - Where control may be, best first; @ret holds NAMES_ADDRESSES_MAX */
size_t client_guesses(const struct control_client *client, struct address *ret);

/** client_tell_addresses() - Tell the node what is worth keeping, if that changed */
void client_tell_addresses(struct control_client *client);
