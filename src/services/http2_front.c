/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/http2_front.c - connections of HTTP/2 clients, with TLS or with prior knowledge
 *
 * DOC: Theory of operation
 *
 * Each stream is a turn: a request and its answer. Its flow is paused while the exchange does not
 * want the body, so the client's window closes, and that of the other streams stays open. An answer
 * that the client does not take pauses the app; a turn that does not move for STALL_LIMIT, though
 * it is the client's, is reset. A WebSocket of RFC 8441 reaches the app as an upgrade of HTTP/1.1;
 * after its 101 the stream's bytes are those of the connection.
 *
 * What all clients together may have: streams, as many as descriptors allow; of each the bytes of
 * an answer that services_queue_limit() allows; and KEPT_ALL of bodies that the app does not take.
 */
#include "base/cleanup.h"
#include "services/exchange.h"
#include "services/http_heads.h"
#include "transport/http2_duplex.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define IDLE_LIMIT  (120 * NSEC_PER_SEC) /* without a stream */
#define HEAD_LIMIT  (20 * NSEC_PER_SEC)  /* for the first head, and for one without other streams */
#define STALL_LIMIT (120 * NSEC_PER_SEC) /* for a client to take something, or to send some body */
#define LOOK_AGAIN  (10 * NSEC_PER_SEC)

#define STREAMS_MAX 100u                  /* of a connection at once */
#define KEPT_MAX    ((size_t)1024 * 1024) /* bytes of bodies on a connection, its window */
#define WINDOW_MIN  ((size_t)16 * 1024)

struct front {
	struct services_part part;
	struct services *services;
	struct http2_duplex *duplex; /* NULL: it has ended */
	struct endpoint peer;
	uint16_t port;
	bool tls, funnel;
	char *server_name; /* that a TLS client asked for, or NULL */
	unsigned int holds;
	bool closing;
	struct loop_timer *timer;
	LIST_HEAD(, turn) turns;
};

struct turn {
	LIST_ENTRY(turn) entry;
	struct front *front;
	unsigned int holds;
	struct http2_flow *flow; /* NULL: gone */
	struct exchange *x;      /* NULL: the answer is whole */
	struct stream *app;      /* after an upgrade */
	const struct http1_head *request;
	nanoseconds moved; /* when the client last gave or took something */
	bool tunnel;
	bool has_length; /* the request names its length, so its client has it all */
	bool request_done;
	bool head_sent, bodyless;
};

static void enter(struct front *f)
{
	f->holds++;
}

static void turn_enter(struct turn *turn)
{
	turn->holds++;
	enter(turn->front);
}

static void leave(struct front *f);

/* turn_leave() - A turn without stream, exchange and app is over */
static void turn_leave(struct turn *turn)
{
	struct front *f = turn->front;

	if (--turn->holds == 0 && !turn->flow && !turn->x && !turn->app) {
		LIST_REMOVE(turn, entry);
		f->services->streams--;
		free(turn);
	}
	leave(f);
}

/* drop() - End a turn; @code: why the stream is reset, if it is still there */
static void drop(struct turn *turn, uint32_t code)
{
	turn_enter(turn);
	exchange_close(TAKE_PTR(turn->x));
	stream_close(TAKE_PTR(turn->app));
	http2_flow_close(TAKE_PTR(turn->flow), code);
	turn_leave(turn);
}

static void leave(struct front *f)
{
	if (f->holds == 1 && f->closing) {
		while (!LIST_EMPTY(&f->turns))
			drop(LIST_FIRST(&f->turns), HTTP2_CODE_CANCEL);
		http2_duplex_close(TAKE_PTR(f->duplex));
	}
	if (--f->holds > 0 || !f->closing)
		return;
	services_remove(&f->part);
	loop_timer_free(f->timer);
	free(f->server_name);
	free(f);
}

static void hang_up(struct front *f)
{
	f->closing = true;
}

/* settle() - The flow gives what the exchange can pass on */
static void settle(struct turn *turn)
{
	bool wants =
		turn->app ? stream_pending(turn->app) <= services_queue_limit(turn->front->services)
			  : turn->x && exchange_wants(turn->x);

	if (!turn->flow)
		return;
	if (wants)
		http2_flow_resume(turn->flow);
	else
		http2_flow_pause(turn->flow);
}

/* --- To the client --- */

/* lost() - The answer can't be sent */
static void lost(struct turn *turn)
{
	http2_flow_close(TAKE_PTR(turn->flow), HTTP2_CODE_INTERNAL);
	exchange_close(TAKE_PTR(turn->x));
}

/* status_of() - In a tunnel 2xx says that it is open, which the app says by 101 alone (RFC 8441 §5) */
static int status_of(const struct http1_head *head, bool tunnel)
{
	if (!tunnel)
		return head->status;
	if (head->status == 101)
		return 200;
	return head->status >= 200 && head->status < 300 ? 502 : head->status;
}

/* filter() - @head without what belongs to the app's connection */
static void filter(const struct http1_head *head, bool tunnel, struct http1_head *out)
{
	bool empty = head->status < 200 || head->status == 204;

	out->status = status_of(head, tunnel);
	out->reason = "";
	out->content_length = head->content_length;
	out->header_count = 0;
	for (size_t i = 0; i < head->header_count; i++) {
		const struct http1_header *h = &head->headers[i];

		if (!http_is_hop(head, h->name) &&
		    !(empty && strcasecmp(h->name, "Content-Length") == 0) &&
		    !(head->status == 101 && strcasecmp(h->name, "Sec-WebSocket-Accept") == 0))
			out->headers[out->header_count++] = *h;
	}
}

static void on_head(void *user, const struct http1_head *head, bool last)
{
	struct turn *turn = user;
	struct http1_head out;

	if (!turn->flow)
		return;
	if (head->status == 101 && !turn->tunnel) {
		lost(turn);
		return;
	}
	turn->bodyless = last || strcmp(turn->request->method, "HEAD") == 0 ||
			 head->status == 204 || head->status == 304 ||
			 (head->content_length == 0 && !head->chunked && head->status >= 200);
	filter(head, turn->tunnel, &out);
	if (head->status >= 200 || head->status == 101)
		turn->head_sent = true;
	else
		turn->bodyless = false;
	turn->moved = clock_boottime();
	turn_enter(turn);
	if (http2_flow_answer(turn->flow, &out, turn->bodyless) < 0)
		lost(turn);
	turn_leave(turn);
}

static void on_body(void *user, const uint8_t *bytes, size_t length)
{
	struct turn *turn = user;

	if (!turn->flow || turn->bodyless)
		return;
	if (http2_flow_pending(turn->flow) == 0)
		turn->moved = clock_boottime();
	turn_enter(turn);
	if (http2_flow_write(turn->flow, bytes, length) < 0)
		lost(turn);
	turn_leave(turn);
}

static void on_end(void *user, const struct http1_header *trailers, size_t count)
{
	struct turn *turn = user;

	turn_enter(turn);
	exchange_close(TAKE_PTR(turn->x));
	if (turn->flow && !turn->bodyless && http2_flow_end(turn->flow, trailers, count) < 0)
		lost(turn);
	turn_leave(turn);
}

static void on_cut(void *user)
{
	struct turn *turn = user;

	turn_enter(turn);
	lost(turn);
	turn_leave(turn);
}

static void on_more(void *user)
{
	struct turn *turn = user;

	turn_enter(turn);
	settle(turn);
	turn_leave(turn);
}

static size_t on_pending(const void *user)
{
	const struct turn *turn = user;

	return turn->flow ? http2_flow_pending(turn->flow) : 0;
}

/* --- After an upgrade --- */

static void on_app_data(void *user, const uint8_t *bytes, size_t length)
{
	struct turn *turn = user;

	turn_enter(turn);
	on_body(turn, bytes, length);
	if (!turn->flow)
		stream_close(TAKE_PTR(turn->app));
	else if (http2_flow_pending(turn->flow) > services_queue_limit(turn->front->services))
		stream_pause(turn->app);
	turn_leave(turn);
}

static void on_app_drained(void *user)
{
	on_more(user);
}

static void on_app_closed(void *user, const struct error *err)
{
	struct turn *turn = user;

	(void)err;
	turn_enter(turn);
	stream_close(TAKE_PTR(turn->app));
	if (turn->flow && http2_flow_end(turn->flow, NULL, 0) < 0)
		lost(turn);
	turn_leave(turn);
}

static void on_upgraded(void *user, struct stream *app, const uint8_t *rest, size_t length)
{
	static const struct stream_events events = {
		.data = on_app_data,
		.drained = on_app_drained,
		.closed = on_app_closed,
	};
	struct turn *turn = user;

	turn_enter(turn);
	exchange_close(TAKE_PTR(turn->x));
	if (!turn->flow) {
		stream_close(app);
	} else {
		turn->app = app;
		stream_set_events(app, &events, turn);
		stream_hold(app);
		if (length > 0)
			on_body(turn, rest, length);
		settle(turn);
		stream_resume(app);
		stream_release(app);
	}
	turn_leave(turn);
}

/* --- From the client --- */

static void on_flow_data(void *user, const uint8_t *bytes, size_t length)
{
	struct turn *turn = user;

	turn_enter(turn);
	turn->moved = clock_boottime();
	if (turn->app) {
		if (stream_write(turn->app, bytes, length) < 0)
			lost(turn);
	} else if (turn->x) {
		exchange_body(turn->x, bytes, length);
	}
	settle(turn);
	turn_leave(turn);
}

static void on_flow_end(void *user, const struct http1_header *trailers, size_t count)
{
	struct turn *turn = user;

	turn_enter(turn);
	turn->request_done = true;
	if (turn->app) {
		stream_finish(TAKE_PTR(turn->app));
		if (http2_flow_end(turn->flow, NULL, 0) < 0)
			lost(turn);
	} else if (turn->x) {
		exchange_request_end(turn->x, trailers, count);
	}
	turn_leave(turn);
}

static void on_flow_drained(void *user)
{
	struct turn *turn = user;

	turn_enter(turn);
	turn->moved = clock_boottime();
	if (turn->app)
		stream_resume(turn->app);
	else if (turn->x)
		exchange_taken(turn->x);
	turn_leave(turn);
}

static void on_flow_gone(void *user, uint32_t code)
{
	struct turn *turn = user;

	(void)code;
	turn->flow = NULL;
	drop(turn, HTTP2_CODE_NONE);
}

static const struct http2_flow_events flow_events = {
	.data = on_flow_data,
	.end = on_flow_end,
	.drained = on_flow_drained,
	.gone = on_flow_gone,
};

/* has_room() - Whether the app may get one connection more: a stream costs a descriptor there */
static bool has_room(const struct services *services)
{
	return services->streams + services->connections <= services->connections_max;
}

static void on_request(void *user, struct http2_flow *flow, const struct http1_head *head,
		       bool last, bool tunnel)
{
	static const struct exchange_front exchange_events = {
		.head = on_head,
		.body = on_body,
		.end = on_end,
		.cut = on_cut,
		.more = on_more,
		.upgraded = on_upgraded,
		.pending = on_pending,
	};
	struct front *f = user;
	struct turn *turn;
	const struct exchange_origin origin = {
		.peer = &f->peer,
		.port = f->port,
		.tls = f->tls,
		.funnel = f->funnel,
		.server_name = f->server_name,
		.version = 2,
	};

	turn = f->closing || !has_room(f->services) ? NULL : calloc(1, sizeof(*turn));
	if (!turn) {
		http2_flow_close(flow, HTTP2_CODE_REFUSED);
		return;
	}
	services_set_idle(&f->part, false);
	loop_timer_at(f->timer, clock_boottime() + LOOK_AGAIN);
	f->services->streams++;
	turn->front = f;
	turn_enter(turn);
	turn->flow = flow;
	turn->request = head;
	turn->tunnel = tunnel;
	turn->request_done = last;
	turn->has_length = head->content_length >= 0;
	turn->moved = clock_boottime();
	LIST_INSERT_HEAD(&f->turns, turn, entry);
	http2_flow_set_events(flow, &flow_events, turn);
	if (exchange_open(f->services, &origin, head, last || tunnel, &exchange_events, turn,
			  &turn->x) < 0)
		drop(turn, HTTP2_CODE_REFUSED);
	turn_leave(turn);
}

/* --- The connection --- */

static void on_changed(void *user)
{
	struct front *f = user;

	if (http2_duplex_flows(f->duplex) > 0) {
		if (LIST_EMPTY(&f->turns)) /* a head is coming */
			loop_timer_at(f->timer, clock_boottime() + HEAD_LIMIT);
		return;
	}
	if (http2_duplex_is_going(f->duplex)) {
		enter(f);
		hang_up(f);
		leave(f);
		return;
	}
	services_set_idle(&f->part, true);
	loop_timer_at(f->timer, clock_boottime() + IDLE_LIMIT);
}

static void on_ended(void *user, const struct error *err)
{
	struct front *f = user;

	(void)err;
	enter(f);
	hang_up(f);
	leave(f);
}

/* is_late() - Whether a turn waits for its client, and has for too long */
static bool is_late(const struct turn *turn, nanoseconds now)
{
	/* A whole answer that is still here waits in the connection. */
	bool takes_nothing =
		turn->flow && (http2_flow_pending(turn->flow) > 0 || (!turn->x && !turn->app));
	bool sends_nothing =
		turn->x && turn->has_length && !turn->request_done && exchange_wants(turn->x);

	return (takes_nothing || sends_nothing) && now - turn->moved >= STALL_LIMIT;
}

static void on_timer(void *user)
{
	struct front *f = user;
	nanoseconds now = clock_boottime();
	struct turn *turn, *next;

	enter(f);
	if (LIST_EMPTY(&f->turns))
		hang_up(f);
	for (turn = LIST_FIRST(&f->turns); turn; turn = next) {
		next = LIST_NEXT(turn, entry);
		if (is_late(turn, now))
			drop(turn, HTTP2_CODE_CANCEL);
	}
	loop_timer_at(f->timer, now + LOOK_AGAIN);
	leave(f);
}

static void close_part(struct services_part *part)
{
	on_ended(container_of(part, struct front, part), NULL);
}

static void retire(struct services_part *part)
{
	struct front *f = container_of(part, struct front, part);

	enter(f);
	if (http2_duplex_flows(f->duplex) == 0)
		hang_up(f);
	else
		http2_duplex_retire(f->duplex);
	leave(f);
}

void http2_front_open(struct services *services, struct stream *stream, bool tls, bool funnel,
		      const struct endpoint *peer, uint16_t port, const uint8_t *bytes,
		      size_t length)
{
	static const struct http2_duplex_events events = {
		.request = on_request,
		.changed = on_changed,
		.ended = on_ended,
	};
	struct http2_duplex_options options = {
		.server = true,
		.window = services_queue_limit(services),
		.kept = KEPT_MAX,
		.pool = &services->kept,
		.flows = STREAMS_MAX,
	};
	struct front *f = calloc(1, sizeof(*f));

	if (options.window < WINDOW_MIN)
		options.window = WINDOW_MIN;
	if (!f || loop_timer_create(services->loop, on_timer, f, &f->timer) < 0) {
		stream_close(stream);
		free(f);
		return;
	}
	f->services = services;
	f->peer = *peer;
	f->port = port;
	f->tls = tls;
	f->funnel = funnel;
	if (tls && tls_server_name(stream))
		f->server_name = strdup(tls_server_name(stream));
	if (http2_duplex_open(stream, &options, &events, f, &f->duplex) < 0) {
		loop_timer_free(f->timer);
		free(f->server_name);
		free(f);
		return;
	}
	services_add(services, &f->part, port, close_part);
	services_set_peer(&f->part, &f->peer.address);
	f->part.retire = retire;
	if (funnel)
		services_add_funnel(&f->part);
	services_set_idle(&f->part, true);
	loop_timer_at(f->timer, clock_boottime() + HEAD_LIMIT);
	enter(f);
	if (length > 0)
		http2_duplex_receive(f->duplex, bytes, length);
	stream_resume(stream);
	leave(f);
}
