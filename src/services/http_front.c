/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/http_front.c - connections of HTTP/1.1 clients, with TLS or without
 *
 * DOC: Theory of operation
 *
 * A connection has one turn (a request and its answer) at a time, and between two of them no memory
 * but itself. The exchange answers; bytes of the request are read while it wants them, so the
 * client's stream is paused otherwise. A request that was answered before its body came is read to
 * its end, up to a limit.
 *
 * Code that may end a connection runs between enter() and leave(); the last leave() frees it.
 */
#include "base/cleanup.h"
#include "services/exchange.h"
#include "services/http_heads.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define IDLE_LIMIT  (120 * NSEC_PER_SEC) /* between two requests */
#define HEAD_LIMIT  (20 * NSEC_PER_SEC)  /* from the first byte of a head to its end */
#define STALL_LIMIT (120 * NSEC_PER_SEC) /* for a client to take something, or to send some body */
#define DRAIN_MAX   ((size_t)256 * 1024)
#define GATHER_MAX  ((size_t)16 * 1024) /* bytes of an answer that leave together: a TLS record */

/* The first bytes of an HTTP/2 client that knows what is here (RFC 9113 §3.4). */
#define PREFACE        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_LENGTH (sizeof(PREFACE) - 1)

struct turn {
	struct http1_parser request;
	struct exchange *x;
	bool has_head;
	enum http_framing framing;
	bool keep_alive;
	bool request_done, answer_done;
	size_t drained;
	struct buffer out; /* the beginning of an answer, until what comes with it is there too */
};

struct http_front {
	struct services_part part;
	struct services *services;
	struct stream *stream; /* NULL: given away */
	struct endpoint peer;
	uint16_t port;
	bool tls, funnel;
	bool used;         /* it had a request */
	bool retired;      /* it takes no more */
	char *server_name; /* that a TLS client asked for, or NULL */
	unsigned int holds;
	bool closing, working;
	bool ending; /* the client takes the last bytes, and is not listened to */
	struct loop_timer *timer;
	struct buffer in;  /* received, and not used yet */
	struct turn *turn; /* NULL between two of them */
};

static void work(struct http_front *f);

static void enter(struct http_front *f)
{
	f->holds++;
}

static void turn_free(struct turn *turn)
{
	if (!turn)
		return;
	exchange_close(turn->x);
	http1_parser_free(&turn->request);
	buffer_free(&turn->out);
	free(turn);
}

/* flush() - Send the gathered bytes; they are lost only with the connection */
static int flush(struct http_front *f)
{
	struct buffer *out = f->turn && f->stream ? &f->turn->out : NULL;
	int r;

	if (!out || out->length == 0)
		return 0;
	r = stream_write(f->stream, buffer_head(out), out->length);
	buffer_consume(out, out->length);
	return r;
}

static void leave(struct http_front *f)
{
	if (--f->holds > 0 || !f->closing)
		return;
	(void)flush(f);
	services_remove(&f->part);
	turn_free(f->turn);
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

static void on_flush(struct services_part *part)
{
	struct http_front *f = container_of(part, struct http_front, part);

	enter(f);
	if (flush(f) < 0)
		hang_up(f);
	leave(f);
}

static bool to_client(struct http_front *f, const void *bytes, size_t length)
{
	struct buffer *out = &f->turn->out;
	int r;

	if (f->closing)
		return false;
	if (out->length + length <= GATHER_MAX) {
		r = buffer_append(out, bytes, length);
		services_flush_soon(&f->part, on_flush);
	} else {
		r = flush(f);
		if (r == 0)
			r = stream_write(f->stream, bytes, length);
	}
	if (r < 0)
		hang_up(f);
	return r == 0;
}

/* end() - Close it when the client has taken everything */
static void end(struct http_front *f)
{
	if (flush(f) < 0 || stream_pending(f->stream) == 0) {
		hang_up(f);
		return;
	}
	f->ending = true;
	loop_timer_at(f->timer, clock_boottime() + STALL_LIMIT);
}

/* finish() - The turn is over: the next one, or the end of the connection */
static void finish(struct http_front *f)
{
	bool keep_alive = f->turn->keep_alive && !f->retired;

	if (flush(f) < 0)
		keep_alive = false;
	turn_free(TAKE_PTR(f->turn));
	if (!keep_alive) {
		end(f);
		return;
	}
	services_set_idle(&f->part, true);
	loop_timer_at(f->timer, clock_boottime() + IDLE_LIMIT);
}

/* answered() - The whole answer is out; what is left of the request is dropped */
static void answered(struct http_front *f)
{
	struct turn *turn = f->turn;

	exchange_close(TAKE_PTR(turn->x));
	turn->answer_done = true;
	if (turn->request_done)
		finish(f);
	else
		loop_timer_at(f->timer, clock_boottime() + HEAD_LIMIT);
}

static void on_head(void *user, const struct http1_head *head, bool last)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT((size_t)2 * LIMIT_HTTP_HEADER);
	struct http_front *f = user;
	struct turn *turn = f->turn;
	const struct http1_head *request = &turn->request.head;

	(void)last;
	if (head->status < 200 && head->status != 101 && request->minor == 0)
		return;
	/* The client may send the body that it has announced, or not. */
	if (f->retired ||
	    (head->status >= 200 && !turn->request_done && http1_header(request, "Expect")))
		turn->keep_alive = false;
	if (http_answer_head(head, strcmp(request->method, "HEAD") == 0, request->minor,
			     &turn->keep_alive, &turn->framing, &out) < 0)
		hang_up(f);
	else
		(void)to_client(f, buffer_head(&out), out.length);
}

static void on_body(void *user, const uint8_t *bytes, size_t length)
{
	struct http_front *f = user;
	char size[24];
	int n;

	if (length == 0 || f->turn->framing == HTTP_NO_BODY)
		return;
	if (f->turn->framing != HTTP_CHUNKED) {
		(void)to_client(f, bytes, length);
	} else {
		n = snprintf(size, sizeof(size), "%zx\r\n", length);
		if (to_client(f, size, (size_t)n) && to_client(f, bytes, length))
			(void)to_client(f, "\r\n", 2);
	}
	if (!f->closing && stream_pending(f->stream) > services_queue_limit(f->services))
		loop_timer_at(f->timer, clock_boottime() + STALL_LIMIT);
}

static void on_end(void *user, const struct http1_header *trailers, size_t count)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT((size_t)2 * LIMIT_HTTP_HEADER);
	struct http_front *f = user;

	enter(f);
	if (f->turn->framing == HTTP_CHUNKED &&
	    (http1_write_last_chunk(&out, trailers, count) < 0 ||
	     !to_client(f, buffer_head(&out), out.length)))
		hang_up(f);
	else if (!f->closing)
		answered(f);
	work(f);
	leave(f);
}

/* on_cut() - The client sees that the answer is cut off */
static void on_cut(void *user)
{
	struct http_front *f = user;

	enter(f);
	hang_up(f);
	leave(f);
}

static void on_more(void *user)
{
	struct http_front *f = user;

	enter(f);
	work(f);
	leave(f);
}

/* on_upgraded() - The connection belongs to client and app alone */
static void on_upgraded(void *user, struct stream *app, const uint8_t *rest, size_t length)
{
	struct http_front *f = user;
	const struct stream_pair_kind kind = {&f->peer.address, f->port, f->part.funnel, false};
	struct buffer from_app = BUFFER_INIT(LIMIT_STREAM_QUEUE);

	enter(f);
	if (!f->closing && flush(f) == 0 && buffer_append(&from_app, rest, length) == 0)
		stream_pair_open(f->services, &kind, TAKE_PTR(f->stream), &f->in, app, &from_app);
	else
		stream_close(app);
	buffer_free(&from_app);
	hang_up(f);
	leave(f);
}

static size_t on_pending(const void *user)
{
	return stream_pending(((const struct http_front *)user)->stream);
}

/* --- From the client --- */

/* refuse() - The request can't be read, so nothing after it can */
static void refuse(struct http_front *f, int status, const char *why)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT(4096);
	int r = http1_write_response(&out, status);

	if (r == 0)
		r = buffer_printf(&out,
				  "Content-Type: text/plain; charset=utf-8\r\n"
				  "X-Content-Type-Options: nosniff\r\nConnection: close\r\n"
				  "Content-Length: %zu\r\n\r\n%d: %s\n",
				  strlen(why) + 6, status, why);
	if (r < 0 || !to_client(f, buffer_head(&out), out.length))
		hang_up(f);
	else
		end(f);
}

/* begin() - The head of a request is whole */
static void begin(struct http_front *f)
{
	static const struct exchange_front front = {
		.head = on_head,
		.body = on_body,
		.end = on_end,
		.cut = on_cut,
		.more = on_more,
		.upgraded = on_upgraded,
		.pending = on_pending,
	};
	struct turn *turn = f->turn;
	const struct http1_head *head = &turn->request.head;
	const struct exchange_origin origin = {
		.peer = &f->peer,
		.port = f->port,
		.tls = f->tls,
		.funnel = f->funnel,
		.server_name = f->server_name,
		.version = 1,
	};

	loop_timer_at(f->timer, DEADLINE_NEVER);
	turn->has_head = true;
	turn->keep_alive = head->keep_alive;
	if (exchange_open(f->services, &origin, head,
			  !head->chunked && head->content_length <= 0 && !head->upgrade, &front, f,
			  &turn->x) < 0)
		hang_up(f);
}

/* take_body() - A piece of the request's body */
static void take_body(struct http_front *f)
{
	struct turn *turn = f->turn;

	if (!turn->answer_done) {
		exchange_body(turn->x, turn->request.body, turn->request.body_length);
		return;
	}
	turn->drained += turn->request.body_length;
	if (turn->drained > DRAIN_MAX)
		end(f);
}

static void take_end(struct http_front *f)
{
	struct turn *turn = f->turn;

	turn->request_done = true;
	loop_timer_at(f->timer, DEADLINE_NEVER);
	if (turn->answer_done)
		finish(f);
	else
		exchange_request_end(turn->x, turn->request.trailers, turn->request.trailer_count);
}

/* may_read() - Whether received bytes can be used now */
static bool may_read(const struct http_front *f)
{
	const struct turn *turn = f->turn;

	if (f->closing || f->ending || !f->stream)
		return false;
	if (!turn || !turn->has_head || turn->answer_done) /* many at once, none taken */
		return stream_pending(f->stream) <= services_queue_limit(f->services);
	return !turn->request_done && turn->x && exchange_wants(turn->x);
}

static void begin_turn(struct http_front *f)
{
	f->turn = calloc(1, sizeof(*f->turn));
	if (!f->turn) {
		hang_up(f);
		return;
	}
	services_set_idle(&f->part, false);
	f->used = true;
	http1_parser_init(&f->turn->request, false);
	f->turn->request.keep_trailers = true;
	f->turn->out = BUFFER_INIT(GATHER_MAX);
	loop_timer_at(f->timer, clock_boottime() + HEAD_LIMIT);
}

/* step() - Use some of the received bytes; false: that needs more of them */
static bool step(struct http_front *f)
{
	struct turn *turn;
	size_t used = 0;
	int r;

	if (!f->turn)
		begin_turn(f);
	turn = f->turn;
	if (f->closing)
		return false;
	r = http1_parse(&turn->request, buffer_head(&f->in), f->in.length, &used);
	if (r < 0) {
		if (turn->has_head)
			hang_up(f);
		else
			refuse(f, r == -EMSGSIZE ? 431 : 400, turn->request.error ?: "bad request");
		return false;
	}
	if (r == HTTP1_HEAD)
		begin(f);
	else if (r == HTTP1_BODY)
		take_body(f);
	else if (r == HTTP1_END)
		take_end(f);
	buffer_consume(&f->in, used);
	return r != HTTP1_MORE;
}

/* watch_body() - A client that announced a body sends some of it now and then */
static void watch_body(struct http_front *f)
{
	const struct turn *turn = f->turn;

	if (turn && turn->has_head && !turn->request_done && !turn->answer_done &&
	    !exchange_answered(turn->x) && exchange_wants(turn->x))
		loop_timer_at(f->timer, clock_boottime() + STALL_LIMIT);
	else if (turn && turn->has_head && !turn->answer_done && stream_pending(f->stream) == 0)
		loop_timer_at(f->timer, DEADLINE_NEVER);
}

/* work() - Use the received bytes, as far as they can be passed on */
static void work(struct http_front *f)
{
	bool more = true;

	if (f->working)
		return;
	f->working = true;
	/* A request without a body ends without another byte. */
	while (more && may_read(f) && (f->in.length > 0 || f->turn))
		more = step(f);
	f->working = false;
	if (f->closing || !f->stream)
		return;
	watch_body(f);
	if (f->in.length == 0 || f->ending)
		buffer_free(&f->in);
	/* The end of the stream must be noticed while the app works. */
	if (f->in.length > 0 && !may_read(f))
		stream_pause(f->stream);
	else
		stream_resume(f->stream);
}

/* speaks_http2() - Whether the first bytes are those of HTTP/2: 1, 0, or -EAGAIN for too few */
static int speaks_http2(const uint8_t *bytes, size_t length)
{
	size_t same = length < PREFACE_LENGTH ? length : PREFACE_LENGTH;

	if (memcmp(bytes, PREFACE, same) != 0)
		return 0;
	return same == PREFACE_LENGTH ? 1 : -EAGAIN;
}

/* look_for_http2() - Whether HTTP/2 begins, or more bytes are needed to know */
static bool look_for_http2(struct http_front *f)
{
	int r = speaks_http2(buffer_head(&f->in), f->in.length);

	if (r == 1) {
		http2_front_open(f->services, TAKE_PTR(f->stream), false, f->funnel, &f->peer,
				 f->port, buffer_head(&f->in), f->in.length);
		hang_up(f);
	}
	return r != 0;
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct http_front *f = user;

	if (f->ending)
		return;
	enter(f);
	if (buffer_append(&f->in, bytes, length) < 0)
		hang_up(f);
	else if (f->used || f->tls || !look_for_http2(f))
		work(f);
	leave(f);
}

static void on_drained(void *user)
{
	struct http_front *f = user;

	enter(f);
	if (f->ending)
		hang_up(f);
	if (f->turn && f->turn->x) {
		loop_timer_at(f->timer, DEADLINE_NEVER);
		exchange_taken(f->turn->x);
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

static void retire(struct services_part *part)
{
	struct http_front *f = container_of(part, struct http_front, part);

	f->retired = true;
	if (!f->turn)
		on_timer(f);
}

void http_front_open(struct services *services, struct stream *stream, bool tls, bool funnel,
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
	f->funnel = funnel;
	if (tls && tls_server_name(stream))
		f->server_name = strdup(tls_server_name(stream));
	f->in = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	services_add(services, &f->part, port, close_part);
	services_set_peer(&f->part, &f->peer.address);
	f->part.retire = retire;
	if (funnel)
		services_add_funnel(&f->part);
	services_set_idle(&f->part, true);
	loop_timer_at(f->timer, clock_boottime() + HEAD_LIMIT);
	stream_set_events(stream, &events, f);
	stream_resume(stream);
}
