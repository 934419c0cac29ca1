/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/ts2021_connect.c - connect, upgrade, shake hands; the first to prove the key wins
 *
 * Theory of operation
 *   Up to three ways (the URL's own scheme and port, plain 80, TLS 443) in a race
 *   (race.h), an attempt each: upgrade -> Noise stream -> opened. One timer serves the
 *   race and the deadline.
 */
#include "base/cleanup.h"
#include "transport/http_client.h"
#include "transport/loop_timer.h"
#include "transport/race.h"
#include "transport/ts2021_stream.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WAYS_MAX  3
#define WAY_DELAY (500 * NSEC_PER_MSEC)

/* Each way ends by itself, and says better why; this is for those that hang in the handshake. */
#define WAYS_GRACE (5 * DIAL_GRACE)

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
	struct error best; /* what a person should read of the failures */
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

/* end() - Tell the outcome; @c is gone afterwards. @winner NULL: c->best says why */
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

/* way_failed() - A wrong key tells more than a refused connection; else the URL's own way does,
 * whichever failed first */
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
	/* Servers don't tell a stranger's handshake from one for a key that they had before. */
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

static void on_upgraded(void *user, struct stream *below, const struct http_response *response,
			const struct error *cause)
{
	struct way *w = user;
	struct stream *noise;
	struct error err = {0};

	w->exchange = NULL;
	if (!below) {
		way_failed(w, cause);
		run_race(w->connect);
		return;
	}
	w->to = *response->from;
	if (ts2021_client_stream(&w->client, below, response->body, response->body_length, &noise,
				 &err) < 0) {
		way_failed(w, &err);
		run_race(w->connect);
		return;
	}
	w->stream = noise;
	stream_set_events(noise, &noise_events, w);
	stream_resume(noise); /* may be the end of @w */
}

/* start_way() - 0, or negative errno with @err set */
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
		.headers = &header,
		.header_count = 1,
	};
	uint8_t initiation[TS2021_INITIATION_SIZE];

	if (ts2021_client_start(&w->client, &c->machine, &c->server, c->version, NULL, initiation) <
	    0)
		return error_set(err, -EKEYREJECTED, "the control server's key is no proper key");
	EVP_EncodeBlock((unsigned char *)encoded, initiation, sizeof(initiation));
	return http_upgrade_start(&c->dialer, &request, TS2021_PROTOCOL, on_upgraded, w,
				  &w->exchange, err);
}

/* run_race() - Start what is due; all lost is the end */
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

/* is_near() - A host where other ports are not the control server's */
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

/* copy_addresses() - At most as many as fit; returns how many */
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
