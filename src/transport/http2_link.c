/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/http2_link.c - nghttp2 on a stream; what client and server share */
#include "transport/http2_link.h"

#include <errno.h>
#include <string.h>

/* Frames are written together: each write may be a record of TLS and a system call. */
#define WRITE_SIZE ((size_t)16 * 1024)

int http2_link_flush(struct http2_link *link)
{
	uint8_t gathered[WRITE_SIZE];
	size_t count = 0;
	ssize_t length = 0;

	while (!link->over && stream_pending(link->below) + count < HTTP2_QUEUE_HIGH) {
		const uint8_t *bytes;

		length = nghttp2_session_mem_send(link->session, &bytes);
		if (length <= 0)
			break;
		if (count + (size_t)length > sizeof(gathered)) {
			if (stream_write(link->below, gathered, count) < 0)
				return 0; /* the stream has ended, its event follows */
			count = 0;
		}
		if ((size_t)length <= sizeof(gathered)) {
			memcpy(gathered + count, bytes, (size_t)length);
			count += (size_t)length;
		} else if (stream_write(link->below, bytes, (size_t)length) < 0) {
			return 0;
		}
	}
	if (count > 0 && stream_write(link->below, gathered, count) < 0)
		return 0;
	return length < 0 ? (int)length : 0;
}

/* judge() - Whether the link can go on; if not, nghttp2 has queued a GOAWAY with the reason */
static int judge(const struct http2_link *link, int r, struct error *err)
{
	if (r < 0)
		return error_set(err, -EPROTO, "HTTP/2: %s", nghttp2_strerror(r));
	if (!link->closed && !nghttp2_session_want_read(link->session) &&
	    !nghttp2_session_want_write(link->session))
		return error_set(err, -EPROTO, "the %s violates the HTTP/2 protocol",
				 link->ops->server ? "client" : "server");
	return 0;
}

void http2_link_leave(struct http2_link *link, int r)
{
	struct error err;

	if (link->busy == 1 && !link->over) {
		int sent = http2_link_flush(link);

		r = r ? r : sent;
		if (r == 0) {
			link->ops->sent(link);
			r = http2_link_flush(link);
		}
		if (!link->over && judge(link, r, &err) < 0)
			link->ops->end(link, &err);
	}
	if (--link->busy == 0 && link->closed)
		link->ops->free(link);
}

void http2_link_reset(struct http2_link *link, int32_t id, uint32_t code)
{
	(void)nghttp2_submit_rst_stream(link->session, NGHTTP2_FLAG_NONE, id, code);
}

void http2_link_receive(struct http2_link *link, const uint8_t *bytes, size_t length)
{
	ssize_t r;

	http2_link_enter(link);
	r = nghttp2_session_mem_recv(link->session, bytes, length);
	http2_link_leave(link, r < 0 ? (int)r : 0);
}

static void below_data(void *user, const uint8_t *bytes, size_t length)
{
	http2_link_receive(user, bytes, length);
}

static void below_drained(void *user)
{
	struct http2_link *link = user;

	http2_link_enter(link);
	http2_link_leave(link, 0);
}

static void below_closed(void *user, const struct error *err)
{
	struct http2_link *link = user;

	http2_link_enter(link);
	link->ops->end(link, err);
	http2_link_leave(link, 0);
}

void http2_link_start(struct http2_link *link)
{
	static const struct stream_events events = {
		.data = below_data,
		.drained = below_drained,
		.closed = below_closed,
	};

	stream_set_events(link->below, &events, link);
	/* A failure shows again with the first request. */
	(void)http2_link_flush(link);
}

int http2_link_open(struct http2_link *link, struct stream *below, const struct http2_link_ops *ops,
		    const nghttp2_settings_entry *settings, size_t count)
{
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	int r = -ENOMEM;

	link->below = below;
	link->ops = ops;
	if (nghttp2_option_new(&option) != 0 || nghttp2_session_callbacks_new(&callbacks) != 0)
		goto out;
	nghttp2_option_set_max_settings(option, 32);
	nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);
	/* Ended streams are only kept for priorities, which no client sends. */
	nghttp2_option_set_no_closed_streams(option, ops->server);
	nghttp2_option_set_no_auto_window_update(option, ops->windows_by_hand);
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, ops->on_begin_frame);
	nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, ops->on_invalid_header);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, ops->on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, ops->on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, ops->on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, ops->on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, ops->on_stream_closed);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, ops->on_frame_sent);
	if ((ops->server ? nghttp2_session_server_new2 : nghttp2_session_client_new2)(
		    &link->session, callbacks, link, option) == 0 &&
	    nghttp2_submit_settings(link->session, NGHTTP2_FLAG_NONE, settings, count) == 0)
		r = 0;
out:
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	return r;
}

nghttp2_nv http2_nv(const char *name, const char *value)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.value = (uint8_t *)(uintptr_t)value,
		.namelen = strlen(name),
		.valuelen = strlen(value),
	};
}
