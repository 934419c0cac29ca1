/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/exchange.c - a request and its answer: the handler, the sender, the app, our own answers
 *
 * DOC: Theory of operation
 *
 *	OWNER  ask for the owner of the peer's address
 *	CALL   connect to the app
 *	PROXY  the back has the request; body and answer pass in pieces
 *	DONE   the front has the whole answer, or knows that it is cut
 *
 * The front may close the exchange in any event, so code that calls it stands between enter() and
 * leave(); the last leave() frees.
 */
#define LOG_ROOM "services"
#include "base/log.h"

#include "base/cleanup.h"
#include "services/certs/keeper.h"
#include "services/exchange.h"
#include "services/http_heads.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

/* A request that can't be repeated takes only a connection that was just in use. */
#define FRESH      (NSEC_PER_SEC / 2)
#define KEPT_LIMIT (60 * NSEC_PER_SEC)

/* An app may refuse a request that it has not seen, but not for ever. */
#define REPEATS_MAX 3u

#define GRPC "application/grpc"

enum phase {
	PHASE_OWNER,
	PHASE_CALL,
	PHASE_PROXY,
	PHASE_DONE,
};

struct exchange {
	struct services *services;
	struct serving *serving;
	const struct exchange_front *front; /* NULL: closed */
	void *user;
	unsigned int holds;
	enum phase phase;
	const struct http1_head *request;
	const struct serve_handler *handler;
	const char *from; /* path and query in the request's target */
	struct endpoint peer;
	const char *server_name;
	uint16_t port;
	bool tls, funnel;
	unsigned int version;
	struct person_question *question;
	struct app_call *call;
	struct exchange_back *back;
	struct buffer head; /* as the app gets it; kept until the app has answered */
	bool request_done, body_begun;
	bool answer_begun;
	bool slow; /* the client: the back is paused */
	unsigned int repeats;
};

static void enter(struct exchange *x)
{
	x->holds++;
}

/* end_back() - Give up the app's side, or its calls */
static void end_back(struct exchange *x, bool whole)
{
	struct exchange_back *back = TAKE_PTR(x->back);

	people_cancel(TAKE_PTR(x->question));
	app_call_cancel(TAKE_PTR(x->call));
	if (back)
		back->operations->close(back, whole);
}

static void leave(struct exchange *x)
{
	if (--x->holds > 0 || x->front)
		return;
	end_back(x, false);
	serving_release(x->serving);
	buffer_free(&x->head);
	free(x);
}

void exchange_close(struct exchange *x)
{
	if (!x)
		return;
	enter(x);
	if (x->phase != PHASE_DONE)
		end_back(x, false);
	x->phase = PHASE_DONE;
	x->front = NULL;
	leave(x);
}

/* --- To the client --- */

static void finish(struct exchange *x, const struct http1_header *trailers, size_t count)
{
	_cleanup_free_ struct http1_header *passing = http_trailers(trailers, count, &count);

	x->phase = PHASE_DONE;
	if (x->front)
		x->front->end(x->user, passing, count);
}

static void cut(struct exchange *x)
{
	x->phase = PHASE_DONE;
	end_back(x, false);
	if (x->front)
		x->front->cut(x->user);
}

/* reply() - An answer of our own, a line of text */
static void reply(struct exchange *x, int status, const char *location, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static void reply(struct exchange *x, int status, const char *location, const char *format, ...)
{
	struct http1_head head = {.status = status, .reason = http1_reason(status)};
	_cleanup_free_ char *text = NULL;
	char size[16];
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0) {
		cut(x);
		return;
	}
	snprintf(size, sizeof(size), "%d", length);
	if (location)
		head.headers[head.header_count++] = (struct http1_header){"Location", location};
	head.headers[head.header_count++] =
		(struct http1_header){"Content-Type", "text/plain; charset=utf-8"};
	if (status >= 400)
		head.headers[head.header_count++] =
			(struct http1_header){"X-Content-Type-Options", "nosniff"};
	head.headers[head.header_count++] = (struct http1_header){"Content-Length", size};
	head.content_length = length;
	x->answer_begun = true;
	x->front->head(x->user, &head, false);
	if (x->front && strcmp(x->request->method, "HEAD") != 0)
		x->front->body(x->user, (const uint8_t *)text, (size_t)length);
	if (x->front)
		finish(x, NULL, 0);
}

/* --- From the app --- */

static void call_app(struct exchange *x, bool again);

/* may_repeat() - Whether it does no harm if the app gets the request twice (RFC 9110 §9.2.2) */
static bool may_repeat(const struct exchange *x)
{
	static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(x->request->method, methods[i]) == 0)
			return !x->request->chunked && x->request->content_length <= 0;
	return false;
}

/* trouble() - The app did not answer */
static void trouble(struct exchange *x, const char *why)
{
	if (x->answer_begun) {
		cut(x); /* the client sees that the answer is cut off */
		return;
	}
	log_debug("%s %s: %s", x->request->method, x->request->target, why);
	end_back(x, false);
	reply(x, 502, NULL, "502 Bad Gateway: the app behind this page does not answer.\n%s.\n",
	      why);
}

void exchange_on_head(struct exchange *x, const struct http1_head *head, bool last)
{
	if (x->phase != PHASE_PROXY)
		return;
	enter(x);
	if (head->status == 101 &&
	    !(http_is_upgrade(x->request) && http1_header(head, "Upgrade"))) {
		trouble(x, "It switched to another protocol unasked");
	} else {
		x->answer_begun |= head->status >= 200 || head->status == 101;
		if (x->answer_begun)
			buffer_free(&x->head);
		x->front->head(x->user, head, last);
	}
	leave(x);
}

/* slow_down() - The app waits while the client does not take its answer */
static void slow_down(struct exchange *x)
{
	if (x->front && x->back && !x->slow &&
	    x->front->pending(x->user) > services_queue_limit(x->services))
		exchange_hold(x);
}

void exchange_on_body(struct exchange *x, const uint8_t *bytes, size_t length)
{
	if (x->phase != PHASE_PROXY)
		return;
	enter(x);
	x->front->body(x->user, bytes, length);
	slow_down(x);
	leave(x);
}

void exchange_on_end(struct exchange *x, const struct http1_header *trailers, size_t count)
{
	if (x->phase != PHASE_PROXY)
		return;
	enter(x);
	x->phase = PHASE_DONE;
	finish(x, trailers, count); /* the back has the trailers */
	end_back(x, x->request_done);
	leave(x);
}

void exchange_on_upgrade(struct exchange *x, struct stream *app, const uint8_t *rest, size_t length)
{
	enter(x);
	x->phase = PHASE_DONE;
	end_back(x, false);
	if (x->front)
		x->front->upgraded(x->user, app, rest, length);
	else
		stream_close(app);
	leave(x);
}

void exchange_on_drained(struct exchange *x)
{
	if (x->phase != PHASE_PROXY)
		return;
	enter(x);
	x->front->more(x->user);
	leave(x);
}

void exchange_on_failure(struct exchange *x, enum exchange_failure how, const char *why)
{
	if (x->phase != PHASE_PROXY)
		return;
	enter(x);
	if (!x->answer_begun && !x->body_begun && x->repeats++ < REPEATS_MAX &&
	    (how == EXCHANGE_UNSEEN || (how == EXCHANGE_IDLE && may_repeat(x))))
		call_app(x, true); /* it was closed while the request was on its way */
	else
		trouble(x, why);
	leave(x);
}

static void use_back(struct exchange *x, struct exchange_back *back)
{
	if (!back) {
		trouble(x, "It takes no bytes");
		return;
	}
	x->back = back;
	x->phase = PHASE_PROXY;
	if (x->slow)
		back->operations->pause(back);
	else
		back->operations->resume(back);
	if (x->phase == PHASE_PROXY)
		x->front->more(x->user);
}

/* speaks_http2() - Whether the app expects HTTP/2 on a connection without TLS */
static bool speaks_http2(const struct exchange *x)
{
	const char *type = http1_header(x->request, "Content-Type");

	switch (x->serving->config.targets[x->handler->target].security) {
	case SERVE_H2C:
		return true;
	case SERVE_PLAIN: /* as the official one does */
		return x->version == 2 && type && strncasecmp(type, GRPC, strlen(GRPC)) == 0;
	case SERVE_TLS:
	case SERVE_TLS_INSECURE:
		return false;
	}
	return false;
}

static bool has_tls(const struct exchange *x)
{
	enum serve_security security = x->serving->config.targets[x->handler->target].security;

	return security == SERVE_TLS || security == SERVE_TLS_INSECURE;
}

static void use_stream(struct exchange *x, struct stream *stream)
{
	struct exchange_back *back;

	if (!speaks_http2(x) && !(has_tls(x) && tls_protocol_is(stream, "h2"))) {
		use_back(x, app_http1_open(x, stream, false));
		return;
	}
	back = app_http2_open(x); /* of another request that called at the same time */
	if (back)
		stream_close(stream);
	else if (app_http2_add(x, stream, has_tls(x)) == 0)
		back = app_http2_open(x);
	use_back(x, back);
}

static void on_app_ready(void *user, struct stream *stream, int fd, const struct error *err)
{
	struct exchange *x = user;

	(void)fd;
	enter(x);
	x->call = NULL;
	if (stream)
		use_stream(x, stream);
	else
		trouble(x, err->text);
	leave(x);
}

/* reuse() - Send the request on a connection of an earlier one; false: there is none */
static bool reuse(struct exchange *x)
{
	bool http2 = speaks_http2(x), upgrade = http_is_upgrade(x->request);
	struct exchange_back *back = NULL;
	struct stream *kept = NULL;

	if (http2 || (has_tls(x) && !upgrade))
		back = app_http2_open(x);
	if (!back && !http2)
		kept = app_take(x->services, x->serving, x->handler->target,
				may_repeat(x) ? KEPT_LIMIT : FRESH);
	if (!back && !kept)
		return false;
	use_back(x, back ? back : app_http1_open(x, kept, true));
	return true;
}

static void call_app(struct exchange *x, bool again)
{
	end_back(x, false);
	if (!again && reuse(x))
		return;
	x->phase = PHASE_CALL;
	/* An upgrade exists in HTTP/1.1 only. */
	x->call = app_call_begin(x->services, x->serving, x->handler->target,
				 http_is_upgrade(x->request) ? APP_STREAM : APP_HTTP, on_app_ready,
				 x);
	if (!x->call)
		reply(x, 503, NULL, "503: out of memory\n");
}

/* --- The request --- */

static void proxy(struct exchange *x, const struct privsep_person *person)
{
	const struct serve_target *target = &x->serving->config.targets[x->handler->target];
	bool far = loops_is_far(target);
	const struct http_origin origin = {
		.peer = x->peer.address,
		.tls = x->tls,
		.host = x->server_name,
		.person = person,
		.funnel = x->funnel,
		.loop_name = far ? x->services->loop_name : NULL,
		.socket = target->path != NULL,
	};
	int r = http_request_head(x->request, x->from, x->handler, &origin, &x->head);

	if (far && !loops_may_pass(x->services, x->request))
		reply(x, 508, NULL,
		      "508: the request came back to this node again and again: its target %s "
		      "leads "
		      "to a node that leads back here. Name the app's own port in the serve "
		      "configuration\n",
		      target->text);
	else if (r == -ENOENT)
		reply(x, 404, NULL, "404 page not found\n");
	else if (r < 0)
		reply(x, 431, NULL, "431: the headers are too long\n");
	else
		call_app(x, false);
}

static void on_person(void *user, const struct privsep_person *person)
{
	struct exchange *x = user;

	enter(x);
	x->question = NULL;
	proxy(x, person);
	leave(x);
}

static void redirect(struct exchange *x)
{
	const char *host = http1_header(x->request, "Host") ?: x->server_name;
	const char *at = x->handler->text, *next;
	_cleanup_(buffer_free) struct buffer where = BUFFER_INIT(16 * 1024);
	int r = 0;

	while (r == 0 && *at) {
		if (strncmp(at, "${HOST}", 7) == 0) {
			r = buffer_append(&where, host, http_host_length(host));
			at += 7;
		} else if (strncmp(at, "${REQUEST_URI}", 14) == 0) {
			r = buffer_append(&where, x->from, strlen(x->from));
			at += 14;
		} else {
			next = strstr(at + 1, "${") ?: at + strlen(at);
			r = buffer_append(&where, at, (size_t)(next - at));
			at = next;
		}
	}
	if (r == 0)
		r = buffer_append(&where, "", 1);
	if (r < 0 || !http1_value_is_valid(x->handler->text))
		reply(x, 500, NULL, "500: the redirect is not usable\n");
	else
		reply(x, x->handler->status, (char *)buffer_head(&where), "%s", "");
}

/* find_site() - By the name that a TLS client asked for, or of the Host header */
static const struct serve_site *find_site(const struct exchange *x)
{
	const struct serving *serving = x->serving;
	const char *host = http1_header(x->request, "Host");
	char name[256];
	size_t length;

	/* It may have been opened to the internet when the connection began, and not be now. */
	if (x->funnel &&
	    (!x->server_name || !serve_config_funnels(&serving->config, x->server_name, x->port)))
		return NULL;
	if (x->server_name)
		return serve_config_site(&serving->config, x->server_name, x->port, NULL);
	if (!host)
		return NULL;
	length = http_host_length(host);
	if (length == 0 || length >= sizeof(name))
		return NULL;
	memcpy(name, host, length);
	name[length] = 0;
	if (name[length - 1] == '.')
		name[length - 1] = 0;
	return serve_config_site(&serving->config, name, x->port, serving->suffix);
}

static void ask_owner(struct exchange *x)
{
	const struct privsep_person *person =
		x->funnel ? NULL : people_find(x->services->people, &x->peer.address);

	if (!person && !x->funnel)
		x->question = people_ask(x->services->people, &x->peer.address, on_person, x);
	if (!x->question)
		proxy(x, person);
}

/* begin() - Find the handler, and let it answer */
static void begin(struct exchange *x)
{
	char path[HTTP_PATH_MAX];
	const struct serve_site *site;
	const char *rest, *proof;

	if (strcmp(x->request->method, "CONNECT") == 0 ||
	    http_path(x->request->target, path, &x->from) < 0) {
		reply(x, 400, NULL, "400: the request's target is not a valid path\n");
		return;
	}
	if (!http_authority_fits(x->request)) {
		reply(x, 400, NULL, "400: the request's target names another host\n");
		return;
	}
	proof = x->tls ? NULL : keeper_http_proof(x->services->keeper, path);
	if (proof) {
		reply(x, 200, NULL, "%s", proof);
		return;
	}
	site = find_site(x);
	x->handler = site ? serve_site_handler(site, path, &rest) : NULL;
	if (!x->handler) {
		reply(x, 404, NULL, "404 page not found\n");
		return;
	}
	switch (x->handler->action) {
	case SERVE_PROXY:
		ask_owner(x);
		return;
	case SERVE_TEXT:
		reply(x, 200, NULL, "%s", x->handler->text);
		return;
	case SERVE_REDIRECT:
		redirect(x);
		return;
	case SERVE_PATH:
		use_back(x, x->services->open_files(x, x->handler, x->from));
		return;
	}
}

int exchange_open(struct services *services, const struct exchange_origin *origin,
		  const struct http1_head *head, bool last, const struct exchange_front *front,
		  void *user, struct exchange **ret)
{
	struct exchange *x;

	if (!services->serving)
		return -EAGAIN;
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	x->services = services;
	x->serving = serving_hold(services->serving);
	x->front = front;
	x->user = user;
	x->request = head;
	x->request_done = last;
	x->peer = *origin->peer;
	x->port = origin->port;
	x->tls = origin->tls;
	x->version = origin->version;
	x->funnel = origin->funnel;
	x->server_name = origin->server_name;
	x->head = BUFFER_INIT((size_t)4 * LIMIT_HTTP_HEADER);
	*ret = x;
	enter(x);
	begin(x);
	leave(x);
	return 0;
}

bool exchange_wants(const struct exchange *x)
{
	return x->phase == PHASE_PROXY && x->back && !x->request_done &&
	       x->back->operations->pending(x->back) <= services_queue_limit(x->services);
}

void exchange_body(struct exchange *x, const uint8_t *bytes, size_t length)
{
	if (x->phase != PHASE_PROXY || !x->back)
		return;
	enter(x);
	x->body_begun = true;
	if (x->back->operations->body(x->back, bytes, length) < 0 && x->phase == PHASE_PROXY)
		trouble(x, "It stopped to take the request");
	leave(x);
}

void exchange_request_end(struct exchange *x, const struct http1_header *trailers, size_t count)
{
	struct http1_header *passing;

	if (x->request_done)
		return;
	passing = http_trailers(trailers, count, &count);
	enter(x);
	x->request_done = true;
	if (x->phase == PHASE_PROXY && x->back &&
	    x->back->operations->end(x->back, passing, count) < 0 && x->phase == PHASE_PROXY)
		trouble(x, "It stopped to take the request");
	leave(x);
	free(passing);
}

void exchange_hold(struct exchange *x)
{
	x->slow = true;
	if (x->back)
		x->back->operations->pause(x->back);
}

void exchange_taken(struct exchange *x)
{
	if (!x->slow)
		return;
	x->slow = false;
	enter(x);
	if (x->back)
		x->back->operations->resume(x->back);
	leave(x);
}

bool exchange_answered(const struct exchange *x)
{
	return x->answer_begun;
}

/* --- For the backs --- */

struct buffer *exchange_head_text(struct exchange *x)
{
	return &x->head;
}

const struct http1_head *exchange_request(const struct exchange *x)
{
	return x->request;
}

struct serving *exchange_serving(const struct exchange *x)
{
	return x->serving;
}

unsigned int exchange_target(const struct exchange *x)
{
	return x->handler->target;
}

bool exchange_request_is_whole(const struct exchange *x)
{
	return x->request_done;
}

struct services *exchange_services(const struct exchange *x)
{
	return x->services;
}
