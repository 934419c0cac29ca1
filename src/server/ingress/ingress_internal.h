/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/ingress/ingress_internal.h - shared by the files of the ingress
 *
 *	ingress.c          listeners, limits, statistics
 *	ingress_client.c   one connection from the internet, until its node has accepted it
 *	ingress_http.c     what a connection of plain HTTP asks for
 *	ingress_call.c     a connection to a node's PeerAPI, until it has accepted
 *	                   from there on transport/conduit.h
 *	ingress_names.c    which node has which name, of the LocalAPI
 *	ingress_metrics.c  /metrics
 */
#pragma once

#include "base/clock.h"
#include "server/ingress/ingress.h"
#include "server/web/source_limit.h"
#include "server/web/web_server.h"
#include "transport/conduit.h"
#include "transport/loop_timer.h"
#include "wire/client_hello.h"

#include <sys/queue.h>

#define INGRESS_CONNECTIONS        8192u /* defaults, of all and of one address or /64 */
#define INGRESS_SOURCE_CONNECTIONS 512u
#define INGRESS_SOURCE_RATE        100u /* new ones a second, and ten seconds of that at once */

/* Clients whose node has not accepted yet: how long their first message may take, how many, and the bytes that all of
 * them hold. */
#define INGRESS_HELLO_PATIENCE (10 * NSEC_PER_SEC)
#define INGRESS_WAITING        2048u
#define INGRESS_WAITING_BYTES  ((size_t)8 * 1024 * 1024)

/* Bytes that wait for slow readers, of all connections together; and how long one direction may still go on when
 * the other has ended and no byte moves. */
#define INGRESS_QUEUED_ALL  ((size_t)64 * 1024 * 1024)
#define INGRESS_HALF_CLOSED (600 * NSEC_PER_SEC)

/* A node's PeerAPI: connecting to its first address; to another one, or where control says that the node is offline;
 * and its answer. */
#define INGRESS_DIAL_PATIENCE (5 * NSEC_PER_SEC)
#define INGRESS_DIAL_AGAIN    (2 * NSEC_PER_SEC)
#define INGRESS_CALL_PATIENCE (10 * NSEC_PER_SEC)

#define INGRESS_NAME_MAX CLIENT_HELLO_NAME_MAX

/* Why a connection ended before it reached a node. */
enum ingress_refusal {
	INGRESS_FULL,        /* too many in all */
	INGRESS_SOURCE,      /* too many of its source, or too fast */
	INGRESS_SLOW,        /* no ClientHello in time, or the oldest of too many without one */
	INGRESS_MALFORMED,   /* no TLS or HTTP */
	INGRESS_PROXY,       /* no head of the PROXY protocol */
	INGRESS_NO_NAME,     /* TLS without a server name */
	INGRESS_UNKNOWN,     /* no node funnels the name */
	INGRESS_UNREACHABLE, /* the node does not answer */
	INGRESS_DENIED,      /* the node refused */
	INGRESS_GONE,        /* the client left before */
	INGRESS_REFUSALS,
};

struct ingress_statistics {
	uint64_t accepted, connected, redirected;
	uint64_t refused[INGRESS_REFUSALS];
	uint64_t bytes_in, bytes_out; /* from clients, to clients */
	uint64_t names_asked, names_failed;
};

struct ingress_door;
struct ingress_client;
struct ingress_names;

struct ingress {
	uv_loop_t *loop;
	struct ingress_config config;
	struct ingress_door *doors; /* as many as config.listener_count */
	struct ingress_names *names;
	/** @names_known: ingress_client_names_known() */
	void (*names_known)(struct ingress *ingress, nanoseconds asked_at);
	struct source_limit *limit;
	uint16_t of_source[SOURCE_SLOTS + 1];
	TAILQ_HEAD(, ingress_client) waiting; /* no node has accepted yet; the oldest first */
	LIST_HEAD(, ingress_client) clients;  /* all */
	size_t waiting_count, waiting_bytes, client_count;
	struct conduit_pool pool;
	unsigned int connections, source_connections;
	struct loop_timer *accept_again;
	struct web_server *metrics;
	struct ingress_statistics statistics;
	nanoseconds warned_full;
	void (*drained)(void *user);
	void *drained_user;
	bool closing;
};

/* --- ingress_client.c --- */

/** ingress_client_open() - @fd, which is owned, from @from at a listener whose public port is @port */
void ingress_client_open(struct ingress *ingress, int fd, const struct endpoint *from,
			 uint16_t port, bool plain);

/** ingress_client_close() - End it now */
void ingress_client_close(struct ingress_client *client);

/** ingress_client_names_known() - The table answers a question of @asked_at: look again for names that were unknown */
void ingress_client_names_known(struct ingress *ingress, nanoseconds asked_at);

/** ingress_client_shed() - Close the one that has waited longest; false: none waits */
bool ingress_client_shed(struct ingress *ingress);

/* --- ingress.c --- */

/** ingress_count_source() - Whether one more connection of @from is within the limits; then it is
 *  counted in *@ret_slot until ingress_uncount_source() */
bool ingress_count_source(struct ingress *ingress, const struct address *from,
			  unsigned int *ret_slot);
void ingress_uncount_source(struct ingress *ingress, unsigned int slot);

/** ingress_is_proxy() - Whether @from is a named load balancer */
bool ingress_is_proxy(const struct ingress *ingress, const struct address *from);

/** ingress_is_empty() - A connection has ended: during ingress_drain(), perhaps the last one */
void ingress_is_empty(struct ingress *ingress);

/* --- ingress_http.c --- */

enum ingress_http {
	INGRESS_HTTP_MORE,
	INGRESS_HTTP_PASS,   /* a challenge: to the node of the name */
	INGRESS_HTTP_ANSWER, /* by us, and the end */
};

/**
 * ingress_http_look() - The first request of a connection
 * @ret_name: of INGRESS_HTTP_PASS
 * @answer:   of INGRESS_HTTP_ANSWER, appended: a redirect to https, 400 or 404
 *
 * Return: enum ingress_http; negative errno: no HTTP
 */
int ingress_http_look(const uint8_t *bytes, size_t length, bool redirects,
		      char ret_name[static INGRESS_NAME_MAX], struct buffer *answer);

/** ingress_http_refusal() - The answer when the node of a challenge can't be asked */
const char *ingress_http_refusal(enum ingress_refusal why);

/* --- ingress_call.c --- */

#define INGRESS_ADDRESSES_MAX 4u

/** struct ingress_target - A node that is called */
struct ingress_target {
	char node[INGRESS_NAME_MAX];
	struct endpoint addresses[INGRESS_ADDRESSES_MAX]; /* of its PeerAPI */
	size_t address_count;
	bool online; /* as control says */
};

struct ingress_call;

/* Called once, never from within ingress_call_begin(). @fd: the callee's, its bytes are the node's; or -1 with @why
 * and @text. @early: bytes that came behind the answer */
typedef void ingress_called(void *user, int fd, const uint8_t *early, size_t early_length,
			    enum ingress_refusal why, const char *text);

/** ingress_call_begin() - Ask @target for the connection of @from to @name:@port; NULL without memory */
struct ingress_call *ingress_call_begin(uv_loop_t *loop, const struct ingress_target *target,
					const struct endpoint *from, const char *name,
					uint16_t port, ingress_called *called, void *user);

/** ingress_call_cancel() - NULL is fine */
void ingress_call_cancel(struct ingress_call *call);

/* --- ingress_names.c --- */

int ingress_names_new(struct ingress *ingress, struct ingress_names **ret, struct error *err);
void ingress_names_free(struct ingress_names *names);

/** ingress_names_find() - The node that has @name; NULL: none. Valid until the loop goes on */
const struct ingress_target *ingress_names_find(const struct ingress_names *names,
						const char *name);

/** ingress_names_hurry() - A client asks for an unknown name: ask the LocalAPI soon, though not too often */
void ingress_names_hurry(struct ingress_names *names);

/** ingress_names_count() - Names with a node; ingress_names_fresh(): the LocalAPI answers */
size_t ingress_names_count(const struct ingress_names *names);
bool ingress_names_fresh(const struct ingress_names *names);

/* --- ingress_metrics.c --- */

/** ingress_metrics_open() - Serve /metrics at the address of the configuration, if it has one */
int ingress_metrics_open(struct ingress *ingress, struct error *err);
