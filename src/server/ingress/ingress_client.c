/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/ingress/ingress_client.c - one connection from the internet, until its node has accepted it
 *
 * DOC: Theory of operation
 *
 *	[PROXY head] → ClientHello or request → name → node → call → conduit
 *
 * Until its node has accepted, a client is on the list of those that wait, and what it sent is held, which
 * is bounded for each and for all. A client that sends no whole ClientHello in time is closed, and
 * the one that waits longest is closed for another one, also while its node is asked: a node that
 * never answers must not use up what all clients may hold. A name may be new: before it is refused,
 * the LocalAPI is asked once more, and where its node announces no PeerAPI yet, for NAME_WAIT. A client that is refused gets a TLS alert
 * (or an answer of HTTP), and has LINGER to read it: closing at once could overtake it by a reset.
 */
#define LOG_ROOM "ingress"
#include "base/log.h"

#include "base/cleanup.h"
#include "base/quota.h"
#include "server/ingress/ingress_internal.h"
#include "wire/proxy_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE  4096u
#define HEAD_MAX   CLIENT_HELLO_MAX /* of TLS or of HTTP, with what came behind it */
#define HELD_MAX   (HEAD_MAX + PROXY_PROTOCOL_MAX + READ_SIZE)
#define LINGER     NSEC_PER_SEC
#define NAME_WAIT  (2 * NSEC_PER_SEC) /* for a name that may be new */
#define LINES      30u /* of the log, about nodes that can't be reached, at once and … */
#define LINE_EVERY (10 * NSEC_PER_SEC)

enum stage {
	STAGE_PROXY, /* waits for the head of the PROXY protocol */
	STAGE_HEAD,  /* waits for the ClientHello, or the request */
	STAGE_NAME,  /* the name is unknown, and the LocalAPI is asked once more */
	STAGE_CALL,  /* the node is asked */
	STAGE_FLOW,
	STAGE_LINGER, /* refused */
};

struct ingress_client {
	struct ingress *ingress;
	LIST_ENTRY(ingress_client) entry;
	TAILQ_ENTRY(ingress_client) next_waiting;
	bool waiting;
	enum stage stage;
	bool plain;
	bool counted; /* in @slot */
	unsigned int slot;
	uint16_t port;
	struct endpoint from;
	int fd; /* -1: the conduit has it */
	uv_poll_t poll;
	struct loop_timer *timer;
	struct client_hello hello;
	size_t fed; /* bytes of @held that the hello has seen */
	struct buffer held;
	size_t charged; /* of @held, in waiting_bytes */
	char name[INGRESS_NAME_MAX];
	nanoseconds named_at; /* when it was looked up first */
	struct ingress_call *call;
	struct conduit *conduit;
};

static const char *const refusals[INGRESS_REFUSALS] = {
	[INGRESS_UNREACHABLE] = "can't be reached",
	[INGRESS_DENIED] = "refused",
};

/* --- Life --- */

static void on_closed(uv_handle_t *handle)
{
	struct ingress_client *client = handle->data;

	cleanup_close_at(&client->fd);
	buffer_free(&client->held);
	free(client);
}

static void charge(struct ingress_client *client)
{
	client->ingress->waiting_bytes += client->held.capacity - client->charged;
	client->charged = client->held.capacity;
}

static void stop_waiting(struct ingress_client *client)
{
	if (!client->waiting)
		return;
	client->waiting = false;
	TAILQ_REMOVE(&client->ingress->waiting, client, next_waiting);
	client->ingress->waiting_count--;
}

static void release_held(struct ingress_client *client)
{
	buffer_free(&client->held);
	charge(client);
}

void ingress_client_close(struct ingress_client *client)
{
	struct ingress *ingress = client->ingress;

	stop_waiting(client);
	release_held(client);
	LIST_REMOVE(client, entry);
	ingress->client_count--;
	if (client->counted)
		ingress_uncount_source(ingress, client->slot);
	ingress_call_cancel(client->call);
	conduit_close(client->conduit);
	loop_timer_free(client->timer);
	uv_poll_stop(&client->poll);
	uv_close((uv_handle_t *)&client->poll, on_closed);
	ingress_is_empty(ingress);
}

static void close_because(struct ingress_client *client, enum ingress_refusal why)
{
	client->ingress->statistics.refused[why]++;
	ingress_client_close(client);
}

bool ingress_client_shed(struct ingress *ingress)
{
	struct ingress_client *oldest = TAILQ_FIRST(&ingress->waiting);

	if (oldest)
		close_because(oldest, INGRESS_SLOW);
	return oldest != NULL;
}

/* --- Refusals --- */

static void on_readable(uv_poll_t *poll, int status, int events);

/* answer_last() - Send @bytes, and close when the client has read them */
static void answer_last(struct ingress_client *client, const void *bytes, size_t length)
{
	stop_waiting(client);
	release_held(client);
	client->stage = STAGE_LINGER;
	/* What a client that does not read can't take is lost. */
	(void)send(client->fd, bytes, length, MSG_NOSIGNAL);
	(void)shutdown(client->fd, SHUT_WR);
	loop_timer_at(client->timer, clock_boottime() + LINGER);
	uv_poll_start(&client->poll, UV_READABLE, on_readable);
}

static void refuse(struct ingress_client *client, enum ingress_refusal why, enum tls_alert alert)
{
	uint8_t bytes[TLS_ALERT_SIZE];
	const char *text = client->plain ? ingress_http_refusal(why) : NULL;

	client->ingress->statistics.refused[why]++;
	tls_alert_write(alert, bytes);
	if (text)
		answer_last(client, text, strlen(text));
	else
		answer_last(client, bytes, sizeof(bytes));
}

/* log_node() - A node that did not take a connection: within a limit, since anybody may ask */
static void log_node(const char *name, const struct ingress_target *target,
		     enum ingress_refusal why, const char *text)
{
	static struct quota lines = {.burst = LINES, .interval = LINE_EVERY};

	if (quota_take(&lines, clock_boottime()))
		log_warn("the node of %s %s: node=%s%s: %s", name, refusals[why], target->node,
			 target->online ? "" : " (offline, says the control server)", text);
}

/* --- The node --- */

static void on_flow_ended(void *user)
{
	struct ingress_client *client = user;

	client->conduit = NULL;
	ingress_client_close(client);
}

static void on_called(void *user, int node, const uint8_t *early, size_t early_length,
		      enum ingress_refusal why, const char *text)
{
	struct ingress_client *client = user;
	struct ingress *ingress = client->ingress;
	const struct ingress_target *target = ingress_names_find(ingress->names, client->name);
	struct conduit_end ends[] = {
		{.early = early,
		 .early_length = early_length,
		 .counter = &ingress->statistics.bytes_out},
		{.fd = node, .counter = &ingress->statistics.bytes_in},
	};

	client->call = NULL;
	if (node < 0) {
		if (target)
			log_node(client->name, target, why, text);
		refuse(client, why,
		       why == INGRESS_DENIED ? TLS_ALERT_UNRECOGNIZED_NAME
					     : TLS_ALERT_INTERNAL_ERROR);
		return;
	}
	ingress->statistics.connected++;
	client->stage = STAGE_FLOW;
	loop_timer_at(client->timer, DEADLINE_NEVER);
	ends[0].fd = TAKE_FD(client->fd);
	ends[1].early = buffer_head(&client->held);
	ends[1].early_length = client->held.length;
	client->conduit = conduit_open(ingress->loop, &ingress->pool, ends, on_flow_ended, client);
	stop_waiting(client);
	release_held(client);
	if (!client->conduit)
		ingress_client_close(client);
}

/* is_ready() - A node that starts has its name before it announces its PeerAPI */
static bool is_ready(const struct ingress_target *target)
{
	return target && target->address_count > 0;
}

/* call_node() - The name is known */
static void call_node(struct ingress_client *client)
{
	struct ingress *ingress = client->ingress;
	const struct ingress_target *target = ingress_names_find(ingress->names, client->name);

	if (!is_ready(target) && ingress_names_fresh(ingress->names) &&
	    client->stage == STAGE_HEAD) {
		client->stage = STAGE_NAME;
		client->named_at = clock_boottime();
		loop_timer_at(client->timer, client->named_at + NAME_WAIT);
		uv_poll_stop(&client->poll);
		ingress_names_hurry(ingress->names);
		return;
	}
	if (!target) {
		refuse(client, INGRESS_UNKNOWN, TLS_ALERT_UNRECOGNIZED_NAME);
		return;
	}
	client->stage = STAGE_CALL;
	loop_timer_at(client->timer, DEADLINE_NEVER); /* the call has its own */
	client->call = ingress_call_begin(ingress->loop, target, &client->from, client->name,
					  client->port, on_called, client);
	if (!client->call)
		ingress_client_close(client);
	else
		uv_poll_stop(&client->poll); /* back-pressure until the node has accepted */
}

void ingress_client_names_known(struct ingress *ingress, nanoseconds asked_at)
{
	const struct ingress_target *target;
	bool more = false;
	struct ingress_client *next;

	for (struct ingress_client *client = TAILQ_FIRST(&ingress->waiting); client;
	     client = next) {
		next = TAILQ_NEXT(client, next_waiting);
		if (client->stage != STAGE_NAME)
			continue;
		target = ingress_names_find(ingress->names, client->name);
		/* After a fresh answer: a name without a node is unknown, a node without a PeerAPI has NAME_WAIT. */
		if (is_ready(target) || (!target && client->named_at <= asked_at))
			call_node(client);
		else
			more = true;
	}
	if (more)
		ingress_names_hurry(ingress->names);
}

/* --- The head --- */

static void look_at_hello(struct ingress_client *client)
{
	int r = client_hello_feed(&client->hello, buffer_head(&client->held) + client->fed,
				  client->held.length - client->fed);

	client->fed = client->held.length;
	if (r == 0)
		return;
	if (r == 1)
		r = client_hello_name(buffer_head(&client->held), client->hello.seen, client->name);
	if (r == 0)
		call_node(client);
	else if (r == -ENOENT)
		refuse(client, INGRESS_NO_NAME, TLS_ALERT_UNRECOGNIZED_NAME);
	else
		refuse(client, INGRESS_MALFORMED, TLS_ALERT_DECODE_ERROR);
}

static void look_at_request(struct ingress_client *client)
{
	_cleanup_(buffer_free) struct buffer answer = BUFFER_INIT(HEAD_MAX);
	int r = ingress_http_look(buffer_head(&client->held), client->held.length,
				  !client->ingress->config.no_redirect, client->name, &answer);

	if (r == INGRESS_HTTP_PASS) {
		call_node(client);
	} else if (r == INGRESS_HTTP_ANSWER) {
		client->ingress->statistics.redirected++;
		answer_last(client, buffer_head(&answer), answer.length);
	} else if (r < 0 || client->held.length > HEAD_MAX) {
		refuse(client, INGRESS_MALFORMED, TLS_ALERT_DECODE_ERROR);
	}
}

/* look_at_proxy() - The head of the PROXY protocol; whether the next stage may look */
static bool look_at_proxy(struct ingress_client *client)
{
	size_t used = 0;
	int r = proxy_protocol_parse(buffer_head(&client->held), client->held.length, &client->from,
				     &used);

	if (r == 0)
		return false;
	/* A load balancer's own check (LOCAL) is counted as the load balancer. */
	if (r > 0 && !ingress_count_source(client->ingress, &client->from.address, &client->slot)) {
		close_because(client, INGRESS_SOURCE);
		return false;
	}
	if (r < 0) {
		close_because(client, INGRESS_PROXY);
		return false;
	}
	client->counted = true;
	buffer_consume(&client->held, used);
	client->stage = STAGE_HEAD;
	return client->held.length > 0;
}

/* look() - At all that was received so far. The client may be gone afterwards */
static void look(struct ingress_client *client)
{
	if (client->stage == STAGE_PROXY && !look_at_proxy(client))
		return;
	if (client->plain)
		look_at_request(client);
	else
		look_at_hello(client);
}

/* read_more() - Of a client whose node is not known */
static void read_more(struct ingress_client *client)
{
	struct ingress *ingress = client->ingress;
	uint8_t bytes[READ_SIZE];
	ssize_t n = recv(client->fd, bytes, sizeof(bytes), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_because(client, INGRESS_GONE);
		return;
	}
	if (buffer_append(&client->held, bytes, (size_t)n) < 0) {
		close_because(client, INGRESS_MALFORMED);
		return;
	}
	charge(client);
	while (ingress->waiting_bytes > INGRESS_WAITING_BYTES) {
		bool self = TAILQ_FIRST(&ingress->waiting) == client;

		if (!ingress_client_shed(ingress)) {
			close_because(client, INGRESS_FULL);
			return;
		}
		if (self)
			return;
	}
	look(client);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct ingress_client *client = poll->data;
	uint8_t waste[READ_SIZE];
	ssize_t n;

	(void)events;
	if (status < 0) {
		ingress_client_close(client);
	} else if (client->stage == STAGE_LINGER) {
		n = recv(client->fd, waste, sizeof(waste), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			ingress_client_close(client);
	} else {
		read_more(client);
	}
}

static void on_timer(void *user)
{
	struct ingress_client *client = user;

	if (client->stage == STAGE_LINGER)
		ingress_client_close(client);
	else if (client->stage == STAGE_NAME)
		call_node(client);
	else
		close_because(client, INGRESS_SLOW);
}

void ingress_client_open(struct ingress *ingress, int fd, const struct endpoint *from,
			 uint16_t port, bool plain)
{
	struct ingress_client *client = calloc(1, sizeof(*client));

	if (!client || loop_timer_create(ingress->loop, on_timer, client, &client->timer) < 0)
		goto failed;
	client->ingress = ingress;
	client->fd = fd;
	client->from = *from;
	client->port = port;
	client->plain = plain;
	client->held = BUFFER_INIT(HELD_MAX);
	client->stage = ingress_is_proxy(ingress, &from->address) ? STAGE_PROXY : STAGE_HEAD;
	if (client->stage == STAGE_HEAD) {
		client->counted = ingress_count_source(ingress, &from->address, &client->slot);
		if (!client->counted) {
			ingress->statistics.refused[INGRESS_SOURCE]++;
			goto failed;
		}
	}
	if (uv_poll_init(ingress->loop, &client->poll, fd) < 0)
		goto uncount;
	client->poll.data = client;
	LIST_INSERT_HEAD(&ingress->clients, client, entry);
	ingress->client_count++;
	TAILQ_INSERT_TAIL(&ingress->waiting, client, next_waiting);
	client->waiting = true;
	if (++ingress->waiting_count > INGRESS_WAITING)
		(void)ingress_client_shed(ingress);
	loop_timer_at(client->timer, clock_boottime() + INGRESS_HELLO_PATIENCE);
	uv_poll_start(&client->poll, UV_READABLE, on_readable);
	return;
uncount:
	if (client->counted)
		ingress_uncount_source(ingress, client->slot);
failed:
	if (client)
		loop_timer_free(client->timer);
	free(client);
	close(fd);
}
