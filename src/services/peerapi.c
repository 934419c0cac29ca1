/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/peerapi.c - what peers' nodes ask this node by HTTP
 *
 * DOC: Theory of operation
 *
 * One server for each own address. A request waits for the owner of its source address, which the
 * engine knows; one without an owner, or with signs of a browser, gets 403 and no more. The Host
 * header must be an address of ours with the port, or "peer": a name that somebody points at us
 * (DNS rebinding) is refused.
 */
#define LOG_ROOM "services"
#include "base/log.h"

#include "services/peerapi.h"

#include "base/cleanup.h"
#include "base/printable.h"
#include "services/funnel.h"
#include "transport/http1_server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Of all peers, for each own address. An ingress node has the reserved part too. */
#define CONNECTIONS_OF_ALL  512u
#define CONNECTIONS_TRUSTED 384u
#define CONNECTIONS_OF_PEER 16u
#define SOURCES             64u /* peers share a place by their addresses */
#define HELD_MAX            ((size_t)4 * 1024 * 1024)
#define TRUSTED_MAX         8u

struct peerapi_server {
	LIST_ENTRY(peerapi_server) entry;
	struct peerapi *peerapi;
	struct http1_server *http;
	struct endpoint own;
};

/* A request that waits for the owner of its source address. */
struct peerapi_request {
	struct peerapi *peerapi;
	struct http1_exchange *x;
};

struct peerapi {
	struct services *services;
	LIST_HEAD(, peerapi_server) servers;
	struct address
		trusted[TRUSTED_MAX]; /* that were ingress nodes lately: for their share alone */
	unsigned int next_trusted;
	nanoseconds last_used;
};

static void refuse(struct http1_exchange *x, int status, const char *text)
{
	http1_reply_close(x);
	http1_reply_text(x, status, "%s", text);
}

/* names_us() - Whether the Host header is one of our addresses as this peer knows them */
static bool names_us(struct http1_exchange *x, const struct privsep_person *person, uint16_t port)
{
	const char *host = http1_header(x->head, "Host");
	struct endpoint named;

	if (!host)
		return false;
	if (strcmp(host, "peer") == 0)
		return true;
	return endpoint_parse(host, strlen(host), &named) == 0 && named.port == port &&
	       (address_equal(&named.address, &person->own[0]) ||
		address_equal(&named.address, &person->own[1]));
}

/* remember_trusted() - An ingress node's connections get their share before it is asked for */
static void remember_trusted(struct peerapi *peerapi, const struct address *address)
{
	for (unsigned int i = 0; i < TRUSTED_MAX; i++)
		if (address_equal(&peerapi->trusted[i], address))
			return;
	peerapi->trusted[peerapi->next_trusted++ % TRUSTED_MAX] = *address;
}

static void greet(struct http1_exchange *x, const struct privsep_person *person)
{
	char text[1024], name[256], node[256], address[ADDRESS_TEXT_MAX];
	const char *who = person->name[0] ? person->name : person->node;
	int length;

	if (strcmp(x->head->method, "GET") != 0 && strcmp(x->head->method, "HEAD") != 0) {
		http1_reply_header(x, "Allow", "GET, HEAD");
		refuse(x, 405, "only GET and HEAD are allowed");
		return;
	}
	printable(name, sizeof(name), who, strlen(who));
	printable(node, sizeof(node), person->node, strlen(person->node));
	length =
		snprintf(text, sizeof(text),
			 "Hello, %s (%s).\nThis is the PeerAPI of a pillion node, for other nodes; "
			 "your node is %s.\n",
			 name, address_format(&x->peer.address, address), node);
	http1_reply(x, 200, "text/plain; charset=utf-8", text, (size_t)length);
}

/* bring_in() - A connection of the internet, by an ingress node */
static void bring_in(struct peerapi *peerapi, struct http1_exchange *x,
		     const struct privsep_person *person)
{
	struct funnel_request request;
	struct buffer rest;
	struct stream *stream;
	const char *why;
	int status = 403;

	if (!person->ingress) {
		refuse(x, status, "denied; no ingress cap");
		return;
	}
	remember_trusted(peerapi, &x->peer.address);
	why = funnel_request_read(x->head, &request, &status);
	if (!why)
		why = funnel_check(peerapi->services, &request, &status);
	if (why) {
		log_debug("a connection of an ingress node is refused: %s", why);
		refuse(x, status, why);
		return;
	}
	stream = http1_take(x, &rest);
	/* The client's bytes follow the answer, and there was none yet. */
	if (stream && rest.length > 0)
		stream_close(stream);
	else if (stream)
		funnel_open(peerapi->services, stream, &request, person);
	buffer_free(&rest);
}

/* answer() - @person: the owner of the source address, or NULL */
static void answer(struct peerapi *peerapi, struct http1_exchange *x,
		   const struct privsep_person *person)
{
	http1_reply_header(x, "X-Content-Type-Options", "nosniff");
	http1_reply_header(x, "X-Frame-Options", "DENY");
	http1_reply_header(x, "Content-Security-Policy",
			   "default-src 'none'; frame-ancestors 'none'");
	if (!person || !person->known)
		refuse(x, 403, "unknown peer");
	else if (http1_header(x->head, "Origin") || http1_header(x->head, "Referer") ||
		 !names_us(x, person, peerapi->services->serving->peerapi))
		refuse(x, 403, "invalid peerapi request");
	else if (strcmp(x->path, "/") == 0)
		greet(x, person);
	else if (strcmp(x->path, "/v0/ingress") == 0)
		bring_in(peerapi, x, person);
	else
		refuse(x, 404, "404 page not found");
}

static void on_person(void *user, const struct privsep_person *person)
{
	struct peerapi_request *request = user;
	struct http1_exchange *x = request->x;

	if (http1_is_open(x))
		answer(request->peerapi, x, person);
	http1_release(x);
	free(request);
}

static void serve(void *user, struct http1_exchange *x)
{
	struct peerapi_server *server = user;
	struct peerapi *peerapi = server->peerapi;
	struct people *people = peerapi->services->people;
	const struct privsep_person *person = people_find(people, &x->peer.address);
	struct peerapi_request *request;

	peerapi->last_used = clock_boottime();
	if (person) {
		answer(peerapi, x, person);
		return;
	}
	request = calloc(1, sizeof(*request));
	if (request) {
		*request = (struct peerapi_request){peerapi, x};
		http1_hold(x);
		if (people_ask(people, &x->peer.address, on_person, request))
			return;
		http1_release(x);
		free(request);
	}
	refuse(x, 503, "out of memory");
}

static bool accept_peer(void *user, int fd, struct http1_exchange *x)
{
	struct peerapi *peerapi = ((struct peerapi_server *)user)->peerapi;
	unsigned int hash = 0;

	(void)fd;
	peerapi->last_used = clock_boottime();
	for (unsigned int i = 0; i < TRUSTED_MAX; i++)
		x->privileged |= address_equal(&peerapi->trusted[i], &x->peer.address);
	for (size_t i = 0; i < address_length(&x->peer.address); i++)
		hash = hash * 31 + x->peer.address.bytes[i];
	x->source = hash % SOURCES;
	return true;
}

void peerapi_listen(struct peerapi *peerapi, int fd)
{
	static const struct http1_server_hooks hooks = {.accept = accept_peer, .serve = serve};
	static const struct http1_server_limits limits = {
		.connections = CONNECTIONS_OF_ALL,
		.reserved = CONNECTIONS_TRUSTED,
		.sources = SOURCES,
		.of_source = CONNECTIONS_OF_PEER,
		.body = 4096,
		.bodies = HELD_MAX / 4,
		.held = HELD_MAX,
		.held_of_source = HELD_MAX / 8,
		.unread = (size_t)64 * 1024,
		.idle = 60,
		.head = 10,
		.request = 10,
		.write = 10,
	};
	struct peerapi_server *server = calloc(1, sizeof(*server));
	struct error err = {0};

	if (!server) {
		close(fd);
		return;
	}
	if (http1_server_new(peerapi->services->loop, fd, NULL, &limits, &hooks, server,
			     &server->http, &err) < 0) {
		free(server);
		return;
	}
	server->peerapi = peerapi;
	LIST_INSERT_HEAD(&peerapi->servers, server, entry);
}

void peerapi_close(struct peerapi *peerapi)
{
	struct peerapi_server *server;

	while ((server = LIST_FIRST(&peerapi->servers))) {
		LIST_REMOVE(server, entry);
		http1_server_free(server->http);
		free(server);
	}
}

bool peerapi_is_idle(const struct peerapi *peerapi, nanoseconds pause)
{
	const struct peerapi_server *server;

	LIST_FOREACH(server, &peerapi->servers, entry)
		if (http1_server_statistics(server->http)->open > 0)
			return false;
	return clock_boottime() - peerapi->last_used >= pause;
}

struct peerapi *peerapi_new(struct services *services)
{
	struct peerapi *peerapi = calloc(1, sizeof(*peerapi));

	if (!peerapi)
		return NULL;
	peerapi->services = services;
	peerapi->last_used = clock_boottime();
	LIST_INIT(&peerapi->servers);
	return peerapi;
}

void peerapi_free(struct peerapi *peerapi)
{
	if (!peerapi)
		return;
	peerapi_close(peerapi);
	free(peerapi);
}
