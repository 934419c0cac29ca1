/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_clients.c - streams under the relay's core */
#define LOG_ROOM "relay"
#include "server/relay/relay_clients.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "server/relay/derp_server_internal.h" /* the keyed hash */
#include "server/relay/relay_verify.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>

#define TURN_BYTES   ((size_t)64 * 1024) /* read from one client before the others' turn */
#define WRITE_BYTES  ((size_t)64 * 1024) /* handed to a stream at once */
#define OUTPUT_LIMIT (WRITE_BYTES + DERP_PACKET_MAX + ((size_t)64 * 1024))
#define SLEEP_TICK   (5 * NSEC_PER_MSEC) /* how exactly a rate is held */

/* Connections from one address, or one /64. */
struct source {
	struct address address;
	unsigned int count;
	UT_hash_handle hh;
};

struct client {
	struct relay_clients *clients;
	LIST_ENTRY(client) all;
	struct stream *stream;
	struct derp_connection *connection;
	struct endpoint from;
	struct source *source;
	struct relay_question *question;
	uint64_t turn; /* the one that `read` counts in */
	size_t read;
	bool blocked;
	bool asleep; /* paused until resume_at */
	nanoseconds resume_at;
	LIST_ENTRY(client) sleeping;
};

LIST_HEAD(client_list, client);

struct relay_clients {
	struct relay_clients_config config;
	struct client_list all, sleeping;
	struct source *sources;
	struct loop_timer *timer, *wake;
	uv_prepare_t prepare;
	uint64_t turn;
	struct buffer output; /* scratch: what goes to one stream */
	bool attending;
};

static struct address source_of(const struct address *a)
{
	struct prefix p = {.address = *a, .bits = a->family == ADDRESS_V6 ? 64 : address_bits(a)};

	return prefix_mask(&p).address;
}

static struct source *source_find(const struct relay_clients *clients, const struct address *a)
{
	struct source *source;

	HASH_FIND(hh, clients->sources, a, sizeof(*a), source);
	return source;
}

static struct source *source_join(struct relay_clients *clients, const struct address *from)
{
	struct address a = source_of(from);
	struct source *source = source_find(clients, &a);

	if (!source) {
		source = calloc(1, sizeof(*source));
		if (!source)
			return NULL;
		source->address = a;
		HASH_ADD(hh, clients->sources, address, sizeof(source->address), source);
		if (!source->hh.tbl) {
			free(source);
			return NULL;
		}
	}
	source->count++;
	return source;
}

static void source_leave(struct relay_clients *clients, struct source *source)
{
	if (--source->count > 0)
		return;
	HASH_DEL(clients->sources, source);
	free(source);
}

bool relay_clients_room(const struct relay_clients *clients, const struct address *from)
{
	struct address a = source_of(from);
	const struct source *source = source_find(clients, &a);

	return !source || source->count < clients->config.source_clients;
}

static void wake_up(struct client *c)
{
	if (c->asleep)
		LIST_REMOVE(c, sleeping);
	c->asleep = false;
}

static void client_free(struct client *c)
{
	struct relay_clients *clients = c->clients;

	wake_up(c);
	relay_question_cancel(c->question);
	derp_connection_free(c->connection);
	source_leave(clients, c->source);
	LIST_REMOVE(c, all);
	stream_close(c->stream); /* unsent output is lost */
	free(c);
}

/* client_sleep() - Read from it no more until @at; 0: the next turn */
static void client_sleep(struct client *c, nanoseconds at)
{
	struct relay_clients *clients = c->clients;

	stream_pause(c->stream);
	c->resume_at = at;
	if (c->asleep)
		return;
	if (LIST_EMPTY(&clients->sleeping) || at == 0)
		loop_timer_soon(clients->wake);
	c->asleep = true;
	LIST_INSERT_HEAD(&clients->sleeping, c, sleeping);
}

static void on_wake(void *user)
{
	struct relay_clients *clients = user;
	nanoseconds now = clock_boottime();
	struct client_list rest = clients->sleeping;
	struct client *c;

	/* A client that falls asleep again during this walk is put into the new list. */
	LIST_INIT(&clients->sleeping);
	if (!LIST_EMPTY(&rest))
		LIST_FIRST(&rest)->sleeping.le_prev = &LIST_FIRST(&rest);
	while ((c = LIST_FIRST(&rest))) {
		nanoseconds at = c->resume_at;

		wake_up(c);
		if (at > now)
			client_sleep(c, at);
		else if (!c->question)
			stream_resume(c->stream); /* may free it */
	}
	if (!LIST_EMPTY(&clients->sleeping))
		loop_timer_at(clients->wake, now + SLEEP_TICK);
	LIST_FOREACH(c, &clients->sleeping, sleeping)
		if (c->resume_at <= now)
			loop_timer_soon(clients->wake);
}

static void schedule(struct relay_clients *clients)
{
	loop_timer_at(clients->timer, derp_server_deadline(clients->config.server));
}

static void on_deadline(void *user)
{
	struct relay_clients *clients = user;

	derp_server_timeout(clients->config.server, clock_boottime());
	relay_clients_attend(clients);
	schedule(clients);
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct relay_clients *clients = prepare->data;

	clients->turn++;
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
			      verdict == RELAY_VERDICT_ALLOW || (verdict == RELAY_VERDICT_NONE &&
								 clients->config.verify_fail_open),
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
	const struct relay_clients_config *config = &c->clients->config;
	const struct public_key *node = derp_connection_key(c->connection);
	nanoseconds now = clock_boottime();
	int r;

	if (config->verify && !config->verify(config->user, node, &c->from.address)) {
		derp_connection_admit(c->connection, false, now);
		return;
	}
	if (!config->verifier) {
		derp_connection_admit(c->connection, true, now);
		return;
	}
	r = relay_verifier_ask(config->verifier, node, &c->from.address, on_verdict, c,
			       &c->question);
	if (r < 0)
		derp_connection_admit(c->connection, config->verify_fail_open, now);
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
	while ((connection = derp_server_attention(clients->config.server, &wants)) != NULL) {
		struct client *c = derp_connection_owner(connection);
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

	if (c->turn != clients->turn) {
		c->turn = clients->turn;
		c->read = 0;
	}
	c->read += length;
	r = derp_connection_receive(c->connection, bytes, length, now);
	if (r < 0) {
		char text[ENDPOINT_TEXT_MAX];

		log_debug("cut a client: from=%s: %s", endpoint_format(&c->from, text),
			  strerror(-r));
		client_free(c);
	} else {
		after = derp_connection_read_after(c->connection);
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
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		goto no_memory;
	c->source = source_join(clients, &from->address);
	if (!c->source)
		goto no_source;
	c->connection = derp_server_accept(clients->config.server, c, clock_boottime());
	if (!c->connection)
		goto no_connection;
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
no_connection:
	source_leave(clients, c->source);
no_source:
	free(c);
no_memory:
	stream_close(stream);
}

int relay_clients_new(const struct relay_clients_config *config, struct relay_clients **ret)
{
	struct relay_clients *clients = calloc(1, sizeof(*clients));

	if (!clients)
		return -ENOMEM;
	clients->config = *config;
	clients->output = BUFFER_INIT(OUTPUT_LIMIT);
	if (loop_timer_create(config->loop, on_deadline, clients, &clients->timer) < 0 ||
	    loop_timer_create(config->loop, on_wake, clients, &clients->wake) < 0) {
		loop_timer_free(clients->timer);
		free(clients);
		return -ENOMEM;
	}
	uv_prepare_init(config->loop, &clients->prepare); /* can't fail */
	clients->prepare.data = clients;
	uv_prepare_start(&clients->prepare, on_prepare);
	*ret = clients;
	return 0;
}

static void prepare_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void relay_clients_free(struct relay_clients *clients)
{
	if (!clients)
		return;
	while (!LIST_EMPTY(&clients->all))
		client_free(LIST_FIRST(&clients->all));
	loop_timer_free(clients->timer);
	loop_timer_free(clients->wake);
	buffer_free(&clients->output);
	uv_close((uv_handle_t *)&clients->prepare, prepare_closed);
}
