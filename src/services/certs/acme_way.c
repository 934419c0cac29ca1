/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/acme_way.c - a stream to the ACME authority: directly, or through HTTPS_PROXY
 *
 *	connection -> [TLS to an https proxy] -> [CONNECT] -> TLS to the authority
 *
 * The supervisor makes the connection, to the target of the configuration in force. Only the
 * caller's deadline ends one that takes too long.
 */
#include "services/certs/certs.h"

#include "base/cleanup.h"
#include "transport/http1.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>

enum phase {
	CONNECTING, /* the app_call */
	PROXY_TLS,
	PROXY_ANSWER,
	AUTHORITY_TLS,
};

struct acme_way {
	struct services *services;
	struct serving *serving;
	struct app_call *connecting;
	struct stream *stream;
	struct http1_parser parser; /* of the proxy's answer */
	enum phase phase;
	char host[URL_HOST_MAX];
	uint16_t port;
	acme_way_done *done;
	void *user;
};

static void way_free(struct acme_way *w)
{
	app_call_cancel(w->connecting);
	stream_close(w->stream);
	http1_parser_free(&w->parser);
	serving_release(w->serving);
	free(w);
}

static void end(struct acme_way *w, const struct error *err)
{
	struct stream *stream = err ? NULL : TAKE_PTR(w->stream);

	if (stream)
		stream_set_events(stream, NULL, NULL);
	w->done(w->user, stream, err);
	way_free(w);
}

static const struct url *proxy_of(const struct acme_way *w)
{
	return proxy_for(w->serving->proxy, w->host, w->port);
}

/* fail() - @err is the proxy's, unless TLS with the authority has begun */
static void fail(struct acme_way *w, struct error *err)
{
	const struct url *proxy = proxy_of(w);

	if (proxy && w->phase != AUTHORITY_TLS)
		error_wrap(err, "HTTPS_PROXY %s:%u", proxy->host, proxy->port);
	end(w, err);
}

static void ask_proxy(struct acme_way *w);

static void on_opened(void *user)
{
	struct acme_way *w = user;

	if (w->phase == PROXY_TLS) {
		ask_proxy(w);
		return;
	}
	stream_pause(w->stream);
	end(w, NULL);
}

static void on_closed(void *user, const struct error *cause)
{
	struct error err = {0};

	if (cause)
		err = *cause;
	else
		error_set(&err, -ECONNRESET, "the connection was closed");
	fail(user, &err);
}

static void on_data(void *user, const uint8_t *bytes, size_t length);

static const struct stream_events events = {
	.opened = on_opened,
	.data = on_data,
	.closed = on_closed,
};

static void begin_tls(struct acme_way *w, enum phase phase, const char *host)
{
	const struct tls_options options = {.host = host};
	struct stream *below = TAKE_PTR(w->stream);
	struct error err = {0};

	stream_set_events(below, NULL, NULL);
	w->phase = phase;
	if (tls_client(w->services->client_tls, &options, below, &w->stream, &err) < 0) {
		w->stream = NULL;
		fail(w, &err);
		return;
	}
	stream_set_events(w->stream, &events, w);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct acme_way *w = user;
	const struct http1_head *head = &w->parser.head;
	struct error err = {0};
	size_t used;
	int r = http1_parse(&w->parser, bytes, length, &used);

	if (r == HTTP1_MORE)
		return;
	if (r == HTTP1_HEAD && head->status / 100 == 2 && used == length) {
		begin_tls(w, AUTHORITY_TLS, w->host);
		return;
	}
	/* Some say 401 to a wrong password. */
	if (r == HTTP1_HEAD && (head->status == 407 || head->status == 401))
		error_set(&err, -EHOSTUNREACH, "it refuses the user and password (%d)",
			  head->status);
	else if (r == HTTP1_HEAD)
		error_set(&err, -EHOSTUNREACH, "it refused to connect to %s:%u (%d)", w->host,
			  w->port, head->status);
	else
		error_set(&err, -EHOSTUNREACH, "it does not answer as a proxy");
	fail(w, &err);
}

static void ask_proxy(struct acme_way *w)
{
	_cleanup_(buffer_free_secret) struct buffer request = BUFFER_INIT(LIMIT_HTTP_HEADER);
	struct error err = {0};
	int r;

	w->phase = PROXY_ANSWER;
	http1_parser_bodyless(&w->parser);
	stream_set_events(w->stream, &events, w);
	r = proxy_write_connect(proxy_of(w), w->host, w->port, &request);
	if (r == 0)
		r = stream_write(w->stream, buffer_head(&request), request.length);
	if (r < 0) {
		error_set_errno(&err, r, "ask it to connect");
		fail(w, &err);
		return;
	}
	stream_resume(w->stream);
}

static void on_ready(void *user, struct stream *stream, int fd, const struct error *err)
{
	struct acme_way *w = user;
	const struct url *proxy = proxy_of(w);

	(void)fd;
	w->connecting = NULL;
	w->stream = stream;
	if (!stream) {
		struct error why = *err;

		fail(w, &why);
	} else if (!proxy)
		end(w, NULL);
	else if (proxy->tls)
		begin_tls(w, PROXY_TLS, proxy->host);
	else
		ask_proxy(w);
}

struct acme_way *acme_way_begin(struct services *services, struct serving *serving,
				const struct url *to, acme_way_done *done, void *user)
{
	struct acme_way *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->services = services;
	w->serving = serving_hold(serving);
	snprintf(w->host, sizeof(w->host), "%s", to->host);
	w->port = to->port;
	w->done = done;
	w->user = user;
	http1_parser_init(&w->parser, true);
	w->connecting = app_call_begin(services, serving,
				       (unsigned int)serving->config.target_count + SERVING_ACME,
				       APP_STREAM, on_ready, w);
	if (w->connecting)
		return w;
	way_free(w);
	return NULL;
}

void acme_way_cancel(struct acme_way *way)
{
	if (way)
		way_free(way);
}
