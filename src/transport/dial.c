/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/dial.c - from a host and a port to an open stream
 *
 * Theory of operation
 *
 *	BEGIN -> RESOLVE -> CONNECT -> [TLS to an https proxy] -> [CONNECT] -> [TLS] -> done
 *
 *   BEGIN waits for the loop, so that the callback never runs before dial_start() has returned.
 *   CONNECT races the addresses (race.h), an attempt each, and keeps the first stream
 *   that opens. `stream` is from then on the top of the stack. One timer serves the
 *   race and the deadline of the whole dial. end() frees the dial, then calls back.
 *
 *   Guesses (the fallback) are tried in the order given when the name has no answer after
 *   FALLBACK_WAIT, or can't be resolved. A guess may lead to another server by now, so a failed
 *   TLS handshake is followed by the other guesses, and then by the name server's answer if it
 *   has arrived: the question stays open meanwhile.
 */
#include "transport/dial.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "base/small_file.h"
#include "transport/http1.h"
#include "transport/loop_timer.h"
#include "transport/race.h"
#include "transport/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 8305 §8, "Connection Attempt Delay". */
#define ATTEMPT_DELAY (250 * NSEC_PER_MSEC)

/* A working name server answers within this time. */
#define FALLBACK_WAIT (2 * NSEC_PER_SEC)

/* A guess may open and stay silent, as it is another server now: the next guess then starts. */
#define GUESS_WAIT (3 * NSEC_PER_SEC)

#define SYSTEM_ROOTS "/etc/ssl/certs/ca-certificates.crt"

enum dial_phase {
	PHASE_BEGIN,
	PHASE_RESOLVE,
	PHASE_CONNECT,
	PHASE_PROXY_TLS,
	PHASE_PROXY,
	PHASE_TLS,
};

struct attempt {
	struct dial *dial;
	struct stream *stream;
};

struct dial {
	struct dialer dialer;
	enum dial_phase phase;
	char host[URL_HOST_MAX];
	uint16_t port;
	bool tls;
	struct tls_options tls_options; /* its strings are the two below */
	char tls_host[URL_HOST_MAX];
	char cert_name[URL_HOST_MAX];
	struct url *proxy; /* a copy; NULL: none */
	enum address_family only;

	nanoseconds deadline;
	struct loop_timer *timer;
	struct names_query *query;
	struct address addresses[NAMES_ADDRESSES_MAX];
	size_t address_count;
	struct address fallback[NAMES_ADDRESSES_MAX];
	size_t fallback_count;
	bool guessing;                            /* `addresses` are guesses */
	nanoseconds guess_until;                  /* for the one that opened */
	struct address late[NAMES_ADDRESSES_MAX]; /* the name server's, while guessing */
	size_t late_count;
	struct error unresolved; /* why there are none */
	struct race race;
	struct attempt attempts[NAMES_ADDRESSES_MAX];
	struct error failed_v4, failed_v6; /* the first attempt of each family that did */

	struct stream *stream;
	struct endpoint to;
	struct http1_parser parser; /* of the proxy's answer */
	dial_done *done;
	void *user;
};

static const char *connect_host(const struct dial *d)
{
	return d->proxy ? d->proxy->host : d->host;
}

static uint16_t connect_port(const struct dial *d)
{
	return d->proxy ? d->proxy->port : d->port;
}

static void dial_free(struct dial *d)
{
	names_cancel(d->query);
	for (size_t i = 0; i < ARRAY_SIZE(d->attempts); i++)
		stream_close(d->attempts[i].stream);
	stream_close(d->stream);
	loop_timer_free(d->timer);
	tls_context_release(d->dialer.tls);
	http1_parser_free(&d->parser);
	if (d->proxy)
		explicit_bzero(d->proxy, sizeof(*d->proxy));
	free(d->proxy);
	free(d);
}

/* blame_names() - Report the name server: the guesses were only tried because it failed */
static void blame_names(struct dial *d, struct error *err)
{
	struct error guess = *err;

	if (!d->unresolved.code)
		return;
	*err = d->unresolved;
	err->code = DIAL_UNRESOLVED;
	if (d->guessing)
		error_set(err, DIAL_UNRESOLVED, "%.240s; where it was before: %.200s",
			  d->unresolved.text, guess.text);
}

/* end() - Report the outcome; @d is gone afterwards. @err NULL: d->stream is open */
static void end(struct dial *d, struct error *err)
{
	struct stream *stream = err ? NULL : TAKE_PTR(d->stream);
	dial_done *done = d->done;
	struct endpoint to = d->to;
	void *user = d->user;

	if (err) {
		blame_names(d, err);
		if (d->proxy && d->phase != PHASE_TLS) {
			error_wrap(err, "HTTPS_PROXY %s:%u", d->proxy->host, d->proxy->port);
			err->code = DIAL_PROXY_FAILED;
		}
		error_wrap(err, "dial %s:%u", d->host, d->port);
	} else
		stream_set_events(stream, NULL, NULL);
	dial_free(d);
	done(user, stream, err ? NULL : &to, err);
}

/* TLS and proxy, on the stream that connected */

static void start_tls(struct dial *d);
static void start_proxy(struct dial *d);
static bool guess_again(struct dial *d, const struct error *err);

static void upper_opened(void *user)
{
	struct dial *d = user;

	if (d->phase == PHASE_PROXY_TLS)
		start_proxy(d);
	else
		end(d, NULL);
}

static void upper_closed(void *user, const struct error *cause)
{
	struct dial *d = user;
	struct error err;

	if (cause)
		err = *cause;
	else
		error_set(&err, -ECONNRESET, "the connection was closed");
	if (!guess_again(d, &err))
		end(d, &err);
}

static void proxy_data(void *user, const uint8_t *bytes, size_t length)
{
	struct dial *d = user;
	struct error err;
	size_t used;
	int r = http1_parse(&d->parser, bytes, length, &used);

	if (r == HTTP1_MORE)
		return;
	if (r == HTTP1_HEAD && d->parser.head.status / 100 == 2 && used == length) {
		start_tls(d);
		return;
	}
	/* Some say 401 to a wrong password. */
	if (r == HTTP1_HEAD && (d->parser.head.status == 407 || d->parser.head.status == 401))
		error_set(&err, -EACCES, "it refuses the user and password (%d)",
			  d->parser.head.status);
	else if (r == HTTP1_HEAD)
		error_set(&err, -ECONNREFUSED, "it refused to connect: %d %s",
			  d->parser.head.status, d->parser.head.reason);
	else
		error_set(&err, -EPROTO, "it does not answer as a proxy: %s", d->parser.error);
	end(d, &err);
}

static const struct stream_events upper_events = {
	.opened = upper_opened,
	.data = proxy_data, /* comes in PHASE_PROXY only: TLS has opened when data does */
	.closed = upper_closed,
};

static void over_tls(struct dial *d, enum dial_phase phase, const struct tls_options *options)
{
	struct stream *stream;
	struct error err = {0};

	d->phase = phase;
	/* tls_client() owns it whatever happens. */
	if (tls_client(d->dialer.tls, options, TAKE_PTR(d->stream), &stream, &err) < 0) {
		end(d, &err);
		return;
	}
	d->stream = stream;
	stream_set_events(stream, &upper_events, d);
}

static void start_tls(struct dial *d)
{
	if (d->tls)
		over_tls(d, PHASE_TLS, &d->tls_options);
	else
		end(d, NULL);
}

static void start_proxy(struct dial *d)
{
	struct buffer request = BUFFER_INIT(LIMIT_HTTP_HEADER);
	struct error err = {0};
	int r;

	d->phase = PHASE_PROXY;
	stream_set_events(d->stream, &upper_events, d);
	http1_parser_init(&d->parser, true);
	http1_parser_bodyless(&d->parser);
	r = proxy_write_connect(d->proxy, d->host, d->port, &request);
	if (r == 0)
		r = stream_write(d->stream, buffer_head(&request), request.length);
	buffer_free_secret(&request);
	if (r < 0) {
		error_set_errno(&err, r, "ask it to connect");
		end(d, &err);
	}
}

/* The race of the addresses */

static void attempt_failed(struct attempt *a, const struct error *err);
static void run_race(struct dial *d);

/* note_failure() - Keep the last failure of each address family for the report */
static void note_failure(struct dial *d, enum address_family family, const struct error *err)
{
	struct error *slot = family == ADDRESS_V6 ? &d->failed_v6 : &d->failed_v4;

	if (!slot->code && err)
		*slot = *err;
}

/* what_failed() - Both families, since often one of them is not routed at all */
static void what_failed(const struct dial *d, struct error *err)
{
	const struct error *v4 = &d->failed_v4, *v6 = &d->failed_v6;

	if (v4->code && v6->code)
		error_set(err, v4->code, "%.220s; %.220s", v4->text, v6->text);
	else if (v4->code || v6->code)
		*err = v4->code ? *v4 : *v6;
	else
		error_set(err, -EADDRNOTAVAIL, "no usable address");
}

static void attempt_opened(void *user)
{
	struct attempt *a = user;
	struct dial *d = a->dial;
	struct tls_options options;

	d->to = (struct endpoint){.address = d->addresses[a - d->attempts],
				  .port = connect_port(d)};
	d->stream = TAKE_PTR(a->stream);
	for (size_t i = 0; i < ARRAY_SIZE(d->attempts); i++)
		stream_close(TAKE_PTR(d->attempts[i].stream));
	d->guess_until = d->guessing ? clock_boottime() + GUESS_WAIT : DEADLINE_NEVER;
	loop_timer_at(d->timer, deadline_min(d->guess_until, d->deadline));
	options = (struct tls_options){.host = connect_host(d)};
	if (!d->proxy)
		start_tls(d);
	else if (d->proxy->tls)
		over_tls(d, PHASE_PROXY_TLS, &options);
	else
		start_proxy(d);
}

static void attempt_closed(void *user, const struct error *err)
{
	struct attempt *a = user;
	struct dial *d = a->dial;

	stream_close(TAKE_PTR(a->stream));
	attempt_failed(a, err);
	run_race(d);
}

static const struct stream_events attempt_events = {
	.opened = attempt_opened,
	.closed = attempt_closed,
};

static void attempt_failed(struct attempt *a, const struct error *err)
{
	struct dial *d = a->dial;

	note_failure(d, d->addresses[a - d->attempts].family, err);
	race_failed(&d->race, clock_boottime());
}

static void start_attempt(struct dial *d, int index)
{
	struct attempt *a = &d->attempts[index];
	struct endpoint to = {.address = d->addresses[index], .port = connect_port(d)};
	struct socket_source *sockets = d->dialer.sockets;
	char text[ENDPOINT_TEXT_MAX];
	struct error err = {0};
	int fd;

	a->dial = d;
	fd = sockets->open(sockets, d->dialer.kind, to.address.family);
	if (fd < 0)
		error_set_errno(&err, fd, "socket for %s", endpoint_format(&to, text));
	else if (tcp_connect(d->dialer.loop, fd, &to, &a->stream, &err) == 0)
		stream_set_events(a->stream, &attempt_events, a);
	if (!a->stream)
		attempt_failed(a, &err);
}

static void start_race(struct dial *d, const struct address *addresses, size_t count);

static void wait_for_names(struct dial *d)
{
	d->phase = PHASE_RESOLVE;
	d->guess_until = DEADLINE_NEVER;
	loop_timer_at(d->timer, d->deadline);
}

/* all_lost() - No candidate is left: use the name server's late answer, or end */
static void all_lost(struct dial *d)
{
	struct error err;

	if (d->guessing && d->late_count) {
		d->guessing = false;
		start_race(d, d->late, d->late_count);
		return;
	}
	if (d->guessing && d->query) {
		wait_for_names(d);
		return;
	}
	what_failed(d, &err);
	end(d, &err);
}

static void run_race(struct dial *d)
{
	int index;

	while ((index = race_next(&d->race, clock_boottime())) != RACE_NONE)
		start_attempt(d, index);
	if (race_lost(&d->race))
		all_lost(d);
	else
		loop_timer_at(d->timer, deadline_min(d->race.next, d->deadline));
}

/* start_race() - Only addresses of the wanted family; guesses keep their order */
static void start_race(struct dial *d, const struct address *addresses, size_t count)
{
	size_t kept = 0;

	d->phase = PHASE_CONNECT;
	for (size_t i = 0; i < count && kept < NAMES_ADDRESSES_MAX; i++)
		if (d->only == ADDRESS_NONE || addresses[i].family == d->only)
			d->addresses[kept++] = addresses[i];
	d->address_count = kept;
	if (!d->guessing)
		race_order(d->addresses, kept);
	race_init(&d->race, (unsigned int)kept, ATTEMPT_DELAY);
	run_race(d);
}

static void start_guessing(struct dial *d)
{
	size_t count = d->fallback_count;

	d->guessing = true;
	d->fallback_count = 0;
	start_race(d, d->fallback, count);
}

/* guess_again() - The guess that opened is another server: try the others, if there are any */
static bool guess_again(struct dial *d, const struct error *err)
{
	size_t kept = 0;

	if (!d->guessing || d->phase != PHASE_TLS)
		return false;
	stream_close(TAKE_PTR(d->stream));
	note_failure(d, d->to.address.family, err);
	for (size_t i = 0; i < d->address_count; i++)
		if (!address_equal(&d->addresses[i], &d->to.address))
			d->addresses[kept++] = d->addresses[i];
	start_race(d, d->addresses, kept);
	return true;
}

static void resolved(void *user, const struct address *addresses, size_t count,
		     const struct error *cause)
{
	struct dial *d = user;
	struct error err;

	d->query = NULL;
	if (count)
		memcpy(d->late, addresses, count * sizeof(*addresses));
	else
		d->unresolved = *cause;
	d->late_count = count;
	if (d->phase != PHASE_RESOLVE)
		return;
	loop_timer_at(d->timer, d->deadline);
	if (count) {
		d->guessing = false;
		start_race(d, addresses, count);
	} else if (d->fallback_count) {
		start_guessing(d);
	} else {
		err = *cause;
		if (d->guessing)
			what_failed(d, &err);
		end(d, &err);
	}
}

static void begin(struct dial *d)
{
	struct address literal;
	struct error err = {0};
	const char *host = connect_host(d);

	loop_timer_at(d->timer, d->deadline);
	if (d->address_count) {
		start_race(d, d->addresses, d->address_count);
	} else if (address_parse(host, strlen(host), &literal) == 0) {
		start_race(d, &literal, 1);
	} else if (!d->dialer.names) {
		error_set(&err, -EINVAL, "%s is not an address, and there is no name service",
			  host);
		end(d, &err);
	} else {
		nanoseconds now = clock_boottime();

		d->phase = PHASE_RESOLVE;
		if (d->fallback_count)
			loop_timer_at(d->timer, deadline_min(now + FALLBACK_WAIT,
							     now + (d->deadline - now) / 2));
		if (names_resolve(d->dialer.names, host, resolved, d, &d->query, &err) < 0)
			end(d, &err);
	}
}

static void on_timer(void *user)
{
	static const char *const doing[] = {
		[PHASE_BEGIN] = "starting",     [PHASE_RESOLVE] = "resolving the name",
		[PHASE_CONNECT] = "connecting", [PHASE_PROXY_TLS] = "the TLS handshake",
		[PHASE_PROXY] = "it connects",  [PHASE_TLS] = "the TLS handshake",
	};
	struct dial *d = user;
	struct error err;

	if (d->phase == PHASE_BEGIN) {
		begin(d);
		return;
	}
	if (d->phase == PHASE_RESOLVE && d->fallback_count) {
		start_guessing(d);
		return;
	}
	error_set(&err, -ETIMEDOUT, "timed out while %s", doing[d->phase]);
	if (clock_boottime() < d->deadline) {
		if (d->phase == PHASE_CONNECT)
			run_race(d);
		else if (clock_boottime() < d->guess_until || !guess_again(d, &err))
			loop_timer_at(d->timer, deadline_min(d->guess_until, d->deadline));
		return;
	}
	if (d->query)
		error_set(&d->unresolved, DIAL_UNRESOLVED, "resolve %s: no answer in time",
			  connect_host(d));
	end(d, &err);
}

static int copy_options(struct dial *d, const struct dial_options *o, struct error *err)
{
	const struct url *proxy;

	if (!o->host || !host_is_valid(o->host))
		return error_set(err, -EINVAL, "'%.64s' is not a valid host name",
				 o->host ? o->host : "");
	snprintf(d->host, sizeof(d->host), "%s", o->host);
	d->port = o->port;
	d->only = o->only;
	d->tls = o->tls != NULL;
	if (d->tls && !d->dialer.tls)
		return error_set(err, -EINVAL, "TLS to %s, but no CA certificates", d->host);
	if (d->tls) {
		const char *name = o->tls->host ? o->tls->host : d->host;
		const char *cert_name = o->tls->cert_name ? o->tls->cert_name : "";

		if (strlen(name) >= sizeof(d->tls_host) ||
		    strlen(cert_name) >= sizeof(d->cert_name))
			return error_set(err, -EINVAL, "the name in %s's certificate is too long",
					 d->host);
		strcpy(d->tls_host, name);
		strcpy(d->cert_name, cert_name);
		d->tls_options = (struct tls_options){
			.host = d->tls_host,
			.cert_name = d->cert_name,
			.insecure = o->tls->insecure,
		};
		proxy = proxy_for(d->dialer.proxy, d->host, d->port);
		if (proxy) {
			d->proxy = malloc(sizeof(*d->proxy));
			if (!d->proxy)
				return error_set(err, -ENOMEM, "out of memory");
			*d->proxy = *proxy;
		}
	}
	d->fallback_count = d->proxy ? 0 : o->fallback_count;
	d->address_count = d->proxy ? 0 : o->address_count;
	if (d->fallback_count > NAMES_ADDRESSES_MAX)
		d->fallback_count = NAMES_ADDRESSES_MAX;
	if (d->address_count > NAMES_ADDRESSES_MAX)
		d->address_count = NAMES_ADDRESSES_MAX;
	if (d->fallback_count)
		memcpy(d->fallback, o->fallback, d->fallback_count * sizeof(*o->fallback));
	if (d->address_count)
		memcpy(d->addresses, o->addresses, d->address_count * sizeof(*o->addresses));
	d->deadline = clock_boottime() + (o->timeout ? o->timeout : DIAL_TIMEOUT);
	d->guess_until = DEADLINE_NEVER;
	return 0;
}

int dial_start(const struct dialer *dialer, const struct dial_options *options, dial_done *done,
	       void *user, struct dial **ret, struct error *err)
{
	struct dial *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return error_set(err, -ENOMEM, "out of memory");
	d->dialer = *dialer;
	if (d->dialer.tls)
		tls_context_hold(d->dialer.tls);
	d->done = done;
	d->user = user;
	r = copy_options(d, options, err);
	if (r == 0) {
		r = loop_timer_create(dialer->loop, on_timer, d, &d->timer);
		if (r < 0)
			error_set(err, r, "out of memory");
	}
	if (r < 0) {
		dial_free(d);
		return r;
	}
	loop_timer_soon(d->timer);
	*ret = d;
	return 0;
}

void dial_cancel(struct dial *d)
{
	if (d)
		dial_free(d);
}

int system_dialer_open(struct system_dialer *d, uv_loop_t *loop, bool tls, const char *ca_file,
		       struct error *err)
{
	const char *path = ca_file ? ca_file : SYSTEM_ROOTS;
	_cleanup_(secret_string_free_at) char *pem = NULL;
	int r = 0;

	*d = (struct system_dialer){.dialer = {.loop = loop, .sockets = socket_source_direct()}};
	if (tls) {
		r = tls_context_create(&d->dialer.tls, err);
		if (r == 0)
			r = small_file_read(path, &pem, err);
		if (r == 0)
			r = tls_context_set_roots(d->dialer.tls, 0, pem, strlen(pem), path, err);
	}
	if (r >= 0)
		r = names_open_system(loop, &d->dialer.names, err);
	if (r == 0)
		r = proxy_create(proxy_variable("HTTPS_PROXY", "https_proxy"),
				 proxy_variable("NO_PROXY", "no_proxy"), &d->proxy, err);
	d->dialer.proxy = d->proxy;
	return r;
}

void system_dialer_close(struct system_dialer *d)
{
	names_free(d->dialer.names);
	proxy_free(d->proxy);
	tls_context_release(d->dialer.tls);
}
