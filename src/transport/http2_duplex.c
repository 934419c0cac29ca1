/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2_duplex.c - HTTP/2 for proxies: bodies of any length, both ways
 *
 * Theory of operation
 *   http2_link.h describes how frames move. A flow (http2_flow.c) is the user data of its stream.
 */
#include "base/cleanup.h"
#include "transport/http2_duplex_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Frames that move nothing, and resets: at once, and one each interval. */
#define CHEAP_BURST     2000u
#define CHEAP_INTERVAL  (NSEC_PER_SEC / 200)
#define CHEAP_PER_BYTES ((size_t)64 * 1024)
#define RESET_BURST     500u
#define RESET_INTERVAL  (NSEC_PER_SEC / 100)

/* Frames of ours that may wait for a client which sends, and does not read: refusals, above all. */
#define UNSENT_MAX 1000u

static struct http2_duplex *duplex_of(struct http2_link *link)
{
	return container_of(link, struct http2_duplex, link);
}

/* drop() - Reset a flow that broke a rule */
static void drop(struct http2_flow *flow, uint32_t code)
{
	http2_link_reset(&flow->duplex->link, flow->id, code);
	http2_flow_gone(flow, code);
}

/* --- The connection --- */

static void end_all(struct http2_duplex *d, const struct error *err)
{
	if (d->link.over)
		return;
	d->link.over = true;
	while (!LIST_EMPTY(&d->flows) && !d->link.closed)
		http2_flow_gone(LIST_FIRST(&d->flows), NGHTTP2_CONNECT_ERROR);
	if (!d->link.closed)
		d->events->ended(d->user, err);
}

static void on_end(struct http2_link *link, const struct error *err)
{
	end_all(duplex_of(link), err);
}

static void on_sent(struct http2_link *link)
{
	struct http2_duplex *d = duplex_of(link);
	struct http2_flow *flow = LIST_FIRST(&d->flows);

	while (flow && !link->closed && !link->over) {
		bool drained = flow->drained;

		flow->drained = false;
		if (drained && flow->events && flow->events->drained)
			flow->events->drained(flow->user);
		/* The list may have changed. */
		flow = drained ? LIST_FIRST(&d->flows) : LIST_NEXT(flow, entry);
	}
	if (d->changed && !link->closed && !link->over) {
		d->changed = false;
		if (d->events->changed)
			d->events->changed(d->user);
	}
}

static void on_free(struct http2_link *link)
{
	struct http2_duplex *d = duplex_of(link);

	while (!LIST_EMPTY(&d->flows))
		http2_flow_forget(LIST_FIRST(&d->flows));
	/* GOAWAY and the last answers are still sent, but not to a peer that doesn't read. */
	if (stream_pending(link->below) < HTTP2_QUEUE_HIGH)
		stream_finish(link->below);
	else
		stream_close(link->below);
	nghttp2_session_del(link->session);
	free(d);
}

/* too_many() - End the connection of a peer that keeps us busy */
static int too_many(struct http2_duplex *d)
{
	(void)nghttp2_session_terminate_session(d->link.session, NGHTTP2_ENHANCE_YOUR_CALM);
	return 0;
}

void http2_duplex_moved(struct http2_duplex *d, size_t length)
{
	d->moved += length;
	if (d->moved >= CHEAP_PER_BYTES) {
		d->moved = 0;
		d->cheap.full_at = 0;
	}
}

/* --- Callbacks of nghttp2 --- */

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *user)
{
	struct http2_duplex *d = duplex_of(user);

	if (!d->options.server)
		return 0;
	if (nghttp2_session_get_outbound_queue_size(session) > UNSENT_MAX)
		return too_many(d);
	if (head->type == NGHTTP2_RST_STREAM)
		return quota_take(&d->resets, clock_boottime()) ? 0 : too_many(d);
	if (head->type == NGHTTP2_HEADERS || head->type == NGHTTP2_WINDOW_UPDATE ||
	    head->type == NGHTTP2_DATA)
		return 0;
	if (!quota_take(&d->cheap, clock_boottime()))
		return too_many(d);
	return 0;
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2_duplex *d = duplex_of(user);
	struct http2_flow *flow = http2_flow_of(session, frame->hd.stream_id);
	enum http2_head_kind kind = HTTP2_TRAILERS;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (d->link.closed)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		flow = http2_flow_new(d);
		if (!flow)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		flow->id = frame->hd.stream_id;
		flow->paused = true;
		nghttp2_session_set_stream_user_data(session, flow->id, flow);
		kind = HTTP2_REQUEST;
	} else if (flow && !d->options.server && !flow->answered) {
		kind = HTTP2_ANSWER;
	}
	if (!flow)
		return 0; /* given up meanwhile */
	http2_head_free(flow->reading);
	flow->reading = http2_head_new(kind);
	return flow->reading ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
		     void *user)
{
	struct http2_flow *flow = http2_flow_of(session, frame->hd.stream_id);

	(void)flags;
	(void)user;
	if (!flow || !flow->reading)
		return 0;
	return http2_head_field(flow->reading, name, name_length, value, value_length) < 0
		       ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE /* resets the stream */
		       : 0;
}

/* on_invalid_header() - Refused, not dropped: somebody behind us might read it differently */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
			     const uint8_t *name, size_t name_length, const uint8_t *value,
			     size_t value_length, uint8_t flags, void *user)
{
	(void)session;
	(void)frame;
	(void)name;
	(void)name_length;
	(void)value;
	(void)value_length;
	(void)flags;
	(void)user;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* has_room() - Whether the pool takes @length bytes more of this connection */
static bool has_room(const struct http2_duplex *d, size_t length)
{
	const struct http2_pool *pool = d->options.pool;

	return !pool ||
	       pool->used + length <=
		       (d->kept_in + length > HTTP2_POOL_SMALL ? pool->max / 2 : pool->max);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
		   size_t length, void *user)
{
	struct http2_duplex *d = duplex_of(user);
	struct http2_flow *flow = http2_flow_of(session, id);

	(void)flags;
	if (!flow || flow->in_last) {
		(void)nghttp2_session_consume(session, id, length);
		return 0;
	}
	http2_duplex_moved(d, length);
	if (d->kept_in < d->options.kept)
		(void)nghttp2_session_consume_connection(session, length);
	else
		flow->owed += length;
	if (flow->in.length == 0 && !flow->paused) { /* without a copy */
		flow->holds++;
		http2_flow_opened(flow, length);
		if (flow->events && flow->events->data)
			flow->events->data(flow->user, bytes, length);
		http2_flow_release(flow);
		return 0;
	}
	if (!has_room(d, length)) {
		drop(flow, NGHTTP2_ENHANCE_YOUR_CALM);
		return 0;
	}
	if (buffer_append(&flow->in, bytes, length) < 0) {
		drop(flow, NGHTTP2_FLOW_CONTROL_ERROR);
		return 0;
	}
	http2_kept(d, length, 0);
	return 0;
}

/* take_request() - The head of a request is whole */
static void take_request(struct http2_duplex *d, struct http2_flow *flow, bool last)
{
	struct http1_head answer = {.reason = "", .content_length = -1};
	int r = http2_head_end(flow->reading, last);

	flow->head = TAKE_PTR(flow->reading);
	flow->in_last = last;
	if (r == 0) {
		d->events->request(d->user, flow, &flow->head->parsed.head, last,
				   flow->head->tunnel);
		return;
	}
	if (r == -EMSGSIZE || r == -EOPNOTSUPP) {
		answer.status = r == -EMSGSIZE ? 431 : 501;
		(void)http2_flow_answer(flow, &answer, true);
		http2_flow_forget(flow);
		return;
	}
	drop(flow, NGHTTP2_PROTOCOL_ERROR);
}

/* take_answer() - A head of the server is whole */
static void take_answer(struct http2_flow *flow, bool last)
{
	struct http2_head *head = TAKE_PTR(flow->reading);

	if (http2_head_end(head, last) < 0 || head->parsed.head.status == 101 ||
	    (head->parsed.head.status < 200 && last)) {
		http2_head_free(head);
		drop(flow, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	flow->answered = head->parsed.head.status >= 200;
	flow->holds++;
	if (flow->events && flow->events->head)
		flow->events->head(flow->user, &head->parsed.head, last);
	http2_head_free(head);
	if (!flow->closed && last) {
		flow->in_last = true;
		http2_flow_deliver(flow);
	}
	http2_flow_release(flow);
}

static void take_trailers(struct http2_flow *flow, bool last)
{
	flow->trailers = TAKE_PTR(flow->reading);
	if (!last || http2_head_end(flow->trailers, true) < 0) {
		drop(flow, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	flow->in_last = true;
	http2_flow_deliver(flow);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2_duplex *d = duplex_of(user);
	bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct http2_flow *flow;

	if (frame->hd.type == NGHTTP2_GOAWAY) {
		d->going = d->changed = true;
		return 0;
	}
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	if (frame->hd.type == NGHTTP2_DATA && frame->hd.length == frame->data.padlen && !last &&
	    d->options.server && !quota_take(&d->cheap, clock_boottime()))
		return too_many(d);
	flow = http2_flow_of(session, frame->hd.stream_id);
	if (!flow || d->link.closed)
		return 0;
	if (frame->hd.type == NGHTTP2_DATA) {
		if (last && !flow->in_last) {
			flow->in_last = true;
			http2_flow_deliver(flow);
		}
	} else if (!flow->reading) {
		return 0;
	} else if (flow->reading->kind == HTTP2_REQUEST) {
		take_request(d, flow, last);
	} else if (flow->reading->kind == HTTP2_ANSWER) {
		take_answer(flow, last);
	} else {
		take_trailers(flow, last);
	}
	return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct http2_flow *flow = http2_flow_of(session, id);

	if (!flow)
		return 0;
	if (code == NGHTTP2_NO_ERROR && flow->in_last && !flow->in_ended &&
	    !duplex_of(user)->options.server) {
		flow->id = -1; /* its owner has not read it to the end */
		return 0;
	}
	nghttp2_session_set_stream_user_data(session, id, NULL);
	flow->id = -1;
	http2_flow_gone(flow, code);
	return 0;
}

/*
 * on_frame_sent() - After the answer, the rest of the request is not wanted (RFC 9113 §8.1)
 *
 * Not earlier: nghttp2 drops what it has queued for a stream that it resets.
 */
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
		http2_link_reset(user, frame->hd.stream_id, NGHTTP2_NO_ERROR);
	return 0;
}

static const struct http2_link_ops server_ops = {
	.server = true,
	.windows_by_hand = true,
	.on_begin_frame = on_begin_frame,
	.on_begin = on_begin,
	.on_header = on_header,
	.on_invalid_header = on_invalid_header,
	.on_data = on_data,
	.on_frame = on_frame,
	.on_stream_closed = on_stream_closed,
	.on_frame_sent = on_frame_sent,
	.sent = on_sent,
	.end = on_end,
	.free = on_free,
};

static const struct http2_link_ops client_ops = {
	.windows_by_hand = true,
	.on_begin_frame = on_begin_frame,
	.on_begin = on_begin,
	.on_header = on_header,
	.on_invalid_header = on_invalid_header,
	.on_data = on_data,
	.on_frame = on_frame,
	.on_stream_closed = on_stream_closed,
	.sent = on_sent,
	.end = on_end,
	.free = on_free,
};

/* --- For the owner --- */

int http2_duplex_open(struct stream *below, const struct http2_duplex_options *options,
		      const struct http2_duplex_events *events, void *user,
		      struct http2_duplex **ret)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)options->window},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HTTP_HEADER},
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options->flows},
		{options->server ? NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
				 : NGHTTP2_SETTINGS_ENABLE_PUSH,
		 options->server},
	};
	struct http2_duplex *d = calloc(1, sizeof(*d));
	size_t window = options->kept + options->window;

	if (!d) {
		stream_close(below);
		return -ENOMEM;
	}
	d->options = *options;
	d->events = events;
	d->user = user;
	d->cheap = (struct quota){.burst = CHEAP_BURST, .interval = CHEAP_INTERVAL};
	d->resets = (struct quota){.burst = RESET_BURST, .interval = RESET_INTERVAL};
	if (http2_link_open(&d->link, below, options->server ? &server_ops : &client_ops, settings,
			    ARRAY_SIZE(settings)) < 0 ||
	    nghttp2_session_set_local_window_size(d->link.session, NGHTTP2_FLAG_NONE, 0,
						  (int32_t)window) != 0) {
		stream_close(below);
		nghttp2_session_del(d->link.session);
		free(d);
		return -ENOMEM;
	}
	*ret = d;
	http2_link_start(&d->link);
	return 0;
}

void http2_duplex_receive(struct http2_duplex *d, const uint8_t *bytes, size_t length)
{
	http2_link_receive(&d->link, bytes, length);
}

size_t http2_duplex_flows(const struct http2_duplex *d)
{
	return d->count;
}

bool http2_duplex_is_going(const struct http2_duplex *d)
{
	return d->going || d->link.over || d->link.closed ||
	       (!d->options.server && !nghttp2_session_check_request_allowed(d->link.session));
}

bool http2_duplex_has_room(const struct http2_duplex *d)
{
	return !http2_duplex_is_going(d) &&
	       d->count < nghttp2_session_get_remote_settings(
				  d->link.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) &&
	       d->count < d->options.flows;
}

void http2_duplex_retire(struct http2_duplex *d)
{
	if (d->going || d->link.over)
		return;
	http2_link_enter(&d->link);
	d->going = true;
	/* Requests that are on their way now are served too. */
	if (d->options.server)
		(void)nghttp2_submit_shutdown_notice(d->link.session);
	http2_link_leave(&d->link, 0);
}

void http2_duplex_close(struct http2_duplex *d)
{
	if (!d || d->link.closed)
		return;
	http2_link_enter(&d->link);
	d->link.closed = true;
	while (!LIST_EMPTY(&d->flows))
		http2_flow_forget(LIST_FIRST(&d->flows));
	if (!d->link.over) {
		nghttp2_session_terminate_session(d->link.session, NGHTTP2_NO_ERROR);
		if (d->link.busy == 1)
			(void)http2_link_flush(&d->link);
	}
	http2_link_leave(&d->link, 0);
}
