/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/relay_region.c - one relay region: the race of its nodes, its connection, its queue
 *
 * Theory of operation
 *	IDLE ── wanted ──▶ CONNECTING ── greeting done ──▶ CONNECTED
 *	  ▲                 │     ▲                            │ lost, silent for 120 s
 *	  │         no node │     │ retry_at                   │
 *	  └── not wanted ── WAITING ◀───────────────────────────┘
 *
 *   The nodes of a region are dialled in order, 1.5 s apart, and the first whose upgrade
 *   succeeds wins. The region is connecting until the relay's greeting is complete; packets
 *   are sent only then.
 *
 *   The end of a stable connection is reported after RELAY_QUIET, or when the next attempt
 *   fails: proxies and relays close idle connections, which are back at once.
 *
 *   A packet goes to the stream while the stream has few unsent bytes. Otherwise, and while
 *   connecting, it waits in the queue.
 *
 *   A stream can end while we write to it, inside the owner's call. Its end therefore only
 *   sets `lost` and wakes the loop, which does the rest.
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/printable.h"
#include "tunnel/relay/relay_internal.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void start_next_node(struct relay_region *g, nanoseconds now);

/* packet_queue_take() - Remove the first packet, which was sent */
static void packet_queue_take(struct packet_queue *q)
{
	struct queued_packet *p = STAILQ_FIRST(&q->packets);

	STAILQ_REMOVE_HEAD(&q->packets, next);
	q->bytes -= p->length;
	free(p);
}

/* packet_queue_clear() - Drop and count all packets */
static void packet_queue_clear(struct packet_queue *q)
{
	while (!STAILQ_EMPTY(&q->packets)) {
		packet_queue_take(q);
		q->dropped++;
	}
}

/* packet_queue_add() - Append a copy of a packet; 0 or -ENOMEM */
static int packet_queue_add(struct packet_queue *q, const struct public_key *to, const void *data,
			    size_t length)
{
	struct queued_packet *p = malloc(sizeof(*p) + length);

	if (!p)
		return -ENOMEM;
	p->to = *to;
	p->length = length;
	memcpy(p->data, data, length);
	while (!STAILQ_EMPTY(&q->packets) && q->bytes + length > LIMIT_DERP_QUEUE) {
		packet_queue_take(q);
		q->dropped++;
	}
	STAILQ_INSERT_TAIL(&q->packets, p, next);
	q->bytes += length;
	return 0;
}

struct relay_region *region_new(struct relay *r, uint16_t id)
{
	struct relay_region *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->relay = r;
	g->id = id;
	STAILQ_INIT(&g->queue.packets);
	for (size_t i = 0; i < RELAY_NODES; i++)
		g->attempts[i] = (struct relay_attempt){.region = g, .node = i};
	return g;
}

/* Its definition */

static void define_node(struct relay_node *node, const struct tailcfg_derp_node *from, bool plain)
{
	*node = (struct relay_node){
		.ipv4 = from->ipv4,
		.ipv6 = from->ipv6,
		.ipv4_disabled = from->ipv4_disabled,
		.ipv6_disabled = from->ipv6_disabled,
		.insecure = from->insecure_for_tests,
		.stun_only = from->stun_only,
		.derp_port = from->derp_port,
		.stun_port = from->stun_port,
		.stun_address = from->stun_test_ip,
	};
	if (plain && node->derp_port == TAILCFG_DERP_PORT)
		node->derp_port = RELAY_PLAIN_PORT;
	snprintf(node->name, sizeof(node->name), "%s", from->name ? from->name : "");
	snprintf(node->host, sizeof(node->host), "%s", from->host_name ? from->host_name : "");
	snprintf(node->cert_name, sizeof(node->cert_name), "%s",
		 from->cert_name ? from->cert_name : "");
}

static bool same_node(const struct relay_node *a, const struct relay_node *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->host, b->host) == 0 &&
	       strcmp(a->cert_name, b->cert_name) == 0 && address_equal(&a->ipv4, &b->ipv4) &&
	       address_equal(&a->ipv6, &b->ipv6) && a->ipv4_disabled == b->ipv4_disabled &&
	       a->ipv6_disabled == b->ipv6_disabled && a->insecure == b->insecure &&
	       a->stun_only == b->stun_only && a->derp_port == b->derp_port;
}

void region_define(struct relay_region *g, const struct tailcfg_derp_region *from)
{
	struct relay_node nodes[RELAY_NODES];
	size_t count = 0;
	bool same;

	while (count < from->node_count && count < RELAY_NODES) {
		define_node(&nodes[count], &from->nodes[count], g->relay->plain_http);
		count++;
	}
	same = count == g->node_count;
	for (size_t i = 0; same && i < count; i++)
		same = same_node(&nodes[i], &g->nodes[i]);
	snprintf(g->code, sizeof(g->code), "%s", from->code ? from->code : "");
	g->in_map = true;
	/* Members that only STUN uses can change without a new connection. */
	memcpy(g->nodes, nodes, count * sizeof(nodes[0]));
	g->node_count = count;
	if (same || g->state == RELAY_IDLE)
		return;
	region_disconnect(g, true);
	g->failures = 0;
	relay_wake(g->relay, 0);
}

/* Connecting */

static void cancel_attempts(struct relay_region *g)
{
	for (size_t i = 0; i < RELAY_NODES; i++)
		http_cancel(TAKE_PTR(g->attempts[i].exchange));
	g->stagger_at = 0;
}

static void drop_connection(struct relay_region *g)
{
	stream_close(TAKE_PTR(g->stream));
	derp_client_free(TAKE_PTR(g->client));
	g->lost = false;
	g->probe_until = 0;
	routes_forget_region(g->relay, g);
}

void region_disconnect(struct relay_region *g, bool keep_queue)
{
	cancel_attempts(g);
	drop_connection(g);
	g->state = RELAY_IDLE;
	g->retry_at = 0;
	if (!keep_queue)
		packet_queue_clear(&g->queue);
	if (g->told_connected)
		relay_wake(g->relay, 0);
}

void region_free(struct relay_region *g)
{
	cancel_attempts(g);
	drop_connection(g);
	packet_queue_clear(&g->queue);
	free(g);
}

static bool is_wanted(const struct relay_region *g, nanoseconds now)
{
	return g->in_map && (g->id == g->relay->home ||
			     (g->last_wanted && now - g->last_wanted < RELAY_IDLE_CLOSE));
}

/* wait_to_retry() - After a failure or a loss: set the next attempt */
static void wait_to_retry(struct relay_region *g, nanoseconds now)
{
	nanoseconds delay = RELAY_BACKOFF_MAX;
	uint32_t half;

	cancel_attempts(g);
	drop_connection(g);
	/* A relay that closes right after its greeting counts as failed. */
	if (g->ready_at && now - g->ready_at >= RELAY_STABLE)
		g->failures = 0;
	g->ready_at = 0;
	if (g->failures < 6)
		delay = deadline_min(delay, RELAY_BACKOFF_MIN << g->failures);
	/* Half of it is jitter, so that the clients of a relay do not reconnect at the same time. */
	half = (uint32_t)(delay / NSEC_PER_MSEC / 2);
	delay = delay / 2 + (nanoseconds)randombytes_uniform(half + 1) * NSEC_PER_MSEC;
	if (g->restart_in > delay)
		delay = g->restart_in;
	g->restart_in = 0;
	g->failures++;
	g->state = RELAY_WAITING;
	g->retry_at = now + delay;
	relay_wake(g->relay, g->retry_at);
}

static void note_problem(struct relay_region *g, const char *text)
{
	printable(g->problem, sizeof(g->problem), text, strlen(text));
}

static bool attempts_left(const struct relay_region *g)
{
	for (size_t i = 0; i < g->node_count; i++)
		if (g->attempts[i].exchange)
			return true;
	return false;
}

static void attempt_failed(struct relay_region *g, const char *problem, nanoseconds now)
{
	note_problem(g, problem);
	g->quiet_until = 0;
	start_next_node(g, now);
	if (g->state == RELAY_CONNECTING && !g->client && !attempts_left(g))
		wait_to_retry(g, now);
}

static void flush_output(struct relay_region *g)
{
	struct buffer *output = derp_client_output(g->client);

	if (output->length == 0 || g->lost)
		return;
	if (stream_write(g->stream, buffer_head(output), output->length) == 0)
		buffer_consume(output, output->length);
}

/* can_write() - Whether the stream has few unsent bytes; what was put together for a write goes first */
static bool can_write(struct relay_region *g)
{
	if (derp_client_output(g->client)->length >= RELAY_WRITE)
		flush_output(g);
	return !g->lost && stream_pending(g->stream) < RELAY_STREAM_PENDING;
}

/* put_packet() - Put a packet together for the next write */
static void put_packet(struct relay_region *g, const struct public_key *to, const void *data,
		       size_t length, nanoseconds now)
{
	if (derp_client_send(g->client, to, data, length, now) < 0)
		g->queue.dropped++;
}

/* flush_queue() - Move packets to the stream while it has few unsent bytes */
static void flush_queue(struct relay_region *g, nanoseconds now)
{
	struct queued_packet *p;

	while ((p = STAILQ_FIRST(&g->queue.packets)) && can_write(g)) {
		put_packet(g, &p->to, p->data, p->length, now);
		packet_queue_take(&g->queue);
	}
	flush_output(g);
}

bool region_is_ready(const struct relay_region *g)
{
	return g->state == RELAY_CONNECTED && !g->lost;
}

void region_note_home(struct relay_region *g)
{
	bool preferred = g->id == g->relay->home;

	if (!region_is_ready(g) || preferred == g->preferred)
		return;
	if (derp_client_note_preferred(g->client, preferred) == 0)
		g->preferred = preferred;
	flush_output(g);
}

void region_probe(struct relay_region *g)
{
	nanoseconds now = clock_boottime();
	uint8_t data[DERP_PING_SIZE];

	randombytes_buf(data, sizeof(data));
	if (derp_client_ping(g->client, data) < 0)
		return;
	flush_output(g);
	if (!g->probe_until)
		g->probe_until = now + RELAY_PROBE_TIMEOUT;
	relay_wake(g->relay, g->probe_until);
}

void region_tell(struct relay_region *g)
{
	const struct relay_callbacks *callbacks = g->relay->callbacks;
	bool connected = region_is_ready(g);

	if (!connected && clock_boottime() < g->quiet_until && g->told_connected)
		return;
	if (connected != g->told_connected) {
		g->told_connected = connected;
		if (callbacks->connected)
			callbacks->connected(g->relay->ctx, g->id, g->id == g->relay->home,
					     connected);
	}
	if (strcmp(g->problem, g->told_problem) != 0) {
		memcpy(g->told_problem, g->problem, sizeof(g->told_problem));
		if (callbacks->health)
			callbacks->health(g->relay->ctx, g->id, g->problem[0] ? g->problem : NULL);
	}
}

static void on_ready(struct relay_region *g, nanoseconds now)
{
	g->state = RELAY_CONNECTED;
	g->ready_at = now;
	g->problem[0] = 0;
	g->preferred = false;
	region_note_home(g);
	flush_queue(g, now);
	region_tell(g);
}

static void on_health(struct relay_region *g, const uint8_t *text, size_t length)
{
	printable(g->problem, sizeof(g->problem), (const char *)text,
		  strnlen((const char *)text, length));
	region_tell(g);
}

/* on_message() - The owner may do anything but free the pool; the caller checks the state again */
static void on_message(struct relay_region *g, const struct derp_message *m, nanoseconds now)
{
	struct relay *r = g->relay;

	switch (m->type) {
	case DERP_SERVER_INFO:
		on_ready(g, now);
		break;
	case DERP_RECV_PACKET:
		routes_learn(r, &m->key, g);
		r->callbacks->packet(r->ctx, g->id, &m->key, m->data, m->length);
		break;
	case DERP_PEER_GONE:
		routes_forget(r, &m->key, g);
		if (r->callbacks->peer_gone)
			r->callbacks->peer_gone(r->ctx, g->id, &m->key,
						m->reason == DERP_GONE_NOT_HERE
							? DERP_GONE_NOT_HERE
							: DERP_GONE_DISCONNECTED);
		break;
	case DERP_PEER_PRESENT:
		if (r->callbacks->peer_present)
			r->callbacks->peer_present(r->ctx, g->id, &m->key);
		break;
	case DERP_HEALTH:
		on_health(g, m->data, m->length);
		break;
	case DERP_RESTARTING:
		g->restart_in = deadline_min(m->reconnect_in_ms * NSEC_PER_MSEC, RELAY_RESTART_MAX);
		break;
	default: /* DERP_PONG */
		g->probe_until = 0;
		break;
	}
}

static void connection_failed(struct relay_region *g, const char *problem)
{
	note_problem(g, problem);
	g->lost = true;
	relay_wake(g->relay, 0);
}

static void take_bytes(struct relay_region *g, const uint8_t *bytes, size_t length)
{
	nanoseconds now = clock_boottime();
	const struct relay *relay = g->relay;
	struct derp_client *client = g->client;
	struct derp_message message;
	char problem[RELAY_PROBLEM_MAX];
	int r = derp_client_receive(client, bytes, length, now);

	/* The owner's callback may have closed this connection, or started another. */
	while (r >= 0 && g->client == client && !g->lost &&
	       (r = derp_client_next(client, now, &message)) > 0)
		on_message(g, &message, now);
	if (relay->callbacks->drained)
		relay->callbacks->drained(relay->ctx);
	if (g->client != client || g->lost)
		return;
	if (r < 0) {
		snprintf(problem, sizeof(problem), "the relay %.64s does not speak DERP: %s",
			 g->nodes[g->node].host, strerror(-r));
		connection_failed(g, problem);
		return;
	}
	flush_output(g);
	relay_wake(g->relay, derp_client_deadline(client));
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	take_bytes(user, bytes, length);
}

static void on_drained(void *user)
{
	struct relay_region *g = user;

	if (g->state != RELAY_CONNECTED || g->lost)
		return;
	flush_output(g);
	flush_queue(g, clock_boottime());
}

static void on_closed(void *user, const struct error *err)
{
	struct relay_region *g = user;
	char problem[RELAY_PROBLEM_MAX];
	nanoseconds now = clock_boottime();

	if (g->ready_at && now - g->ready_at >= RELAY_STABLE)
		g->quiet_until = now + RELAY_QUIET;
	snprintf(problem, sizeof(problem), "the relay %.64s closed the connection%s%.*s",
		 g->nodes[g->node].host, err ? ": " : "",
		 err ? (int)utf8_whole(err->text, strnlen(err->text, 48)) : 0,
		 err ? err->text : "");
	connection_failed(g, problem);
}

static const struct stream_events region_events = {
	.data = on_data,
	.drained = on_drained,
	.closed = on_closed,
};

static void on_upgraded(void *user, const struct http_response *response, const struct error *err)
{
	struct relay_attempt *attempt = user;
	struct relay_region *g = attempt->region;
	struct relay *r = g->relay;
	nanoseconds now = clock_boottime();

	attempt->exchange = NULL;
	if (err) {
		attempt_failed(g, err->text, now);
		region_tell(g);
		return;
	}
	cancel_attempts(g);
	g->node = attempt->node;
	g->client = derp_client_new(&r->node_key, r->app_name[0] ? r->app_name : NULL, now);
	if (!g->client) {
		stream_close(response->stream);
		note_problem(g, "out of memory");
		wait_to_retry(g, now);
		return;
	}
	g->stream = response->stream;
	stream_set_events(g->stream, &region_events, g);
	relay_wake(r, derp_client_deadline(g->client));
	/* The relay's key often arrives in the same segment as its answer. */
	take_bytes(g, response->body, response->body_length);
}

/* set_addresses() - The node's addresses that the dial uses */
static void set_addresses(const struct relay_region *g, const struct relay_node *node,
			  struct address addresses[static 2], struct dial_options *to)
{
	bool ask = (node->ipv4.family == ADDRESS_NONE && !node->ipv4_disabled) ||
		   (node->ipv6.family == ADDRESS_NONE && !node->ipv6_disabled);
	size_t count = 0;

	if (node->ipv4_disabled)
		to->only = ADDRESS_V6;
	else if (node->ipv6_disabled)
		to->only = ADDRESS_V4;
	if (node->ipv6.family != ADDRESS_NONE && !node->ipv6_disabled)
		addresses[count++] = node->ipv6;
	if (node->ipv4.family != ADDRESS_NONE && !node->ipv4_disabled)
		addresses[count++] = node->ipv4;
	/* The map may pin a family that we don't have: every second attempt uses both. */
	if (count > 0 && ask && g->failures % 2 == 1) {
		to->fallback = addresses;
		to->fallback_count = count;
		return;
	}
	to->addresses = count > 0 ? addresses : NULL;
	to->address_count = count;
}

static int start_node(struct relay_region *g, size_t index, struct error *err)
{
	const struct relay_node *node = &g->nodes[index];
	struct tls_options tls = {
		.host = node->host,
		.cert_name = node->cert_name[0] ? node->cert_name : NULL,
		.insecure = node->insecure,
	};
	struct http1_header ideal = {"Ideal-Node", g->nodes[0].name};
	struct http_request request = {
		.to = {.host = node->host,
		       .port = node->derp_port,
		       .tls = g->relay->plain_http ? NULL : &tls,
		       .timeout = RELAY_DIAL_TIMEOUT},
		.target = "/derp",
		.upgrade = "DERP",
	};
	struct address addresses[2];

	if (index > 0) {
		request.headers = &ideal;
		request.header_count = 1;
	}
	set_addresses(g, node, addresses, &request.to);
	return http_start(&g->relay->dialer, &request, on_upgraded, &g->attempts[index],
			  &g->attempts[index].exchange, err);
}

static void start_next_node(struct relay_region *g, nanoseconds now)
{
	g->stagger_at = 0;
	while (g->next_node < g->node_count) {
		size_t index = g->next_node++;
		struct error err = {0};

		if (g->nodes[index].stun_only)
			continue;
		g->node = index;
		if (start_node(g, index, &err) < 0) {
			note_problem(g, err.text);
			continue;
		}
		g->stagger_at = now + RELAY_NODE_BUDGET;
		relay_wake(g->relay, g->stagger_at);
		return;
	}
}

static void connect_now(struct relay_region *g, nanoseconds now)
{
	g->state = RELAY_CONNECTING;
	g->next_node = 0;
	start_next_node(g, now);
	if (!attempts_left(g))
		wait_to_retry(g, now);
}

void region_want(struct relay_region *g, nanoseconds now)
{
	if (g->state == RELAY_IDLE)
		connect_now(g, now);
}

int region_send(struct relay_region *g, const struct public_key *to, const struct iovec *packets,
		size_t count, nanoseconds now)
{
	int r = 0;

	g->last_wanted = now;
	for (size_t i = 0; i < count; i++) {
		const void *data = packets[i].iov_base;
		size_t length = packets[i].iov_len;

		if (length > DERP_PACKET_MAX)
			r = -EMSGSIZE;
		else if (region_is_ready(g) && STAILQ_EMPTY(&g->queue.packets) && can_write(g))
			put_packet(g, to, data, length, now);
		else if (packet_queue_add(&g->queue, to, data, length) < 0)
			r = -ENOMEM;
	}
	if (region_is_ready(g))
		flush_output(g);
	else
		region_want(g, now);
	return r;
}

/* Time */

void region_timeout(struct relay_region *g, nanoseconds now)
{
	if (g->client && !g->lost && derp_client_timeout(g->client, now) < 0) {
		note_problem(g, g->state == RELAY_CONNECTED ? "the relay has gone silent"
							    : "the relay's greeting did not come");
		g->lost = true;
	}
	if (g->client && !g->lost)
		flush_output(g); /* a keep-alive */
	if (g->probe_until && now >= g->probe_until) {
		note_problem(g, "the relay does not answer since the network changed");
		g->lost = true;
	}
	if (g->lost)
		wait_to_retry(g, now);
	if (g->state == RELAY_CONNECTING && g->stagger_at && now >= g->stagger_at)
		start_next_node(g, now);
	if (g->state == RELAY_WAITING && now >= g->retry_at) {
		g->state = RELAY_IDLE;
		g->retry_at = 0;
		if (is_wanted(g, now))
			connect_now(g, now);
		else
			packet_queue_clear(&g->queue);
	}
	if (g->state == RELAY_IDLE && g->id == g->relay->home && g->in_map)
		connect_now(g, now);
	if (g->state == RELAY_IDLE && !STAILQ_EMPTY(&g->queue.packets) && is_wanted(g, now))
		connect_now(g, now);
	if (g->state == RELAY_CONNECTED && !is_wanted(g, now))
		region_disconnect(g, false);
}

nanoseconds region_deadline(const struct relay_region *g)
{
	nanoseconds at = DEADLINE_NEVER;

	if (g->client)
		at = deadline_min(at, derp_client_deadline(g->client));
	if (g->probe_until)
		at = deadline_min(at, g->probe_until);
	if (g->state == RELAY_CONNECTING && g->stagger_at)
		at = deadline_min(at, g->stagger_at);
	if (g->state == RELAY_WAITING)
		at = deadline_min(at, g->retry_at);
	if (g->told_connected && !region_is_ready(g) && g->quiet_until)
		at = deadline_min(at, g->quiet_until);
	if (g->state == RELAY_CONNECTED && g->id != g->relay->home)
		at = deadline_min(at, g->last_wanted + RELAY_IDLE_CLOSE);
	return at;
}
