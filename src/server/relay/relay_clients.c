/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_clients.c - streams under the relay's core */
#define LOG_ROOM "relay"
#include "server/relay/relay_clients.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/prefixes.h"
#include "server/relay/relay_verify.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>

#define TURN_BYTES   ((size_t)64 * 1024) /* read from one client before the others' turn */
#define WRITE_BYTES  ((size_t)64 * 1024) /* handed to a stream at once */
#define OUTPUT_LIMIT (WRITE_BYTES + DERP_PACKET_MAX + ((size_t)64 * 1024))

struct client {
	struct relay_clients *clients;
	LIST_ENTRY(client) all;
	struct stream *stream;
	struct derp_connection *connection;
	struct endpoint from;
	struct relay_question *question;
	struct loop_timer *wake; /* ends a pause */
	size_t read;             /* since the last pause */
	bool blocked;
	bool asleep;
};

struct relay_clients {
	struct derp_server *server;
	struct relay_verifier *verifier;
	bool (*verify)(void *user, const struct public_key *node, const struct address *source);
	void *user;
	bool verify_fail_open;
	unsigned int source_clients;
	uv_loop_t *loop;
	LIST_HEAD(, client) all;
	struct prefix_table sources; /* connections from one address, or one /64 */
	struct loop_timer *timer;
	struct buffer output; /* scratch: what goes to one stream */
	bool attending;
};

static struct prefix source_of(const struct address *a)
{
	struct prefix p = prefix_of(a);

	if (a->family == ADDRESS_V6)
		p.bits = 64;
	else
		p.address.family = ADDRESS_V4; /* a local socket has no address: 0.0.0.0/0 */
	return prefix_mask(&p);
}

bool relay_clients_room(const struct relay_clients *clients, const struct address *from)
{
	const struct prefix source = source_of(from);
	const struct prefix_entry *entry = prefix_table_find(&clients->sources, &source);

	return !entry || entry->value < clients->source_clients;
}

static void source_leave(struct relay_clients *clients, const struct address *from)
{
	const struct prefix source = source_of(from);
	struct prefix_entry *entry = prefix_table_find(&clients->sources, &source);

	if (--entry->value == 0)
		prefix_table_remove(&clients->sources, entry);
}

static void client_free(struct client *c)
{
	struct relay_clients *clients = c->clients;

	loop_timer_free(c->wake);
	relay_question_cancel(c->question);
	derp_connection_free(c->connection);
	source_leave(clients, &c->from.address);
	LIST_REMOVE(c, all);
	stream_close(c->stream); /* unsent output is lost */
	free(c);
}

/* client_sleep() - Read from it no more until @at; 0: the next turn of the loop */
static void client_sleep(struct client *c, nanoseconds at)
{
	stream_pause(c->stream);
	c->asleep = true;
	c->read = 0;
	if (at)
		loop_timer_at(c->wake, at);
	else
		loop_timer_soon(c->wake);
}

static void on_wake(void *user)
{
	struct client *c = user;

	c->asleep = false;
	if (!c->question)
		stream_resume(c->stream); /* may free it */
}

static void schedule(struct relay_clients *clients)
{
	loop_timer_at(clients->timer, deadlines_first(&clients->server->deadlines));
}

static void on_deadline(void *user)
{
	struct relay_clients *clients = user;

	derp_server_timeout(clients->server, clock_boottime());
	relay_clients_attend(clients);
	schedule(clients);
}

/* client_write() - Hand over queued frames while the stream takes them; false: it failed */
static bool client_write(struct client *c)
{
	struct buffer *out = &c->clients->output;
	bool more = !c->blocked;

	while (more) {
		int r;

		more = derp_connection_output(c->connection, out, WRITE_BYTES);
		if (out->length == 0)
			return !more;
		r = stream_write(c->stream, buffer_head(out), out->length);
		buffer_consume(out, out->length);
		if (r < 0)
			return false;
		if (stream_pending(c->stream) == 0)
			continue;
		c->blocked = true;
		derp_connection_blocked(c->connection, clock_boottime());
		schedule(c->clients);
		break;
	}
	return true;
}

static void on_verdict(void *user, enum relay_verdict verdict)
{
	struct client *c = user;
	struct relay_clients *clients = c->clients;
	struct stream *stream = c->stream;

	c->question = NULL;
	derp_connection_admit(c->connection,
			      verdict == RELAY_VERDICT_ALLOW ||
				      (verdict == RELAY_VERDICT_NONE && clients->verify_fail_open),
			      clock_boottime());
	stream_hold(stream);
	relay_clients_attend(clients);
	if (!stream->closed && !c->asleep)
		stream_resume(stream);
	stream_release(stream);
}

/* verify() - Decide about a client, now or later */
static void verify(struct client *c)
{
	const struct relay_clients *clients = c->clients;
	const struct public_key *node = &c->connection->key;
	nanoseconds now = clock_boottime();
	int r;

	if (clients->verify && !clients->verify(clients->user, node, &c->from.address)) {
		derp_connection_admit(c->connection, false, now);
		return;
	}
	if (!clients->verifier) {
		derp_connection_admit(c->connection, true, now);
		return;
	}
	r = relay_verifier_ask(clients->verifier, node, &c->from.address, on_verdict, c,
			       &c->question);
	if (r < 0)
		derp_connection_admit(c->connection, clients->verify_fail_open, now);
	else
		stream_pause(c->stream); /* until the verdict */
}

void relay_clients_attend(struct relay_clients *clients)
{
	struct derp_connection *connection;
	unsigned int wants;

	if (clients->attending)
		return;
	clients->attending = true;
	while ((connection = derp_server_attention(clients->server, &wants)) != NULL) {
		struct client *c = connection->owner;
		bool good = true;

		if (wants & DERP_WANTS_VERIFY)
			verify(c);
		good = client_write(c);
		if (!good || (wants & DERP_WANTS_CLOSE))
			client_free(c);
	}
	clients->attending = false;
}

/* on_data() - Bytes of a client; it may be gone when this returns */
static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct client *c = user;
	struct relay_clients *clients = c->clients;
	nanoseconds now = clock_boottime(), after;
	int r;

	c->read += length;
	r = derp_connection_receive(c->connection, bytes, length, now);
	if (r < 0) {
		char text[ENDPOINT_TEXT_MAX];

		log_debug("cut a client: from=%s: %s", endpoint_format(&c->from, text),
			  strerror(-r));
		client_free(c);
	} else {
		after = c->connection->read_after;
		if (after > now)
			client_sleep(c, after);
		else if (c->read >= TURN_BYTES)
			client_sleep(c, 0);
	}
	relay_clients_attend(clients);
}

static void on_drained(void *user)
{
	struct client *c = user;
	struct relay_clients *clients = c->clients;

	c->blocked = false;
	derp_connection_unblocked(c->connection);
	if (!client_write(c))
		client_free(c);
	relay_clients_attend(clients);
}

static void on_closed(void *user, const struct error *err)
{
	struct client *c = user;
	struct relay_clients *clients = c->clients;

	(void)err;
	client_free(c);
	relay_clients_attend(clients);
}

static const struct stream_events events = {
	.data = on_data,
	.drained = on_drained,
	.closed = on_closed,
};

void relay_clients_add(struct relay_clients *clients, struct stream *stream, const void *head,
		       size_t length, const struct endpoint *from)
{
	const struct prefix source = source_of(&from->address);
	struct client *c = calloc(1, sizeof(*c));
	struct prefix_entry *entry = NULL;

	if (c && loop_timer_create(clients->loop, on_wake, c, &c->wake) == 0)
		entry = prefix_table_add(&clients->sources, &source);
	if (!entry)
		goto no_memory;
	entry->value++;
	c->connection = derp_server_accept(clients->server, c, clock_boottime());
	if (!c->connection) {
		source_leave(clients, &from->address);
		goto no_memory;
	}
	c->clients = clients;
	c->stream = stream;
	c->from = *from;
	LIST_INSERT_HEAD(&clients->all, c, all);
	schedule(clients);
	stream_set_events(stream, &events, c);
	stream_hold(stream);
	if (length > 0)
		on_data(c, head, length);
	else
		relay_clients_attend(clients);
	if (!stream->closed && !c->question && !c->asleep)
		stream_resume(stream);
	stream_release(stream);
	return;

no_memory:
	if (c)
		loop_timer_free(c->wake);
	free(c);
	stream_close(stream);
}

int relay_clients_new(uv_loop_t *loop, struct derp_server *server, struct relay_verifier *verifier,
		      const struct relay_server_config *config, struct relay_clients **ret)
{
	struct relay_clients *clients = calloc(1, sizeof(*clients));

	if (!clients)
		return -ENOMEM;
	clients->server = server;
	clients->verifier = verifier;
	clients->verify = config->verify;
	clients->user = config->user;
	clients->verify_fail_open = config->verify_fail_open;
	clients->source_clients =
		config->source_clients ? config->source_clients : LIMIT_RELAY_SOURCE;
	clients->output = BUFFER_INIT(OUTPUT_LIMIT);
	clients->loop = loop;
	if (loop_timer_create(loop, on_deadline, clients, &clients->timer) < 0) {
		free(clients);
		return -ENOMEM;
	}
	*ret = clients;
	return 0;
}

void relay_clients_free(struct relay_clients *clients)
{
	if (!clients)
		return;
	while (!LIST_EMPTY(&clients->all))
		client_free(LIST_FIRST(&clients->all));
	loop_timer_free(clients->timer);
	prefix_table_free(&clients->sources);
	buffer_free(&clients->output);
	free(clients);
}
