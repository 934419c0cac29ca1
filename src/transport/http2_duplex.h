/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2_duplex.h - HTTP/2 for proxies: bodies of any length, both ways (nghttp2)
 *
 * Theory of operation
 *   One http2_duplex is one connection, of a server or a client; a flow is one of its streams.
 *   Heads have the form of HTTP/1.1 (http2_head.h). http2_server.h and http2.h are for bodies that
 *   are read whole, and for our own requests.
 *
 *   Back-pressure: a flow that is paused keeps what comes in, which its window bounds; the window
 *   opens when bytes are handed out. The connection's window opens at once while little is kept
 *   on all its flows, so that a flow that stands still does not stop the others. Towards the peer,
 *   http2_flow_pending() bytes wait; `drained` follows when there are none.
 *
 *   Life: a flow ends with `gone`, or with http2_flow_close(), after which no event follows. Both
 *   may come within any event.
 *
 *   Limits: flows at once, bytes kept, frames that cost the sender nothing (PING, SETTINGS, empty
 *   DATA, CONTINUATION …) and resets; past them the connection ends with ENHANCE_YOUR_CALM.
 */
#pragma once

#include "transport/http1.h"
#include "transport/stream.h"

#include <stdbool.h>

struct http2_duplex;
struct http2_flow;

/* The events of one flow. Each may be NULL. */
struct http2_flow_events {
	/**
	 * @head: an answer, or one that precedes it (1xx); valid during the call. Clients only
	 * @last: no body and no trailers follow
	 */
	void (*head)(void *user, const struct http1_head *head, bool last);
	void (*data)(void *user, const uint8_t *bytes, size_t length);
	/** @end: the peer has sent everything; trailers are valid during the call */
	void (*end)(void *user, const struct http1_header *trailers, size_t count);
	void (*drained)(void *user);
	/**
	 * @gone: the flow is over, and is not to be used or closed any more
	 * @code: of RFC 9113 §7; 0: in order
	 */
	void (*gone)(void *user, uint32_t code);
};

struct http2_duplex_events {
	/**
	 * @request: a client's request; the flow is paused, and the owner sets its events. Servers only
	 * @head:   valid as long as the flow
	 * @last:   there is no body
	 * @tunnel: extended CONNECT, shown as an upgrade: the answer 200 takes the place of 101
	 */
	void (*request)(void *user, struct http2_flow *flow, const struct http1_head *head,
			bool last, bool tunnel);
	/** @changed: flows began or ended, a GOAWAY came. May be NULL */
	void (*changed)(void *user);
	/** @ended: the connection is over, after all `gone`; http2_duplex_close() is still due */
	void (*ended)(void *user, const struct error *err);
};

#define HTTP2_POOL_SMALL ((size_t)64 * 1024)

/** struct http2_pool - What all connections of one owner may keep of bodies together */
struct http2_pool {
	size_t used, max;
};

struct http2_duplex_options {
	bool server;
	/*
	 * NULL: no pool. A flow whose bytes don't fit into it ends (ENHANCE_YOUR_CALM): from half of
	 * @max on, if its connection keeps more than HTTP2_POOL_SMALL.
	 */
	struct http2_pool *pool;
	size_t window;      /* of a flow */
	size_t kept;        /* bytes of all flows, from which on the connection's window waits */
	unsigned int flows; /* that a client may have at once */
};

/**
 * http2_duplex_open() - Speak HTTP/2 over @below
 * @below: open; owned from here on, also on failure
 */
int http2_duplex_open(struct stream *below, const struct http2_duplex_options *options,
		      const struct http2_duplex_events *events, void *user,
		      struct http2_duplex **ret);

/** http2_duplex_receive() - Bytes that were received before http2_duplex_open() */
void http2_duplex_receive(struct http2_duplex *d, const uint8_t *bytes, size_t length);

/** http2_duplex_flows() - How many are under way */
size_t http2_duplex_flows(const struct http2_duplex *d);

/** http2_duplex_has_room() - Whether another request can begin at once. For clients */
bool http2_duplex_has_room(const struct http2_duplex *d);

/** http2_duplex_is_going() - Whether it takes no more requests, for either side's GOAWAY or end */
bool http2_duplex_is_going(const struct http2_duplex *d);

/** http2_duplex_retire() - Begin no more flows; those under way finish, then the owner closes it */
void http2_duplex_retire(struct http2_duplex *d);

/** http2_duplex_close() - End it; flows vanish without an event. NULL is fine */
void http2_duplex_close(struct http2_duplex *d);

/**
 * http2_duplex_send() - Begin a request
 * @last: without a body
 *
 * Return: 0; -EPIPE if the connection takes no more; -EMSGSIZE; -ENOMEM
 */
int http2_duplex_send(struct http2_duplex *d, const struct http1_head *head, const char *scheme,
		      bool last, const struct http2_flow_events *events, void *user,
		      struct http2_flow **ret);

void http2_flow_set_events(struct http2_flow *flow, const struct http2_flow_events *events,
			   void *user);

/** http2_flow_answer() - The answer's head, or one that precedes it; 0 or negative errno */
int http2_flow_answer(struct http2_flow *flow, const struct http1_head *head, bool last);

/** http2_flow_write() - Add to the body; 0, -EPIPE when it has ended, -ENOMEM */
int http2_flow_write(struct http2_flow *flow, const void *bytes, size_t length);

/** http2_flow_end() - The body is whole */
int http2_flow_end(struct http2_flow *flow, const struct http1_header *trailers, size_t count);

/** http2_flow_pending() - Bytes that the peer has not taken */
size_t http2_flow_pending(const struct http2_flow *flow);

/** http2_flow_pause() - No `data` and `end` until http2_flow_resume(), which may deliver at once */
void http2_flow_pause(struct http2_flow *flow);
void http2_flow_resume(struct http2_flow *flow);

/** http2_flow_close() - Give it up: reset unless both sides have ended. NULL is fine */
void http2_flow_close(struct http2_flow *flow, uint32_t code);

/* Codes for http2_flow_close(), and of `gone` (RFC 9113 §7). */
#define HTTP2_CODE_NONE     0x0u
#define HTTP2_CODE_INTERNAL 0x2u
#define HTTP2_CODE_REFUSED  0x7u
#define HTTP2_CODE_CANCEL   0x8u
