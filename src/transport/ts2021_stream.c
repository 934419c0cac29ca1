/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/ts2021_stream.c - TS2021 over a stream, and the way there
 *
 * Theory of operation
 *   The stream is a layer (stream_layer.h) whose messages are TS2021's records.
 *
 *   ts2021_connect() races up to three ways (the URL's own scheme and port, plain 80, TLS 443),
 *   each an attempt: upgrade -> Noise stream -> opened. One timer serves the race and the deadline.
 */
#include "transport/ts2021_stream.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/http_client.h"
#include "transport/loop_timer.h"
#include "transport/race.h"
#include "transport/stream_layer.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define WAYS_MAX  3
#define WAY_DELAY (500 * NSEC_PER_MSEC)

/* Each way times out by itself, with a better reason; this is for a hanging handshake. */
#define WAYS_GRACE (5 * DIAL_GRACE)

struct ts2021 {
	struct stream_layer layer;
	struct ts2021_client client; /* until OPEN */
	struct ts2021_session session;
	struct ts2021_early early_payload;
	bool strip; /* the early payload */
};

static struct ts2021 *ts2021_of(const struct stream_layer *layer)
{
	return container_of(layer, struct ts2021, layer);
}

static int seal(struct stream_layer *layer, const void *bytes, size_t length)
{
	struct buffer records = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	struct ts2021 *t = ts2021_of(layer);
	int r = ts2021_seal(&t->session, bytes, length, &records);

	if (r == 0)
		r = stream_write(layer->below, buffer_head(&records), records.length);
	if (r < 0) /* sealed records that were not sent leave a gap in the counter */
		ts2021_session_wipe(&t->session);
	buffer_free(&records);
	return r;
}

static int step_handshake(struct ts2021 *t, struct error *err)
{
	struct cursor *input = &t->layer.input;
	size_t used;
	int r = ts2021_client_finish(&t->client, input->at, input->left, &used, &t->session, err);

	if (r < 0)
		return r;
	cursor_take(input, used);
	r = stream_layer_opened(&t->layer);
	return r < 0 ? error_set_errno(err, r, "write to the control server") : 0;
}

static int step_record(struct ts2021 *t, struct error *err)
{
	struct cursor *input = &t->layer.input;
	uint8_t plain[TS2021_PLAINTEXT_MAX];
	size_t used, length, head_length = 0;
	const uint8_t *head = NULL;
	int skip = 0, r;

	r = ts2021_open_record(&t->session, input->at, input->left, &used, plain, &length);
	if (r == -EAGAIN)
		return r;
	if (r < 0)
		return error_set(err, r, "the control connection is broken: %s",
				 r == -EOVERFLOW ? "its counter is used up"
						 : "a record that isn't authentic");
	cursor_take(input, used);
	if (t->strip)
		skip = ts2021_early_strip(&t->early_payload, plain, length, &head, &head_length);
	if (skip < 0)
		return error_set(err, skip, "the control server's early payload is too long");
	stream_emit_data(&t->layer.stream, head, head_length);
	stream_emit_data(&t->layer.stream, plain + skip, length - (size_t)skip);
	return 0;
}

static int step(struct stream_layer *layer, struct error *err)
{
	struct ts2021 *t = ts2021_of(layer);

	return layer->open ? step_record(t, err) : step_handshake(t, err);
}

static void cut(struct stream_layer *layer, struct error *err)
{
	if (!layer->open)
		error_set(err, -ECONNABORTED, "the control server closed during the handshake");
	else if (layer->rest.length)
		error_set(err, -ECONNABORTED, "the control connection ended inside a record");
}

static const struct stream_layer_operations layer_operations = {
	.step = step,
	.seal = seal,
	.cut = cut,
};

static struct ts2021 *ts2021_of_stream(const struct stream *s)
{
	return container_of(s, struct ts2021, layer.stream);
}

static int ts2021_write(struct stream *s, const void *bytes, size_t length)
{
	size_t records = length / TS2021_PLAINTEXT_MAX + 1;

	/* Room for the records and what TLS below makes of them: a seal can't be taken back. */
	return stream_layer_write(&ts2021_of_stream(s)->layer, bytes, length,
				  length + length / 64 + records * 64 + 4096);
}

static void ts2021_free(struct stream *s)
{
	struct ts2021 *t = ts2021_of_stream(s);

	ts2021_client_wipe(&t->client);
	ts2021_session_wipe(&t->session);
	stream_layer_free(&t->layer);
	free(t);
}

static const struct stream_operations ts2021_operations = {
	.write = ts2021_write,
	.pending = stream_layer_pending,
	.pause = stream_layer_pause,
	.resume = stream_layer_resume,
	.close = stream_layer_close,
	.release = ts2021_free,
};

static int create(struct stream *below, const uint8_t *head, size_t head_length,
		  struct ts2021 **ret, struct error *err)
{
	struct ts2021 *t = calloc(1, sizeof(*t));

	if (!t) {
		stream_close(below);
		return error_set(err, -ENOMEM, "out of memory");
	}
	stream_layer_init(&t->layer, &ts2021_operations, &layer_operations, below);
	t->layer.paused = true;
	if (buffer_append(&t->layer.rest, head, head_length) < 0) {
		stream_close(&t->layer.stream);
		return error_set(err, -ENOMEM, "out of memory");
	}
	stream_pause(below);
	stream_layer_start(&t->layer);
	*ret = t;
	return 0;
}

int ts2021_client_stream(struct ts2021_client *client, struct stream *below, const uint8_t *head,
			 size_t head_length, struct stream **ret, struct error *err)
{
	struct ts2021 *t = NULL;
	int r = create(below, head, head_length, &t, err);

	if (r == 0) {
		t->client = *client;
		t->strip = true;
		*ret = &t->layer.stream;
	}
	ts2021_client_wipe(client);
	return r;
}

int ts2021_session_stream(struct ts2021_session *session, struct stream *below, const uint8_t *head,
			  size_t head_length, struct stream **ret, struct error *err)
{
	struct ts2021 *t = NULL;
	int r = create(below, head, head_length, &t, err);

	if (r == 0) {
		t->session = *session;
		t->layer.open = true;
		*ret = &t->layer.stream;
	}
	ts2021_session_wipe(session);
	return r;
}

/* The way there */

struct way {
	struct ts2021_connect *connect;
	bool tls;
	uint16_t port;
	struct ts2021_client client;
	struct http_exchange *exchange;
	struct stream *stream;
	struct endpoint to;
};

struct ts2021_connect {
	struct dialer dialer;
	struct url base;
	struct secret_key machine;
	struct public_key server;
	uint16_t version;
	struct address addresses[NAMES_ADDRESSES_MAX], fallback[NAMES_ADDRESSES_MAX];
	size_t address_count, fallback_count;
	nanoseconds deadline;
	struct loop_timer *timer;
	struct way ways[WAYS_MAX];
	unsigned int way_count;
	struct race race;
	struct error best; /* the failure to report */
	ts2021_connected *done;
	void *user;
};

static void connect_free(struct ts2021_connect *c)
{
	for (unsigned int i = 0; i < WAYS_MAX; i++) {
		http_cancel(c->ways[i].exchange);
		stream_close(c->ways[i].stream);
		ts2021_client_wipe(&c->ways[i].client);
	}
	loop_timer_free(c->timer);
	tls_context_release(c->dialer.tls);
	secret_key_wipe(&c->machine);
	explicit_bzero(&c->base, sizeof(c->base));
	free(c);
}

/* end() - Report the outcome; @c is gone afterwards. @winner NULL: c->best is the reason */
static void end(struct ts2021_connect *c, struct way *winner)
{
	struct stream *stream = winner ? TAKE_PTR(winner->stream) : NULL;
	struct endpoint to = winner ? winner->to : (struct endpoint){0};
	ts2021_connected *done = c->done;
	struct error err = c->best;
	void *user = c->user;

	if (stream)
		stream_set_events(stream, NULL, NULL);
	connect_free(c);
	done(user, stream, stream ? &to : NULL, stream ? NULL : &err);
}

static void run_race(struct ts2021_connect *c);

/* way_failed() - Report a wrong key rather than a refused connection, else the URL's own way */
static void way_failed(struct way *w, const struct error *err)
{
	struct ts2021_connect *c = w->connect;

	if (!c->best.code ||
	    (c->best.code != -EKEYREJECTED && (err->code == -EKEYREJECTED || w == c->ways)))
		c->best = *err;
	race_failed(&c->race, clock_boottime());
}

static void noise_opened(void *user)
{
	struct way *w = user;

	end(w->connect, w);
}

static void noise_closed(void *user, const struct error *cause)
{
	struct way *w = user;
	struct error err;

	if (cause)
		err = *cause;
	else
		error_set(&err, -ECONNRESET, "the control server closed the connection");
	/* Servers report a handshake for an old key of theirs like any bad handshake. */
	if (err.code != -ETIMEDOUT)
		err.code = -EKEYREJECTED;
	stream_close(TAKE_PTR(w->stream));
	way_failed(w, &err);
	run_race(w->connect);
}

static const struct stream_events noise_events = {
	.opened = noise_opened,
	.closed = noise_closed,
};

static void on_upgraded(void *user, const struct http_response *response, const struct error *cause)
{
	struct way *w = user;
	struct stream *noise = NULL;
	struct error err = {0};

	w->exchange = NULL;
	if (cause) {
		way_failed(w, cause);
		run_race(w->connect);
		return;
	}
	w->to = *response->from;
	if (ts2021_client_stream(&w->client, response->stream, response->body,
				 response->body_length, &noise, &err) < 0) {
		way_failed(w, &err);
		run_race(w->connect);
		return;
	}
	w->stream = noise;
	stream_set_events(noise, &noise_events, w);
	stream_resume(noise); /* may be the end of @w */
}

static int start_way(struct way *w, struct error *err)
{
	struct ts2021_connect *c = w->connect;
	struct tls_options tls = {.insecure = true};
	char encoded[(TS2021_INITIATION_SIZE + 2) / 3 * 4 + 1];
	struct http1_header header = {"X-Tailscale-Handshake", encoded};
	struct http_request request = {
		.to =
			{
				.host = c->base.host,
				.port = w->port,
				.tls = w->tls ? &tls : NULL,
				.addresses = c->addresses,
				.address_count = c->address_count,
				.fallback = c->fallback,
				.fallback_count = c->fallback_count,
				.timeout = c->deadline - clock_boottime(),
			},
		.method = "POST",
		.target = "/ts2021",
		.upgrade = TS2021_PROTOCOL,
		.headers = &header,
		.header_count = 1,
	};
	uint8_t initiation[TS2021_INITIATION_SIZE];

	if (ts2021_client_start(&w->client, &c->machine, &c->server, c->version, NULL, initiation) <
	    0)
		return error_set(err, -EKEYREJECTED, "the control server's key is not a valid key");
	EVP_EncodeBlock((unsigned char *)encoded, initiation, sizeof(initiation));
	return http_start(&c->dialer, &request, on_upgraded, w, &w->exchange, err);
}

/* run_race() - Start the ways that are due; end when all have failed */
static void run_race(struct ts2021_connect *c)
{
	struct error err = {0};
	int index;

	while ((index = race_next(&c->race, clock_boottime())) != RACE_NONE)
		if (start_way(&c->ways[index], &err) < 0)
			way_failed(&c->ways[index], &err);
	if (race_lost(&c->race))
		end(c, NULL);
	else
		loop_timer_at(c->timer, deadline_min(c->race.next, c->deadline + WAYS_GRACE));
}

static void on_timer(void *user)
{
	struct ts2021_connect *c = user;

	if (clock_boottime() < c->deadline + WAYS_GRACE) {
		run_race(c);
		return;
	}
	if (!c->best.code)
		error_set(&c->best, -ETIMEDOUT, "the control server %s does not answer in time",
			  c->base.host);
	end(c, NULL);
}

/* is_near() - Whether other ports of the host belong to other programs */
static bool is_near(const char *host)
{
	struct address a;

	if (address_parse(host, strlen(host), &a) == 0)
		return address_is_loopback(&a) || address_is_private(&a) ||
		       address_is_link_local(&a);
	return !strchr(host, '.'); /* "localhost" too */
}

static void add_way(struct ts2021_connect *c, bool tls, uint16_t port)
{
	for (unsigned int i = 0; i < c->way_count; i++)
		if (c->ways[i].tls == tls && c->ways[i].port == port)
			return;
	if (tls && !c->dialer.tls)
		return;
	c->ways[c->way_count++] = (struct way){.connect = c, .tls = tls, .port = port};
}

static size_t copy_addresses(struct address *to, const struct address *from, size_t count)
{
	if (count > NAMES_ADDRESSES_MAX)
		count = NAMES_ADDRESSES_MAX;
	if (count)
		memcpy(to, from, count * sizeof(*to));
	return count;
}

int ts2021_connect(const struct dialer *dialer, const struct ts2021_target *target,
		   ts2021_connected *done, void *user, struct ts2021_connect **ret,
		   struct error *err)
{
	struct ts2021_connect *c = calloc(1, sizeof(*c));

	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	c->dialer = *dialer;
	if (c->dialer.tls)
		tls_context_hold(c->dialer.tls);
	c->base = *target->base;
	c->machine = *target->machine;
	c->server = *target->server;
	c->version = target->version;
	c->address_count = copy_addresses(c->addresses, target->addresses, target->address_count);
	c->fallback_count = copy_addresses(c->fallback, target->fallback, target->fallback_count);
	c->deadline = clock_boottime() + (target->timeout ? target->timeout : DIAL_TIMEOUT);
	c->done = done;
	c->user = user;
	add_way(c, c->base.tls, c->base.port);
	if (!is_near(c->base.host)) {
		add_way(c, false, 80);
		add_way(c, true, 443);
	}
	if (c->way_count == 0) {
		connect_free(c);
		return error_set(err, -EINVAL, "TLS to the control server, but no CA certificates");
	}
	race_init(&c->race, c->way_count, WAY_DELAY);
	if (loop_timer_create(dialer->loop, on_timer, c, &c->timer) < 0) {
		connect_free(c);
		return error_set(err, -ENOMEM, "out of memory");
	}
	loop_timer_soon(c->timer);
	*ret = c;
	return 0;
}

void ts2021_cancel(struct ts2021_connect *c)
{
	if (c)
		connect_free(c);
}
