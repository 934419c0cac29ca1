/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/services_internal.h - the services themselves, for the files of this room
 *
 *	services.c       configuration and listeners; a new connection goes to one of the next
 *	services_parts.c the configuration in force and the list of connections, for all of them
 *	http_front.c     connections of HTTP/1.1 clients
 *	http2_front.c    connections of HTTP/2 clients
 *	exchange.c       a request of either: answers of our own, and the proxy to the app
 *	app_http1.c      the app's side of it
 *	app_http2.c      the same by HTTP/2, with many requests on a connection
 *	http_heads.c     the heads of proxied requests and answers
 *	tcp_bridge.c     TCP to the app, byte by byte
 *	stream_pair.c    the same for streams: TLS that ends here, upgraded connections
 *	app_calls.c      connections to the app
 *	app_pools.c      those that are kept between two requests
 *	engine_link.c    the channel to the engine, for the next two
 *	people.c         the owners of peers' addresses
 *	control_asks.c   what control does for a certificate: a record in DNS, a signature
 *	certificates.c   what HTTPS proves itself by
 *	peerapi.c        requests of peers' nodes
 *	funnel.c         connections of the internet, which an ingress node brings
 *	certs/           certificates by ACME, or by control
 *
 * One thread, one libuv loop.
 */
#pragma once

#include "privsep/privsep_client.h"
#include "services/services.h"
#include "transport/certificate.h"
#include "transport/conduit.h"
#include "transport/http2_duplex.h"
#include "transport/proxy.h"
#include "transport/stream.h"
#include "transport/tls.h"
#include "wire/serve_config.h"

#include <sys/queue.h>

/* Of all peers together, if there are descriptors for them; from there on the connection that waits longest for a request goes. */
#define CONNECTIONS_MAX 16384u

/* How long a bridge may rest whose one direction has ended: the end of a client that is gone is not seen any more. */
#define HALF_CLOSED (3600 * NSEC_PER_SEC)

/* Bytes that wait for a slow reader, of all connections together, and for one. */
#define QUEUED_ALL ((size_t)64 * 1024 * 1024)
#define QUEUED_MAX ((size_t)256 * 1024)
#define QUEUED_MIN ((size_t)8 * 1024)

/* Bytes of bodies on HTTP/2 connections that wait for a slow reader, of all together. */
#define KEPT_ALL ((size_t)64 * 1024 * 1024)

#define APP_GRACE (3 * NSEC_PER_SEC) /* for an app that starts again: it refuses connections */

/* The targets behind those of the configuration, by number. */
enum serving_target {
	SERVING_ACME, /* the host of the ACME directory */
	SERVING_DNS,  /* the server for RFC 2136 */
	SERVING_BEYOND,
};

struct exchange;
struct exchange_back;
struct services;

/** struct serving - A configuration in force; what was begun under it holds it */
struct serving {
	unsigned int holds;
	uint32_t number;  /* that the supervisor gave it */
	uint16_t peerapi; /* its port; 0: none */
	struct serve_config config;
	char *domain;       /* our name, or NULL */
	char *suffix;       /* of the tailnet, or NULL */
	char *cert_domains; /* names whose ACME challenge control publishes, by space; or NULL */
	bool signs;         /* control is an authority for @domain: control_ask_sign() */
	bool keep;          /* this process runs even with no port */
	struct privsep_acme acme;
	struct proxy *proxy;                        /* on the way to the ACME directory, or NULL */
	struct serve_target beyond[SERVING_BEYOND]; /* targets behind those of @config */
	struct privsep_serve_target *places;        /* where targets are, by number; no sockets */
	size_t place_count;
};

struct serving *serving_hold(struct serving *serving);
void serving_release(struct serving *serving);

/** serving_target() - By number, those beyond the configuration's included; NULL: there is none */
const struct serve_target *serving_target(const struct serving *serving, size_t number);

/**
 * serving_target_now() - The number in the configuration in force of target @number of @then; -1: it has none
 *
 * serving_place_now() - The same, but -1 also if the target has other addresses now
 */
int serving_target_now(const struct services *services, const struct serving *then,
		       unsigned int number);
int serving_place_now(const struct services *services, const struct serving *then,
		      unsigned int number);

/** struct services_part - One connection of a peer, of any kind, in the list of all of them */
struct services_part {
	LIST_ENTRY(services_part) entry;
	TAILQ_ENTRY(services_part) idle_entry, peer_entry;
	struct services_peer *peer; /* by services_set_peer(), or NULL */
	bool idle;                  /* it waits for a request, and may be closed for others */
	struct services *services;
	void (*close)(struct services_part *part); /* end it now; it removes itself */
	/* Its port is not served any more: take no more requests, finish those under way. Or NULL */
	void (*retire)(struct services_part *part);
	uint16_t port; /* that it came to; 0: none that is served */
	bool funnel;   /* of the internet, by services_add_funnel() */
	LIST_ENTRY(services_part) flush_entry;
	void (*flush)(struct services_part *part); /* wanted by services_flush_soon(), or NULL */
};

/* What the engine's channel brings for certificates (certs/cert_asks.c) */
struct cert_events {
	/** @question: the engine asks for a certificate and its key */
	void (*question)(struct services *services, const struct privsep_cert *question);
	/** @linked: there is another channel: questions come again, and it knows no state yet */
	void (*linked)(struct services *services);
};

TAILQ_HEAD(app_calls, app_call);

struct services {
	uv_loop_t *loop;
	struct privsep_client *privsep;
	struct serving *serving; /* NULL: none yet */
	LIST_HEAD(, listener) listeners;
	struct engine_link *engine;
	struct people *people;
	struct control_asks *control_asks;
	struct certificates *certificates;
	struct keeper *keeper;               /* of certificates by ACME */
	struct public_proofs *public_proofs; /* --acme-listen; NULL: none */
	struct tls_context *proof_tls;       /* for it, while a proof is shown; or NULL */
	const struct cert_events *cert_events;
	LIST_HEAD(, cert_ask) cert_asks;
	LIST_HEAD(, dns_call) dns_calls;      /* those under way */
	struct privsep_cert_state cert_state; /* as the engine knows it */
	struct tls_context *client_tls;       /* for https:// targets */
	struct tls_context *server_tls;       /* certificates.c's; NULL: there is no certificate */
	bool trusts;                          /* it has the machine's roots */
	LIST_HEAD(, app_pool) app_pools;
	struct app_calls app_queue;      /* until the supervisor takes another request */
	struct app_calls app_refused;    /* until they try again */
	size_t app_calls;                /* under way, of all targets */
	struct loop_timer *app_timer;    /* for app_look() */
	LIST_HEAD(, app_link) app_links; /* of HTTP/2 */
	LIST_HEAD(, services_part) parts;
	struct services_peer *peers; /* a table, by address */
	LIST_HEAD(, services_part) flush_parts;
	struct loop_timer *flush_timer;         /* for services_flush() */
	TAILQ_HEAD(, services_part) idle_parts; /* the one that waits longest first */
	size_t connections;                     /* in @parts */
	size_t streams;                         /* requests on all HTTP/2 connections */
	struct http2_pool kept;                 /* bodies on them, of clients and apps */
	struct conduit_pool conduits;           /* of tcp_bridge.c, */
	nanoseconds bridge_silent_until;        /* and its next line in the log */
	char loop_name[28];                     /* of loops.c, */
	size_t hairpins;                        /* and its bridges, the last of which has */
	unsigned int hairpin_target;            /* this target, */
	struct address hairpin_peer;            /* and this peer */
	size_t connections_max;
	size_t funnels;                  /* of @connections */
	struct loop_timer *accept_again; /* after a failure */
	struct loop_timer *retired; /* for what is left of ports that are not served any more */
	nanoseconds retired_at;     /* when it fires */
	/* app_files_open(), which exchange.c calls for Path handlers */
	struct exchange_back *(*open_files)(struct exchange *x, const struct serve_handler *handler,
					    const char *target);
	struct peerapi *peerapi;
	struct loop_timer *unused; /* while nothing but the PeerAPI is served */

	/* services_end() was called: whom it tells, and when at the latest. */
	void (*ended)(void *user);
	void *ended_user;
	nanoseconds end_by;
	struct loop_timer *end;
};

/** services_add() - @part is a connection to @port; 0: to none that is served */
void services_add(struct services *services, struct services_part *part, uint16_t port,
		  void (*close)(struct services_part *part));
void services_remove(struct services_part *part);

/* --- peer_share.c --- */

/** services_set_peer() - After services_add(): the connection counts for the peer at @address */
void services_set_peer(struct services_part *part, const struct address *address);
void services_unset_peer(struct services_part *part);

/** services_peer_idle() - Of services_set_idle(), for the peer's own list */
void services_peer_idle(struct services_part *part, bool idle);

/** services_admit() - Whether one more connection of @address has room, which others may make */
bool services_admit(struct services *services, const struct address *address);

/* --- services_parts.c --- */

/** services_set_idle() - Whether a connection waits for a request */
void services_set_idle(struct services_part *part, bool idle);

/** services_close_idle() - Close the connection that waits longest; false: none waits */
bool services_close_idle(struct services *services);
/** services_add_funnel() - @part, which is in the list, is a connection of the internet */
void services_add_funnel(struct services_part *part);

/**
 * services_open_tls() - TLS of a client of @port, and what it leads to; owns @stream
 * @funnel: for a connection of the internet: the only name that it may ask for; else NULL
 */
void services_open_tls(struct services *services, struct stream *stream, uint16_t port,
		       const struct endpoint *peer, const struct endpoint *to, const char *funnel);

/**
 * services_flush_soon() - Call @flush when all that has just arrived is worked on
 *
 * So the parts of an answer that come together leave together.
 */
void services_flush_soon(struct services_part *part, void (*flush)(struct services_part *part));

/** services_flush() - Do it now, for all; at services->flush_timer */
void services_flush(struct services *services);

/** services_queue_limit() - How many bytes may wait for one slow reader now */
size_t services_queue_limit(const struct services *services);

/* --- http_front.c --- */

/**
 * http_front_open() - A connection of @peer to @port; owns @stream, which is TLS's if @tls
 * @funnel: it comes from the internet: @peer is nobody of the tailnet, whatever its address
 */
void http_front_open(struct services *services, struct stream *stream, bool tls, bool funnel,
		     const struct endpoint *peer, uint16_t port);

/* --- http2_front.c --- */

/** http2_front_open() - As http_front_open(); @length bytes were received already */
void http2_front_open(struct services *services, struct stream *stream, bool tls, bool funnel,
		      const struct endpoint *peer, uint16_t port, const uint8_t *bytes,
		      size_t length);

/* --- tcp_bridge.c, stream_pair.c --- */

/** struct bridge_ends - Who calls: @peer, from the internet if @funnel, the own address @to */
struct bridge_ends {
	const struct endpoint *peer, *to;
	bool funnel;
};

/** tcp_bridge_open() - @fd, which is owned, to the target of @port */
void tcp_bridge_open(struct services *services, int fd, const struct serve_port *port,
		     const struct bridge_ends *ends);

/** tls_bridge_open() - TLS of a client, ended here, to the target of @port */
void tls_bridge_open(struct services *services, struct serving *serving, struct stream *stream,
		     const struct serve_port *port, const struct bridge_ends *ends);

/** struct stream_pair_kind - For whom it counts; @each_ends: one direction goes on when the other has ended */
struct stream_pair_kind {
	const struct address *peer;
	uint16_t port;
	bool funnel, each_ends;
};

/** stream_pair_open() - Pass bytes both ways until they end; owns both, and consumes what was read */
void stream_pair_open(struct services *services, const struct stream_pair_kind *kind,
		      struct stream *a, struct buffer *from_a, struct stream *b,
		      struct buffer *from_b);

#define PROXY_LINE_MAX 108

/** proxy_line() - The head of the PROXY protocol, version 1 or 2; its length */
size_t proxy_line(unsigned int version, const struct endpoint *from, const struct endpoint *to,
		  uint8_t out[static PROXY_LINE_MAX]);

/* --- loops.c --- */

#define LOOP_HEADER "CDN-Loop" /* RFC 8586 */

/** loops_init() - Draw the name of this process */
void loops_init(struct services *services);

/** loops_is_far() - Whether a target is on another machine, so that a request may come back from it */
bool loops_is_far(const struct serve_target *target);

/** loops_may_pass() - Whether a request for such a target was not here too often */
bool loops_may_pass(const struct services *services, const struct http1_head *head);

/** loops_add_hairpin() - Count @fd, connected to @target, if it leads back to @peer: whether it is in services->hairpins */
bool loops_add_hairpin(struct services *services, int fd, unsigned int target,
		       const struct address *peer);

/** loops_refuse() - Whether there are too many of them: the caller closes @fd, of @peer, which is a reset then */
bool loops_refuse(const struct services *services, int fd, unsigned int target,
		  const struct address *peer);

/* --- app_calls.c --- */

struct app_call;

enum app_call_how {
	APP_STREAM,
	APP_RAW,  /* a descriptor, for a target without TLS */
	APP_HTTP, /* a stream; with TLS, ALPN offers HTTP/2 */
};

/** app_ready - @stream: open, the callee's; NULL with @err. For APP_RAW @fd, else -1 */
typedef void app_ready(void *user, struct stream *stream, int fd, const struct error *err);

/**
 * app_call_begin() - Connect to a target; a refused connection is tried again for APP_GRACE
 *
 * Return: NULL without memory, else @ready is called later, once
 */
struct app_call *app_call_begin(struct services *services, struct serving *serving,
				unsigned int target, enum app_call_how how, app_ready *ready,
				void *user);

/** app_call_cancel() - @ready is not called any more. NULL is fine */
void app_call_cancel(struct app_call *call);

/* --- app_pools.c --- */

/** app_take() - An open connection of an earlier request that was idle for at most @idle; or NULL */
struct stream *app_take(struct services *services, const struct serving *serving,
			unsigned int target, nanoseconds idle);

/** app_give() - Keep a connection for later requests; owns @stream */
void app_give(struct services *services, const struct serving *serving, unsigned int target,
	      struct stream *stream);

/** app_look() - Close kept connections that nobody has used for a while; at services->app_timer */
void app_look(struct services *services);

/** app_move() - Keep the connections to targets of @before that stay where they are, close the others */
void app_move(struct services *services, const struct serving *before);

/** app_forget() - Close all kept connections of HTTP/1.1 */
void app_forget(struct services *services);

/* --- app_http2.c --- */

/** app_http2_move() - As app_move(), but a connection with requests closes after them */
void app_http2_move(struct services *services, const struct serving *before);

/** app_http2_forget() - Close the connections without a request; the others close after theirs */
void app_http2_forget(struct services *services);

/* --- engine_link.c --- */

/** engine_link_new() - Without a channel yet; the answers go to people and control_asks */
struct engine_link *engine_link_new(struct services *services);
void engine_link_free(struct engine_link *link);

/** engine_link_open() - Another channel to the engine; owns @fd */
void engine_link_open(struct engine_link *link, int fd);

/** engine_link_send() - @fd: goes with it, and stays the caller's; -1: none. 0; -ENOTCONN: there is no channel
 *  now, people_linked() and control_asks_linked() follow; -EAGAIN: it is full */
int engine_link_send(struct engine_link *link, const union privsep_message *message, int fd);

/* --- people.c --- */

struct person_question;

/** person_found - @person: valid during the call; NULL: the engine did not answer in time */
typedef void person_found(void *user, const struct privsep_person *person);

struct people *people_new(uv_loop_t *loop, struct engine_link *link);
void people_free(struct people *people);

/** people_linked() - There is another channel: ask again. people_answer() - It brought an answer */
void people_linked(struct people *people);
void people_answer(struct people *people, uint32_t id, const struct privsep_person *person);

/** people_forget() - Their owners may be others now */
void people_forget(struct people *people);

/** people_find() - The owner of an address, if that is known already; else NULL, and ask */
const struct privsep_person *people_find(struct people *people, const struct address *address);

/** people_ask() - @found is called later, once; NULL without memory */
struct person_question *people_ask(struct people *people, const struct address *address,
				   person_found *found, void *user);
void people_cancel(struct person_question *question);

/* --- control_asks.c --- */

struct control_ask;

/* What control answered, by way of the engine; valid during the call of control_asked. */
struct control_asked_answer {
	int result;           /* 0 or as struct privsep_answer; -ETIMEDOUT: no answer came */
	uint32_t retry_after; /* seconds; 0: none named */
	const char *text;     /* why it failed; "" if it did not */
	const char *chain;    /* of control_ask_sign(): PEM, the leaf first; else NULL */
	size_t chain_length;
};

typedef void control_asked(void *user, const struct control_asked_answer *answer);

struct control_asks *control_asks_new(uv_loop_t *loop, struct engine_link *link);
void control_asks_free(struct control_asks *asks);

/**
 * control_ask_txt() - Have control publish an ACME challenge: the TXT record @name with @value
 * @name:  "_acme-challenge." and one of serving->cert_domains
 * @value: base64url
 *
 * An engine that is replaced meanwhile is asked again. Return: NULL without memory, or for a text
 * that is too long; else @asked is called later, once
 */
struct control_ask *control_ask_txt(struct control_asks *asks, const char *name, const char *value,
				    control_asked *asked, void *user);

/** control_ask_sign() - A certificate by the authority of control (serving->signs), for a request in PEM */
struct control_ask *control_ask_sign(struct control_asks *asks, const char *csr, size_t length,
				     control_asked *asked, void *user);

/** control_ask_cancel() - @asked is not called any more. NULL is fine */
void control_ask_cancel(struct control_ask *ask);

/** control_asks_linked() - There is another channel: ask again. control_asks_answer() - It brought an answer; @fd is
 *  the chain, or -1, and stays the caller's */
void control_asks_linked(struct control_asks *asks);
void control_asks_answer(struct control_asks *asks, const struct privsep_answer *answer, int fd);

/* --- certificates.c --- */

int certificates_new(struct services *services, struct certificates **ret, struct error *err);
void certificates_free(struct certificates *certificates);

/** certificates_update() - For the name and the files as they are now */
void certificates_update(struct services *services);

/**
 * certificates_pair() - A certificate for @domain that is good until @end at least
 * @ret: copies, the caller's
 *
 * Return: 0; -EINPROGRESS: it has to be ordered; -ENOENT, -ENOMEM with @err
 */
int certificates_pair(struct services *services, const char *domain, time_t end,
		      struct certificate_pair *ret, struct error *err);

/**
 * certificates_authority() - The authorities that clients of this node have to trust
 *
 * Our own one, which is made if there is none, and the control server's while it signs for us.
 */
int certificates_authority(struct services *services, struct certificate_pair *ret,
			   struct error *err);

/** certificates_state() - What HTTPS proves itself by; adds to @ret, which is zero but its type */
void certificates_state(struct services *services, struct privsep_cert_state *ret);

/** certificates_file() - A new file, or a negative errno */
void certificates_file(struct services *services, enum privsep_file_name name, int fd);
