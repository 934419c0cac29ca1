/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/machine_connection.c - connections over TS2021, and how many there may be
 *
 * Theory of operation
 *	/ts2021 --101, Noise, early payload--> HTTP/2:
 *		POST /machine/map	machine_maps.c
 *		the rest		machine_asks.c
 *
 *   A guest has proved a machine key, which anyone can make, but has not asked for a map yet.
 *   Guests are bounded by the bytes that they make us hold, where the one that holds most (the
 *   oldest of equals) goes: of one source and of all; and by their number in a source, where the
 *   oldest goes. A machine has a number of connections, guest or node: its oldest goes.
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_EVERY  (10 * NSEC_PER_SEC) /* at a connection that has an exchange */
#define REQUEST_MAX (30 * NSEC_PER_SEC) /* for a request to be complete */
#define IDLE_MAX    (180 * NSEC_PER_SEC)

/* Older ones don't know what precedes HTTP/2. */
#define NOISE_VERSION_MIN 49

#define GUEST_COST (16u * 1024) /* of a connection without a request */
#define TLS_COST   (16u * 1024)

/* What is made of a body takes as much again while it waits. */
#define REQUEST_COST(bytes) (2 * (bytes))

/* The connections of one machine key, oldest first. */
struct machine {
	struct public_key key;
	TAILQ_HEAD(, machine_connection) connections;
	unsigned int count;
	UT_hash_handle hh;
};

static int machine_begin(struct machine_connection *n)
{
	struct coordinator *c = n->control;
	struct machine *m;

	HASH_FIND(hh, c->machines, &n->machine, sizeof(n->machine), m);
	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return -ENOMEM;
		m->key = n->machine;
		TAILQ_INIT(&m->connections);
		HASH_ADD(hh, c->machines, key, sizeof(m->key), m);
	}
	n->of = m;
	TAILQ_INSERT_TAIL(&m->connections, n, next_of_machine);
	m->count++;
	return 0;
}

static void machine_end(struct machine_connection *n)
{
	struct machine *m = TAKE_PTR(n->of);

	TAILQ_REMOVE(&m->connections, n, next_of_machine);
	if (--m->count > 0)
		return;
	HASH_DELETE(hh, n->control->machines, m);
	free(m);
}

static void charge(struct machine_connection *n, size_t bytes)
{
	struct coordinator *c = n->control;

	c->guest_bytes += bytes - n->charged;
	c->guest_bytes_of[n->source] += (uint32_t)(bytes - n->charged);
	n->charged = bytes;
}

static size_t base_cost(const struct machine_connection *n)
{
	return GUEST_COST + (n->control->tls ? TLS_COST : 0);
}

static int quota_begin(struct machine_connection *n)
{
	struct coordinator *c = n->control;

	if (machine_begin(n) < 0)
		return -ENOMEM;
	n->guest = true;
	TAILQ_INSERT_TAIL(&c->guests, n, next_guest);
	c->guest_count++;
	c->guests_of[n->source]++;
	charge(n, base_cost(n));
	return 0;
}

void machine_adopted(struct machine_connection *n)
{
	struct coordinator *c = n->control;

	if (!n->guest)
		return;
	charge(n, 0);
	n->guest = false;
	TAILQ_REMOVE(&c->guests, n, next_guest);
	c->guest_count--;
	c->guests_of[n->source]--;
}

static void connection_free(struct machine_connection *n)
{
	deadlines_clear(&n->due);
	machine_adopted(n);
	machine_end(n);
	LIST_REMOVE(n, next);
	free(n);
}

void machine_connection_close(struct machine_connection *n)
{
	http2_server_close(TAKE_PTR(n->http2));
	connection_free(n);
}

static bool is_of(const struct machine_connection *n, unsigned int source)
{
	return source == WEB_SOURCE_LOCAL || n->source == source;
}

/* oldest() - Of a source, which has one; WEB_SOURCE_LOCAL: of all */
static struct machine_connection *oldest(const struct coordinator *c, unsigned int source)
{
	struct machine_connection *n;

	TAILQ_FOREACH(n, &c->guests, next_guest)
		if (is_of(n, source))
			break;
	return n;
}

/* largest() - The guest that holds most bytes, of a source or of all */
static struct machine_connection *largest(const struct coordinator *c, unsigned int source)
{
	struct machine_connection *n, *most = oldest(c, source);

	TAILQ_FOREACH(n, &c->guests, next_guest)
		if (n->charged > most->charged && is_of(n, source))
			most = n;
	return most;
}

static void cut(struct coordinator *c, struct machine_connection *n)
{
	c->guests_cut++;
	machine_connection_close(n);
}

/* bound_bytes() - One of this source holds more */
static void bound_bytes(struct coordinator *c, unsigned int source)
{
	while (source != WEB_SOURCE_LOCAL &&
	       c->guest_bytes_of[source] > LIMIT_CONTROL_GUEST_SOURCE_BYTES)
		cut(c, largest(c, source));
	while (c->guest_bytes > LIMIT_CONTROL_GUEST_BYTES)
		cut(c, largest(c, WEB_SOURCE_LOCAL));
}

/* on_held() - The requests hold @bytes; guests that hold too much are closed */
static void on_held(void *user, size_t bytes)
{
	struct machine_connection *n = user;
	size_t held = base_cost(n) + REQUEST_COST(bytes);
	bool more = held > n->charged;
	struct coordinator *c = n->control;
	unsigned int source = n->source;

	if (!n->guest)
		return;
	charge(n, held);
	if (more)
		bound_bytes(c, source);
}

/* quota_bound() - It serves now: close the connections that are too many, perhaps @n */
static void quota_bound(struct machine_connection *n)
{
	struct coordinator *c = n->control;
	unsigned int source = n->source;

	if (n->of->count > LIMIT_CONTROL_MACHINE)
		machine_connection_close(TAILQ_FIRST(&n->of->connections));
	if (source != WEB_SOURCE_LOCAL && c->guests_of[source] > LIMIT_CONTROL_GUEST_SOURCE)
		cut(c, oldest(c, source));
	bound_bytes(c, source);
}

/* Requests */

static void on_request(void *user, struct http2_exchange *x)
{
	static const struct {
		const char *path;
		const char *method; /* NULL: this server does not do that */
		void (*serve)(struct machine_connection *n, struct http2_exchange *x);
	} requests[] = {
		{"/machine/register", "POST", machine_register},
		{"/machine/map", "POST", machine_map},
		{"/machine/set-dns", "POST", machine_set_dns},
		{"/machine/pillion/certificate", "POST", machine_sign},
		{POLICY_SSH_ACTION, "GET", machine_ssh_action}, /* the path goes on */
		{"/machine/id-token", NULL, NULL},
		{"/machine/audit-log", NULL, NULL},
		{"/machine/set-device-attr", NULL, NULL},
		{"/machine/feature/query", NULL, NULL},
		{"/machine/update-health", NULL, NULL},
	};
	struct machine_connection *n = user;
	char text[32];
	size_t i = 0;

	n->idle_since = DEADLINE_NEVER;
	n->used = true;
	while (i < ARRAY_SIZE(requests) &&
	       (requests[i].serve == machine_ssh_action
			? strncmp(x->path, requests[i].path, strlen(requests[i].path))
			: strcmp(x->path, requests[i].path)) != 0)
		i++;
	if (i == ARRAY_SIZE(requests)) {
		machine_reply_text(x, 404, "there is nothing here");
	} else if (!requests[i].serve) {
		machine_reply_text(x, 501, "this server does not do that");
	} else if (strcmp(x->method, requests[i].method) != 0) {
		snprintf(text, sizeof(text), "%s is wanted", requests[i].method);
		machine_reply_text(x, 405, text);
	} else {
		requests[i].serve(n, x);
	}
}

static void on_drained(void *user, struct http2_exchange *x)
{
	(void)user;
	machine_map_drained(x);
}

static void on_gone(void *user, struct http2_exchange *x)
{
	struct machine_connection *n = user;

	if (x->context)
		machine_exchange_free(x->context);
	n->idle_since = clock_boottime();
	deadlines_set(&n->control->connections_due, &n->due, n->idle_since + LOOK_EVERY);
}

static void on_ended(void *user, const struct error *err)
{
	struct machine_connection *n = user;

	if (err)
		log_debug("a node's connection ended: %s", err->text);
	machine_connection_close(n);
}

static const struct http2_server_events events = {
	.request = on_request,
	.held = on_held,
	.drained = on_drained,
	.gone = on_gone,
	.ended = on_ended,
};

/* read_initiation() - The header's base64; false when it isn't one */
static bool read_initiation(const char *text, uint8_t out[static TS2021_INITIATION_SIZE])
{
	size_t length;

	return text &&
	       sodium_base642bin(out, TS2021_INITIATION_SIZE, text, strlen(text), NULL, &length,
				 NULL, sodium_base64_VARIANT_ORIGINAL) == 0 &&
	       length == TS2021_INITIATION_SIZE;
}

/* early_payload() - What precedes HTTP/2: a challenge that no client answers (protocol.md 2.5) */
static int early_payload(struct stream *stream)
{
	uint8_t bytes[9 + 128] = {0xff, 0xff, 0xff, 'T', 'S'};
	struct public_key challenge;
	struct secret_key unused;
	char text[KEY_TEXT_MAX];
	int length;

	secret_key_generate(&unused);
	secret_key_public(&unused, &challenge);
	secret_key_wipe(&unused);
	public_key_format(&challenge, KEY_CHALLENGE, text);
	length = snprintf((char *)bytes + 9, sizeof(bytes) - 9, "{\"nodeKeyChallenge\":\"%s\"}",
			  text);
	put_be32(bytes + 5, (uint32_t)length);
	return stream_write(stream, bytes, (size_t)length + 9);
}

/* begin_http2() - The connection from here on; @stream is taken */
static void begin_http2(struct coordinator *c, struct stream *stream,
			const struct public_key *machine, uint16_t version, unsigned int source,
			const struct address *from)
{
	struct machine_connection *n = calloc(1, sizeof(*n));
	struct error err;

	if (n) {
		n->control = c;
		n->machine = *machine;
		n->source = source;
		n->from = *from;
	}
	if (!n || early_payload(stream) < 0 || quota_begin(n) < 0) {
		stream_close(stream);
		free(n);
		return;
	}
	n->version = version;
	n->idle_since = clock_boottime();
	LIST_INSERT_HEAD(&c->connections, n, next);
	deadlines_set(&c->connections_due, &n->due, n->idle_since + LOOK_EVERY);
	if (http2_serve(stream, &events, n, &n->http2, &err) < 0) {
		connection_free(n);
		return;
	}
	http2_server_limit_bodies(n->http2, LIMIT_CONTROL_GUEST_BODIES);
	/* Either may be the end of @n. */
	stream_hold(stream);
	quota_bound(n);
	stream_resume(stream);
	stream_release(stream);
}

void machine_accept(struct coordinator *c, struct http1_exchange *x)
{
	uint8_t initiation[TS2021_INITIATION_SIZE], response[TS2021_RESPONSE_SIZE];
	struct ts2021_session session;
	struct public_key machine;
	struct buffer head = BUFFER_INIT(0);
	struct stream *stream;
	struct error err;
	uint16_t version;
	unsigned int source = x->source;
	struct address from = x->peer.address;

	if (!x->head->upgrade || !http1_header_has(x->head, "Upgrade", TS2021_PROTOCOL)) {
		http1_reply_text(x, 500,
				 "no Upgrade header came; a proxy before this server has to pass "
				 "'Upgrade: " TS2021_PROTOCOL "' on");
		return;
	}
	if (!read_initiation(http1_header(x->head, "X-Tailscale-Handshake"), initiation)) {
		http1_reply_text(x, 400, "X-Tailscale-Handshake is missing or no handshake");
		return;
	}
	if (ts2021_server_accept(&c->noise_key, initiation, NULL, response, &machine, &version,
				 &session) < 0) {
		http1_reply_text(x, 400, "the handshake is not for this server's key: fetch /key");
		return;
	}
	/* Younger ones are refused when they register: they show that. */
	if (version < NOISE_VERSION_MIN) {
		ts2021_session_wipe(&session);
		machine_refuse_old(c, source, &from, version);
		http1_reply_text(x, 400, "this client is too old (version %u; %d is needed)",
				 version, TAILNET_VERSION_MIN);
		return;
	}
	stream = http1_upgrade(x, TS2021_PROTOCOL, &head);
	if (stream && stream_write(stream, response, sizeof(response)) == 0 &&
	    ts2021_session_stream(&session, stream, buffer_head(&head), head.length, &stream,
				  &err) == 0)
		begin_http2(c, stream, &machine, version, source, &from);
	else if (stream)
		stream_close(stream);
	ts2021_session_wipe(&session);
	buffer_free(&head);
}

/* connection_due() - Whether it has waited for a request, or idled, for too long */
static void connection_due(struct machine_connection *n, nanoseconds now)
{
	nanoseconds waiting = http2_server_waiting_since(n->http2), next = now + LOOK_EVERY;
	nanoseconds idle_max = n->used ? IDLE_MAX : REQUEST_MAX;

	if (waiting != DEADLINE_NEVER && waiting + REQUEST_MAX <= now) {
		machine_connection_close(n);
		return;
	}
	if (waiting != DEADLINE_NEVER)
		next = deadline_min(next, waiting + REQUEST_MAX);
	if (n->idle_since != DEADLINE_NEVER && http2_server_exchanges(n->http2) == 0) {
		if (n->idle_since + idle_max <= now) {
			machine_connection_close(n);
			return;
		}
		next = deadline_min(next, n->idle_since + idle_max);
	}
	deadlines_set(&n->control->connections_due, &n->due, next);
}

void machine_tick(struct coordinator *c, nanoseconds now)
{
	struct deadline *due;

	machine_asks_tick(c, now);
	machine_maps_tick(c, now);
	deadlines_turn(&c->connections_due, now);
	while ((due = deadlines_next(&c->connections_due)))
		connection_due(container_of(due, struct machine_connection, due), now);
}
