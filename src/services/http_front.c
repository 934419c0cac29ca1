/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/http_front.c - HTTP and HTTPS of peers: requests, answers of our own, the proxy to the app
 *
 * DOC: Theory of operation
 *
 *	            client                                 app
 *	  HEAD ──▶ parse the head ──▶ find the handler
 *	  OWNER      ask for the owner of the peer's address
 *	  CALL       connect                         ──▶ send the head
 *	  PROXY    body by pieces ──────────────────────▶
 *	           ◀────────────────────── answer by pieces
 *	  DRAIN    answered before the body came: drop the rest of it
 *
 * A connection has one exchange at a time, and between two of them no memory but itself. Nothing
 * is read that can't be passed on: while the app is not connected, or has not taken what it was
 * sent, the client's stream is paused, and the other way round. So a body is never kept here, and
 * one that has not begun can go to another connection of the app.
 *
 * Code that may end a connection runs between enter() and leave(); the last leave() frees it.
 */
#define LOG_ROOM "services"
#include "base/log.h"

#include "base/cleanup.h"
#include "services/http_heads.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#define IDLE_LIMIT  (120 * NSEC_PER_SEC) /* between two requests */
#define HEAD_LIMIT  (20 * NSEC_PER_SEC)  /* from the first byte of a head to its end */
#define STALL_LIMIT (120 * NSEC_PER_SEC) /* for a reader to take something */
#define DRAIN_MAX   ((size_t)256 * 1024)

/* A request that can't be repeated takes only a connection that was just in use. */
#define FRESH (NSEC_PER_SEC / 2)

enum phase {
	PHASE_HEAD,
	PHASE_OWNER,
	PHASE_CALL,
	PHASE_PROXY,
	PHASE_DRAIN,
};

struct exchange {
	struct http_front *front;
	struct serving *serving; /* from the head on */
	enum phase phase;
	struct http1_parser request, answer;
	const struct serve_handler *handler;
	char path[HTTP_PATH_MAX];
	const char *from; /* path and query in the request's target */
	struct person_question *question;
	struct app_call *call;
	struct stream *app;
	struct buffer head; /* as the app gets it; kept until the app has answered */
	size_t drained;
	enum http_framing framing;
	bool keep_alive;
	bool request_done, body_begun;
	bool answer_begun, answer_done, interim;
	bool kept_app;  /* the connection had an exchange before */
	bool app_stays; /* and may have another: the answer ended, and nothing came behind it */
};

struct http_front {
	struct services_part part;
	struct services *services;
	TAILQ_ENTRY(http_front) entry;
	struct stream *stream; /* NULL: closed */
	struct endpoint peer;
	uint16_t port;
	bool tls;
	char *server_name; /* that a TLS client asked for, or NULL */
	unsigned int holds;
	bool closing, working;
	bool ending; /* the client takes the last bytes, and is not listened to */
	struct loop_timer *timer;
	struct buffer in;   /* received, and not used yet */
	struct exchange *x; /* NULL between exchanges */
};

static void work(struct http_front *f);

static void enter(struct http_front *f)
{
	f->holds++;
}

static void exchange_free(struct exchange *x)
{
	if (!x)
		return;
	people_cancel(x->question);
	app_call_cancel(x->call);
	stream_close(x->app);
	serving_release(x->serving);
	http1_parser_free(&x->request);
	http1_parser_free(&x->answer);
	buffer_free(&x->head);
	free(x);
}

static void leave(struct http_front *f)
{
	if (--f->holds > 0 || !f->closing)
		return;
	TAILQ_REMOVE(&f->services->fronts, f, entry);
	services_remove(&f->part);
	exchange_free(f->x);
	loop_timer_free(f->timer);
	stream_close(f->stream);
	buffer_free(&f->in);
	free(f->server_name);
	free(f);
}

/* hang_up() - Close it when the last leave() comes */
static void hang_up(struct http_front *f)
{
	f->closing = true;
}

/* --- To the client --- */

static bool to_client(struct http_front *f, const void *bytes, size_t length)
{
	if (f->closing)
		return false;
	if (stream_write(f->stream, bytes, length) < 0) {
		hang_up(f);
		return false;
	}
	return true;
}

static void watch_stall(struct http_front *f)
{
	if (stream_pending(f->stream) > services_queue_limit(f->services)) {
		if (f->x && f->x->app)
			stream_pause(f->x->app);
		loop_timer_at(f->timer, clock_boottime() + STALL_LIMIT);
	}
}

/* end() - Close it when the client has taken everything */
static void end(struct http_front *f)
{
	if (stream_pending(f->stream) == 0) {
		hang_up(f);
		return;
	}
	f->ending = true;
	loop_timer_at(f->timer, clock_boottime() + STALL_LIMIT);
}

/* finish() - The exchange is over: the next one, or the end of the connection */
static void finish(struct http_front *f)
{
	struct exchange *x = f->x;
	bool keep_alive = x->keep_alive && x->request_done;

	if (x->app && x->app_stays && x->request_done && x->answer.head.keep_alive &&
	    x->phase == PHASE_PROXY)
		app_give(f->services, x->serving, x->handler->target, TAKE_PTR(x->app));
	f->x = NULL;
	exchange_free(x);
	if (!keep_alive) {
		end(f);
		return;
	}
	TAILQ_REMOVE(&f->services->fronts, f, entry);
	TAILQ_INSERT_TAIL(&f->services->fronts, f, entry);
	loop_timer_at(f->timer, clock_boottime() + IDLE_LIMIT);
}

/* answered() - The whole answer is out; what is left of the request is dropped */
static void answered(struct http_front *f)
{
	struct exchange *x = f->x;

	x->answer_done = true;
	if (x->request_done) {
		finish(f);
		return;
	}
	stream_close(TAKE_PTR(x->app));
	x->phase = PHASE_DRAIN;
	loop_timer_at(f->timer, clock_boottime() + HEAD_LIMIT);
}

static bool has_body(const struct http1_head *head)
{
	return head->chunked || head->content_length > 0;
}

/* reply() - An answer of our own, a line of text */
static void reply(struct http_front *f, int status, const char *more, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static void reply(struct http_front *f, int status, const char *more, const char *format, ...)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT(64 * 1024);
	_cleanup_free_ char *text = NULL;
	struct exchange *x = f->x;
	bool bodyless = x->request.head.method && strcmp(x->request.head.method, "HEAD") == 0;
	va_list args;
	int length, r;

	/* The client may send the body that it has announced, or not. */
	if (has_body(&x->request.head) && http1_header(&x->request.head, "Expect"))
		x->keep_alive = false;
	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	r = length < 0 ? -ENOMEM : http1_write_response(&out, status);
	if (r == 0)
		r = buffer_printf(&out, "%sContent-Type: text/plain; charset=utf-8\r\n%s", more,
				  status >= 400 ? "X-Content-Type-Options: nosniff\r\n" : "");
	if (r == 0)
		r = http1_write_length(&out, (uint64_t)length);
	if (r == 0 && !x->keep_alive)
		r = http1_write_header(&out, "Connection", "close");
	if (r == 0)
		r = http1_write_head_end(&out);
	if (r == 0 && !bodyless)
		r = buffer_append(&out, text, (size_t)length);
	if (r < 0)
		hang_up(f);
	else if (to_client(f, buffer_head(&out), out.length))
		answered(f);
}

/* --- From the app --- */

static void call_app(struct http_front *f, bool again);

/* may_repeat() - Whether it does no harm if the app gets the request twice (RFC 9110 §9.2.2) */
static bool may_repeat(const struct exchange *x)
{
	static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(x->request.head.method, methods[i]) == 0)
			return !has_body(&x->request.head);
	return false;
}

/* trouble() - The app did not answer */
static void trouble(struct http_front *f, const char *why)
{
	const struct exchange *x = f->x;

	if (x->answer_begun) {
		hang_up(f); /* the client sees that the answer is cut off */
		return;
	}
	log_debug("%s %s: %s", x->request.head.method, x->path, why);
	reply(f, 502, "", "502 Bad Gateway: the app behind this page does not answer.\n%s.\n", why);
}

static void put_body(struct http_front *f, const uint8_t *bytes, size_t length)
{
	char size[24];
	int n;

	if (f->x->framing != HTTP_CHUNKED) {
		(void)to_client(f, bytes, length);
		return;
	}
	n = snprintf(size, sizeof(size), "%zx\r\n", length);
	if (to_client(f, size, (size_t)n) && to_client(f, bytes, length))
		(void)to_client(f, "\r\n", 2);
}

/* switch_protocol() - After 101: the connection belongs to client and app alone */
static void switch_protocol(struct http_front *f, const uint8_t *rest, size_t length)
{
	struct buffer from_app = BUFFER_INIT(LIMIT_STREAM_QUEUE);

	if (buffer_append(&from_app, rest, length) == 0 && f->stream)
		stream_pair_open(f->services, TAKE_PTR(f->stream), &f->in, TAKE_PTR(f->x->app),
				 &from_app);
	buffer_free(&from_app);
	hang_up(f);
}

static void answer_head(struct http_front *f)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT((size_t)2 * LIMIT_HTTP_HEADER);
	struct exchange *x = f->x;
	const struct http1_head *request = &x->request.head, *head = &x->answer.head;
	bool bodyless = strcmp(request->method, "HEAD") == 0;

	x->interim = head->status < 200 && head->status != 101;
	if (x->interim && request->minor == 0)
		return;
	if (head->status == 101 && !request->upgrade) {
		trouble(f, "It switched to another protocol unasked");
		return;
	}
	if (http_answer_head(head, bodyless, request->minor, &x->keep_alive, &x->framing, &out) <
	    0) {
		trouble(f, "Its answer has headers that are too long");
		return;
	}
	x->answer_begun |= !x->interim;
	(void)to_client(f, buffer_head(&out), out.length);
}

/* answer_end() - One message of the app is whole */
static void answer_end(struct http_front *f)
{
	if (f->x->interim) {
		f->x->interim = false; /* the final one follows */
		return;
	}
	if (f->x->framing != HTTP_CHUNKED || to_client(f, "0\r\n\r\n", 5))
		answered(f);
}

static void on_app_data(void *user, const uint8_t *bytes, size_t length)
{
	struct exchange *x = user;
	struct http_front *f = x->front;
	size_t used;
	int r;

	enter(f);
	while (f->x == x && x->phase == PHASE_PROXY && !f->closing && !x->answer_done) {
		r = http1_parse(&x->answer, bytes, length, &used);
		if (r == HTTP1_MORE)
			break;
		if (r < 0) {
			trouble(f, "It sent an invalid answer");
			break;
		}
		if (r == HTTP1_HEAD)
			answer_head(f);
		else if (r == HTTP1_BODY)
			put_body(f, x->answer.body, x->answer.body_length);
		bytes += used;
		length -= used;
		if (r == HTTP1_HEAD && !f->closing && f->x == x && x->answer_begun &&
		    x->phase == PHASE_PROXY && x->answer.head.status == 101) {
			switch_protocol(f, bytes, length);
			break;
		}
		if (r == HTTP1_END) {
			x->app_stays = !x->interim && length == 0;
			answer_end(f);
		}
	}
	if (!f->closing && f->stream)
		watch_stall(f);
	work(f);
	leave(f);
}

static void on_app_drained(void *user)
{
	struct http_front *f = ((struct exchange *)user)->front;

	enter(f);
	work(f);
	leave(f);
}

static void on_app_closed(void *user, const struct error *err)
{
	struct exchange *x = user;
	struct http_front *f = x->front;

	enter(f);
	if (x->answer_begun && !err && http1_parse_end(&x->answer) == HTTP1_END)
		answer_end(f);
	else if (!x->answer_begun && x->kept_app && !x->body_begun && may_repeat(x))
		call_app(f, true); /* it was closed while the request was on its way */
	else
		trouble(f, err ? err->text : "It closed the connection without an answer");
	if (f->x == x && !f->closing && x->phase == PHASE_PROXY)
		stream_close(TAKE_PTR(x->app));
	work(f);
	leave(f);
}

static void use_app(struct http_front *f, struct stream *app)
{
	static const struct stream_events events = {
		.data = on_app_data,
		.drained = on_app_drained,
		.closed = on_app_closed,
	};
	struct exchange *x = f->x;

	x->app = app;
	x->phase = PHASE_PROXY;
	http1_parser_free(&x->answer);
	http1_parser_init(&x->answer, true);
	if (strcmp(x->request.head.method, "HEAD") == 0)
		http1_parser_bodyless(&x->answer);
	stream_set_events(app, &events, x);
	if (stream_write(app, buffer_head(&x->head), x->head.length) < 0)
		trouble(f, "It takes no bytes");
	else
		stream_resume(app);
}

static void on_app_ready(void *user, struct stream *stream, int fd, const struct error *err)
{
	struct exchange *x = user;
	struct http_front *f = x->front;

	(void)fd;
	enter(f);
	x->call = NULL;
	x->kept_app = false;
	if (stream)
		use_app(f, stream);
	else
		trouble(f, err->text);
	work(f);
	leave(f);
}

static void call_app(struct http_front *f, bool again)
{
	struct exchange *x = f->x;
	struct stream *kept = again ? NULL
				    : app_take(f->services, x->serving, x->handler->target,
					       may_repeat(x) ? NSEC_PER_SEC * 60 : FRESH);

	stream_close(TAKE_PTR(x->app));
	x->kept_app = kept != NULL;
	if (kept) {
		use_app(f, kept);
		return;
	}
	x->phase = PHASE_CALL;
	x->call =
		app_call_begin(f->services, x->serving, x->handler->target, false, on_app_ready, x);
	if (!x->call)
		reply(f, 503, "", "503: out of memory\n");
}

/* --- From the client --- */

static void proxy(struct http_front *f, const struct privsep_person *person)
{
	struct exchange *x = f->x;
	const struct http_origin origin = {f->peer.address, f->tls, f->server_name, person};
	int r = http_request_head(&x->request.head, x->from, x->handler, &origin, &x->head);

	if (r == -ENOENT)
		reply(f, 404, "", "404 page not found\n");
	else if (r < 0)
		reply(f, 431, "", "431: the headers are too long\n");
	else
		call_app(f, false);
}

static void on_person(void *user, const struct privsep_person *person)
{
	struct exchange *x = user;
	struct http_front *f = x->front;

	enter(f);
	x->question = NULL;
	proxy(f, person);
	work(f);
	leave(f);
}

/* host_length() - Of a Host header's value without the port */
static size_t host_length(const char *host)
{
	return *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
}

static void redirect(struct http_front *f, const struct serve_handler *handler)
{
	const struct exchange *x = f->x;
	const char *host = http1_header(&x->request.head, "Host") ?: f->server_name;
	const char *at = handler->text, *next;
	_cleanup_(buffer_free) struct buffer where = BUFFER_INIT(16 * 1024);
	int r = buffer_append(&where, "Location: ", 10);

	while (r == 0 && *at) {
		if (strncmp(at, "${HOST}", 7) == 0) {
			r = buffer_append(&where, host, strnlen(host, host_length(host)));
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
		r = buffer_append(&where, "\r\n", 3);
	if (r < 0 || !http1_value_is_valid(handler->text))
		reply(f, 500, "", "500: the redirect is not usable\n");
	else
		reply(f, handler->status, (char *)buffer_head(&where), "%s", "");
}

/* find_site() - By the name that a TLS client asked for, or of the Host header */
static const struct serve_site *find_site(const struct http_front *f)
{
	const struct serving *serving = f->x->serving;
	const char *host = http1_header(&f->x->request.head, "Host");
	char name[256];
	size_t length;

	if (f->server_name)
		return serve_config_site(&serving->config, f->server_name, f->port, NULL);
	if (!host)
		return NULL;
	length = strnlen(host, host_length(host));
	if (length == 0 || length >= sizeof(name))
		return NULL;
	memcpy(name, host, length);
	name[length] = 0;
	if (name[length - 1] == '.')
		name[length - 1] = 0;
	return serve_config_site(&serving->config, name, f->port, serving->suffix);
}

/* begin() - The head of a request is whole */
static void begin(struct http_front *f)
{
	struct exchange *x = f->x;
	const struct http1_head *head = &x->request.head;
	const struct privsep_person *person;
	const struct serve_site *site;
	const char *rest;

	loop_timer_at(f->timer, DEADLINE_NEVER);
	x->serving = serving_hold(f->services->serving);
	x->keep_alive = head->keep_alive;
	x->phase = PHASE_OWNER;
	if (strcmp(head->method, "CONNECT") == 0 ||
	    http_path(head->target, x->path, &x->from) < 0) {
		reply(f, 400, "", "400: the request's target is not a path\n");
		return;
	}
	site = find_site(f);
	x->handler = site ? serve_site_handler(site, x->path, &rest) : NULL;
	if (!x->handler) {
		reply(f, 404, "", "404 page not found\n");
		return;
	}
	switch (x->handler->action) {
	case SERVE_PROXY:
		person = people_find(f->services->people, &f->peer.address);
		if (person) {
			proxy(f, person);
			return;
		}
		x->question = people_ask(f->services->people, &f->peer.address, on_person, x);
		if (!x->question)
			proxy(f, NULL);
		return;
	case SERVE_TEXT:
		reply(f, 200, "", "%s", x->handler->text);
		return;
	case SERVE_REDIRECT:
		redirect(f, x->handler);
		return;
	case SERVE_PATH:
		reply(f, 501, "", "501: files are not served yet\n");
		return;
	}
}

/* pass_body() - A piece of the request's body, to the app */
static void pass_body(struct http_front *f, const uint8_t *bytes, size_t length)
{
	struct exchange *x = f->x;
	_cleanup_(buffer_free) struct buffer chunk = BUFFER_INIT(LIMIT_STREAM_QUEUE);

	if (x->phase == PHASE_DRAIN) {
		x->drained += length;
		if (x->drained > DRAIN_MAX)
			end(f);
		return;
	}
	x->body_begun = true;
	if (x->request.head.chunked) {
		if (http1_write_chunk(&chunk, bytes, length) < 0) {
			trouble(f, "Out of memory");
			return;
		}
		bytes = buffer_head(&chunk);
		length = chunk.length;
	}
	if (stream_write(x->app, bytes, length) < 0)
		trouble(f, "It stopped to take the request");
}

static void request_end(struct http_front *f)
{
	struct exchange *x = f->x;

	x->request_done = true;
	if (x->answer_done)
		finish(f);
	else if (x->phase == PHASE_PROXY && x->request.head.chunked &&
		 stream_write(x->app, "0\r\n\r\n", 5) < 0)
		trouble(f, "It stopped to take the request");
}

/* may_read() - Whether received bytes can be used now */
static bool may_read(const struct http_front *f)
{
	const struct exchange *x = f->x;

	if (f->closing || f->ending || !f->stream)
		return false;
	if (!x || x->phase == PHASE_HEAD || x->phase == PHASE_DRAIN) /* many at once, none taken */
		return stream_pending(f->stream) <= services_queue_limit(f->services);
	return x->phase == PHASE_PROXY && !x->request_done && x->app &&
	       stream_pending(x->app) <= services_queue_limit(f->services);
}

static void begin_exchange(struct http_front *f)
{
	f->x = calloc(1, sizeof(*f->x));
	if (!f->x || !f->services->serving) {
		hang_up(f);
		return;
	}
	f->x->front = f;
	f->x->head = BUFFER_INIT((size_t)4 * LIMIT_HTTP_HEADER);
	http1_parser_init(&f->x->request, false);
	http1_parser_init(&f->x->answer, true);
	loop_timer_at(f->timer, clock_boottime() + HEAD_LIMIT);
}

/* step() - Use some of the received bytes; false: that needs more of them */
static bool step(struct http_front *f)
{
	struct exchange *x;
	size_t used = 0;
	int r;

	if (!f->x)
		begin_exchange(f);
	x = f->x;
	if (f->closing)
		return false;
	r = http1_parse(&x->request, buffer_head(&f->in), f->in.length, &used);
	if (r < 0) {
		x->keep_alive = false;
		x->request_done = true; /* nothing after it can be understood */
		if (!x->answer_begun && x->phase == PHASE_HEAD)
			reply(f, r == -EMSGSIZE ? 431 : 400, "", "%d: %s\n",
			      r == -EMSGSIZE ? 431 : 400, x->request.error ?: "bad request");
		else
			hang_up(f);
		return false;
	}
	if (r == HTTP1_HEAD)
		begin(f);
	else if (r == HTTP1_BODY)
		pass_body(f, x->request.body, x->request.body_length);
	else if (r == HTTP1_END)
		request_end(f);
	buffer_consume(&f->in, used);
	return r != HTTP1_MORE;
}

/* work() - Use the received bytes, as far as they can be passed on */
static void work(struct http_front *f)
{
	bool more = true;

	if (f->working)
		return;
	f->working = true;
	/* A request without a body ends without another byte. */
	while (more && may_read(f) && (f->in.length > 0 || f->x))
		more = step(f);
	f->working = false;
	if (f->closing || !f->stream)
		return;
	if (f->in.length == 0 || f->ending)
		buffer_free(&f->in);
	/* The end of the stream must be noticed while the app works. */
	if (f->in.length > 0 && !may_read(f))
		stream_pause(f->stream);
	else
		stream_resume(f->stream);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct http_front *f = user;

	if (f->ending)
		return;
	enter(f);
	if (buffer_append(&f->in, bytes, length) < 0)
		hang_up(f);
	else
		work(f);
	leave(f);
}

static void on_drained(void *user)
{
	struct http_front *f = user;

	enter(f);
	if (f->ending)
		hang_up(f);
	if (f->x && f->x->phase != PHASE_HEAD && f->x->phase != PHASE_DRAIN) {
		loop_timer_at(f->timer, DEADLINE_NEVER);
		if (f->x->app)
			stream_resume(f->x->app);
	}
	work(f);
	leave(f);
}

static void on_closed(void *user, const struct error *err)
{
	struct http_front *f = user;

	(void)err;
	enter(f);
	hang_up(f);
	leave(f);
}

static void on_timer(void *user)
{
	struct http_front *f = user;

	enter(f);
	hang_up(f);
	leave(f);
}

static void close_part(struct services_part *part)
{
	on_timer(container_of(part, struct http_front, part));
}

void http_front_open(struct services *services, struct stream *stream, bool tls,
		     const struct endpoint *peer, uint16_t port)
{
	static const struct stream_events events = {
		.data = on_data,
		.drained = on_drained,
		.closed = on_closed,
	};
	struct http_front *f = calloc(1, sizeof(*f));

	if (!f || loop_timer_create(services->loop, on_timer, f, &f->timer) < 0) {
		stream_close(stream);
		free(f);
		return;
	}
	f->services = services;
	f->stream = stream;
	f->peer = *peer;
	f->port = port;
	f->tls = tls;
	if (tls && tls_server_name(stream))
		f->server_name = strdup(tls_server_name(stream));
	f->in = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	services_add(services, &f->part, close_part);
	TAILQ_INSERT_TAIL(&services->fronts, f, entry);
	loop_timer_at(f->timer, clock_boottime() + HEAD_LIMIT);
	stream_set_events(stream, &events, f);
	stream_resume(stream);
}

bool http_front_close_idle(struct services *services)
{
	struct http_front *f;

	TAILQ_FOREACH(f, &services->fronts, entry)
		if (!f->x && !f->closing) {
			enter(f);
			hang_up(f);
			leave(f);
			return true;
		}
	return false;
}
