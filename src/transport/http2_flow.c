/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2_flow.c - the streams of HTTP/2 for proxies
 *
 * Theory of operation
 *   http2_duplex.c reads the frames. The memory of a flow stays while one of our functions works on
 *   it (`holds`); a flow that has ended, but was not read to the end, outlives its stream.
 */
#include "base/cleanup.h"
#include "transport/http2_duplex_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void free_fields(struct http2_fields *fields)
{
	if (fields)
		http2_fields_free(fields);
	free(fields);
}

void http2_flow_release(struct http2_flow *flow)
{
	if (--flow->holds > 0)
		return;
	http2_head_free(flow->reading);
	http2_head_free(flow->head);
	http2_head_free(flow->trailers);
	free_fields(flow->sent_trailers);
	buffer_free(&flow->in);
	buffer_free(&flow->out);
	free(flow);
}

void http2_flow_forget(struct http2_flow *flow)
{
	struct http2_duplex *d = flow->duplex;

	flow->closed = true;
	if (flow->id > 0)
		nghttp2_session_set_stream_user_data(d->link.session, flow->id, NULL);
	if (flow->owed)
		(void)nghttp2_session_consume_connection(d->link.session, flow->owed);
	http2_kept(d, 0, flow->in.length);
	buffer_free(&flow->in);
	LIST_REMOVE(flow, entry);
	d->count--;
	d->changed = true;
	http2_flow_release(flow);
}

void http2_flow_gone(struct http2_flow *flow, uint32_t code)
{
	const struct http2_flow_events *events = flow->events;
	void *user = flow->user;

	http2_flow_forget(flow);
	if (events && events->gone)
		events->gone(user, code);
}

struct http2_flow *http2_flow_new(struct http2_duplex *d)
{
	struct http2_flow *flow = calloc(1, sizeof(*flow));

	if (!flow)
		return NULL;
	flow->duplex = d;
	flow->holds = 1;
	flow->in = BUFFER_INIT(d->options.window + LIMIT_STREAM_QUEUE);
	flow->out = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	LIST_INSERT_HEAD(&d->flows, flow, entry);
	d->count++;
	d->changed = true;
	return flow;
}

void http2_flow_opened(struct http2_flow *flow, size_t length)
{
	nghttp2_session *session = flow->duplex->link.session;
	size_t owed = flow->owed < length ? flow->owed : length;

	flow->owed -= owed;
	(void)nghttp2_session_consume_connection(session, owed);
	if (flow->id > 0)
		(void)nghttp2_session_consume_stream(session, flow->id, length);
}

void http2_flow_deliver(struct http2_flow *flow)
{
	struct http2_duplex *d = flow->duplex;

	flow->holds++;
	if (flow->in.length > 0 && !flow->paused && !flow->closed) {
		struct buffer bytes = flow->in;

		flow->in = BUFFER_INIT(bytes.limit);
		http2_kept(d, 0, bytes.length);
		http2_flow_opened(flow, bytes.length);
		if (flow->events && flow->events->data)
			flow->events->data(flow->user, buffer_head(&bytes), bytes.length);
		buffer_free(&bytes);
	}
	if (flow->in.length == 0 && flow->in_last && !flow->in_ended && !flow->paused &&
	    !flow->closed) {
		struct http2_head *t = TAKE_PTR(flow->trailers);

		flow->in_ended = true;
		if (flow->events && flow->events->end)
			flow->events->end(flow->user, t ? t->parsed.head.headers : NULL,
					  t ? t->parsed.head.header_count : 0);
		http2_head_free(t);
	}
	if (flow->id < 0 && flow->in_ended && !flow->closed)
		http2_flow_gone(flow, HTTP2_CODE_NONE);
	http2_flow_release(flow);
}

static ssize_t http2_flow_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t size,
			       uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct http2_flow *flow = http2_flow_of(session, id);
	struct http2_fields *trailers;
	int r = 0;

	(void)source;
	(void)user;
	if (!flow)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (flow->out.length == 0 && !flow->out_ended)
		return NGHTTP2_ERR_DEFERRED;
	if (size > flow->out.length)
		size = flow->out.length;
	if (size)
		memcpy(out, buffer_head(&flow->out), size);
	buffer_consume(&flow->out, size);
	http2_duplex_moved(flow->duplex, size);
	if (flow->out.length > 0)
		return (ssize_t)size;
	buffer_free(&flow->out);
	flow->drained = !flow->out_ended;
	if (!flow->out_ended)
		return (ssize_t)size;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	flow->out_sent = true;
	trailers = TAKE_PTR(flow->sent_trailers);
	if (trailers) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		r = nghttp2_submit_trailer(session, id, trailers->list, trailers->count);
		free_fields(trailers);
	}
	return r == 0 ? (ssize_t)size : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

int http2_duplex_send(struct http2_duplex *d, const struct http1_head *head, const char *scheme,
		      bool last, const struct http2_flow_events *events, void *user,
		      struct http2_flow **ret)
{
	nghttp2_data_provider body = {.read_callback = http2_flow_read};
	struct http2_fields fields = {0};
	struct http2_flow *flow;
	int32_t id;
	int r;

	if (http2_duplex_is_going(d))
		return -EPIPE;
	flow = http2_flow_new(d);
	if (!flow)
		return -ENOMEM;
	http2_link_enter(&d->link);
	flow->events = events;
	flow->user = user;
	flow->out_ended = flow->out_sent = last;
	r = http2_fields_request(&fields, head, scheme);
	if (r == 0) {
		id = nghttp2_submit_request(d->link.session, NULL, fields.list, fields.count,
					    last ? NULL : &body, flow);
		flow->id = id;
		r = id >= 0 ? 0 : id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
	}
	http2_fields_free(&fields);
	if (r < 0)
		http2_flow_forget(flow);
	else
		*ret = flow;
	http2_link_leave(&d->link, 0);
	return r;
}

void http2_flow_set_events(struct http2_flow *flow, const struct http2_flow_events *events,
			   void *user)
{
	flow->events = events;
	flow->user = user;
}

int http2_flow_answer(struct http2_flow *flow, const struct http1_head *head, bool last)
{
	nghttp2_data_provider body = {.read_callback = http2_flow_read};
	struct http2_duplex *d = flow->duplex;
	struct http2_fields fields = {0};
	int r;

	if (flow->id < 0 || flow->answered || d->link.over || d->link.closed)
		return -EPIPE;
	http2_link_enter(&d->link);
	r = http2_fields_answer(&fields, head);
	if (r == 0 && head->status < 200) {
		if (nghttp2_submit_headers(d->link.session, NGHTTP2_FLAG_NONE, flow->id, NULL,
					   fields.list, fields.count, NULL) != 0)
			r = -ENOMEM;
	} else if (r == 0) {
		flow->answered = true;
		flow->out_ended = flow->out_sent = last;
		if (nghttp2_submit_response(d->link.session, flow->id, fields.list, fields.count,
					    last ? NULL : &body) != 0)
			r = -ENOMEM;
	}
	http2_fields_free(&fields);
	http2_link_leave(&d->link, 0);
	return r;
}

int http2_flow_write(struct http2_flow *flow, const void *bytes, size_t length)
{
	struct http2_duplex *d = flow->duplex;
	int r;

	if (flow->id < 0 || flow->out_ended || d->link.over || d->link.closed)
		return -EPIPE;
	http2_link_enter(&d->link);
	r = buffer_append(&flow->out, bytes, length);
	if (r == 0)
		(void)nghttp2_session_resume_data(d->link.session, flow->id);
	http2_link_leave(&d->link, 0);
	return r;
}

int http2_flow_end(struct http2_flow *flow, const struct http1_header *trailers, size_t count)
{
	struct http2_duplex *d = flow->duplex;

	if (flow->id < 0 || flow->out_ended || d->link.over || d->link.closed)
		return -EPIPE;
	if (count > 0) {
		flow->sent_trailers = calloc(1, sizeof(*flow->sent_trailers));
		if (!flow->sent_trailers ||
		    http2_fields_trailers(flow->sent_trailers, trailers, count) < 0)
			return -ENOMEM;
	}
	http2_link_enter(&d->link);
	flow->out_ended = true;
	(void)nghttp2_session_resume_data(d->link.session, flow->id);
	http2_link_leave(&d->link, 0);
	return 0;
}

size_t http2_flow_pending(const struct http2_flow *flow)
{
	return flow->out.length;
}

void http2_flow_pause(struct http2_flow *flow)
{
	flow->paused = true;
}

void http2_flow_resume(struct http2_flow *flow)
{
	struct http2_duplex *d = flow->duplex;

	if (!flow->paused)
		return;
	flow->paused = false;
	http2_link_enter(&d->link);
	http2_flow_deliver(flow);
	http2_link_leave(&d->link, 0);
}

void http2_flow_close(struct http2_flow *flow, uint32_t code)
{
	struct http2_duplex *d;

	if (!flow || flow->closed)
		return;
	d = flow->duplex;
	http2_link_enter(&d->link);
	if (flow->id > 0 && !d->link.over && !(flow->in_last && flow->out_sent))
		http2_link_reset(&d->link, flow->id, code);
	http2_flow_forget(flow);
	http2_link_leave(&d->link, 0);
}
